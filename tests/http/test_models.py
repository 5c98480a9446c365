"""Several models in one server: loaded on demand, unloaded by least use, never while busy; asleep and awake; replaced under
a running stream; a list that changes."""
import concurrent.futures
import http.client
import json
import re
import shutil
import signal
import subprocess
import threading

import numpy as np
import pytest
import tiny
from conftest import SAMPAN, Server, wait_until
from test_keys import ADMIN, key, send

KEY = {"Authorization": "Bearer " + ADMIN}
CONTEXT = 2048


def make(folder, seed):
    """A tiny model whose answers are its own."""
    tiny.make(folder)
    data = (folder / "model.safetensors").read_bytes()
    size = 8 + int.from_bytes(data[:8], "little")
    values = np.frombuffer(data[size:], "<f4") * np.random.default_rng(seed).uniform(.5, 1.5, (len(data) - size) // 4).astype("<f4")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(data[:size] + values.astype("<f4").tobytes())
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: make(root / name, i) for i, name in enumerate(("one", "two", "three"), 1)}


@pytest.fixture
def serve(folders):
    made = []

    def start(*args, names=("one", "two", "three"), **more):
        models = [a for n in names[1:] for a in ("--model", str(folders[n]))]
        made.append(Several(folders[names[0]], "--max-context", str(CONTEXT), "--admin-key", ADMIN, *models, *args, **more))
        return made[-1]
    yield start
    for s in made:
        if s.process.poll() is None:
            s.end()


class Several(Server):
    def __init__(self, first, *args, **more):
        super().__init__(*args, model=str(first), **more)


def complete(s, model, prompt="ab", tokens=24, **more):
    body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, **more}
    return send(s, "POST", "/v1/completions", body)


def text(s, model, **more):
    status, _, said = complete(s, model, **more)
    assert status == 200, said
    return said["choices"][0]["text"]


def models(s):
    return {m["id"]: m for m in send(s, "GET", "/admin/status", **KEY)[2]["models"]}


def states(s):
    return {name: m["state"] for name, m in models(s).items()}


def admin(s, what, model, status=200, **more):
    got, _, said = send(s, "POST", "/admin/" + what, {"model": model, **more}, **KEY)
    assert got == status, said
    return said


class Stream:
    """A streamed answer on its way; join() gives its text and whether it came to its end."""
    def __init__(self, s, model, tokens=CONTEXT - 200):
        self.parts, self.end, self.begun = [], None, threading.Event()
        stream = s.client.completions.create(model=model, prompt="ab", max_tokens=tokens, temperature=0, stream=True, timeout=120,
                                             extra_body={"ignore_eos": True})

        def read():
            for chunk in stream:
                self.parts.append(chunk.choices[0].text)
                self.end = chunk.choices[0].finish_reason or self.end
                self.begun.set()
        self.thread = threading.Thread(target=read)
        self.thread.start()
        assert self.begun.wait(60)

    def join(self):
        self.thread.join(120)
        return "".join(self.parts), self.end


def memory_of(s):
    return send(s, "GET", "/admin/status", **KEY)[2]["memory"]


def test_loaded_on_demand_and_listed_before(serve):
    s = serve("--load", "demand")
    assert states(s) == {"one": "unloaded", "two": "unloaded", "three": "unloaded"}
    listed = {m["id"]: m for m in send(s, "GET", "/v1/models")[2]["data"]}
    assert {"one", "two", "three"} <= set(listed)
    assert (listed["two"]["state"], listed["two"]["max_model_len"], listed["two"]["format"]) == ("unloaded", None, None)
    first = text(s, "two")
    assert states(s) == {"one": "unloaded", "two": "loaded", "three": "unloaded"}
    assert send(s, "GET", "/v1/models/two")[2]["max_model_len"] == CONTEXT
    assert text(s, "one") != first and text(s, "two") == first  # whose weights answered
    assert send(s, "POST", "/tokenize", {"model": "three", "prompt": "ab"})[2]["tokens"] == [97, 98]
    assert set(states(s).values()) == {"loaded"}
    status, _, said = complete(s, "four")
    assert status == 404 and said["error"]["code"] == "model_not_found" and states(s).keys() == {"one", "two", "three"}


def test_first_calls_at_once_load_once(serve):
    s = serve("--load", "demand")
    with concurrent.futures.ThreadPoolExecutor(24) as many:
        answers = list(many.map(lambda i: text(s, ("one", "two", "three")[i % 3]), range(24)))
    assert [m["version"] for m in models(s).values()] == [1, 1, 1]
    for i in range(3):
        assert len(set(answers[i::3])) == 1


def limit_for(s, n):
    """--memory for n of them, from what one takes."""
    text(s, "one")
    return str(int(models(s)["one"]["memory_bytes"] * n))


def test_least_used_goes_under_a_limit(serve):
    size = limit_for(serve("--load", "demand", "--max-seqs", "1"), 2.2)
    s = serve("--load", "demand", "--max-seqs", "1", "--memory", size)
    for name in ("one", "two", "one", "three"):
        text(s, name)
    assert states(s) == {"one": "loaded", "two": "unloaded", "three": "loaded"}
    memory = memory_of(s)
    assert memory["limit_bytes"] == int(size) >= memory["used_bytes"] > 0
    text(s, "two")
    assert states(s) == {"one": "unloaded", "two": "loaded", "three": "loaded"}


def test_never_while_busy(serve):
    """The second waits for the first to end, though there is no room for both; then they take turns."""
    size = limit_for(serve("--load", "demand", "--max-seqs", "1"), 1.2)
    s = serve("--load", "demand", "--max-seqs", "1", "--memory", size)
    alone = text(s, "one", tokens=CONTEXT - 200)
    stream = Stream(s, "one")
    with concurrent.futures.ThreadPoolExecutor(8) as many:
        others = [many.submit(text, s, name) for name in ("two", "three", "one", "two")]
        assert stream.join() == (alone, "length")
        assert all(o.result(60) for o in others)
    assert sum(state == "loaded" for state in states(s).values()) == 1
    assert memory_of(s)["used_bytes"] <= int(size)


def test_what_can_never_fit(serve):
    s = serve("--memory", "200K", "--load", "demand")
    status, _, said = complete(s, "one")
    assert status == 507 and said["error"]["code"] == "insufficient_memory" and re.search(r"needs \d+ MB", said["error"]["message"])
    assert models(s)["one"]["state"] == "failed" and "needs" in models(s)["one"]["error"]
    # At start all must fit together, and nobody is unloaded for another.
    refused = subprocess.run([SAMPAN, "serve", "--port", "0", "--memory", "200K", "--model", s.model], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "allow more" in refused.stderr


def test_idle_models_are_unloaded(serve):
    s = serve("--idle-unload", "1.5")
    assert set(states(s).values()) == {"loaded"}  # at start
    stream = Stream(s, "one")
    assert wait_until(lambda: (states(s)["two"], states(s)["three"]) == ("unloaded", "unloaded"))
    stream.join()
    assert wait_until(lambda: states(s)["one"] == "unloaded") and memory_of(s)["used_bytes"] == 0
    assert text(s, "one") and states(s)["one"] == "loaded"


def test_sleep_and_wake(serve):
    s = serve(names=("one", "two"))
    before, awake = text(s, "one"), models(s)["one"]["memory_bytes"]
    stream = Stream(s, "one")
    assert admin(s, "sleep", "one", 409)["error"]["code"] == "model_state"
    stream.join()
    assert wait_until(lambda: send(s, "POST", "/admin/sleep", {"model": "one"}, **KEY)[0] == 200)
    assert admin(s, "sleep", "one")["state"] == "asleep" and models(s)["one"]["memory_bytes"] < awake / 2
    assert text(s, "two") and states(s)["one"] == "asleep"
    assert admin(s, "wake", "one")["memory_bytes"] == awake and text(s, "one") == before
    admin(s, "sleep", "one")
    with concurrent.futures.ThreadPoolExecutor(6) as many:  # who asks wakes it
        assert set(many.map(lambda _: text(s, "one"), range(6))) == {before}
    assert models(s)["one"]["version"] == 1
    admin(s, "unload", "two")
    assert admin(s, "wake", "two", 409)["error"]["code"] == "model_state" == admin(s, "sleep", "two", 409)["error"]["code"]


@pytest.mark.parametrize("store", [False, True], ids=["", "prefix store"])
def test_replaced_under_a_running_stream(serve, folders, tmp_path, store):
    folder = shutil.copytree(folders["one"], tmp_path / "pet")
    args = ["--prefix-store", str(tmp_path / "prefixes")] if store else []
    s = Several(folder, "--max-context", str(CONTEXT), "--admin-key", ADMIN, *args)
    try:
        old, whole = text(s, "pet"), text(s, "pet", tokens=CONTEXT - 200)
        stream = Stream(s, "pet")
        for name in ("config.json", "model.safetensors"):  # in its place, as a pull does it
            shutil.copy(folders["two"] / name, tmp_path / "new")
            (tmp_path / "new").rename(folder / name)
        said = admin(s, "load", "pet", replace=True)
        assert (said["state"], said["version"]) == ("loaded", 2)
        new = text(s, "pet")
        assert stream.join() == (whole, "length")
        assert new != old and text(s, "pet") == new
        assert admin(s, "load", "pet", replace=True)["version"] == 3 and text(s, "pet") == new  # the same files again
        assert wait_until(lambda: memory_of(s)["used_bytes"] == models(s)["pet"]["memory_bytes"])
        (folder / "model.safetensors").rename(folder / "gone")
        assert admin(s, "load", "pet", 500, replace=True)["error"]["code"] == "model_load_failed"
        assert text(s, "pet") == new and states(s)["pet"] == "loaded"  # the one that there is goes on
    finally:
        s.end()


def test_a_load_that_fails_and_the_next(folders, tmp_path):
    folder = shutil.copytree(folders["one"], tmp_path / "pet")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:1000])
    s = Several(folder, "--load", "demand", "--admin-key", ADMIN)
    try:
        with concurrent.futures.ThreadPoolExecutor(6) as many:
            for status, _, said in many.map(lambda _: complete(s, "pet"), range(6)):
                assert status == 500 and said["error"]["code"] == "model_load_failed" and "model.safetensors" in said["error"]["message"]
        assert states(s)["pet"] == "failed" and send(s, "GET", "/readyz")[0] == 200
        (folder / "model.safetensors").write_bytes(weights)
        assert wait_until(lambda: complete(s, "pet")[0] == 200) and states(s)["pet"] == "loaded"
    finally:
        s.end()


def test_names(folders):
    s = Several(folders["one"], "--model", f"small={folders['two']}", "--model", f"fast={folders['two']}", "--load", "demand", "--admin-key", ADMIN)
    try:
        assert text(s, "small") == text(s, "fast") == text(s, "two") != text(s, "one")
        assert models(s).keys() == {"one", "small"} and models(s)["small"]["version"] == 1
        assert {m["id"] for m in send(s, "GET", "/v1/models")[2]["data"] if m["root"] == "small"} == {"small", "fast", "two"}
    finally:
        s.end()
    done = subprocess.run([SAMPAN, "serve", "--model", f"x={folders['one']}", "--model", f"x={folders['two']}"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "two models are called x" in done.stderr


def test_keys_see_their_models(serve, tmp_path):
    mine = key(tmp_path / "keys", "new", "mine", "--allow-model", "two")
    s = serve("--load", "demand", "--keys", str(tmp_path / "keys"))
    head = {"Authorization": "Bearer " + mine}
    assert send(s, "POST", "/v1/completions", {"model": "one", "prompt": "a"}, **head)[0] == 404 and states(s)["one"] == "unloaded"
    assert {m["id"] for m in send(s, "GET", "/v1/models", **head)[2]["data"]} == {"two"}
    assert send(s, "POST", "/v1/completions", {"model": "two", "prompt": "a", "max_tokens": 2}, **head)[0] == 200
    assert send(s, "POST", "/tokenize", {"prompt": "a"}, **head)[0] == 200 and states(s)["one"] == "unloaded"


def test_flushing_the_cache(serve):
    s = serve(names=("one",))
    long = "x" * 300

    def cached():
        return complete(s, "one", prompt=long, tokens=1)[2]["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert (cached(), cached()) == (0, 256)
    assert admin(s, "flush-cache", "one")["pages"] >= 4
    assert (cached(), cached()) == (0, 256)
    for body, status in (({"model": "none"}, 404), ({}, 400), ({"model": 7}, 400)):
        assert send(s, "POST", "/admin/flush-cache", body, **KEY)[0] == status


def waiting(s):
    return [r for r in send(s, "GET", "/admin/requests", **KEY)[2]["data"] if r["state"] == "waiting_for_model"]


def test_who_waits_is_seen_cancelled_and_late(serve):
    args = ["--load", "demand", "--max-seqs", "128", "--kv-memory", "32M"]
    size = limit_for(serve(*args), 1.2)
    s = serve(*args, "--memory", size, "--queue-timeout", "2")
    holder = open_request(s, {"model": "one", "prompt": "ab", "max_tokens": CONTEXT - 200, "ignore_eos": True, "n": 120})
    assert wait_until(lambda: models(s)["one"]["running"] == 120)
    with concurrent.futures.ThreadPoolExecutor(8) as many:
        calls = [many.submit(complete, s, "two") for _ in range(2)]
        assert wait_until(lambda: len(waiting(s)) == 2)
        assert models(s)["two"]["waiting_for_model"] == 2 and metric(s, "model_requests_waiting", model_name="two") == 2
        assert wait_until(lambda: (states(s)["two"], states(s)["one"]) == ("loading", "unloading"))
        first = waiting(s)[0]
        assert first["model"] == "two" and first["endpoint"] == "/v1/completions" and first["id"].startswith("req-")
        assert send(s, "POST", "/admin/cancel", {"id": first["id"]}, **KEY)[0] == 200
        # One was cancelled; the other waits for longer than it may, or until the holder is done.
        ends = sorted((c.result(60)[0], c.result(60)[2].get("error", {}).get("code")) for c in calls)
        assert (503, "cancelled") in ends and set(ends) <= {(200, None), (503, "cancelled"), (503, "queue_timeout")}
    holder.close()
    assert wait_until(lambda: complete(s, "two")[0] == 200)


def open_request(s, body, chat=False):
    host, port = s.url[7:].split(":")
    line = http.client.HTTPConnection(host, int(port), timeout=60)
    if chat:
        body = body | {"messages": [{"role": "user", "content": body.pop("prompt")}]}
    line.request("POST", "/v1/chat/completions" if chat else "/v1/completions", json.dumps(body))
    return line


def test_who_asked_first_is_answered_first(serve):
    """A model that has just been loaded for some is not unloaded for the next one before they all have it."""
    args = ["--load", "demand", "--max-seqs", "128", "--kv-memory", "32M"]
    s = serve(*args, "--memory", limit_for(serve(*args), 1.2))
    assert complete(s, "two")[0] == 200
    for name, other in [("one", "two"), ("two", "one")] * 5:
        calls = [open_request(s, {"model": m, "prompt": "ab", "max_tokens": 2}) for m in [name] * 32 + [other]]
        assert [c.getresponse().status for c in calls] == [200] * 33
        for c in calls:
            c.close()
    loads = sum(metric(s, "model_loads_total", model_name=name) for name in ("one", "two"))
    assert loads <= 1 + 2 * 10  # fewer: the other may still be there when it is asked


def test_more_than_may_wait_are_told_to_come_later(serve):
    args = ["--load", "demand", "--max-seqs", "128", "--kv-memory", "32M"]
    size = limit_for(serve(*args), 1.2)
    s = serve(*args, "--memory", size, "--max-queue", "130")
    holder = open_request(s, {"model": "one", "prompt": "ab", "max_tokens": CONTEXT - 200, "ignore_eos": True, "n": 120})
    assert wait_until(lambda: models(s)["one"]["running"] == 120)
    wait = [open_request(s, {"model": "two", "prompt": "ab", "max_tokens": 1}) for _ in range(130)]
    assert wait_until(lambda: len(waiting(s)) == 130)
    status, head, said = complete(s, "two")
    assert status == 429 and said["error"]["code"] == "queue_full" and int(head["Retry-After"]) >= 1
    holder.close()
    assert {line.getresponse().status for line in wait} == {200}  # and nobody who waited was forgotten


def test_a_stream_that_waits_is_kept_alive(serve):
    """A proxy gives a silent answer up. What goes wrong from then on is told by an event."""
    args = ["--load", "demand", "--max-seqs", "1", "--max-queue", "500", "--kv-memory", "32M"]
    size = limit_for(serve(*args), 1.2)
    s = serve(*args, "--memory", size)
    holders = [open_request(s, {"model": "one", "prompt": "ab", "max_tokens": CONTEXT - 200, "ignore_eos": True, "n": 120}) for _ in range(3)]
    assert wait_until(lambda: models(s)["one"]["running"] == 1)
    streams = [open_request(s, {"model": "two", "prompt": "ab", "max_tokens": 2, "stream": True, "temperature": t}, chat) for t, chat in
               ((0, False), (-1, False), (0, True))]
    whole = open_request(s, {"model": "two", "prompt": "ab", "max_tokens": 2})
    assert wait_until(lambda: sorted(r["stream"] for r in waiting(s)) == [False, True, True, True])
    answers = [line.getresponse() for line in streams]  # their heads, though the model isn't there
    assert len(waiting(s)) == 4 and {a.status for a in answers} == {200}
    assert {a.readline() for a in answers} == {b": waiting\n"}
    for line in holders:
        line.close()
    good, bad, chat = ([json.loads(e[6:]) for e in a.read().decode().split("\n") if e.startswith("data: {")] for a in answers)
    assert good[-1]["choices"][0]["finish_reason"] == "length" and chat[0]["choices"][0]["delta"]["role"] == "assistant"
    assert len(bad) == 1 and "temperature" in bad[0]["error"]["message"]
    assert whole.getresponse().status == 200


def test_a_replacement_without_room(serve):
    size = limit_for(serve("--load", "demand", "--max-seqs", "1"), 1.2)
    s = serve("--load", "demand", "--max-seqs", "1", "--memory", size, names=("one",))
    before = text(s, "one")
    said = admin(s, "load", "one", 507, replace=True)["error"]
    assert said["code"] == "insufficient_memory" and "/admin/unload" in said["message"] and text(s, "one") == before
    admin(s, "unload", "one")
    assert text(s, "one") == before and models(s)["one"]["version"] == 2


def test_a_client_that_leaves_waits_no_longer(serve):
    args = ["--load", "demand", "--max-seqs", "128", "--kv-memory", "32M"]
    size = limit_for(serve(*args), 1.2)
    s = serve(*args, "--memory", size)
    holder = open_request(s, {"model": "one", "prompt": "ab", "max_tokens": CONTEXT - 200, "ignore_eos": True, "n": 120})
    assert wait_until(lambda: models(s)["one"]["running"] == 120)
    gone = open_request(s, {"model": "two", "prompt": "ab"})
    # The loader has begun to make room: else the one that is busy would rightly stay.
    assert wait_until(lambda: len(waiting(s)) == 1 and states(s)["one"] == "unloading")
    gone.close()
    assert wait_until(lambda: waiting(s) == [] and states(s)["two"] == "unloaded")  # and nothing is loaded for nobody
    holder.close()
    assert wait_until(lambda: memory_of(s)["used_bytes"] == 0)


def test_the_list_changes_on_sighup(folders, tmp_path):
    config = tmp_path / "config.yaml"

    def write(*models):
        config.write_text("load: demand\nadmin-key: " + ADMIN + "\nmodel:\n" + "".join(f"  - {m}\n" for m in models))
    write(f"a={folders['one']}", f"b={folders['two']}")
    process = subprocess.Popen([SAMPAN, "serve", "--config", str(config), "--port", "0", "--max-context", str(CONTEXT)], stdout=subprocess.PIPE,
                               stderr=open(tmp_path / "log", "w"), text=True)
    try:
        line = next(line for line in process.stdout if line.startswith("Sampan answers"))
        s = type("S", (), {"url": line.split()[-1], "model": "a"})
        a, b = text(s, "a"), text(s, "b")
        write(f"a={folders['one']}", f"c={folders['two']}", f"d={folders['three']}")
        process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: models(s).keys() == {"a", "c", "d"})
        assert models(s)["a"]["state"] == "loaded" and models(s)["a"]["version"] == 1 and text(s, "a") == a
        assert complete(s, "b")[0] == 404 and text(s, "c") == b and text(s, "d") not in (a, b)
        write(f"a={folders['two']}")
        assert send(s, "POST", "/admin/reload", **KEY)[0] == 200
        assert models(s).keys() == {"a"} and wait_until(lambda: models(s)["a"]["version"] == 2) and text(s, "a") == b
        config.write_text("load: sideways\n")
        process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: "the models stay as they are" in (tmp_path / "log").read_text()) and text(s, "a") == b
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_the_whole_store(folders, tmp_path):
    store = tmp_path / "store"
    for name in ("one", "two"):
        subprocess.run([SAMPAN, "pull", str(folders[name]), "--name", name, "--store", str(store), "--quiet"], check=True, timeout=60)
    process = subprocess.Popen([SAMPAN, "serve", "--all-models", "--store", str(store), "--port", "0", "--admin-key", ADMIN], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    try:
        line = next(line for line in process.stdout if line.startswith("Sampan answers"))
        s = type("S", (), {"url": line.split()[-1]})
        assert states(s) == {"one": "unloaded", "two": "unloaded"}
        assert text(s, "one") != text(s, "two")
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def metric(s, name, **labels):
    lines = send(s, "GET", "/metrics")[2].decode().splitlines()
    for line in lines:
        if line.startswith("sampan:" + name + "{") and all(f'{k}="{v}"' for k, v in labels.items()) and \
                all(f'{k}="{v}"' in line for k, v in labels.items()):
            return float(line.split()[-1])
    return None


def test_metrics_outlive_an_unload(serve):
    s = serve("--load", "demand")
    assert metric(s, "model_loads_total", model_name="one") == 0 and metric(s, "generation_tokens_total", model_name="one") == 0
    assert metric(s, "model_state", model_name="one", state="unloaded") == 1
    text(s, "one", tokens=10)
    admin(s, "unload", "one")
    text(s, "one", tokens=10)
    assert metric(s, "generation_tokens_total", model_name="one") == 20
    assert metric(s, "iteration_tokens_total_count", model_name="one") > 0
    assert (metric(s, "model_loads_total", model_name="one"), metric(s, "model_unloads_total", model_name="one")) == (2, 1)
    assert metric(s, "model_state", model_name="one", state="loaded") == 1 and metric(s, "model_state", model_name="one", state="unloaded") == 0
    assert metric(s, "model_memory_bytes", model_name="one") == models(s)["one"]["memory_bytes"] > 0
    assert metric(s, "model_load_seconds_total", model_name="one") > 0 and metric(s, "model_requests_waiting", model_name="one") == 0
