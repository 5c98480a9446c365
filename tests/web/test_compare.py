"""Two models, or one with two settings, answer the same question side by side."""
import json
import re
import urllib.request

import pytest
from conftest import SCREENS, http
from playwright.sync_api import expect

# No end token is drawn before so many: an answer that a test stops can't have ended by itself.
LONG = {"min_tokens": 3000, "max_tokens": 3000}


def call(server, path):
    with urllib.request.urlopen(server.url + path, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Both models in memory."""
    s = http.Server("--model", "smollm2-135m", "--max-context", "4096", "--max-seqs", "4",
                    "--history", str(tmp_path_factory.mktemp("compare") / "history.db"))
    yield s
    s.end()


def open_compare(open_page, server, left, right, path="/compare", **options):
    page = open_page(path, url=server.url, **options)
    page.evaluate("sides => localStorage.setItem('sampan.compare', JSON.stringify({sides, prompt: '', system: ''}))", [left, right])
    page.reload()
    return page


def side(page, at):
    return page.get_by_role("region", name=("左侧", "右侧")[at])


def answer(page, at):
    return side(page, at).get_by_role("log")


def compare(page, text):
    page.get_by_label("同时问两个模型").fill(text)
    page.keyboard.press("Enter")


def test_two_models_side_by_side(open_page, two):
    other = "smollm2-135m"
    SCREENS.mkdir(parents=True, exist_ok=True)
    page = open_compare(open_page, two, {"model": two.model, "params": {**LONG, "seed": 1}}, {"model": other, "params": {**LONG, "seed": 1}})
    compare(page, "Tell a long story about a wooden boat.")
    page.wait_for_url("**/compare/c_*")
    for at in (0, 1):
        expect(answer(page, at)).to_contain_text(re.compile(r"\w{3}"))
        expect(side(page, at).locator(".facts")).to_contain_text("词元/秒")
        expect(side(page, at).locator(".facts")).to_contain_text("首个词元")
    before = [len(answer(page, at).inner_text()) for at in (0, 1)]
    page.wait_for_function("b => [...document.querySelectorAll('[role=log]')].every((e, i) => e.innerText.length > b[i])", arg=before)
    page.screenshot(path=SCREENS / "compare-running-zh-light-1440.png")
    side(page, 0).get_by_role("button", name="停止").click()
    expect(side(page, 0).get_by_role("button", name="用这个继续")).to_be_visible()
    kept = answer(page, 0).inner_text()
    expect(side(page, 1).get_by_role("button", name="停止")).to_be_visible()  # the other goes on
    page.get_by_role("button", name="全部停止").click()
    expect(side(page, 1).get_by_role("button", name="用这个继续")).to_be_visible()
    side(page, 1).get_by_role("button", name="复制").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    chat = re.search(r"/compare/(c_\w+)", page.url).group(1)
    messages = call(two, f"/api/chats/{chat}")["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "assistant"]
    assert [(m["model"], m["state"]) for m in messages[1:]] == [(two.model, "stopped"), (other, "stopped")]
    assert copied == messages[2]["content"]
    page.reload()
    expect(answer(page, 0)).to_have_text(kept)
    side(page, 1).get_by_role("button", name="用这个继续").click()
    page.wait_for_url(f"**/chat/{chat}")
    assert call(two, f"/api/chats/{chat}")["model"] == other
    expect(page.locator("article[aria-label=回答]")).to_have_count(1)
    expect(page.get_by_label("模型", exact=True)).to_have_value(other)


def test_one_model_with_two_settings(open_page, two):
    page = open_compare(open_page, two, {"model": two.model, "params": {"temperature": 0, "max_tokens": 12}},
                        {"model": two.model, "params": {}}, viewport={"width": 375, "height": 800})
    settings = side(page, 1).get_by_text(re.compile("参数"))
    settings.click()
    side(page, 1).get_by_label("回答上限（词元）").fill("24")
    side(page, 1).get_by_label("温度").fill("1.5")
    compare(page, "Write about the sea.")
    for at in (0, 1):
        expect(side(page, at).get_by_role("button", name="用这个继续")).to_be_visible(timeout=60_000)
    chat = re.search(r"/compare/(c_\w+)", page.url).group(1)
    used = [m["usage"]["completion_tokens"] for m in call(two, f"/api/chats/{chat}")["messages"] if m["role"] == "assistant"]
    assert used[0] <= 12 < used[1] <= 24
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    side(page, 0).get_by_role("button", name="重新回答").click()
    expect(side(page, 0).get_by_role("button", name="用这个继续")).to_be_visible(timeout=60_000)
    assert len(call(two, f"/api/chats/{chat}")["messages"]) == 4
    page.get_by_role("button", name="新的对比").click()
    expect(page).to_have_url(re.compile("/compare$"))
    expect(page.get_by_text("回答会显示在这里。").first).to_be_visible()


def test_with_room_for_one_they_answer_in_turn(open_page, two, tmp_path):
    sizes = {m["name"]: m["memory_bytes"] for m in call(two, "/api/models")["data"] if m["memory_bytes"]}
    s = http.Server("--model", "smollm2-135m", "--max-context", "4096", "--max-seqs", "4", "--load", "demand", "--history", str(tmp_path / "history.db"),
                    "--memory", str(int(max(sizes.values()) * 1.05)))
    try:
        page = open_compare(open_page, s, {"model": s.model, "params": LONG}, {"model": "smollm2-135m", "params": LONG})
        expect(page.get_by_text("不能同时放进内存")).to_be_visible()
        compare(page, "Tell a long story.")
        expect(answer(page, 0)).to_contain_text(re.compile(r"\w{3}"), timeout=60_000)
        expect(answer(page, 1)).to_contain_text("另一个先回答")
        side(page, 0).get_by_role("button", name="停止").click()
        expect(answer(page, 1)).to_contain_text(re.compile(r"[a-z]{3}"), timeout=60_000)
        page.get_by_role("button", name="全部停止").click()
        expect(side(page, 1).get_by_role("button", name="用这个继续")).to_be_visible()
    finally:
        s.end()


def test_speed_while_an_answer_grows(open_page, two):
    """In the chat, too: tokens a second are there before the end."""
    request = urllib.request.Request(two.url + "/api/chats", json.dumps({"params": LONG, "model": two.model}).encode(),
                                     {"content-type": "application/json", "origin": two.url})
    with urllib.request.urlopen(request, timeout=30) as made:
        chat = json.load(made)["id"]
    page = open_page(f"/chat/{chat}", url=two.url)
    page.locator("textarea[aria-describedby]").fill("Tell a long story.")
    page.keyboard.press("Enter")
    facts = page.locator("article[aria-label=回答] .facts")
    expect(facts).to_contain_text(re.compile(r"\d 词元/秒 · 首个词元 [\d.]+ 秒 · \d+ 个词元"))
    first = facts.inner_text()
    expect(facts).not_to_have_text(first)
    expect(page.get_by_role("button", name="停止", exact=True)).to_be_visible()
    page.reload()  # another tab, or this one later: it counts from what it hears
    expect(facts).to_contain_text("词元/秒")
    page.get_by_role("button", name="停止", exact=True).click()
    expect(page.get_by_role("button", name="发送", exact=True)).to_be_visible()
    expect(facts).to_contain_text("词元/秒")


def test_a_model_that_refuses_says_so_on_its_side(open_page, two):
    page = open_compare(open_page, two, {"model": two.model, "params": {"max_tokens": 4}}, {"model": "smollm2-135m", "params": {"max_tokens": 4, "top_p": 7}})
    compare(page, "Hi")
    expect(side(page, 0).get_by_role("button", name="用这个继续")).to_be_visible(timeout=60_000)
    expect(side(page, 1).get_by_role("alert")).to_contain_text("top_p")
