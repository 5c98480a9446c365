"""`sampan pull` against a look-alike of the hubs: what breaks on the way must end in success or a clear error."""
import hashlib
import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT, SAMPAN, sampan

GGUF = (ROOT / "tests/data/models/qwen2-gguf/model.gguf").read_bytes()
FOLDER = ROOT / "tests/data/models/llama"
REPO = "acme/tiny"


def hf(hub, store, **more):
    return {**store, "HF_ENDPOINT": hub.url, "MODELSCOPE_ENDPOINT": hub.url, **more}


def stored(env):
    done = sampan("list", "--json", env=env)
    return {m["name"]: m for m in json.loads(done.stdout)}


def serve_file(hub, data=GGUF, name="tiny.gguf", rev="main"):
    hub.files[f"/{REPO}/resolve/{rev}/{name}"] = data


def test_a_file_of_a_repository(hub, store):
    serve_file(hub)
    env = hf(hub, store)
    done = sampan("pull", f"hf:{REPO}:tiny.gguf", env=env)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == GGUF
    entry = stored(env)["tiny"]
    assert entry["bytes"] == len(GGUF) and entry["sha256"] == hashlib.sha256(GGUF).hexdigest()
    again = sampan("pull", f"hf:{REPO}:tiny.gguf", env=env)
    assert again.returncode == 0 and "already" in again.stderr


def test_a_revision_and_modelscope(hub, store):
    serve_file(hub, rev="v2")
    assert sampan("pull", f"hf:{REPO}:tiny.gguf@v2", env=hf(hub, store)).returncode == 0
    hub.files[f"/models/{REPO}/resolve/master/other.gguf"] = GGUF
    done = sampan("pull", f"ms:{REPO}:other.gguf", env=hf(hub, store))
    assert done.returncode == 0 and "other" in stored(store)


def test_a_whole_repository(hub, store):
    names = sorted(p.name for p in FOLDER.iterdir() if not p.name.startswith("golden"))
    for name in names + ["README.md"]:
        serve_file(hub, (FOLDER / name).read_bytes() if name in names else b"read me", name)
    listing = {"siblings": [{"rfilename": n} for n in names + ["README.md", "onnx/model.safetensors"]]}
    hub.texts[f"/api/models/{REPO}/revision/main"] = (200, json.dumps(listing).encode())
    done = sampan("pull", f"hf:{REPO}", env=hf(hub, store))
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in Path(done.stdout.strip()).iterdir()) == sorted(names + ["sampan.json"])
    assert sampan("show", "--json", "tiny", env=store).returncode == 0


def test_a_repository_of_gguf_files(hub, store):
    listing = {"Data": {"Files": [{"Path": "x-q8_0.gguf", "Size": 5}, {"Path": "x-q4_k_m.gguf", "Size": len(GGUF)}]}}
    hub.texts[f"/api/v1/models/{REPO}/repo/files"] = (200, json.dumps(listing).encode())
    hub.files[f"/models/{REPO}/resolve/master/x-q4_k_m.gguf"] = GGUF
    done = sampan("pull", f"ms:{REPO}", env=hf(hub, store))
    assert done.returncode == 0 and done.stdout.strip().endswith("x-q4_k_m.gguf"), done.stderr


@pytest.mark.parametrize("faults", [["cut"], ["cut", "cut", "cut"], [500], [429, 503], ["redirect"], ["cut", "no ranges"],
                                    ["cut", 502, "redirect", "cut"]])
def test_faults_that_pass(hub, store, faults):
    serve_file(hub)
    hub.faults = list(faults)
    done = sampan("pull", f"hf:{REPO}:tiny.gguf", env=hf(hub, store))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == GGUF
    if faults[0] == "cut":
        assert any("Range" in headers for _, headers in hub.requests), "it starts over instead of going on"


@pytest.mark.parametrize("fault,words", [(404, "no such file"), (403, "refuses access"), (401, "refuses access")])
def test_faults_that_stay(hub, store, fault, words):
    serve_file(hub)
    hub.faults = [fault] * 9
    done = sampan("pull", f"hf:{REPO}:tiny.gguf", env=hf(hub, store))
    assert done.returncode == 1 and words in done.stderr
    assert stored(store) == {}


def test_a_server_that_never_recovers(hub, store):
    serve_file(hub)
    hub.faults = [500] * 20
    done = sampan("pull", f"hf:{REPO}:tiny.gguf", env=hf(hub, store))
    assert done.returncode == 1 and "given up after 5 tries" in done.stderr


def test_a_wrong_sum(hub, store):
    serve_file(hub)
    hub.linked = "0" * 64
    done = sampan("pull", f"hf:{REPO}:tiny.gguf", env=hf(hub, store))
    assert done.returncode == 1 and "sha256" in done.stderr and "pull again" in done.stderr
    assert stored(store) == {}
    hub.linked = hashlib.sha256(GGUF).hexdigest()
    assert sampan("pull", f"hf:{REPO}:tiny.gguf", env=hf(hub, store)).returncode == 0


def test_a_file_that_changed_between_two_pulls(hub, store):
    serve_file(hub, b"x" * 1000)
    hub.faults = ["cut"] + [404] * 9
    assert sampan("pull", f"hf:{REPO}:tiny.gguf", env=hf(hub, store)).returncode == 1
    serve_file(hub)
    hub.faults, hub.etag = [], "tag-2"
    done = sampan("pull", f"hf:{REPO}:tiny.gguf", env=hf(hub, store))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == GGUF


def test_not_a_model(hub, store):
    serve_file(hub, GGUF[:len(GGUF) // 2])
    done = sampan("pull", f"hf:{REPO}:tiny.gguf", env=hf(hub, store))
    assert done.returncode == 1 and "incomplete" in done.stderr
    assert stored(store) == {}


def test_two_pulls_at_once(hub, store):
    serve_file(hub)
    env = {**os.environ, **hf(hub, store)}
    both = [subprocess.Popen([SAMPAN, "pull", f"hf:{REPO}:tiny.gguf"], env=env, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for p in both:
        out, err = p.communicate(timeout=60)
        assert p.returncode == 0, err
        assert Path(out.strip()).read_bytes() == GGUF


def test_ctrl_c_keeps_what_came(hub, store):
    serve_file(hub)
    hub.faults, hub.retry_after = [500] * 50, "5"
    p = subprocess.Popen([SAMPAN, "pull", f"hf:{REPO}:tiny.gguf"], env={**os.environ, **hf(hub, store)},
                         stderr=subprocess.PIPE, text=True)
    time.sleep(1)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=20)
    assert p.returncode == 1 and "what came is kept" in err


def test_addresses_and_paths(hub, store, tmp_path):
    hub.files["/files/direct.gguf"] = GGUF
    done = sampan("pull", f"{hub.url}/files/direct.gguf", env=store)
    assert done.returncode == 0 and "without TLS" in done.stderr
    copy = tmp_path / "mine.gguf"
    copy.write_bytes(GGUF)
    assert sampan("pull", copy, env=store).returncode == 0
    assert sampan("pull", FOLDER, env=store).returncode == 0
    assert set(stored(store)) == {"direct", "mine", "llama"}
    done = sampan("rm", "mine", "--yes", env=store)
    assert done.returncode == 0 and set(stored(store)) == {"direct", "llama"}
    done = sampan("rm", "mine", "--yes", env=store)
    assert done.returncode == 1 and "sampan list" in done.stderr


@pytest.mark.parametrize("spec,code", [("nosuch", 1), ("hf:noslash", 2), ("hf:a/../b", 2), ("hf:a/b:../../etc/passwd", 2),
                                       ("pip:x", 2), ("/no/such/file.gguf", 1)])
def test_specs_that_are_none(store, spec, code):
    done = sampan("pull", spec, env=store)
    assert done.returncode == code and done.stderr.startswith("sampan: ")


def test_offline(hub, store):
    serve_file(hub)
    done = sampan("pull", f"hf:{REPO}:tiny.gguf", "--offline", env=hf(hub, store))
    assert done.returncode == 1 and "--offline" in done.stderr and hub.requests == []


def test_a_catalogue_hub_that_accepts_and_never_answers(store):
    """The race's 3 s limit: the fall-back is said aloud within seconds."""
    import socket
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    begin = time.monotonic()
    done = sampan("pull", "qwen2.5-0.5b", env={**store, "HF_ENDPOINT": url, "MODELSCOPE_ENDPOINT": url})
    assert done.returncode == 1 and "did not answer within 3 s" in done.stderr
    assert time.monotonic() - begin < 8
    silent.close()


def test_the_faster_hub_wins(hub, store):
    hub.files["/Qwen/Qwen2.5-0.5B-Instruct-GGUF/resolve/main/qwen2.5-0.5b-instruct-q4_k_m.gguf"] = GGUF
    env = {**store, "HF_ENDPOINT": hub.url, "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9"}
    done = sampan("pull", "qwen2.5-0.5b", env=env)
    assert done.returncode == 0, done.stderr
    assert stored(store)["qwen2.5-0.5b"]["source"].startswith("hf:")


def test_a_full_disk(hub, store):
    """Writing fails midway (here: a limit on file sizes): said, nothing half is stored, and the next pull goes on."""
    data = GGUF + b"\0" * 400_000
    serve_file(hub, data)

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    done = subprocess.run([SAMPAN, "pull", f"hf:{REPO}:tiny.gguf"], env={**os.environ, **hf(hub, store)}, preexec_fn=limit,
                          restore_signals=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "is the disk full" in done.stderr
    assert stored(store) == {}
    done = sampan("pull", f"hf:{REPO}:tiny.gguf", env=hf(hub, store))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == data
    assert any(h.get("Range") == "bytes=200000-" for _, h in hub.requests)


def test_a_store_that_cannot_be_written():
    done = sampan("pull", "qwen2.5-0.5b", env={"SAMPAN_STORE": "/proc/self/nowhere"})
    assert done.returncode == 1 and done.stderr.startswith("sampan: ")
