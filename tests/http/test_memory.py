"""What the server takes: VmRSS is at most 1.1 x the tensors' bytes + the KV cache + 120 MB after 1,000 tokens, in the
process that packs the weights and in one that maps them."""
import json
import subprocess

import pytest
from conftest import SAMPAN, model_path, wait_until

KV = 64 << 20
ENDS = {"151643": -100, "151645": -100}  # Qwen's: they would end the answer early


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


@pytest.fixture(scope="module")
def most():
    shown = subprocess.run([SAMPAN, "show", "--json", model_path()], capture_output=True, text=True, check=True)
    return 1.1 * json.loads(shown.stdout)["tensor_bytes"] + KV + 120e6


def test_resident_memory(server_factory, tmp_path, most):
    def start():
        return server_factory("--kv-memory", "64M", "--max-context", "2048", "--packed-cache", str(tmp_path / "packed"))

    def write(server, tokens):
        done = server.client.completions.create(model=server.model, prompt="1, 2, 3,", max_tokens=tokens, temperature=0,
                                                extra_body={"logit_bias": ENDS})
        assert done.usage.completion_tokens == tokens

    packs = start()
    write(packs, 1000)
    assert rss(packs.process.pid) <= most
    assert wait_until(lambda: list((tmp_path / "packed").glob("*.packed")), 60)
    maps = start()
    write(maps, 100)
    assert rss(maps.process.pid) <= most
    packs.end()
    write(maps, 10)
    maps.end()
