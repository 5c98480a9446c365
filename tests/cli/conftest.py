"""The built program as a person runs it: $SAMPAN, the starter model, and the look-alike of the hubs."""
import json
import os
import subprocess
from pathlib import Path

import pytest
from hubs import Hubs

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPAN = os.environ.get("SAMPAN", str(ROOT / "build/release/sampan"))


def sampan(*args, env=None, input=None, timeout=240):
    """Runs the program; text in, text out."""
    return subprocess.run([SAMPAN, *map(str, args)], env={**os.environ, **(env or {})}, input=input, text=True,
                          capture_output=True, timeout=timeout)


@pytest.fixture(scope="session")
def starter():
    """The starter model: a file of $SAMPAN_TEST_MODELS, else its name in the store."""
    folder = os.environ.get("SAMPAN_TEST_MODELS")
    path = Path(folder or "") / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    return str(path) if folder and path.exists() else "qwen2.5-coder-0.5b"


@pytest.fixture
def store(tmp_path):
    """Environment with an empty store."""
    return {"SAMPAN_STORE": str(tmp_path / "store")}


@pytest.fixture
def hubs():
    h = Hubs()
    yield h
    h.close()


def hub_env(hubs, store, home, **more):
    """Both hubs are the look-alike, and no token of this machine's user is read."""
    return {"HF_HOME": str(home), "HF_TOKEN": "", "MODELSCOPE_API_TOKEN": "", "HF_ENDPOINT": hubs.url,
            "MODELSCOPE_ENDPOINT": hubs.url, **store, **more}


def stored(store):
    return json.loads(sampan("list", "--json", env=store).stdout)
