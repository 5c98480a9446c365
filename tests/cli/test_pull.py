"""`sampan pull` and the store: what is chosen, what goes on where it stopped, what stands in the way of a whole model.
(test_hub_faults.py has the table of what goes wrong on the line.)"""
import http.server
import os
import pty
import resource
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT, SAMPAN, hub_env, sampan, stored
from hubs import COMMIT, Hubs, sha256

GGUF = (ROOT / "tests/data/models/qwen2-gguf/model.gguf").read_bytes()
BIG = GGUF + b"\0" * ((12 << 20) - len(GGUF))
FOLDER = ROOT / "tests/data/models/llama"
REPO = "acme/tiny"


def names(store):
    return {m["name"] for m in stored(store)}


def start(env, *args, **more):
    return subprocess.Popen([SAMPAN, "pull", *args], env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, **more)


# ---- what is chosen ----

SMALL = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
         "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "qwen.tiktoken", "tokenizer.model", "LICENSE"]
OTHERS = ["README.md", "model.onnx", "onnx/model.safetensors", "original/consolidated.00.pth", "consolidated.safetensors",
          "pytorch_model.bin", "model.fp16.safetensors", "adapter_model.safetensors", ".gitattributes", "training_args.bin"]


def folder_files():
    return {p.name: p.read_bytes() for p in FOLDER.iterdir() if p.suffix in (".json", ".safetensors") and "golden" not in p.name}


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_only_the_files_needed(hubs, store, tmp_path, hub):
    good = folder_files()
    hubs.repos[REPO] = {**{n: b"{}" for n in SMALL}, **{n: b"x" * 50 for n in OTHERS}, **good}
    done = sampan("pull", f"{hub}:{REPO}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 0, done.stderr
    got = {p.name for p in Path(done.stdout.strip()).iterdir()}
    assert got == set(SMALL) | set(good) | {"sampan.json"}
    assert stored(store)[0]["commit"] == COMMIT
    assert all(COMMIT in r[2] for r in hubs.kinds("hub")), "files of one commit are asked for"


def test_one_safetensors_file_before_shards(hubs, store, tmp_path):
    one = {p.name: p.read_bytes() for p in (ROOT / "tests/data/models/llama3").iterdir() if p.suffix in (".json", ".safetensors")}
    hubs.repos[REPO] = {**folder_files(), **one}
    done = sampan("pull", f"hf:{REPO}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 0, done.stderr
    assert [p.name for p in Path(done.stdout.strip()).glob("*.safetensors*")] == ["model.safetensors"]


QUANTS = {f"tiny-{q}.gguf": GGUF for q in ("q2_k", "q4_k_m", "q4_k_s", "iq4_nl", "q8_0", "bf16", "f16")}


@pytest.mark.parametrize("what,file", [("", "tiny-q4_k_m.gguf"), (":Q8_0", "tiny-q8_0.gguf"), (":f16", "tiny-f16.gguf"),
                                       (":BF16", "tiny-bf16.gguf"), (":*q2*", "tiny-q2_k.gguf"), (":tiny-q4_k_s.gguf", "tiny-q4_k_s.gguf")])
def test_quantizations(hubs, store, tmp_path, what, file):
    hubs.repos[REPO] = {**QUANTS, "mmproj-f16.gguf": b"a projector", "imatrix.gguf": b"statistics"}
    done = sampan("pull", f"hf:{REPO}{what}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 0 and Path(done.stdout.strip()).name == file, done.stderr


@pytest.mark.parametrize("what,listed", [(":*.gguf", 7), (":*q4_*", 3), (":Q4", 7), (":Q4_K", 7)])
def test_several_or_none_fit(hubs, store, tmp_path, what, listed):
    """The choices are listed as they may be typed."""
    hubs.repos[REPO] = QUANTS
    done = sampan("pull", f"hf:{REPO}{what}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode in (1, 2) and "name one of those above" in done.stderr
    assert done.stderr.count(f"  hf:{REPO}:tiny-") == listed and stored(store) == []


def split_parts(tmp_path):
    """Two parts by gguf's own writer."""
    import gguf
    reader = gguf.GGUFReader(ROOT / "tests/data/models/qwen2-gguf/model.gguf")
    writer = gguf.GGUFWriter(tmp_path / "part.gguf", "qwen2", split_max_tensors=(len(reader.tensors) + 1) // 2)
    for f in reader.fields.values():
        if not f.name.startswith(("GGUF.", "general.architecture")):
            writer.add_key_value(f.name, f.contents(), f.types[0], f.types[1] if len(f.types) > 1 else None)
    for t in reader.tensors:
        writer.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {f"Q4_K_M/{p.name}": p.read_bytes() for p in sorted(tmp_path.glob("part-0*.gguf"))}


def test_all_parts_of_a_split_model(hubs, store, tmp_path):
    parts = split_parts(tmp_path)
    assert len(parts) == 2
    hubs.repos[REPO] = {**parts, "tiny-q8_0.gguf": GGUF}
    done = sampan("pull", f"hf:{REPO}:Q4_K_M", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 0, done.stderr
    assert {p.name for p in Path(done.stdout.strip()).glob("*.gguf")} == {n.split("/")[1] for n in parts}
    assert sampan("show", "tiny-q4_k_m", env=store).returncode == 0
    hubs.repos[REPO].pop(min(parts))
    done = sampan("pull", f"hf:{REPO}:Q4_K_M", "--name", "again", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 1 and stored(store)[0]["name"] == "tiny-q4_k_m" and len(stored(store)) == 1


@pytest.mark.parametrize("files,words", [({}, "neither safetensors"), ({"README.md": b"x"}, "neither safetensors"),
                                         ({"config.json": b"{}", "pytorch_model.bin": b"x"}, "Python pickles"),
                                         ({"a/tiny-q8_0.gguf": GGUF, "b/tiny-q8_0.gguf": GGUF}, "name one of those above")])
def test_repositories_without_a_model(hubs, store, tmp_path, files, words):
    hubs.repos[REPO] = files
    done = sampan("pull", f"hf:{REPO}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode in (1, 2) and words in done.stderr and stored(store) == []


def test_not_a_model(hubs, store, tmp_path):
    hubs.repos[REPO] = {"tiny.gguf": GGUF[:len(GGUF) // 2]}
    done = sampan("pull", f"hf:{REPO}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 1 and "incomplete" in done.stderr and stored(store) == []


@pytest.mark.parametrize("spec,code", [("nosuch", 1), ("hf:noslash", 2), ("hf:a/../b", 2), ("hf:a/b:../../etc/passwd", 2),
                                       ("hf:a/b@x?y", 2), ("pip:x", 2), ("/no/such/file.gguf", 1)])
def test_specs_that_are_none(store, spec, code):
    done = sampan("pull", spec, env=store)
    assert done.returncode == code and done.stderr.startswith("sampan: ")


def test_addresses_and_paths(hubs, store, tmp_path):
    hubs.repos[REPO] = {"direct.gguf": GGUF}
    env = hub_env(hubs, store, tmp_path)
    done = sampan("pull", f"{hubs.url}/{REPO}/resolve/main/direct.gguf", env=env)
    assert done.returncode == 0 and "without TLS" in done.stderr
    copy = tmp_path / "mine.gguf"
    copy.write_bytes(GGUF)
    assert sampan("pull", copy, env=env).returncode == 0
    assert sampan("pull", FOLDER, env=env).returncode == 0
    split = tmp_path / "split"
    split.mkdir()
    for name, data in split_parts(split).items():
        (split / name.split("/")[1]).write_bytes(data)
    assert sampan("pull", split / "part-00001-of-00002.gguf", "--name", "parts", env=env).returncode == 0
    assert names(store) == {"direct", "mine", "llama", "parts"}
    done = sampan("rm", "mine", "--yes", env=store)
    assert done.returncode == 0 and names(store) == {"direct", "llama", "parts"}
    done = sampan("rm", "mine", "--yes", env=store)
    assert done.returncode == 1 and "sampan list" in done.stderr


# ---- going on ----

def test_killed_and_gone_on_with(hubs, store, tmp_path):
    """kill -9 in the middle of a range: the next pull fetches what is missing, no more."""
    hubs.repos[REPO] = {"tiny.gguf": BIG}
    hubs.faults["cdn"] = [None] + ["stall:1000000"] * 8
    p = start(hub_env(hubs, store, tmp_path), f"hf:{REPO}")
    state = Path(store["SAMPAN_STORE"]) / "partial/tiny/tiny.gguf.part.json"
    for _ in range(100):
        if state.exists():
            break
        time.sleep(0.1)
    p.kill()
    p.communicate()
    assert stored(store) == [] and state.exists()
    hubs.faults["cdn"], hubs.requests = [], []
    done = sampan("pull", f"hf:{REPO}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 0 and "going on with tiny.gguf" in done.stderr, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == BIG
    asked = [h["Range"].removeprefix("bytes=").split("-") for _, _, _, h in hubs.kinds("cdn")]
    assert sum(int(b) - int(a) + 1 for a, b in asked) <= len(BIG) - (4 << 20)
    assert all(h.get("If-Range") for _, _, _, h in hubs.kinds("cdn"))


@pytest.mark.parametrize("damage", ["{", "[]", '{"size": 12582912, "sum": "SUM", "origin": "", "etag": "", "done": [9e99, -1, 4194305]}',
                                    '{"size": 12582912, "sum": "SUM", "origin": "", "etag": "", "done": [4194304, 4194304, 4194304]}'])
def test_a_state_that_lies(hubs, store, tmp_path, damage):
    """A state file that claims what is not there is not believed."""
    hubs.repos[REPO] = {"tiny.gguf": BIG}
    partial = Path(store["SAMPAN_STORE"]) / "partial/tiny"
    partial.mkdir(parents=True)
    (partial / "tiny.gguf.part").write_bytes(b"x" * 1000)
    (partial / "tiny.gguf.part.json").write_text(damage.replace("SUM", sha256(BIG)))
    done = sampan("pull", f"hf:{REPO}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 0 and Path(done.stdout.strip()).read_bytes() == BIG, done.stderr


def test_the_file_is_another_days_later(hubs, store, tmp_path):
    hubs.repos[REPO] = {"tiny.gguf": b"x" * len(BIG)}
    hubs.faults["cdn"] = [None] + [404] * 9
    assert sampan("pull", f"hf:{REPO}", "--connections", "1", env=hub_env(hubs, store, tmp_path)).returncode == 1
    hubs.repos[REPO], hubs.faults["cdn"] = {"tiny.gguf": BIG}, []
    done = sampan("pull", f"hf:{REPO}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 0 and Path(done.stdout.strip()).read_bytes() == BIG, done.stderr


def test_an_address_goes_on_by_its_etag(hubs, store, tmp_path):
    """No sum is known of a bare address: the ETag decides, and another address of the same name is another file."""
    hubs.repos[REPO] = hubs.repos["acme/twin"] = {"tiny.gguf": BIG}
    hubs.through_cdn = False
    url = f"{hubs.url}/{REPO}/resolve/main/tiny.gguf"
    env = hub_env(hubs, store, tmp_path)
    for new_etag, new_url, said in ((None, url, "going on with"), ("another", url, "starting over"),
                                    (None, url.replace("/tiny/", "/twin/"), None)):
        hubs.etag, hubs.faults["hub"], hubs.requests = "one", [None] + [404] * 9, []
        assert sampan("pull", url, "--connections", "1", "--force", env=env).returncode == 1
        hubs.etag, hubs.faults["hub"] = new_etag or "one", []
        done = sampan("pull", new_url, "--force", env=env)
        assert done.returncode == 0 and Path(done.stdout.strip()).read_bytes() == BIG, done.stderr
        assert (said in done.stderr) if said else "going on" not in done.stderr


def test_files_of_an_earlier_pull_are_checked(hubs, store, tmp_path):
    good = folder_files()
    hubs.repos[REPO] = good
    partial = Path(store["SAMPAN_STORE"]) / "partial/tiny"
    partial.mkdir(parents=True)
    (partial / "config.json").write_bytes(b"{}")
    (partial / "stray.safetensors").write_bytes(b"old")
    (partial / "tokenizer.json").write_bytes(good.get("tokenizer.json", b""))
    done = sampan("pull", f"hf:{REPO}", env=hub_env(hubs, store, tmp_path))
    folder = Path(done.stdout.strip())
    assert done.returncode == 0 and {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "sampan.json"} == good


def test_two_pulls_at_once(hubs, store, tmp_path):
    hubs.repos[REPO] = {"tiny.gguf": BIG}
    both = [start(hub_env(hubs, store, tmp_path), f"hf:{REPO}") for _ in range(2)]
    for p in both:
        out, err = p.communicate(timeout=60)
        assert p.returncode == 0 and Path(out.strip()).read_bytes() == BIG, err
    assert len(hubs.kinds("cdn")) == 3, "one of them fetched, in three ranges"


def test_ctrl_c_keeps_what_came(hubs, store, tmp_path):
    hubs.repos[REPO] = {"tiny.gguf": BIG}
    hubs.faults["cdn"] = [None] + ["stall:1000"] * 8
    p = start(hub_env(hubs, store, tmp_path), f"hf:{REPO}")
    time.sleep(1)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=20)
    assert p.returncode == 1 and "what came is kept" in err and stored(store) == []
    hubs.faults["cdn"] = []
    done = sampan("pull", f"hf:{REPO}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 0 and "going on" in done.stderr


def test_force_replaces_only_when_whole(hubs, store, tmp_path):
    hubs.repos[REPO] = {"tiny.gguf": GGUF}
    env = hub_env(hubs, store, tmp_path)
    assert sampan("pull", f"hf:{REPO}", env=env).returncode == 0
    assert "already" in sampan("pull", f"hf:{REPO}", env=env).stderr
    hubs.repos[REPO] = {"tiny.gguf": BIG}
    hubs.faults["hub"] = [404] * 9
    assert sampan("pull", f"hf:{REPO}", "--force", env=env).returncode == 1
    assert stored(store)[0]["sha256"] == sha256(GGUF)
    hubs.faults["hub"] = []
    assert sampan("pull", f"hf:{REPO}", "--force", env=env).returncode == 0
    assert stored(store)[0]["sha256"] == sha256(BIG)


# ---- the disk ----

def test_a_full_disk(hubs, store, tmp_path):
    """Writing fails midway (here: a limit on file sizes): said, nothing half is stored, and the next pull goes on."""
    hubs.repos[REPO] = {"tiny.gguf": BIG}

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, resource.RLIM_INFINITY))
    p = start(hub_env(hubs, store, tmp_path), f"hf:{REPO}", "--connections", "1", preexec_fn=limit, restore_signals=False)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 1 and "is the disk full" in err and stored(store) == []
    hubs.requests = []
    done = sampan("pull", f"hf:{REPO}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 0 and Path(done.stdout.strip()).read_bytes() == BIG, done.stderr
    assert any(h["Range"].startswith("bytes=5000000-") for _, _, _, h in hubs.kinds("cdn"))


def test_more_than_the_disk_holds(hubs, store, tmp_path):
    hubs.repos[REPO] = {"tiny.gguf": GGUF}
    hubs.lies["tiny.gguf"] = {"size": 1 << 60}
    done = sampan("pull", f"hf:{REPO}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 1 and "make room or set --store" in done.stderr and hubs.kinds("cdn") == []


@pytest.mark.parametrize("in_the_way", ["partial", "models", "."])
def test_a_store_that_cannot_be_written(hubs, store, tmp_path, in_the_way):
    hubs.repos[REPO] = {"tiny.gguf": GGUF}
    root = Path(store["SAMPAN_STORE"])
    (root / in_the_way).parent.mkdir(parents=True, exist_ok=True)
    (root / in_the_way if in_the_way != "." else root).write_bytes(b"a file, not a folder")
    done = sampan("pull", f"hf:{REPO}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("sampan: "), done.stderr


def test_a_store_of_the_system():
    done = sampan("pull", "qwen2.5-0.5b", env={"SAMPAN_STORE": "/proc/self/nowhere"})
    assert done.returncode == 1 and done.stderr.startswith("sampan: ")


# ---- proxies, TLS, offline ----

class Proxy:
    """An HTTP proxy for plain addresses; it notes what it was asked for."""

    def __init__(self):
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                import urllib.request
                asked.append(self.path)
                direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with direct.open(urllib.request.Request(self.path, headers={
                        k: v for k, v in self.headers.items() if k.lower() in ("range", "if-range")})) as r:
                    body = r.read()
                    self.send_response(r.status)
                    for k, v in r.headers.items():
                        if k.lower() not in ("connection", "transfer-encoding", "server", "date"):
                            self.send_header(k, v)
                    self.end_headers()
                    self.wfile.write(body)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_proxies(hubs, store, tmp_path):
    hubs.repos[REPO] = {"tiny.gguf": GGUF}
    proxy = Proxy()
    env = hub_env(hubs, store, tmp_path, http_proxy=proxy.url, no_proxy="")
    assert sampan("pull", f"ms:{REPO}", env=env).returncode == 0
    assert len(proxy.asked) == 2 and all(a.startswith(hubs.url) for a in proxy.asked)
    env = hub_env(hubs, store, tmp_path, http_proxy="http://127.0.0.1:9", no_proxy="127.0.0.1")
    assert sampan("pull", f"ms:{REPO}", "--force", env=env).returncode == 0 and len(proxy.asked) == 2
    env = hub_env(hubs, store, tmp_path, http_proxy="http://127.0.0.1:9", no_proxy="")
    assert sampan("pull", f"ms:{REPO}", "--force", env=env).returncode == 1
    proxy.server.shutdown()
    proxy.server.server_close()


@pytest.fixture
def tls(tmp_path):
    """A hub with TLS and a certificate of its own, as in a company."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-keyout", key, "-out", cert, "-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1,IP:127.0.0.2"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    h = Hubs(wrap=lambda s: context.wrap_socket(s, server_side=True))
    h.cert = str(cert)
    yield h
    h.close()


def test_tls_is_checked_and_never_left(tls, hubs, store, tmp_path):
    tls.repos[REPO] = hubs.repos[REPO] = {"tiny.gguf": GGUF}
    env = hub_env(tls, store, tmp_path)
    done = sampan("pull", f"hf:{REPO}", env=env)
    assert done.returncode == 1 and "certificate" in done.stderr
    env["SSL_CERT_FILE"] = tls.cert
    tls.faults["hub"] = [("to", f"{hubs.cdn_url}/{REPO}/tiny.gguf")]
    done = sampan("pull", f"hf:{REPO}", env=env)
    assert done.returncode == 1 and "from https:// to http://" in done.stderr and hubs.requests == []
    assert sampan("pull", f"hf:{REPO}", env=env).returncode == 0 and tls.kinds("cdn")


@pytest.mark.parametrize("args,more", [(["--offline"], {}), ([], {"HF_HUB_OFFLINE": "1"}), ([], {"SAMPAN_OFFLINE": "true"})])
def test_offline(hubs, store, tmp_path, args, more):
    hubs.repos[REPO] = {"tiny.gguf": GGUF}
    env = hub_env(hubs, store, tmp_path, **more)
    for spec in (f"hf:{REPO}", "qwen3-0.6b"):
        done = sampan("pull", spec, *args, env=env)
        assert done.returncode == 1 and "offline" in done.stderr and hubs.requests == []
    copy = tmp_path / "tiny.gguf"
    copy.write_bytes(GGUF)
    assert sampan("pull", copy, *args, env=env).returncode == 0
    done = sampan("pull", f"hf:{REPO}", *args, env=env)
    assert done.returncode == 0 and "already" in done.stderr and hubs.requests == []


# ---- the catalogue ----

def test_a_catalogue_hub_that_accepts_and_never_answers(store):
    """The race's 3 s limit: the fall-back is said aloud within seconds."""
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    begin = time.monotonic()
    done = sampan("pull", "qwen2.5-0.5b", env={**store, "HF_ENDPOINT": url, "MODELSCOPE_ENDPOINT": url})
    assert done.returncode == 1 and "did not answer within 3 s" in done.stderr
    assert time.monotonic() - begin < 8
    silent.close()


QWEN = "Qwen/Qwen2.5-0.5B-Instruct-GGUF"


def test_the_faster_hub_wins_and_the_other_helps(hubs, store, tmp_path):
    hubs.repos[QWEN] = {"qwen2.5-0.5b-instruct-q4_k_m.gguf": GGUF}
    env = hub_env(hubs, store, tmp_path, MODELSCOPE_ENDPOINT="http://127.0.0.1:9")
    done = sampan("pull", "qwen2.5-0.5b", env=env)
    assert done.returncode == 0 and stored(store)[0]["source"].startswith("hf:"), done.stderr
    assert stored(store)[0]["license"] == "Apache-2.0"
    hubs.faults["hub"] = [404]
    done = sampan("pull", "qwen2.5-0.5b", "--name", "two", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 0, done.stderr
    done = sampan("pull", "qwen2.5-0.5b", "--name", "three", "--source", "ms", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 0 and {m["name"]: m["source"][:3] for m in stored(store)}["three"] == "ms:"


def test_a_sum_that_is_not_the_catalogues(hubs, store, tmp_path):
    file = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    hubs.repos["Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"] = {file: GGUF}
    done = sampan("pull", "qwen2.5-coder-0.5b", "--source", "hf", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 1 and "expected 1d9614638d18" in done.stderr and stored(store) == []


def test_the_catalogue_as_a_list_and_json(store):
    import json
    done = sampan("pull", env=store)
    assert done.returncode == 0 and "qwen3-8b" in done.stdout and "FITS" in done.stdout
    rows = json.loads(sampan("pull", "--json", env=store).stdout)
    assert len(rows) >= 30 and {"qwen3-0.6b", "llama3.2-1b", "gemma3-4b", "mistral-7b"} <= {r["name"] for r in rows}
    for r in rows:
        assert r["bytes"] < r["memory"] < r["bytes"] + 4e9 and r["license"] and r["sources"]
        assert r["bytes_estimated"] == (r["sha256"] is None)


@pytest.mark.parametrize("keys,words", [("q\n", None), ("nonsense\n", "neither a number"), ("6\n", "none of its sources"),
                                        ("qwen3-0.6b\n", "none of its sources")])
def test_choosing_on_a_terminal(store, keys, words):
    master, slave = pty.openpty()
    env = {**os.environ, **store, "HF_ENDPOINT": "http://127.0.0.1:9", "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9"}
    p = subprocess.Popen([SAMPAN, "pull"], env=env, stdin=slave, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    os.write(master, keys.encode())
    text = b""
    while select.select([master], [], [], 20)[0]:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    p.wait(timeout=20)
    os.close(master)
    assert b" 32 qwen3-8b" in text and b"Enter takes" in text
    assert words is None or words.encode() in text, text[-600:]
