"""A server's page with an answer that is replayed at an even speed, so that no model takes the processor meanwhile.

All but that answer is the real server's: the chat that it grows in was imported, and what is asked is handed on to it.
"""
import http.client
import json
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHAT, ANSWER = "c_" + 26 * "r", "m_" + 26 * "z"
RATE, PIECE = 200, 4  # tokens a second, characters a token
MIXED = ("## Part {n}\n\nA paragraph with **bold** words, `code`, a [link](https://example.org) and 一些中文。It goes on for some lines so "
         "that it must be wrapped more than once in the column.\n\n- one\n- two\n  - three\n\n```python\ndef f_{n}(x):\n    "
         "return [y * {n} for y in range(x)]  # a comment\n```\n\n| a | b |\n|---|---|\n| {n} | $x^{n}$ |\n\n")


def filled(block, times, begin=0):
    return "".join(block.replace("{n}", str(begin + i)) for i in range(times))


def name_of(number):
    """An id: base32 has 26 letters first."""
    return "m_" + 24 * "r" + chr(97 + number // 26) + chr(97 + number % 26)


def message(name, parent, role, content, state="complete"):
    return {"id": name, "chat": CHAT, "parent": parent, "role": role, "content": content, "reasoning": "", "state": state, "model": None, "created": 1.0}


def conversation():
    """About 20,000 tokens, and the answer that will grow, as a line for /api/import."""
    made, parent = [], None
    for number in range(80):
        role, text = ("user", "Go on, please.") if number % 2 == 0 else ("assistant", filled(MIXED, 5, number * 10))
        made.append(message(name_of(number), parent, role, text))
        parent = made[-1]["id"]
    made.append(message(name_of(80), parent, "user", "And once more."))
    made.append(message(ANSWER, made[-1]["id"], "assistant", "", "interrupted"))
    chat = {"id": CHAT, "title": "Replay", "folder": None, "pinned": False, "model": None, "system": "", "params": {}, "head": ANSWER,
            "created": 1.0, "updated": 1.0}
    return json.dumps({"sampan": 1, "chat": chat, "messages": made}).encode()


class Replay(ThreadingHTTPServer):
    """In front of the server at `url`. The answer begins with go.set(); ended is set after its last piece."""
    daemon_threads = True

    def __init__(self, url, text):
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream, self.text = url, text
        self.go, self.ended = threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"
        body = {"content-type": "application/jsonl", "origin": url}
        with urllib.request.urlopen(urllib.request.Request(url + "/api/import", conversation(), body), timeout=30) as answer:
            assert json.load(answer)["chats"] == 1
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.path.split("?")[0] == "/api/events":
            return self.events()
        growing = self.path == f"/api/chats/{CHAT}"
        asked = http.client.HTTPConnection(self.server.upstream.removeprefix("http://"), timeout=30)
        asked.request("GET", self.path, headers={"Accept-Encoding": "identity" if growing else "gzip"})
        answer = asked.getresponse()
        body = answer.read()
        if growing:
            found = json.loads(body)
            found["messages"][-1]["state"] = "streaming"
            body = json.dumps(found).encode()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.event(0, "hello", {"last": 0})
        self.server.go.wait()
        text, offset, start = self.server.text, 0, time.monotonic()
        for number, at in enumerate(range(0, len(text), PIECE), 1):
            piece = text[at:at + PIECE]
            self.event(number, "delta", {"message": ANSWER, "chat": CHAT, "offset": offset, "text": piece, "tokens": number})
            offset += len(piece.encode())
            time.sleep(max(0.0, start + number / RATE - time.monotonic()))
        whole = {**message(ANSWER, name_of(80), "assistant", text), "finish_reason": "stop", "error": None, "usage": None, "timings": None}
        self.event(len(text), "message", whole)
        self.server.ended.set()
        self.rfile.read(1)  # open until the page goes

    def event(self, number, name, data):
        try:
            self.wfile.write(f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()
        except OSError:
            pass  # the page has gone
