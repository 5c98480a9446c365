#!/usr/bin/env python3
"""A server among clients that fail in every way, and what must hold all the same:

    tests/load/faults.py --model NAME [--model NAME2] [--clients 200] [--minutes 10] [-- options of `sampan serve`]

(two models that take turns: `-- --kv-memory 64M --memory M`, where M has room for either and not for both)

Clients leave at any moment, one in five is a process that is killed in the middle of a request, some read slowly or
nothing, some send malformed HTTP or bodies, one prompt in twenty is longer than the context; the others ask for all kinds
of answers, with priorities, and somebody cancels requests through /admin. With two models each is asked by half of the
clients. Checked:

- the server lives, says nothing but JSON lines (no sanitizer's report), none of them an error;
- every request that was sent whole and waited for is answered exactly once: a whole answer, or an error that fits;
  an answer that is cut short was cancelled by us; greedy answers are those that were given alone;
- in metrics and log: every accepted answer ended once, every request left one line;
- then every page is free, and memory (within 2%), threads and open files are what they were after the warm-up, both times
  with the first model loaded and all of its pages touched;
- told twice to end while all are at work, it cuts what runs and ends with status 0.

$SAMPAN is the program (build/release/sampan): any build. Exit status 1, and what was seen, when one of them fails.
"""
import argparse
import asyncio
import collections
import contextlib
import json
import random
import re
import socket
import sys
import tempfile
import time
import urllib.error
from pathlib import Path

import requests
from mortal import Mortals
from served import ADMIN_KEY, Served, name_of, page_bytes, wait_until

LEFT = "left"
PAGE = 64                                              # tokens of one
PROBES = {"/health", "/livez", "/readyz", "/metrics"}


class Wrong(Exception):
    pass


def split(raw):
    """(status, fields, body) of a whole answer."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if fields.get("transfer-encoding") == "chunked":
        whole = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            whole, body = whole + body[:int(size, 16)], body[int(size, 16) + 2:]
        body = whole
    return int(first.split()[1]), fields, body


def end_of(raw):
    """Where the first answer ends; -1: it is not whole. Neither JSON nor events have a carriage return of their own."""
    begin = raw.find(b"\r\n\r\n")
    if begin < 0:
        return -1
    found = re.search(rb"\r\ncontent-length: *(\d+)", raw[:begin], re.I)
    if found:
        end = begin + 4 + int(found[1])
        return end if len(raw) >= end else -1
    last = raw.find(b"\r\n0\r\n\r\n", begin)
    return last + 7 if last >= 0 else -1


def is_whole(raw):
    return end_of(raw) >= 0


class Line:
    """A client's connection. `slow`: it takes a few bytes at a time, and the kernel keeps few for it."""
    def __init__(self, port, slow=False):
        self.port, self.slow, self.writer = port, slow, None

    async def open(self):
        s = socket.socket()
        s.setblocking(False)
        if self.slow:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        await asyncio.get_running_loop().sock_connect(s, ("127.0.0.1", self.port))
        self.reader, self.writer = await asyncio.open_connection(sock=s, limit=1024 if self.slow else 1 << 16)

    async def send(self, data):
        if not self.writer:
            await self.open()
        self.writer.write(data)
        await self.writer.drain()

    async def take(self, until=lambda raw: False, begun=b""):
        """Until the answer is whole, the line ends, or `until` says so."""
        raw = begun
        while not is_whole(raw) and not until(raw):
            part = await self.reader.read(300 if self.slow else 65536)
            if not part:
                break
            raw += part
            if self.slow:
                await asyncio.sleep(0.05)
        return raw

    def close(self, rudely=False):
        if self.writer:
            self.writer.transport.abort() if rudely else self.writer.close()
        self.writer = None


class Run:
    def __init__(self, server, options, mortals):
        self.server, self.o, self.mortals = server, options, mortals
        self.models = [name_of(m) for m in options.model]
        self.rng = random.Random(options.seed)
        self.prefixes = [requests.words(self.rng, n) for n in (options.words // 3, options.words, options.words * 5 // 2)]
        self.known = []                            # (path, body, text of the first choice), each given alone
        self.outcome = {}                          # request id -> its status, or LEFT
        self.cancelled = set()                     # ids that /admin was told: of completions, of requests that wait for their model
        self.kinds = collections.Counter()
        self.wrong, self.n_wrong = [], 0
        self.stop = False
        self.ending = False                        # the server is: clients may see anything
        self.last_id = 0

    # ---- what an answer must be ----

    def new_id(self):
        self.last_id += 1
        return f"fault-{self.last_id}"

    def check_choices(self, body, choices, id):
        """choices: {index: [finish reason, text]}, from one object or a stream's events."""
        n = requests.choices_of("", body)
        if sorted(choices) != list(range(n)):
            raise Wrong(f"choices {sorted(choices)} of {n}")
        for reasons, _ in choices.values():
            if len(reasons) != 1:
                raise Wrong(f"finish reasons {reasons}")
            if reasons[0] == "abort" and id not in self.cancelled:
                raise Wrong(f"{id}: aborted, and nobody cancelled it")
            if reasons[0] not in ("stop", "length", "abort"):
                raise Wrong(f"finish reason {reasons[0]}")

    def read_stream(self, payload):
        choices, error, id = {}, None, None
        *events, rest = payload.decode().split("\n\n")
        if rest or not events or events[-1] != "data: [DONE]":
            raise Wrong(f"a stream ends with {payload[-200:]}")
        for event in events[:-1]:
            if event.startswith(":"):
                continue
            said = json.loads(event.removeprefix("data: "))
            error, id = said.get("error", error), said.get("id", id)
            for c in said.get("choices", []):
                reasons, text = choices.setdefault(c["index"], [[], []])
                reasons += [c["finish_reason"]] if c["finish_reason"] else []
                text.append(c["text"] if "text" in c else c["delta"].get("content") or "")
        return choices, error, id

    def check(self, body, raw, id, known=None):
        """An answer to a sound request. Returns its status."""
        if end_of(raw) != len(raw):
            raise Wrong(f"an answer is {'cut' if end_of(raw) < 0 else 'followed by another'}: {raw[-200:]}")
        status, fields, payload = split(raw)
        if fields.get("x-request-id") != id:
            raise Wrong(f"an answer to {fields.get('x-request-id')} where {id} asked")
        if status in (429, 503):
            code = json.loads(payload)["error"]["code"]
            due = ("queue_full", "queue_timeout", *(["cancelled"] if id in self.cancelled else []))
            if code not in due or "retry-after" not in fields:
                raise Wrong(f"{status} {code}")
            return status
        if status != 200:
            raise Wrong(f"{status} to a sound request: {payload[:300]}")
        if body["stream"]:
            choices, error, answer_id = self.read_stream(payload)
        else:
            said = json.loads(payload)
            error, answer_id = None, said["id"]
            choices = {c["index"]: [[c["finish_reason"]], [c["text"] if "text" in c else c["message"]["content"]]]
                       for c in said["choices"]}
        if error:  # of a stream: its head was out already
            if error.get("code") not in ("queue_full", "queue_timeout", "request_timeout", *(["cancelled"] if id in self.cancelled else [])):
                raise Wrong(f"an error inside an answer: {error}")
            return status
        self.check_choices(body, choices, answer_id)
        if known is not None:
            text = "".join(choices[0][1])
            begun = text.removesuffix("\ufffd")  # what was cancelled may end within a character
            if text != known and not (answer_id in self.cancelled and known.startswith(begun)):
                raise Wrong(f"a greedy answer is {text!r}; alone it was {known!r}")
        return status

    def check_refusal(self, raw, id, status, code=None):
        if end_of(raw) != len(raw):
            raise Wrong(f"no whole refusal: {raw[-200:]}")
        got, fields, payload = split(raw)
        streamed = fields.get("content-type", "").startswith("text/event-stream")  # it waited for its model for long
        error = self.read_stream(payload)[1] if streamed else json.loads(payload)["error"]
        if not error:
            raise Wrong(f"an answer where {status} {code} was due")
        if streamed:
            status = 200
        if got in (200, 503) and error["code"] == "cancelled" and id in self.cancelled:  # while it waited for its model
            return got
        if got not in (status, 429) or not error["message"] or (code and got == status and error["code"] != code):
            raise Wrong(f"{got} {error} where {status} {code} was due")
        return got

    # ---- what clients do: each returns (request id or None, its status or LEFT) ----

    def pick(self, model):
        if self.known and self.rng.random() < 0.15:
            path, body, text = self.rng.choice([k for k in self.known if k[1]["model"] == model])
            return path, body | {"stream": self.rng.random() < 0.5, "priority": self.rng.randrange(-3, 4)}, text
        return *requests.sound(self.rng, model, self.prefixes, self.o.words, self.o.longest), None

    def made(self, model, keep=True):
        path, body, known = self.pick(model)
        data, id = json.dumps(body).encode(), self.new_id()
        return id, body, known, requests.head(path, len(data), id, keep) + data

    async def ask(self, line, model):
        id, body, known, data = self.made(model)
        await line.send(data)
        status = self.check(body, await line.take(), id, known)
        if status == 429:
            await asyncio.sleep(self.rng.uniform(0.05, 0.5))
        return id, status

    async def ask_slowly(self, line, model):
        line.close()
        slow = Line(line.port, slow=True)
        id, body, known, data = self.made(model)
        end = time.monotonic() + self.rng.uniform(2, 10)
        try:
            await slow.send(data)
            raw = await slow.take(lambda raw: time.monotonic() > end)
            if not is_whole(raw) and time.monotonic() > end:
                return id, LEFT
            return id, self.check(body, raw, id, known)
        finally:
            slow.close()

    async def never_read(self, line, model):
        """Takes nothing of a long stream."""
        line.close()
        slow = Line(line.port, slow=True)
        id = self.new_id()
        data = json.dumps({"model": model, "prompt": "a", "max_tokens": self.o.longest * 4, "ignore_eos": True, "stream": True, "n": 4,
                           "logprobs": 5}).encode()
        try:
            await slow.send(requests.head("/v1/completions", len(data), id) + data)
            await asyncio.sleep(self.rng.uniform(0.5, 5))
            return id, LEFT
        finally:
            slow.close(rudely=True)

    async def leave(self, line, model):
        """At any moment: amid the head or body, while it waits, amid the answer; politely or with a reset."""
        id, _, _, data = self.made(model)
        part = data[:self.rng.randrange(1, len(data))] if self.rng.random() < 0.3 else data
        try:
            await line.send(part)
            if part is data and self.rng.random() < 0.6:
                enough = self.rng.choice((1, 300, 1000))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(line.take(lambda raw: len(raw) >= enough), self.rng.expovariate(1))
            elif part is data:
                await asyncio.sleep(self.rng.expovariate(2))
            return id, LEFT
        finally:
            line.close(rudely=self.rng.random() < 0.5)

    async def too_long(self, line, model):
        id, text = self.new_id(), requests.words(self.rng, self.o.max_context + 50)
        path, body = self.rng.choice((("/v1/completions", {"prompt": text}),
                                      ("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]})))
        data = json.dumps({"model": model, "stream": self.rng.random() < 0.5, **body}).encode()
        await line.send(requests.head(path, len(data), id) + data)
        return id, self.check_refusal(await line.take(), id, 400, "context_length_exceeded")

    async def bad_body(self, line, model):
        path, data, status = self.rng.choice(requests.bad_bodies(model))
        id = self.new_id()
        await line.send(requests.head(path, len(data), id) + data)
        return id, self.check_refusal(await line.take(), id, status)

    async def bad_http(self, line, model):
        """Refused with words, or the line ends; what follows is not read as a request."""
        line.close()
        other, sent = Line(line.port), self.rng.choice(requests.BAD_HTTP)
        try:
            with contextlib.suppress(ConnectionError):
                await other.send(sent + b"\r\nGET /v1/models HTTP/1.1\r\n" + requests.HOST + b"\r\n")
                raw = b""
                while part := await other.reader.read(65536):
                    raw += part
                if len(re.findall(rb"HTTP/1\.1 \d{3} ", raw)) > 1 or (raw and not b"400" <= raw[9:12] <= b"505"):
                    raise Wrong(f"malformed HTTP {sent[:60]} got {raw[:300]}")
        finally:
            other.close()
        return None, None

    async def pipeline(self, line, model):
        """Two requests at once on one line: two answers, in order."""
        line.close()
        other = Line(line.port)
        first, second = self.made(model), self.made(model)
        try:
            await other.send(first[3] + second[3])
            raw = await other.take()
            end = end_of(raw) if is_whole(raw) else len(raw)
            self.outcome[first[0]] = self.check(first[1], raw[:end], first[0], first[2])
            rest = await other.take(begun=raw[end:])
            return second[0], self.check(second[1], rest, second[0], second[2])
        finally:
            other.close()

    async def look_around(self, line, model):
        path, id = self.rng.choice(("/health", "/v1/models", "/metrics", "/version", "/nowhere")), self.new_id()
        await line.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\n\r\n".encode())
        raw = await line.take()
        status = split(raw)[0] if is_whole(raw) else 0
        if status != (404 if path == "/nowhere" else 200):
            raise Wrong(f"GET {path}: {raw[:200]}")
        return (None, None) if path in PROBES else (id, status)

    async def die(self, line, model):
        """A process that is killed."""
        id, _, _, data = self.made(model, keep=False)
        upto = self.rng.randrange(1, len(data)) if self.rng.random() < 0.15 else len(data)
        how = await self.mortals.ask(id, line.port, data, upto, self.rng.expovariate(0.7))
        if how == "failed":
            raise Wrong("a client could not connect or send")
        self.kinds["killed processes"] += how == "killed"
        return id, LEFT

    # ---- the clients ----

    WAYS = ((ask, 44), (leave, 20), (ask_slowly, 6), (never_read, 3), (too_long, 5), (bad_body, 8), (bad_http, 6), (pipeline, 3),
            (look_around, 5))

    async def client(self, number):
        model = self.models[number % len(self.models)]
        line = Line(self.server.port)
        ways, shares = zip(*self.WAYS)
        while not self.stop:
            way = Run.die if number % 5 == 4 else self.rng.choices(ways, shares)[0]
            self.kinds[way.__name__] += 1
            try:
                try:
                    id, outcome = await asyncio.wait_for(way(self, line, model), self.o.patience)
                except TimeoutError:
                    raise Wrong(f"no answer within {self.o.patience} s") from None
                except ConnectionError as error:
                    raise Wrong(f"the line broke: {error}") from None
                if id:
                    self.outcome[id] = LEFT if self.ending else outcome
            except Wrong as wrong:
                self.note(f"{way.__name__}: {wrong}")
                line.close(rudely=True)
            if self.rng.random() < 0.3:
                line.close()
            await asyncio.sleep(self.rng.uniform(0, 0.05))
        line.close()

    def note(self, text):
        if self.ending:
            return
        self.n_wrong += 1
        if len(self.wrong) < 30:
            self.wrong.append(text)
        if self.server.process.poll() is not None:
            self.stop = True

    async def admin(self, method, path, body=None):
        line, data = Line(self.server.port), json.dumps(body).encode() if body else b""
        try:
            await line.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
                            f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
            raw = await asyncio.wait_for(line.take(), self.o.patience)
            if not is_whole(raw):
                raise ConnectionError("the answer is cut")
            return split(raw)[0], json.loads(split(raw)[2])
        finally:
            line.close()

    async def canceller(self):
        while not self.stop:
            with contextlib.suppress(ConnectionError):
                living = (await self.admin("GET", "/admin/requests"))[1]["data"]
                for one in self.rng.sample(living, min(2, len(living))):
                    self.cancelled.add(one["id"])
                    status, _ = await self.admin("POST", "/admin/cancel", {"id": one["id"]})
                    self.kinds["cancelled"] += status == 200
                    if status not in (200, 404):
                        self.note(f"/admin/cancel: {status}")
            await asyncio.sleep(self.rng.uniform(0.1, 0.7))

    async def load(self, enough):
        """All clients at work until enough() is true."""
        self.stop = False
        tasks = [asyncio.create_task(self.client(i)) for i in range(self.o.clients)] + [asyncio.create_task(self.canceller())]
        while not self.stop and not enough():
            await asyncio.sleep(0.2)
            for t in tasks:
                if t.done() and t.exception():
                    raise t.exception()
        self.stop = True
        await asyncio.gather(*tasks)


def touch(run, model):
    """All rows of the embedding: they are read from the model's file, whose pages count as the process's memory once read."""
    first, block = 0, 50 * (run.o.max_context - 8)
    with contextlib.suppress(urllib.error.HTTPError):  # a block that ends beyond the vocabulary
        while True:
            run.server.post("/v1/completions", {"model": model, "prompt": list(range(first, first + block, 50)), "max_tokens": 1})
            first += block
    with contextlib.suppress(urllib.error.HTTPError):
        while True:
            run.server.post("/v1/completions", {"model": model, "prompt": list(range(first, first + 2000, 50)), "max_tokens": 1})
            first += 2000


def fill(run, model):
    """Whole contexts, each another, until the cache has to give a page away: then all of the pool has been written."""
    def evicted():
        return value(run.server.metrics(), "sampan:prefix_cache_evicted_pages_total", model_name=model)

    def ask():
        run.server.post("/v1/completions", {"model": model, "max_tokens": 1, "prompt": [run.rng.randrange(100, 250) for _ in range(tokens)]})
    before, tokens = evicted(), run.o.max_context - 8
    ask()  # it is loaded then, and its pages can be counted
    pages = next(m["kv_pages"] for m in json.loads(run.server.get("/admin/status"))["models"] if m["id"] == model)
    for _ in range(pages * PAGE // tokens * 2 + 2):
        if evicted() > before:
            return
        ask()
    run.note(f"{model}: its {pages} pages could not be filled")


def learn(run):
    """What greedy answers are when nobody else asks."""
    for model in run.models:
        for i in range(6):
            body = {"model": model, "max_tokens": run.o.longest, "temperature": 0, "ignore_eos": True,
                    "prompt": f"{i} {run.prefixes[i % 3]} {requests.words(run.rng, 10)}"}
            run.known.append(("/v1/completions", body, run.server.post("/v1/completions", body)["choices"][0]["text"]))


def settle(run):
    """Idle, its lines closed, all of the first model's memory touched: what it takes then."""
    server = run.server
    if not wait_until(server.idle, run.o.patience):
        run.note(f"not idle after the load: {server.get('/admin/status')}")
    wait_until(lambda: value(server.metrics(), "sampan:http_connections") <= 1, 10)
    for model in reversed(run.models):
        fill(run, model)
    touch(run, run.models[0])
    if not wait_until(server.idle, 10):
        run.note(f"not idle: {server.get('/admin/status')}")
    time.sleep(0.5)
    return server.usage()


def end_amid_load(run):
    """The first SIGTERM lets what runs end, the second cuts it."""
    server = run.server

    async def phase():
        run.mortals.listen()
        load = asyncio.create_task(run.load(lambda: server.process.poll() is not None))
        await asyncio.sleep(2)
        run.ending = True
        for _ in range(2):
            server.process.terminate()
            await asyncio.sleep(1)
        await load
    asyncio.run(asyncio.wait_for(phase(), 60))
    run.ending = False
    if server.process.wait() != 0:
        run.note(f"the server ended with status {server.process.returncode}")


def value(samples, name, **labels):
    return sum(v for n, l, v in samples if n == name and all(l.get(k) == w for k, w in labels.items()))


def check_books(run, before_end, lines_before):
    """Metrics and log, taken when all was answered, against each other; the whole log against what clients saw."""
    lines, others = run.server.lines()
    for text in others[:5]:
        run.note(f"the log holds what is no JSON: {text[:300]}")
    for line in lines:
        if line["level"] == "error":
            run.note(f"the log tells an error: {line['msg']}")
    told = [line for line in lines if "request_id" in line]
    told_before = [line for line in lines_before if "request_id" in line]
    per_id = collections.Counter(line["request_id"] for line in told)
    status_of = {line["request_id"]: line["status"] for line in told}
    for id, outcome in run.outcome.items():
        if per_id[id] > 1 or (outcome != LEFT and (per_id[id] != 1 or status_of[id] != outcome)):
            run.note(f"{id}: its client saw {outcome}; {per_id[id]} lines of the log, status {status_of.get(id)}")
    counted = sum(v for n, l, v in before_end if n == "http_requests_total" and l["handler"] not in PROBES)
    if counted != len(told_before):
        run.note(f"http_requests_total is {counted:.0f}, lines about requests are {len(told_before)}")
    ended = {why: value(before_end, "sampan:request_success_total", finished_reason=why) for why in ("stop", "length", "abort", "error")}
    accepted = value(before_end, "sampan:requests_accepted_total")
    if accepted != sum(ended.values()):
        run.note(f"{accepted:.0f} answers were accepted; ended: {ended}")
    answered = sum(line["choices"] for line in told_before if line["status"] == 200 and "choices" in line)
    if answered > accepted:
        run.note(f"{answered} answers in the log, {accepted:.0f} accepted")
    print(f"{len(told_before)} requests, {accepted:.0f} answers accepted; "
          + ", ".join(f"{n:.0f} {why}" for why, n in ended.items())
          + f"; preempted {value(before_end, 'sampan:num_preemptions_total'):.0f}, pages evicted "
          f"{value(before_end, 'sampan:prefix_cache_evicted_pages_total'):.0f}")


def go(options, mortals, log):
    kv = ["--load", "demand"] if len(options.model) > 1 else [
        "--kv-memory", str(options.pages * page_bytes(options.model[0], "--max-context", str(options.max_context)))]
    server = Served(options.model, log, "--max-context", str(options.max_context), *kv, "--max-queue", str(options.clients),
                    "--drain-seconds", "5", "--header-timeout", "5", "--body-timeout", "10", *options.more)
    run = Run(server, options, mortals)
    try:
        learn(run)

        async def phase(seconds):
            mortals.listen()
            end = time.monotonic() + seconds
            await run.load(lambda: time.monotonic() > end)
        asyncio.run(phase(options.warm_up))
        first = settle(run)
        asyncio.run(phase(options.minutes * 60))
        last = settle(run)
        samples, lines = server.metrics(), server.lines()[0]
        grown = last[0] / first[0] - 1
        print(f"memory {first[0] / 1e6:.1f} -> {last[0] / 1e6:.1f} MB ({grown:+.2%}), threads {first[1]} -> {last[1]}, "
              f"files {first[2]} -> {last[2]}")
        if grown > options.rss / 100 or last[1] > first[1] or last[2] > first[2]:
            run.note("it has grown")
        end_amid_load(run)
        check_books(run, samples, lines)
    finally:
        if server.process.poll() is None:
            server.kill()
    print(", ".join(f"{n} {kind}" for kind, n in run.kinds.most_common()))
    statuses = collections.Counter(run.outcome.values())
    print("clients saw: " + ", ".join(f"{n} {s}" for s, n in statuses.most_common()))
    for text in run.wrong:
        print("WRONG:", text)
    print(f"{run.n_wrong} problems")
    return run.n_wrong


def main():
    split_at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--warm-up", type=float, default=30, help="seconds of load before memory is looked at")
    parser.add_argument("--pages", type=int, default=48, help="of the KV cache, with one model")
    parser.add_argument("--max-context", type=int, default=1024)
    parser.add_argument("--words", type=int, default=60, help="of prompts, beside what they share; slow builds want few")
    parser.add_argument("--longest", type=int, default=48, help="tokens of an answer")
    parser.add_argument("--patience", type=float, default=180, help="seconds that a client waits")
    parser.add_argument("--rss", type=float, default=2, help="percent that memory may grow; sanitizers keep much aside: 1000")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1000000)
    parser.add_argument("--log", type=Path, help="keep the server's log here")
    options = parser.parse_args(sys.argv[1:split_at])
    options.more = sys.argv[split_at + 1:]
    print(f"seed {options.seed}", flush=True)
    mortals = Mortals()
    with tempfile.TemporaryDirectory(prefix="sampan-faults-") as folder:
        wrong = go(options, mortals, options.log or Path(folder) / "log")
    mortals.end()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
