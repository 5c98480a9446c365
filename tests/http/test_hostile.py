"""What hostile clients send, over raw sockets, to a server with a tiny model. After each case another client is answered
and the server's memory is bounded."""
import contextlib
import json
import os
import re
import resource
import socket
import struct
import subprocess
import time

import pytest
import tiny
from conftest import SAMPAN, wait_until

HOST = b"Host: localhost\r\n"
BODY = b'{"prompt":"hello"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
POST = b"POST /tokenize HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"


class Hostile:
    def __init__(self, folder, limit=None):
        files = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))) if limit else None
        self.process = subprocess.Popen([SAMPAN, "serve", "--model", str(folder), "--alias", "tiny", "--port", "0", "--max-context", "8192"],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=files)
        for line in self.process.stdout:
            if line.startswith("Sampan answers at http://"):
                self.port = int(line.strip().rsplit(":", 1)[1])
                break
        self.base = self.memory()

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def dial(self, timeout=20):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def send(self, data, timeout=20):
        """All that comes back until the server closes."""
        with self.dial(timeout) as s:
            with contextlib.suppress(ConnectionError):
                s.sendall(data)
            return read_all(s)

    def well(self, grown=64 << 20):
        assert self.process.poll() is None, "the server has ended"
        begin = time.monotonic()
        assert self.send(b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
        assert time.monotonic() - begin < 5
        assert self.memory() - self.base < grown


def read_all(s):
    out = b""
    with contextlib.suppress(ConnectionError):
        while part := s.recv(65536):
            out += part
    return out


def statuses(answer):
    return [int(s) for s in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def server(folder):
    s = Hostile(folder)
    yield s
    s.process.terminate()
    assert s.process.wait(timeout=40) == 0


@pytest.fixture(autouse=True)
def still_well(request):
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").well()


# ---- where a message ends: refused, answered once, closed ----

REFUSED = {
    "length and chunked": (400, POST + LENGTH + CHUNKED + b"\r\n0\r\n\r\n"),
    "chunked and length": (400, POST + CHUNKED + b"Content-Length: 4\r\n\r\n" + b"0\r\n\r\n"),
    "two lengths": (400, POST + LENGTH + b"Content-Length: 4\r\n\r\n" + BODY),
    "two equal lengths": (400, POST + LENGTH + LENGTH + b"\r\n" + BODY),
    "a list of lengths": (400, POST + b"Content-Length: 18, 18\r\n\r\n" + BODY),
    "a length with a plus": (400, POST + b"Content-Length: +18\r\n\r\n" + BODY),
    "a length with a minus": (400, POST + b"Content-Length: -1\r\n\r\n" + BODY),
    "a length with a blank": (400, POST + b"Content-Length: 1 8\r\n\r\n" + BODY),
    "a length in hex": (400, POST + b"Content-Length: 0x12\r\n\r\n" + BODY),
    "an empty length": (400, POST + b"Content-Length:\r\n\r\n" + BODY),
    "a length beyond 64 bits": (413, POST + b"Content-Length: 18446744073709551634\r\n\r\n" + BODY),
    "xchunked": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "two origins": (400, POST + LENGTH + b"Origin: http://localhost\r\nOrigin: http://evil.example\r\n\r\n" + BODY),
    "chunked twice": (501, POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n"),
    "gzip, chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked, identity": (501, POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "a vertical tab before chunked": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "chunked in HTTP/1.0": (400, b"POST /tokenize HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n"),
    "a blank before the colon": (400, POST + b"Content-Length : 18\r\n\r\n" + BODY),
    "a folded line": (400, POST + b"A: b\r\n " + LENGTH + b"\r\n" + BODY),
    "a bare line feed": (400, b"GET /health HTTP/1.1\nHost: localhost\n\n"),
    "a line feed in the fields": (400, POST + b"A: b\n" + LENGTH + b"\r\n" + BODY),
    "a carriage return in a field": (400, POST + b"A: b\rTransfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + BODY),
    "a NUL in a field": (400, POST + b"A: b\0c\r\n" + LENGTH + b"\r\n" + BODY),
    "a line without a colon": (400, POST + b"nothing\r\n\r\n"),
    "an empty name": (400, POST + b": x\r\n\r\n"),
    "HTTP/0.9": (400, b"GET /health\r\n\r\n"),
    "HTTP/2.0": (505, b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n"),
    "HTTP/1.2": (505, b"GET /health HTTP/1.2\r\n" + HOST + b"\r\n"),
    "HTTP/2's preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a lower-case version": (400, b"GET /health http/1.1\r\n" + HOST + b"\r\n"),
    "a tab for a blank": (400, b"GET\t/health\tHTTP/1.1\r\n" + HOST + b"\r\n"),
    "two blanks": (400, b"GET  /health HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a blank in the target": (400, b"GET /he alth HTTP/1.1\r\n" + HOST + b"\r\n"),
    "bytes above 127 in the target": (400, b"GET /\xe4\xbd\xa0 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "no Host": (400, b"GET /health HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n"),
    "an unknown method": (501, b"BREW /health HTTP/1.1\r\n" + HOST + b"\r\n"),
    "CONNECT": (400, b"CONNECT x:80 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a method with a slash": (400, b"G/T /health HTTP/1.1\r\n" + HOST + b"\r\n"),
    "HEAD with a body": (400, b"HEAD /health HTTP/1.1\r\n" + HOST + LENGTH + b"\r\n" + BODY),
    "an unknown Expect": (417, POST + b"Expect: magic\r\n" + LENGTH + b"\r\n" + BODY),
    "a head of 100 KB": (431, b"GET /health HTTP/1.1\r\n" + HOST + b"A: " + b"x" * 100000 + b"\r\n\r\n"),
    "a head without an end": (431, b"GET /health HTTP/1.1\r\n" + b"A: " + b"x" * 1000000),
    "10,000 fields": (431, b"GET /health HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 10000 + b"\r\n"),
    "a chunk's size that is none": (400, POST + CHUNKED + b"\r\nxyz\r\n"),
    "a chunk's size with a sign": (400, POST + CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n"),
    "a chunk's size in 0x": (400, POST + CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n"),
    "a chunk's size with a blank": (400, POST + CHUNKED + b"\r\n5 \r\nhello\r\n0\r\n\r\n"),
    "a chunk's line with a bare line feed": (400, POST + CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n"),
    "a chunk longer than its size": (400, POST + CHUNKED + b"\r\n5\r\nhello!!\r\n0\r\n\r\n"),
    "a chunk of 2^60": (400, POST + CHUNKED + b"\r\n1000000000000000\r\nx"),
    "a chunk of 1 GB": (413, POST + CHUNKED + b"\r\n40000000\r\nx"),
    "an endless chunk extension": (400, POST + CHUNKED + b"\r\n5;" + b"a" * 100000),
    "an endless trailer": (400, POST + CHUNKED + b"\r\n0\r\n" + b"A: b\r\n" * 100000),
    "a trailer that is no field": (400, POST + CHUNKED + b"\r\n0\r\nGET /health HTTP/1.1\r\n\r\n"),
}


@pytest.mark.parametrize("status,data", REFUSED.values(), ids=REFUSED)
def test_ambiguous_framing_is_refused(server, status, data):
    """One answer, then the line is closed: what follows is never read as a request."""
    answer = server.send(data + b"\r\nGET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n")
    assert statuses(answer) == [status], answer
    assert b'"error"' in answer and b"Connection: close" in answer and b'"object":"list"' not in answer


ACCEPTED = {
    "an address": b"GET http://other:99/health?x=1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address without a path": b"GET http://other HTTP/1.1\r\n" + HOST + b"\r\n",
    "lines before the first": b"\r\n\r\nGET /health HTTP/1.1\r\n" + HOST + b"\r\n",
    "a body with GET": b"GET /health HTTP/1.1\r\n" + HOST + LENGTH + b"\r\n" + BODY,
    "tabs around a value": POST + b"Content-Length:\t18 \t\r\n\r\n" + BODY,
    "chunks with extensions": POST + CHUNKED + b'\r\n5;a="b";c\r\n' + BODY[:5] + b"\r\n0D\r\n" + BODY[5:] + b"\r\n000\r\nA: b\r\n\r\n",
    "CHUNKED": POST + b"TRANSFER-encoding:CHUNKED\r\n\r\n12\r\n" + BODY + b"\r\n0\r\n\r\n",
    "bytes above 127 in a value": b"GET /health HTTP/1.1\r\n" + HOST + b"A: \xff\xfe\r\n\r\n",
}


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=ACCEPTED)
def test_unusual_framing_is_understood(server, data):
    """Each is answered, and so is the request right behind it: both readers agree on where it ends."""
    last = b"GET /version HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    answer = server.send(data + last)
    assert statuses(answer) == [200, 200] and b'"isa"' in answer, answer
    with server.dial() as s:  # and byte by byte
        for byte in data + last:
            s.sendall(bytes([byte]))
        assert statuses(read_all(s)) == [200, 200]


def test_wrong_methods_and_targets(server):
    ask = lambda line: statuses(server.send(line + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"))
    assert ask(b"DELETE /health") == [405] and ask(b"PUT /v1/chat/completions") == [405] and ask(b"OPTIONS /health") == [204]
    assert ask(b"GET //host:99999999/") == [400] and ask(b"GET /v1/models/%00%ff%zz") == [404] and ask(b"GET /" + b"a" * 60000) == [404]
    assert ask(b"GET /../../etc/passwd") == [404] and ask(b"GET *") == [400]


def test_a_pipeline_is_answered_in_order(server):
    ask = b"GET /v1/models/%d HTTP/1.1\r\n" + HOST + b"\r\n"
    text = b'{"model":"tiny","prompt":"ab","max_tokens":2}'
    slow = b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(text) + text
    data = b"".join((ask % i) + slow for i in range(40)) + b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    answer = server.send(data)
    assert statuses(answer) == [404, 200] * 40 + [200]
    places = [answer.index(b"'%d'" % i) for i in range(40)]
    assert places == sorted(places)


def test_a_pipeline_behind_a_long_answer_is_not_read(server):
    text = b'{"model":"tiny","prompt":"ab","max_tokens":4000,"ignore_eos":true}'
    with server.dial(2) as s:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(text) + text)
        sent, end = 0, time.monotonic() + 2
        with contextlib.suppress(OSError):
            while sent < 100 << 20 and time.monotonic() < end:
                sent += s.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000000)
        server.well(grown=32 << 20)


# ---- sizes ----

def test_a_body_of_100_mb_is_refused_at_its_head(server):
    begin = time.monotonic()
    with server.dial() as s:
        s.sendall(POST + b"Content-Length: 104857600\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_100_mb_first_still_sees_413(server, chunked):
    """It is read away for a while, so that the answer is not lost in a reset; nothing of it is kept."""
    before = server.memory()
    block = b"x" * (1 << 20)
    with server.dial() as s:
        s.sendall(POST + (CHUNKED + b"\r\n" if chunked else b"Content-Length: 104857600\r\n\r\n"))
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                s.sendall(b"100000\r\n" + block + b"\r\n" if chunked else block)
        assert s.recv(4096).startswith(b"HTTP/1.1 413 ")
        assert server.memory() - before < 80 << 20


def post(server, path, body):
    head = b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = server.send(head + body)
    return statuses(answer)[0], json.loads(answer.split(b"\r\n\r\n", 1)[1])


CONTENT = b'{"model":"tiny","max_tokens":1,"messages":[{"role":"user","content":%s}]}'
JSON = {
    "10,000 deep": CONTENT % (b"[" * 10000 + b"]" * 10000), "objects 10,000 deep": b'{"a":' * 10000 + b"1" + b"}" * 10000,
    "a million brackets": b"[" * 1000000, "a lone high surrogate": CONTENT % b'"\\ud800"', "a lone low surrogate": CONTENT % b'"\\udc00"',
    "surrogates the wrong way round": CONTENT % b'"\\udc00\\ud800"', "invalid UTF-8": CONTENT % b'"\xff\xfe"',
    "overlong UTF-8": CONTENT % b'"\xc0\x80"', "a surrogate in UTF-8": CONTENT % b'"\xed\xa0\x80"', "beyond Unicode": CONTENT % b'"\xf5\x80\x80\x80"',
    "a raw NUL": CONTENT % b'"a\0b"', "an escaped NUL": CONTENT % b'"a\\u0000b"', "a NUL in a name": b'{"a\\u0000b":1}', "NaN": CONTENT % b"NaN",
    "1e999": CONTENT % b"1e999", "a number of 1 MB": CONTENT % (b"1" * 1000000), "text behind it": CONTENT % b'"a"' + b"}", "UTF-16": "{}".encode("utf-16"),
    "a byte-order mark": b"\xef\xbb\xbf{}", "twice the same name": b'{"model":"tiny","model":"x"}', "nothing": b"", "a string": b'"x"',
}


@pytest.mark.parametrize("body", JSON.values(), ids=JSON)
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/completions", b"/tokenize", b"/detokenize"])
def test_json_that_is_none_is_400(server, path, body):
    status, answer = post(server, path, body)
    assert status == 400 and answer["error"]["message"]


def test_wide_json_and_many_prompts(server):
    many = b"[" + b",".join([b'"ab"'] * 100000) + b"]"
    for path, body in [(b"/v1/completions", b'{"model":"tiny","prompt":%s}' % many), (b"/v1/chat/completions", CONTENT % many),
                       (b"/v1/chat/completions", b'{"model":"tiny","messages":%s}' % many), (b"/detokenize", b'{"tokens":%s}' % many),
                       (b"/v1/completions", b'{"model":"tiny","prompt":"a","stop":%s}' % many),
                       (b"/v1/completions", b'{"model":"tiny","prompt":"a","logit_bias":{%s}}' % b",".join(b'"%d":1' % i for i in range(100000)))]:
        assert post(server, path, body)[0] == 400


def test_many_answers_to_a_long_prompt_cost_one_prompt(server):
    """128 copies of a prompt that does not fit must not be made before that is found."""
    long = b"a" * (8 << 20)
    for path, body in [(b"/v1/chat/completions", CONTENT[:-1] % (b'"' + long + b'"') + b',"n":128}'),
                       (b"/v1/completions", b'{"model":"tiny","prompt":"' + long + b'","n":128}')]:
        before = server.memory()
        status, answer = post(server, path, body)
        assert status == 400 and "8192" in answer["error"]["message"]
        assert server.memory() - before < 400 << 20
    server.base = max(server.base, server.memory())  # what the allocator keeps


def test_many_large_bodies_at_once(server):
    """No more of them than 256 MB together; who comes too late is cut off, and all goes on when they leave."""
    before, crowd, block = server.memory(), [], b"x" * (1 << 20)
    for _ in range(16):
        s = server.dial()
        crowd.append(s)
        with contextlib.suppress(ConnectionError):
            s.sendall(POST + b"Content-Length: 33000000\r\n\r\n")
            for _ in range(30):
                s.sendall(block)
    assert server.memory() - before < 330 << 20
    server.well(grown=700 << 20)
    for s in crowd:
        s.close()
    large = b'{"content":"a","pad":"%s"}' % (b"a" * (24 << 20))
    head = b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(large)
    assert wait_until(lambda: statuses(server.send(head + large)) == [200])  # cut off until the others' are given back
    server.base = max(server.base, server.memory())


# ---- time ----

def test_a_head_has_fifteen_seconds(server):
    """However it drips: the others are answered meanwhile, then it is refused."""
    with server.dial(40) as s:
        begin = time.monotonic()
        s.sendall(b"GET /health HTTP/1.1\r\n")
        answer = b""
        s.settimeout(0.5)
        while not answer and time.monotonic() - begin < 30:
            with contextlib.suppress(TimeoutError):
                s.sendall(b"A: b\r\n")
                answer = s.recv(4096)
        took = time.monotonic() - begin
        assert answer.startswith(b"HTTP/1.1 408 ") and 14 < took < 20


def test_a_body_that_comes_byte_by_byte(server):
    with server.dial() as s:
        s.sendall(POST + LENGTH + b"Connection: close\r\n\r\n")
        for byte in BODY:
            s.sendall(bytes([byte]))
            time.sleep(0.01)
        assert statuses(read_all(s)) == [200]


def test_expect_100_continue(server):
    with server.dial() as s:
        s.sendall(POST + b"Expect: 100-continue\r\n" + LENGTH + b"Connection: close\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 100 ")
        s.sendall(BODY)
        assert statuses(read_all(s)) == [200]


def test_a_half_closed_connection_counts_as_left(server):
    with server.dial() as s:
        s.sendall(POST + LENGTH + b"\r\n" + BODY[:5])
        s.shutdown(socket.SHUT_WR)
        assert read_all(s) == b""


def test_resets_amid_answers(server):
    text = b'{"model":"tiny","prompt":"ab","max_tokens":2000,"ignore_eos":true,"stream":true}'
    ask = b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(text) + text
    for wait in (0, 0.01, 0.1) * 4:
        s = server.dial()
        s.sendall(ask)
        if wait:
            s.recv(100)
            time.sleep(wait)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()


def test_a_reader_that_takes_nothing_of_a_long_stream(server):
    """Its answer waits in the server, up to a mark; then the stream is cut and its requests end."""
    text = json.dumps({"model": "tiny", "prompt": "ab", "max_tokens": 8000, "ignore_eos": True, "stream": True, "n": 16, "logprobs": 20}).encode()
    s = server.dial(60)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.sendall(b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(text) + text)
    peak, last, still = 0, 0, 0
    end = time.monotonic() + 60
    while time.monotonic() < end and still < 6:
        time.sleep(0.5)
        now = server.memory()
        still = still + 1 if abs(now - last) < 1 << 20 else 0
        last, peak = now, max(peak, now)
    assert peak - server.base < 128 << 20
    data = read_all(s)
    s.close()
    assert b"[DONE]" not in data[-100:], "the whole stream would have been far over the mark"


# ---- crowds ----

def open_silent(server, n):
    crowd = []
    for _ in range(n):
        crowd.append(server.dial())
    return crowd


def test_ten_thousand_connections_that_say_nothing(server):
    """The newest are served; those that have waited longest make room. Descriptors are bounded."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = 10000 if hard == resource.RLIM_INFINITY or hard >= 10300 else hard - 300
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, want + 300), hard))
    crowd = []
    try:
        for i in range(want):
            crowd.append(server.dial())
            if i % 1000 == 999:
                server.well(grown=160 << 20)
        assert server.files() < 4096 + 256
    finally:
        for s in crowd:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert wait_until(lambda: server.files() < 100, 20)
    server.base = max(server.base, server.memory())


def test_few_descriptors(folder):
    """With room for 64 files the server bounds its connections below that and goes on answering."""
    small = Hostile(folder, limit=64)
    try:
        crowd = open_silent(small, 200)
        small.well()
        busy = []
        text = b'{"model":"tiny","prompt":"ab","max_tokens":3000,"ignore_eos":true,"stream":true}'
        for _ in range(30):
            s = small.dial()
            s.sendall(b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(text) + text)
            busy.append(s)
        small.well()
        assert small.files() <= 64
        for s in crowd + busy:
            s.close()
        small.well()
    finally:
        small.process.terminate()
        assert small.process.wait(timeout=40) == 0
