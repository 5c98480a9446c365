"""The models view in a real browser: a second model is pulled from a hub (a look-alike on loopback), loaded, asked and
deleted."""
import json
import re
import urllib.request

import pytest
from conftest import ROOT
from playwright.sync_api import expect
from stores import Store

GGUF = (ROOT / "tests/data/models/qwen2-gguf/model.gguf").read_bytes()
BIG = GGUF + b"\0" * ((8 << 20) - len(GGUF))
SPEC = "hf:acme/boat"


@pytest.fixture
def store(tmp_path):
    s = Store(tmp_path)
    s.put("one", context=8192)
    s.hub.offer("acme/boat", **{"boat-q4_k_m__gguf": BIG})  # takes a while
    s.hub.repos["acme/skiff"] = {f.name: f.read_bytes() for f in (tmp_path / "one").iterdir()}  # runs
    yield s
    s.close()


def row(page, name):
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))


def button(at, name):
    return at.get_by_role("button", name=name, exact=True)


def served(server):
    with urllib.request.urlopen(server.url + "/v1/models", timeout=30) as answer:
        return {m["id"]: m["state"] for m in json.load(answer)["data"]}


def ask_for(page, spec):
    page.get_by_label(re.compile("hf:、ms:")).fill(spec)
    page.locator("form.other").get_by_role("button", name="下载").click()


@pytest.mark.parametrize("width", [1440, 375])
def test_pull_load_ask_and_delete(open_page, store, width):
    server = store.serve("one", "--max-context", "2048")
    page = open_page("/models", url=server.url, viewport={"width": width, "height": 800})
    expect(row(page, "one")).to_contain_text("已加载")
    ask_for(page, "hf:acme/skiff")
    skiff = row(page, "skiff")
    expect(skiff).to_contain_text("未加载", timeout=30_000)
    expect(skiff).to_contain_text("放得下")
    assert set(served(server)) == {"one"}
    button(skiff, "加载").click()
    expect(skiff).to_contain_text("已加载", timeout=30_000)
    assert served(server)["skiff"] == "loaded"
    button(skiff, "详情").click()
    expect(skiff.locator("dl")).to_contain_text("qwen2")
    button(skiff, "新对话").click()
    expect(page.get_by_label("模型", exact=True)).to_have_value("skiff")
    page.locator("textarea[aria-describedby]").fill("Ahoy")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="发送", exact=True)).to_be_visible(timeout=60_000)
    page.goto("/models")
    button(skiff, "休眠").click()
    expect(skiff).to_contain_text("休眠")
    button(skiff, "唤醒").click()
    expect(skiff.locator(".state")).to_have_text("已加载")
    button(skiff, "删除").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("请先卸载")
    button(dialog, "删除").click()
    expect(page.get_by_text(re.compile("unload it first"))).to_be_visible()
    button(dialog, "取消").click()
    button(skiff, "卸载").click()
    expect(skiff.locator(".state")).to_have_text("未加载")
    button(skiff, "删除").click()
    button(dialog, "删除").click()
    expect(skiff).to_have_count(0)
    assert set(served(server)) == {"one"} and not (store.root / "store/models/skiff").exists()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_pull_is_paused_and_goes_on(open_page, store):
    """It stops in the middle since its line says nothing more, keeps what came and ends with the same bytes."""
    store.hub.faults["cdn"] = ["stall", "stall", "stall", "stall"]
    server = store.serve("one", "--max-context", "2048")
    page = open_page("/models", url=server.url)
    ask_for(page, SPEC)
    boat = row(page, "boat")
    expect(boat).to_contain_text("8 MB")
    button(boat, "暂停").click()
    expect(boat).to_contain_text("已暂停")
    store.hub.faults["cdn"] = []
    page.reload()
    button(boat, "继续").click()
    expect(button(boat, "加载")).to_be_visible(timeout=30_000)
    assert (store.root / "store/models/boat/boat-q4_k_m.gguf").read_bytes() == BIG


def test_a_pull_that_fails_says_why(open_page, store):
    server = store.serve("one", "--max-context", "2048")
    page = open_page("/models", url=server.url)
    ask_for(page, "hf:acme/nothing")
    expect(row(page, re.compile("nothing"))).to_contain_text("失败")
    ask_for(page, "/etc")
    expect(page.get_by_text(re.compile("path of this machine"))).to_be_visible()


def test_the_catalogue(open_page, store):
    server = store.serve("one", "--max-context", "2048")
    page = open_page("/models", url=server.url)
    page.get_by_label("查找模型").fill("smollm2")
    expect(row(page, "SmolLM2 135M Instruct")).to_contain_text("放得下")
    rows = page.get_by_role("listitem").filter(has=page.get_by_role("button", name=re.compile("^下载 ")))
    expect(rows).not_to_have_count(0)
    page.get_by_label("查找模型").fill("no such model")
    expect(page.get_by_text("目录里没有符合的模型。")).to_be_visible()
