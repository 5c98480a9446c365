"""Keys in a file: who may ask for what, how often, and what is said when it is too often; `sampan key`; pages of other
sites and other names of the host."""
import concurrent.futures
import http.client
import json
import subprocess
import time

import openai
import pytest
import tiny
from conftest import SAMPAN, Server, wait_until

ADMIN = "admin-secret"


def key(path, *args, code=0):
    done = subprocess.run([SAMPAN, "key", *args, "--keys", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout.strip() if code == 0 else done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The file, and the secrets by name."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    make = {"free": [], "few": ["--requests-per-minute", "3"], "words": ["--tokens-per-minute", "50"], "one": ["--concurrent", "1"],
            "other": ["--allow-model", "another"], "alias": ["--allow-model", "pet"]}
    return path, {name: key(path, "new", name, *args) for name, args in make.items()}


@pytest.fixture(scope="module")
def server(folder, keys):
    s = Server("--keys", str(keys[0]), "--alias", "pet", "--api-key", "plain", "--admin-key", ADMIN, "--max-context", "4096",
               model=str(folder))
    yield s
    s.end()


def send(server, method, path, body=None, **headers):
    """Status, header fields, JSON."""
    host, port = server.url[7:].split(":")
    line = http.client.HTTPConnection(host, int(port), timeout=60)
    line.request(method, path, None if body is None else json.dumps(body), {k.replace("_", "-"): v for k, v in headers.items()})
    answer = line.getresponse()
    text = answer.read()
    line.close()
    return answer.status, answer.headers, json.loads(text) if text.startswith((b"{", b"[")) else text


def ask(server, secret, **more):
    body = {"model": server.model, "prompt": "ab", "max_tokens": 4, "ignore_eos": True, **more}
    return send(server, "POST", "/v1/completions", body, Authorization="Bearer " + secret)


def test_the_file_holds_no_secret(keys):
    text = keys[0].read_text()
    assert not any(secret in text for secret in keys[1].values())
    assert len(set(keys[1].values())) == 6 and all(len(s) == 53 and s.startswith("sk-sampan-") for s in keys[1].values())
    shown = json.loads(key(keys[0], "list", "--json"))
    assert [k["name"] for k in shown] == list(keys[1]) and shown[1]["requests_per_minute"] == 3 and shown[4]["models"] == ["another"]
    assert "few" in key(keys[0], "list") and "there is a key few" in key(keys[0], "new", "few", code=1)
    assert "no name" in key(keys[0], "new", "a b", code=1) and "has no key" in key(keys[0], "revoke", "nobody", code=1)


def test_sha256_is_python_s(keys):
    import hashlib
    for entry in json.loads(keys[0].read_text())["keys"]:
        assert entry["sha256"] == hashlib.sha256(keys[1][entry["name"]].encode()).hexdigest()


def test_only_keys_open(server, keys):
    assert ask(server, keys[1]["free"])[0] == ask(server, "plain")[0] == 200
    assert ask(server, "wrong")[0] == ask(server, keys[1]["free"][:-1])[0] == ask(server, ADMIN)[0] == 401
    assert send(server, "GET", "/v1/models", X_Api_Key=keys[1]["free"])[0] == 200  # as Anthropic's clients send it
    assert send(server, "GET", "/v1/models", Authorization="bearer " + keys[1]["free"])[0] == 200
    assert send(server, "GET", "/health")[0] == 200


def test_models_allowed(server, keys):
    status, _, said = ask(server, keys[1]["other"])
    assert status == 404 and said["error"]["code"] == "model_not_found"
    listed = lambda name: [m["id"] for m in send(server, "GET", "/v1/models", Authorization="Bearer " + keys[1][name])[2]["data"]]
    assert listed("other") == [] and "pet" in listed("free")
    assert ask(server, keys[1]["alias"])[0] == ask(server, keys[1]["alias"], model="pet")[0] == 200  # another name of the same model
    other = {"Authorization": "Bearer " + keys[1]["other"]}
    assert send(server, "GET", "/v1/models/pet", **other)[0] == send(server, "POST", "/tokenize", {"prompt": "a"}, **other)[0] == 404


def test_requests_per_minute(server, keys):
    seen = [ask(server, keys[1]["few"]) for _ in range(4)]
    assert [status for status, *_ in seen] == [200, 200, 200, 429]
    for left, (_, head, _) in zip((2, 1, 0, 0), seen):
        assert head["x-ratelimit-limit-requests"] == "3" and head["x-ratelimit-remaining-requests"] == str(left)
        assert head["x-ratelimit-reset-requests"].endswith("s") and "x-ratelimit-limit-tokens" not in head
    _, head, said = seen[3]
    assert 15 <= int(head["Retry-After"]) <= 20 and said["error"]["code"] == "rate_limit_exceeded"
    client = openai.OpenAI(base_url=server.url + "/v1", api_key=keys[1]["few"], max_retries=0)
    with pytest.raises(openai.RateLimitError):
        client.completions.create(model=server.model, prompt="ab", max_tokens=1)


def test_tokens_per_minute(server, keys):
    status, head, said = ask(server, keys[1]["words"], prompt="x" * 30, max_tokens=40)
    assert status == 200 and said["usage"]["total_tokens"] == 70 and head["x-ratelimit-remaining-tokens"] == "50"
    status, head, said = ask(server, keys[1]["words"])
    assert status == 429 and head["x-ratelimit-remaining-tokens"] == "0" and 20 <= int(head["Retry-After"]) <= 26  # 20 below, 50 a minute


def test_concurrent(server, keys):
    client = openai.OpenAI(base_url=server.url + "/v1", api_key=keys[1]["one"], max_retries=0)
    stream = client.completions.create(model=server.model, prompt="ab", max_tokens=4000, n=64, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    status, head, said = ask(server, keys[1]["one"])
    assert status == 429 and head["Retry-After"] == "1" and "concurrent" in said["error"]["message"]
    assert ask(server, keys[1]["free"])[0] == 200
    stream.close()  # leaving gives the place back
    assert wait_until(lambda: ask(server, keys[1]["one"])[0] == 200)


def test_a_refused_request_gives_its_place_back(server, keys):
    for _ in range(3):
        assert ask(server, keys[1]["one"], temperature=-1)[0] == 400
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        got = sorted(pool.map(lambda _: ask(server, keys[1]["one"])[0], range(4)))
    assert set(got) <= {200, 429} and got[0] == 200
    assert ask(server, keys[1]["one"])[0] == 200


def test_reload(server, keys):
    admin = {"Authorization": "Bearer " + ADMIN}
    while ask(server, keys[1]["few"])[0] == 200:
        pass
    late = key(keys[0], "new", "late")
    assert ask(server, late)[0] == 401
    assert send(server, "POST", "/admin/reload", **admin)[0] == 200 and ask(server, late)[0] == 200
    assert ask(server, keys[1]["few"])[0] == 429  # what was used stays used
    key(keys[0], "revoke", "late")
    assert send(server, "POST", "/admin/reload", **admin)[0] == 200 and ask(server, late)[0] == 401
    text = keys[0].read_text()
    for broken in ("{", '{"keys": [{"name": "x"}]}', text.replace('"concurrent"', '"concurent"'), '{"keys": [], "more": 1}'):
        keys[0].write_text(broken)
        status, _, said = send(server, "POST", "/admin/reload", **admin)
        assert status == 500 and said["error"]["code"] == "reload_failed" and str(keys[0]) in said["error"]["message"]
        assert ask(server, keys[1]["free"])[0] == 200  # all is as it was
    keys[0].write_text(text)


def test_a_server_off_loopback_wants_keys(folder, tmp_path):
    key(tmp_path / "keys.json", "new", "a")
    command = [SAMPAN, "serve", "--model", str(folder), "--port", "0", "--host", "0.0.0.0"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2 and "--keys" in refused.stderr
    missing = subprocess.run([*command, "--keys", str(tmp_path / "none.json")], capture_output=True, text=True, timeout=60)
    assert missing.returncode == 1 and "none.json" in missing.stderr
    same = subprocess.run([*command, "--api-key", "k", "--admin-key", "k"], capture_output=True, text=True, timeout=60)
    assert same.returncode == 2 and "--admin-key" in same.stderr


# ---- names and sites ----

def test_dns_rebinding(server):
    status = lambda host: send(server, "GET", "/health", Host=host)[0]
    assert all(status(h) == 200 for h in ("localhost", "localhost:1", "LOCALHOST", "127.0.0.1:80", "127.9.9.9", "[::1]:8080", "a.localhost"))
    assert all(status(h) == 403 for h in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "localhost.evil",
                                          ":80"))


def test_pages_of_other_sites(server, folder):
    mine = server.url[7:]
    plain = lambda origin: send(server, "GET", "/health", Host=mine, Origin=origin)
    status, head, _ = plain("http://" + mine)
    assert status == 200 and "Access-Control-Allow-Origin" not in head
    assert all(plain(o)[0] == 403 for o in ("https://evil.example", "null", "http://localhost:1", "http://" + mine + ".evil"))
    cors = Server("--cors-origin", "https://chat.example", "--cors-origin", "null", "--allowed-host", "sampan.example", model=str(folder))
    try:
        status, head, _ = send(cors, "GET", "/health", Origin="https://chat.example")
        assert status == 200 and head["Access-Control-Allow-Origin"] == "https://chat.example" and head["Vary"] == "Origin"
        ask_first = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization, content-type"}
        status, head, body = send(cors, "OPTIONS", "/v1/chat/completions", Origin="https://chat.example", **ask_first)
        assert (status, body) == (204, b"") and "POST" in head["Access-Control-Allow-Methods"]
        assert head["Access-Control-Allow-Headers"] == "authorization, content-type" and head["Access-Control-Max-Age"]
        assert send(cors, "OPTIONS", "/v1/chat/completions", Origin="https://evil.example", **ask_first)[0] == 403
        stream = send(cors, "POST", "/v1/completions", {"model": cors.model, "prompt": "a", "max_tokens": 2, "stream": True}, Origin="null")
        assert stream[0] == 200 and stream[1]["Access-Control-Allow-Origin"] == "null" and b"[DONE]" in stream[2]
        assert send(cors, "GET", "/health", Host="sampan.example:443")[0] == 200 and send(cors, "GET", "/health", Host="other")[0] == 403
    finally:
        cors.end()


def test_limits_are_settings(folder):
    small = Server("--max-body", "2K", "--max-header", "1K", "--header-timeout", "1", "--keep-alive", "1", "--max-connections", "3",
                   model=str(folder))
    try:
        assert send(small, "POST", "/tokenize", {"prompt": "a" * 3000})[0] == 413
        assert send(small, "POST", "/tokenize", {"prompt": "a" * 1000})[0] == 200
        assert send(small, "GET", "/health", X="a" * 1200)[0] == 431 and send(small, "GET", "/health", X="a" * 500)[0] == 200
        host, port = small.url[7:].split(":")
        line = http.client.HTTPConnection(host, int(port), timeout=20)
        line.request("GET", "/health")
        assert line.getresponse().read()
        begin = time.monotonic()
        assert line.sock.recv(10) == b"" and 0.5 < time.monotonic() - begin < 5  # closed while idle
    finally:
        small.end()
    for flag, value in (("--max-body", "1"), ("--max-body", "1G"), ("--max-header", "1M")):
        done = subprocess.run([SAMPAN, "serve", "--model", str(folder), flag, value], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and flag in done.stderr
