"""Browsers as the tests of accounts need them: a jar with one cookie, and the fields that a browser sends."""
import http.client
import json
import re
import ssl
import urllib.parse

from conftest import Server

PASSWORD = "correct horse battery"


class Outside(Server):
    """A server that listens on all addresses, or whatever the arguments say, with a history; `code` is what it printed."""

    def __init__(self, model, history, *args, host="0.0.0.0", **more):
        super().__init__("--host", host, "--history", str(history), *args, model=str(model), **more)
        self.url = self.url.replace("//0.0.0.0:", "//127.0.0.1:")
        found = re.search(r"one-time code: (\S+)", self.said)
        self.code = found and found[1]


class Browser:
    """One visitor of a server."""

    def __init__(self, url, context=None, address=None, **fields):
        self.at = urllib.parse.urlsplit(url)
        self.root = self.at.path.rstrip("/")
        self.cookie, self.set_cookie, self.context, self.address = None, None, context, address
        self.fields = {"Sec-Fetch-Site": "same-origin", "Origin": f"{self.at.scheme}://{self.at.netloc}", **fields}

    def line(self):
        source = (self.address, 0) if self.address else None
        if self.at.scheme == "https":
            return http.client.HTTPSConnection(self.at.hostname, self.at.port, timeout=60, context=self.context or ssl.create_default_context(),
                                               source_address=source)
        return http.client.HTTPConnection(self.at.hostname, self.at.port, timeout=60, source_address=source)

    def send(self, method, path, body=None, **fields):
        """The answer, read to its end: status, headers, `said` (JSON or bytes). A field that is None is not sent."""
        line = self.line()
        head = {**self.fields, **({"Cookie": self.cookie} if self.cookie else {}), **({"Content-Type": "application/json"} if body is not None else {}),
                **{name.replace("_", "-"): value for name, value in fields.items()}}
        line.request(method, self.root + path, None if body is None else json.dumps(body), {name: v for name, v in head.items() if v is not None})
        answer = line.getresponse()
        text = answer.read()
        line.close()
        answer.said = json.loads(text) if text and answer.headers["Content-Type"] == "application/json" else text
        self.keep(answer.headers["Set-Cookie"])
        return answer

    def keep(self, set_cookie):
        if not set_cookie:
            return
        self.set_cookie = set_cookie
        pair = set_cookie.split(";")[0]
        self.cookie = pair if pair.split("=", 1)[1] else None

    def status(self, method, path, body=None, **fields):
        return self.send(method, path, body, **fields).status

    def ok(self, method, path, body=None, **fields):
        answer = self.send(method, path, body, **fields)
        assert answer.status < 300, (method, path, answer.status, answer.said)
        return answer.said

    def error(self, method, path, body=None, **fields):
        answer = self.send(method, path, body, **fields)
        assert answer.status >= 400, (method, path, answer.status)
        return answer.status, answer.said["error"]["code"]

    def sign_up(self, code, name="alice", password=PASSWORD):
        return self.send("POST", "/api/account", {"code": code, "name": name, "password": password})

    def sign_in(self, name="alice", password=PASSWORD):
        return self.send("POST", "/api/session", {"name": name, "password": password})

    def state(self):
        return self.ok("GET", "/api/session")["state"]
