"""Debian's nginx in front, with the configuration in deploy/: tokens pass one by one, silence is broken, paths and clients are
what they were."""
import contextlib
import http.client
import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import openai
import pytest
import tiny
from conftest import ROOT, SAMPAN, Server, wait_until
from test_metrics import tool

CONTEXT = 8192


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("model") / "tiny")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Proxied:
    """A server and an nginx before it; `url` is where people see it."""
    def __init__(self, folder, tmp, *args):
        self.log = open(tmp / "log", "w")
        self.server = Server("--max-context", str(CONTEXT), "--root-path", "/llm", "--trusted-proxy", "127.0.0.0/8", "--allowed-host", "llm.example.org",
                             "--log-format", "json",
                             *args, model=str(folder), log=self.log)
        port = free_port()
        site = (ROOT / "deploy/nginx/sampan.conf").read_text()
        site = site.replace("127.0.0.1:8080", self.server.url.removeprefix("http://")).replace("listen 8000", f"listen 127.0.0.1:{port}")
        temps = "".join(f"{name}_temp_path {tmp}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (tmp / "nginx.conf").write_text(f"daemon off; master_process off; pid {tmp}/pid; error_log {tmp}/error;\n"
                                        f"events {{}} http {{ access_log off; {temps}\n{site} }}")
        self.process = subprocess.Popen([tool("nginx"), "-p", tmp, "-c", tmp / "nginx.conf", "-e", tmp / "error"])
        self.url, self.model, self.tmp = f"http://127.0.0.1:{port}/llm", str(folder), tmp

        def answers():
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(self.url + "/readyz", timeout=5).status == 200
        assert wait_until(answers), (tmp / "error").read_text()
        self.client = openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, timeout=120)

    def end(self):
        self.server.end()
        self.process.terminate()
        self.process.wait(timeout=20)
        self.log.close()


@pytest.fixture(scope="module")
def proxied(folder, tmp_path_factory):
    p = Proxied(folder, tmp_path_factory.mktemp("nginx"), "--max-seqs", "1")
    yield p
    p.end()


def test_tokens_arrive_one_by_one(proxied):
    arrivals = []
    for chunk in proxied.client.completions.create(model=proxied.model, prompt="a", max_tokens=4000, stream=True,
                                                   extra_body={"ignore_eos": True}):
        arrivals.append(time.monotonic())
    assert len(arrivals) > 500
    # Buffered, they would come in a few lumps at the end.
    spread = arrivals[-1] - arrivals[0]
    assert spread > 0.3 and sum(b > a for a, b in zip(arrivals, arrivals[1:])) > 100
    assert arrivals[len(arrivals) // 10] - arrivals[0] < spread / 2


def test_names_and_origins(proxied):
    """A page that nginx serves under its own name and port may use the server; under a name that is not allowed nobody may."""
    ask = lambda **fields: urllib.request.Request(proxied.url + "/v1/models", headers=fields)
    with urllib.request.urlopen(ask(Origin=proxied.url.removesuffix("/llm")), timeout=20) as answer:
        assert answer.status == 200
    for fields in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(ask(**fields), timeout=20)
        assert caught.value.code == 403
    with urllib.request.urlopen(ask(Host="llm.example.org"), timeout=20) as answer:
        assert answer.status == 200


def test_pages_and_paths(proxied):
    def get(path):
        with urllib.request.urlopen(proxied.url + path, timeout=20) as answer:
            return answer.read().decode()
    page = get("/")
    link = re.search(r'href="([^"]+)"', page)[1]
    docs = urllib.parse.urljoin(proxied.url + "/", link)
    assert docs == proxied.url + "/docs"
    for file in re.findall(r'(?:src|href)="((?!data:)[^"]+)"', get("/docs")):
        there = urllib.request.Request(urllib.parse.urljoin(docs, file), headers={"Accept-Encoding": "gzip"})
        assert urllib.request.urlopen(there, timeout=20).status == 200
    document = json.loads(get("/openapi.json"))
    assert urllib.parse.urljoin(proxied.url + "/openapi.json", document["servers"][0]["url"]) == proxied.url + "/"
    names = [m.id for m in proxied.client.models.list()]
    assert proxied.client.models.retrieve(names[0]).id == names[0]
    with pytest.raises(urllib.error.HTTPError) as hidden:
        get("/metrics")
    assert hidden.value.code == 404
    # Without the prefix, too: for proxies that take it away, and for checks from this machine.
    for path, status in (("/readyz", 200), ("/llm", 200), ("/llm/", 200), ("/llmx/readyz", 404), ("/llm/llm/readyz", 404)):
        try:
            assert urllib.request.urlopen(proxied.server.url + path, timeout=20).status == status, path
        except urllib.error.HTTPError as error:
            assert error.code == status, path


def test_the_client_and_its_id_are_in_the_log(proxied):
    def client_of(request_id):
        """The log has a thread of its own that writes it."""
        lines = []

        def written():
            lines[:] = [json.loads(line) for line in (proxied.tmp / "log").read_text().splitlines(True) if line.endswith("\n")]
            return any(e.get("request_id") == request_id for e in lines)
        assert wait_until(written)
        return next(e for e in lines if e.get("request_id") == request_id)["client"]

    request = urllib.request.Request(proxied.url + "/tokenize", b'{"prompt": "x"}', {"X-Forwarded-For": "198.51.100.7"})
    answer = urllib.request.urlopen(request, timeout=20)
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"])  # nginx's
    assert client_of(answer.headers["X-Request-Id"]) == "198.51.100.7"  # nginx's own peer, 127.0.0.1, is trusted here
    direct = urllib.request.Request(proxied.server.url + "/tokenize", b'{"prompt": "x"}', {"X-Request-Id": "direct"})
    urllib.request.urlopen(direct, timeout=20)
    assert client_of("direct") == "127.0.0.1"


def test_silence_is_broken(proxied):
    """A stream that waits for its place gets its head and comments, also through nginx, and then its tokens."""
    name = proxied.server.url.removeprefix("http://")
    blockers = []
    for _ in range(4):  # much more work than the one behind will wait for
        c = http.client.HTTPConnection(name, timeout=120)
        c.request("POST", "/v1/completions", json.dumps({"model": proxied.model, "prompt": ["a"] * 16, "max_tokens": CONTEXT - 2,
                                                         "ignore_eos": True}))
        blockers.append(c)
    time.sleep(1)
    host = proxied.url.removeprefix("http://").removesuffix("/llm")
    c = http.client.HTTPConnection(host, timeout=120)
    begin = time.monotonic()
    c.request("POST", "/llm/v1/chat/completions", json.dumps({"model": proxied.model, "max_tokens": 4, "stream": True, "ignore_eos": True,
                                                              "messages": [{"role": "user", "content": "a"}]}))
    answer = c.getresponse()
    waited = time.monotonic() - begin
    assert answer.status == 200 and 14 < waited < 18
    role, _, comment, _ = (answer.readline() for _ in range(4))
    assert b'"role":"assistant"' in role and comment == b": waiting\n"
    for b in blockers:
        b.close()
    rest = answer.read()
    assert rest.count(b'"finish_reason":"length"') == 1 and b"data: [DONE]" in rest


def test_healthcheck(proxied, folder):
    port = proxied.server.url.rsplit(":", 1)[1]
    done = subprocess.run([SAMPAN, "healthcheck", "--host", "0.0.0.0", "--port", port], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "ready\n")
    done = subprocess.run([SAMPAN, "healthcheck", "--port", str(free_port())], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "is the server running" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        begin = time.monotonic()
        done = subprocess.run([SAMPAN, "healthcheck", "--port", str(silent.getsockname()[1])], capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and "no answer within 5 s" in done.stderr and time.monotonic() - begin < 8


def test_a_wrong_setting_is_told(folder):
    for flag, value in (("--root-path", "llm"), ("--root-path", "/llm/"), ("--trusted-proxy", "10.0.0.0/33")):
        done = subprocess.run([SAMPAN, "serve", "--model", str(folder), "--port", "0", flag, value], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and flag in done.stderr
