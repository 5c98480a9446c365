"""A server that a load test starts, and what can be seen of it from outside: metrics, log, memory, threads, files."""
import contextlib
import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ADMIN_KEY = "admin-of-the-tests"
os.environ.setdefault("SAMPAN_HISTORY", "off")  # servers of tests keep no chats, least of all in the history of who runs them


def program():
    return os.environ.get("SAMPAN", str(ROOT / "build/release/sampan"))


def name_of(model):
    """What a server calls it."""
    return Path(model).name.removesuffix(".gguf") if "/" in model else model


def page_bytes(model, *args):
    """Of the KV cache, as the server's own plan has it."""
    said = subprocess.run([program(), "serve", "--model", model, "--plan", "--json", *args], capture_output=True, text=True, check=True)
    plan = json.loads(said.stdout)
    return plan["kv"] // plan["kv_pages"]


class Served:
    """`log`: a file that gets the server's JSON lines, and whatever a sanitizer says."""
    def __init__(self, models, log, *args, wait=True):
        self.log = Path(log)
        named = [word for m in models for word in ("--model", m)]
        with open(log, "w") as out:
            self.process = subprocess.Popen([program(), "serve", *named, "--port", "0", "--admin-key", ADMIN_KEY, "--log-format", "json",
                                             *args], stdout=subprocess.PIPE, stderr=out, text=True)
        self.port = 0
        if wait:
            self.wait()

    def wait(self):
        for line in self.process.stdout:
            if found := re.match(r"Sampan answers at http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
            if "Ctrl-C" in line:
                break
        if not self.port:
            raise SystemExit(f"the server did not start:\n{self.log.read_text()[-2000:]}")

    def get(self, path):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def post(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def metrics(self):
        """Samples as [(name, labels, value)]."""
        samples = []
        for line in self.get("/metrics").splitlines():
            if found := re.fullmatch(r"([\w:]+)(?:\{(.*)\})? (\S+)", line):
                samples.append((found[1], dict(re.findall(r'(\w+)="([^"]*)"', found[2] or "")), float(found[3])))
        return samples

    def idle(self):
        """Nothing asked for, nothing running, every page given back."""
        status = json.loads(self.get("/admin/status"))
        return status["requests"] == 0 and all(m["running"] == m["queued"] == 0 and m["kv_pages_free"] == m["kv_pages"]
                                               for m in status["models"])

    def usage(self):
        """Resident bytes, threads, open files."""
        pid = self.process.pid
        text = Path(f"/proc/{pid}/status").read_text()
        return (int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024, len(os.listdir(f"/proc/{pid}/task")),
                len(os.listdir(f"/proc/{pid}/fd")))

    def lines(self):
        """(objects of the log, lines that are none). Nothing but JSON should be there: a sanitizer's report is not."""
        good, bad = [], []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                good.append(json.loads(line))
            except ValueError:
                bad.append(line)
        return good, bad

    def end(self, seconds=120):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=seconds)
        self.process.stdout.close()
        return status

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False
