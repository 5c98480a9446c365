"""Every view in both languages, both themes, wide and narrow: pictures to look at, and axe-core's findings."""
import json
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT, SCREENS, http

AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
SERIOUS = {"serious", "critical"}
SAMPLE = Path(__file__).resolve().parent / "sample.jsonl"
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 375, "height": 720}
VIEWS = {"new": "/", "chat": None, "history": "/history", "tasks": "/tasks", "task": "", "models": "/models", "compare": "/compare",
         "server": "/server", "settings": "/settings", "nowhere": "/chat/no/such"}


@pytest.fixture(scope="module")
def sample_chat(server):
    request = urllib.request.Request(server.url + "/api/import", SAMPLE.read_bytes(),
                                     {"content-type": "application/jsonl", "origin": server.url})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["chats"] == 3
    with urllib.request.urlopen(server.url + "/api/chats?q=CPU", timeout=30) as answer:
        return json.load(answer)["data"][0]["id"]


@pytest.fixture(scope="module")
def sample_job(server):
    def call(path, body=None):
        data = None if body is None else json.dumps(body).encode()
        fields = {"content-type": "application/json", "origin": server.url}
        with urllib.request.urlopen(urllib.request.Request(server.url + path, data, fields), timeout=30) as answer:
            return json.load(answer)
    order = {"kind": "translate", "params": {"text": "长江很长。\n\n它流入东海。", "language": "English"}}
    job = call("/api/jobs", order)["id"]
    assert http.wait_until(lambda: call(f"/api/jobs/{job}")["state"] == "done", 120)
    return job


def serious(page):
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{v['id']}: {n['html'][:160]} ({n.get('failureSummary', '')[:200]})" for v in found if v["impact"] in SERIOUS for n in v["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", ["zh-CN", "en-GB"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_view(open_page, sample_chat, sample_job, language, theme, size):
    SCREENS.mkdir(parents=True, exist_ok=True)
    page = open_page("/", locale=language, color_scheme=theme, viewport=size, reduced_motion="reduce", has_touch=size is NARROW)
    findings = {}
    # Words don't change what axe-core looks at: each theme and each size once.
    judged = (language == "zh-CN") == ((theme == "light") == (size is WIDE))

    def keep(name):
        page.wait_for_timeout(150)
        page.screenshot(path=SCREENS / f"{name}-{language[:2]}-{theme}-{size['width']}.png")
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found = (serious(page) if judged else []) + ([f"{wider} px wider than the window"] if wider > 0 else [])
        if found:
            findings[name] = found

    for name, path in VIEWS.items():
        page.goto(f"/tasks/{sample_job}" if name == "task" else path or f"/chat/{sample_chat}")
        page.locator("main h1").wait_for()
        if name == "chat":
            page.locator("article .hljs-keyword").first.wait_for()
            page.locator("article .katex").first.wait_for()
        if name in ("models", "server"):
            page.locator(".models .acts, table").first.wait_for()
        if name == "task":
            page.locator(".side .result").first.wait_for()
        keep(name)
    page.goto("/tasks")
    page.locator(".tools .plus").click()
    page.locator("dialog textarea").first.fill("{{a}} {{b}}")
    page.locator("dialog fieldset select").first.select_option("choice")
    keep("task-editor")
    page.goto(f"/chat/{sample_chat}")
    if size is NARROW:
        page.locator("main header .icon").first.click()
        page.locator("nav .entry").first.wait_for()
        keep("sidebar")
        page.mouse.click(365, 400)
    page.locator("main header .icon").last.click()
    page.locator("aside textarea").wait_for()
    keep("panel")
    if size is WIDE:
        page.locator("nav .entry").first.hover()
        page.locator("nav .entry").first.get_by_role("button").click()
        page.get_by_role("menuitem").first.wait_for()
        keep("menu")
        page.keyboard.press("Escape")
        page.locator("nav footer button").click()
        page.get_by_role("dialog").wait_for()
        keep("shortcuts")
    assert not findings, json.dumps(findings, ensure_ascii=False, indent=1)
