"""The page's models: what is here, what it would take, loading and deleting what the server was not started with, and
pulling from a hub (a look-alike on loopback)."""
import importlib.util
import json
import os
import shutil
import signal
import subprocess

import pytest
import tiny
from conftest import ROOT, SAMPAN, wait_until
from test_history import Listener, Page

GGUF = ROOT / "tests/data/models/qwen2-gguf/model.gguf"
spec = importlib.util.spec_from_file_location("hubs", ROOT / "tests/cli/hubs.py")
hubs_file = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hubs_file)


@pytest.fixture
def hubs():
    h = hubs_file.Hubs()
    yield h
    h.close()


class Store:
    """A store of its own, and servers with it."""

    def __init__(self, root, hubs):
        self.root, self.made = root, []
        self.env = {**os.environ, "SAMPAN_STORE": str(root / "store"), "HF_HOME": str(root), "HF_TOKEN": "", "HF_ENDPOINT": hubs.url,
                    "MODELSCOPE_ENDPOINT": hubs.url, "MODELSCOPE_API_TOKEN": ""}

    def put(self, name):
        folder = tiny.make(self.root / name)
        done = subprocess.run([SAMPAN, "pull", str(folder), "--name", name], env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def serve(self, model, *args):
        self.made.append(Page(model, self.root / "history.db", "--max-context", "2048", "--max-seqs", "2", *args, env=self.env))
        return self.made[-1]

    def end(self):
        for s in self.made:
            if s.process.poll() is None:
                s.end()


@pytest.fixture
def store(tmp_path, hubs):
    s = Store(tmp_path, hubs)
    s.put("one")
    s.put("two")
    yield s
    s.end()


def models(page):
    return {m["name"]: m for m in page.ok("GET", "/api/models")["data"]}


def do(page, name, what, want=200):
    status, said = page.call("POST", f"/api/models/{name}/{what}", {})
    assert status == want, said
    return said


def answers(page, model):
    return page.client.completions.create(model=model, prompt="ab", max_tokens=4, temperature=0, extra_body={"ignore_eos": True}).choices[0].text


# ---- what there is ----

def test_the_list(store):
    page = store.serve("one")
    said = page.ok("GET", "/api/models")
    found = {m["name"]: m for m in said["data"]}
    assert set(found) == {"one", "two"}
    one, two = found["one"], found["two"]
    assert (one["id"], one["state"], one["added"], one["stored"]) == ("one", "loaded", False, True) and one["memory_bytes"] > 0
    assert (two["id"], two["state"], two["memory_bytes"], two["context"]) == (None, "not_served", 0, None)
    assert two["need_bytes"] > 0 and two["fit"] == "fits" and two["need_context"] == 2048 and two["max_context"] == tiny.CONTEXT
    assert two["bytes"] > 0 and two["format"] and two["damage"] is None
    memory = said["memory"]
    assert 0 < memory["used_bytes"] <= memory["limit_bytes"] and memory["used_bytes"] == one["memory_bytes"]
    best = {m["name"] for m in said["catalogue"]}
    assert said["best"] in best and len(best) > 10 and all(m["fit"] in ("fits", "tight", "no") for m in said["catalogue"])
    assert said["store"]["path"] == store.env["SAMPAN_STORE"]


def test_fit_against_a_limit(store):
    need = models(store.serve("one"))["one"]
    store.end()
    page = store.serve("one", "--memory", str(int(need["memory_bytes"] * 1.5)))
    found = models(page)
    assert found["one"]["state"] == "loaded" and found["two"]["fit"] == "tight"
    assert {m["fit"] for m in page.ok("GET", "/api/models")["catalogue"]} == {"no"}


def test_details(store):
    page = store.serve("one")
    said = page.ok("GET", "/api/models/two")
    shown = json.loads(subprocess.run([SAMPAN, "show", "two", "--json", "--context", "2048"], env=store.env, capture_output=True, text=True,
                                      timeout=60).stdout)
    assert {k: said[k] for k in shown if k in said and k != "packed"} == {k: v for k, v in shown.items() if k in said and k != "packed"}
    assert said["layers"] == tiny.LAYERS and "im_start" in said["template_text"] and said["context"] == tiny.CONTEXT
    assert page.call("GET", "/api/models/three")[0] == 404
    assert page.call("GET", "/api/models/..%2F..%2Fetc%2Fpasswd")[0] == 404
    assert page.call("GET", "/api/models/" + str(store.root / "one").replace("/", "%2F"))[0] == 404


def test_a_damaged_file_says_so(store):
    page = store.serve("one")
    (store.root / "store/models/two/config.json").write_text("{")
    two = models(page)["two"]
    assert two["damage"] and two["fit"] is None and two["need_bytes"] is None
    assert page.call("GET", "/api/models/two")[0] == 422
    assert page.call("POST", "/api/models/two/load", {})[0] == 500
    assert models(page)["two"]["state"] == "failed" and models(page)["two"]["error"]
    answers(page, "one")


# ---- loading what the server was not started with ----

def test_load_use_and_unload(store):
    page = store.serve("one")
    listener = Listener(page)
    assert page.call("GET", "/v1/models/two")[0] == 404
    assert do(page, "two", "load")["state"] == "loaded"
    assert answers(page, "two") and {m["id"] for m in page.ok("GET", "/api/info")["models"]} == {"one", "two"}
    listener.until(lambda name, data: name == "model" and (data["id"], data["state"]) == ("two", "loaded"))
    assert models(page)["two"]["added"] is True
    do(page, "two", "sleep")
    assert models(page)["two"]["state"] == "asleep"
    do(page, "two", "wake")
    assert do(page, "two", "unload")["state"] == "unloaded"
    assert answers(page, "two"), "in the list, it is loaded on request like any other"
    do(page, "three", "load", 404)
    do(page, "three", "unload", 404)
    listener.close()


def test_a_reload_of_the_list_keeps_it(store):
    page = store.serve("one")
    do(page, "two", "load")
    page.process.send_signal(signal.SIGHUP)
    page.process.send_signal(signal.SIGHUP)
    assert answers(page, "two")
    assert models(page)["two"]["state"] == "loaded" and page.ok("GET", "/v1/models/two")["id"] == "two"


def test_memory_is_kept_to(store):
    size = models(store.serve("one"))["one"]["memory_bytes"]
    store.end()
    page = store.serve("one", "--memory", str(int(size * 1.2)))
    do(page, "two", "load")
    found = models(page)
    assert (found["one"]["state"], found["two"]["state"]) == ("unloaded", "loaded")
    said = page.ok("GET", "/api/models")["memory"]
    assert said["used_bytes"] <= said["limit_bytes"]


def test_a_model_outside_the_store(store):
    page = store.serve(str(store.root / "one"))
    found = page.ok("GET", "/api/models")["data"]
    assert [m["state"] for m in found if m["name"] == "one" and m["stored"]] == ["not_served"], "the store's is another"
    path, = (m for m in found if not m["stored"])
    assert path["path"] == str(store.root / "one") and path["state"] == "loaded" and path["bytes"] is None


# ---- deleting ----

def test_delete(store):
    page = store.serve("one")
    folder = store.root / "store/models/two"
    size = models(page)["two"]["bytes"]
    assert page.ok("DELETE", "/api/models/two")["freed_bytes"] >= size and not folder.exists()
    assert page.call("DELETE", "/api/models/two")[0] == 404
    assert set(models(page)) == {"one"}


def test_delete_refuses_what_is_used(store):
    page = store.serve("one")
    do(page, "two", "load")
    status, said = page.call("DELETE", "/api/models/two")
    assert (status, said["error"]["code"]) == (409, "model_in_use") and "unload" in said["error"]["message"]
    do(page, "two", "unload")
    assert wait_until(lambda: models(page)["two"]["state"] == "unloaded")
    page.ok("DELETE", "/api/models/two")
    assert {m["id"] for m in page.ok("GET", "/api/info")["models"]} == {"one"}
    do(page, "one", "unload")
    status, said = page.call("DELETE", "/api/models/one")
    assert status == 409 and "only model" in said["error"]["message"]
    assert answers(page, "one")


def test_delete_touches_nothing_outside(store):
    page = store.serve(str(store.root / "one"))
    for name in ("..", "%2E%2E", "..%2F..%2Fone", str(store.root / "one").replace("/", "%2F"), "one%2F..%2Ftwo"):
        assert page.call("DELETE", f"/api/models/{name}")[0] in (400, 404), name
    assert (store.root / "one/config.json").exists() and (store.root / "store/models/two/config.json").exists()


# ---- pulling ----

DATA = GGUF.read_bytes()
BIG = DATA + b"\0" * ((8 << 20) - len(DATA))


def start_pull(page, spec, **more):
    return page.ok("POST", "/api/jobs", {"kind": "pull", "params": {"spec": spec, **more}})["id"]


def job(page, id):
    return page.ok("GET", f"/api/jobs/{id}")


def job_state(page, id, *wanted):
    assert wait_until(lambda: job(page, id)["state"] in wanted, 60), job(page, id)
    return job(page, id)


@pytest.fixture
def hub(hubs):
    """A file that takes a while, and a folder that runs."""
    hubs.offer("acme/boat", **{"boat-q4_k_m__gguf": BIG})
    return hubs


@pytest.fixture
def skiff(hubs, store):
    hubs.repos["acme/skiff"] = {f.name: f.read_bytes() for f in (store.root / "one").iterdir()}
    return sum(len(data) for data in hubs.repos["acme/skiff"].values())


def test_pull_and_serve_at_once(store, skiff):
    page = store.serve("one")
    listener = Listener(page)
    id = start_pull(page, "hf:acme/skiff")
    listener.until(lambda name, data: name == "job" and data["id"] == id and data["state"] == "done")
    done = job_state(page, id, "done")
    assert done["result"] == {"name": "skiff"} and done["title"] == "skiff" and done["progress"] == {"done": skiff, "total": skiff, "unit": "bytes"}
    found = models(page)["skiff"]
    assert (found["state"], found["id"], found["source"], found["bytes"]) == ("not_served", None, "hf:acme/skiff", skiff) and found["commit"]
    do(page, "skiff", "load")
    assert answers(page, "skiff") == answers(page, "one") and models(page)["one"]["state"] == "loaded"
    listener.close()


def test_with_all_models_it_is_served_without_loading(store, skiff):
    page = store.serve("one", "--all-models")
    job_state(page, start_pull(page, "hf:acme/skiff"), "done")
    assert {m["id"] for m in page.ok("GET", "/api/info")["models"]} == {"one", "two", "skiff"}
    assert models(page)["skiff"]["state"] == "unloaded" and answers(page, "skiff")


def test_pause_and_resume(store, hub):
    """What came stays, and the same bytes come out; asked for are only those that were missing."""
    hub.faults["cdn"] = ["stall"] * 8
    page = store.serve("one")
    id = start_pull(page, "hf:acme/boat")
    assert wait_until(lambda: job(page, id)["progress"]["done"] > 0)
    page.ok("POST", f"/api/jobs/{id}/pause", {})
    paused = job_state(page, id, "paused")
    assert 0 < paused["progress"]["done"] < len(BIG) and "boat" not in models(page)
    hub.faults["cdn"] = []
    before = len(hub.kinds("cdn"))
    page.ok("POST", f"/api/jobs/{id}/resume", {})
    job_state(page, id, "done")
    assert (store.root / "store/models/boat/boat-q4_k_m.gguf").read_bytes() == BIG
    asked = [r[3].get("Range", "bytes=0-") for r in hub.kinds("cdn")[before:]]
    assert asked and "bytes=0-" not in asked


def test_cancel(store, hub):
    hub.faults["cdn"] = ["stall"] * 8
    page = store.serve("one")
    id = start_pull(page, "hf:acme/boat")
    assert wait_until(lambda: job(page, id)["progress"]["done"] > 0)
    page.ok("POST", f"/api/jobs/{id}/cancel", {})
    job_state(page, id, "cancelled")
    assert "boat" not in models(page)


def test_a_killed_server_leaves_a_pull_that_goes_on(store, hub):
    hub.faults["cdn"] = ["stall"] * 8
    page = store.serve("one")
    id = start_pull(page, "hf:acme/boat")
    assert wait_until(lambda: job(page, id)["progress"]["done"] > 0)
    page.process.kill()
    page.process.wait(timeout=20)
    hub.faults["cdn"] = []
    page = store.serve("one")
    assert job(page, id)["state"] == "interrupted"
    page.ok("POST", f"/api/jobs/{id}/resume", {})
    job_state(page, id, "done")
    assert (store.root / "store/models/boat/boat-q4_k_m.gguf").read_bytes() == BIG


def test_what_can_t_be_pulled(store, hub):
    page = store.serve("one")
    for spec, code in (("hf:acme/nothing", "failed"), ("hf:acme/boat:Q8_0", "failed")):
        failed = job_state(page, start_pull(page, spec), code)
        assert failed["error"]["message"], spec
    for params in ({"spec": "/etc/passwd"}, {"spec": str(store.root / "two")}, {"spec": "nowhere"}, {"spec": ""}, {"spec": 7}, {},
                   {"spec": "hf:acme/boat", "name": "../../x"}, {"spec": "hf:acme/boat", "name": 3}):
        status, said = page.call("POST", "/api/jobs", {"kind": "pull", "params": params})
        assert status == 400 and said["error"]["param"] in ("spec", "name"), params
    assert sorted(models(page)) == ["one", "two"]


def test_a_key_pulls_nothing(store, hub):
    page = store.serve("one", "--api-key", "key-of-a-program")
    status, said = page.call("POST", "/api/jobs", {"kind": "pull", "params": {"spec": "hf:acme/boat"}},
                             headers={"Authorization": "Bearer key-of-a-program"})
    assert (status, said["error"]["code"]) == (403, "not_allowed")
