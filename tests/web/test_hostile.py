"""Texts that want to run scripts, wherever text from outside is shown, through the real page: nothing runs, nothing is asked
elsewhere, and the policy has nothing to forbid. Each view is tried with the policy and, since that alone would stop most
of them, without it."""
import json
import re
import struct
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import pytest
from conftest import ROOT, Watch, http
from playwright.sync_api import expect
from stores import Store, tiny

TEXTS = re.search(r"= (\[.*\])", (ROOT / "web/tests/payloads.ts").read_text(encoding="utf-8"), flags=re.S)[1]
IMG = "<img src=x onerror=window.hacked=1>"
GGUF = (ROOT / "tests/data/models/qwen2-gguf/model.gguf").read_bytes()

# Elements that no text makes, handlers, and addresses that run; then what a reader's mouse and keys would wake.
FINDINGS = """() => {
    const found = []
    for (const e of document.body.querySelectorAll('*')) {
        let bad = e.matches('script, iframe, frame, object, embed, applet, base, meta, link, style, animate, set, template, marquee, portal') || e.shadowRoot
        for (const { name, value } of e.attributes) {
            if (/^(on|srcdoc|formaction|ping|poster|background)/i.test(name)) bad = true
            if (/^(href|src|action|data|xlink:href|to|values)$/i.test(name) && !/^(https?:|mailto:|blob:|#|[/]|data:image[/](png|jpeg|gif|webp);)/i.test(value)) bad = true
        }
        if (bad) found.push(e.cloneNode(false).outerHTML)
    }
    for (const e of document.body.querySelectorAll('*'))
        for (const name of ['mouseover', 'pointermove', 'focus', 'blur', 'toggle', 'animationstart', 'transitionend', 'scrollend', 'load', 'begin'])
            e.dispatchEvent(new Event(name))
    return found
}"""
# A picture that comes after all that a text could have asked for.
LAST = "() => new Promise(done => { const i = new Image(); i.onload = done; i.src = document.querySelector('link[rel~=icon]').href + '?last' })"


def harmless(page):
    """Nothing of the texts has become an element that does something; what they could have started has happened."""
    assert page.evaluate(FINDINGS) == []
    page.evaluate(LAST)


class Client:
    """The page's own API."""

    def __init__(self, url):
        self.url = url

    def send(self, method, path, data=None, kind="application/json", **fields):
        """Status, text and head of the answer, whatever it is."""
        head = {"Origin": self.url, **({"Content-Type": kind} if data is not None else {}), **fields}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data, head, method=method), timeout=60) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode(), answer.headers

    def ok(self, method, path, body=None, data=None, kind="application/json"):
        status, text, _ = self.send(method, path, json.dumps(body).encode() if body is not None else data, kind)
        assert status < 300, (method, path, status, text)
        return json.loads(text)


@pytest.fixture(scope="module")
def texts(chromium):
    """The corpus of the unit tests, read as JavaScript would."""
    page = chromium.new_page()
    found = page.evaluate(TEXTS)
    page.close()
    assert len(found) > 200
    return found


def gguf_with(**strings):
    """The GGUF with more strings in its head. They take a multiple of 32 bytes, so that its tensors stay where they are."""
    text = lambda s: struct.pack("<Q", len(s.encode())) + s.encode()
    pairs = [text(name) + struct.pack("<I", 8) + text(value) for name, value in strings.items()]
    filler = text("filler") + struct.pack("<I", 8)
    short = -(sum(map(len, pairs)) + len(filler) + 8) % 32
    pairs.append(filler + text("." * short))
    n, = struct.unpack_from("<Q", GGUF, 16)
    return GGUF[:16] + struct.pack("<Q", n + len(pairs)) + b"".join(pairs) + GGUF[24:]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, texts):
    """A server whose model, store and history are full of them."""
    store = Store(tmp_path_factory.mktemp("hostile"))
    all_of_them = "\n".join(texts)
    folder = tiny.make(store.root / f"{IMG} a model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {**settings, "chat_template": "{# " + all_of_them.replace("#}", "") + " #}" + settings["chat_template"]}))
    store.put("two")
    bad = store.root / "store/models/two/config.json"
    bad.write_text(json.dumps({**json.loads(bad.read_text()), "architectures": [IMG], "model_type": IMG}))
    (store.root / "boat.gguf").write_bytes(gguf_with(**{"general.license": IMG, "general.name": IMG, "tokenizer.chat_template": all_of_them}))
    store.hub.repos["acme/boat"] = {"boat-q4_k_m.gguf": (store.root / "boat.gguf").read_bytes()}
    server = store.serve(str(folder), "--max-context", "4096")
    yield SimpleNamespace(server=server, client=Client(server.url), store=store, chat=fill_chats(Client(server.url), texts))
    store.close()


@pytest.fixture(params=["policy", "no policy"])
def visit(request, open_page, hostile):
    return lambda path, **options: open_page(path, url=hostile.server.url, bypass_csp=request.param == "no policy", **options)


# ---- chats ----

def message_id(chat, number):
    return "m_" + chat * 23 + "".join("abcdefghij"[int(d)] for d in f"{number:03}")


def line_of(chat, texts, title):
    """A chat as it is exported: a chain of questions and answers, of which the texts are all there is."""
    messages = []
    for number, text in enumerate(texts):
        role = "user" if number % 2 == 0 else "assistant"
        messages.append({"id": message_id(chat, number), "chat": "c_" + chat * 26, "parent": message_id(chat, number - 1) if number else None, "role": role,
                         "content": text, "reasoning": text if role == "assistant" else None, "state": "complete", "model": text[:60], "created": 1000.0 + number})
    about = {"id": "c_" + chat * 26, "title": title, "system": "\n".join(texts)[:20000], "folder": title[:40], "head": messages[-1]["id"], "updated": 2e9}
    return json.dumps({"sampan": 1, "chat": about, "messages": messages}) + "\n"


def openai_export(texts):
    nodes = {IMG: {"id": IMG, "parent": None, "message": None}}
    for number, text in enumerate(texts):
        content = {"content_type": "text", "parts": [text]}
        nodes[f"{IMG}{number}"] = {"id": f"{IMG}{number}", "parent": f"{IMG}{number - 1}" if number else IMG, "message": {
            "author": {"role": ("user", "assistant")[number % 2]}, "content": content, "create_time": 1000.0, "metadata": {"model_slug": IMG}}}
    return [{"title": f"openai {IMG}", "conversation_id": IMG, "current_node": f"{IMG}{len(texts) - 1}", "mapping": nodes, "create_time": 1000.0, "update_time": 2e9}]


def open_webui_export(texts):
    messages = {f"{IMG}{n}": {"id": f"{IMG}{n}", "parentId": f"{IMG}{n - 1}" if n else None, "role": ("user", "assistant")[n % 2], "content": text,
                              "model": IMG, "timestamp": 1000} for n, text in enumerate(texts)}
    return [{"id": IMG, "title": f"webui {IMG}", "chat": {"history": {"messages": messages, "currentId": f"{IMG}{len(texts) - 1}"}}, "created_at": 1000, "updated_at": 2e9}]


def both_ways(texts):
    """Each once as a question and once as an answer, in a chain in which they take turns."""
    return texts + ["between"] * (1 - len(texts) % 2) + texts


def fill_chats(client, texts):
    chain = both_ways(texts)
    done = client.ok("POST", "/api/import", data=line_of("h", chain, IMG).encode(), kind="application/jsonl")
    assert done == {"chats": 1, "messages": len(chain), "skipped": []}
    for number, text in enumerate(texts):
        client.ok("POST", "/api/chats", {"title": text[:120], **({"folder": text[:40].replace("\n", " ")} if number % 10 == 0 else {})})
    return "/chat/c_" + "h" * 26


def show_all(page, client):
    """All messages up to the chat's last: they are made in portions, and the early ones when they are asked for."""
    chat = client.ok("GET", "/api/chats/" + re.search(r"/chat/(\w+)", page.url)[1])
    parents, at, count = {m["id"]: m["parent"] for m in chat["messages"]}, chat["head"], 0
    while at:
        at, count = parents[at], count + 1
    earlier, articles = page.get_by_role("button", name="显示更早的消息"), page.locator("article")
    articles.first.wait_for()
    while articles.count() < count:
        if earlier.count():
            earlier.click()
        page.wait_for_timeout(50)
    page.evaluate("for (const e of document.querySelectorAll('details')) e.open = true")
    for article in page.locator("article").all():  # those out of sight are not laid out
        article.scroll_into_view_if_needed()


def test_messages(visit, hostile, texts):
    page = visit(hostile.chat)
    show_all(page, hostile.client)
    expect(page.locator("article")).to_have_count(len(both_ways(texts)))
    page.locator("article .katex").first.wait_for()  # highlighting and formulas come late
    page.locator("article .hljs-tag").first.wait_for()
    harmless(page)
    for link in page.locator("article a").all():
        assert re.match(r"(https?|mailto):", link.get_attribute("href") or "https:"), link.get_attribute("href")
        assert link.get_attribute("target") == "_blank" and "noopener" in link.get_attribute("rel")
    assert page.locator("article :is([id], [name])").count() == 0
    page.get_by_label("编辑").first.click()
    page.locator("main header .icon").last.click()
    expect(page.locator("aside textarea")).to_have_value(re.compile(re.escape("<script>window.hacked=1</script>")))
    harmless(page)


def test_an_answer_that_grows(visit, hostile, texts):
    """Continued by the model behind the text: what is shown meanwhile is not what stands at the end."""
    chat = hostile.client.ok("POST", "/api/chats", {"title": "grows", "params": {"max_tokens": 40}})["id"]
    question = hostile.client.ok("POST", f"/api/chats/{chat}/messages", {"content": "Go on", "parent": None})["id"]
    page = visit(f"/chat/{chat}")
    page.locator("article").first.wait_for()
    for text in texts[::8]:
        answer = hostile.client.ok("POST", f"/api/chats/{chat}/generate", {"parent": question, "params": {"max_tokens": 1}})["id"]
        ended(hostile.client, chat, answer)
        hostile.client.ok("PATCH", f"/api/messages/{answer}", {"content": text})
        hostile.client.ok("POST", f"/api/chats/{chat}/generate", {"parent": answer, "continue": True})
        ended(hostile.client, chat, answer)
    expect(page.locator("article .markdown")).to_have_count(1)
    harmless(page)


def ended(client, chat, message):
    def over():
        return next(m for m in client.ok("GET", f"/api/chats/{chat}")["messages"] if m["id"] == message)["state"] == "complete"
    assert http.wait_until(over, 60)


def test_titles_and_folders(visit, hostile, texts):
    page = visit("/history")
    rows = page.locator(".page-in > ul > li")
    expect(rows.first).to_be_visible()
    while (n := rows.count()) < len(texts):
        rows.last.scroll_into_view_if_needed()
        expect(rows.nth(n)).to_be_visible()
    harmless(page)
    page.get_by_label("搜索对话").fill("hacked")
    page.locator("nav a.hit").first.wait_for()
    page.get_by_label("搜索标题和消息").fill("hacked")
    page.locator(".page-in mark").first.wait_for()
    harmless(page)
    page.locator(".filters select").select_option(index=1)
    rows.first.get_by_role("button").click()
    page.get_by_role("menuitem", name="重命名").click()
    harmless(page)
    page.keyboard.press("Escape")
    rows.first.get_by_role("button").click()
    page.get_by_role("menuitem", name="删除").click()
    page.get_by_role("button", name="撤销").click()
    harmless(page)


@pytest.mark.parametrize("export, title", [(openai_export, f"openai {IMG}"), (open_webui_export, f"webui {IMG}"), (None, IMG)], ids=["OpenAI", "Open WebUI", "JSONL"])
def test_imported_histories(visit, hostile, texts, export, title):
    """Through the page, with lines that can't be taken and a file name to match."""
    page = visit("/history")
    data = json.dumps(export(both_ways(texts)) + [{"mapping": {}, "title": IMG}]) if export else line_of("k", texts, IMG) + '{"sampan": 1, "chat": {"id": "' + IMG + '"}}\n' + IMG
    page.locator("input[type=file]").first.set_input_files({"name": IMG + ".json", "mimeType": "", "buffer": data.encode()})
    page.locator(".toast").first.wait_for()
    harmless(page)
    page.locator(".page-in > ul a").filter(has_text=title).first.click()
    show_all(page, hostile.client)
    harmless(page)


# ---- files ----

def test_names_and_texts_of_files(visit, hostile, texts):
    chat = hostile.client.ok("POST", "/api/chats", {"title": "files"})["id"]
    parent = None
    for at in range(0, len(texts), 32):
        files = [hostile.client.ok("POST", "/api/files?" + urllib.parse.urlencode({"name": text[:60] + ".html"}), data=text.encode(), kind="text/html")
                 for text in texts[at:at + 32]]
        body = {"content": "files", "parent": parent, "files": [f["id"] for f in files]}
        parent = hostile.client.ok("POST", f"/api/chats/{chat}/messages", body)["id"]
    page = visit(f"/chat/{chat}")
    show_all(page, hostile.client)
    expect(page.locator("article li")).to_have_count(len(texts))
    page.locator("article li button.what").first.click()
    expect(page.get_by_role("dialog").locator("pre")).to_contain_text(texts[0])
    harmless(page)
    page.keyboard.press("Escape")
    page.locator("main input[type=file]").first.set_input_files([{"name": f"{n}{IMG}.{kind}", "mimeType": "text/html", "buffer": data} for n, (kind, data) in enumerate(
        [("txt", b"x"), ("png", b"\x89PNG"), ("pdf", IMG.encode()), ("docx", IMG.encode()), ("svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='hacked=1'/>")])])
    chips = page.locator("form.composer li")
    expect(chips).to_have_count(5)
    expect(chips.filter(has=page.get_by_role("alert"))).to_have_count(3)
    expect(chips.last).to_contain_text("个词元")
    harmless(page)


def test_what_is_downloaded_is_no_page(visit, hostile, texts):
    """Opened by its address, nothing from outside is shown as a document of this server."""
    client = hostile.client
    file = client.ok("POST", "/api/files?name=x.html", data="\n".join(texts).encode(), kind="text/html")["id"]
    job = finished_batch(client, texts)
    page = visit("/")
    for path in (f"/api/files/{file}/text", hostile.chat.replace("/chat/", "/api/chats/"), "/api/chats?q=hacked", f"/api/jobs/{job}/parts", "/api/models",
                 "/api/" + urllib.parse.quote(IMG), "/v1/models/" + urllib.parse.quote(IMG), "/assets/" + urllib.parse.quote(IMG), "/docs/" + urllib.parse.quote(IMG)):
        _, _, head = client.send("GET", path, **{"Accept": "text/html"})
        assert head["Content-Type"].split(";")[0] in ("application/json", "text/plain"), path
        page.goto(path)
        assert page.evaluate("document.body.querySelectorAll('*').length") < 12, path  # the browser's own view of text
        page.wait_for_function("document.readyState === 'complete'")
    for path in (hostile.chat.replace("/chat/", "/api/export?format=md&chat="), "/api/export?format=jsonl&all=1", f"/api/jobs/{job}/result?format=csv",
                 f"/api/jobs/{job}/result?format=jsonl"):
        status, text, head = client.send("GET", path)
        assert status == 200 and "hacked" in text and head["X-Content-Type-Options"] == "nosniff", path
        assert re.fullmatch(r'attachment; filename="sampan-[a-z]+\.[a-z]+"', head["Content-Disposition"]) and "html" not in head["Content-Type"]


# ---- tasks ----

def finished_batch(client, texts):
    lines = "".join(json.dumps({"prompt": text, "custom_id": text[:60]}) + "\n" for text in texts)
    job = client.ok("POST", "/api/jobs", {"kind": "batch", "title": IMG, "params": {"text": lines, "name": IMG + ".jsonl", "params": {"max_tokens": 1}}})["id"]
    assert http.wait_until(lambda: client.ok("GET", f"/api/jobs/{job}")["state"] == "done", 120)
    return job


def test_batches_and_their_files(visit, hostile, texts):
    job = finished_batch(hostile.client, texts)
    page = visit(f"/tasks/{job}")
    page.locator("tbody tr").first.wait_for()
    while (n := page.locator("tbody tr").count()) < len(texts):
        page.get_by_role("button", name="显示更多").click()
        expect(page.locator("tbody tr").nth(n)).to_be_visible()
    expect(page.locator("tbody")).to_contain_text("<plaintext>")
    harmless(page)
    page.goto("/tasks")
    page.get_by_role("link").filter(has_text=IMG).first.wait_for()
    page.get_by_role("button", name="批量", exact=True).click()
    page.locator("form input[type=file]").set_input_files({"name": IMG + ".jsonl", "mimeType": "", "buffer": json.dumps({IMG: 1}).encode()})
    page.get_by_text(IMG + ".jsonl").wait_for()
    page.get_by_role("button", name="开始").click()
    page.get_by_role("alert").wait_for()
    harmless(page)


def test_texts_of_tasks(visit, hostile, texts):
    """A source beside its result, and what the job was told."""
    order = {"kind": "translate", "title": IMG, "params": {"text": "\n\n".join(texts), "language": IMG[:30], "instructions": IMG}}
    job = hostile.client.ok("POST", "/api/jobs", order)["id"]
    now = lambda: hostile.client.ok("GET", f"/api/jobs/{job}")
    assert http.wait_until(lambda: now()["progress"]["done"] > 0, 60)
    hostile.client.ok("POST", f"/api/jobs/{job}/cancel", {})
    assert http.wait_until(lambda: now()["state"] == "cancelled", 60)
    page = visit(f"/tasks/{job}")
    expect(page.locator(".side .source").first).to_contain_text(texts[0])
    harmless(page)


def template_of(texts, name):
    fields = [{"name": f"a{IMG}", "type": "choice", "label": IMG, "choices": [t[:200] for t in texts[:64]]}, {"name": "b", "type": "long", "label": texts[0][:60], "default": IMG},
              {"name": "c", "type": "number", "label": f'" autofocus onfocus=window.hacked=1 x="'}]
    return {"name": name, "description": IMG, "prompt": "{{a" + IMG + "}} {{b}} {{c}}", "fields": fields, "system": IMG, "language": IMG[:30], "mode": "each",
            "examples": [{"values": {"b": IMG}, "output": IMG}]}


def test_templates(visit, hostile, texts):
    page = visit("/tasks")
    names = [re.sub(r"[{}\s]+", " ", text)[:40].strip() for text in texts[:60]]
    page.locator("input[type=file][accept*=json]").first.set_input_files(
        {"name": IMG + ".json", "mimeType": "", "buffer": json.dumps({"templates": [template_of(texts, name) for name in names]}).encode()})
    tools = page.locator(".tools button:not(.plus)")
    expect(tools).to_have_count(4 + len(names), timeout=60_000)
    for at in range(4, 4 + len(names), 9):
        tools.nth(at).click()
        page.locator("form select option").first.wait_for(state="attached")
        harmless(page)
    page.get_by_role("button", name="自己的任务").click()
    page.get_by_role("menuitem", name="编辑任务").click()
    page.get_by_role("dialog").locator("fieldset").first.wait_for()
    harmless(page)
    page.keyboard.press("Escape")
    page.locator("input[type=file][accept*=json]").first.set_input_files({"name": IMG + ".json", "mimeType": "", "buffer": b"{"})
    page.locator(".toast").filter(has_text=IMG).wait_for()
    harmless(page)
    for template in hostile.client.ok("GET", "/api/templates")["data"]:
        hostile.client.send("DELETE", f"/api/templates/{template['id']}")


# ---- models, the server, settings ----

def test_models_and_what_their_files_say(visit, hostile):
    """A name, a path, an architecture, a licence and a template that are hostile; a pull that fails in the hub's words."""
    page = visit("/models")
    rows = page.locator(".models").first.locator("li")
    expect(rows.filter(has_text="a model")).to_contain_text("已加载")
    expect(rows.filter(has=page.get_by_role("heading", name="two", exact=True))).to_contain_text(IMG)  # its architecture
    if "boat" not in page.content():
        page.get_by_label(re.compile("hf:、ms:")).fill("hf:acme/boat")
        page.locator("form.other").get_by_role("button", name="下载").click()
    boat = rows.filter(has=page.get_by_role("heading", name="boat", exact=True))
    for row in (rows.filter(has_text="a model"), boat):
        row.get_by_role("button", name="详情").click()
        row.locator("dl details summary").click()
        expect(row.locator("dl pre")).to_contain_text("<plaintext>")
        harmless(page)
    expect(boat.locator("dl")).to_contain_text(IMG)  # its licence
    page.get_by_label(re.compile("hf:、ms:")).fill(f"hf:acme/{IMG}")
    page.locator("form.other").get_by_role("button", name="下载").click()
    page.locator(".toast").wait_for()
    harmless(page)


def test_requests_and_settings_of_the_server(visit, hostile):
    """Models that are asked for and errors in the client's words; the settings have the model's path."""
    ours = {"model": hostile.server.model, "messages": [{"role": "user", "content": IMG}], "max_tokens": 1}
    for change in ({}, {"model": IMG}, {"stop": [IMG] * 99}, {"chat_template_kwargs": {IMG: IMG}}, {IMG: 1}):
        hostile.client.send("POST", "/v1/chat/completions", json.dumps({**ours, **change}).encode(), **{"X-Request-Id": "<script>window.hacked=1</script>"})
    page = visit("/server")
    page.get_by_role("table", name="最近的请求").get_by_text(IMG).first.wait_for()
    page.get_by_role("table", name="设置").get_by_text(IMG).first.wait_for()
    harmless(page)


def test_presets_and_drafts_and_comparisons(visit, hostile, texts):
    page = visit("/")
    page.evaluate("""texts => {
        localStorage.setItem('sampan.settings', JSON.stringify({panel: true, presets: texts.map(name => ({name, system: name, params: {}}))}))
        localStorage.setItem('sampan.compare', JSON.stringify({sides: texts.slice(0, 2).map(model => ({model, params: {}})), prompt: texts[0], system: texts[1]}))
    }""", texts)
    page.reload()
    page.locator("aside select").select_option(index=8)
    page.get_by_role("button", name=re.compile("删除预设")).wait_for()
    harmless(page)
    page.locator("textarea[aria-describedby]").fill(texts[1])
    page.goto("/compare")
    page.locator("form textarea").last.wait_for()
    harmless(page)
    page.goto("/developers?chat=" + hostile.chat.removeprefix("/chat/"))
    page.locator(".snippet pre").wait_for()
    harmless(page)


def test_addresses(visit, hostile, texts):
    """Of the page itself: anybody can make a link to it. Swagger UI takes no description from elsewhere."""
    page = visit("/")
    for text in (*texts[::60], "%E0%A4%A", "javascript:window.hacked=1", "//attacker.invalid/"):
        word = text if text.startswith("%") else urllib.parse.quote(text, safe="")
        for path in (f"/chat/{word}", f"/tasks/{word}", f"/compare/{word}", f"/developers?chat={word}", f"/history?q={word}#{word}", f"/sign-in?next={word}#{word}"):
            page.goto(path)
            page.locator("main h1, main h2, main textarea").first.wait_for()
            assert page.evaluate(FINDINGS) == []
    page.goto("/docs?url=https://attacker.invalid/x.json&configUrl=https://attacker.invalid/c.json&urls.primaryName=" + urllib.parse.quote(IMG))
    page.locator(".opblock, table").first.wait_for()
    page.evaluate("() => new Promise(done => setTimeout(done))")


# ---- the watch itself ----

def test_the_watch_sees(chromium, server):
    """What makes all of these tests red, done on purpose."""
    def seen(bypass_csp, script):
        context = chromium.new_context(base_url=server.url, bypass_csp=bypass_csp)
        watch = Watch(server.url, context)
        page = context.new_page()
        page.goto("/")
        page.evaluate(script)
        http.wait_until(lambda: page.evaluate("1") and watch.found, 5)
        context.close()
        return " ".join(watch.found)
    elsewhere = "new Image().src = 'https://attacker.invalid/'"
    picture = "document.body.innerHTML = '<img src=/nothing onerror=window.hacked=1>'"
    assert "script-src" in seen(False, picture) and "ran" in seen(True, picture)
    assert "img-src" in seen(False, elsewhere) and "asked: https://attacker.invalid/" in seen(True, elsewhere)
    assert "a dialog" in seen(True, "setTimeout(() => alert(1)), 0") and "thrown" in seen(False, "setTimeout(() => { throw Error('x') }), 0")
