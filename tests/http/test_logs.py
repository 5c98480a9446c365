"""What a request leaves in the log, in JSON: one line, with what is needed to find it and to say where its time went."""
import http.client
import json
import re
import signal
import subprocess
import urllib.error
import urllib.request

import pytest
import tiny
from conftest import Server

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "a word that nobody else says: 长江"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def logged(folder, tmp_path):
    """Starts a server; what it returns ends it and gives its lines about requests."""
    made = []

    def make(*args):
        log = open(tmp_path / "log", "w")
        server = Server("--max-context", "512", "--log-format", "json", *args, model=str(folder), log=log)
        made.append(server)

        def lines():
            server.end()
            log.close()
            raw = (tmp_path / "log").read_text()
            return raw, [e for e in map(json.loads, raw.splitlines()) if "request_id" in e]
        return server, lines
    yield make
    for s in made:
        if s.process.poll() is None:
            s.end()


def post(server, path, body, **head):
    head = {name.replace("_", "-"): value for name, value in head.items()}
    request = urllib.request.Request(server.url + path, json.dumps({"model": server.model, **body}).encode(), head)
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        return error


def test_one_line_a_request(logged):
    server, lines = logged()
    body = {"prompt": SECRET, "max_tokens": 6, "n": 2, "ignore_eos": True}
    answer = post(server, "/v1/completions", body, X_Request_Id="my-id/7", traceparent=f"00-{TRACE}-{PARENT}-01")
    said = json.load(answer)
    assert answer.headers["X-Request-Id"] == "my-id/7"
    back = re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", answer.headers["traceresponse"])
    raw, entries = lines()
    assert len(entries) == 1
    e = entries[0]
    assert {k: e[k] for k in ("request_id", "trace_id", "span_id", "parent_id", "method", "path", "status", "model", "stream",
                              "choices", "finish_reason", "completion_id", "level")} == {
        "request_id": "my-id/7", "trace_id": TRACE, "span_id": back[1], "parent_id": PARENT, "method": "POST",
        "path": "/v1/completions", "status": 200, "model": server.model, "stream": 0, "choices": 2, "finish_reason": "length",
        "completion_id": said["id"], "level": "info"}
    assert (e["prompt_tokens"], e["cached_tokens"], e["answer_tokens"]) == (said["usage"]["prompt_tokens"], 0, 12)
    assert 0 <= e["queue_seconds"] + e["prefill_seconds"] + e["decode_seconds"] <= e["total_seconds"] + 1e-5
    assert 0 < e["first_token_seconds"] <= e["total_seconds"]
    assert SECRET not in raw and "nobody else" not in raw


def test_streams_errors_and_probes(logged):
    server, lines = logged()
    stream = post(server, "/v1/chat/completions", {"messages": [{"role": "user", "content": SECRET}], "stream": True, "max_tokens": 4,
                                                   "ignore_eos": True})
    assert b"[DONE]" in stream.read()
    assert post(server, "/v1/completions", {"prompt": SECRET, "temperature": -1}).code == 400
    assert post(server, "/v1/completions", {"model": "none"}).code == 404
    for path in ("/health", "/livez", "/readyz", "/metrics"):
        with urllib.request.urlopen(server.url + path, timeout=20) as probe:
            assert re.fullmatch(r"req-[0-9a-f]{32}", probe.headers["X-Request-Id"])
    raw, entries = lines()
    assert [(e["path"], e["status"], e.get("error")) for e in entries] == [
        ("/v1/chat/completions", 200, None), ("/v1/completions", 400, None), ("/v1/completions", 404, "model_not_found")]
    assert entries[0]["stream"] == 1 and entries[0]["answer_tokens"] == 4 and "model" not in entries[2]
    assert entries[0]["request_id"] == stream.headers["X-Request-Id"] and len({e["request_id"] for e in entries}) == 3
    assert SECRET not in raw and "nobody else" not in raw


@pytest.mark.parametrize("unsound", ["", "x" * 129, "two words", 'quo"te', "back\\slash", "ünicode"])
def test_unsound_ids_are_replaced(logged, unsound):
    server, lines = logged()
    answer = post(server, "/tokenize", {"prompt": "x"}, X_Request_Id=unsound.encode().decode("latin-1"), traceparent="00-zz")
    assert re.fullmatch(r"req-[0-9a-f]{32}", answer.headers["X-Request-Id"]) and answer.headers["traceresponse"] is None
    _, entries = lines()
    assert [e["request_id"] for e in entries] == [answer.headers["X-Request-Id"]] and "trace_id" not in entries[0]


def test_prompts_only_when_asked_for(logged):
    server, lines = logged("--log-prompts")
    assert post(server, "/tokenize", {"prompt": SECRET}).status == 200
    long = json.dumps({"prompt": "长" * 5000}, ensure_ascii=False)
    urllib.request.urlopen(urllib.request.Request(server.url + "/tokenize", long.encode()), timeout=60).read()
    _, entries = lines()
    assert json.loads(entries[0]["body"])["prompt"] == SECRET
    assert entries[1]["body_bytes"] == len(long.encode())
    assert long.startswith(entries[1]["body"]) and 4090 < len(entries[1]["body"].encode()) <= 4096


def test_text_for_people(folder, tmp_path):
    with open(tmp_path / "log", "w") as log:
        server = Server("--log-format", "text", "--max-context", "512", model=str(folder), log=log)
        post(server, "/tokenize", {"prompt": "x"}, X_Request_Id="me")
        server.end()
    assert re.search(r"info  server: POST /tokenize 200, \d\.\d{3} s request_id=me .*status=200", (tmp_path / "log").read_text())


def test_a_log_that_nobody_reads_stops_no_answer(folder):
    """A pipe that is full: lines are lost and counted, and nobody waits."""
    server = Server("--max-context", "512", "--log-format", "json", model=str(folder), log=subprocess.PIPE)
    line = http.client.HTTPConnection(server.url.split("://")[1], timeout=30)
    for _ in range(2000):
        line.request("GET", "/v1/models")
        answer = line.getresponse()
        assert answer.status == 200 and answer.read()
    line.close()
    assert server.client.completions.create(model=server.model, prompt="a", max_tokens=1).choices
    server.process.send_signal(signal.SIGTERM)
    _, log = server.process.communicate(timeout=60)
    assert server.process.returncode == 0
    entries = list(map(json.loads, log.splitlines()))
    lost = [int(found[1]) for e in entries if (found := re.match(r"(\d+) lines of the log were lost", e["msg"]))]
    asked = sum("request_id" in e for e in entries)
    assert lost and 100 < asked < 2001 <= asked + sum(lost)
