"""schemathesis reads /openapi.json and tries the server with right and wrong requests: what comes back must be what the
document says, and nothing wrong may be taken."""
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import Server

MODEL, VOCAB = "smollm2-135m", 49152
SECONDS = 900  # a few dozen on an idle machine
KEY, ADMIN = "schema-key", "schema-admin-key"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A short context bounds what one answer may cost."""
    history = tmp_path_factory.mktemp("schema") / "history.db"
    s = Server("--max-context", "96", "--api-key", KEY, "--admin-key", ADMIN, "--history", str(history), model=MODEL)
    yield s
    s.end()


def bound(document):
    """The document as this model has it: a name that is served and token ids that exist, else most requests are 404; and
    short answers."""
    schemas = document["components"]["schemas"]
    for name in ("ChatRequest", "CompletionRequest"):
        schemas[name]["properties"]["model"] = {"enum": [MODEL]}
    for path in ("/v1/chat/completions", "/v1/completions"):
        example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        example.update(model=MODEL, max_tokens=2)
    for name in ("TokenizeRequest", "DetokenizeRequest"):
        schemas[name]["properties"]["model"] = {"enum": [MODEL, None]}
    schemas["DetokenizeRequest"]["properties"]["tokens"]["items"]["maximum"] = VOCAB - 1
    return document


def test_schemathesis_finds_nothing(small, tmp_path):
    tried = explore(small, tmp_path, KEY, lambda path: not path.startswith(("/admin/", "/api/")))
    assert tried > 500
    print(f"schemathesis: {tried} requests")


def test_schemathesis_finds_nothing_in_the_page_s_api(small, tmp_path):
    """All but the stream of events, which never ends."""
    assert explore(small, tmp_path, KEY, lambda path: path.startswith("/api/") and path != "/api/events") > 300


def test_schemathesis_finds_nothing_in_admin(small, tmp_path):
    """All but what would end the server."""
    assert explore(small, tmp_path, ADMIN, lambda path: path.startswith("/admin/") and path != "/admin/drain") > 30


def explore(small, tmp_path, key, wanted):
    document = json.load(urllib.request.urlopen(small.url + "/openapi.json", timeout=60))
    bound(document)
    document["paths"] = {path: item for path, item in document["paths"].items() if wanted(path)}
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    # TRACE is missing: the server answers 501 to methods it does not know (RFC 9110, 9.1), not 405.
    (tmp_path / "schemathesis.toml").write_text(
        '[phases.coverage]\nunexpected-methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]\n')
    # Whether a conversation suits the model and its context is for its template to say: a right request may get 400.
    command = [Path(sys.executable).parent / "schemathesis", "--config-file", "schemathesis.toml", "run", "openapi.json",
               "--url", small.url, "--seed", "1", "--phases", "examples,coverage,fuzzing", "--max-examples", "25",
               "--checks", "all", "--exclude-checks", "positive_data_acceptance", "--header", f"Authorization: Bearer {key}",
               "--request-timeout", "120", "--max-response-time", "120", "--suppress-health-check", "all", "--generation-database", "none",
               "--warnings", "off", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    return int(re.search(r"(\d+) generated", done.stdout).group(1))
