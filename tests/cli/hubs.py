"""Look-alikes of Hugging Face and ModelScope on loopback, with a CDN on another host (127.0.0.2), and with faults.

Both speak the hubs' own APIs as far as a download needs them; test_hub_clients.py holds them against the hubs' official
Python clients. `repos` is what they offer; `faults` is what goes wrong, one entry used up by each request of its kind.
"""
import hashlib
import http.server
import json
import re
import socket
import threading
from urllib.parse import parse_qs, unquote, urlsplit

LFS = (".gguf", ".safetensors", ".bin", ".model")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_TheSecretToken"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def blob_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # clients that leave are part of the tests


class Hubs:
    def __init__(self, wrap=None):
        self.repos = {}     # "org/name" -> {file: bytes}
        self.revisions = {"main": COMMIT, "master": COMMIT, "v2": "2" * 40, "2" * 40: "2" * 40, COMMIT: COMMIT}
        self.gated = set()  # repositories that want TOKEN
        self.faults = {"list": [], "hub": [], "cdn": []}
        self.requests = []  # (kind, method, path, headers)
        self.lies = {}      # changes to what the listing says: {file: {"size": .., "sha256": ..}}
        self.extra = []     # names the listing has besides
        self.etag = None    # of the CDN; the content's own if None
        self.through_cdn = True
        self.retry_after = "0.1"
        self.release = threading.Event()
        self.hub = self.start("127.0.0.1", self.on_hub, wrap)
        self.cdn = self.start("127.0.0.2", self.on_cdn, wrap)
        scheme = "https" if wrap else "http"
        self.url = f"{scheme}://127.0.0.1:{self.hub.server_port}"
        self.cdn_url = f"{scheme}://127.0.0.2:{self.cdn.server_port}"

    def start(self, host, answer, wrap):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                answer(self)

            do_HEAD = do_GET
        server = Server((host, 0), Handler)
        if wrap:
            server.socket = wrap(server.socket)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def close(self):
        self.release.set()
        for s in (self.hub, self.cdn):
            s.shutdown()
            s.server_close()

    def offer(self, repo, **files):
        self.repos[repo] = {k.replace("__", "."): v for k, v in files.items()}

    def kinds(self, kind):
        return [r for r in self.requests if r[0] == kind]

    # ---- answers ----

    def reply(self, h, status, body=b"", headers=()):
        h.send_response(status)
        for name, value in headers:
            h.send_header(name, value)
        h.send_header("Content-Length", str(len(body)))
        h.end_headers()
        if h.command != "HEAD":
            h.wfile.write(body)

    def refuse(self, h, status, code):
        self.reply(h, status, b'{"error": "no"}', [("X-Error-Code", code), ("Content-Type", "application/json")])

    def take(self, kind):
        return self.faults[kind].pop(0) if self.faults[kind] else None

    def on_hub(self, h):
        parts = urlsplit(h.path)
        path, query = unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query).items()}
        for pattern, kind, handler in (
                (r"/api/models/([^/]+/[^/]+)/revision/(.+)", "list", self.hf_list),
                (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)/?", "list", self.hf_tree),
                (r"/api/v1/models/([^/]+/[^/]+)/repo/files", "list", self.ms_list),
                (r"/api/v1/models/([^/]+/[^/]+)/repo", "hub", self.ms_file),
                (r"/api/v1/models/([^/]+/[^/]+)/revisions", "other", self.ms_revisions),
                (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "hub", self.hf_file)):
            match = re.fullmatch(pattern, path)
            if match:
                self.requests.append((kind, h.command, h.path, dict(h.headers)))
                fault = self.take(kind) if kind in self.faults else None
                if self.common_fault(h, fault):
                    return None
                return handler(h, query, fault, *match.groups())
        self.requests.append(("other", h.command, h.path, dict(h.headers)))
        return self.reply(h, 404, b"no such page")

    def common_fault(self, h, fault):
        """What can go wrong anywhere; True when it did."""
        if isinstance(fault, int):
            self.reply(h, fault, b"trouble", [("Retry-After", self.retry_after)])
        elif isinstance(fault, tuple) and fault[0] == "to":
            self.reply(h, 302, b"elsewhere", [("Location", fault[1])])
        elif fault == "loop":
            self.reply(h, 302, b"", [("Location", h.path)])
        elif fault == "no location":
            self.reply(h, 302)
        elif fault == "hang up":
            h.close_connection = True
            h.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "no answer":
            self.release.wait(20)
        elif fault == "slow":
            self.release.wait(0.8)
            return False
        elif fault == "portal":
            self.reply(h, 200, b"<html>Please log in to the hotel's network</html>", [("Content-Type", "text/html")])
        elif isinstance(fault, bytes):
            self.reply(h, 200, fault)
        else:
            return False
        return True

    def allowed(self, h, repo):
        if repo not in self.repos:
            self.refuse(h, 401, "RepoNotFound")
        elif repo in self.gated and h.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.refuse(h, 401 if "Authorization" not in h.headers else 403, "GatedRepo")
        else:
            return True
        return False

    def entry(self, repo, name, data):
        return {"size": len(data), "sha256": sha256(data), **self.lies.get(name, {})}

    def hf_list(self, h, query, fault, repo, rev):
        if not self.allowed(h, repo):
            return None
        if rev not in self.revisions:
            return self.refuse(h, 404, "RevisionNotFound")
        siblings = []
        for name, data in self.repos[repo].items():
            said = self.entry(repo, name, data)
            s = {"rfilename": name}
            if "blobs" in query:
                s.update(size=said["size"], blobId=blob_id(data))
            if "blobs" in query and name.endswith(LFS):
                s["lfs"] = {"sha256": said["sha256"], "size": said["size"], "pointerSize": 134}
            siblings.append(s)
        siblings += [{"rfilename": n, "size": 3} for n in self.extra]
        return self.reply(h, 200, json.dumps({
            "id": repo, "modelId": repo, "sha": self.revisions[rev], "private": False, "gated": False, "disabled": False,
            "downloads": 1, "likes": 1, "tags": [], "siblings": siblings}).encode(), [("Content-Type", "application/json")])

    def hf_tree(self, h, query, fault, repo, rev):
        if not self.allowed(h, repo):
            return None
        tree = []
        for name, data in self.repos[repo].items():
            e = {"type": "file", "oid": blob_id(data), "size": len(data), "path": name}
            if name.endswith(LFS):
                e["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
            tree.append(e)
        return self.reply(h, 200, json.dumps(tree).encode(), [("Content-Type", "application/json")])

    def hf_file(self, h, query, fault, repo, rev, name):
        if not self.allowed(h, repo):
            return None
        if rev not in self.revisions:
            return self.refuse(h, 404, "RevisionNotFound")
        if name not in self.repos[repo]:
            return self.refuse(h, 404, "EntryNotFound")
        data, commit = self.repos[repo][name], [("X-Repo-Commit", self.revisions[rev])]
        if name.endswith(LFS) and self.through_cdn:
            said = self.entry(repo, name, data)
            return self.reply(h, 302, b"Found. Redirecting", commit + [
                ("X-Linked-Size", str(said["size"])), ("X-Linked-Etag", f'"{said["sha256"]}"'), ("ETag", f'"{blob_id(data)}"'),
                ("Location", f"{self.cdn_url}/{repo}/{name}?Signature=abc")])
        tag = sha256(data) if name.endswith(LFS) else blob_id(data)
        return self.send(h, data, fault, commit, self.etag or tag)

    def ms_list(self, h, query, fault, repo):
        if repo not in self.repos:
            return self.reply(h, 404, b'{"Code":10010205001,"Message":"record not found","Success":false}')
        if query.get("Revision", "master") not in self.revisions:
            return self.reply(h, 404, b'{"Code":10010205001,"Message":"revision not found","Success":false}')
        files = [{"Name": "sub", "Path": "sub", "Type": "tree", "Size": 0, "Revision": COMMIT}]
        for name, data in self.repos[repo].items():
            said = self.entry(repo, name, data)
            files.append({"Name": name.split("/")[-1], "Path": name, "Type": "blob", "Size": said["size"],
                          "Sha256": said["sha256"], "Revision": COMMIT, "CommittedDate": 1700000000, "IsLFS": True})
        return self.reply(h, 200, json.dumps({
            "Code": 200, "Success": True, "Message": "success", "RequestId": "1",
            "Data": {"Files": files, "IsVisual": 0, "LatestCommitter": {"Id": COMMIT, "ShortId": COMMIT[:8]}}}).encode(),
            [("Content-Type", "application/json")])

    def ms_file(self, h, query, fault, repo):
        name = query.get("FilePath", "")
        if name not in self.repos.get(repo, {}):
            return self.reply(h, 404, b'{"Code":404,"Message":"no such file"}')
        data = self.repos[repo][name]
        return self.send(h, data, fault, [], self.etag or sha256(data))

    def ms_revisions(self, h, query, fault, repo):
        revisions = [{"Revision": r, "CreatedAt": 1600000000} for r in ("master", "v2")]
        return self.reply(h, 200, json.dumps({"Code": 200, "Success": True, "Message": "", "Data": {
            "RevisionMap": {"Branches": revisions[:1], "Tags": revisions[1:]}}}).encode())

    def on_cdn(self, h):
        self.requests.append(("cdn", h.command, h.path, dict(h.headers)))
        fault = self.take("cdn")
        if self.common_fault(h, fault):
            return None
        org, name, file = unquote(urlsplit(h.path).path).lstrip("/").split("/", 2)
        data = self.repos.get(f"{org}/{name}", {}).get(file)
        if data is None:
            return self.reply(h, 404)
        return self.send(h, data, fault, [], self.etag or sha256(data)[:32])

    def send(self, h, data, fault, headers, etag):
        """A file's bytes, with ranges, If-Range and what goes wrong with them."""
        kind, _, value = fault.partition(":") if isinstance(fault, str) else ("", "", "")
        tag = value if kind == "etag" else f'"{etag}"'
        wanted = re.match(r"bytes=(\d+)-(\d*)$", h.headers.get("Range", ""))
        fresh = kind == "etag" or h.headers.get("If-Range", tag) == tag
        start, end = 0, len(data)
        ranged = wanted and fresh and kind not in ("whole", "bare")
        if ranged:
            start, end = int(wanted.group(1)), min(int(wanted.group(2) or len(data) - 1) + 1, len(data))
            if start >= len(data) or kind == "416":
                return self.reply(h, 416, b"", [("Content-Range", f"bytes */{len(data)}")])
        body = data[start:end]
        if kind == "short":
            body = body[:-100]
        elif kind == "long":
            body += b"x" * 100
        elif kind == "garbage":
            body = body[:-8] + b"\xff" * 8
        h.send_response(206 if ranged else 200)
        if ranged and kind != "no content-range":
            shift, total = (1, len(data)) if kind == "shifted" else (0, {"total": len(data) + 7, "petabytes": 1 << 60}.get(kind, len(data)))
            h.send_header("Content-Range", f"bytes {start + shift}-{end - 1 + shift}/{total}")
        for name, v in [*headers, ("ETag", tag), ("Accept-Ranges", "bytes")]:
            h.send_header(name, v)
        if kind in ("chunked", "chunked cut"):
            return self.send_chunked(h, body, kind == "chunked cut")
        if kind not in ("no length", "bare"):
            h.send_header("Content-Length", str(len(body)))
        else:
            h.send_header("Connection", "close")
            h.close_connection = True
        h.end_headers()
        if h.command == "HEAD":
            return None
        if kind in ("cut", "stall", "no length", "bare"):
            body = body[:int(value) if value else len(body) // 2]
        h.wfile.write(body)
        h.wfile.flush()
        if kind == "stall":
            self.release.wait(20)
        if kind in ("cut", "stall"):
            h.close_connection = True
            h.connection.shutdown(socket.SHUT_RDWR)
        return None

    def send_chunked(self, h, body, cut):
        h.send_header("Transfer-Encoding", "chunked")
        h.end_headers()
        half = len(body) // 2
        for piece in (body[:half], body[half:]):
            if cut and piece is not None and half == 0:
                break
            h.wfile.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
            if cut:
                break
        if not cut:
            h.wfile.write(b"0\r\n\r\n")
        h.wfile.flush()
        if cut:
            h.close_connection = True
            h.connection.shutdown(socket.SHUT_RDWR)
