"""Signing in, keys and the API page in a browser, against the real server: off loopback with the code that it prints, and
under a path behind nginx."""
import importlib.util
import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import pytest
from album import Album, every_look, look_of, serious
from conftest import ROOT, SCREENS, http
from playwright.sync_api import expect


def from_http(name):
    """A module of the other suite, which finds its own conftest under that name."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tests/http/{name}.py")
    module = importlib.util.module_from_spec(spec)
    ours, sys.modules["conftest"] = sys.modules["conftest"], http
    sys.path.append(str(ROOT / "tests/http"))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop()
        sys.modules["conftest"] = ours
    return module


SCREENS.mkdir(parents=True, exist_ok=True)
tiny, people = from_http("tiny"), from_http("people")
PASSWORD = people.PASSWORD


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def outside(model, tmp_path):
    s = people.Outside(model, tmp_path / "history.db")
    yield s
    s.end()


def sign_up(page, s):
    page.locator("input[name=username]").fill("alice")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("input[name=again]").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    page.get_by_role("button", name="Send").wait_for()


def sign_in(page, password=PASSWORD):
    page.locator("input[name=username]").fill("alice")
    page.locator("input[name=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()


def curl(s, key):
    """The status that curl sees with the key."""
    done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", s.url + "/v1/chat/completions", "-H", f"Authorization: Bearer {key}",
                           "-H", "Content-Type: application/json", "-d",
                           json.dumps({"model": s.model, "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]})],
                          capture_output=True, text=True, timeout=60)
    return int(done.stdout)


def test_sign_up_sign_out_sign_in(open_page, outside):
    page = open_page(f"/sign-up#{outside.code}", url=outside.url, locale="en-GB")
    assert page.get_by_label("One-time code").input_value() == outside.code and outside.code not in page.url
    page.locator("input[name=username]").fill("alice")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("input[name=again]").fill(PASSWORD + "x")
    page.get_by_role("button", name="Make the account").click()
    page.get_by_role("alert").get_by_text("not the same").wait_for()
    assert serious(page) == []
    page.screenshot(path=SCREENS / "sign-up-en.png")
    sign_up(page, outside)
    held = page.evaluate("JSON.stringify({...localStorage, ...sessionStorage}) + document.cookie")
    assert PASSWORD not in held and "session" not in held  # HttpOnly: no script sees it
    page.goto("/settings")
    page.get_by_text("Signed in as alice").wait_for()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_role("heading", name="Sign in").wait_for()
    sign_in(page, "not the password")
    page.get_by_role("alert").get_by_text("wrong").wait_for()
    sign_in(page)
    page.get_by_role("button", name="Send").wait_for()


def test_an_address_with_half_a_code(open_page, outside):
    page = open_page("/sign-up#%E0%A4%A", url=outside.url, locale="en-GB")
    expect(page.get_by_label("One-time code")).to_have_value("%E0%A4%A")
    expect(page.get_by_label("One-time code")).to_be_focused()
    assert page.url == outside.url + "/"


def test_signed_out_elsewhere_while_a_page_is_open(open_page, outside):
    page = open_page(f"/sign-up#{outside.code}", url=outside.url, locale="en-GB")
    sign_up(page, outside)
    page.get_by_role("textbox", name="Your message").fill("half a thought")
    other = people.Browser(outside.url)
    assert other.sign_in().status == 200 and other.status("DELETE", "/api/session?all=1") == 204
    page.get_by_role("heading", name="Sign in").wait_for()
    sign_in(page)
    page.get_by_role("button", name="Send").wait_for()
    assert page.get_by_role("textbox", name="Your message").input_value() == "half a thought"


def test_another_password(open_page, outside):
    page = open_page(f"/sign-up#{outside.code}", url=outside.url, locale="en-GB")
    sign_up(page, outside)
    page.goto("/settings")
    page.get_by_role("button", name="Change the password").click()
    box = page.get_by_role("dialog")
    box.get_by_label("Password now").fill("not that one")
    box.get_by_label("New password").fill("battery staple")
    box.get_by_label("The same password again").fill("battery staple")
    box.get_by_role("button", name="Save").click()
    box.get_by_role("alert").get_by_text("not the password now").wait_for()
    box.get_by_label("Password now").fill(PASSWORD)
    box.get_by_role("button", name="Save").click()
    page.get_by_text("The password is changed").wait_for()
    assert people.Browser(outside.url).sign_in(password="battery staple").status == 200


def test_make_a_key_use_it_revoke_it(open_page, outside):
    page = open_page(f"/sign-up#{outside.code}", url=outside.url, locale="en-GB")
    sign_up(page, outside)
    page.goto("/keys")
    page.get_by_text("No keys yet.").wait_for()
    assert curl(outside, "none") == 401
    page.get_by_role("button", name="New key").click()
    box = page.get_by_role("dialog")
    box.get_by_label("Name").fill("laptop")
    box.get_by_label("Requests a minute").fill("60")
    assert serious(page) == []
    box.get_by_role("button", name="Make the key").click()
    key = page.get_by_label("The key", exact=True).input_value()
    assert re.fullmatch(r"sk-sampan-[\w-]{43}", key)
    page.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == key
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    assert key not in page.content() and key not in page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    assert curl(outside, key) == 200
    page.reload()
    page.get_by_text("60 requests a minute").wait_for()
    page.get_by_text("1 requests, ").wait_for()
    page.get_by_role("button", name="Revoke laptop").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    page.get_by_text("Revoked: laptop").wait_for()
    page.get_by_text("No keys yet.").wait_for()
    assert curl(outside, key) == 401


def test_the_first_key_on_loopback_warns_before(open_page, restartable):
    s = restartable()
    page = open_page("/keys", url=s.url, locale="en-GB")
    page.get_by_text("it asks nobody for a key yet").wait_for()
    page.get_by_role("button", name="New key").click()
    page.get_by_text("This is the first key").wait_for()
    page.get_by_role("dialog").get_by_label("Name").fill("first")
    page.get_by_role("dialog").get_by_role("button", name="Make the key").click()
    page.get_by_label("The key", exact=True).wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_text("The API (/v1) asks for a key.").wait_for()
    page.get_by_role("button", name="Revoke first").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    page.get_by_role("button", name="Open the API to everybody").click()
    page.get_by_role("dialog").get_by_role("button", name="Open the API to everybody").click()
    page.get_by_text("it asks nobody for a key yet").wait_for()


def seed(s, browser, text):
    chat = browser.ok("POST", "/api/chats", {"title": "<img src=x onerror=alert(1)>", "system": "Be 'brief'", "params": {"temperature": 0.5, "top_k": 7, "max_tokens": 4}})["id"]
    browser.ok("POST", f"/api/chats/{chat}/messages", {"content": text, "parent": None})
    return chat


def test_the_api_page_has_the_chat_at_hand(open_page, model, tmp_path):
    s = people.Outside(model, tmp_path / "h.db", host="127.0.0.1")
    text = "It's \"x\" `id` $(id) ${HOME} \\ </script>\n```\nEOF\n水"
    chat = seed(s, people.Browser(s.url), text)
    page = open_page(f"/chat/{chat}", url=s.url, locale="en-GB")
    page.get_by_role("link", name="As a request to the API").click()
    page.get_by_role("heading", name="API").wait_for()
    code = page.locator(".snippet pre")
    for answer, name in (("Word by word", "streamed"), ("In one piece", "whole")):
        page.get_by_text(answer).click()
        page.get_by_text("curl", exact=True).first.click()
        said = subprocess.run(["bash", "-c", code.inner_text()], capture_output=True, text=True, timeout=60, env={"SAMPAN_API_KEY": "none", "PATH": "/usr/bin:/bin"})
        assert ("data: [DONE]" in said.stdout) == (name == "streamed") and '"choices"' in said.stdout, said.stdout + said.stderr
        page.get_by_text("Python", exact=True).first.click()
        page.wait_for_function("document.querySelector('.snippet pre')?.textContent.includes('import OpenAI')")
        program = code.inner_text()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        sent = eval(re.search(r"messages=(\[.*?\n    \])", program, re.S)[1])  # our own page's literal
        assert sent == [{"role": "system", "content": "Be 'brief'"}, {"role": "user", "content": text}]
        page.get_by_text("JavaScript", exact=True).first.click()
        page.wait_for_function("document.querySelector('.snippet pre')?.textContent.includes('npm install')")
    assert serious(page) == []
    page.screenshot(path=SCREENS / "developers-en.png")
    page.get_by_role("link", name="Back to the chat").click()
    page.wait_for_url(f"**/chat/{chat}")
    s.end()


@every_look
def test_how_it_looks(open_page, outside, language, theme, size):
    page = open_page("/", url=outside.url, **look_of(language, theme, size))
    a = Album(page, language, theme, size)
    page.locator("input[name=code]").wait_for()
    a.keep("sign-up")
    b = people.Browser(outside.url)
    b.sign_up(outside.code)
    b.ok("POST", "/api/keys", {"name": "laptop", "requests_per_minute": 60, "models": [outside.model[:60]]})
    a.show("/", "input[name=username]")
    page.locator("input[name=username]").fill("alice")
    page.locator("input[name=password]").fill("not the password")
    page.locator("button[type=submit]").click()
    page.get_by_role("alert").wait_for()
    a.keep("sign-in")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("button[type=submit]").click()
    page.locator("textarea").first.wait_for()
    for name, there in (("keys-made", "strong"), ("settings-account", "section .row")):
        a.show("/" + name.split("-")[0], there)
        a.keep(name)
    a.show("/keys", "strong")
    page.locator("main li .btn.bad").click()
    page.locator("dialog").wait_for()
    a.keep("key-revoke")
    a.close()


def test_under_a_path_behind_nginx(open_page, model, tmp_path):
    """Assets, router, API, events, cookies: all below /llm, and nothing beside it."""
    proxy = from_http("test_proxy")
    p = proxy.Proxied(model, tmp_path, "--history", str(tmp_path / "h.db"))
    code = re.search(r"one-time code: (\S+)", p.server.said)[1]
    asked = []
    page = open_page("/llm/sign-up#" + code, url=p.url.removesuffix("/llm"), locale="en-GB")
    page.on("request", lambda request: asked.append(request.url))
    sign_up(page, p)
    cookie, = page.context.cookies()
    assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == ("/llm", True, "Strict", False)
    page.get_by_role("textbox", name="Your message").fill("Hi")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/llm/chat/c_*")
    page.get_by_role("button", name="Answer again").wait_for()  # came by the events
    page.reload()  # a deep link
    page.get_by_role("button", name="Answer again").wait_for()
    for name, heading in (("Settings", "Settings"), ("History", "History"), ("API", "API")):
        page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        page.get_by_role("heading", name=heading, level=1).wait_for()
    assert p.url + "/v1" in page.locator("dl").inner_text()
    page.get_by_role("link", name="All endpoints, to try").click()
    page.wait_for_url("**/llm/docs*")
    assert asked and all(urllib.parse.urlsplit(url).path.startswith("/llm/") or url.startswith(("data:", "blob:")) for url in asked), asked
    index = urllib.request.Request(p.url + "/", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(index, timeout=30) as r:
        etag = r.headers["ETag"]
        assert "base-uri 'none'" in r.headers["Content-Security-Policy"] and b'="/llm/assets/' in r.read()
    index.add_header("If-None-Match", etag)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(index, timeout=30)
    assert caught.value.code == 304
    page.context.close()
    p.end()


def test_a_hostile_name_stays_text(open_page, outside):
    name = "<img src=x onerror=window.hacked=1>"
    b = people.Browser(outside.url)
    assert b.sign_up(outside.code, name).status == 201
    page = open_page("/settings", url=outside.url, locale="en-GB")
    page.locator("input[name=username]").fill(name)
    page.locator("input[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text(f"Signed in as {name}").wait_for()
    assert page.evaluate("window.hacked") is None and page.locator("section img").count() == 0
