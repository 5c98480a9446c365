"""Packed weights on disk, as a person meets them: made by the first start, shown, checked, removed, never in the way."""
import json
import os
import resource
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest
from conftest import SAMPAN, sampan, stored

WORDS = ["--raw", "--temperature", "0", "--max-tokens", "8", "The capital of France is"]


@pytest.fixture(scope="module")
def weights():
    """SmolLM2's file: small, but large enough to be kept."""
    return next(m["path"] for m in json.loads(sampan("list", "--json").stdout) if m["name"] == "smollm2-135m")


@pytest.fixture
def own(store, tmp_path, weights):
    """A store and a cache of our own; the store has the model as m."""
    env = {**store, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert sampan("pull", weights, "--name", "m", env=env).returncode == 0
    return env


def run(env, *args, model="m"):
    done = sampan("run", "--model", model, *args, *WORDS, env=env)
    assert done.returncode == 0, done.stderr
    return done


def place(env):
    return Path(env["SAMPAN_STORE"]) / "packed" / "m.packed"


def cached(env):
    return sorted((Path(env["XDG_CACHE_HOME"]) / "sampan/packed").glob("*"))


def test_one_life(own, tmp_path):
    assert stored(own)[0]["packed_bytes"] == 0
    plain = run(own, "--packed-cache", "off")
    assert not place(own).exists()
    first = run(own)
    assert place(own).exists() and place(own).stat().st_mode & 0o022 == 0
    inode = place(own).stat().st_ino
    assert run(own).stdout == first.stdout == plain.stdout
    assert place(own).stat().st_ino == inode and cached(own) == [] and list(place(own).parent.iterdir()) == [place(own)]

    size = stored(own)[0]["packed_bytes"]
    assert size > 80e6
    assert sampan("list", env=own).stdout.splitlines()[1].split()[3:5] == [f"{size / 1e6:.0f}", "MB"]
    assert str(place(own)) in sampan("show", "m", env=own).stdout
    shown = json.loads(sampan("show", "m", "--json", env=own).stdout)
    assert shown["packed"] == str(place(own)) and shown["packed_bytes"] == size
    assert "m/packed weights: fine" in sampan("store", "verify", "m", env=own).stdout

    bundle = tmp_path / "m.tar"
    assert sampan("store", "export", "m", bundle, env=own).returncode == 0
    with tarfile.open(bundle) as tar:
        assert not [n for n in tar.getnames() if "packed" in n]
    done = sampan("rm", "m", "--yes", env=own)
    assert done.returncode == 0 and not place(own).exists()
    assert f"{(shown['tensor_bytes'] + size) / 1e6:.0f}"[:2] in done.stdout, "what was freed counts it"


def test_damage_is_found_and_mended(own):
    want = run(own).stdout
    with open(place(own), "r+b") as f:
        f.seek(-1000, os.SEEK_END)
        f.write(bytes(1000 * [0x55]))
    done = sampan("store", "verify", "m", "--quiet", env=own)
    assert done.returncode == 0 and done.stdout == "m/packed weights: damaged: removed, the next start makes them anew\n"
    assert not place(own).exists()
    assert run(own).stdout == want and place(own).exists()


def test_a_changed_model_is_packed_anew(own, weights):
    want = run(own).stdout
    before = place(own).stat()
    os.utime(Path(own["SAMPAN_STORE"]) / "models/m" / Path(weights).name)
    assert run(own).stdout == want
    assert place(own).stat().st_ino != before.st_ino
    assert sampan("pull", weights, "--name", "m", "--force", env=own).returncode == 0
    assert not place(own).exists()


def test_a_store_that_takes_nothing(own):
    place(own).parent.write_text("in the way")
    want = run(own).stdout
    (kept,) = cached(own)
    assert run(own).stdout == want and cached(own) == [kept]
    assert stored(own)[0]["packed_bytes"] > 80e6 and str(kept) in sampan("show", "m", env=own).stdout
    assert sampan("store", "clear-cache", "m", env=own).returncode == 0 and cached(own) == []


def test_a_model_from_elsewhere(own, tmp_path, weights):
    run(own, model=weights)
    (kept,) = cached(own)
    assert kept.name.startswith(Path(weights).name)
    run(own, "--packed-cache", str(tmp_path / "mine"), model=weights)
    assert len(list((tmp_path / "mine").iterdir())) == 1
    run(own)
    done = sampan("store", "clear-cache", env=own)
    assert done.returncode == 0 and "MB of packed weights removed" in done.stdout
    assert cached(own) == [] and not place(own).exists() and len(list((tmp_path / "mine").iterdir())) == 1
    assert sampan("store", "clear-cache", "--packed-cache", tmp_path / "mine", env=own).returncode == 0
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_full_disk(own):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20))
    done = subprocess.run([SAMPAN, "run", "--model", "m", *WORDS], env={**os.environ, **own}, preexec_fn=limit, text=True,
                          capture_output=True, timeout=240)
    assert done.returncode == 0 and done.stderr.count("were not kept for the next start") == 1, done.stderr
    assert not place(own).exists() and cached(own) == [] and list(place(own).parent.iterdir()) == []
    assert run(own, "--packed-cache", "off").stdout == done.stdout


def test_removed_while_it_runs(own):
    run(own)
    server = subprocess.Popen([SAMPAN, "serve", "--model", "m", "--port", "0"], env={**os.environ, **own}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    url = next(line.split()[-1] for line in server.stdout if "answers at" in line)
    assert str(place(own)) in Path(f"/proc/{server.pid}/maps").read_text()
    assert sampan("rm", "m", "--yes", env=own).returncode == 0
    body = json.dumps({"model": "m", "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0})
    answer = subprocess.run(["curl", "-sS", f"{url}/v1/completions", "-H", "Content-Type: application/json", "-d", body],
                            capture_output=True, text=True, timeout=60)
    assert "Paris" in json.loads(answer.stdout)["choices"][0]["text"]
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0
    server.stdout.close()


def test_wrong_words(own):
    done = sampan("run", "--model", "m", "--packed-cache", "yes", *WORDS, env=own)
    assert done.returncode == 2 and "neither on, off nor a folder" in done.stderr
    done = sampan("store", "clear-cache", "a", "b", env=own)
    assert done.returncode == 2 and "one model" in done.stderr
    assert sampan("store", "clear-cache", "nosuch", env=own).returncode == 1
