"""The built server with its page, and Chromium to look at it. What was seen stays in build/web-screens."""
import importlib.util
import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 20_000  # ms until something must be seen: the machine may be busy
SCREENS = Path(os.environ.get("SAMPAN_SCREENS", ROOT / "build/web-screens"))

# The server's own fixture, which belongs to another suite.
spec = importlib.util.spec_from_file_location("http_conftest", ROOT / "tests/http/conftest.py")
http = importlib.util.module_from_spec(spec)
spec.loader.exec_module(http)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    s = http.Server("--max-context", "16384", "--history", str(tmp_path_factory.mktemp("history") / "history.db"))
    yield s
    s.end()


@pytest.fixture
def restartable(tmp_path):
    """start(port, more arguments) of a server with one history."""
    made = []

    def start(port="0", *more):
        made.append(http.Server("--max-context", "4096", "--history", str(tmp_path / "history.db"), "--port", port, *more))
        return made[-1]
    yield start
    for s in made:
        if s.process.poll() is None:
            s.end()


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as p:
        program = shutil.which("chromium")
        assert program, "these tests want Debian's chromium"
        expect.set_options(timeout=PATIENCE)
        browser = p.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


# In every document before its own scripts: what hostile texts set, and each thing that the policy forbade.
SPY = """
Object.defineProperty(window, 'hacked', { set: () => console.error('Hostile text ran') })
addEventListener('securitypolicyviolation', (e) => console.error(`Content Security Policy: ${e.violatedDirective} forbids ${e.blockedURI} ${e.sample}`))
"""
SIGNS = "Content Security Policy", "Hostile text ran", "[Vue warn]", "[intlify]"


class Watch:
    """What no page of a context may do: break its policy, throw, run what a text holds, or ask any other server."""

    def __init__(self, url, context):
        self.url, self.found = url, []
        context.add_init_script(SPY)
        context.on("weberror", lambda e: self.found.append(f"thrown: {e.error}"))
        context.on("console", self.console)
        context.on("dialog", self.dialog)
        context.on("request", self.request)

    def console(self, message):
        if any(sign in message.text for sign in SIGNS):
            self.found.append(message.text)

    def dialog(self, dialog):
        self.found.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def request(self, request):
        if not request.url.startswith((self.url + "/", "data:", "blob:" + self.url + "/")):
            self.found.append(f"asked: {request.url}")


@pytest.fixture
def open_at(chromium):
    """open_at(url, path="/", **context): a page in a browser of its own; at the end nothing forbidden has happened."""
    contexts, watches = [], []

    def make(url, path="/", **options):
        context = chromium.new_context(base_url=url, **{"locale": "zh-CN", "viewport": {"width": 1440, "height": 900}, **options})
        context.set_default_timeout(PATIENCE)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
        contexts.append(context)
        watches.append(Watch(url, context))
        page = context.new_page()
        page.goto(path)
        return page
    yield make
    for context in contexts:
        context.close()
    assert [f for watch in watches for f in watch.found] == []


@pytest.fixture
def open_page(open_at, server):
    """open_page(path="/", **context) of the server that all tests share, or of the one at url."""
    return lambda path="/", url=None, **options: open_at(url or server.url, path, **options)
