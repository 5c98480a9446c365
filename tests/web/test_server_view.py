"""The dashboard in a real browser: what runs is shown while it runs and can be ended from there."""
import json
import re
import threading
import urllib.request

import pytest
from conftest import ROOT, SCREENS
from playwright.sync_api import expect
from stores import Store


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("dashboard"))
    store.put("one")
    s = store.serve("one", "--max-context", "1000000", "--max-seqs", "1", "--drain-seconds", "1")
    yield s
    store.close()


class Running(threading.Thread):
    """A streamed completion that does not end by itself."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.begun, self.chunks = server, threading.Event(), 0
        self.start()
        assert self.begun.wait(60)

    def run(self):
        stream = self.server.client.completions.create(model="one", prompt="ab", max_tokens=900_000, temperature=0, stream=True, timeout=300,
                                                       extra_body={"ignore_eos": True})
        for _ in stream:
            self.chunks += 1
            self.begun.set()


def read(server, path):
    with urllib.request.urlopen(server.url + path, timeout=30) as answer:
        return json.load(answer)


def state(server):
    return read(server, "/api/server")


@pytest.mark.parametrize("width", [1440, 375])
def test_a_running_request_is_shown_and_cancelled(open_page, served, width):
    SCREENS.mkdir(parents=True, exist_ok=True)
    page = open_page("/server", url=served.url, viewport={"width": width, "height": 800})
    live = page.get_by_role("table", name="正在运行")
    expect(page.get_by_text("现在没有请求在运行。")).to_be_visible()
    request = Running(served)
    row = live.get_by_role("row").nth(1)
    expect(row).to_contain_text("one")
    expect(row).to_contain_text("正在回答")
    answer = row.locator("td.answer")
    first = answer.inner_text()
    expect(answer).not_to_have_text(first)  # it counts on
    assert state(served)["now"]["running"] == 1
    page.wait_for_timeout(3000)
    page.screenshot(path=SCREENS / f"server-running-zh-light-{width}.png")
    live.scroll_into_view_if_needed()
    page.screenshot(path=SCREENS / f"server-requests-zh-light-{width}.png")
    cancel = row.get_by_role("button")
    cancel.focus()
    page.keyboard.press("Enter")
    request.join(30)
    assert not request.is_alive()
    expect(page.get_by_text("现在没有请求在运行。")).to_be_visible()
    recent = page.get_by_role("table", name="最近的请求").get_by_role("row").nth(1)
    expect(recent).to_contain_text("已取消")
    recent.scroll_into_view_if_needed()
    page.screenshot(path=SCREENS / f"server-recent-zh-light-{width}.png")
    assert state(served)["now"]["running"] == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_charts_and_models(open_page, served):
    page = open_page("/server", url=served.url)
    for name in ("回答", "运行中", "页", "物理内存"):
        expect(page.get_by_role("img", name=name).first).to_be_visible()
    before = page.locator("figure path.line").first.get_attribute("d")
    request = Running(served)
    expect(page.locator("figure path.line").first).not_to_have_attribute("d", before)
    models = page.get_by_role("table", name="模型").get_by_role("row").nth(1)
    expect(models).to_contain_text("已加载")
    expect(models).to_contain_text("1 个运行")
    page.get_by_role("table", name="正在运行").get_by_role("button").click()
    request.join(30)
    assert not request.is_alive()


def test_settings_with_their_origin(open_page, served):
    page = open_page("/server", url=served.url)
    settings = page.get_by_role("table", name="设置")
    expect(settings.get_by_role("row").nth(10)).to_be_visible()
    page.get_by_label("只看设置过的").check()
    page.get_by_label("查找设置").fill("max-seqs")
    row = settings.get_by_role("row").nth(1)
    expect(row).to_contain_text("命令行 --max-seqs")
    expect(settings.get_by_role("row")).to_have_count(2)


def test_settings_are_explained_in_chinese(open_page, served):
    names = {s["name"] for s in read(served, "/api/settings")["data"]}
    explained = re.findall(r"^  '?([a-z-]+)'?: '", (ROOT / "web/src/i18n/settings-zh.ts").read_text(encoding="utf-8"), re.M)
    assert set(explained) == names and len(explained) == len(names)
    page = open_page("/server", url=served.url)
    meanings = page.get_by_role("table", name="设置").locator("span.help")
    expect(meanings).to_have_count(len(names))
    assert all(re.search("[\u4e00-\u9fff]", text) for text in meanings.all_text_contents())


def test_numbers_come_only_while_somebody_looks(open_page, served):
    """The stream is asked for them when the view opens, and without them when it is left: seen in a tab with a stream of
    its own, since what a shared worker asks for no test can see."""
    page = open_page("/history", url=served.url)
    page.add_init_script("delete window.SharedWorker")
    asked = []
    page.on("request", lambda r: asked.append(r.url.split("/api/events")[1]) if "/api/events" in r.url else None)
    page.goto("/history")
    page.wait_for_timeout(500)
    assert asked == [""]
    page.get_by_role("link", name="服务器").click()
    expect(page.locator("figure")).to_have_count(4)
    first = page.locator("figure path.line").first.get_attribute("d")
    expect(page.locator("figure path.line").first).not_to_have_attribute("d", first)
    assert len(asked) == 2 and asked[1].endswith("stats=1") and "last=" in asked[1]
    page.get_by_role("link", name="历史").click()
    page.wait_for_timeout(500)
    assert len(asked) == 3 and "stats" not in asked[2] and "last=" in asked[2]
