"""Files in prompts: what is read of them, what is refused, how they stand in a prompt, and how long they stay."""
import concurrent.futures
import io
import json
import os
import socket
import subprocess
import time
import urllib.parse
import zipfile
from pathlib import Path

import docx
import pytest
import tiny
from conftest import SAMPAN, wait_until
from test_history import Page

SAYS = "The Yangtze is 6300 km long."


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("files") / "tiny"))


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    p = Page(model, tmp_path_factory.mktemp("files") / "history.db", "--max-upload", "1M", "--max-body", "2M")
    yield p
    p.end()


def upload(page, name, data, want=201, kind="application/octet-stream", **query):
    query = urllib.parse.urlencode({"name": name, **query})
    status, said = page.call("POST", f"/api/files?{query}", raw=data, headers={"Content-Type": kind})
    assert status == want, (status, said)
    return said if want == 201 else said["error"]


def text_of(page, file):
    return page.ok("GET", f"/api/files/{file['id']}/text")


def word(*paragraphs):
    """A real .docx, by python-docx: a heading, paragraphs, a list, a table."""
    d = docx.Document()
    d.add_heading("长江", 1)
    for text in paragraphs:
        d.add_paragraph(text)
    d.add_paragraph("one", style="List Number")
    d.add_paragraph("dot", style="List Bullet")
    table = d.add_table(rows=2, cols=2)
    for row, cells in enumerate((("River", "km"), ("Yangtze", "6300"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    out = io.BytesIO()
    d.save(out)
    return out.getvalue()


def pdf(text, password=False):
    """A PDF of one page, by hand."""
    stream = b"BT /F1 24 Tf 72 700 Td (%s) Tj ET" % text.encode()
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
               b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
               b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
               b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    if password:
        objects.append(b"<< /Filter /Standard /V 1 /R 2 /O <" + b"11" * 32 + b"> /U <" + b"22" * 32 + b"> /P -4 >>")
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    xref = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(b"%010d 00000 n \n" % p for p in places)
    encrypt = b" /Encrypt 6 0 R /ID [<00> <00>]" if password else b""
    return out + b"trailer << /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, encrypt, xref)


# ---- what is read

def test_plain_files(page):
    for name, data, text, kind in [
            ("notes.md", "# 长江\r\n".encode(), "# 长江\n", "text/markdown"),
            ("a.csv", b"\xef\xbb\xbfriver,km\n", "river,km\n", "text/csv"),
            ("main.c", b"int main(void)\n{\n}\n", "int main(void)\n{\n}\n", "text/plain"),
            ("gb.txt", "黄鹤楼在武汉。".encode("gb18030"), "黄鹤楼在武汉。", "text/plain"),
            ("u16.txt", "长江".encode("utf-16"), "长江", "text/plain"),
            ("x.json", b'{"a": 1}', '{"a": 1}', "application/json")]:
        file = upload(page, name, data)
        assert (file["name"], file["type"], file["bytes"], file["characters"]) == (name, kind, len(data), len(text))
        assert file["tokens"] > 0 and file["model"] == "tiny" and file["tokens_reason"] is None
        assert text_of(page, file) == text
        assert page.ok("GET", f"/api/files/{file['id']}") == file


def test_a_word_document(page):
    text = text_of(page, upload(page, "report.docx", word(SAYS, "他说：“好”。")))
    assert text == ("# 长江\n\n" + SAYS + "\n\n他说：“好”。\n\n1. one\n- dot\n\n| River | km |\n| --- | --- |\n| Yangtze | 6300 |\n")


def test_a_pdf(page):
    file = upload(page, "report.pdf", pdf(SAYS))
    assert file["type"] == "application/pdf" and text_of(page, file).strip() == SAYS


def test_any_content_type_is_taken(page):
    """A browser sends the file's own, or none."""
    for kind in ("text/markdown", "application/pdf", ""):
        assert upload(page, "x.md", b"x", kind=kind)["type"] == "text/markdown"


def test_names_are_cleaned(page):
    for given, shown in [("../../etc/passwd", "passwd"), ("C:\\x\\年报.txt", "年报.txt"), ("a\nb\u202e.txt", "a_b_.txt"), ("<img src=x>.txt", "<img src=x>.txt")]:
        assert upload(page, given, b"x")["name"] == shown
    for name in ("", None):
        status, said = page.call("POST", "/api/files" + ("" if name is None else "?name="), raw=b"x", headers={"Content-Type": "text/plain"})
        assert (status, said["error"]["param"]) == (400, "name")


# ---- what is refused

def test_what_is_no_text(page):
    assert "not text" in upload(page, "x.txt", b"a\0b", 400)["message"]
    assert "picture" in upload(page, "x.txt", b"\x89PNG\r\n\x1a\n", 415)["message"]
    assert "CSV" in upload(page, "x.xlsx", b"PK\3\4", 415)["message"]
    assert upload(page, "x.pdf", b"no", 400)["code"] == "unreadable_file"
    assert "empty" in upload(page, "x.txt", b"", 400)["message"]
    assert "damaged" in upload(page, "x.pdf", b"%PDF-1.4\nnonsense", 400)["message"]
    assert "pictures" in upload(page, "x.pdf", pdf(""), 400)["message"]


def test_an_encrypted_pdf(page):
    assert "password" in upload(page, "x.pdf", pdf("secret", password=True), 400)["message"]


def test_hostile_word_documents(page):
    def zipped(**parts):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
            for name, data in parts.items():
                z.writestr(name, data)
        return out.getvalue()
    bomb = zipped(**{"word/document.xml": b" " * (9 << 20)})
    assert len(bomb) < 20_000 and "zip bomb" in upload(page, "x.docx", bomb, 413)["message"]
    laughs = b'<!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "' + b"&a;" * 99 + b'">]><l>&b;</l>'
    assert "entities" in upload(page, "x.docx", zipped(**{"word/document.xml": laughs}), 400)["message"]
    assert "no Word document" in upload(page, "x.docx", zipped(**{"../../../../tmp/sampan-was-here": b"x"}), 400)["message"]
    assert not Path("/tmp/sampan-was-here").exists()
    assert "damaged" in upload(page, "x.docx", word(SAYS)[:-500], 400)["message"]


def test_sizes(page):
    assert upload(page, "x.txt", b"a" * (1 << 20))["bytes"] == 1 << 20
    error = upload(page, "x.txt", b"a" * ((1 << 20) + 1), 413)
    assert error["code"] == "file_too_large" and "1048577" in error["message"] and "1048576" in error["message"]
    assert page.ok("GET", "/api/info")["upload_bytes"] == 1 << 20


def test_limits_that_contradict(model):
    for more in (["--max-upload", "3M", "--max-body", "2M"], ["--max-upload", "10"], ["--max-unsent", "10"]):
        done = subprocess.run([SAMPAN, "serve", "--model", model, "--port", "0", *more], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and more[0] in done.stderr


def test_unsent_files_have_a_limit(model, tmp_path):
    p = Page(model, tmp_path / "history.db", "--max-unsent", "4K")
    try:
        first = upload(p, "a.txt", b"a" * 4000)
        error = upload(p, "b.txt", b"b" * 4000, 409)
        assert error["code"] == "too_much_unsent" and "--max-unsent" in error["message"] and "a day" in error["message"]
        ask(p, p.chat(), "Take it", [first])
        second = upload(p, "b.txt", b"b" * 4000)
        upload(p, "c.txt", b"c" * 4000, 409)
        p.ok("DELETE", f"/api/files/{second['id']}")
        upload(p, "c.txt", b"c" * 4000)
    finally:
        p.end()


def test_other_sites_may_not(page):
    status, said = page.call("POST", "/api/files?name=x.txt", raw=b"x", headers={"Origin": "http://evil.example", "Content-Type": "text/plain"})
    assert status == 403
    status, said = page.call("POST", "/api/files?name=x.txt", raw=b"x", headers={"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"})
    assert (status, said["error"]["code"]) == (403, "origin_not_allowed")


def test_without_pdftotext(model, tmp_path):
    p = Page(model, tmp_path / "history.db", env={**os.environ, "PATH": str(tmp_path)})
    try:
        error = upload(p, "x.pdf", pdf(SAYS), 501)
        assert error["code"] == "pdf_unavailable" and "poppler-utils" in error["message"]
        assert text_of(p, upload(p, "x.docx", word(SAYS))).startswith("# 长江")
    finally:
        p.end()


def test_a_model_that_is_not_loaded(model, tmp_path):
    p = Page(model, tmp_path / "history.db", "--load", "demand")
    try:
        file = upload(p, "x.txt", b"hello")
        assert (file["tokens"], file["model"]) == (None, None) and "not loaded" in file["tokens_reason"]
        assert upload(p, "x.txt", b"hello", 404, model="nobody")["code"] == "model_not_found"
    finally:
        p.end()


# ---- in prompts

def ask(page, chat, text, files, **more):
    return page.ok("POST", f"/api/chats/{chat}/messages", {"content": text, "parent": None, "files": [f["id"] for f in files], **more})


def test_files_of_a_message(page):
    files = [upload(page, "a.txt", b"one"), upload(page, 'b".md', b"two ```` three")]
    chat = page.chat()
    message = ask(page, chat, "Compare", files, id="m_" + "a" * 26)
    short = [{k: f[k] for k in ("id", "name", "type", "bytes", "characters")} for f in files]
    assert message["attachments"] == short
    assert ask(page, chat, "Compare", files, id="m_" + "a" * 26) == message  # a retry
    assert page.call("POST", f"/api/chats/{chat}/messages", {"content": "x", "parent": None, "files": ["f_" + "b" * 26]})[0] == 400
    answer = page.answer(chat, message["id"], params={"max_tokens": 2})
    kept = page.ended(chat, answer)
    # The prompt is the same as if somebody had written the frames.
    framed = "File \"a.txt\":\n```\none\n```\n\nFile \"b'.md\":\n`````\ntwo ```` three\n`````\n\nCompare"
    other = page.chat()
    plain = page.ended(other, page.answer(other, page.ask(other, framed), params={"max_tokens": 2}))
    assert kept["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]
    assert page.call("DELETE", f"/api/files/{files[0]['id']}")[0] == 409
    page.ok("DELETE", f"/api/chats/{chat}")
    assert text_of(page, files[0]) == "one"  # it can be restored
    page.ok("DELETE", f"/api/chats/{chat}?forever=1")
    assert page.call("GET", f"/api/files/{files[0]['id']}")[0] == 404


def test_tokens_are_those_of_the_prompt(page):
    file = upload(page, "a.txt", b"some words of a file\n" * 20)
    chat = page.chat()
    with_file, without = (page.ended(c, page.answer(c, ask(page, c, "Go", files)["id"], params={"max_tokens": 1}))["usage"]["prompt_tokens"]
                          for c, files in ((chat, [file]), (page.chat(), [])))
    assert abs(with_file - without - file["tokens"]) <= 2  # where words meet, tokens may join


def test_a_file_longer_than_the_context(page):
    file = upload(page, "long.txt", b"many words that never end " * 20_000)
    chat = page.chat()
    message = ask(page, chat, "Sum up", [upload(page, "small.txt", b"x"), file])
    status, said = page.call("POST", f"/api/chats/{chat}/generate", {"parent": message["id"]})
    assert (status, said["error"]["code"]) == (400, "context_length_exceeded")
    assert f"long.txt has {file['tokens']} tokens" in said["error"]["message"]


def test_out_and_in_again(page):
    file = upload(page, "长江.txt", SAYS.encode())
    chat = page.chat(title="with a file")
    ask(page, chat, "Sum up", [file])
    lines = page.ok("GET", f"/api/export?chat={chat}&format=jsonl")
    assert json.loads(lines)["files"][0]["text"] == SAYS
    assert "*Files: 长江.txt*" in page.ok("GET", f"/api/export?chat={chat}&format=md")
    page.ok("DELETE", f"/api/chats/{chat}?forever=1")
    status, said = page.call("POST", "/api/import", raw=lines.encode(), headers={"Content-Type": "application/jsonl"})
    assert (status, said["chats"]) == (200, 1)
    assert page.ok("GET", f"/api/chats/{chat}")["messages"][0]["attachments"][0]["name"] == "长江.txt"
    assert text_of(page, file) == SAYS


def test_search_finds_files(page):
    """By words of what was put into a prompt; a file that no message has is nobody's find."""
    file, lone = upload(page, "report.docx", word("The flamingo census")), upload(page, "lone.txt", b"flamingo pelican")
    assert page.found("flamingo") == []
    chat = page.chat(title="Birds")
    message = ask(page, chat, "Sum up", [upload(page, "other.md", b"nothing"), file])
    hit, = page.found("flamin")
    assert (hit["id"], hit["message"], hit["file"]) == (chat, message["id"], {"id": file["id"], "name": "report.docx"})
    assert "\u0002flamingo\u0003 census" in hit["snippet"]
    hit, = page.found("report")
    assert hit["file"]["name"] == "report.docx" and "\u0002report\u0003" in hit["snippet"]
    assert page.found("birds")[0]["file"] is None and page.found("pelican") == []
    page.ok("DELETE", f"/api/files/{lone['id']}")
    page.ok("DELETE", f"/api/chats/{chat}?forever=1")
    assert page.found("flamingo") == []


def test_removing_one(page):
    file = upload(page, "x.txt", b"x")
    assert page.ok("DELETE", f"/api/files/{file['id']}") == {"id": file["id"], "deleted": True}
    assert page.call("DELETE", f"/api/files/{file['id']}")[0] == 404
    assert page.call("GET", "/api/files/f_nonsense")[0] == 404


# ---- many at once, and clients that leave

def children(page):
    folder = Path(f"/proc/{page.process.pid}/task")
    return sum(len((task / "children").read_text().split()) for task in folder.iterdir() if (task / "children").exists())


def test_no_more_parsers_than_there_are_threads(page):
    data, most = word(*[f"paragraph {n} of many" for n in range(3000)]), 0
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(upload, page, "x.docx", data) for _ in range(12)]
        while not all(r.done() for r in running):
            most = max(most, children(page))
            page.ok("GET", "/api/chats?limit=1")  # questions don't wait behind them
        assert len({r.result()["id"] for r in running}) == 12
    assert 0 < most <= 2
    assert wait_until(lambda: children(page) == 0)


def test_clients_that_leave(page):
    data = word(*[f"paragraph {n} of many" for n in range(3000)])
    host, port = page.url.removeprefix("http://").split(":")
    for _ in range(6):
        with socket.create_connection((host, int(port))) as s:
            s.sendall(f"POST /api/files?name=x.docx HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {page.url}\r\n"
                      f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    assert wait_until(lambda: children(page) == 0)
    assert upload(page, "x.txt", b"still here")["bytes"] == 10


def test_it_is_no_verb_of_people():
    """Without a file on descriptor 0 the parser ends; it reads nothing by a name."""
    done = subprocess.run([SAMPAN, "parse-document", "plain"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert done.returncode != 0 and "descriptor 0" in done.stderr
    assert "parse-document" not in subprocess.run([SAMPAN, "--help"], capture_output=True, text=True, timeout=20).stdout
