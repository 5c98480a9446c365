"""What the dashboard is made of: numbers that equal /metrics', `stats` events for who asked, requests that run and that
ended, cancelling, settings with their origin."""
import json
import os
import queue
import re
import threading
import time
import urllib.request

import pytest
import tiny
from conftest import wait_until
from test_history import Listener, Page, final, running
from test_keys import send

ENDLESS = 900_000  # tokens of an answer that no machine finishes while a test looks at it


def endless(folder):
    """A tiny model with a context that an answer doesn't fill."""
    tiny.make(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1 << 20}))
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return endless(tmp_path_factory.mktemp("dashboard") / "endless")


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    p = Page(model, tmp_path_factory.mktemp("history") / "history.db", "--max-context", "1000000", "--max-seqs", "1",
             env={**os.environ, "SAMPAN_DRAIN_SECONDS": "1"})
    yield p
    p.end()


class Stats:
    """The `stats` events of one stream, read by a thread; those of other names are kept beside them."""

    def __init__(self, page, query="?stats=1", fields={}):
        self.answer = urllib.request.urlopen(urllib.request.Request(page.url + "/api/events" + query, None, fields), timeout=60)
        self.stats, self.others, self.ids = queue.Queue(), [], []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        event = {}
        try:
            for line in self.answer:
                line = line.decode().rstrip("\n")
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif not line and event:
                    if event["event"] == "stats":
                        self.ids.append(event.get("id"))
                        self.stats.put(json.loads(event["data"]))
                    else:
                        self.others.append(event["event"])
                    event = {}
        except (OSError, ValueError, AttributeError):
            pass

    def until(self, wanted, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            s = self.stats.get(timeout=max(0.1, end - time.monotonic()))
            if wanted(s):
                return s
        raise AssertionError(s)

    def close(self):
        self.answer.close()


class Running(threading.Thread):
    """A streamed completion that does not end by itself."""

    def __init__(self, page):
        super().__init__(daemon=True)
        self.page, self.begun, self.end = page, threading.Event(), None
        self.start()
        assert self.begun.wait(60)

    def run(self):
        stream = self.page.client.completions.create(model=self.page.model, prompt="ab", max_tokens=ENDLESS, temperature=0, stream=True,
                                                     timeout=120, extra_body={"ignore_eos": True})
        for chunk in stream:
            self.begun.set()
            self.end = chunk.choices[0].finish_reason or self.end


def state(page):
    return page.ok("GET", "/api/server")


def cancel(page, id, want=200):
    status, said = page.call("POST", f"/api/requests/{id}/cancel", {})
    assert status == want, said
    return said


def metric(page, name):
    text = urllib.request.urlopen(page.url + "/metrics", timeout=30).read().decode()
    return sum(float(v) for v in re.findall(rf"^sampan:{name}{{[^}}]*}} (\S+)$", text, re.M))


def test_stats_go_to_who_asked(page):
    asked, other = Stats(page), Stats(page, "")
    first = asked.until(lambda s: True)
    second = asked.until(lambda s: True)
    assert 0 <= second["at"] - first["at"] <= 3 and set(first) == set(second)
    assert asked.ids == [None, None], "they have no place in the ring"
    page.chat(title="for both")
    assert wait_until(lambda: "chat" in other.others and "chat" in asked.others)
    assert other.stats.empty()
    for s in (asked, other):
        s.close()
    assert page.call("GET", "/api/events?stats=2")[0] == 400


def test_a_running_request_is_shown_and_cancelled(page):
    watch = Stats(page)
    request = Running(page)
    s = watch.until(lambda s: s["requests"] and s["requests"][0]["answer_tokens"] > 0 and s["tokens_out_per_second"] > 0)
    live = s["requests"][0]
    assert (live["endpoint"], live["state"], live["stream"], live["prompt_tokens"], live["chat"]) == ("/v1/completions", "decode", True, 2, None)
    assert 0 < live["first_token_seconds"] <= live["age_seconds"]
    assert s["running"] == 1 and s["pages_used"] > 0 and s["resident_bytes"] > 1 << 20
    mine, = s["models"]
    assert mine["running"] == 1 and mine["tokens_out_per_second"] > 0 and mine["weight_bytes"] > 0 and mine["kv_bytes"] > 0
    assert cancel(page, live["id"]) == {"id": live["id"], "cancelled": True}
    request.join(30)
    assert not request.is_alive()
    ended = watch.until(lambda s: any(e["id"] == live["id"] for e in s["ended"]))
    entry = next(e for e in ended["ended"] if e["id"] == live["id"])
    assert entry["state"] == "cancelled" and entry["answer_tokens"] >= live["answer_tokens"] and entry["tokens_per_second"] > 0
    assert ended["requests"] == [] and wait_until(lambda: state(page)["now"]["running"] == 0)
    cancel(page, live["id"], 404)
    watch.close()


def test_an_answer_of_the_page_and_its_chat(page):
    listener = Listener(page)
    chat = page.chat(params={"temperature": 0, "max_tokens": ENDLESS, "min_tokens": ENDLESS})
    message = running(page, listener, chat, page.ask(chat, "Go on"))
    live = next(r for r in state(page)["now"]["requests"] if r["chat"] == chat)
    cancel(page, live["id"])
    assert page.ended(chat, message)["state"] == "stopped"
    entry = next(e for e in state(page)["ended"] if e["chat"] == chat)
    assert (entry["id"], entry["state"], entry["status"], entry["endpoint"]) == (live["id"], "stopped", None, "/api/chats/*/generate")
    listener.close()


def test_one_place_of_truth(page):
    before = state(page)["now"]
    page.client.completions.create(model=page.model, prompt="abcdef", max_tokens=7, temperature=0, extra_body={"ignore_eos": True})
    assert wait_until(lambda: sum(m["answer_tokens"] for m in state(page)["now"]["models"]) >= sum(m["answer_tokens"] for m in before["models"]) + 7)
    now = state(page)["now"]["models"]
    for ours, theirs in (("answer_tokens", "generation_tokens_total"), ("prompt_tokens", "prompt_tokens_total"),
                         ("prefix_queries", "prefix_cache_queries_total"), ("prefix_hits", "prefix_cache_hits_total")):
        assert sum(m[ours] for m in now) == metric(page, theirs), ours


def test_what_ended_is_told_without_a_word_of_it(page):
    secret = "xyzzy-secret"
    page.client.completions.create(model=page.model, prompt=secret, max_tokens=5, temperature=0, extra_body={"ignore_eos": True}, user=secret)
    assert send(page, "POST", "/v1/completions", {"model": page.model, "prompt": secret, "max_tokens": -7})[0] == 400
    assert send(page, "POST", "/v1/completions", {"model": "nobody", "prompt": secret})[0] == 404
    said = state(page)
    good, bad, unknown = said["ended"][-3:]
    assert (good["state"], good["answer_tokens"], good["prompt_tokens"], good["status"]) == ("complete", 5, len(secret), 200)
    assert good["first_token_seconds"] > 0 and good["total_seconds"] >= good["first_token_seconds"]
    assert (bad["state"], bad["status"], bad["answer_tokens"]) == ("refused", 400, 0)
    assert (unknown["state"], unknown["status"], unknown["error"]) == ("refused", 404, "model_not_found")
    numbers = [e["number"] for e in said["ended"]]
    assert numbers == sorted(set(numbers)) and secret not in json.dumps(said)


def test_the_list_of_ended_requests_is_bounded(page):
    for _ in range(230):
        assert send(page, "POST", "/v1/completions", {"model": "nobody", "prompt": "a"})[0] == 404
    ended = state(page)["ended"]
    assert len(ended) == 200 and ended[-1]["number"] - ended[0]["number"] == 199


def test_history_of_samples(page):
    assert wait_until(lambda: len(state(page)["history"]["running"]) >= 3)
    history = state(page)["history"]
    lengths = {len(v) for v in history.values() if isinstance(v, list)}
    assert len(lengths) == 1 and lengths.pop() <= history["seconds"] == 300
    assert min(history["resident_bytes"]) > 1 << 20


def test_settings_with_their_origin(page):
    found = {s["name"]: s for s in page.ok("GET", "/api/settings")["data"]}
    assert (found["max-seqs"]["value"], found["max-seqs"]["origin"], found["max-seqs"]["where"]) == (1, "flag", "--max-seqs")
    assert (found["drain-seconds"]["value"], found["drain-seconds"]["origin"], found["drain-seconds"]["where"]) == (1, "environment", "SAMPAN_DRAIN_SECONDS")
    assert found["host"]["origin"] == "default" and found["host"]["help"] and found["host"]["default"] == "127.0.0.1"
    assert "tries" not in found and "endpoint" not in found  # of other verbs


def test_secrets_stay_secret(model, tmp_path):
    s = Page(model, tmp_path / "history.db", "--admin-key", "admin-secret-1")
    try:
        said = json.dumps(s.ok("GET", "/api/settings"))
        assert "admin-secret-1" not in said and "***" in said
    finally:
        s.end()


def test_api_keys_open_no_dashboard(model, tmp_path):
    """A key is for a program: it may ask models, and not look into the server, cancel others or change it."""
    s = Page(model, tmp_path / "history.db", "--api-key", "key-of-a-program")
    fields = {"Authorization": "Bearer key-of-a-program"}
    try:
        for method, path in (("GET", "/api/server"), ("GET", "/api/settings"), ("POST", "/api/requests/x/cancel"), ("GET", "/api/models"),
                             ("GET", "/api/models/x"), ("DELETE", "/api/models/x"), ("POST", "/api/models/x/load")):
            body = {} if method == "POST" else None
            assert s.call(method, path, body)[0] == 401
            status, said = s.call(method, path, body, headers=fields)
            assert (status, said["error"]["code"]) == (403, "not_allowed"), path
        assert s.call("GET", "/api/chats", headers=fields)[0] == 200
        listener = Stats(s, "?stats=1", fields)
        with pytest.raises(queue.Empty):  # others get one each second
            listener.stats.get(timeout=2.5)
        listener.close()
    finally:
        s.end()


def test_other_sites_can_t_cancel(page):
    for path in ("/api/requests/x/cancel", "/api/models/x/unload"):
        status, said = page.call("POST", path, {}, headers={"Origin": "http://elsewhere.example"})
        assert (status, said["error"]["code"]) == (403, "origin_not_allowed")


def test_live_speed_in_deltas(page):
    """Each piece says how many tokens the answer has, and the first how long it took."""
    listener = Listener(page)
    chat = page.chat(params={"temperature": 0, "max_tokens": 24, "min_tokens": 24})
    message = page.answer(chat, page.ask(chat, "Hi"))
    events = listener.until(final(message))
    deltas = [d for _, n, d in events if n == "delta" and d["message"] == message]
    tokens = [d["tokens"] for d in deltas]
    assert tokens == sorted(tokens) and tokens[-1] <= 24 and deltas[0]["ttft_ms"] > 0
    assert not any("ttft_ms" in d for d in deltas[1:])
    assert events[-1][2]["timings"]["ttft_ms"] == pytest.approx(deltas[0]["ttft_ms"], rel=0.5)
    listener.close()


def test_requests_of_jobs_are_told(page):
    text = "One short line."
    job = page.ok("POST", "/api/jobs", {"kind": "translate", "params": {"text": text, "language": "English", "params": {"max_tokens": 8}}})["id"]
    assert wait_until(lambda: page.ok("GET", f"/api/jobs/{job}")["state"] == "done", 60)
    entry = state(page)["ended"][-1]
    assert (entry["endpoint"], entry["state"], entry["status"], entry["chat"]) == ("(job)", "complete", None, None)
    assert 0 < entry["answer_tokens"] <= 8 and entry["prompt_tokens"] > len(text) and text not in json.dumps(state(page))
