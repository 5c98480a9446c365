"""/docs: Swagger UI where it is built in, else a plain page; nothing of either comes from elsewhere."""
import gzip
import re
import urllib.error
import urllib.request

from conftest import ROOT

UI = ROOT / "build/swagger-ui"


def get(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as r:
            return r.status, r.headers, r.read()
    except urllib.error.HTTPError as r:
        return r.code, r.headers, r.read()


def test_the_page_and_its_files(fast):
    status, headers, page = get(fast.url + "/docs")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    links = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
    assert not [link for link in links if not link.startswith(("docs/", "openapi.json", "data:"))]
    if not (UI / "swagger-ui-bundle.js.gz").exists():
        assert b"tools/swagger_ui.py" in page and b"POST /v1/chat/completions" in page
        assert get(fast.url + "/docs/swagger-ui-bundle.js")[0] == 404
        return
    assert "script-src 'self'" in headers["Content-Security-Policy"] and "unsafe" not in headers["Content-Security-Policy"]
    files = ["/" + link for link in links if link.startswith("docs/")]
    assert "/docs/swagger-ui-bundle.js" in files
    for link in [*files, "/docs/LICENSE"]:
        status, headers, body = get(fast.url + link, **{"Accept-Encoding": "gzip"})
        assert status == 200 and headers["X-Content-Type-Options"] == "nosniff"
        kept = UI / (link.rsplit("/", 1)[1] + ".gz")
        assert (headers["Content-Encoding"] == "gzip") == kept.exists()
        if kept.exists():
            assert body == kept.read_bytes() and len(gzip.decompress(body)) > len(body)
            assert get(fast.url + link)[0] == 406
        again, headers, body = get(fast.url + link, **{"Accept-Encoding": "gzip", "If-None-Match": headers["ETag"]})
        assert again == 304 and body == b"" and headers["ETag"]


def test_the_front_page_lists_the_endpoints(fast):
    status, headers, page = get(fast.url + "/")
    assert status == 200 and "default-src 'none'" in headers["Content-Security-Policy"]
    for what in ("POST /v1/chat/completions", "POST /tokenize", "GET /openapi.json", 'href="docs"'):
        assert what in page.decode()
