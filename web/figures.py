#!/usr/bin/env python3
"""What the page promises in figures: sizes, first paint, smoothness while an answer streams, and axe-core's findings.

    build/venv/bin/python web/figures.py [SECONDS]      of streaming (10); exit 0: every bound is held, 1: one is not

Builds the page if it was changed, and serves it by the server that SAMPAN names (build/release/sampan), with the starter
model. To be run on a machine that does nothing else: times are those of the clock.
"""
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/web"), str(ROOT / "tools")]
import replay  # noqa: E402
import web  # noqa: E402
from conftest import http  # noqa: E402

PAINT, TASK, SCRIPT_A_FRAME = 1000, 50, 8  # ms: the bounds
LOADS = 5
FRAME = 1e6 / 60  # us
SIZE = {"width": 1440, "height": 900}
AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
SERIOUS = {"serious", "critical"}
SAMPLE = ROOT / "tests/web/sample.jsonl"
VIEWS = {"/": "textarea", "/chat/": "article .katex", "/history": "main li", "/tasks": "main textarea", "/models": ".models .acts",
         "/compare": "section select", "/server": "table tbody tr", "/settings": "main li", "/keys": "main h1", "/developers": ".snippet pre",
         "/chat/no/such": "main h1"}  # and what is there when a view is

CATEGORIES = ["toplevel", "v8", "devtools.timeline", "blink.user_timing", "disabled-by-default-devtools.timeline",
              "disabled-by-default-devtools.timeline.frame"]
SCRIPT = {"FunctionCall", "EvaluateScript", "FireAnimationFrame", "FireIdleCallback", "TimerFire", "RunMicrotasks",
          "BlinkScheduler_PerformMicrotaskCheckpoint", "v8.callFunction", "v8.evaluateModule", "v8.run"}

failed = False


def say(name, value, unit, bound=None):
    """A line: the value, its bound and whether it is held."""
    global failed
    failed |= bound is not None and value > bound
    held = "" if bound is None else f" of {bound:g} {unit}  {'short' if value > bound else 'pass'}"
    print(f"{value:8.1f}" if isinstance(value, float) else f"{value:6d}  ", f"{unit}{held}  {name}", flush=True)


def sizes():
    node, _ = web.node_and_npm()
    global failed
    failed |= subprocess.run([*node, "sizes.mjs"], cwd=ROOT / "web").returncode != 0


def first_paint(launch, url):
    """Each time by a browser that was never there."""
    times = []
    for _ in range(LOADS):
        browser = launch()
        page = browser.new_page(viewport=SIZE)
        page.goto(url)
        times.append(page.evaluate("""new Promise(done => new PerformanceObserver(list => {
            for (const entry of list.getEntriesByName('first-contentful-paint')) done(entry.startTime)
        }).observe({ type: 'paint', buffered: true }))"""))
        browser.close()
    say(f"first paint of {LOADS} cold loads, the median", statistics.median(times), "ms")
    say("the longest", max(times), "ms", PAINT)


# ---- smoothness


def recorded(launch, url, seconds):
    """Chromium's trace of opening the long chat and of the answer that then grows in it."""
    text = replay.filled(replay.MIXED, 400)[:int(seconds * replay.RATE) * replay.PIECE]
    server = replay.Replay(url, text)
    browser = launch()
    page = browser.new_page(viewport=SIZE)
    browser.start_tracing(page=page, categories=CATEGORIES)
    page.goto(f"{server.url}/chat/{replay.CHAT}")
    page.locator("article").nth(39).wait_for(state="attached")
    page.locator("article .katex").first.wait_for(state="attached")
    page.wait_for_timeout(2000)  # until all is at rest
    page.evaluate("performance.mark('begin')")
    server.go.set()
    assert server.ended.wait(2 * seconds + 10), "the answer did not end"
    page.locator("article").last.locator(".tools button").first.wait_for()
    page.evaluate("performance.mark('end')")
    shown = page.locator("article").last.inner_text()
    trace = json.loads(browser.stop_tracing())
    browser.close()
    assert shown.count("Part ") == text.count("Part "), "the answer is not whole"
    return trace["traceEvents"] if isinstance(trace, dict) else trace


def main_thread(events):
    """Complete events of the renderer's main thread that did most."""
    names = {(e["pid"], e["tid"]) for e in events if e.get("name") == "thread_name" and e["args"]["name"] == "CrRendererMain"}
    of = {key: [e for e in events if (e.get("pid"), e.get("tid")) == key and e.get("ph") == "X"] for key in names}
    return max(of.values(), key=lambda found: sum(e.get("dur", 0) for e in found if e["name"] == "RunTask"))


def outermost(events):
    """Those that lie in no other of them."""
    found, end = [], 0
    for event in sorted(events, key=lambda e: (e["ts"], -e.get("dur", 0))):
        if event["ts"] >= end:
            found.append(event)
            end = event["ts"] + event.get("dur", 0)
    return found


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def tasks_of(events):
    """ms by the clock and by the processor of each task, the longest first."""
    found = [(e.get("dur", 0) / 1000, e.get("tdur", 0) / 1000) for e in events if e["name"] == "RunTask"]
    return sorted(found, reverse=True)


def smoothness(events):
    marks = {e["name"]: e["ts"] for e in events if e.get("cat") == "blink.user_timing" and e["name"] in ("begin", "end")}
    begin, end = marks["begin"], marks["end"]
    thread = main_thread(events)
    opening = tasks_of([e for e in thread if e["ts"] < begin])
    say(f"opening the chat: the longest task, {sum(task > TASK for task, _ in opening)} over {TASK} ms", opening[0][0], "ms")

    streaming = [e for e in thread if begin <= e["ts"] < end]
    tasks = tasks_of(streaming)
    say(f"streaming: the longest task, {tasks[0][1]:.1f} ms of it work", tasks[0][0], "ms", TASK)
    frames = {}
    for event in outermost([e for e in streaming if e["name"] in SCRIPT]):
        at = int((event["ts"] - begin) / FRAME)
        frames[at] = frames.get(at, 0.0) + event.get("dur", 0) / 1000
    say(f"script a frame, the median of {len(frames)} with any", percentile(frames.values(), 0.5), "ms")
    say("at p95", percentile(frames.values(), 0.95), "ms", SCRIPT_A_FRAME)
    say("at most", max(frames.values()), "ms")
    drawn = sum(e.get("name") == "DrawFrame" and begin <= e["ts"] < end for e in events)
    say("drawn", drawn / (end - begin) * 1e6, "frames/s")


# ---- axe-core


def sample_chat(url):
    order = urllib.request.Request(url + "/api/import", SAMPLE.read_bytes(), {"content-type": "application/jsonl", "origin": url})
    with urllib.request.urlopen(order, timeout=30) as answer:
        assert json.load(answer)["chats"] == 3
    with urllib.request.urlopen(url + "/api/chats?q=CPU", timeout=30) as answer:
        return json.load(answer)["data"][0]["id"]


def axe(browser, url):
    chat = sample_chat(url)
    for theme in ("light", "dark"):
        page = browser.new_page(base_url=url, viewport=SIZE, color_scheme=theme, reduced_motion="reduce")
        for path, there in VIEWS.items():
            page.goto(path + chat if path == "/chat/" else path)
            page.locator(there).first.wait_for()
            page.evaluate(AXE.read_text(encoding="utf-8"))
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            bad = [v for v in found if v["impact"] in SERIOUS]
            say(f"{theme} {path}, and {len(found) - len(bad)} lesser", len(bad), "serious", 0)
            for finding in bad:
                print(f"{'':10}{finding['id']}: {finding['nodes'][0]['html'][:120]}")
        page.close()


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    if web.build() != 0:
        sys.exit(1)
    print("Sizes, gzip'd")
    sizes()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        server = http.Server("--history", f"{folder}/history.db", "--ui-dir", str(web.OUT / "dist"))

        def launch():
            return p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            print("First paint")
            first_paint(launch, server.url)
            print(f"{replay.RATE} tokens a second into a chat of 20,000")
            smoothness(recorded(launch, server.url, seconds))
            print("Findings of axe-core")
            browser = launch()
            axe(browser, server.url)
            browser.close()
        finally:
            server.end()
    return failed


if __name__ == "__main__":
    sys.exit(main())
