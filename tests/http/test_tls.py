"""HTTPS: the official client, streams, a new certificate without a restart, and what is no TLS at all."""
import contextlib
import http.client
import os
import resource
import shutil
import socket
import ssl
import subprocess

import openai
import pytest
import tiny
from conftest import SAMPAN, wait_until
from test_admin import KEY
from test_memory import rss

ADMIN = KEY["Authorization"].split()[1]


def certificate(folder, name):
    """A self-signed one for localhost, whose subject is the name."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
                   cwd=folder, check=True, capture_output=True)
    return folder


class Secure:
    def __init__(self, model, certs):
        self.certs = certs
        self.process = subprocess.Popen([SAMPAN, "serve", "--model", str(model), "--alias", "tiny", "--port", "0", "--admin-key", ADMIN,
                                         "--tls-cert", str(certs / "cert.pem"), "--tls-key", str(certs / "key.pem")],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = next(line for line in self.process.stdout if line.startswith("Sampan answers at https://"))
        self.port = int(line.strip().rsplit(":", 1)[1])

    def context(self):
        return ssl.create_default_context(cafile=str(self.certs / "cert.pem"))

    def dial(self):
        return self.context().wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=30), server_hostname="localhost")

    def line(self):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self.context())

    def ask(self, method, path, line=None):
        line = line or self.line()
        line.request(method, path, headers=KEY)
        answer = line.getresponse()
        return answer.status, answer.read()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    s = Secure(tiny.make(folder / "tiny"), certificate(folder / "one", "first"))
    yield s
    s.process.terminate()
    assert s.process.wait(timeout=40) == 0


def test_the_official_client(server):
    client = openai.OpenAI(base_url=f"https://localhost:{server.port}/v1", api_key="none", max_retries=0,
                           http_client=openai.DefaultHttpxClient(verify=server.context()))
    ask = lambda **more: client.completions.create(model="tiny", prompt="ab" * 500, max_tokens=300, temperature=0,
                                                   extra_body={"ignore_eos": True}, **more)
    assert "".join(p.choices[0].text for p in ask(stream=True)) == ask().choices[0].text
    with pytest.raises(openai.APIConnectionError):  # a certificate that nobody vouches for
        openai.OpenAI(base_url=f"https://localhost:{server.port}/v1", api_key="none", max_retries=0).models.list()


def test_versions_and_protocol(server):
    with server.dial() as s:
        assert s.version() == "TLSv1.3"
    context = server.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost") as s:
        assert s.selected_alpn_protocol() == "http/1.1"
    context = server.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost") as s:
        assert s.version() == "TLSv1.2"


def test_large_bodies_and_pipelines(server):
    text = b'{"content":"%s"}' % (b"a" * (3 << 20))
    with server.dial() as s:
        s.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(text) + text
                  + b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        data = b""
        while part := s.recv(1 << 16):  # and the end is told: no error here
            data += part
    assert data.count(b"HTTP/1.1 200") == 2 and len(data) > 6 << 20


def test_what_is_no_tls(server):
    for junk in (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 1000):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as s:
            s.sendall(junk)
            with contextlib.suppress(ConnectionError):
                assert not s.recv(100).startswith(b"HTTP")
    assert server.ask("GET", "/health")[0] == 200


def test_a_client_that_leaves(server):
    body = b'{"model":"tiny","prompt":"ab","max_tokens":4000,"ignore_eos":true,"stream":true}'
    s = server.dial()
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert s.recv(100)
    s.close()
    assert wait_until(lambda: server.ask("GET", "/admin/requests")[1] == b'{"object":"list","data":[]}', 5)


def test_a_new_certificate(server, tmp_path):
    subject = lambda s: dict(pair for part in s.getpeercert()["subject"] for pair in part)["commonName"]
    old = server.line()
    assert server.ask("GET", "/health", old)[0] == 200
    reload_line = server.line()
    assert server.ask("GET", "/health", reload_line)[0] == 200
    new = certificate(tmp_path / "two", "second")
    kept = {name: (server.certs / name).read_bytes() for name in ("cert.pem", "key.pem")}
    shutil.copy(new / "cert.pem", server.certs / "cert.pem")  # the key does not fit yet
    status, said = server.ask("POST", "/admin/reload", reload_line)
    assert status == 500 and b"not usable for TLS" in said
    shutil.copy(new / "key.pem", server.certs / "key.pem")
    assert server.ask("POST", "/admin/reload", reload_line)[0] == 200
    with server.dial() as s:
        assert subject(s) == "second"
    assert server.ask("GET", "/health", old)[0] == 200 and subject(old.sock) == "first"  # what was open stays
    for name, data in kept.items():
        (server.certs / name).write_bytes(data)
    assert server.ask("POST", "/admin/reload", old)[0] == 200


def test_healthcheck(server, tmp_path):
    """As the server: the same settings say that it speaks HTTPS. On loopback no name is asked for, elsewhere it is."""
    def check(*args, **env):
        done = subprocess.run([SAMPAN, "healthcheck", "--port", str(server.port), *args], capture_output=True, text=True, timeout=20,
                              env=dict(os.environ, https_proxy="http://127.0.0.1:9", **env))
        return done.returncode, done.stdout + done.stderr
    cert = str(server.certs / "cert.pem")
    assert check("--tls-cert", cert) == check("--host", "0.0.0.0", SAMPAN_TLS_CERT=cert) == (0, "ready\n")
    assert check("--host", "localhost", "--tls-cert", str(tmp_path / "renewed.pem")) == (0, "ready\n")
    assert check()[0] == 1
    number = ("--host", str(0x7F000001))  # 127.0.0.1 for who dials, but not known as loopback
    status, said = check(*number, "--tls-cert", str(certificate(tmp_path / "other", "other") / "cert.pem"))
    assert status == 1 and "certificate" in said
    assert check(*number, "--tls-cert", cert) == (0, "ready\n")
    assert check(*number, "--tls-cert", str(tmp_path / "other/cert.pem"), "--insecure") == (0, "ready\n")


def test_bad_files_are_said(server, tmp_path):
    certs = certificate(tmp_path / "certs", "x")
    (tmp_path / "junk").write_text("junk")
    command = [SAMPAN, "serve", "--model", "x", "--port", "0"]
    model = tiny.make(tmp_path / "tiny")
    for cert, key in ((certs / "cert.pem", None), (tmp_path / "none", certs / "key.pem"), (certs / "cert.pem", tmp_path / "junk"),
                      (certs / "cert.pem", server.certs / "key.pem")):
        files = ["--tls-cert", str(cert)] + (["--tls-key", str(key)] if key else [])
        done = subprocess.run([*command[:3], str(model), *command[4:], *files], capture_output=True, text=True, timeout=60)
        assert done.returncode in (1, 2) and "tls" in done.stderr.lower()


def test_idle_connections(server, tmp_path):
    """What they cost is reported; it is OpenSSL's, and bounded."""
    fresh = Secure(tiny.make(tmp_path / "tiny"), server.certs)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files[1], 4096) if files[1] > 0 else 4096, files[1]))
    lines = []
    try:
        for _ in range(10):
            fresh.ask("GET", "/health")
        before = rss(fresh.process.pid)
        for _ in range(300):
            lines.append(fresh.line())
            assert fresh.ask("GET", "/health", lines[-1])[0] == 200
        each = (rss(fresh.process.pid) - before) / 300
        print(f"an idle TLS connection: {each:.0f} bytes")
        assert each < 128 * 1024
    finally:
        for line in lines:
            line.close()
        fresh.process.terminate()
        fresh.process.wait(timeout=40)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
