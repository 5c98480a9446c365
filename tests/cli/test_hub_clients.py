"""The look-alikes of hubs.py are true enough for the hubs' own Python clients: what these get is what was offered."""
import os
import subprocess
import sys

from conftest import ROOT
from hubs import COMMIT, TOKEN

FILES = {p.name: p.read_bytes() for p in (ROOT / "tests/data/models/llama").iterdir() if p.suffix in (".json", ".safetensors")}


def run(code, tmp_path, **env):
    """The clients read their settings when they are imported: a process of their own."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MODELSCOPE_"))}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "got")], text=True, capture_output=True, timeout=120,
                          env={**plain, "HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", **env})
    assert done.returncode == 0, done.stderr[-2000:]
    return {p.name: p.read_bytes() for p in (tmp_path / "got").iterdir() if p.is_file()}, done.stdout


def test_huggingface_hub(hubs, tmp_path):
    hubs.repos["acme/tiny"] = dict(FILES)
    hubs.gated.add("acme/tiny")
    code = ("import sys, huggingface_hub as h; h.snapshot_download('acme/tiny', local_dir=sys.argv[1]); "
            "print(h.HfApi().model_info('acme/tiny', revision='main').sha)")
    got, out = run(code, tmp_path, HF_ENDPOINT=hubs.url, HF_TOKEN=TOKEN)
    assert got == FILES and out.strip() == COMMIT
    assert not any("Authorization" in headers for _, _, _, headers in hubs.kinds("cdn"))


def test_modelscope_hub(hubs, tmp_path):
    hubs.repos["acme/tiny"] = dict(FILES)
    code = ("import sys; from modelscope_hub import HubApi; "
            "HubApi().download_repo('acme/tiny', 'model', local_dir=sys.argv[1])")
    got, _ = run(code, tmp_path, MODELSCOPE_ENDPOINT=hubs.url)
    assert {k: v for k, v in got.items() if not k.startswith(".")} == FILES
