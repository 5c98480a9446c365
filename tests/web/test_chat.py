"""The chat in a real browser, against the real server and model."""
import json
import re
import urllib.request

from playwright.sync_api import expect

COMPOSER = "textarea[aria-describedby]"
LONG = "从 1 数到 9999，每行一个数字，不要省略。"
ENDLESS = {"temperature": 0, "max_tokens": 15000, "min_tokens": 15000}  # as long as the context: only stop ends it


def ask(page, text):
    page.locator(COMPOSER).fill(text)
    page.keyboard.press("Enter")


def answers(page):
    return page.locator("article[aria-label=回答]")


def finished(page):
    expect(page.get_by_role("button", name="发送", exact=True)).to_be_visible(timeout=60_000)


def call(server, path, body=None):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode() if body is not None else None,
                                     {"content-type": "application/json", "origin": server.url})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def open_endless(open_page, server):
    """A page with a chat whose answers don't end by themselves, on whatever machine; the chat's id."""
    chat = call(server, "/api/chats", {"params": ENDLESS})["id"]
    return open_page(f"/chat/{chat}"), chat


def stop(page):
    page.get_by_role("button", name="停止").click()
    finished(page)


def chat_of(page):
    page.wait_for_url("**/chat/c_*")
    return re.search(r"/chat/(c_\w+)", page.url).group(1)


def test_ask_and_watch_it_grow(open_page, server):
    page = open_page()
    ask(page, "用两句话介绍长江。")
    chat = chat_of(page)
    growing = answers(page).first
    expect(growing).to_contain_text(re.compile(r"\S{2}"))
    lengths = set()
    for _ in range(200):
        lengths.add(len(growing.inner_text()))
        if page.get_by_role("button", name="发送", exact=True).is_visible():
            break
        page.wait_for_timeout(30)
    finished(page)
    assert len(lengths) > 3, "the answer did not grow before the reader's eyes"
    kept = call(server, f"/api/chats/{chat}")["messages"]
    assert [m["role"] for m in kept] == ["user", "assistant"]
    assert kept[1]["state"] == "complete" and kept[1]["content"].strip()
    # What is shown is what is kept, but for Markdown.
    plain = re.sub(r"[\W_]", "", kept[1]["content"])
    assert plain[:40] in re.sub(r"[\W_]", "", growing.inner_text())
    expect(growing).to_contain_text("词元/秒")
    expect(page.get_by_role("meter")).to_be_visible()
    expect(page.locator("nav a[aria-current=page]")).to_contain_text("用两句话介绍长江")


def test_input_methods_keep_their_enter(open_page):
    page = open_page()
    page.locator(COMPOSER).focus()
    page.evaluate("""selector => {
        const field = document.querySelector(selector)
        field.value = 'nihao'
        field.dispatchEvent(new InputEvent('input', {bubbles: true}))
        field.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))
    }""", COMPOSER)
    page.wait_for_timeout(200)
    assert page.url.endswith("/") and page.locator(COMPOSER).input_value() == "nihao"
    page.locator(COMPOSER).press("Shift+Enter")
    assert page.locator(COMPOSER).input_value() == "nihao\n"


def test_stop_continue_edit_and_branches(open_page, server):
    page, chat = open_endless(open_page, server)
    ask(page, LONG)
    first = answers(page).first
    expect(first.locator(".markdown")).to_contain_text(re.compile(r"\d"))
    stop(page)
    expect(first).to_contain_text("已停止")
    stopped = call(server, f"/api/chats/{chat}")["messages"][1]
    assert stopped["state"] == "stopped" and stopped["content"]

    first.get_by_role("button", name="继续").click()
    stop(page)
    went_on = call(server, f"/api/chats/{chat}")["messages"][1]
    assert went_on["state"] == "stopped" and went_on["content"].startswith(stopped["content"])

    first.hover()
    first.get_by_role("button", name="重新回答").click()
    stop(page)
    expect(answers(page).first).to_contain_text("2/2")

    mine = page.locator("article[aria-label=你]").first
    mine.hover()
    mine.get_by_role("button", name="编辑").click()
    page.get_by_role("textbox", name="编辑").fill("从 5 开始数")
    page.get_by_role("button", name="保存并重新提问").click()
    stop(page)
    expect(page.locator("article[aria-label=你]")).to_contain_text("从 5 开始数")
    mine = page.locator("article[aria-label=你]").first
    mine.get_by_role("button", name="上一个版本").click()
    expect(page.locator("article[aria-label=你]").first).to_contain_text("从 1 数到 9999")
    page.reload() # the branch chosen is kept
    expect(page.locator("article[aria-label=你]").first).to_contain_text("从 1 数到 9999")
    tree = call(server, f"/api/chats/{chat}")["messages"]
    assert sorted(m["role"] for m in tree) == ["assistant"] * 3 + ["user"] * 2


def test_a_reload_in_mid_answer_loses_nothing(open_page, server):
    page, chat = open_endless(open_page, server)
    ask(page, LONG)
    text = answers(page).first.locator(".markdown")
    expect(text).to_contain_text(re.compile(r"\d"))
    page.reload()
    expect(text).to_contain_text(re.compile(r"\d"))
    expect(page.get_by_role("button", name="停止")).to_be_visible() # it still grows
    before = len(answers(page).first.inner_text())
    page.wait_for_function("n => document.querySelector('article[aria-label=回答]').innerText.length > n + 10", arg=before)
    page.goto("/")
    page.goto(f"/chat/{chat}")
    stop(page)
    kept = call(server, f"/api/chats/{chat}")["messages"][1]["content"]
    assert re.findall(r"\d+", text.inner_text()) == re.findall(r"\d+", kept)


def test_many_tabs_and_two_browsers_see_the_same(open_page):
    page = open_page()
    ask(page, "你好")
    chat = chat_of(page)
    finished(page)
    other = open_page(f"/chat/{chat}")
    tabs = [page.context.new_page() for _ in range(8)] # a browser opens six connections to a server
    for tab in tabs:
        tab.goto(f"/chat/{chat}")
        expect(answers(tab)).to_have_count(1)
    ask(tabs[-1], "再说一次你好")
    for tab in [page, other, *tabs]:
        expect(answers(tab)).to_have_count(2)
    finished(tabs[-1])
    texts = set()
    for tab in [page, other, *tabs]:
        expect(tab.get_by_role("button", name="停止")).to_have_count(0)
        texts.add(answers(tab).last.locator(".markdown").inner_text())
    assert len(texts) == 1


def test_language_theme_and_keys(open_page):
    page = open_page("/settings", locale="en-GB", color_scheme="light")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    page.get_by_text("中文", exact=True).click()
    expect(page.get_by_role("heading", name="设置")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_text("深色", exact=True).click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.reload()
    expect(page.get_by_role("heading", name="设置")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    page.get_by_text("Ctrl + Enter").click()
    page.goto("/")
    page.locator(COMPOSER).press_sequentially("草稿")
    page.keyboard.press("Enter")
    assert page.locator(COMPOSER).input_value() == "草稿\n"
    page.reload() # typed text is kept
    expect(page.locator(COMPOSER)).to_have_value("草稿\n")
    page.locator(COMPOSER).fill("")
    page.locator("body").click(position={"x": 700, "y": 200})
    page.keyboard.press("Shift+?")
    expect(page.get_by_role("dialog", name="快捷键")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Control+k")
    expect(page.get_by_label("搜索对话")).to_be_focused()


def test_find_rename_pin_delete_and_undo(open_page):
    page = open_page()
    ask(page, "黄鹤楼在哪座城市？")
    chat_of(page)
    finished(page)
    page.get_by_label("搜索对话").fill("鹤楼")
    hit = page.locator("nav a.hit")
    expect(hit).to_have_count(1)
    expect(hit.locator("mark").first).to_have_text("鹤楼")
    page.get_by_label("搜索对话").fill("没有的词")
    expect(page.locator("nav [role=status]")).to_contain_text("没有找到")
    page.get_by_label("搜索对话").fill("")

    entry = page.locator("nav .entry", has_text="黄鹤楼")
    entry.hover()
    entry.get_by_role("button").click()
    page.get_by_role("menuitem", name="重命名").click()
    page.get_by_label("标题").fill("名楼")
    page.keyboard.press("Enter")
    entry = page.locator("nav .entry", has_text="名楼")
    expect(entry).to_be_visible()
    entry.hover()
    entry.get_by_role("button").click()
    page.get_by_role("menuitem", name="置顶").click()
    expect(page.locator("nav section", has_text="置顶").locator(".entry")).to_contain_text("名楼")
    entry.hover()
    entry.get_by_role("button").click()
    page.get_by_role("menuitem", name="删除").click()
    expect(entry).to_have_count(0)
    page.get_by_role("button", name="撤销").click()
    expect(page.locator("nav .entry", has_text="名楼")).to_be_visible()


def test_export_and_import(open_page, tmp_path):
    page = open_page()
    ask(page, "请记住暗号：竹筏")
    chat_of(page)
    finished(page)
    page.goto("/history")
    page.get_by_role("button", name="导出全部").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="JSONL").click()
    file = tmp_path / "all.jsonl"
    download.value.save_as(file)
    assert "竹筏" in file.read_text(encoding="utf-8") or "\\u7af9" in file.read_text(encoding="utf-8")

    page.get_by_label("搜索标题和消息").fill("竹筏")
    expect(page.locator("main li")).to_have_count(1)
    page.get_by_label("选择“").first.check()
    page.locator(".bulk").get_by_role("button", name="删除").click()
    expect(page.locator("main li")).to_have_count(0)
    page.get_by_text("已删除的对话").click()
    page.locator("main li").get_by_role("button").click()
    page.get_by_role("menuitem", name="永久删除").click()
    page.get_by_role("dialog").get_by_role("button", name="永久删除").click()
    expect(page.locator("main li")).to_have_count(0)
    page.get_by_text("已删除的对话").click()
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_text("已导入")).to_be_visible()
    expect(page.locator("main li")).to_have_count(1)
    page.locator("main li a").first.click()
    expect(page.locator("article[aria-label=你]").first).to_contain_text("竹筏")


def test_the_server_goes_and_comes_back(open_page, restartable):
    first = restartable()
    port = first.url.rsplit(":", 1)[1].rstrip("/")
    page = open_page(url=first.url)
    ask(page, "你好")
    expect(answers(page)).to_have_count(1)  # until it is there the box looks as if nothing ran
    finished(page)
    first.end()
    expect(page.get_by_text("连接不上服务器")).to_be_visible()
    ask(page, "还在吗？")
    expect(page.get_by_text("发送中")).to_be_visible()
    restartable(port)
    expect(answers(page)).to_have_count(2)
    finished(page)
    expect(page.get_by_text("连接不上服务器")).to_have_count(0)
    expect(page.locator("article[aria-label=你]", has_text="还在吗")).to_have_count(1)


def test_a_model_that_is_loaded_for_the_answer(open_page, restartable):
    server = restartable("0", "--load", "demand")
    page = open_page("/settings", url=server.url)
    expect(page.get_by_text("尚未加载").first).to_be_visible()
    page.goto("/")
    ask(page, "你好")
    chat = chat_of(page)
    finished(page)
    assert call(server, f"/api/chats/{chat}")["messages"][1]["state"] == "complete"
    expect(page.get_by_role("meter")).to_be_visible()  # its context is known now
