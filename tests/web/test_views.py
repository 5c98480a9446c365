"""Every view in both languages, both themes, wide and narrow: pictures to look at, and axe-core's findings."""
import json
import re
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from album import NARROW, WIDE, Album, every_look, look_of
from conftest import http
from playwright.sync_api import expect
from test_account import people, tiny
from test_files import TALE, choose, printed_by, word
from test_tasks import LONG as BOOK
from test_tasks import PAGE

SAMPLE = Path(__file__).resolve().parent / "sample.jsonl"
ENDLESS = {"temperature": 0, "max_tokens": 15000, "min_tokens": 15000}
BATCH = "\n".join(json.dumps({"prompt": f"用一句话介绍{what}。", "custom_id": name}, ensure_ascii=False)
                  for what, name in (("长江", "river"), ("黄鹤楼", "tower"), ("乌篷船", "boat")))
GO_ON = json.dumps({"custom_id": "long", "method": "POST", "url": "/v1/chat/completions",
                    "body": {"messages": [{"role": "user", "content": "写一个很长的故事"}], "max_tokens": 15000, "ignore_eos": True}})


class Sample:
    """A server with something to see in each of its views."""

    def __init__(self, folder, chromium):
        self.server = http.Server("--model", "smollm2-135m", "--max-context", "16384", "--history", str(folder / "history.db"))
        self.url, self.browser = self.server.url, people.Browser(self.server.url)
        assert self.post("/api/import", SAMPLE.read_bytes(), "application/jsonl")["chats"] == 3
        self.chat = self.browser.ok("GET", "/api/chats?q=CPU")["data"][0]["id"]
        self.files = self.ask("用一句话总结这两个文件。", files=[self.upload("黄鹤楼.pdf", printed_by(chromium)), self.upload("tower.docx", word(TALE))])
        self.compared = self.ask("In one sentence: what is a boat?", "smollm2-135m", self.server.model)
        self.translated = self.job("translate", text=PAGE, language="English")
        self.summed = self.job("summary", text=BOOK, length="short")
        self.batch = self.job("batch", text=BATCH, params={"max_tokens": 40})

    def post(self, path, data, kind):
        request = urllib.request.Request(self.url + path, data, {"content-type": kind, "origin": self.url})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def upload(self, name, data):
        return self.post("/api/files?name=" + urllib.parse.quote(name), data, "application/octet-stream")["id"]

    def ask(self, text, *models, files=(), params=None):
        """A chat with a question, and an answer of each model (of the first one that is served)."""
        chat = self.browser.ok("POST", "/api/chats", {"params": params or {"max_tokens": 120}})["id"]
        question = self.browser.ok("POST", f"/api/chats/{chat}/messages", {"parent": None, "content": text, "files": list(files)})["id"]
        for model in models or (None,):
            self.browser.ok("POST", f"/api/chats/{chat}/generate", {"parent": question, "model": model})
        if not params:
            assert http.wait_until(lambda: all(m["state"] == "complete" for m in self.browser.ok("GET", f"/api/chats/{chat}")["messages"]), 240)
        return chat

    def job(self, kind, **params):
        job = self.browser.ok("POST", "/api/jobs", {"kind": kind, "params": params})["id"]
        assert http.wait_until(lambda: self.browser.ok("GET", f"/api/jobs/{job}")["state"] == "done", 240), kind
        return job

    def start_job(self):
        return self.browser.ok("POST", "/api/jobs", {"kind": "batch", "params": {"text": "\n".join([GO_ON] * 3)}})["id"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory, chromium):
    s = Sample(tmp_path_factory.mktemp("views"), chromium)
    yield s
    s.server.end()


@pytest.fixture
def album(open_at, sample, language, theme, size):
    a = Album(open_at(sample.url, **look_of(language, theme, size)), language, theme, size)
    a.page.set_default_timeout(60_000)
    yield a
    a.close()


def button(page, *names):
    """The one with that name in either language."""
    return page.get_by_role("button", name=re.compile(f"^({'|'.join(names)})$"))


def chats(a, sample):
    a.keep("new")
    a.show(f"/chat/{sample.chat}", "article .hljs-keyword")
    a.page.locator("article .katex").first.wait_for()
    a.keep("chat")
    a.show(f"/chat/{sample.files}", "article .facts")
    a.keep("chat-files")
    a.page.locator("article li button.what").first.click()
    a.page.locator("dialog pre").wait_for()
    a.keep("file")
    a.show("/chat/c_" + "a" * 26, ".problem")
    a.keep("chat-missing")
    a.show("/chat/no/such")
    a.keep("nowhere")
    a.show("/")
    choose(a.page, ("黄鹤楼.txt", TALE.encode()), ("photo.jpg", b"\xff\xd8\xff\xe0JFIF"))
    expect(a.page.locator("form.composer [role=alert]")).to_be_visible()
    a.keep("attached")


def answering(a, sample):
    chat = sample.ask("从 1 数到 9999，每行一个数字，不要省略。", params=ENDLESS)
    a.show(f"/chat/{chat}", "article .markdown")
    a.page.locator("article .facts").wait_for()
    a.keep("chat-streaming")
    button(a.page, "停止", "Stop").click()
    button(a.page, "继续", "Continue").wait_for()
    a.keep("chat-stopped")
    sample.browser.ok("DELETE", f"/api/chats/{chat}?forever=1")


def history(a, sample):
    a.show("/history", "main li")
    a.keep("history")
    a.page.locator("main li input").first.check()
    a.page.locator("main input[type=search]").fill("缓存")
    a.page.locator("main li mark").first.wait_for()
    a.keep("history-search")


def tasks(a, sample):
    a.show("/tasks", ".jobs a, main li a")
    for at, name in enumerate(("translate", "summary", "answer", "batch")):
        a.page.locator(".tools .btn").nth(at).click()
        a.keep(f"tasks-{name}")
    a.page.locator(".tools .btn").first.click()
    for name, job in (("translated", sample.translated), ("summed", sample.summed), ("batch", sample.batch)):
        a.show(f"/tasks/{job}", ".result, tbody tr")
        a.keep(f"job-{name}")
    running = sample.start_job()
    a.show(f"/tasks/{running}", "tbody tr")
    expect(a.page.locator(".job .state")).to_have_text(re.compile("运行|running|进行"))
    a.keep("job-running")
    sample.browser.ok("POST", f"/api/jobs/{running}/cancel")
    expect(a.page.locator(".job .state")).to_have_text(re.compile("取消|cancelled"))
    sample.browser.ok("DELETE", f"/api/jobs/{running}")
    a.show("/tasks")
    a.page.locator(".tools .plus").click()
    a.page.locator("dialog textarea").first.fill("{{a}} {{b}}")
    a.page.locator("dialog fieldset select").first.select_option("choice")
    a.keep("task-editor")


def models(a, sample):
    a.show("/models", ".models .acts")
    a.page.locator(".models .acts button[aria-expanded]").first.click()
    a.page.locator(".models dl").wait_for()
    a.keep("models")
    a.show("/compare", "section select")
    a.keep("compare")
    a.show(f"/compare/{sample.compared}", "section .facts")
    a.keep("compared")


def server(a, sample):
    a.show("/server", "table tbody tr")
    a.page.locator("figure path.line").first.wait_for(state="attached")
    a.keep("server")
    for name, there in (("settings", "section .row, fieldset"), ("keys", ".none"), ("developers", ".snippet pre")):
        a.show(f"/{name}", there)
        a.keep(name)
    a.show("/keys", ".none")
    a.page.locator("main .btn.main").click()
    a.page.locator("dialog input[name=key-name]").wait_for()
    a.keep("key-new")


def overlays(a, sample):
    page = a.page
    a.show(f"/chat/{sample.chat}", "article .hljs-keyword")
    if a.size is NARROW:
        page.locator("main header .icon").first.click()
        page.locator("nav .entry").first.wait_for()
        a.keep("sidebar")
        page.mouse.click(365, 400)
    page.locator("main header .icon").last.click()
    page.locator("aside textarea").wait_for()
    a.keep("panel")
    page.locator("aside header .icon").click()
    if a.size is WIDE:
        page.locator("nav .entry").first.hover()
        page.locator("nav .entry").first.get_by_role("button").click()
        page.get_by_role("menuitem").first.wait_for()
        a.keep("menu")
        page.keyboard.press("Escape")
        page.locator("nav input").fill("缓存")
        page.locator("nav a.hit").first.wait_for()
        a.keep("search")
        page.locator("nav footer button").click()
        page.get_by_role("dialog").wait_for()
        a.keep("shortcuts")


@every_look
@pytest.mark.parametrize("views", [chats, answering, history, tasks, models, server, overlays], ids=lambda views: views.__name__)
def test_view(album, sample, views):
    views(album, sample)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("empty")
    s = http.Server("--history", str(folder / "history.db"), model=str(tiny.make(folder / "tiny")))
    yield s
    s.end()


@pytest.fixture(scope="module")
def without_history(tmp_path_factory):
    s = http.Server("--history", "off", model=str(tiny.make(tmp_path_factory.mktemp("off") / "tiny")))
    yield s
    s.end()


NOTHING = {"history": "main .note", "tasks": "main .note", "server": "figure"}
WITHOUT = {"new": "main h2", "history": "main .note", "tasks": "main .note", "keys": "main .hint", "settings": "main fieldset"}


@every_look
def test_nothing_yet(open_at, empty, without_history, language, theme, size):
    """What a view says before there is anything in it, and where there can't be."""
    for s, mark, views in ((empty, "empty", NOTHING), (without_history, "off", WITHOUT)):
        a = Album(open_at(s.url, **look_of(language, theme, size)), language, theme, size)
        for name, there in views.items():
            a.show("/" if name == "new" else f"/{name}", there)
            a.keep(f"{mark}-{name}")
        a.close()
