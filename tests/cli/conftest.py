"""The built program as a person runs it: $SAMPAN, the starter model, and a look-alike of the hubs on loopback."""
import http.server
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPAN = os.environ.get("SAMPAN", str(ROOT / "build/release/sampan"))


def sampan(*args, env=None, input=None, timeout=240):
    """Runs the program; text in, text out."""
    return subprocess.run([SAMPAN, *map(str, args)], env={**os.environ, **(env or {})}, input=input, text=True,
                          capture_output=True, timeout=timeout)


@pytest.fixture(scope="session")
def starter():
    """The starter model: a file of $SAMPAN_TEST_MODELS, else its name in the store."""
    folder = os.environ.get("SAMPAN_TEST_MODELS")
    path = Path(folder or "") / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    return str(path) if folder and path.exists() else "qwen2.5-coder-0.5b"


@pytest.fixture
def store(tmp_path):
    """Environment with an empty store."""
    return {"SAMPAN_STORE": str(tmp_path / "store")}


class Hub:
    """Serves files, with ranges and with faults. `requests` holds (path, headers) of all that came."""

    def __init__(self):
        self.files = {}      # path -> bytes
        self.texts = {}      # path -> (status, bytes) answered as they are
        self.faults = []     # one is used up by each request for a file
        self.requests = []
        self.etag = "tag-1"
        self.retry_after = "0.1"
        self.linked = None   # X-Linked-Etag
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                hub.answer(self)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def plain(self, h, status, body=b"", headers=()):
        h.send_response(status)
        for name, value in headers:
            h.send_header(name, value)
        h.send_header("Content-Length", str(len(body)))
        h.end_headers()
        h.wfile.write(body)

    def answer(self, h):
        self.requests.append((h.path, dict(h.headers)))
        path = h.path.split("?")[0]
        if path in self.texts:
            return self.plain(h, *self.texts[path])
        if path not in self.files:
            return self.plain(h, 404, b"no")
        data, fault = self.files[path], self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return self.plain(h, fault, b"no", [("Retry-After", self.retry_after)])
        if fault == "redirect":
            return self.plain(h, 302, b"", [("Location", self.url + path + "?cdn")])
        wanted = re.match(r"bytes=(\d+)-(\d*)$", h.headers.get("Range", ""))
        fresh = h.headers.get("If-Range", f'"{self.etag}"') == f'"{self.etag}"'
        headers = [("ETag", f'"{self.etag}"')] + ([("X-Linked-Etag", f'"{self.linked}"')] if self.linked else [])
        start = 0
        if wanted and fresh and fault != "no ranges":
            start, end = int(wanted.group(1)), int(wanted.group(2) or len(data) - 1)
            if start >= len(data):
                return self.plain(h, 416)
            h.send_response(206)
            h.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
            body = data[start:end + 1]
        else:
            h.send_response(200)
            body = data
        for name, value in headers:
            h.send_header(name, value)
        h.send_header("Content-Length", str(len(body)))
        h.end_headers()
        if fault == "cut":
            h.wfile.write(body[:len(body) // 2])
            h.wfile.flush()
            h.close_connection = True
            h.connection.shutdown(2)
            return None
        return h.wfile.write(body)


@pytest.fixture
def hub():
    h = Hub()
    yield h
    h.server.shutdown()
    h.server.server_close()
