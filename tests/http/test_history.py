"""The page's API: chats that are kept, answers that go on when nobody listens, one stream of events that can be taken up
again, and a history that outlives every way to end a server."""
import concurrent.futures
import gzip
import json
import os
import queue
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
import tiny
from conftest import SAMPAN, Server, wait_until

KILLS = int(os.environ.get("SAMPAN_KILLS", "5"))  # ends by SIGKILL in the midst of writing
LONG = {"temperature": 0, "max_tokens": 6000}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("page") / "tiny"))


class Page(Server):
    """A server with a history, and what the page does with it."""

    def __init__(self, model, history, *args, **more):
        super().__init__("--history", str(history), *args, model=model, **more)

    def call(self, method, path, body=None, headers=None, raw=None):
        """Status and JSON (or text) of one call, as the page itself would make it."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        fields = {"Origin": self.url, **({"Content-Type": "application/json"} if data is not None else {}), **(headers or {})}
        request = urllib.request.Request(self.url + path, data, fields, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as r:
                text, kind, status = r.read(), r.headers["Content-Type"], r.status
        except urllib.error.HTTPError as r:
            text, kind, status = r.read(), r.headers["Content-Type"], r.code
        return status, json.loads(text) if kind == "application/json" else text.decode()

    def ok(self, method, path, body=None, want=(200, 201, 202)):
        status, said = self.call(method, path, body)
        assert status in want, (method, path, status, said)
        return said

    def chat(self, **fields):
        return self.ok("POST", "/api/chats", fields)["id"]

    def ask(self, chat, text, parent=None):
        return self.ok("POST", f"/api/chats/{chat}/messages", {"content": text, "parent": parent})["id"]

    def answer(self, chat, parent, **more):
        return self.ok("POST", f"/api/chats/{chat}/generate", {"parent": parent, **more})["id"]

    def message(self, chat, message):
        return next(m for m in self.ok("GET", f"/api/chats/{chat}")["messages"] if m["id"] == message)

    def ended(self, chat, message, seconds=60):
        assert wait_until(lambda: self.message(chat, message)["state"] not in ("queued", "streaming"), seconds)
        return self.message(chat, message)

    def found(self, words, **more):
        query = urllib.parse.urlencode({"q": words, **more})
        return self.ok("GET", f"/api/chats?{query}")["data"]


class Listener:
    """One stream of events, read by a thread."""

    def __init__(self, page, last=None):
        fields = {} if last is None else {"Last-Event-ID": str(last)}
        self.answer = urllib.request.urlopen(urllib.request.Request(page.url + "/api/events", None, fields), timeout=60)
        self.events, self.last = queue.Queue(), None
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        event = {}
        try:
            for line in self.answer:
                line = line.decode().rstrip("\n")
                if not line and event:
                    self.events.put((int(event["id"]), event["event"], json.loads(event["data"])))
                    event = {}
                elif line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    event[name] = value
        except (OSError, ValueError, AttributeError):
            pass
        self.events.put(None)

    def next(self, seconds=30):
        event = self.events.get(timeout=seconds)
        if event:
            self.last = event[0]
        return event

    def until(self, wanted, seconds=30):
        """All events up to the first that is wanted."""
        seen, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            event = self.next(max(0.1, end - time.monotonic()))
            assert event, seen[-3:]
            seen.append(event)
            if wanted(event[1], event[2]):
                return seen
        raise AssertionError(seen[-3:])

    def close(self):
        self.answer.fp.raw._sock.shutdown(socket.SHUT_RDWR)  # wakes the reader, which close() would wait for
        self.answer.close()


def final(message):
    return lambda name, data: name == "message" and data["id"] == message and data["state"] not in ("queued", "streaming")


def text_of(events, message, start=""):
    """What the deltas of a message make together: each goes on where the text ends."""
    text = start.encode()
    for _, name, data in events:
        if name == "delta" and data["message"] == message:
            assert data["offset"] == len(text)
            text += data["text"].encode()
    return text.decode()


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    p = Page(model, tmp_path_factory.mktemp("history") / "history.db")
    yield p
    p.end()


# ---- chats ----

def test_a_chat_from_question_to_answer(page):
    listener = Listener(page)
    assert listener.next()[1] == "hello"
    chat = page.chat(system="Be brief.", params={"temperature": 0, "max_tokens": 24})
    question = page.ask(chat, "长江有多长？\n请回答。")
    message = page.answer(chat, question)
    events = listener.until(final(message))
    kept = page.message(chat, message)
    assert text_of(events, message) == kept["content"] == events[-1][2]["content"]
    assert kept["state"] == "complete" and kept["finish_reason"] in ("stop", "length") and kept["error"] is None
    assert kept["usage"]["completion_tokens"] <= 24 and kept["usage"]["prompt_tokens"] > 10 and kept["timings"]["ttft_ms"] > 0
    states = [d["state"] for _, n, d in events if n == "message" and d["id"] == message]
    assert states == ["queued", "streaming", "complete"]
    progress = [d for _, n, d in events if n == "progress" and "total" in d]
    assert progress and progress[-1]["processed"] == progress[-1]["total"] == kept["usage"]["prompt_tokens"]
    whole = page.ok("GET", f"/api/chats/{chat}")
    assert whole["title"] == "长江有多长？" and whole["head"] == message and whole["messages_count"] == 2
    ids = [i for i, _, _ in events]
    assert ids == sorted(set(ids))
    listener.close()


def test_the_same_answer_as_the_public_api(page):
    """One template, one validation, one sampling."""
    chat = page.chat(system="Be brief.", params={"temperature": 0, "max_tokens": 16})
    kept = page.ended(chat, page.answer(chat, page.ask(chat, "Hello!")))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]
    public = page.client.chat.completions.create(model=page.model, messages=messages, temperature=0, max_tokens=16)
    assert public.choices[0].message.content == kept["content"]
    assert public.usage.prompt_tokens == kept["usage"]["prompt_tokens"]
    status, said = page.call("POST", f"/api/chats/{chat}/generate", {"parent": kept["parent"], "params": {"temperature": -1}})
    assert status == 400 and said["error"]["param"] == "temperature"
    status, said = page.call("POST", f"/api/chats/{chat}/generate", {"parent": kept["parent"], "model": "nobody"})
    assert status == 404 and said["error"]["code"] == "model_not_found"
    status, said = page.call("POST", f"/api/chats/{chat}/generate", {"parent": page.ask(chat, "word " * 9000)})
    assert status == 400 and said["error"]["code"] == "context_length_exceeded"


def test_branches_edits_and_continue(page):
    chat = page.chat(params={"temperature": 0, "max_tokens": 8})
    question = page.ask(chat, "One")
    first = page.ended(chat, page.answer(chat, question))
    second = page.ended(chat, page.answer(chat, question, params={"temperature": 1, "seed": 5}))
    assert first["parent"] == second["parent"] == question
    assert page.ok("GET", f"/api/chats/{chat}")["head"] == second["id"]
    assert page.ok("PATCH", f"/api/chats/{chat}", {"head": first["id"]})["head"] == first["id"]
    listener = Listener(page)
    went_on = page.answer(chat, first["id"], **{"continue": True})
    assert went_on == first["id"]
    events = listener.until(final(went_on))
    longer = page.message(chat, first["id"])
    assert longer["content"] == text_of(events, went_on, first["content"]) and longer["content"].startswith(first["content"])
    page.ok("PATCH", f"/api/messages/{first['id']}", {"content": "corrected"})
    assert page.message(chat, first["id"])["content"] == "corrected"
    status, said = page.call("POST", f"/api/chats/{chat}/generate", {"parent": first["id"]})
    assert status == 400 and said["error"]["param"] == "parent"
    listener.close()


def test_retries_are_harmless(page):
    chat, other = page.chat(), page.chat()
    mine, answer = "m_" + "b" * 26, "m_" + "d" * 26
    body = {"id": mine, "content": "Hi"}
    assert page.call("POST", f"/api/chats/{chat}/messages", body)[0] == 201
    assert page.call("POST", f"/api/chats/{chat}/messages", body)[0] == 200
    assert page.call("POST", f"/api/chats/{chat}/messages", {**body, "content": "Ho"})[0] == 409
    assert page.call("POST", f"/api/chats/{other}/messages", body)[0] == 409
    ask = {"id": answer, "parent": mine, "params": {"max_tokens": 4}}
    assert page.call("POST", f"/api/chats/{chat}/generate", ask)[0] == 202
    assert page.call("POST", f"/api/chats/{chat}/generate", ask)[0] == 200
    page.ended(chat, answer)
    assert len(page.ok("GET", f"/api/chats/{chat}")["messages"]) == 2


def test_lists_folders_and_undo(page):
    ids = [page.chat(title=f"list {i}", folder="lists") for i in range(5)]
    seen, cursor = [], ""
    while cursor is not None:
        said = page.ok("GET", f"/api/chats?folder=lists&limit=2&cursor={cursor}" if cursor else "/api/chats?folder=lists&limit=2")
        seen += [c["id"] for c in said["data"]]
        cursor = said["next"]
    assert seen == ids[::-1]
    assert "lists" in page.ok("GET", "/api/info")["folders"]
    page.ok("PATCH", f"/api/chats/{ids[0]}", {"pinned": True})
    assert [c["id"] for c in page.ok("GET", "/api/chats?pinned=1&folder=lists")["data"]] == [ids[0]]
    assert page.ok("DELETE", f"/api/chats/{ids[1]}")["deleted"]
    assert ids[1] not in [c["id"] for c in page.ok("GET", "/api/chats?folder=lists")["data"]]
    assert page.ok("POST", f"/api/chats/{ids[1]}/restore")["deleted"] is None
    listener = Listener(page)
    page.ok("DELETE", f"/api/chats/{ids[2]}?forever=1")
    assert page.call("GET", f"/api/chats/{ids[2]}")[0] == 404
    assert listener.until(lambda name, data: name == "chat_deleted")[-1][2] == {"id": ids[2]}
    listener.close()


def test_what_was_deleted_long_ago_goes(model, tmp_path):
    file = tmp_path / "history.db"
    first = Page(model, file)
    old, young, kept = (first.chat(title=title) for title in ("old", "young", "kept"))
    for chat in (old, young):
        first.ok("DELETE", f"/api/chats/{chat}")
    first.end()
    with sqlite3.connect(file) as db:
        db.execute("UPDATE chats SET deleted = deleted - 8 * 86400 * 1000000 WHERE id = ?", (old,))

    def left(page):
        return {c["id"] for deleted in (0, 1) for c in page.ok("GET", f"/api/chats?deleted={deleted}")["data"]}

    for days, want in (("0", {old, young, kept}), ("7", {young, kept})):
        page = Page(model, file, "--keep-deleted", days)
        assert wait_until(lambda: left(page) == want)
        page.end()


def test_search_finds_two_characters(page):
    bridge, river = page.chat(title="Bridges"), page.chat()
    page.ask(bridge, "武汉长江大桥是哪一年建成的？")
    page.ask(river, "黄河有多长？ And the Yangtze?")
    hits = page.found("大桥")
    assert [h["id"] for h in hits] == [bridge] and "\u0002大桥\u0003" in hits[0]["snippet"] and hits[0]["message"]
    assert [h["id"] for h in page.found("黄河")] == [river]
    assert [h["id"] for h in page.found("桥")] == [bridge]
    assert [h["id"] for h in page.found("yangt")] == [river]
    title = page.found("bridges")
    assert [h["id"] for h in title] == [bridge] and title[0]["message"] is None
    assert page.found("江桥") == [] and page.found("\" OR *") == []


BAD = [("POST", "/api/chats", {"title": 5}, 400), ("POST", "/api/chats", {"colour": "red"}, 400), ("POST", "/api/chats", {"params": {"heat": 1}}, 400),
       ("POST", "/api/chats", {"params": {"top_p": 7}}, 400), ("GET", "/api/chats/c_nobody", None, 404), ("GET", "/api/chats/c_" + "a" * 26, None, 404),
       ("GET", "/api/chats?limit=0", None, 400), ("GET", "/api/chats?limit=many", None, 400), ("GET", "/api/chats?cursor=x", None, 400),
       ("GET", "/api/chats?q=%FF", None, 400), ("PATCH", "/api/messages/m_" + "a" * 26, {"content": "x"}, 404), ("GET", "/api/export", None, 400),
       ("POST", "/api/messages/m_" + "a" * 26 + "/stop", None, 404), ("GET", "/api/export?all=1&format=pdf", None, 400), ("GET", "/api/events?last=x", None, 400)]


@pytest.mark.parametrize("method,path,body,want", BAD, ids=[f"{m} {p}" for m, p, _, _ in BAD])
def test_wrong_requests(page, method, path, body, want):
    status, said = page.call(method, path, body)
    assert status == want and said["error"]["message"] and said["error"]["type"] == "invalid_request_error"


# ---- whose page it is ----

def test_other_sites_may_not_write(page):
    body = json.dumps({"title": "x"}).encode()
    tries = [({"Origin": "http://evil.example", "Content-Type": "application/json"}, 403),
             ({"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}, 403),
             ({"Sec-Fetch-Site": "same-site", "Origin": page.url, "Content-Type": "application/json"}, 403),
             ({"Content-Type": "application/json"}, 403), ({"Origin": "null", "Content-Type": "application/json"}, 403),
             ({"Origin": page.url, "Content-Type": "text/plain"}, 415),
             ({"Origin": page.url, "Content-Type": "application/x-www-form-urlencoded"}, 415),
             ({"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}, 201),
             ({"Sec-Fetch-Site": "none", "Content-Type": "application/json; charset=utf-8"}, 201), ({"Origin": page.url, "Content-Type": "application/json"}, 201)]
    for fields, want in tries:
        request = urllib.request.Request(page.url + "/api/chats", body, fields, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as r:
                status = r.status
        except urllib.error.HTTPError as r:
            status = r.code
        assert status == want, fields
    host, port = page.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as c:  # one that passes, before one that doesn't
        c.sendall(f"POST /api/chats HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {page.url}\r\nOrigin: http://evil.example\r\n"
                  f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        assert c.recv(100).startswith(b"HTTP/1.1 400 ")


def test_keys(model, tmp_path):
    s = Page(model, tmp_path / "history.db", "--api-key", "sesame")
    assert s.call("GET", "/api/info")[0] == 401 and s.call("GET", "/api/events")[0] == 401
    key = {"Authorization": "Bearer sesame"}
    status, info = s.call("GET", "/api/info", headers=key)
    assert status == 200 and info["auth"] == "key" and info["history"]["state"] == "on" and info["models"][0]["max_model_len"] > 0
    assert s.call("POST", "/api/chats", {}, {**key, "Origin": ""})[0] in (201, 403)
    s.end()


# ---- answers that go on ----

def running(page, listener, chat, question, **more):
    """An answer that is being written: something of it has come."""
    message = page.answer(chat, question, **more)
    listener.until(lambda name, data: name == "delta" and data["message"] == message)
    return message


def test_a_reload_in_mid_answer(page):
    listener = Listener(page)
    chat = page.chat(params=LONG)
    question = page.ask(chat, "Go on and on")
    message = running(page, listener, chat, question)
    last = listener.last
    listener.close()
    part = page.message(chat, message)
    again = Listener(page, last)
    hello = again.next()
    assert hello[1] == "hello" and hello[2]["last"] == last
    events = again.until(final(message), 60)
    start = next(d["offset"] for _, n, d in events if n == "delta")
    whole = page.message(chat, message)
    data = whole["content"].encode()
    assert data[:start].decode() + text_of([(0, "delta", {**d, "offset": d["offset"] - start}) for _, n, d in events
                                           if n == "delta" and d["message"] == message], message) == whole["content"]
    assert whole["content"].startswith(part["content"])
    again.close()


def test_nobody_listens(page):
    chat = page.chat(params={"temperature": 0, "max_tokens": 400})
    question = page.ask(chat, "Alone")
    host, port = page.url.removeprefix("http://").split(":")
    body = json.dumps({"parent": question}).encode()
    with socket.create_connection((host, int(port))) as c:  # gone before the answer to the request itself
        c.sendall(f"POST /api/chats/{chat}/generate HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {page.url}\r\n"
                  f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(0.05)
    assert wait_until(lambda: len(page.ok("GET", f"/api/chats/{chat}")["messages"]) == 2)
    message = page.ok("GET", f"/api/chats/{chat}")["messages"][1]["id"]
    assert page.ended(chat, message)["state"] == "complete"


def test_clients_that_leave_at_once(page):
    """A page that is navigated away from drops its requests: at any moment, and nothing comes of it."""
    chat = page.chat(params={"max_tokens": 2})
    question = page.ask(chat, "Leave")
    host, port = page.url.removeprefix("http://").split(":")
    body = json.dumps({"parent": question})
    calls = ["GET /api/chats?q=leave", f"GET /api/chats/{chat}", f"POST /api/chats/{chat}/generate", "GET /api/events", "GET /api/export?all=1"]
    for i in range(100):
        line, more = calls[i % len(calls)], body if "generate" in calls[i % len(calls)] else ""
        with socket.create_connection((host, int(port))) as c:
            c.sendall(f"{line} HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {page.url}\r\nContent-Type: application/json\r\n"
                      f"Content-Length: {len(more)}\r\n\r\n{more}".encode())
            time.sleep(i % 7 * 0.0005)
            if i % 2:  # not an orderly end
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert wait_until(lambda: all(m["state"] == "complete" for m in page.ok("GET", f"/api/chats/{chat}")["messages"]))
    # Of the twenty answers those ten are there whose client ended well; a reset may overtake its own request.
    assert 11 <= len(page.ok("GET", f"/api/chats/{chat}")["messages"]) <= 21


def test_stop(page):
    listener = Listener(page)
    chat = page.chat(params=LONG)
    message = running(page, listener, chat, page.ask(chat, "Stop me"))
    assert page.call("PATCH", f"/api/messages/{message}", {"content": "x"})[0] == 409
    status, said = page.call("POST", f"/api/chats/{chat}/generate", {"parent": message, "continue": True})
    assert status == 409 and said["error"]["code"] == "conflict"
    stopped = page.ok("POST", f"/api/messages/{message}/stop")
    assert stopped["state"] == "stopped" and stopped["content"]
    assert listener.until(final(message))[-1][2]["content"] == stopped["content"]
    assert page.message(chat, message)["content"] == stopped["content"]
    assert page.ok("POST", f"/api/messages/{message}/stop")["state"] == "stopped"
    listener.close()


def test_what_was_stopped_is_over(page):
    """When stop has been answered the end is kept, and the same message may go on at once."""
    before = None
    for _ in range(8):
        if before is None or used > 2000:  # its chat's context would soon be full
            chat = page.chat(params=LONG | {"min_tokens": LONG["max_tokens"]})
            message, before, used = page.answer(chat, page.ask(chat, "Stop and go on")), "", 0
        stopped = page.ok("POST", f"/api/messages/{message}/stop")
        assert stopped["state"] == "stopped" and stopped["usage"] and stopped["content"].startswith(before)
        assert page.message(chat, message) == stopped
        before, used = stopped["content"], stopped["usage"]["prompt_tokens"] + stopped["usage"]["completion_tokens"]
        if used <= 2000:
            assert page.answer(chat, message, **{"continue": True}) == message
            assert wait_until(lambda: page.message(chat, message)["state"] == "streaming")
    page.ok("POST", f"/api/messages/{message}/stop")
    message = page.answer(chat, page.ask(chat, "Stop twice", None))
    with concurrent.futures.ThreadPoolExecutor(4) as many:  # who presses twice
        said = list(many.map(lambda _: page.ok("POST", f"/api/messages/{message}/stop"), range(4)))
    assert all(m == page.message(chat, message) for m in said)


def test_two_listeners_hear_the_same(page):
    a, b = Listener(page), Listener(page)
    assert a.next()[1] == b.next()[1] == "hello"
    chats = [page.chat(params={"temperature": 1, "seed": i, "max_tokens": 200}) for i in range(4)]
    messages = [page.answer(c, page.ask(c, f"Chat {i}")) for i, c in enumerate(chats)]
    heard = []
    for listener in (a, b):
        left, events = set(messages), []
        while left:
            events.append(listener.next())
            left -= {m for m in left if final(m)(*events[-1][1:])}
        heard.append(events)
        listener.close()
    n = min(map(len, heard))
    assert heard[0][:n] == heard[1][:n]
    for chat, message in zip(chats, messages):
        assert text_of(heard[0], message) == page.message(chat, message)["content"]


def test_a_slow_listener_harms_nobody(page):
    host, port = page.url.removeprefix("http://").split(":")
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect((host, int(port)))
    slow.sendall(f"GET /api/events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    chat = page.chat()
    long = page.ask(chat, "x" * 200_000)
    listener = Listener(page)
    for i in range(120):  # 24 MB of events: more than the ring holds
        page.ok("PATCH", f"/api/messages/{long}", {"content": f"{i} " + "y" * 200_000})
        listener.until(lambda name, data: name == "message" and data["content"].startswith(f"{i} "))
    listener.close()
    heard = b""
    slow.settimeout(5)
    try:
        while b"event: reset" not in heard[-4000:]:
            piece = slow.recv(1 << 20)
            assert piece
            heard = heard[-4000:] + piece
    finally:
        slow.close()


def test_ids_of_another_time_mean_reset(page):
    listener = Listener(page, 5)
    assert listener.next()[1] == "hello" and listener.next()[1] == "reset"
    listener.close()
    listener = Listener(page, 9 * 10**15)
    assert listener.next()[1] == "hello" and listener.next()[1] == "reset"
    listener.close()


# ---- ends of all kinds ----

def test_sigterm_lets_answers_end_and_streams_close(model, tmp_path):
    s = Page(model, tmp_path / "history.db")
    listener = Listener(s)
    chat = s.chat(params={"temperature": 0, "max_tokens": 300})
    message = s.answer(chat, s.ask(chat, "Last words"))
    s.end()
    assert listener.until(final(message))[-1][2]["state"] == "complete"
    assert listener.next() is None
    again = Page(model, tmp_path / "history.db")
    assert again.message(chat, message)["state"] == "complete"
    again.end()


def test_a_cut_answer_is_interrupted(model, tmp_path):
    s = Page(model, tmp_path / "history.db", "--drain-seconds", "0")
    listener = Listener(s)
    chat = s.chat(params=LONG)
    message = running(s, listener, chat, s.ask(chat, "Cut"))
    s.end()
    again = Page(model, tmp_path / "history.db")
    kept = again.message(chat, message)
    assert kept["state"] == "interrupted" and kept["content"]
    again.end()


def check(history):
    done = subprocess.run([SAMPAN, "db", "check", "--history", str(history), "--json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_kill_9_while_it_writes(model, tmp_path):
    """Whatever was told as finished or taken is there afterwards, and the file is sound."""
    history, promised = tmp_path / "history.db", {}
    for turn in range(KILLS):
        s = Page(model, history)
        for message, (chat, content) in promised.items():
            assert s.message(chat, message)["content"] == content
        listener, chats = Listener(s), [s.chat(params={"temperature": 1, "seed": turn * 10 + i, "max_tokens": 300}) for i in range(3)]

        def work(chat):
            try:
                parent = None
                for i in range(1000):
                    question = s.ask(chat, f"问题 {turn}-{i}", parent)
                    promised[question] = (chat, f"问题 {turn}-{i}")
                    parent = s.answer(chat, question)
                    s.ended(chat, parent)
            except (OSError, AssertionError, StopIteration):  # the server is gone
                pass
        threads = [threading.Thread(target=work, args=(c,)) for c in chats]
        for t in threads:
            t.start()
        end = time.monotonic() + 0.6 + (turn % 7) * 0.11
        while time.monotonic() < end:
            try:
                event = listener.next(0.05)
            except queue.Empty:
                continue
            if event and event[1] == "message" and event[2]["state"] == "complete":
                promised[event[2]["id"]] = (event[2]["chat"], event[2]["content"])
        s.process.kill()
        s.process.wait(timeout=20)
        s.process.stdout.close()
        for t in threads:
            t.join(timeout=60)
        check(history)
    s = Page(model, history)
    for message, (chat, content) in promised.items():
        kept = s.message(chat, message)
        assert kept["content"] == content
    states = {m["state"] for c in {c for c, _ in promised.values()} for m in s.ok("GET", f"/api/chats/{c}")["messages"]}
    assert states <= {"complete", "interrupted", "stopped"} and len(promised) > 2 * KILLS
    s.end()
    print(f"{KILLS} kills, {len(promised)} messages promised and kept")


# ---- without a history ----

def test_off(model):
    s = Server("--history", "off", model=model)
    try:
        status = urllib.request.urlopen(s.url + "/api/info", timeout=30)
        assert json.load(status)["history"] == {"state": "off", "reason": None}
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(s.url + "/api/chats", timeout=30)
        assert caught.value.code == 503 and json.load(caught.value)["error"]["code"] == "history_off"
    finally:
        s.end()


def test_a_second_server_says_who_has_it(model, tmp_path):
    first = Page(model, tmp_path / "history.db")
    second = Page(model, tmp_path / "history.db")
    info = second.ok("GET", "/api/info")
    assert info["history"]["state"] == "unavailable" and str(first.process.pid) in info["history"]["reason"]
    status, said = second.call("POST", "/api/chats", {})
    assert status == 503 and said["error"]["code"] == "history_unavailable"
    assert second.client.chat.completions.create(model=second.model, messages=[{"role": "user", "content": "Hi"}], max_tokens=2).choices
    second.end()
    first.end()


def test_a_file_that_is_none(model, tmp_path):
    (tmp_path / "history.db").write_text("not a database, but long enough to be taken for one " * 20)
    s = Page(model, tmp_path / "history.db")
    assert "history" in s.ok("GET", "/api/info")["history"]["reason"]
    s.end()
    assert (tmp_path / "history.db").read_text().startswith("not a database")


def test_a_full_disk(model, tmp_path):
    """A limit on file sizes stands for the full disk: what is typed is refused with words, and serving goes on."""
    history = tmp_path / "history.db"
    s = Page(model, history)
    chat = s.chat(title="before")
    limit = history.with_name("history.db-wal").stat().st_size + 60_000
    subprocess.run(["prlimit", f"--pid={s.process.pid}", f"--fsize={limit}:"], check=True)
    said = [s.call("POST", f"/api/chats/{chat}/messages", {"content": "z" * 30_000}) for _ in range(6)]
    refused = [(status, body["error"]["code"]) for status, body in said if status >= 400]
    assert refused and set(refused) <= {(507, "history_full"), (500, "history_failed")}
    assert s.client.chat.completions.create(model=s.model, messages=[{"role": "user", "content": "Hi"}], max_tokens=2).choices
    subprocess.run(["prlimit", f"--pid={s.process.pid}", "--fsize=unlimited:"], check=True)
    assert s.call("POST", f"/api/chats/{chat}/messages", {"content": "again"})[0] == 201
    s.end()
    check(history)


# ---- files ----

def test_export_and_import(page, model, tmp_path):
    chat = page.chat(title="出口", folder="files", system="S", params={"top_p": 0.5, "max_tokens": 6})
    question = page.ask(chat, "带走")
    first = page.ended(chat, page.answer(chat, question))
    page.ended(chat, page.answer(chat, question, params={"seed": 9}))
    status, lines = page.call("GET", f"/api/export?chat={chat}&format=jsonl")
    assert status == 200 and lines.count("\n") == 1
    other = Page(model, tmp_path / "other.db")
    taken = other.call("POST", "/api/import", raw=lines.encode(), headers={"Content-Type": "application/jsonl"})
    assert taken == (200, {"chats": 1, "messages": 3, "skipped": []})
    here, there = page.ok("GET", f"/api/chats/{chat}"), other.ok("GET", f"/api/chats/{chat}")
    assert here == there
    again = other.call("POST", "/api/import", raw=lines.encode())[1]
    assert again["chats"] == 0 and "here already" in again["skipped"][0]["reason"]
    assert [c["id"] for c in other.found("带走")] == [chat]
    other.ok("DELETE", f"/api/chats/{chat}", want=(200, 204))
    assert other.found("带走") == []
    assert other.call("POST", "/api/import", raw=lines.encode())[1] == {"chats": 1, "messages": 0, "skipped": []}  # it was only marked
    assert [c["id"] for c in other.found("带走")] == [chat] and other.ok("GET", f"/api/chats/{chat}")["deleted"] is None
    status, text = page.call("GET", f"/api/export?chat={chat}&format=md")
    assert status == 200 and text.startswith("# 出口\n") and "带走" in text and first["content"] not in text.split("带走")[0]
    other.end()
    check(tmp_path / "other.db")


OPENAI = [{"title": "From OpenAI", "conversation_id": "conv-1", "create_time": 1700000000.5, "update_time": 1700000100, "current_node": "d", "mapping": {
    "r": {"id": "r", "message": None, "parent": None, "children": ["s"]},
    "s": {"id": "s", "message": {"author": {"role": "system"}, "content": {"content_type": "text", "parts": [""]}}, "parent": "r", "children": ["a"]},
    "a": {"id": "a", "message": {"author": {"role": "user"}, "create_time": 1700000001, "content": {"content_type": "text", "parts": ["翻译这句话"]}}, "parent": "s"},
    "t": {"id": "t", "message": {"author": {"role": "tool"}, "content": {"content_type": "text", "parts": ["secret"]}}, "parent": "a"},
    "d": {"id": "d", "message": {"author": {"role": "assistant"}, "create_time": 1700000002, "metadata": {"model_slug": "gpt"},
                                 "content": {"content_type": "text", "parts": ["Translated"]}}, "parent": "t"}}},
          {"title": "Ring", "id": "conv-2", "mapping": {"a": {"parent": "b", "message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["x"]}}},
                                                        "b": {"parent": "a", "message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["y"]}}}}},
          {"nothing": 1}]
WEBUI = [{"id": "w1", "title": "From Open WebUI", "created_at": 1700000000, "updated_at": 1700000009, "chat": {"history": {"currentId": "2", "messages": {
    "2": {"id": "2", "parentId": "1", "role": "assistant", "content": "Hello", "model": "llama", "timestamp": 1700000002},
    "1": {"id": "1", "parentId": None, "role": "user", "content": "你好世界", "timestamp": 1700000001}}}}}]


def test_imports_from_others(model, tmp_path):
    s = Page(model, tmp_path / "history.db")
    status, said = s.call("POST", "/api/import", OPENAI)
    assert status == 200 and (said["chats"], said["messages"], len(said["skipped"])) == (1, 2, 2)
    chat = s.found("翻译")[0]
    assert chat["title"] == "From OpenAI" and chat["created"] == 1700000000.5
    messages = s.ok("GET", f"/api/chats/{chat['id']}")["messages"]
    assert [m["content"] for m in messages] == ["翻译这句话", "Translated"] and messages[1]["parent"] == messages[0]["id"]
    assert messages[1]["model"] == "gpt" and chat["head"] == messages[1]["id"]
    assert s.call("POST", "/api/import", OPENAI)[1]["chats"] == 0
    assert s.call("POST", "/api/import", WEBUI)[1]["chats"] == 1
    assert s.found("世界")[0]["title"] == "From Open WebUI"
    for raw in (b"", b"hello", b"[", b"{", b'{"sampan":1}', b"[1,2,3]", b"\xff\xfe", b'{"sampan":1,"chat":{"id":"c_x"},"messages":[]}'):
        status, said = s.call("POST", "/api/import", raw=raw, headers={"Content-Type": "application/jsonl"})
        assert (status == 400) or (status == 200 and said["chats"] == 0 and said["skipped"]), raw
    s.end()
    check(tmp_path / "history.db")


def test_db_from_the_command_line(model, tmp_path):
    history, lines, copy = tmp_path / "history.db", tmp_path / "chats.jsonl", tmp_path / "copy.db"
    run = lambda *args: subprocess.run([SAMPAN, "db", *map(str, args)], capture_output=True, text=True, timeout=60)
    s = Page(model, history)
    chat = s.chat(title="命令行")
    s.ask(chat, "你好")
    assert run("check", "--history", history).returncode == 0  # also while a server has it
    assert run("backup", copy, "--history", history).returncode == 0 and run("backup", copy, "--history", history).returncode == 1
    assert run("export", lines, "--history", history).returncode == 0
    busy = run("import", lines, "--history", history)
    assert busy.returncode == 1 and "another Sampan" in busy.stderr
    s.end()
    assert "你好" in run("export", "--chat", chat, "--as", "md", "--history", copy).stdout
    done = run("import", lines, "--history", tmp_path / "new.db", "--json")
    assert json.loads(done.stdout) == {"chats": 1, "messages": 1, "skipped_count": 0, "skipped": []}
    assert check(tmp_path / "new.db")["messages"] == 1
    copy.write_bytes(copy.read_bytes()[:5000])
    damaged = run("check", "--history", copy)
    assert damaged.returncode == 1 and "damaged" in damaged.stdout + damaged.stderr
    assert run("check", "--history", tmp_path / "none.db").returncode == 1 and run("fly").returncode == 2


# ---- the page's files ----

def test_the_page_s_files(model, tmp_path):
    ui = tmp_path / "ui"
    (ui / "assets").mkdir(parents=True)
    (ui / "index.html").write_text("<!doctype html><title>here</title>")
    (ui / "assets/app-1.js").write_text("1")
    (ui / "theme.js").write_text("dark")
    (ui / ".hidden").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    s = Server("--ui-dir", str(ui), "--history", "off", model=model)
    for path, want in (("/", "here"), ("/chat/c_1", "here"), ("/history", "here"), ("/settings", "here"), ("/assets/app-1.js", "1"),
                       ("/theme.js", "dark")):
        with urllib.request.urlopen(s.url + path, timeout=30) as r:
            assert want in r.read().decode()
            policy = r.headers["Content-Security-Policy"]
            assert "script-src 'self';" in policy and "frame-ancestors 'none'" in policy and r.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/assets/../secret.txt", "/assets/%2e%2e/secret.txt", "/assets/..%2fsecret.txt", "/assets/none.js",
                 "/../secret.txt", "/.hidden", "/none.js", "/assets"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(s.url + path, timeout=30)
        assert caught.value.code in (400, 404)
    s.end()


def test_the_built_in_page(page):
    def get(path, **fields):
        with urllib.request.urlopen(urllib.request.Request(page.url + path, None, fields), timeout=30) as r:
            return r.read(), r.headers

    packed = {"Accept-Encoding": "gzip"}
    body, headers = get("/", **packed)
    if not headers["ETag"]:  # a build without the page says how to get it
        assert b"tools/web.py" in body and b"docs" in body
        return
    with pytest.raises(urllib.error.HTTPError) as caught:
        get("/", **packed, **{"If-None-Match": headers["ETag"]})
    assert caught.value.code == 304
    script, headers = get("/" + re.search(rb"assets/[\w.-]+\.js", body)[0].decode(), **packed)
    assert headers["Content-Encoding"] == "gzip" and "immutable" in headers["Cache-Control"] and gzip.decompress(script)
    body, headers = get("/")  # who can't read that is told
    assert headers["Vary"] == "Accept-Encoding" and b"gzip" in body
