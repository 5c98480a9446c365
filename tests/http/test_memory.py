"""What the server takes: VmRSS is at most 1.1 x the tensors' bytes + the KV cache + 120 MB after 1,000 tokens, in the
process that packs the weights and in one that maps them."""
import http.client
import json
import resource
import subprocess

import pytest
import tiny
from conftest import SAMPAN, Server, model_path, wait_until

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


def test_idle_connections_cost_next_to_nothing(tmp_path):
    """A thousand that have had an answer and keep the line: less than 20 KB each."""
    s = Server(model=str(tiny.make(tmp_path / "tiny")))
    lines, files = [], resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files[1], 4096) if files[1] > 0 else 4096, files[1]))
    try:
        def ask():
            line = http.client.HTTPConnection("127.0.0.1", int(s.url.rsplit(":", 1)[1]), timeout=30)
            line.request("GET", "/v1/models", headers={"User-Agent": "x" * 200})
            assert line.getresponse().read().startswith(b"{")
            return line
        for _ in range(20):
            ask().close()  # what the first ones cost is the server's
        before = rss(s.process.pid)
        lines = [ask() for _ in range(1000)]
        each = (rss(s.process.pid) - before) / 1000
        print(f"an idle connection: {each:.0f} bytes")
        assert each < 20 * 1024
        lines[0].request("GET", "/health")
        assert lines[0].getresponse().status == 200
    finally:
        for line in lines:
            line.close()
        s.end()
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
