"""`sampan serve` with the starter model on a free port, and OpenAI's client for it."""
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import openai
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPAN = os.environ.get("SAMPAN", str(ROOT / "build/release/sampan"))
NAME = "qwen2.5-coder-0.5b"
ADMIN_KEY = "admin-of-the-tests"


def model_path():
    folder = os.environ.get("SAMPAN_TEST_MODELS")
    path = Path(folder or "") / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    return str(path) if folder and path.exists() else NAME


# Servers of tests keep no chats, least of all in the history of who runs them.
os.environ.setdefault("SAMPAN_HISTORY", "off")


class Server:
    def __init__(self, *args, model=None, log=subprocess.DEVNULL, env=None):
        self.process = subprocess.Popen([SAMPAN, "serve", "--model", model or model_path(), "--alias", model or NAME,
                                         "--port", "0", *args],
                                        stdout=subprocess.PIPE, stderr=log, text=True, env=env)
        self.url, self.model, self.said = None, model or NAME, ""
        for line in self.process.stdout:
            self.said += line
            found = re.match(r"Sampan answers at (https?://\S+)", line)
            if found:
                self.url = found.group(1)
            if "Ctrl-C" in line:
                break
        assert self.url, "the server did not start"
        self.client = openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, timeout=120)

    def end(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        assert self.process.wait(timeout=60) == 0
        self.process.stdout.close()


@pytest.fixture(scope="session")
def exact():
    s = Server("--compute", "f32", "--max-context", "2048")
    yield s
    s.end()


@pytest.fixture(scope="session")
def exact_smollm2():
    s = Server("--compute", "f32", "--max-context", "2048", model="smollm2-135m")
    yield s
    s.end()


@pytest.fixture(scope="session")
def fast():
    s = Server("--max-context", "2048", "--admin-key", ADMIN_KEY)
    yield s
    s.end(signal.SIGINT)


@pytest.fixture
def server_factory():
    made = []

    def make(*args):
        made.append(Server(*args))
        return made[-1]
    yield make
    for s in made:
        if s.process.poll() is None:
            s.process.kill()
            s.process.wait(timeout=20)


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False
