"""/openapi.json says what the code does: its routes, its parameters, and the errors it answers with."""
import http.client
import json
import re
import urllib.error
import urllib.request

from conftest import ADMIN_KEY, ROOT

SERVER = ROOT / "src/server"


def ask(url, body=None):
    """The status and the JSON of one answer, whatever the status."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as r:
            return r.status, json.load(r)
    except urllib.error.HTTPError as r:
        return r.code, json.load(r)


def schemas(doc):
    return doc["components"]["schemas"]


def test_every_route_is_described_and_no_other(fast):
    doc = ask(fast.url + "/openapi.json")[1]
    table = re.findall(r'\{"(/[^"]*)", EVHTTP_REQ_(\w+), (true|false)', (SERVER / "routes.c").read_text())
    rest = {"/v1/models/": "{model}", "/docs/": "{file}", "/assets/": "{file}", "/chat/": "{chat}", "/compare/": "{chat}", "/tasks/": "{job}"}
    part = {"chats": "{chat}", "messages": "{message}", "files": "{file}", "jobs": "{job}", "templates": "{template}", "models": "{model}", "requests": "{request}",
            "keys": "{key}"}
    name = lambda path: re.sub(r"(\w+)/\*", lambda m: f"{m[1]}/{part[m[1]]}", path) + rest.get(path, "")
    code = {(name(path), method.lower(), is_open == "true") for path, method, is_open in table}
    said = {(path, method, op.get("security") == []) for path, item in doc["paths"].items() for method, op in item.items()}
    assert len(code) > 10 and said == code
    assert doc["info"]["version"] == ask(fast.url + "/version")[1]["version"]


def test_every_parameter_read_is_described_and_no_other(fast):
    doc = ask(fast.url + "/openapi.json")[1]
    reads = re.compile(r'(?:request_\w+\(c, body|json_object_get\(body), "(\w+)"')
    shared = set(reads.findall((SERVER / "request.c").read_text()))
    for file, name in (("api_chat.c", "ChatRequest"), ("api_completions.c", "CompletionRequest")):
        code = shared | set(reads.findall((SERVER / file).read_text()))
        assert set(schemas(doc)[name]["properties"]) == code, name
    said = {p for name in ("TokenizeRequest", "DetokenizeRequest") for p in schemas(doc)[name]["properties"]}
    words = set(re.findall(r'"(\w+)"', (SERVER / "api_tokens.c").read_text()))  # some names stand in a ?:
    assert said <= words and set(reads.findall((SERVER / "api_tokens.c").read_text())) <= said


def test_ranges_are_the_server_s(fast):
    doc = ask(fast.url + "/openapi.json")[1]
    body = {"model": fast.model, "messages": [{"role": "user", "content": "Hi"}]}
    tried = 0
    for name, schema in schemas(doc)["ChatRequest"]["properties"].items():
        for bound, step in (("minimum", -1), ("maximum", 1)):
            if bound in schema:
                status, said = ask(fast.url + "/v1/chat/completions", {**body, name: schema[bound] + step})
                error = said["error"]
                assert (status, error["param"]) == (400, name)
                assert set(error) == set(schemas(doc)["Error"]["properties"]["error"]["required"])
                tried += 1
    assert tried > 15


def test_examples_are_answered(fast):
    doc = ask(fast.url + "/openapi.json")[1]
    posts = {path: item["post"] for path, item in doc["paths"].items() if "post" in item and not path.startswith(("/admin/", "/api/"))}
    for path, op in posts.items():
        status, said = ask(fast.url + path, op["requestBody"]["content"]["application/json"]["example"])
        assert status == 200 and "error" not in said, path
    assert len(posts) == 4


def test_methods(fast):
    doc = ask(fast.url + "/openapi.json")[1]
    ids = {"{model}": "some", "{file}": "init.js", "{chat}": "c_" + "a" * 26, "{message}": "m_" + "a" * 26, "{job}": "j_" + "a" * 26,
           "{template}": "t_" + "a" * 26, "{request}": "some", "{key}": "k_" + "a" * 26}
    for path, item in doc["paths"].items():
        for name, value in ids.items():
            path = path.replace(name, value)
        allow = ", ".join([{"get": "GET, HEAD"}.get(m, m.upper()) for m in ("get", "post", "patch", "delete") if m in item] + ["OPTIONS"])
        wrong = {"GET", "POST", "PUT", "PATCH", "DELETE"} - {m.upper() for m in item}
        for method, want in [(m, 405) for m in sorted(wrong)] + [("OPTIONS", 204)]:
            connection = http.client.HTTPConnection(fast.url.removeprefix("http://"), timeout=30)
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            assert (answer.status, answer.headers["Allow"]) == (want, allow), (method, path)
            assert bool(body) == (want == 405)
            connection.close()
        kept = path.startswith("/api/") and path not in ("/api/info", "/api/events")  # this server keeps no chats
        if "get" in item and "some" not in path and not path.startswith("/assets/") and not kept:
            fields = {"Authorization": "Bearer " + ADMIN_KEY, "Accept-Encoding": "gzip"}
            with urllib.request.urlopen(urllib.request.Request(fast.url + path, None, fields, method="HEAD"), timeout=30) as answer:
                assert answer.status == 200 and answer.read() == b""
