"""Tasks over long texts, own tasks and batches, on a tiny model whose words mean nothing: what is held is that nothing is
lost or moved, whatever the text, and that what is wrong is told before anything runs."""
import csv
import io
import json

import pytest
import tiny
from conftest import wait_until
from test_history import Listener
from test_jobs import Jobs

PARAMS = {"max_tokens": 5}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("tasks") / "tiny"))


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    p = Jobs(model, tmp_path_factory.mktemp("tasks-history") / "history.db")
    yield p
    p.end()


def start(page, kind, **params):
    return page.ok("POST", "/api/jobs", {"kind": kind, "params": {"params": PARAMS, **params}})["id"]


def sources(parts, *roles):
    return "".join(p["source"]["before"] + p["source"]["text"] + p["source"]["after"] for p in parts if p["source"]["role"] in roles)


ENGLISH = "".join(f"The river number {i} is long, and it flows to the sea. Boats go there!{chr(10) * (2 if i % 3 == 0 else 1)}" for i in range(40))
CHINESE = "".join(f"第{i}条河很长，它流向大海。船在江上走；“是的。”他说！{chr(10) if i % 2 else ''}" for i in range(40))
STRANGE = "\n\n  \u3000\n\n" + "x" * 3000 + " \t\r\n\r\n" + "😀" * 300 + "\n" + "a.b.c " * 50 + "终\n\n\n"


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, STRANGE, "One."], ids=["english", "chinese", "strange", "short"])
def test_a_translation_loses_nothing(page, text):
    job = start(page, "translate", text=text, language="Chinese")
    assert page.state(job, "done", "failed", seconds=120)["state"] == "done"
    parts = page.parts(job)
    assert sources(parts, "segment") == text
    assert all(p["state"] == "done" for p in parts) and [p["number"] for p in parts] == list(range(len(parts)))
    status, whole = page.call("GET", f"/api/jobs/{job}/result?format=txt")
    made = "".join(p["source"]["before"] + p["result"]["text"].strip(" \t") + p["source"]["after"] for p in parts)
    squeeze = lambda s: "".join(s.replace("\0", "").split())
    assert status == 200 and squeeze(whole) == squeeze(made)
    assert len(parts) > 1 or text == "One."
    assert all(p["source"]["text"].strip() for p in parts)


def test_segments_are_paragraphs(page):
    """Each for itself, so that they stand side by side; longer ones are cut at sentences."""
    paragraphs = ["A title", "A river. It is long.\nIt is old.", "And so on. " * 60, "The end."]
    job = start(page, "translate", text="\n\n".join(paragraphs), language="Chinese")
    page.state(job, "done", seconds=120)
    texts = [p["source"]["text"] for p in page.parts(job)]
    assert texts[:2] == paragraphs[:2] and texts[-1] == paragraphs[3] and len(texts) > 4
    assert all(text.endswith("And so on.") for text in texts[2:-1])


def test_texts_are_told_as_they_grow(page):
    listener = Listener(page)
    job = start(page, "translate", text="A boat.", language="Chinese", params={"max_tokens": 20})
    seen = listener.until(lambda name, data: name == "job" and data["id"] == job and data["state"] == "done")
    listener.close()
    text = b""
    for _, name, data in seen:
        if name == "job_delta" and data["job"] == job:
            assert data["offset"] == len(text)
            text += data["text"].encode()
    assert text.decode() == page.parts(job)[0]["result"]["text"] and text


def test_a_summary_merges_its_sections(model, tmp_path):
    """The context is so small that notes are merged in more than one level."""
    page = Jobs(model, tmp_path / "h.db", "--max-context", "1500")
    job = start(page, "summary", text=ENGLISH * 4, length="short", params={"max_tokens": 60})  # a byte may become three
    assert page.state(job, "done", "failed", seconds=180)["state"] == "done", page.job(job)
    parts = page.parts(job)
    assert sources(parts, "section") == ENGLISH * 4
    sections = [p["number"] for p in parts if p["source"]["role"] == "section"]
    merged = [n for p in parts for n in p["source"].get("of", [])]
    assert len(sections) > 6 and "merge" in [p["source"]["role"] for p in parts]
    assert sorted(merged) == list(range(len(parts) - 1))  # each is merged once, all but the last
    assert [p["source"]["role"] for p in parts].count("final") == 1 and parts[-1]["source"]["role"] == "final"
    assert page.call("GET", f"/api/jobs/{job}/result")[1].strip("\n") == parts[-1]["result"]["text"].replace("\0", "").strip(" \t")
    page.end()


def test_what_fits_is_asked_once(page):
    for kind, more in (("summary", {}), ("answer", {"question": "How long is it?"})):
        job = start(page, kind, text="The river is 6300 km long.", **more)
        assert page.state(job, "done")["progress"] == {"done": 1, "total": 1, "unit": "items"}
        assert page.parts(job)[0]["source"]["role"] == "final"


def test_a_context_that_is_too_small_says_so(model, tmp_path):
    page = Jobs(model, tmp_path / "h.db", "--max-context", "256")
    job = start(page, "translate", text="Hello.", language="Chinese")
    error = page.state(job, "failed")["error"]
    assert "--max-context" in error["message"] and "256" in error["message"]
    page.end()


def test_a_pause_in_the_middle_keeps_the_order(page):
    job = page.ok("POST", "/api/jobs", {"kind": "translate", "params": {"text": ENGLISH, "language": "Chinese", "params": {"max_tokens": 300}}})["id"]
    assert wait_until(lambda: page.job(job)["progress"]["done"] >= 1)
    page.ask(job, "pause")
    state = page.state(job, "paused", "done")["state"]
    before = [p for p in page.parts(job) if p["result"]]
    if state == "paused":
        page.ask(job, "resume")
    page.state(job, "done", seconds=120)
    parts = page.parts(job)
    assert parts[: len(before)] == before and sources(parts, "segment") == ENGLISH


@pytest.mark.parametrize("kind, params, param", [
    ("translate", {"text": "x"}, "language"),
    ("translate", {"text": "", "language": "Chinese"}, "text"),
    ("translate", {"text": " \n\t", "language": "Chinese"}, "text"),
    ("translate", {"language": "Chinese"}, "text"),
    ("translate", {"text": "x", "language": "x" * 101}, "language"),
    ("translate", {"text": "x" * (4 * 2**20 + 1), "language": "Chinese"}, "text"),
    ("summary", {"text": "x", "length": "huge"}, "length"),
    ("answer", {"text": "x"}, "question"),
    ("summary", {"text": "x", "colour": "red"}, "params"),
    ("template", {"values": {}}, "template"),
    ("template", {"template": {"name": "x", "prompt": "{{a}}", "fields": []}, "values": {}}, "prompt"),
    ("template", {"template": {"name": "x", "prompt": "{{a}}", "fields": [{"name": "a", "type": "text", "required": True}]}, "values": {}}, "values"),
])
def test_parameters_are_checked(page, kind, params, param):
    status, said = page.call("POST", "/api/jobs", {"kind": kind, "params": params})
    assert (status, said["error"]["param"]) == (400, param), said


# ---- tasks of one's own

MAIL = {"name": "Mail", "prompt": "Write to {{to}} in a {{tone}} tone, {{n}} lines: {{what}}",
        "fields": [{"name": "to", "type": "text", "required": True}, {"name": "tone", "type": "choice", "choices": ["warm", "dry"], "default": "dry"},
                   {"name": "n", "type": "number"}, {"name": "what", "type": "long"}],
        "examples": [{"values": {"to": "Li"}, "output": "Dear Li"}], "language": "English", "length": "short", "system": "Be kind."}


def test_templates_are_kept(page):
    listener = Listener(page)
    made = page.ok("POST", "/api/templates", MAIL)
    listener.until(lambda name, data: name == "template" and data["id"] == made["id"])
    assert {k: made[k] for k in MAIL} == MAIL
    assert made in page.ok("GET", "/api/templates")["data"]
    changed = page.ok("PATCH", f"/api/templates/{made['id']}", {**MAIL, "name": "Letter"})
    assert changed["name"] == "Letter" and changed["created"] == made["created"] and changed["updated"] >= made["updated"]
    page.ok("DELETE", f"/api/templates/{made['id']}")
    listener.until(lambda name, data: name == "template_deleted" and data["id"] == made["id"])
    listener.close()
    assert page.call("PATCH", f"/api/templates/{made['id']}", MAIL)[0] == 404
    assert page.call("DELETE", f"/api/templates/{made['id']}")[0] == 404


@pytest.mark.parametrize("change", [
    {"name": ""}, {"prompt": ""}, {"prompt": "{{who}}"}, {"prompt": "{{to"}, {"fields": None}, {"fields": [{"name": "to"}]},
    {"fields": [{"name": "to", "type": "date"}]}, {"fields": [{"name": "{x}", "type": "text"}]}, {"length": "huge"}, {"mode": "twice"},
    {"fields": MAIL["fields"] + [MAIL["fields"][0]]}, {"examples": [{"output": 1}]}, {"examples": [{"values": {"to": []}, "output": ""}]}, {"examples": [{"values": {}, "output": ""}]}, {"params": {"heat": 1}}, {"colour": "red"},
    {"fields": [{"name": "to", "type": "choice"}]},
])
def test_templates_are_checked(page, change):
    status, said = page.call("POST", "/api/templates", {**MAIL, **change})
    assert status == 400, said


def test_a_template_runs(page):
    job = start(page, "template", template=MAIL, values={"to": "Ann", "what": "the boat", "n": 3})
    now = page.state(job, "done", "failed")
    assert now["state"] == "done" and now["title"] == "Mail", now
    # The same as a completion with the same messages: nothing else is told to the model.
    messages = [{"role": "system", "content": "Be kind."}]
    wishes = "\n\nAnswer in English. Use about 50 words."
    messages += [{"role": "user", "content": "Write to Li in a dry tone,  lines: " + wishes}, {"role": "assistant", "content": "Dear Li"}]
    messages += [{"role": "user", "content": "Write to Ann in a dry tone, 3 lines: the boat" + wishes}]
    asked = page.client.chat.completions.create(model=page.model, messages=messages, max_tokens=5)
    assert asked.usage.prompt_tokens == now["result"]["prompt_tokens"]


def test_a_template_takes_a_long_text_in_sections(page):
    for mode in ("each", "merge"):
        template = {"name": "List", "prompt": "List the rivers of: {{text}}", "mode": mode, "fields": [{"name": "text", "type": "long", "required": True}]}
        job = start(page, "template", template=template, values={"text": ENGLISH * 4})
        assert page.state(job, "done", "failed", seconds=120)["state"] == "done", page.job(job)
        parts = page.parts(job)
        assert sources(parts, "segment", "section") == ENGLISH * 4
        assert (parts[-1]["source"]["role"] == "final") == (mode == "merge")


# ---- batches

def run(page, text, **params):
    job = start(page, "batch", text=text, **params)
    assert page.state(job, "done", "failed")["state"] == "done", page.job(job)
    return job


def test_lines_of_every_kind(page):
    openai = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}}
    lines = [{"prompt": "One", "custom_id": "x"}, {"messages": [{"role": "user", "content": "Two"}], "params": {"max_tokens": 2}}, openai]
    job = run(page, "\ufeff" + "\r\n\n".join(json.dumps(line) for line in lines))
    first, second, third = page.lines(job)
    assert (first["line"], first["custom_id"], first["prompt"], first["completion_tokens"]) == (1, "x", "One", 5)
    assert (second["line"], second["completion_tokens"]) == (3, 2)
    assert third["custom_id"] == "a" and third["error"] is None and third["response"]["status_code"] == 200
    body = third["response"]["body"]
    assert body["usage"]["completion_tokens"] == 3 and body["choices"][0]["message"]["role"] == "assistant"


def test_csv_and_txt(page):
    job = run(page, 'prompt,custom_id\r\n"One, ""two""\nthree",=1+1\nFour,b\n\n', name="list.csv")
    lines = page.lines(job)
    assert [(line["line"], line["prompt"]) for line in lines] == [(2, 'One, "two"\nthree'), (4, "Four")]
    status, text = page.call("GET", f"/api/jobs/{job}/result?format=csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert status == 200 and rows[0]["prompt"] == 'One, "two"\nthree' and rows[0]["custom_id"] == "'=1+1"  # no formula
    job = run(page, "One\n\nTwo\n", system="Be brief.")
    assert [(line["line"], line["prompt"]) for line in page.lines(job)] == [(1, "One"), (3, "Two")]
    assert page.parts(job)[0]["source"]["request"]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_a_batch_of_a_template(page):
    job = run(page, "to,what\nAnn,boats\nBo,rain\n", name="mails.csv", template=MAIL)
    assert "Write to Bo in a dry tone" in page.lines(job)[1]["prompt"]
    status, said = page.call("POST", "/api/jobs", {"kind": "batch", "params": {"text": "what\nboats\n", "format": "csv", "template": MAIL}})
    assert status == 400 and said["error"]["lines"] == [{"line": 2, "message": "to: must be filled in"}]


@pytest.mark.parametrize("text, format, lines", [
    ('{"prompt": "a"}\n{"prompt": }\n\n[1]\n{"question": "x"}', "jsonl", {2: "column", 4: "object", 5: "neither"}),
    ('{"messages": []}\n{"messages": [{"role": 1}]}\n{"prompt": "x", "params": {"top_p": 2}}', "jsonl", {1: "messages", 2: "role", 3: "top_p"}),
    ('{"custom_id": "a", "method": "GET", "url": "/v1/chat/completions", "body": {}}', "jsonl", {1: "method"}),
    ('{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {}}', "jsonl", {1: "url"}),
    ('{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"stream": true}}', "jsonl", {1: "stream"}),
    ('{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"n": 2, "messages": []}}', "jsonl", {1: "n"}),
    ('prompt,b\n1\n"open', "csv", {2: "cells", 3: "quote"}),
    ("question\nwhy", "csv", {2: "prompt"}),
])
def test_bad_lines_are_told_before_anything_runs(page, text, format, lines):
    status, said = page.call("POST", "/api/jobs", {"kind": "batch", "params": {"text": text, "format": format}})
    assert status == 400 and said["error"]["code"] == "batch_invalid", said
    told = {entry["line"]: entry["message"] for entry in said["error"]["lines"]}
    assert told.keys() == lines.keys() and all(word in told[line] for line, word in lines.items()), told
    assert page.ok("GET", "/api/jobs?state=queued")["data"] == []


@pytest.mark.parametrize("text", ["", "\n\n", "prompt\n"])
def test_an_empty_batch(page, text):
    status, said = page.call("POST", "/api/jobs", {"kind": "batch", "params": {"text": text, **({"format": "csv"} if "prompt" in text else {})}})
    assert (status, said["error"]["param"]) == (400, "text")


def test_a_line_that_fails_leaves_the_others(page):
    job = run(page, "\n".join([json.dumps({"prompt": "x" * 9000}), json.dumps({"prompt": "y"})]))
    first, second = page.lines(job)
    assert first["error"]["code"] == "context_length_exceeded" and "response" not in first
    assert second["completion_tokens"] == 5 and "error" not in second
    assert page.job(job)["result"]["failed"] == 1
