"""Kept answers of models that are loaded on demand: shown at once, made once, held to their end."""
import http.client
import json

import pytest
import tiny
from conftest import wait_until
from test_history import LONG, Listener, Page, final, running, text_of
from test_keys import ADMIN, key, send

KEY = {"Authorization": "Bearer " + ADMIN}
SHORT = {"temperature": 0, "max_tokens": 24, "seed": 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [str(tiny.make(root / name)) for name in ("one", "two")]


@pytest.fixture
def serve(folders, tmp_path):
    """A server of two models, of which none is loaded before it is asked for."""
    made = []

    def start(*args):
        made.append(Page(folders[0], tmp_path / "history.db", "--load", "demand", "--model", folders[1], "--max-seqs", "1",
                         "--admin-key", ADMIN, *args))
        return made[-1]
    yield start
    for s in made:
        if s.process.poll() is None:
            s.end()


def states(s):
    return {m["id"]: m["state"] for m in send(s, "GET", "/admin/status", **KEY)[2]["models"]}


def room_for_one(s):
    """--memory for one of the two."""
    assert s.client.completions.create(model="one", prompt="a", max_tokens=1)
    size = next(m["memory_bytes"] for m in send(s, "GET", "/admin/status", **KEY)[2]["models"] if m["id"] == "one")
    s.end()
    return "--memory", str(int(size * 1.2))


def waiting(s):
    return [r for r in send(s, "GET", "/admin/requests", **KEY)[2]["data"] if r["state"] == "waiting_for_model"]


def answers(s, chat):
    return [m for m in s.ok("GET", f"/api/chats/{chat}")["messages"] if m["role"] == "assistant"]


@pytest.fixture
def busy(serve):
    """A server that has room for one model, which writes a long answer: another has to wait. Its listener, chat and answer."""
    s = serve(*room_for_one(serve()), "--drain-seconds", "0")
    listener = Listener(s)
    chat = s.chat(params=LONG, model="one")
    message = running(s, listener, chat, s.ask(chat, "Go on and on"))
    yield s, listener, chat, message
    if s.process.poll() is None:
        listener.close()


def test_a_model_that_is_not_loaded_yet(serve):
    s = serve()
    assert states(s) == {"one": "unloaded", "two": "unloaded"}
    listener = Listener(s)
    chat = s.chat(params=SHORT, model="two")
    question = s.ask(chat, "Load, then answer")
    message = s.answer(chat, question)
    events = listener.until(final(message))
    assert [d["state"] for _, n, d in events if n == "message" and d["id"] == message] == ["queued", "streaming", "complete"]
    kept = s.message(chat, message)
    assert text_of(events, message) == kept["content"] == events[-1][2]["content"]
    assert (kept["state"], kept["model"], kept["error"]) == ("complete", "two", None) and len(answers(s, chat)) == 1
    assert states(s) == {"one": "unloaded", "two": "loaded"}
    said = s.client.chat.completions.create(model="two", messages=[{"role": "user", "content": "Load, then answer"}], **SHORT)
    assert said.choices[0].message.content == kept["content"] and said.usage.completion_tokens == kept["usage"]["completion_tokens"]
    assert send(s, "POST", "/admin/unload", {"model": "two"}, **KEY)[0] in (200, 202)
    assert wait_until(lambda: states(s)["two"] == "unloaded")
    listed = [{**m, "created": 0} for m in send(s, "GET", "/v1/models")[2]["data"]]
    assert [{**m, "created": 0} for m in s.ok("GET", "/api/info")["models"]] == listed and len(listed) >= 2
    more = s.answer(chat, message, **{"continue": True})  # loads it again
    assert more == message
    whole = s.ended(chat, message)
    assert whole["state"] == "complete" and whole["content"].startswith(kept["content"]) and len(answers(s, chat)) == 1
    listener.close()


def test_it_waits_without_its_client(busy):
    s, listener, long_chat, long_answer = busy
    chat = s.chat(params=SHORT, model="two")
    question = s.ask(chat, "Wait")
    host, port = s.url.removeprefix("http://").split(":")
    line = http.client.HTTPConnection(host, int(port), timeout=60)
    mine = "m_" + "a" * 26
    line.request("POST", f"/api/chats/{chat}/generate", json.dumps({"parent": question, "id": mine}),
                 {"Origin": s.url, "Content-Type": "application/json"})
    told = line.getresponse()
    assert told.status == 202 and json.loads(told.read())["state"] == "queued"
    line.close()  # and nobody is there any more
    assert wait_until(lambda: len(waiting(s)) == 1)
    status, again = s.call("POST", f"/api/chats/{chat}/generate", {"parent": question, "id": mine})
    assert (status, again["id"], again["state"]) == (200, mine, "queued") and len(answers(s, chat)) == 1
    assert s.call("POST", f"/api/chats/{chat}/generate", {"parent": mine, "continue": True})[0] == 409
    kept = s.ended(chat, mine, 120)
    assert kept["state"] == "complete" and kept["usage"]["completion_tokens"] > 0 and len(answers(s, chat)) == 1
    assert s.message(long_chat, long_answer)["state"] == "complete"  # its model was held to its end


def test_stop_while_it_waits(busy):
    s, listener, long_chat, long_answer = busy
    chat = s.chat(params=SHORT, model="two")
    question = s.ask(chat, "Stop")
    message = s.answer(chat, question)
    assert s.ok("POST", f"/api/messages/{message}/stop")["state"] == "stopped"
    events = listener.until(lambda n, d: n == "message" and d["id"] == message and d["state"] == "stopped")
    assert not any(final(long_answer)(n, d) for _, n, d in events)  # it did not wait for the model
    assert waiting(s) == [] and s.message(chat, message)["error"] is None
    removed = s.answer(chat, question)
    assert s.call("DELETE", f"/api/chats/{chat}?forever=1")[0] in (200, 204)
    assert wait_until(lambda: waiting(s) == [])
    s.ok("POST", f"/api/messages/{long_answer}/stop")
    assert s.call("GET", f"/api/chats/{chat}")[0] == 404 and removed != message
    assert s.ended(long_chat, long_answer)["state"] == "stopped"


def test_cut_while_it_waits(busy, folders, tmp_path):
    s, _, _, _ = busy
    chat = s.chat(params=SHORT, model="two")
    message = s.answer(chat, s.ask(chat, "Cut"))
    assert wait_until(lambda: len(waiting(s)) == 1)
    s.end()
    again = Page(folders[0], tmp_path / "history.db", "--load", "demand")
    assert again.message(chat, message)["state"] == "interrupted"
    again.end()


def test_a_model_that_can_not_be_loaded(folders, tmp_path):
    weights = tiny.make(tmp_path / "three") / "model.safetensors"
    data = weights.read_bytes()
    s = Page(folders[0], tmp_path / "history.db", "--model", str(tmp_path / "three"), "--load", "demand")
    weights.unlink()
    weights.write_bytes(data[:100])
    listener = Listener(s)
    chat = s.chat(params=SHORT, model="three")
    question = s.ask(chat, "Fail")
    message = s.answer(chat, question)
    events = listener.until(final(message))
    kept = s.message(chat, message)
    assert kept["state"] == "failed" and kept["error"]["code"] == "model_load_failed" and kept["error"]["message"]
    assert events[-1][2]["state"] == "failed" and events[-1][2]["error"] == kept["error"] and kept["content"] == ""
    weights.unlink()
    weights.write_bytes(data)
    assert wait_until(lambda: s.ended(chat, s.answer(chat, question))["state"] == "complete")  # not before a second is over
    assert s.call("POST", f"/api/chats/{chat}/generate", {"parent": question, "model": "four"})[0] == 404
    before = len(answers(s, chat))
    too_long = s.ask(chat, "x" * 9000, question)
    assert s.call("POST", f"/api/chats/{chat}/generate", {"parent": too_long, "model": "three"})[0] == 400  # it is loaded
    late = s.answer(chat, too_long, model="one")
    assert s.ended(chat, late)["error"]["code"] == "context_length_exceeded" and len(answers(s, chat)) == before + 1
    listener.close()
    s.end()


def test_it_is_charged_to_its_key(folders, tmp_path):
    file = tmp_path / "keys.json"
    secret = key(file, "new", "words", "--tokens-per-minute", "60")
    s = Page(folders[0], tmp_path / "history.db", "--keys", str(file), "--load", "demand")
    mine = {"Authorization": "Bearer " + secret}
    chat = s.call("POST", "/api/chats", {"params": SHORT}, mine)[1]["id"]
    question = s.call("POST", f"/api/chats/{chat}/messages", {"content": "x" * 80, "parent": None}, mine)[1]["id"]
    status, message = s.call("POST", f"/api/chats/{chat}/generate", {"parent": question}, mine)
    assert status == 202

    def state():
        return s.call("GET", f"/api/chats/{chat}", None, mine)[1]["messages"][1]["state"]
    assert wait_until(lambda: state() == "complete"), message
    assert s.call("POST", f"/api/chats/{chat}/generate", {"parent": question}, mine)[0] == 429
    s.end()
