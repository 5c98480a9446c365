"""From the open socket to the end, as a service manager and a load balancer see it."""
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import openai
import pytest
import tiny
from conftest import SAMPAN, Server, wait_until

CONTEXT = 8192


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def serve(folder):
    made = []

    def make(*args, **more):
        made.append(Server("--max-context", str(CONTEXT), *args, model=str(folder), **more))
        return made[-1]
    yield make
    for s in made:
        if s.process.poll() is None:
            s.process.kill()
            s.process.wait(timeout=20)


def status(url):
    """Of a GET, and the error's code if there is one."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        assert error.code != 503 or error.headers["Retry-After"]
        return error.code, json.load(error)["error"]["code"]


def open_stream(server, tokens):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.request("POST", "/v1/completions", json.dumps({"model": server.model, "prompt": "a", "max_tokens": tokens, "stream": True,
                                                              "ignore_eos": True, "n": 2}))
    answer = connection.getresponse()
    assert answer.status == 200 and answer.read(6) == b"data: "
    return answer


def test_sigterm_drains(serve):
    """What runs ends whole; meanwhile /readyz says 503 and new requests are refused with words."""
    s = serve("--drain-seconds", "60")
    stream = open_stream(s, 3000)
    s.process.send_signal(signal.SIGTERM)
    assert wait_until(lambda: status(s.url + "/readyz") == (503, "draining"))
    assert status(s.url + "/health") == (503, "draining") and status(s.url + "/livez") == (200, None)
    with pytest.raises(openai.APIStatusError) as refused:
        s.client.completions.create(model=s.model, prompt="a", max_tokens=1)
    assert refused.value.status_code == 503 and refused.value.body["code"] == "draining"
    assert s.process.poll() is None
    events = (b"data: " + stream.read()).split(b"\n\n")
    ends = [c["finish_reason"] for e in events if b"finish_reason" in e for c in json.loads(e[6:])["choices"] if c["finish_reason"]]
    assert ends == ["length", "length"] and events[-2] == b"data: [DONE]"
    assert s.process.wait(timeout=20) == 0


@pytest.mark.parametrize("how", ["deadline", "second signal", "no time"])
def test_a_cut_stream_says_so(serve, how):
    s = serve("--drain-seconds", {"deadline": "1", "second signal": "600", "no time": "0"}[how])
    stream = open_stream(s, CONTEXT - 10)
    whole = {}

    def ask_whole():
        body = json.dumps({"model": s.model, "prompt": "b", "max_tokens": CONTEXT - 10, "ignore_eos": True}).encode()
        try:
            urllib.request.urlopen(urllib.request.Request(s.url + "/v1/completions", body), timeout=60)
        except urllib.error.HTTPError as error:
            whole.update(status=error.code, **json.load(error)["error"])
    asking = threading.Thread(target=ask_whole)
    asking.start()
    assert wait_until(lambda: running(s) == 3)
    begin = time.monotonic()
    s.process.send_signal(signal.SIGTERM)
    if how == "second signal":
        time.sleep(0.3)
        s.process.send_signal(signal.SIGTERM)
    events = (b"data: " + stream.read()).split(b"\n\n")
    assert events[-2] == b"data: [DONE]" and not any(b'"finish_reason":"' in e for e in events)
    errors = [json.loads(e[6:])["error"] for e in events if e.startswith(b'data: {"error"')]
    assert [e["code"] for e in errors] == ["draining"] and "shutting down" in errors[0]["message"]
    asking.join()
    assert whole["status"] == 503 and whole["code"] == "draining"
    assert s.process.wait(timeout=20) == 0
    assert time.monotonic() - begin < 8


def running(server):
    text = urllib.request.urlopen(server.url + "/metrics", timeout=20).read().decode()
    return next(int(line.split()[-1]) for line in text.splitlines() if line.startswith("sampan:num_requests_running"))


def test_the_official_client_sees_the_cut(serve):
    s = serve("--drain-seconds", "0")
    with pytest.raises(openai.APIError, match="shutting down"):
        for i, _ in enumerate(s.client.completions.create(model=s.model, prompt="a", max_tokens=CONTEXT - 10, stream=True,
                                                          extra_body={"ignore_eos": True})):
            if i == 0:
                s.process.send_signal(signal.SIGTERM)
    assert s.process.wait(timeout=20) == 0


def test_signals_while_it_puts_things_away_change_nothing(serve):
    s = serve()
    deadline = time.monotonic() + 20
    while s.process.poll() is None and time.monotonic() < deadline:
        s.process.send_signal(signal.SIGTERM)
        time.sleep(0.0005)
    assert s.process.wait(timeout=20) == 0


def test_idle_it_ends_at_once(serve):
    s = serve()
    with socket.create_connection(("127.0.0.1", int(s.url.rsplit(":", 1)[1]))):
        begin = time.monotonic()
        s.end()
        assert time.monotonic() - begin < 3


def test_while_it_loads(folder, tmp_path):
    big = tmp_path / "big"
    big.mkdir()
    for file in folder.iterdir():
        (big / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    filler = [f"t{i}" for i in range(400000)]
    tokenizer["model"]["vocab"] |= {t: 258 + i for i, t in enumerate(filler)}
    (big / "tokenizer.json").write_text(json.dumps(tokenizer))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([SAMPAN, "serve", "--model", str(big), "--port", str(port)], stdout=subprocess.DEVNULL, stderr=log)
    seen = set()
    url = f"http://127.0.0.1:{port}"
    while process.poll() is None:
        with contextlib.suppress(OSError):
            seen.add(("/readyz", status(url + "/readyz")))
            seen.add(("/livez", status(url + "/livez")))
            seen.add(("/v1/models", status(url + "/v1/models")))
    assert seen == {("/readyz", (503, "loading")), ("/livez", (200, None)), ("/v1/models", (503, "loading"))}
    # This one can't be served: the process ends, and says why.
    assert process.wait() == 1 and "do not belong together" in (tmp_path / "log").read_text()


def test_a_busy_port_is_told_before_anything_is_loaded(serve, folder):
    s = serve()
    done = subprocess.run([SAMPAN, "serve", "--model", str(folder / "nothing-here"), "--port", s.url.rsplit(":", 1)[1]],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "cannot listen" in done.stderr


@pytest.mark.parametrize("abstract", [False, True])
def test_what_the_service_manager_hears(serve, tmp_path, abstract):
    name = f"\0sampan-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(20)

        def hear():
            while True:
                said = dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())
                if "WATCHDOG" not in said:
                    return said
                beats.append(time.monotonic())
        beats = []
        log = open(tmp_path / "log", "w")
        env = dict(os.environ, NOTIFY_SOCKET=name.replace("\0", "@"), WATCHDOG_USEC="400000")
        (tmp_path / "config.yaml").write_text("log-level: warn\n")
        s = serve("--config", str(tmp_path / "config.yaml"), "--log-format", "json", log=log, env=env)
        ready = hear()
        assert ready["READY"] == "1" and "answers on 127.0.0.1 port" in ready["STATUS"]
        assert status(s.url + "/readyz") == (200, None)
        (tmp_path / "config.yaml").write_text("log-level: debug\n")
        s.process.send_signal(signal.SIGHUP)
        reloading = hear()
        assert reloading["RELOADING"] == "1" and abs(int(reloading["MONOTONIC_USEC"]) / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)) < 5
        assert hear()["READY"] == "1"
        assert status(s.url + "/livez") == (200, None)
        (tmp_path / "config.yaml").write_text("log-level: sideways\n")
        s.process.send_signal(signal.SIGHUP)
        assert hear()["RELOADING"] == "1" and hear()["READY"] == "1"
        time.sleep(1)
        s.process.send_signal(signal.SIGTERM)
        assert hear()["STOPPING"] == "1"
        assert len(beats) >= 3
        assert s.process.wait(timeout=20) == 0
        log.close()
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert any(e["msg"] == "SIGHUP: the log level is debug now" for e in lines)
        assert any(e.get("path") == "/livez" for e in lines)  # a probe is told at debug only
        assert not any(e.get("path") == "/readyz" for e in lines)
        assert any("nothing changes" in e["msg"] and "sideways" in e["msg"] for e in lines)


def test_sighup_reads_the_keys_again(serve, tmp_path):
    keys = tmp_path / "keys.json"

    def new(name):
        return subprocess.run([SAMPAN, "key", "new", name, "--keys", keys], capture_output=True, text=True, check=True).stdout.strip()

    def models(secret):
        request = urllib.request.Request(s.url + "/v1/models", headers={"Authorization": f"Bearer {secret}"})
        return status(request)[0]
    alice = new("alice")
    with open(tmp_path / "log", "w") as log:
        s = serve("--keys", str(keys), "--log-format", "json", log=log)
        bob = new("bob")
        assert (models(alice), models(bob)) == (200, 401)
        s.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: models(bob) == 200) and models(alice) == 200
        keys.write_text("nonsense")
        s.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: "the keys stay as they are" in (tmp_path / "log").read_text())
        assert (models(alice), models(bob)) == (200, 200)
        s.end()
    told = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [e.get("key") for e in told if e.get("path") == "/v1/models"][:2] == ["alice", None]
