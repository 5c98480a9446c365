"""Tasks in a browser, against the real server: a page is translated, a long text summed up, a batch run and saved, a task made
and used. What is held is that the work is done and shown; how well is the model's matter."""
import json
import re

from playwright.sync_api import expect

MINUTES = 240_000  # ms: a small machine that does other things, too

PAGE = """长江是亚洲最长的河流，全长约6300公里。

它从青藏高原流向东海，两岸有许多城市。"""
LONG = "\n\n".join(f"Chapter {i}. The ferry number {i} left the quay at {6 + i % 12} o'clock and carried {20 + i} people over the river. "
                   f"The captain told them about the old bridge, the market and the flood of {1900 + i}." for i in range(90))


def open_tasks(open_page, tool, **options):
    page = open_page("/tasks", locale="en-GB", **options)
    page.get_by_role("button", name=tool, exact=True).click()
    return page


def done(page):
    page.wait_for_url(re.compile("/tasks/j_"))
    expect(page.locator(".job .state")).to_have_text("done", timeout=MINUTES)


def test_translate_side_by_side(open_page):
    page = open_tasks(open_page, "Translate")
    page.get_by_label("Text", exact=True).fill(PAGE)
    page.get_by_label("Into").fill("English")
    page.get_by_role("button", name="Start").click()
    done(page)
    expect(page.locator(".side .source").first).to_contain_text("长江是亚洲最长的河流")
    assert re.search(r"[A-Za-z]{3}", page.locator(".side .result").first.inner_text())
    page.get_by_role("button", name="Copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip()
    with page.expect_download() as saved:
        page.get_by_role("button", name="TXT").click()
    text = saved.value.path().read_text(encoding="utf-8")
    assert text.strip() == copied.strip() and saved.value.suggested_filename.endswith(".txt")
    with page.expect_download() as saved:
        page.get_by_role("button", name="MD").click()
    assert "> 长江是亚洲最长的河流" in saved.value.path().read_text(encoding="utf-8")


def test_a_long_text_is_summed_up_by_sections(open_page):
    """It has more than the context; the page may be closed meanwhile."""
    page = open_tasks(open_page, "Summarise")
    page.get_by_label("Text", exact=True).fill(LONG)
    page.get_by_label("Length").select_option("short")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile("/tasks/j_"))
    page.reload()
    done(page)
    assert page.locator(".final .result").inner_text().strip()
    assert page.locator("details .side").count() > 1


def test_ask_a_text(open_page):
    page = open_tasks(open_page, "Ask a text")
    page.get_by_label("Text", exact=True).fill("The boat Mei Lan was built in 1931 in Wuhan and carries tea.")
    page.get_by_label("Question about the text").fill("In which year was the boat built?")
    page.get_by_role("button", name="Start").click()
    done(page)
    assert "1931" in page.locator(".final .result").inner_text()
    page.get_by_role("navigation").get_by_role("link", name="API", exact=True).click()
    page.wait_for_url(re.compile("/developers$"))  # a task is no chat


def test_a_batch_of_five(open_page, tmp_path):
    file = tmp_path / "five.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"What is {i} + {i}?", "custom_id": f"sum-{i}"}) + "\n" for i in range(5)))
    page = open_tasks(open_page, "Batch")
    page.locator("input[type=file][accept*=jsonl]").set_input_files(file)
    page.get_by_label("Most tokens an answer").fill("16")
    page.get_by_role("button", name="Start").click()
    done(page)
    expect(page.locator("tbody tr")).to_have_count(5)
    with page.expect_download() as saved:
        page.get_by_role("button", name="JSONL").click()
    lines = [json.loads(line) for line in saved.value.path().read_text(encoding="utf-8").splitlines()]
    assert [line["custom_id"] for line in lines] == [f"sum-{i}" for i in range(5)] and all(line["response"] for line in lines)
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete for ever").click()
    page.wait_for_url(re.compile("/tasks$"))


def test_a_bad_batch_starts_nothing(open_page):
    page = open_tasks(open_page, "Batch")
    page.get_by_label("Lines").fill('{"prompt": "a"}\n{"question": "b"}')
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("Line 2:")
    assert page.url.endswith("/tasks")


def test_pause_and_resume(open_page):
    """A batch that can't be over before it is paused."""
    body = {"messages": [{"role": "user", "content": "Go on"}], "max_tokens": 3500, "ignore_eos": True}
    line = json.dumps({"custom_id": "x", "method": "POST", "url": "/v1/chat/completions", "body": body})
    page = open_tasks(open_page, "Batch")
    page.get_by_label("Lines").fill("\n".join([line] * 3))
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile("/tasks/j_"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Batch")  # pasted: nobody named it
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".job .state")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".job .state")).to_have_text(re.compile("running|in line"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".job .state")).to_have_text("cancelled")


def test_a_task_of_ones_own(open_page, tmp_path):
    page = open_page("/tasks", locale="en-GB")
    page.get_by_role("button", name="New task", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("Colours")
    dialog.get_by_label(re.compile("^Prompt")).fill("Name one {{thing}} that is {{colour}}. One word.")
    dialog.get_by_label("Kind of field: colour").select_option("choice")
    dialog.get_by_label("One choice a line").fill("red\nblue")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Colours", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_label("thing").fill("fruit")
    page.get_by_label("colour").select_option("red")
    page.get_by_role("button", name="Start").click()
    done(page)
    assert page.locator(".final .result").inner_text().strip()
    page.goto("/tasks")
    page.get_by_role("button", name="Own tasks").click()
    with page.expect_download() as saved:
        page.get_by_role("menuitem", name="Export the task").click()
    file = tmp_path / "colours.json"
    saved.value.save_as(file)
    page.get_by_role("button", name="Own tasks").click()
    page.get_by_role("menuitem", name="Delete the task").click()
    expect(page.get_by_role("button", name="Colours", exact=True)).to_have_count(0)
    page.locator("input[type=file][accept*=json]").first.set_input_files(file)
    expect(page.get_by_role("button", name="Colours", exact=True)).to_have_count(1)


def test_a_file_that_is_no_text(open_page, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.exe").write_bytes(b"x")
    page = open_tasks(open_page, "Translate", viewport={"width": 375, "height": 720})
    for name, why in (("a.txt", "not in UTF-8"), ("b.exe", "none of")):
        page.locator("form input[type=file]").first.set_input_files(tmp_path / name)
        expect(page.get_by_role("alert")).to_contain_text(why)
