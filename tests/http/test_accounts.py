"""Who may use the page: the one-time code and the first account, sessions, passwords, what is slowed down, whose chats are
whose; off loopback, behind a proxy, under TLS, and from the terminal."""
import concurrent.futures
import json
import re
import signal
import sqlite3
import ssl
import statistics
import subprocess
import threading
import time

import pytest
import tiny
from conftest import SAMPAN, Server, wait_until
from people import PASSWORD, Browser, Outside
from test_tls import certificate

FLAGS = {"HttpOnly", "SameSite=Strict"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("accounts") / "tiny")


@pytest.fixture
def outside(model, tmp_path):
    made = []

    def start(*args, history=tmp_path / "history.db", **more):
        made.append(Outside(model, history, *args, **more))
        return made[-1]
    yield start
    for s in made:
        if s.process.poll() is None:
            s.end()


def user(history, *args, password=None, code=0):
    done = subprocess.run([SAMPAN, "user", *args, "--history", str(history)], input=password and password + "\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def cookie_flags(browser):
    return {part.strip() for part in browser.set_cookie.split(";")[1:]}


# ---- the first account ----

def test_the_code_makes_the_first_account_once(outside):
    s = outside()
    assert re.fullmatch(r"[2-9A-HJ-NP-Z]{5}-[2-9A-HJ-NP-Z]{5}", s.code)
    assert re.search(rf"http://\S+:\d+/sign-up#{s.code}\n", s.said)
    b = Browser(s.url)
    assert b.state() == "sign_up" and b.status("GET", "/sign-up") == 200
    assert b.error("GET", "/api/chats") == (401, "sign_up_needed")
    assert b.error("GET", "/api/info") == (401, "sign_up_needed")
    assert b.error("GET", "/api/events") == (401, "sign_up_needed")
    assert b.error("GET", "/v1/models") == (401, "invalid_api_key")
    assert b.sign_up("22222-22222").said["error"]["code"] == "wrong_code"
    for name, password in (("", PASSWORD), (" a", PASSWORD), ("a\n", PASSWORD), ("x" * 65, PASSWORD), ("alice", "short"), ("alice", "x" * 513), ("alice", 7)):
        assert b.sign_up(s.code, name, password).status == 400  # and the code stays good
    made = b.sign_up(s.code.lower().replace("-", " "))
    assert made.status == 201 and made.said["state"] == "signed_in" and made.said["account"]["name"] == "alice"
    assert cookie_flags(b) == FLAGS | {"Path=/", "Max-Age=2592000"}
    assert b.ok("GET", "/api/chats") == {"data": [], "next": None}
    other = Browser(s.url)
    assert other.state() == "sign_in"
    assert other.sign_up(s.code, "mallory").said["error"]["code"] == "wrong_code"
    s.end()
    again = outside()
    assert again.code is None and "one-time" not in again.said
    assert Browser(again.url).sign_up(s.code, "mallory").status == 403


def test_a_new_code_at_each_start_while_there_is_no_account(outside):
    first = outside()
    first.end()
    second = outside()
    assert first.code != second.code
    b = Browser(second.url)
    assert b.sign_up(first.code).status == 403 and b.sign_up(second.code).status == 201


def test_two_at_once_with_the_code_make_one_account(outside):
    s = outside()

    def make(name):
        b = Browser(s.url)
        while (answer := b.sign_up(s.code, name)).status == 503:
            time.sleep(0.05)
        return answer.status
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(make, ["a", "b", "c", "d"])) == [201, 403, 403, 403]


def test_the_code_is_not_to_be_guessed(outside):
    s = outside()
    b = Browser(s.url)
    statuses = [b.sign_up("22222-22222").status for _ in range(8)]
    assert statuses[:5] == [403] * 5 and 429 in statuses[5:]
    slow = b.sign_up(s.code)
    assert slow.status == 429 and slow.said["error"]["code"] == "too_many_tries" and int(slow.headers["Retry-After"]) >= 1


def test_what_was_there_belongs_to_the_first_account(model, outside, tmp_path):
    history = tmp_path / "history.db"
    inside = Outside(model, history, host="127.0.0.1")
    assert inside.code is None
    b = Browser(inside.url)
    assert b.state() == "open"
    chat = b.ok("POST", "/api/chats", {"title": "before"})["id"]
    b.ok("POST", f"/api/chats/{chat}/messages", {"content": "水", "parent": None})
    inside.end()
    s = outside()
    alice = Browser(s.url)
    alice.sign_up(s.code)
    assert [c["title"] for c in alice.ok("GET", "/api/chats")["data"]] == ["before"]
    assert [c["id"] for c in alice.ok("GET", "/api/chats?q=" + "%E6%B0%B4")["data"]] == [chat]
    alice.ok("POST", "/api/chats", {"title": "after"})
    s.end()
    rows = sqlite3.connect(history)
    assert rows.execute("SELECT DISTINCT owner FROM chats UNION SELECT owner FROM messages").fetchall() == [(1,)]
    rows.close()
    out = subprocess.run([SAMPAN, "db", "export", "--history", str(history)], capture_output=True, text=True, timeout=60)
    assert out.stdout.count("\n") == 2 and out.returncode == 0
    again = Outside(model, history, host="127.0.0.1")  # there is an account now: also on loopback
    assert Browser(again.url).state() == "sign_in"
    assert Browser(again.url).error("GET", "/api/chats") == (401, "sign_in_needed")
    again.end()


# ---- who needs none ----

def test_loopback_is_open_but_not_to_what_a_proxy_hands_on(model, tmp_path):
    s = Outside(model, tmp_path / "h.db", host="127.0.0.1")
    b = Browser(s.url)
    assert s.code is None and b.state() == "open" and b.status("GET", "/api/chats") == 200
    for field in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        assert b.error("GET", "/api/chats", **{field: "203.0.113.9"}) == (401, "sign_up_needed"), field
        assert b.ok("GET", "/api/session", **{field: "203.0.113.9"})["state"] == "closed"
    s.end()
    for setting in (("--root-path", "/llm"), ("--trusted-proxy", "127.0.0.1"), ("--allowed-host", "llm.example.org")):
        s = Outside(model, tmp_path / "h.db", *setting, host="127.0.0.1")
        b = Browser(s.url)
        assert s.code and b.state() == "sign_up" and b.error("GET", "/api/chats") == (401, "sign_up_needed"), setting
        s.end()


def test_no_auth_opens_the_page_too(outside):
    s = outside("--no-auth")
    b = Browser(s.url)
    assert s.code is None and b.state() == "open" and b.status("GET", "/api/chats") == 200 and b.status("GET", "/v1/models") == 200


MANAGING = (("GET", "/api/models"), ("GET", "/api/models/x"), ("DELETE", "/api/models/x"), ("POST", "/api/models/x/load"), ("GET", "/api/server"),
            ("GET", "/api/settings"), ("POST", "/api/requests/x/cancel"))


@pytest.mark.parametrize("args, fields", [(("--history", "off"), {"X-Forwarded-For": "203.0.113.9"}), (("--history", "off", "--trusted-proxy", "127.0.0.1"), {}),
                                          (("--no-auth", "--root-path", "/llm"), {}), (("--no-auth", "--host", "0.0.0.0"), {})], ids=str)
def test_who_may_come_from_elsewhere_manages_nothing(model, args, fields):
    """Where nobody signs in, the models and the dashboard are for who sits at this machine."""
    s = Server(*args, model=str(model))
    try:
        b = Browser(s.url.replace("//0.0.0.0:", "//127.0.0.1:"), **fields)
        for method, path in MANAGING:
            assert b.error(method, path) == (403, "not_allowed"), path
        assert b.status("GET", "/api/info") == 200
        if fields:
            assert Browser(b.at.geturl()).status("GET", "/api/models") == 200
    finally:
        s.end()


def test_without_a_history_all_is_as_it_was(model):
    refused = subprocess.run([SAMPAN, "serve", "--model", str(model), "--host", "0.0.0.0", "--port", "0", "--history", "off"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2 and "--api-key" in refused.stderr
    s = Server("--host", "0.0.0.0", "--history", "off", "--api-key", "k", model=str(model))
    b = Browser(s.url)
    assert b.state() == "closed" and b.error("GET", "/api/info") == (401, "invalid_api_key")
    assert b.status("GET", "/api/info", Authorization="Bearer k") == 200
    assert b.sign_in().status == 503
    s.end()


def test_nobody_gets_in_when_the_accounts_cannot_be_read(model, tmp_path):
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    done = subprocess.run([SAMPAN, "serve", "--model", str(model), "--host", "0.0.0.0", "--port", "0", "--history", str(tmp_path / "broken.db")],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "can't be opened" in done.stderr
    s = Server("--host", "0.0.0.0", "--history", str(tmp_path / "broken.db"), "--api-key", "k", model=str(model))
    assert Browser(s.url).status("GET", "/api/chats") in (401, 503)
    s.end()


# ---- sessions ----

@pytest.fixture(scope="module")
def shared(model, tmp_path_factory):
    """With alice, who has signed up from an address of her own."""
    s = Outside(model, tmp_path_factory.mktemp("shared") / "history.db")
    assert Browser(s.url, address="127.0.0.2").sign_up(s.code).status == 201
    yield s
    s.end()


def test_signing_in_and_out(shared):
    b, other = Browser(shared.url), Browser(shared.url)
    assert b.sign_in("ALICE").said["account"]["name"] == "alice" and other.sign_in().status == 200
    assert cookie_flags(b) == FLAGS | {"Path=/", "Max-Age=2592000"} and b.cookie != other.cookie
    assert re.fullmatch(r"sampan_session_\d+=[A-Za-z0-9_-]{43}", b.cookie)
    kept = b.cookie
    b.set_cookie = None
    assert b.state() == "signed_in" and b.cookie == kept and "Max-Age=2592000" in cookie_flags(b)  # renewed at each visit
    gone = b.send("DELETE", "/api/session")
    assert gone.status == 204 and b.cookie is None and "Max-Age=0" in b.set_cookie
    assert b.error("GET", "/api/chats", Cookie=kept) == (401, "sign_in_needed")  # not only forgotten by the browser
    assert other.status("GET", "/api/chats") == 200
    assert b.sign_in().status == 200
    third = Browser(shared.url)
    third.sign_in()
    assert third.status("DELETE", "/api/session?all=1") == 204
    assert [x.error("GET", "/api/chats")[0] for x in (b, other)] == [401, 401]


def test_the_store_holds_no_token(shared, tmp_path):
    b = Browser(shared.url)
    b.sign_in()
    token = b.cookie.split("=")[1].encode()
    history = re.search(r"kept in (\S+)", shared.said)[1]
    for suffix in ("", "-wal"):
        with open(history + suffix, "rb") as f:
            data = f.read()
        assert token not in data and PASSWORD.encode() not in data
    b.send("DELETE", "/api/session")


def test_a_wrong_name_is_like_a_wrong_password(shared):
    times = {}
    for name, address in (("alice", "127.0.1.1"), ("nobody", "127.0.1.2")):
        took = []
        for i in range(4):
            b = Browser(shared.url, address=address)
            begin = time.monotonic()
            answer = b.sign_in(name, f"wrong password {i}")
            took.append(time.monotonic() - begin)
            assert (answer.status, answer.said["error"]["message"]) == (401, "name or password is wrong")
        times[name] = statistics.median(took)
    assert Browser(shared.url, address="127.0.1.3").sign_in().status == 200  # and forgives
    assert 0.3 < times["alice"] / times["nobody"] < 3


def test_wrong_passwords_are_slowed_down(shared):
    b = Browser(shared.url, address="127.0.2.1")
    statuses = [b.sign_in(f"nobody{i}", "wrong password").status for i in range(7)]
    assert statuses == [401] * 5 + [429] * 2  # by address
    assert b.sign_in().status == 429  # also with the right one
    for i in range(5):
        assert Browser(shared.url, address=f"127.0.3.{i + 1}").sign_in("carol", "wrong password").status == 401
    answer = Browser(shared.url, address="127.0.3.9").sign_in("CAROL", "wrong password")  # by name, of whom there is none
    assert answer.status == 429 and int(answer.headers["Retry-After"]) >= 1
    assert Browser(shared.url, address="127.0.3.10").sign_in().status == 200
    assert wait_until(lambda: b.sign_in().status == 200, 10)


def test_who_signs_in_does_not_stop_the_others(shared):
    """Hashing is for one at a time and for no more than one worker: requests go on beside it."""
    end, took, statuses = threading.Event(), [], []

    def hash_away(n):
        i = 0
        while not end.is_set():
            statuses.append(Browser(shared.url, address=f"127.{n}.{i // 200 + 1}.{i % 200 + 1}").sign_in(f"x{n}-{i}", "wrong password").status)
            i += 1
    b = Browser(shared.url)
    b.sign_in()
    threads = [threading.Thread(target=hash_away, args=(n,)) for n in range(10, 14)]
    for t in threads:
        t.start()
    for _ in range(40):
        begin = time.monotonic()
        assert b.status("GET", "/livez") == 200
        took.append(time.monotonic() - begin)
        assert b.status("GET", "/api/chats") == 200
    end.set()
    for t in threads:
        t.join()
    assert set(statuses) <= {401, 503} and {401, 503} == set(statuses)
    assert statistics.median(took) < 0.2
    assert wait_until(lambda: b.status("DELETE", "/api/session") == 204)


def test_pages_of_others_cannot_write(shared):
    b = Browser(shared.url)
    b.sign_in()
    body = {"title": "x"}
    assert b.error("POST", "/api/chats", body, Sec_Fetch_Site="cross-site") == (403, "origin_not_allowed")
    assert b.error("POST", "/api/chats", body, Sec_Fetch_Site="same-site") == (403, "origin_not_allowed")
    assert b.error("POST", "/api/chats", body, Sec_Fetch_Site=None, Origin="http://evil.example") == (403, "origin_not_allowed")
    # No word of the browser: a cookie alone is not enough, nor with a made-up key.
    assert b.error("POST", "/api/chats", body, Sec_Fetch_Site=None, Origin=None) == (403, "origin_not_allowed")
    assert b.error("POST", "/api/chats", body, Sec_Fetch_Site=None, Origin=None, Authorization="Bearer x") == (403, "origin_not_allowed")
    for method, path, sent in (("POST", "/api/keys", {"name": "evil"}), ("DELETE", "/api/session?all=1", None), ("PATCH", "/api/account", {"password": "x"})):
        assert b.error(method, path, sent, Sec_Fetch_Site="cross-site") == (403, "origin_not_allowed")
    assert Browser(shared.url).error("POST", "/api/session", {"name": "alice", "password": PASSWORD}, Sec_Fetch_Site="cross-site")[0] == 403
    assert b.error("POST", "/api/session", {"name": "alice", "password": PASSWORD}, Content_Type="text/plain")[0] == 415
    assert b.status("POST", "/api/chats", body) == 201
    b.send("DELETE", "/api/session")


def test_pages_of_others_cannot_read(shared):
    """Not even blindly: a picture with the address of a search tells by its time whether there is something."""
    b = Browser(shared.url, Origin=None)
    b.sign_in()
    for site in ("cross-site", "same-site"):
        for path in ("/api/chats?q=secret", "/api/info", "/api/events", "/api/export?all=1"):
            assert b.error("GET", path, Sec_Fetch_Site=site) == (403, "origin_not_allowed"), path
    for site in ("same-origin", "none", None):  # the page, a bookmark, a program
        assert b.status("GET", "/api/chats?q=secret", Sec_Fetch_Site=site) == 200
    b.send("DELETE", "/api/session", Origin=shared.url)


def test_another_password(outside):
    s = outside()
    b, other = Browser(s.url), Browser(s.url)
    b.sign_up(s.code)
    other.sign_in()
    assert b.error("PATCH", "/api/account", {"password": "not that", "new_password": "battery staple"}) == (403, "wrong_password")
    assert b.error("PATCH", "/api/account", {"password": PASSWORD, "new_password": "short"}) == (400, "password_length")
    assert b.status("PATCH", "/api/account", {"password": PASSWORD, "new_password": "battery staple"}) == 200
    assert b.status("GET", "/api/chats") == 200 and other.error("GET", "/api/chats")[0] == 401
    assert Browser(s.url).sign_in().status == 401 and Browser(s.url).sign_in(password="battery staple").status == 200


def test_a_session_outlives_kill_and_restart(outside):
    s = outside("--port", "0")
    port = s.url.rsplit(":", 1)[1]
    b = Browser(s.url)
    b.sign_up(s.code)
    s.process.send_signal(signal.SIGKILL)
    s.process.wait()
    outside("--port", port)
    assert b.state() == "signed_in" and b.status("GET", "/api/chats") == 200
    assert Browser(b.at.geturl()).sign_in().status == 200


def test_sessions_expire_and_slide(outside, tmp_path):
    s = outside()
    b = Browser(s.url)
    b.sign_up(s.code)
    s.end()
    rows = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    now = int(time.time())
    rows.execute("UPDATE sessions SET used = ?, expires = ?", (now - 86400, now + 100))
    port = s.url.rsplit(":", 1)[1]
    s = outside("--port", port)
    assert b.status("GET", "/api/chats") == 200
    s.end()
    used, expires = rows.execute("SELECT used, expires FROM sessions").fetchone()
    assert now <= used <= now + 120 and expires == used + 30 * 86400
    rows.execute("UPDATE sessions SET expires = ?", (now - 1,))
    outside("--port", port)
    assert b.error("GET", "/api/chats") == (401, "sign_in_needed")
    rows.close()


def test_hostile_cookies_and_bodies(shared):
    b = Browser(shared.url)
    b.sign_in()
    name, token = b.cookie.split("=")
    for cookie in (f"{name}=", f"{name}={token[:-1]}", f"{name}={token}x", f"{name}={token[::-1]}", f"x{name}={token}", name, "=", ";;;", f"{name}={'A' * 43}",
                   "a" * 8000):
        assert Browser(shared.url).error("GET", "/api/chats", Cookie=cookie)[0] == 401, cookie
    for cookie in (f"a=b; {name}={token}", f"{name}={token}; a=b", f"a=b;{name}={token};c", f"{name}={'A' * 43}; {name}={token}"):
        assert Browser(shared.url).status("GET", "/api/chats", Cookie=cookie) == 200, cookie
    for body in ([], "x", {"name": None, "password": PASSWORD}, {"name": ["alice"], "password": PASSWORD}, {"name": "alice\0", "password": PASSWORD},
                 {"name": "alice", "password": PASSWORD + "\0"}, {"name": "alice"}):
        assert Browser(shared.url, address="127.0.4.1").send("POST", "/api/session", body).status in (400, 401), body
    b.send("DELETE", "/api/session")


def test_passwords_stay_out_of_the_log(model, tmp_path):
    with open(tmp_path / "log", "w") as log:
        s = Outside(model, tmp_path / "h.db", "--log-prompts", "--log-level", "debug", log=log)
        b = Browser(s.url)
        b.sign_up(s.code)
        b.sign_in()
        b.send("PATCH", "/api/account", {"password": PASSWORD, "new_password": PASSWORD + "2"})
        b.ok("POST", "/api/chats", {"title": "in the log"})
        secret = b.ok("POST", "/api/keys", {"name": "one"})["secret"]
        s.end()
    text = (tmp_path / "log").read_text()
    assert "in the log" in text and PASSWORD not in text and s.code not in text and secret not in text and b.cookie.split("=")[1] not in text


# ---- events ----

def listen(browser):
    """An event stream: the answer, to be read line by line."""
    line = browser.line()
    line.request("GET", browser.root + "/api/events", headers={**browser.fields, "Cookie": browser.cookie or ""})
    return line.getresponse()


def test_events_are_for_who_is_signed_in_and_end_with_it(outside, tmp_path):
    s = outside()
    alice = Browser(s.url)
    alice.sign_up(s.code)
    user(tmp_path / "history.db", "add", "bob", password="bob's password")
    bob = Browser(s.url)
    assert wait_until(lambda: bob.sign_in("bob", "bob's password").status == 200, 10)
    hers, his = listen(alice), listen(bob)
    assert (hers.status, his.status) == (200, 200)
    chat = alice.ok("POST", "/api/chats", {"title": "alice's secret"})["id"]
    own = bob.ok("POST", "/api/chats", {"title": "bob's own"})["id"]
    assert bob.error("GET", f"/api/chats/{chat}") == (404, "not_found")
    assert bob.error("PATCH", f"/api/chats/{chat}", {"title": "mine"}) == (404, "not_found")
    assert bob.error("DELETE", f"/api/chats/{chat}?forever=1") == (404, "not_found")
    assert [c["id"] for c in bob.ok("GET", "/api/chats")["data"]] == [own] and bob.ok("GET", "/api/chats?q=secret")["data"] == []
    bob.send("DELETE", "/api/session")
    heard = his.read().decode()  # to its end: signing out has cut it
    assert "bob's own" in heard and "alice" not in heard
    answer = alice.ok("POST", f"/api/chats/{chat}/messages", {"content": "hello", "parent": None})["id"]
    running = alice.ok("POST", f"/api/chats/{chat}/generate", {"parent": answer, "params": {"max_tokens": 20}})["id"]
    assert wait_until(lambda: all(m["state"] in ("complete", "stopped") for m in alice.ok("GET", f"/api/chats/{chat}")["messages"]))
    alice.send("DELETE", "/api/session?all=1")
    heard = hers.read().decode()
    assert "alice's secret" in heard and "bob" not in heard and "event: delta" in heard and running in heard


# ---- the terminal ----

def test_accounts_from_the_terminal_while_the_server_runs(model, tmp_path):
    history = tmp_path / "h.db"
    s = Outside(model, history, host="127.0.0.1")
    b = Browser(s.url)
    assert b.state() == "open"
    stream = listen(b)
    user(history, "add", "alice", password="short", code=1)
    user(history, "add", "alice", password=PASSWORD)
    assert wait_until(lambda: b.state() == "sign_in", 10)  # open to everybody until then: no more
    assert b.error("GET", "/api/chats") == (401, "sign_in_needed")
    assert b"hello" in stream.read()
    assert "already" in user(history, "add", "Alice", password=PASSWORD, code=1)
    assert b.sign_in().status == 200
    listed = json.loads(user(history, "list", "--json"))
    assert [(a["name"], a["sessions"]) for a in listed] == [("alice", 1)] and "alice" in user(history, "list")
    user(history, "passwd", "alice", password="another password")
    assert wait_until(lambda: b.status("GET", "/api/chats") == 401, 10)
    assert b.sign_in().status == 401 and b.sign_in(password="another password").status == 200
    assert "--yes" in user(history, "remove", "alice", code=2)
    user(history, "remove", "alice", "--yes")
    assert wait_until(lambda: b.state() == "open", 10)
    user(history, "passwd", "alice", password=PASSWORD, code=1)
    user(history, "fly", code=2)
    s.end()


def test_whose_chats_the_terminal_handles(model, outside, tmp_path):
    history = tmp_path / "history.db"
    s = outside()
    alice = Browser(s.url)
    alice.sign_up(s.code)
    alice.ok("POST", "/api/chats", {"title": "hers"})
    user(history, "add", "bob", password="bob's password")
    bob = Browser(s.url)
    assert wait_until(lambda: bob.sign_in("bob", "bob's password").status == 200, 10)
    bob.ok("POST", "/api/chats", {"title": "his"})

    def export(*args):
        return subprocess.run([SAMPAN, "db", "export", "--history", str(history), *args], capture_output=True, text=True, timeout=60).stdout
    assert "hers" in export() and "his" not in export().replace("hers", "") and '"his"' in export("--user", "bob")
    s.end()
    check = subprocess.run([SAMPAN, "db", "check", "--history", str(history)], capture_output=True, text=True, timeout=60)
    assert check.returncode == 0, check.stdout
    user(history, "remove", "bob", "--yes")
    assert export("--user", "bob") == ""
    check = subprocess.run([SAMPAN, "db", "check", "--history", str(history)], capture_output=True, text=True, timeout=60)
    assert check.returncode == 0, check.stdout


# ---- TLS and proxies ----

def test_cookies_under_tls_are_secure(model, tmp_path):
    certs = certificate(tmp_path / "certs", "first")
    s = Outside(model, tmp_path / "h.db", "--tls-cert", str(certs / "cert.pem"), "--tls-key", str(certs / "key.pem"))
    b = Browser(s.url, context=ssl.create_default_context(cafile=str(certs / "cert.pem")))
    assert f"https://" in s.said and b.sign_up(s.code).status == 201
    assert cookie_flags(b) == FLAGS | {"Path=/", "Max-Age=2592000", "Secure"}
    assert b.status("GET", "/api/chats") == 200
    s.end()


def test_only_a_trusted_proxy_says_that_it_speaks_https(model, tmp_path):
    s = Outside(model, tmp_path / "h.db", "--root-path", "/llm", "--trusted-proxy", "127.0.0.1")
    b = Browser(s.url + "/llm", X_Forwarded_Proto=None)
    code = b.send("POST", "/api/account", {"code": s.code, "name": "alice", "password": PASSWORD}, X_Forwarded_Proto="https", X_Forwarded_For="203.0.113.9")
    assert code.status == 201
    assert cookie_flags(b) == FLAGS | {"Path=/llm", "Max-Age=2592000", "Secure"}
    for proto, address, secure in (("http", None, False), ("https, http", None, False), ("http, https", None, True), (None, None, False),
                                   ("https", "127.0.0.7", False)):
        c = Browser(s.url + "/llm", address=address)
        assert c.send("POST", "/api/session", {"name": "alice", "password": PASSWORD}, X_Forwarded_Proto=proto).status == 200
        assert ("Secure" in cookie_flags(c)) == secure, (proto, address)
    s.end()
