#!/usr/bin/env python3
"""How smooth the page stays while an answer comes: 200 tokens a second into a chat of 20,000, replayed, from Chromium's trace.

    build/venv/bin/python tests/web/frames.py [SECONDS]

Prints first paint, tasks over 50 ms and script a frame; a server of its own plays the answer, so that no model takes the
processor. For measuring by hand on a quiet machine: it judges nothing.
"""
import json
import shutil
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import sync_playwright

DIST = Path(__file__).resolve().parent.parent.parent / "build/web/dist"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
CHAT, ANSWER = "c_replay", "m_growing"
RATE, FRAME = 200, 1 / 60  # tokens a second, seconds
BLOCK = ("## Part {n}\n\nA paragraph with **bold** words, `code`, a [link](https://example.org) and 一些中文。It goes on for some lines so "
         "that it must be wrapped more than once in the column.\n\n- one\n- two\n  - three\n\n```python\ndef f_{n}(x):\n    "
         "return [y * {n} for y in range(x)]  # a comment\n```\n\n| a | b |\n|---|---|\n| {n} | $x^{n}$ |\n\n")


def message(name, parent, role, content, state="complete"):
    return {"id": name, "chat": CHAT, "parent": parent, "role": role, "content": content, "reasoning": "", "state": state, "error": None,
            "model": None, "finish_reason": None, "usage": None, "timings": None, "created": 1.0}


def conversation():
    """About 20,000 tokens, at 4 characters each, and the answer that will grow."""
    made, parent = [], None
    for number in range(80):
        role = "user" if number % 2 == 0 else "assistant"
        text = "Go on, please." if role == "user" else "".join(BLOCK.replace("{n}", str(number * 10 + i)) for i in range(5))
        made.append(message(f"m_{number}", parent, role, text))
        parent = f"m_{number}"
    made.append(message("m_last", parent, "user", "And once more."))
    return [*made, message(ANSWER, "m_last", "assistant", "", "streaming")]


class Replay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    go, seconds = threading.Event(), 10.0
    chat = {"id": CHAT, "title": "Replay", "folder": None, "pinned": False, "model": None, "system": "", "params": {}, "head": ANSWER,
            "created": 1.0, "updated": 1.0, "deleted": None, "messages_count": 82}

    def log_message(self, *args):
        pass

    def answer(self, data, kind="application/json"):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/api/events":
            return self.events()
        if path == "/api/info":
            found = {"version": "0", "models": [], "defaults": {}, "folders": [], "language": None, "auth": "none", "loading": False,
                     "history": {"state": "on", "reason": None}}
        elif path == "/api/chats":
            found = {"data": [self.chat], "next": None}
        elif path.startswith("/api/chats/"):
            found = {**self.chat, "messages": conversation()}
        else:
            file = DIST / path.lstrip("/")
            file = file if file.is_file() else DIST / "index.html"
            return self.answer(file.read_bytes(), TYPES[file.suffix])
        return self.answer(json.dumps(found).encode())

    def events(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.event(0, "hello", {"last": 0})
        self.go.wait(60)
        text = "".join(BLOCK.replace("{n}", str(i)) for i in range(400))
        offset, start = 0, time.monotonic()
        for number in range(int(self.seconds * RATE)):
            piece = text[4 * number:4 * number + 4]
            self.event(number + 1, "delta", {"message": ANSWER, "chat": CHAT, "offset": offset, "text": piece})
            offset += len(piece.encode())
            time.sleep(max(0.0, start + (number + 1) / RATE - time.monotonic()))

    def event(self, number, name, data):
        try:
            self.wfile.write(f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()
        except OSError:
            pass


SCRIPT = {"FunctionCall", "EvaluateScript", "FireAnimationFrame", "TimerFire", "RunMicrotasks", "v8.callFunction"}


def main_thread(events):
    """Complete events of the renderer's main thread that did most."""
    names = {(e["pid"], e["tid"]) for e in events if e.get("name") == "thread_name" and e["args"]["name"] == "CrRendererMain"}
    of = {key: [e for e in events if (e.get("pid"), e.get("tid")) == key and e.get("ph") == "X"] for key in names}
    return max(of.values(), key=lambda found: sum(e.get("dur", 0) for e in found if e["name"] == "RunTask"))


def outermost(events):
    """Those that lie in no other of them."""
    found, end = [], 0
    for event in sorted(events, key=lambda e: (e["ts"], -e.get("dur", 0))):
        if event["ts"] >= end:
            found.append(event)
            end = event["ts"] + event.get("dur", 0)
    return found


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def report(events, paint):
    thread = main_thread(events)
    tasks = [e.get("dur", 0) / 1000 for e in thread if e["name"] == "RunTask"]
    frames = {}
    begin = min(e["ts"] for e in thread)
    for event in outermost([e for e in thread if e["name"] in SCRIPT]):
        frame = int((event["ts"] - begin) / 1e6 / FRAME)
        frames[frame] = frames.get(frame, 0.0) + event.get("dur", 0) / 1000
    print(f"first paint           {paint:7.0f} ms")
    print(f"longest task          {max(tasks):7.1f} ms, {sum(t > 50 for t in tasks)} over 50 ms")
    print(f"script a frame        {percentile(frames.values(), 0.5):7.2f} ms at the median, {percentile(frames.values(), 0.95):.2f} at p95, "
          f"{max(frames.values(), default=0):.2f} at most")


def main():
    Replay.seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(base_url=f"http://127.0.0.1:{server.server_port}", viewport={"width": 1440, "height": 900})
        page.goto(f"/chat/{CHAT}")
        page.locator("article").last.wait_for()
        page.wait_for_timeout(2000)
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
        browser.start_tracing(page=page, categories=["devtools.timeline", "disabled-by-default-devtools.timeline", "toplevel", "v8"])
        Replay.go.set()
        page.wait_for_timeout(int(Replay.seconds * 1000))
        trace = json.loads(browser.stop_tracing())
        shown = page.locator("article").last.inner_text()
        browser.close()
    assert len(shown) > Replay.seconds * RATE * 2, "the answer did not arrive"
    report(trace["traceEvents"] if isinstance(trace, dict) else trace, paint)


if __name__ == "__main__":
    main()
