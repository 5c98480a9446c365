"""Many tabs of two browsers, each with a chat of its own that streams: nothing is lost and nothing lands in another chat."""
import json
import os
import re
import urllib.request

from playwright.sync_api import expect

TABS = int(os.environ.get("SAMPAN_TABS", "4"))  # of each browser; a browser opens six connections to a server
COMPOSER = "textarea[aria-describedby]"


def call(server, path, body=None):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode() if body is not None else None,
                                     {"content-type": "application/json", "origin": server.url})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def signs(text):
    """Text without blanks, Markdown's marks and the numbers of lists: what is kept and what is shown have these in common."""
    return re.sub(r"[\W_\d]", "", text)


def test_each_tab_gets_its_own_answer(open_page, server):
    first, second = open_page(), open_page()
    tabs = [(page, number) for number, page in enumerate(
        page for context in (first.context, second.context) for page in (context.new_page() for _ in range(TABS)))]
    chats = [call(server, "/api/chats", {"title": f"tab {n}", "params": {"temperature": 1, "seed": n, "max_tokens": 120}})["id"]
             for _, n in tabs]
    for page, number in tabs:
        page.goto(f"/chat/{chats[number]}")
        page.locator(COMPOSER).fill(f"写一个关于 {number} 号渔船的故事。")
    for page, _ in tabs:
        page.locator(COMPOSER).press("Enter")
    for page, number in tabs:
        expect(page.locator("article[aria-label=回答]")).to_have_count(1)
        expect(page.get_by_role("button", name="发送", exact=True)).to_be_visible(timeout=120_000)
    for page, number in tabs:
        question, answer = call(server, f"/api/chats/{chats[number]}")["messages"]
        assert question["content"] == f"写一个关于 {number} 号渔船的故事。" and question["role"] == "user"
        assert answer["state"] == "complete" and answer["parent"] == question["id"] and signs(answer["content"])
        shown = page.locator("article[aria-label=回答] .markdown").inner_text()
        assert signs(shown) == signs(answer["content"])
    answers = {signs(page.locator("article[aria-label=回答] .markdown").inner_text()) for page, _ in tabs}
    assert len(answers) == len(tabs)
