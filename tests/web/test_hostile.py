"""Titles and messages that want to run scripts, through the real page: nothing runs, and nothing is asked elsewhere."""
import json
import re
import time
import urllib.request
from pathlib import Path

PAYLOADS = Path(__file__).resolve().parent.parent.parent / "web/tests/payloads.ts"


def payloads():
    """The corpus of the unit tests, read as JavaScript would."""
    text = PAYLOADS.read_text(encoding="utf-8")
    return re.search(r"= (\[.*\])", text, flags=re.S).group(1)


def test_nothing_runs(open_page, server):
    page = open_page()
    texts = page.evaluate(payloads())
    assert len(texts) > 50
    lines = []
    for number, text in enumerate(texts):
        lines.append({"title": text, "folder": text[:40].replace("\n", " ") if number % 10 == 0 else None})
    # One long chat with every payload said by both, and a chat for each as a title.
    chat = post(server, "/api/chats", {"title": texts[0], "system": texts[1]})
    parent = None
    for text in texts:
        parent = post(server, f"/api/chats/{chat['id']}/messages", {"parent": parent, "content": text})["id"]
    for line in lines:
        post(server, "/api/chats", {k: v for k, v in line.items() if v})
    for path in (f"/chat/{chat['id']}", "/history", "/"):
        page.goto(path)
        page.wait_for_timeout(300)
        while page.get_by_role("button", name="显示更早的消息").count():
            page.get_by_role("button", name="显示更早的消息").click()
        page.wait_for_timeout(200)
        assert page.evaluate("window.hacked") is None
    page.get_by_label("搜索对话").fill("hacked")
    page.locator("nav a.hit").first.wait_for()
    assert page.locator("nav script, nav img[src=x], main script").count() == 0
    assert page.evaluate("window.hacked") is None


def test_answers_run_nothing(open_page, server):
    """The same as the model's words: an import may hold any."""
    page = open_page()
    texts = page.evaluate(payloads())
    chat = post(server, "/api/chats", {"title": "answers"})
    exported = export_of(server, chat["id"])
    lines = as_answers(exported, texts)
    request = urllib.request.Request(server.url + "/api/import", lines.encode(), {"content-type": "application/jsonl", "origin": server.url})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["messages"] == 2 * len(texts)
    page.goto("/chat/c_" + "h" * 26)
    while page.get_by_role("button", name="显示更早的消息").count():
        page.get_by_role("button", name="显示更早的消息").click()
    page.wait_for_timeout(800)  # highlighting and formulas come late
    assert page.locator("article .markdown").count() > 30
    assert page.evaluate("window.hacked") is None
    for link in page.locator("article a").all():
        assert re.match(r"(https?|mailto):", link.get_attribute("href") or "https:"), link.get_attribute("href")
    assert page.evaluate("window.hacked") is None


def as_answers(exported, texts):
    """An export's chat with the texts as a chain of questions and answers."""
    line = json.loads(exported.splitlines()[0])
    line["chat"]["id"], line["messages"], parent = "c_" + "h" * 26, [], None
    for number, text in enumerate(texts * 2):  # each by both
        name = "m_" + "h" * 23 + "".join("abcdefghij"[int(d)] for d in f"{number:03}")
        line["messages"].append({"id": name, "chat": line["chat"]["id"], "parent": parent, "content": text, "reasoning": text,
                                 "role": ("user", "assistant")[(number + number // len(texts)) % 2], "state": "complete", "created": 1000.0 + number})
        parent = name
    line["chat"].update(head=parent, title=texts[0], updated=time.time())
    return json.dumps(line) + "\n"


def export_of(server, chat):
    with urllib.request.urlopen(f"{server.url}/api/export?chat={chat}&format=jsonl", timeout=30) as answer:
        return answer.read().decode()


def post(server, path, body):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"content-type": "application/json", "origin": server.url})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
