"""/admin/: what runs, cancelling, log level, draining; and that a client which leaves frees its pages at once."""
import json
import re
import socket
import subprocess

import pytest
import tiny
from conftest import ROOT, SAMPAN, Server, wait_until
from test_keys import ADMIN, send

KEY = {"Authorization": "Bearer " + ADMIN}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def server(folder):
    s = Server("--admin-key", ADMIN, "--max-seqs", "1", "--max-context", "8192", model=str(folder))
    yield s
    s.end()


def requests(server):
    return send(server, "GET", "/admin/requests", **KEY)[2]["data"]


def model(server):
    return send(server, "GET", "/admin/status", **KEY)[2]["models"][0]


def start(server, **more):
    """A socket whose request is on its way."""
    host, port = server.url[7:].split(":")
    body = json.dumps({"model": server.model, "prompt": "ab", "max_tokens": 8000, "ignore_eos": True, **more}).encode()
    s = socket.create_connection((host, int(port)), timeout=60)
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return s


def test_without_an_admin_key_there_is_no_admin(folder):
    s = Server(model=str(folder))
    try:
        paths = re.findall(r'"(/admin/[^"]+)"', (ROOT / "src/server/routes.c").read_text())
        assert len(paths) >= 6
        for path in paths:
            for method in ("GET", "POST", "OPTIONS"):
                assert send(s, method, path, **KEY)[0] == 404
    finally:
        s.end()


def test_only_its_own_key_opens_it(server):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": ADMIN}):
        assert send(server, "GET", "/admin/status", **headers)[0] == 401
        assert send(server, "POST", "/admin/drain", **headers)[0] == 401
    assert send(server, "GET", "/admin/status", **KEY)[0] == 200


def test_listing_and_cancelling(server):
    first = start(server, stream=True, user="ann", n=4)
    assert wait_until(lambda: requests(server) and requests(server)[0]["state"] == "decode")
    second = start(server, prompt="abcdef")
    assert wait_until(lambda: len(requests(server)) == 2)
    waiting, running = sorted(requests(server), key=lambda r: r["age_seconds"])
    assert (waiting["state"], waiting["answer_tokens"], waiting["prompt_tokens"], waiting["user"]) == ("queued", 0, 6, None)
    assert running["user"] == "ann" and running["stream"] and running["prompt_tokens"] == 2 and running["model"] == server.model
    before = running["answer_tokens"]
    assert wait_until(lambda: max(r["answer_tokens"] for r in requests(server)) > before)
    now = model(server)
    assert (now["running"], now["queued"]) == (1, 4) and now["kv_pages_free"] < now["kv_pages"]
    for id in (waiting["id"], running["id"]):
        assert send(server, "POST", "/admin/cancel", {"id": id}, **KEY)[0] == 200
    data = b""
    while b"\r\n0\r\n\r\n" not in data:
        data += first.recv(65536)
    assert data.count(b'"finish_reason":"abort"') == 4 and b"data: [DONE]" in data
    assert b'"finish_reason":"abort"' in second.recv(65536)
    assert wait_until(lambda: not requests(server)) and model(server)["kv_pages_free"] == model(server)["kv_pages"]
    assert send(server, "POST", "/admin/cancel", {"id": running["id"]}, **KEY)[0] == 404
    assert send(server, "POST", "/admin/cancel", {"id": 7}, **KEY)[0] == 400 and send(server, "POST", "/admin/cancel", **KEY)[0] == 400


def test_drain_ends_the_server(folder):
    s = Server("--admin-key", ADMIN, model=str(folder))
    stream = s.client.completions.create(model=s.model, prompt="ab", max_tokens=4000, stream=True, extra_body={"ignore_eos": True})
    parts = iter(stream)
    next(parts)
    status, _, said = send(s, "POST", "/admin/drain", **KEY)
    assert status == 202 and said == {"draining": True, "requests": 1}
    assert list(parts)[-1].choices[0].finish_reason == "length"  # what ran came to its end
    assert s.process.wait(timeout=30) == 0


def test_log_level(folder):
    """From a level on that the server was not started with."""
    process = subprocess.Popen([SAMPAN, "serve", "--model", str(folder), "--port", "0", "--admin-key", ADMIN, "--log-level", "off"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in process.stdout if line.startswith("Sampan answers"))
        s = type("S", (), {"url": line.split()[-1]})
        send(s, "GET", "/version")
        assert send(s, "POST", "/admin/log-level", {"level": "info"}, **KEY)[2] == {"level": "info"}
        send(s, "GET", "/v1/models")
        assert send(s, "POST", "/admin/log-level", {"level": "loud"}, **KEY)[0] == 400
        assert send(s, "GET", "/admin/status", **KEY)[2]["log_level"] == "info"
        process.terminate()
        log = process.communicate(timeout=30)[1]
        assert "/v1/models" in log and "/version" not in log
    finally:
        process.kill()


# ---- clients that leave ----

@pytest.fixture(scope="module")
def slow():
    """The starter model: a prompt of it takes seconds."""
    s = Server("--admin-key", ADMIN, "--max-seqs", "1", "--max-context", "8192")
    yield s
    s.end()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("state", ["queued", "prefill", "decode"])
def test_a_client_that_leaves_frees_its_pages(slow, state, stream):
    assert wait_until(lambda: model(slow)["kv_pages_free"] == model(slow)["kv_pages"])
    blocker = start(slow, stream=True, max_tokens=7000) if state == "queued" else None
    if blocker:
        assert wait_until(lambda: [r["state"] for r in requests(slow)] == ["decode"])
    # What is left of them would take far longer than is waited; that it is one step is tested in unit/engine/test_engine.c.
    long = state == "prefill"
    gone = start(slow, prompt=f"{state} {stream} " + "word " * (7000 if long else 10), max_tokens=1000 if long else 7000, stream=stream)
    young = lambda: min(requests(slow), key=lambda r: r["age_seconds"], default={"state": ""})
    assert wait_until(lambda: young()["state"] == state), requests(slow)
    gone.close()
    assert wait_until(lambda: len(requests(slow)) == (1 if blocker else 0), 8)
    now = model(slow)
    assert now["queued"] == 0 and (blocker or now["kv_pages_free"] == now["kv_pages"])
    if blocker:
        assert [r["state"] for r in requests(slow)] == ["decode"]  # another's leaving does not touch it
        blocker.close()
    assert wait_until(lambda: model(slow)["kv_pages_free"] == model(slow)["kv_pages"], 8)
