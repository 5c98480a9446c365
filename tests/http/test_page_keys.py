"""API keys that the page makes: used with the official client, limited, counted, revoked; and what outlives kill -9."""
import json
import signal
import subprocess
import time

import openai
import pytest
import tiny
from conftest import SAMPAN, wait_until
from people import Browser, Outside

LIMITS = {"requests_per_minute": None, "tokens_per_minute": None, "concurrent": None}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("keys") / "tiny")


@pytest.fixture
def outside(model, tmp_path):
    made = []

    def start(*args, **more):
        made.append(Outside(model, tmp_path / "history.db", *args, **more))
        return made[-1]
    yield start
    for s in made:
        if s.process.poll() is None:
            s.end()


@pytest.fixture
def alice(outside):
    """(server, her browser)"""
    s = outside()
    b = Browser(s.url)
    b.sign_up(s.code)
    return s, b


def client(s, secret):
    return openai.OpenAI(base_url=s.url + "/v1", api_key=secret, max_retries=0, timeout=60)


def ask(s, secret, **more):
    return client(s, secret).completions.create(model=s.model, prompt="ab", max_tokens=4, extra_body={"ignore_eos": True}, **more)


def named(b, name):
    return next(k for k in b.ok("GET", "/api/keys")["data"] if k["name"] == name)


def test_make_use_count_revoke(alice):
    s, b = alice
    assert b.ok("GET", "/api/keys") == {"data": [], "checked": True, "forced": True}  # off loopback
    made = b.ok("POST", "/api/keys", {"name": "laptop"})
    secret = made.pop("secret")
    assert secret.startswith("sk-sampan-") and len(secret) == 53
    assert made == named(b, "laptop") and made["used"] is None and made["source"] == "page" and {k: made[k] for k in LIMITS} == LIMITS
    assert ask(s, secret).usage.total_tokens == 6
    key = named(b, "laptop")
    assert (key["requests"], key["tokens"], key["running"]) == (1, 6, 0) and abs(key["used"] - time.time()) < 60 and "secret" not in key
    assert b.error("POST", "/api/keys", {"name": "laptop"}) == (409, "conflict")
    assert b.status("DELETE", f"/api/keys/{made['id']}") == 204
    with pytest.raises(openai.AuthenticationError):
        ask(s, secret)
    assert b.error("DELETE", f"/api/keys/{made['id']}") == (404, "not_found") and b.ok("GET", "/api/keys")["data"] == []


def test_a_request_that_runs_may_finish(alice):
    s, b = alice
    made = b.ok("POST", "/api/keys", {"name": "one"})
    stream = client(s, made["secret"]).completions.create(model=s.model, prompt="ab", max_tokens=3000, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    b.ok("DELETE", f"/api/keys/{made['id']}")
    assert b.ok("GET", "/api/keys")["data"] == []
    with pytest.raises(openai.AuthenticationError):
        ask(s, made["secret"])
    *_, last = stream
    assert last.choices[0].finish_reason == "length"


def test_limits_hold(alice):
    s, b = alice
    few = b.ok("POST", "/api/keys", {"name": "few", "requests_per_minute": 2})["secret"]
    other = b.ok("POST", "/api/keys", {"name": "other", "models": ["another"], "tokens_per_minute": 10, "concurrent": 1})
    ask(s, few)
    ask(s, few)
    with pytest.raises(openai.RateLimitError):
        ask(s, few)
    with pytest.raises(openai.NotFoundError):
        ask(s, other["secret"])
    assert (other["models"], other["tokens_per_minute"], other["concurrent"]) == (["another"], 10, 1)
    b.ok("POST", "/api/keys", {"name": "third"})  # making another gives nobody a new minute
    with pytest.raises(openai.RateLimitError):
        ask(s, few)


def test_wrong_keys_are_refused(alice):
    s, b = alice
    for body in ({}, {"name": ""}, {"name": "a b"}, {"name": "é"}, {"name": "x" * 65}, {"name": 7}, {"name": "a", "models": []}, {"name": "a", "models": [""]},
                 {"name": "a", "models": "all"}, {"name": "a", "models": ["x"] * 101}, {"name": "a", "requests_per_minute": 0}, {"name": "a", "concurrent": 1.5},
                 {"name": "a", "tokens_per_minute": 10**13}, {"name": "a", "page": "yes"}, {"name": "a", "owner": 2}, {"name": "a", "sha256": "0" * 64}):
        assert b.status("POST", "/api/keys", body) == 400, body
    assert b.ok("GET", "/api/keys")["data"] == []
    assert b.status("DELETE", "/api/keys/k_nonsense") == 404
    assert b.error("GET", "/api/keys", Cookie="")[0] == 401


# ---- jobs that a key asks for

class Program:
    """What a key with the right to the page does with jobs."""

    def __init__(self, s, b, name, **limits):
        made = b.ok("POST", "/api/keys", {"name": name, "page": True, **limits})
        self.id, self.secret, self.of = made["id"], made["secret"], Browser(s.url)

    def ok(self, method, path, body=None):
        return self.of.ok(method, path, body, Authorization="Bearer " + self.secret)

    def batch(self, n, tokens):
        body = {"messages": [{"role": "user", "content": "Go on"}], "max_tokens": tokens, "ignore_eos": True}
        lines = [{"custom_id": str(i), "method": "POST", "url": "/v1/chat/completions", "body": body} for i in range(n)]
        return self.ok("POST", "/api/jobs", {"kind": "batch", "params": {"text": "\n".join(map(json.dumps, lines))}})["id"]


def ended(b, job, *states):
    assert wait_until(lambda: b.ok("GET", f"/api/jobs/{job}")["state"] in states, 60), b.ok("GET", f"/api/jobs/{job}")
    return b.ok("GET", f"/api/jobs/{job}")


def test_a_job_counts_as_requests_of_its_key(alice):
    s, b = alice
    program = Program(s, b, "program")
    job = ended(b, program.batch(3, 5), "done")
    key = named(b, "program")
    assert (key["requests"], key["tokens"], key["running"]) == (3, job["result"]["prompt_tokens"] + job["result"]["completion_tokens"], 0)
    assert job["result"]["completion_tokens"] == 15 and "key" not in job


def test_a_job_waits_for_the_limits_of_its_key(alice):
    s, b = alice
    program = Program(s, b, "slow", tokens_per_minute=10)
    ended(b, program.batch(1, 100), "done")  # ten minutes' worth
    with pytest.raises(openai.RateLimitError):
        ask(s, program.secret)
    job = program.batch(1, 2)
    assert wait_until(lambda: b.ok("GET", f"/api/jobs/{job}")["state"] == "running")
    b.ok("POST", f"/api/jobs/{job}/pause")
    assert ended(b, job, "paused", "done")["progress"]["done"] == 0 and named(b, "slow")["requests"] == 1
    b.ok("POST", f"/api/jobs/{job}/resume")  # hers from here, and she has no limits
    ended(b, job, "done")
    assert named(b, "slow")["requests"] == 1


def test_a_job_has_its_key_after_a_restart(outside):
    s = outside()
    b = Browser(s.url)
    b.sign_up(s.code)
    program = Program(s, b, "program")
    first, _, queued = program.batch(30, 2000), program.batch(30, 2000), program.batch(2, 3)
    assert b.ok("GET", f"/api/jobs/{queued}")["state"] == "queued"  # two run at once
    s.end()
    s = outside()
    b = Browser(s.url)
    b.sign_in()
    job = ended(b, queued, "done", "failed")  # it began before anybody asked
    assert job["state"] == "done" and b.ok("GET", f"/api/jobs/{first}")["state"] == "interrupted"
    assert named(b, "program")["tokens"] >= job["result"]["prompt_tokens"] + job["result"]["completion_tokens"]


def test_a_job_ends_with_its_key(alice):
    s, b = alice
    program = Program(s, b, "gone", concurrent=1)
    job = program.batch(30, 2000)
    b.ok("DELETE", f"/api/keys/{program.id}")
    error = ended(b, job, "failed", "done")["error"]
    assert "not valid any more" in error["message"]
    b.ok("POST", f"/api/jobs/{job}/resume")
    assert wait_until(lambda: b.ok("GET", f"/api/jobs/{job}")["progress"]["done"] > 0, 60)
    b.ok("POST", f"/api/jobs/{job}/cancel")


def test_what_a_key_may_do_on_the_page(alice):
    s, b = alice
    plain, page = (b.ok("POST", "/api/keys", {"name": name, "page": name == "page"})["secret"] for name in ("plain", "page"))
    b.ok("POST", "/api/chats", {"title": "hers"})
    program = Browser(s.url, Sec_Fetch_Site=None, Origin=None)
    program.fields = {}
    assert program.error("GET", "/api/chats", Authorization="Bearer " + plain) == (403, "key_not_for_page")
    assert [c["title"] for c in program.ok("GET", "/api/chats", Authorization="Bearer " + page)["data"]] == ["hers"]
    assert program.status("POST", "/api/chats", {"title": "by program"}, Authorization="Bearer " + page) == 201
    assert len(b.ok("GET", "/api/chats")["data"]) == 2
    for method, path, body in (("GET", "/api/keys", None), ("POST", "/api/keys", {"name": "more"}), ("PATCH", "/api/keys", {"checked": False})):
        assert program.error(method, path, body, Authorization="Bearer " + page) == (403, "session_needed")
    assert program.error("PATCH", "/api/account", {"password": "x", "new_password": "y" * 9}, Authorization="Bearer " + page) == (403, "session_needed")
    line = program.line()
    line.request("GET", "/api/events", headers={"Authorization": "Bearer " + page})
    stream = line.getresponse()
    assert stream.status == 200
    b.ok("DELETE", f"/api/keys/{named(b, 'page')['id']}")
    assert b"hello" in stream.read()  # which has ended with the key


def test_the_first_key_on_loopback_switches_checking_on(outside):
    s = outside(host="127.0.0.1")
    b = Browser(s.url)
    assert b.ok("GET", "/api/keys") == {"data": [], "checked": False, "forced": False}
    assert ask(s, "whatever")
    made = b.ok("POST", "/api/keys", {"name": "first"})
    with pytest.raises(openai.AuthenticationError):
        ask(s, "whatever")
    assert ask(s, made["secret"]) and b.status("GET", "/api/chats") == 200  # the page goes on without
    assert b.error("PATCH", "/api/keys", {"checked": False}) == (409, "conflict")
    b.ok("DELETE", f"/api/keys/{made['id']}")
    with pytest.raises(openai.AuthenticationError):  # a revoked key doesn't become as good as any
        ask(s, made["secret"])
    s.end()
    s = outside(host="127.0.0.1")
    with pytest.raises(openai.AuthenticationError):
        ask(s, made["secret"])
    assert Browser(s.url).ok("PATCH", "/api/keys", {"checked": False}) == {"checked": False}
    assert ask(s, "whatever")


def test_keys_outlive_kill(outside):
    s = outside()
    b = Browser(s.url)
    b.sign_up(s.code)
    secret = b.ok("POST", "/api/keys", {"name": "laptop", "tokens_per_minute": 1000})["secret"]
    gone = b.ok("POST", "/api/keys", {"name": "gone"})
    b.ok("DELETE", f"/api/keys/{gone['id']}")
    s.process.send_signal(signal.SIGKILL)
    s.process.wait()
    port = s.url.rsplit(":", 1)[1]
    s = outside("--port", port)
    assert ask(s, secret).usage.total_tokens == 6
    with pytest.raises(openai.AuthenticationError):
        ask(s, gone["secret"])
    s.end()  # in order: what was used is kept
    s = outside("--port", port)
    key = named(b, "laptop")
    assert (key["requests"], key["tokens"], key["tokens_per_minute"]) == (1, 6, 1000)
    assert subprocess.run([SAMPAN, "db", "check", "--history", str(s.process.args[s.process.args.index("--history") + 1])], timeout=60).returncode == 0


def test_beside_keys_of_file_and_settings(outside, tmp_path):
    path = tmp_path / "keys.json"
    in_file = subprocess.run([SAMPAN, "key", "new", "filed", "--page", "--keys", str(path)], capture_output=True, text=True, timeout=60).stdout.strip()
    s = outside("--keys", str(path), "--api-key", "plain", "--admin-key", "boss")
    b = Browser(s.url)
    b.sign_up(s.code)
    made = b.ok("POST", "/api/keys", {"name": "made"})
    assert [(k["name"], k["source"], k["id"] is None) for k in b.ok("GET", "/api/keys")["data"]] == [
        ("made", "page", False), ("api-key", "setting", True), ("filed", "file", True)]
    for secret in (in_file, "plain", made["secret"]):
        assert ask(s, secret)
    assert b.status("GET", "/api/chats", Cookie=None, Authorization="Bearer " + in_file) == 200
    assert b.error("GET", "/api/chats", Cookie=None, Authorization="Bearer plain") == (403, "key_not_for_page")
    assert b.status("POST", "/admin/reload", {}, Authorization="Bearer boss") == 200
    assert ask(s, made["secret"])
    listed = {k["name"] for k in b.ok("GET", "/admin/status", Authorization="Bearer boss")["keys"]}
    assert listed == {"made", "filed", "api-key"}


def test_hundreds_of_keys(alice):
    s, b = alice
    begin = time.monotonic()
    secrets = [b.ok("POST", "/api/keys", {"name": f"k{i}"})["secret"] for i in range(300)]
    assert time.monotonic() - begin < 60
    assert ask(s, secrets[0]) and ask(s, secrets[299]) and len(b.ok("GET", "/api/keys")["data"]) == 300
    assert wait_until(lambda: named(b, "k0")["requests"] == 1)
