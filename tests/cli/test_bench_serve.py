"""`sampan bench serve` against the real server and against one that misbehaves in every way that is counted. How fast
anything is is never a test."""
import csv
import io
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree

import numpy
import pytest
from conftest import ROOT, SAMPAN, sampan
from test_bench import Balance

sys.path.insert(0, str(ROOT / "tests/http"))
import tiny  # noqa: E402


def load(*args, env=None, code=0, timeout=120):
    done = subprocess.run([SAMPAN, "bench", "serve", *map(str, args)], env={**os.environ, **(env or {})}, text=True,
                          capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def results(*args, **kw):
    return [json.loads(line) for line in load(*args, "--json", **kw).stdout.splitlines()]


# ---- the real server ----

@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """`sampan serve` with a tiny model; its address."""
    model = tiny.make(tmp_path_factory.mktemp("model") / "tiny")
    process = subprocess.Popen([SAMPAN, "serve", "--model", str(model), "--port", "0", "--alias", "tiny", "--packed-cache",
                                "off"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    url = None
    for line in process.stdout:
        found = re.match(r"Sampan answers at (http://\S+)", line)
        url = found.group(1) if found else url
        if "Ctrl-C" in line:
            break
    yield url
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    process.stdout.close()


VLLM_KEYS = """date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness max_concurrency duration
completed failed total_input_tokens total_output_tokens request_throughput request_goodput output_throughput
total_token_throughput max_output_tokens_per_s max_concurrent_requests""".split() + [
    f"{s}_{m}_ms" for s in ("mean", "median", "std", "p90", "p99") for m in ("ttft", "tpot", "itl", "e2el")]


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_figures_follow_from_the_requests(real, api):
    """Every figure again, by numpy, from the times of each request."""
    r, = results("--server", f"ours={real}", "--api", api, "--concurrency", 3, "--requests", 12, "--max-tokens", 9, "--words", 20,
                 "--details", "--percentiles", "90,99,99.9", "--goodput", "ttft:100000,e2el:200000")
    assert set(VLLM_KEYS) <= set(r) and r["label"] == "ours" and r["backend"] == ("openai-chat" if api == "chat" else "openai")
    assert (r["completed"], r["failed"], r["unfinished"], r["num_prompts"]) == (12, 0, 0, 12) and r["errors_by_kind"] == []
    assert r["request_rate"] == "inf" and r["max_concurrency"] == 3 and 1 <= r["max_concurrent_requests"] <= 3
    assert r["output_lens"] == [9] * 12 and min(r["input_lens"]) > 20 and r["answers_without_usage"] == 0
    assert r["total_output_tokens"] == 108 and r["total_input_tokens"] == sum(r["input_lens"])
    ttft, e2el = numpy.array(r["ttfts"]), numpy.array(r["latencies"])
    assert all(len(g) <= 8 for g in r["itls"]) and ttft == pytest.approx(e2el - [sum(g) for g in r["itls"]], abs=0.05)
    values = {"ttft": ttft, "e2el": e2el, "tpot": (e2el - ttft) / 8, "itl": numpy.concatenate(r["itls"])}
    for name, v in values.items():
        assert r[f"mean_{name}_ms"] == pytest.approx(1e3 * v.mean(), rel=1e-6)
        assert r[f"median_{name}_ms"] == pytest.approx(1e3 * numpy.median(v), rel=1e-6, abs=1e-6)
        assert r[f"std_{name}_ms"] == pytest.approx(1e3 * v.std(), rel=1e-5, abs=1e-6)
        for p in (90, 99, 99.9):
            assert r[f"p{p}_{name}_ms"] == pytest.approx(1e3 * numpy.percentile(v, p), rel=1e-6, abs=1e-6)
    assert r["request_throughput"] == pytest.approx(12 / r["duration"], rel=1e-6) == pytest.approx(r["request_goodput"])
    assert r["output_throughput"] == pytest.approx(108 / r["duration"], rel=1e-6)
    assert r["total_token_throughput"] == pytest.approx((108 + r["total_input_tokens"]) / r["duration"], rel=1e-6)
    assert max(numpy.add(r["start_times"], r["latencies"])) <= r["duration"]


def test_arrivals_keep_their_times(real):
    r, = results("--server", real, "--rate", 40, "--requests", 60, "--max-tokens", 2, "--words", 3, "--seed", 4, "--details")
    starts = sorted(r["start_times"])
    assert r["request_rate"] == 40 and r["max_concurrency"] is None and r["completed"] == 60
    assert starts[-1] == pytest.approx(60 / 40, abs=0.2) and max(r["queue_times"]) < 0.3
    r, = results("--server", real, "--rate", 1000, "--concurrency", 2, "--requests", 30, "--max-tokens", 4, "--words", 3)
    assert r["max_concurrent_requests"] <= 2 and r["p99_client_queue_time_ms"] > 0
    assert r["mean_e2el_including_client_queue_ms"] == pytest.approx(r["mean_e2el_ms"] + r["mean_client_queue_time_ms"], rel=1e-6)


def test_by_time(real):
    r, = results("--server", real, "--seconds", 1, "--concurrency", 2, "--max-tokens", 2, "--words", 3)
    assert r["completed"] > 2 and r["failed"] == r["unfinished"] == 0 and 0.9 < r["duration"] < 10


def test_levels_rounds_and_a_page(real, tmp_path):
    page = tmp_path / "report.html"
    args = ["--server", f"a={real}", "--server", f"b<&={real}", "--concurrency", "1,2,4", "--rounds", 2, "--requests", 4,
            "--max-tokens", 3, "--words", 5]
    lines = results(*args, "--html", page)
    runs, ratios = [x for x in lines if x["bench"] == "serve"], [x for x in lines if x["bench"] == "serve-ratio"]
    assert [(x["label"], x["max_concurrency"]) for x in runs] == [(s, c) for c in (1, 2, 4) for s in ("a", "b<&")]
    for x in runs:
        assert x["completed"] == 8 and [y["completed"] for y in x["rounds"]] == [4, 4]
        assert x["duration"] == pytest.approx(sum(y["duration"] for y in x["rounds"]), rel=1e-6)
    assert {x["figure"] for x in ratios} == {
        "output_throughput", "total_token_throughput", "request_throughput", "median_ttft_ms", "p99_ttft_ms", "median_tpot_ms",
        "p99_itl_ms", "median_e2el_ms"} and len(ratios) == 24
    for x in ratios:
        of, to = [next(r for r in runs if r["label"] == s and r["max_concurrency"] == x["max_concurrency"]) for s in ("a", "b<&")]
        each = [p[x["figure"]] / q[x["figure"]] for p, q in zip(of["rounds"], to["rounds"])]
        assert x["ratio"] == pytest.approx(numpy.median(each), rel=1e-5) and x["coverage"] == 0.5
        assert (x["low"], x["high"]) == pytest.approx((min(each), max(each)), rel=1e-5)
    text = page.read_text(encoding="utf-8")
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert not parser.open and "b&lt;&amp;" in text
    drawings = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, flags=re.S)]
    assert len(drawings) == 3 + 4 + 3  # pairs, lines over the load, distributions
    assert "nan" not in text and "inf," not in text
    assert not re.search(r"(src|href)=|url\(|@import", text)  # nothing is loaded
    data = re.search(r'<script type="application/json" id="results">(.*?)</script>', text, flags=re.S).group(1)
    assert json.loads(data) == lines


def test_forms(real):
    args = ["--server", f"a={real}", "--requests", 3, "--max-tokens", 3, "--words", 5]
    text = load(*args, "--goodput", "ttft:100000").stdout
    assert re.search(r"^a, 1 at once \(tiny\)$", text, flags=re.M) and "3 completed, 0 failed" in text
    assert re.search(r"^ +mean +median +std +p90 +p99$", text, flags=re.M) and "within the limits" in text
    assert all(re.search(rf"^  {m} +\d", text, flags=re.M) for m in ("TTFT", "TPOT", "ITL", "E2EL"))
    lines = load(*args, "--format", "markdown").stdout.splitlines()
    assert len(lines) == 3 and len({line.count("|") for line in lines}) == 1
    row, = csv.DictReader(io.StringIO(load(*args, "--format", "csv").stdout))
    assert row["server"] == "a" and row["completed"] == "3" and float(row["p99_e2el_ms"]) > 0 and None not in row


# ---- servers that misbehave ----

def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(text, finish=None, chat=False, **more):
    choice = {"index": 0, "finish_reason": finish, **({"delta": {"content": text}} if chat else {"text": text})}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}\n\n'
DONE = b"data: [DONE]\n\n"


def whole(chat=False, usage=USAGE):
    parts = [event(t, chat=chat) for t in ("one", " two", " three")] + [event("", "length", chat), usage, DONE]
    return HEAD + b"".join(chunk(p) for p in parts if p) + b"0\r\n\r\n"


def plain(status, body, more=b""):
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), more, body)


class Fake:
    """A server whose answers are made by `answer(number, body)`: bytes, or (bytes, what to do then)."""

    def __init__(self, answer, context=None):
        self.answer, self.context = answer, context
        self.requests, self.heads, self.connections = [], [], 0
        self.lock = threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = connection.makefile("rb")
            while self.one(connection, stream):
                pass
        except OSError:
            pass
        finally:
            connection.close()

    def one(self, connection, stream):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return False
            head += line
        length = re.search(rb"Content-Length: (\d+)", head)
        if not length:
            connection.sendall(plain(b"200 OK", b'{"data": [{"id": "fake"}]}'))
            return True
        body = json.loads(stream.read(int(length.group(1))))
        with self.lock:
            number = len(self.requests)
            self.requests.append(body)
            self.heads.append(head.decode())
        answer = self.answer(number, body)
        answer, then = answer if isinstance(answer, tuple) else (answer, None)
        if then == "bytes":
            for i in range(len(answer)):
                connection.sendall(answer[i:i + 1])
            return True
        connection.sendall(answer)
        if then == "hang":
            time.sleep(5)
        return then is None

    def close(self):
        self.socket.close()


@pytest.fixture
def fake():
    made = []

    def make(answer, context=None):
        made.append(Fake(answer, context))
        return made[-1]
    yield make
    for server in made:
        server.close()


def test_a_nul_is_a_character(fake):
    answer = HEAD + b"".join(chunk(p) for p in (event("\0"), event("a"), event("\0b", "length"), USAGE, DONE)) + b"0\r\n\r\n"
    server = fake(lambda n, body: answer)
    r, = results("--server", server.url, "--warmups", 0, "--requests", 2, "--concurrency", 1, "--details")
    assert r["completed"] == 2 and r["errors_by_kind"] == [] and [len(i) for i in r["itls"]] == [2, 2]


KINDS = {
    "ok": lambda: whole(),
    "http_429": lambda: plain(b"429 Too Many Requests", b'{"error": {"message": "queue is full"}}', b"Retry-After: 1\r\n"),
    "http_500": lambda: plain(b"500 Oops", b"boom"),
    "closed_early": lambda: (HEAD + chunk(event("one")), "close"),
    "malformed_http": lambda: (HEAD + chunk(event("one")) + b"zz\r\n", "close"),
    "malformed_event": lambda: HEAD + chunk(event("one")) + chunk(b"data: {oops\n\n") + b"0\r\n\r\n",
    "error_event": lambda: HEAD + chunk(event("one")) + chunk(b'data: {"error": {"message": "out of pages"}}\n\n') + b"0\r\n\r\n",
    "no_stream": lambda: plain(b"200 OK", b'{"choices": [{"text": "all at once"}]}'),
    "empty": lambda: HEAD + chunk(USAGE) + chunk(DONE) + b"0\r\n\r\n",
    "timeout": lambda: (HEAD + chunk(event("one")), "hang"),
}


def test_all_that_goes_wrong_is_counted(fake):
    kinds = list(KINDS)
    server = fake(lambda n, body: KINDS[kinds[n % len(kinds)]]())
    r, = results("--server", server.url, "--warmups", 0, "--requests", 30, "--concurrency", 10, "--answer-timeout", 1, "--details")
    assert r["completed"] == 3 and r["failed"] == 27 and len(server.requests) == 30 == r["num_prompts"]
    counted = {e["kind"]: e for e in r["errors_by_kind"]}
    assert {k: e["count"] for k, e in counted.items()} == {k: 3 for k in kinds if k != "ok"}
    assert counted["http_429"]["example"] == "queue is full" and counted["error_event"]["example"] == "out of pages"
    assert counted["http_500"]["example"] == "boom" and "{oops" in counted["malformed_event"]["example"]
    assert sorted(r["errors"]) == sorted(["" if k == "ok" else k for k in kinds] * 3)
    assert r["total_output_tokens"] == 9 and r["total_input_tokens"] == 15  # nothing of a failed one
    text = load("--server", server.url, "--warmups", 0, "--requests", 10, "--concurrency", 10, "--answer-timeout", 1).stdout
    assert "1 completed, 9 failed" in text and re.search(r"http_429 +1: queue is full", text)


def test_a_stream_without_an_end_is_no_answer(fake):
    server = fake(lambda n, body: HEAD + chunk(event("one")) + b"0\r\n\r\n" if n % 2 else whole())
    r, = results("--server", server.url, "--requests", 4)
    assert r["completed"] == 2 and r["errors_by_kind"][0]["kind"] == "closed_early" and "no end" in r["errors_by_kind"][0]["example"]


@pytest.mark.parametrize("chat", [False, True])
def test_byte_by_byte(fake, chat):
    server = fake(lambda n, body: (b"HTTP/1.1 100 Continue\r\n\r\n" + whole(chat), "bytes"))
    r, = results("--server", server.url, "--api", "chat" if chat else "completions", "--requests", 3, "--details")
    assert r["completed"] == 3 and r["output_lens"] == [3] * 3 and r["input_lens"] == [5] * 3
    assert [len(g) for g in r["itls"]] == [2] * 3 and server.connections <= 2


def test_what_is_no_token(fake):
    """The role, the end, usage and comments are none; a piece without text is one."""
    parts = [b": ping\n\n", b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": null}]}\n\n',
             event("", chat=True), event("x", chat=True), b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n', USAGE, DONE]

    def answer(n, body):
        return HEAD + b"".join(map(chunk, parts)) + b"0\r\n\r\n"
    r, = results("--server", fake(answer).url, "--api", "chat", "--requests", 2, "--details")
    assert r["completed"] == 2 and [len(g) for g in r["itls"]] == [1, 1]


def test_connections_are_kept(fake):
    server = fake(lambda n, body: whole())
    results("--server", server.url, "--requests", 40, "--concurrency", 4)
    assert server.connections <= 5  # four, and the list of models
    closing = fake(lambda n, body: (whole(), "close"))  # without a word that it will
    r, = results("--server", closing.url, "--requests", 40, "--concurrency", 4)
    assert r["completed"] == 40 and r["failed"] == 0


def test_without_usage_pieces_are_counted(fake):
    server = fake(lambda n, body: whole(usage=b""))
    r, = results("--server", server.url, "--requests", 2)
    assert r["answers_without_usage"] == 2 and r["total_output_tokens"] == 6 and r["total_input_tokens"] == 0
    assert "told no usage" in load("--server", server.url, "--requests", 2).stdout


def test_what_is_asked(fake):
    server = fake(lambda n, body: whole(chat=True))
    load("--server", server.url, "--api", "chat", "--key", "secret", "--requests", 6, "--turns", 3, "--words", 4, "--prefix-words", 10,
         "--max-tokens", 17, "--extra-body", '{"top_k": 3}', "--warmups", 0, "--stop-at-eos")
    assert all("Authorization: Bearer secret\r\n" in h and h.startswith("POST /v1/chat/completions ") for h in server.heads)
    assert [len(b["messages"]) for b in server.requests] == [1, 3, 5] * 2
    first, second = server.requests[2]["messages"], server.requests[5]["messages"]
    assert [m["role"] for m in first] == ["user", "assistant"] * 2 + ["user"] and first[1]["content"] == "one two three"
    assert [len(m["content"].split()) for m in first if m["role"] == "user"] == [14, 4, 4]
    assert first[0]["content"].split()[:10] == second[0]["content"].split()[:10] != first[0]["content"].split()[4:]
    assert first[0]["content"] != second[0]["content"]
    body = server.requests[0]
    assert body["model"] == "fake" and body["max_tokens"] == 17 and body["top_k"] == 3 and body["temperature"] == 0
    assert body["stream"] is True and body["stream_options"] == {"include_usage": True} and "ignore_eos" not in body


def test_prompts_are_never_the_same(fake):
    server = fake(lambda n, body: whole())
    args = ["--server", f"a={server.url}", "--server", f"b={server.url}", "--rounds", 2, "--concurrency", "1,2", "--requests", 5]
    load(*args)
    load(*args)
    prompts = [b["prompt"] for b in server.requests]
    assert len(prompts) == 2 * (2 * 2 * 2 * 5 + 2) == len(set(prompts)) and server.requests[0]["ignore_eos"] is True
    assert all(len(p.split()) == 128 for p in prompts)
    load("--server", server.url, "--requests", 3, "--seed", 7)
    load("--server", server.url, "--requests", 3, "--seed", 7)
    again = [b["prompt"] for b in server.requests[len(prompts):]]
    assert again[:4] == again[4:] and len(set(again)) == 4


def test_servers_take_turns(fake):
    order = []
    a = fake(lambda n, body: order.append("a") or whole())
    b = fake(lambda n, body: order.append("b") or whole())
    results("--server", f"a={a.url}/v1", "--server", f"b={b.url}/", "--rounds", 3, "--requests", 2, "--warmups", 0)
    assert "".join(order) == "aabb" + "bbaa" + "aabb"


def test_prompts_of_a_file(fake, tmp_path):
    server = fake(lambda n, body: whole())
    data = tmp_path / "prompts.jsonl"
    data.write_text("\n".join(json.dumps({"prompt": f"question {i}", "max_tokens": 10 + i}) for i in range(3)))
    load("--server", server.url, "--data", data, "--requests", 4, "--rounds", 2, "--warmups", 0)
    assert [(b["prompt"], b["max_tokens"]) for b in server.requests] == [(f"question {i % 3}", 10 + i % 3) for i in range(8)]


def test_interrupted(fake):
    server = fake(lambda n, body: whole() if n < 6 else (HEAD + chunk(event("one")), "hang"))
    process = subprocess.Popen([SAMPAN, "bench", "serve", "--server", server.url, "--requests", "100", "--concurrency", "2",
                                "--warmups", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 20
    while len(server.requests) < 8 and time.monotonic() < end:
        time.sleep(0.02)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    r = json.loads(out)
    assert process.returncode == 1 and "stopped" in err and time.monotonic() - begin < 3
    assert (r["completed"], r["unfinished"], r["failed"]) == (6, 2, 0)


def test_nothing_answered(fake):
    server = fake(lambda n, body: KINDS["http_500"]())
    done = load("--server", server.url, "--requests", 2, code=1)
    assert "warm-up request failed (http_500): boom" in done.stderr
    done = load("--server", server.url, "--requests", 2, "--warmups", 0, code=1)
    assert "http_500" in done.stdout and "not one of 2 requests" in done.stderr
    free = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{free.getsockname()[1]}"
    free.close()
    assert "refused" in load("--server", url, code=1).stderr
    r, = results("--server", url, "--model", "m", "--warmups", 0, "--requests", 3, code=1)
    assert r["errors_by_kind"][0]["kind"] == "connect" and r["errors_by_kind"][0]["count"] == 3


def test_tls(fake, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
                    "-out", cert, "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = fake(lambda n, body: whole(), context)
    r, = results("--server", server.url, "--requests", 6, "--concurrency", 2, env={"SSL_CERT_FILE": str(cert)})
    assert r["completed"] == 6 and server.connections <= 3
    named = server.url.replace("127.0.0.1", "localhost")
    assert results("--server", named, "--requests", 2, env={"SSL_CERT_FILE": str(cert)})[0]["completed"] == 2
    assert "certificate is not accepted" in load("--server", server.url, code=1).stderr
    assert results("--server", server.url, "--requests", 2, "--insecure")[0]["completed"] == 2


@pytest.mark.parametrize("args,why", [
    (["--rate", "x"], "--rate"), (["--rate", "0"], "--rate"), (["--concurrency", "0"], "--rate only"),
    (["--goodput", "ttft"], "ttft:500"), (["--goodput", "itl:5"], "ttft:500"), (["--percentiles", "101"], "--percentiles"),
    (["--percentiles", ""], "--percentiles"), (["--server", "localhost:8080", "--model", "m"], "http://HOST:PORT"),
    (["--server", "http://h?x=1", "--model", "m"], "http://HOST:PORT"), (["--server", "a=http://h", "--server", "a=http://i"], "two are called a"),
    (["--key", "a", "--key", "b"], "--key: 2 of them"), (["--extra-body", "[1]"], "--extra-body"), (["--ramp", "linear"], "--ramp-to"),
    (["--ramp-to", "5"], "--rate"), (["--details"], "--json"), (["http://127.0.0.1:1"], "--server URL"), (["--port", "1"], "--port"),
    (["--key", "a\nb"], "control character")])
def test_wrong_usage(args, why):
    done = load(*args, code=2)
    assert why in done.stderr and done.stdout == "", done.stderr


def test_help():
    text = sampan("bench", "serve", "--help").stdout
    assert "--goodput" in text and "sampan bench serve --concurrency 1,4,16" in text and "--packed-cache" not in text
    assert "--goodput" not in sampan("bench", "--help").stdout and "bench serve" in sampan("--help").stdout
    done = sampan("bench", "--rate", "1", "model")
    assert done.returncode == 2 and "belongs to bench serve" in done.stderr
