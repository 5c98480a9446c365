"""`sampan store`: bundles that carry a model to a machine without a network, bundles that are refused, and verify."""
import io
import json
import os
import resource
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT, SAMPAN, sampan, stored
from hubs import sha256

GGUF = (ROOT / "tests/data/models/qwen2-gguf/model.gguf").read_bytes()
FOLDER = ROOT / "tests/data/models/llama"


@pytest.fixture
def full(store, tmp_path):
    """A store with a GGUF model and a folder."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(GGUF)
    assert sampan("pull", path, env=store).returncode == 0
    assert sampan("pull", FOLDER, env=store).returncode == 0
    return store


@pytest.fixture
def other(tmp_path):
    return {"SAMPAN_STORE": str(tmp_path / "other")}


def files_of(store, name):
    folder = Path(store["SAMPAN_STORE"]) / "models" / name
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "sampan.json"}


@pytest.mark.parametrize("name", ["tiny", "llama"])
def test_there_and_back(full, other, tmp_path, name):
    bundle = tmp_path / "out" / "b.tar"
    bundle.parent.mkdir()
    done = sampan("store", "export", name, bundle, env=full)
    assert done.returncode == 0 and done.stdout.strip() == str(bundle), done.stderr
    with tarfile.open(bundle, "r:") as tar:  # Python reads it, too
        members = tar.getmembers()
        manifest = json.load(tar.extractfile(members[0]))
        assert [m.name for m in members[1:]] == [f"{name}/{f['name']}" for f in manifest["files"]]
        assert {f["name"]: f["sha256"] for f in manifest["files"]} == {k: sha256(v) for k, v in files_of(full, name).items()}
        assert all(sha256(tar.extractfile(m).read()) == f["sha256"] for m, f in zip(members[1:], manifest["files"]))
    done = sampan("store", "import", bundle, env=other)
    assert done.returncode == 0, done.stderr
    assert files_of(other, name) == files_of(full, name)
    before, after = ({m["name"]: m for m in stored(s)}[name] for s in (full, other))
    assert {k: before[k] for k in ("source", "commit", "sha256", "bytes", "license")} == {
        k: after[k] for k in ("source", "commit", "sha256", "bytes", "license")}
    assert sampan("store", "verify", env=other).returncode == 0
    assert sampan("show", name, env=other).returncode == 0
    assert list((Path(other["SAMPAN_STORE"]) / "partial").glob(".import*")) == []


def test_what_is_in_the_way(full, other, tmp_path):
    bundle = tmp_path / "b.tar"
    assert sampan("store", "export", "tiny", bundle, env=full).returncode == 0
    done = sampan("store", "export", "tiny", bundle, env=full)
    assert done.returncode == 2 and "--force" in done.stderr
    assert sampan("store", "export", "tiny", bundle, "--force", env=full).returncode == 0
    done = sampan("store", "import", bundle, env=full)
    assert done.returncode == 2 and "already" in done.stderr
    assert sampan("store", "import", bundle, "--force", env=full).returncode == 0
    assert sampan("store", "import", bundle, "--name", "twin", env=full).returncode == 0
    assert {m["name"] for m in stored(full)} == {"tiny", "twin", "llama"}


@pytest.mark.parametrize("args,code,words", [
    (["export", "nosuch", "x.tar"], 1, "no model nosuch"), (["export"], 2, "name and a file"), (["import", "nosuch.tar"], 1, "no such file"),
    (["import"], 2, "one file"), (["verify", "nosuch"], 1, "no model nosuch"), (["explode"], 2, "export, import, verify or clear-cache"),
    ([], 2, "export, import, verify or clear-cache"), (["export", "tiny", "/nosuch/folder/x.tar"], 1, "x.tar"), (["export", "../x", "x.tar"], 1, "no name")])
def test_wrong_words(full, tmp_path, args, code, words):
    done = subprocess.run([SAMPAN, "store", *args], env={**os.environ, **full}, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code and words in done.stderr, done.stderr


def test_verify_finds_what_changed(full, tmp_path):
    folder = Path(full["SAMPAN_STORE"]) / "models" / "llama"
    done = sampan("store", "verify", env=full)
    assert done.returncode == 0 and "tiny/tiny.gguf: fine" in done.stdout and "llama/config.json: fine" in done.stdout
    data = bytearray((folder / "model-00001-of-00002.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model-00001-of-00002.safetensors").write_bytes(data)
    (folder / "config.json").unlink()
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"short")
    (folder / "stray.bin").write_bytes(b"x")
    done = sampan("store", "verify", "llama", env=full)
    assert done.returncode == 1 and "4 files are not as they came" in done.stderr
    for line in ("model-00001-of-00002.safetensors: damaged", "config.json: missing", "model-00002-of-00002.safetensors: has another size",
                 "stray.bin: not part"):
        assert f"llama/{line}" in done.stdout
    assert sampan("store", "verify", "tiny", "--quiet", env=full).stdout == ""
    done = sampan("store", "export", "llama", tmp_path / "never.tar", env=full)
    assert done.returncode == 1 and list(tmp_path.glob("never*")) == []


# ---- bundles that must be refused ----

def manifest(**more):
    return {"format": "sampan-bundle", "version": 1, "name": "tiny", "source": "x",
            "files": [{"name": "tiny.gguf", "bytes": len(GGUF), "sha256": sha256(GGUF)}], **more}


def entry(name, data=b"", **more):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for k, v in more.items():
        setattr(info, k, v)
    return info, data


def tar_of(*entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def bundle(m, *entries):
    return tar_of(entry("sampan-bundle.json", m if isinstance(m, bytes) else json.dumps(m).encode()), *entries)


MODEL = entry("tiny/tiny.gguf", GGUF)
GOOD = bundle(manifest(), MODEL)


def named(name):
    return bundle(manifest(files=[{"name": name, "bytes": len(GGUF), "sha256": sha256(GGUF)}]), entry(f"tiny/{name}", GGUF))


HOSTILE = {
    "a name that climbs out": (named("../../evil.gguf"), "no safe name"),
    "an absolute name": (named("/tmp/evil.gguf"), "no safe name"),
    "a name with a NUL": (bundle(manifest(files=[{"name": "a\0b.gguf", "bytes": 1, "sha256": sha256(b"x")}])), "refused"),
    "a name of our own": (named("sampan.json"), "no safe name"),
    "a hidden name": (named(".bashrc"), "no safe name"),
    "a folder in the name": (named("sub/evil.gguf"), "no safe name"),
    "a long name": (named("x" * 3000), "no safe name"),
    "a model's name that climbs out": (bundle(manifest(name="../evil"), MODEL), "the model's name"),
    "another file than is due": (bundle(manifest(), entry("tiny/../../evil.gguf", GGUF)), "where tiny/tiny.gguf is due"),
    "an absolute entry": (bundle(manifest(), entry("/tiny/tiny.gguf", GGUF)), "is due"),
    "a link": (bundle(manifest(), entry("tiny/tiny.gguf", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "no plain file"),
    "a hard link": (bundle(manifest(), entry("tiny/tiny.gguf", type=tarfile.LNKTYPE, linkname="/etc/passwd")), "no plain file"),
    "a device": (bundle(manifest(), entry("tiny/tiny.gguf", type=tarfile.CHRTYPE)), "no plain file"),
    "a pipe": (bundle(manifest(), entry("tiny/tiny.gguf", type=tarfile.FIFOTYPE)), "no plain file"),
    "a folder": (bundle(manifest(), entry("tiny/tiny.gguf", type=tarfile.DIRTYPE)), "refused"),
    "a wrong sum": (bundle(manifest(), entry("tiny/tiny.gguf", GGUF[:-1] + b"\xff")), "damaged"),
    "a shorter file": (bundle(manifest(), entry("tiny/tiny.gguf", GGUF[:-1])), "another length"),
    "a longer file": (bundle(manifest(), entry("tiny/tiny.gguf", GGUF + b"x")), "another length"),
    "no file": (bundle(manifest()), "it ends before tiny/tiny.gguf"),
    "one file more": (bundle(manifest(), MODEL, entry("tiny/more.gguf", b"x")), "more files follow"),
    "no manifest": (tar_of(MODEL), "where sampan-bundle.json is due"),
    "a manifest that is no JSON": (bundle(b"{", MODEL), "no JSON"),
    "an empty manifest": (bundle(b"", MODEL), "empty"),
    "a huge manifest": (bundle(b" " * (2 << 20), MODEL), "larger than 1 MB"),
    "a manifest of something else": (bundle({"format": "zip"}, MODEL), "no manifest of a bundle"),
    "a newer version": (bundle(manifest(version=2), MODEL), "newer kind"),
    "no files in the manifest": (bundle(manifest(files=[]), MODEL), "no files"),
    "a file twice": (bundle(manifest(files=manifest()["files"] * 2), MODEL, MODEL), "twice"),
    "an escape for the terminal": (bundle(manifest(source="\033]0;evil\007"), MODEL), "not plain"),
    "no sum": (bundle(manifest(files=[{"name": "tiny.gguf", "bytes": 1}]), MODEL), "no sum"),
    "a negative length": (bundle(manifest(files=[{"name": "tiny.gguf", "bytes": -5, "sha256": sha256(b"")}]), MODEL), "no length"),
    "a length beyond any disk": (bundle(manifest(files=[{"name": "tiny.gguf", "bytes": 1 << 60, "sha256": sha256(b"")}]), MODEL), "make room"),
    "an empty file": (b"", "b.tar"),
    "no tar": (b"this is no tar at all" * 100, "b.tar"),
    "a gzip": (__import__("gzip").compress(GOOD), "b.tar"),
    "a file that is no model": (bundle(manifest(files=[{"name": "tiny.gguf", "bytes": 4, "sha256": sha256(b"GGUF")}]),
                                       entry("tiny/tiny.gguf", b"GGUF")), "tiny.gguf"),
    **{f"cut at {n}": (GOOD[:n], "b.tar") for n in (100, 511, 512, 700, 1024, 1536, 2000, 30000, len(GGUF))},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_refused(case, store, tmp_path):
    data, words = HOSTILE[case]
    path = tmp_path / "b.tar"
    path.write_bytes(data)
    outside = sorted(tmp_path.parent.iterdir())
    done = sampan("store", "import", path, env=store)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith("sampan: ") and words in last, done.stderr
    assert stored(store) == [] and sorted(tmp_path.parent.iterdir()) == outside
    left = Path(store["SAMPAN_STORE"]) / "partial"
    assert not left.exists() or [p.name for p in left.iterdir() if not p.name.endswith(".lock")] == []


def test_the_good_one_of_these_is_taken(store, tmp_path):
    path = tmp_path / "b.tar"
    path.write_bytes(GOOD)
    assert sampan("store", "import", path, env=store).returncode == 0
    assert files_of(store, "tiny") == {"tiny.gguf": GGUF}


@pytest.mark.parametrize("verb", ["export", "import"])
def test_a_full_disk(full, other, tmp_path, verb):
    path = tmp_path / "b.tar"

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
    if verb == "import":
        assert sampan("store", "export", "tiny", path, env=full).returncode == 0
    args, env = (["export", "tiny", path], full) if verb == "export" else (["import", path], other)
    done = subprocess.run([SAMPAN, "store", *map(str, args)], env={**os.environ, **env}, preexec_fn=limit, restore_signals=False,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("sampan: "), done.stderr
    if verb == "export":
        assert not path.exists() and not path.with_suffix(".tar.part").exists()
    else:
        assert stored(other) == []
