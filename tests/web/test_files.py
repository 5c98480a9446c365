"""Files dropped, pasted and chosen, in a real browser: chips, prompts of a PDF and a Word document, and what goes wrong."""
import io
import json
import re
import urllib.request

import docx
import pytest
from album import serious
from conftest import SCREENS
from playwright.sync_api import expect

COMPOSER = "textarea[aria-describedby]"
TALE = "黄鹤楼位于武汉市蛇山之巅，始建于公元223年，1985年重建。楼高51.4米，共五层。"


def word(*paragraphs):
    d = docx.Document()
    d.add_heading("黄鹤楼", 1)
    for text in paragraphs:
        d.add_paragraph(text)
    out = io.BytesIO()
    d.save(out)
    return out.getvalue()


def printed_by(chromium):
    """A PDF with Chinese text, as a browser prints it."""
    page = chromium.new_page()
    page.set_content(f"<h1>黄鹤楼</h1><p style='font-family: \"Noto Sans CJK SC\"'>{TALE}</p>")
    data = page.pdf()
    page.close()
    return data


@pytest.fixture(scope="module")
def printed(chromium):
    return printed_by(chromium)


def chips(page):
    return page.locator("form.composer li")


def choose(page, *files):
    page.locator("input[type=file]").set_input_files([{"name": n, "mimeType": "application/octet-stream", "buffer": b} for n, b in files])


def drop(page, name, text):
    page.evaluate("""([name, text]) => {
        const data = new DataTransfer()
        data.items.add(new File([text], name))
        for (const kind of ['dragenter', 'dragover', 'drop'])
            document.querySelector('main').dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}))
    }""", [name, text])


def finished(page, server):
    """The chat, once its answer has ended."""
    expect(page.locator("article[aria-label=回答] .facts")).to_contain_text("词元", timeout=120_000)  # while it grows, too
    expect(page.get_by_role("button", name="发送", exact=True)).to_be_visible(timeout=120_000)
    return call(server, "/api/chats/" + page.url.rsplit("/", 1)[1])


def keep(page, name):
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(150)
    page.screenshot(path=SCREENS / f"files-{name}.png")


def call(server, path):
    with urllib.request.urlopen(server.url + path, timeout=30) as answer:
        return json.load(answer)


def test_a_pdf_and_a_word_document_are_summed_up(open_page, server, printed):
    page = open_page()
    choose(page, ("黄鹤楼.pdf", printed), ("tower.docx", word(TALE, "登楼可以远眺长江。")))
    expect(chips(page)).to_have_count(2)
    for chip in chips(page).all():
        expect(chip).to_contain_text(re.compile(r"\d+ 个词元"))
    expect(page.get_by_role("meter")).to_be_visible()  # the chips count before anything is sent
    keep(page, "chips")
    page.locator(COMPOSER).fill("用一句话总结这两个文件。")
    page.keyboard.press("Enter")
    page.wait_for_url("**/chat/c_*")
    chat = finished(page, server)
    expect(chips(page)).to_have_count(0)
    mine = page.locator("article[aria-label=你]").first
    expect(mine.locator("li")).to_have_count(2)
    assert [a["name"] for a in chat["messages"][0]["attachments"]] == ["黄鹤楼.pdf", "tower.docx"]
    answer = chat["messages"][1]
    assert answer["state"] == "complete" and answer["usage"]["prompt_tokens"] > 60
    assert re.search("黄鹤楼|武汉", answer["content"]), answer["content"]  # it can know of them from the files only
    mine.get_by_title("查看“黄鹤楼.pdf”的文本").click()
    expect(page.get_by_role("dialog")).to_contain_text("始建于公元223年")
    keep(page, "dialog")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.reload()
    expect(page.locator("article[aria-label=你] li")).to_have_count(2)
    keep(page, "sent")


def test_a_document_is_the_text_of_a_task(open_page):
    page = open_page("/tasks")
    page.locator(".source input[type=file]").set_input_files({"name": "tower.docx", "mimeType": "", "buffer": word(TALE, "登楼可以远眺长江。")})
    expect(page.locator("textarea").first).to_have_value(re.compile("登楼可以远眺长江。"))
    page.locator(".source input[type=file]").set_input_files({"name": "broken.pdf", "mimeType": "", "buffer": b"%PDF-1.4 nothing"})
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("textarea").first).to_have_value(re.compile("登楼可以远眺长江。"))


def test_dropped_and_pasted(open_page):
    page = open_page()
    drop(page, "notes.md", "# 长江")
    expect(chips(page)).to_contain_text("notes.md")
    page.locator(COMPOSER).evaluate("""field => {
        const data = new DataTransfer()
        data.items.add(new File(['int main;'], 'main.c'))
        field.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}))
    }""")
    expect(chips(page)).to_have_count(2)
    expect(page.get_by_role("button", name="发送", exact=True)).to_be_enabled()
    assert page.locator(COMPOSER).input_value() == ""
    page.reload()  # a draft keeps its chips
    expect(chips(page)).to_have_count(2)
    expect(chips(page).first).to_contain_text("个词元")
    page.get_by_role("button", name="移除“notes.md”").click()
    expect(chips(page)).to_have_count(1)
    page.reload()
    expect(chips(page)).to_have_count(1)
    page.get_by_role("button", name="移除“main.c”").click()
    expect(chips(page)).to_have_count(0)


def test_what_cannot_be_read_says_why(open_page):
    page = open_page()
    choose(page, ("photo.jpg", b"\xff\xd8\xff\xe0JFIF"), ("x.pdf", b"%PDF-1.4 nonsense"), ("ok.txt", b"fine"))
    expect(chips(page).filter(has_text="photo.jpg")).to_contain_text("不支持这种文件")
    expect(chips(page).filter(has_text="x.pdf")).to_contain_text("无法读取")
    expect(chips(page).filter(has_text="ok.txt")).to_contain_text("个词元")
    expect(page.get_by_role("button", name="发送", exact=True)).to_be_disabled()
    keep(page, "refused")
    for name in ("photo.jpg", "x.pdf"):
        page.get_by_role("button", name=f"移除“{name}”").click()
    expect(page.get_by_role("button", name="发送", exact=True)).to_be_enabled()
    page.get_by_role("button", name="移除“ok.txt”").click()


def test_one_that_is_too_long_for_the_context(open_page):
    page = open_page()
    choose(page, ("long.txt", "长江流经武汉。\n".encode() * 3000))
    expect(page.get_by_role("status").filter(has_text="而上下文只能容纳")).to_be_visible()
    keep(page, "too-long")
    page.get_by_role("button", name="移除“long.txt”").click()


def test_hostile_names(open_page):
    page = open_page()
    choose(page, ('<img src=x onerror="window.hacked=1">.txt', b"x"), ("a\u202etxt.exe", b"y"))
    expect(chips(page)).to_have_count(2)
    expect(chips(page).first).to_contain_text("个词元")
    chips(page).first.locator("button.what").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("window.hacked") is None and page.locator("form.composer img, dialog img").count() == 0
    page.keyboard.press("Escape")
    for chip in chips(page).all():
        page.locator("form.composer li button.small").first.click()


def test_too_large_never_leaves(open_page, restartable):
    s = restartable("0", "--max-upload", "2K")
    page = open_page("/", url=s.url)
    asked = []
    page.on("request", lambda r: asked.append(r.url) if "/api/files" in r.url else None)
    choose(page, ("large.txt", b"a" * 5000))
    expect(chips(page)).to_contain_text("文件太大")
    assert asked == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_narrow_and_accessible(open_page, theme):
    page = open_page("/", viewport={"width": 375, "height": 720}, color_scheme=theme, locale="en-GB", reduced_motion="reduce", has_touch=True)
    choose(page, ("a name that is rather long for a small screen, and longer.txt", b"x" * 4000), ("photo.png", b"\x89PNG\r\n"), ("b.csv", b"a,b"))
    expect(chips(page)).to_have_count(3)
    expect(chips(page).last).to_contain_text("tokens")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    keep(page, f"narrow-{theme}")
    assert serious(page) == []
    chips(page).last.locator("button.what").click()
    expect(page.get_by_role("dialog")).to_contain_text("a,b")
    keep(page, f"narrow-dialog-{theme}")
    assert serious(page) == []
