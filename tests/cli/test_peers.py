"""The statistics and parsers of bench/peers; the peers themselves are not run here."""
import json
import math
import os
import subprocess
import sys

import numpy
import pytest
from conftest import ROOT, SAMPAN

sys.path.insert(0, str(ROOT / "bench/peers"))
import compare  # noqa: E402
import peers  # noqa: E402
import serve  # noqa: E402


@pytest.mark.parametrize("n,low,high,coverage", [
    # Coverage by the binomial tail; for 15: 1 - 2 (1 + 15 + 105 + 455) / 2^15.
    (6, 1, 6, 0.96875), (10, 2, 9, 0.978515625), (15, 4, 12, 0.96484375), (20, 6, 15, 0.958610534667969)])
def test_ranks_of_the_interval(n, low, high, coverage):
    values = list(range(1, n + 1))
    found = peers.median_interval(values[::-1])
    assert found[:2] == (low, high) and found[2] == pytest.approx(coverage, abs=1e-12)


def test_too_few_values_say_so():
    assert peers.median_interval([3.0]) == (3.0, 3.0, 0.0)
    assert peers.median_interval([2, 1, 3]) == (1, 3, 0.75)


def test_the_interval_covers():
    """Over draws of a skewed distribution whose median is known, the interval holds it as often as it says."""
    draws = numpy.random.default_rng(1).lognormal(0.3, 0.5, size=(4000, 15))
    held = [low <= math.exp(0.3) <= high for low, high, _ in map(peers.median_interval, draws.tolist())]
    assert numpy.mean(held) == pytest.approx(0.9648, abs=0.01)


def test_pairs():
    rng = numpy.random.default_rng(2)
    ours, theirs = rng.uniform(1, 2, 15), rng.uniform(1, 2, 15)
    found = peers.paired(ours.tolist(), theirs.tolist())
    assert found["ratio"] == pytest.approx(numpy.median(ours / theirs))
    assert found["low"] == pytest.approx(numpy.sort(ours / theirs)[3]) and found["high"] == pytest.approx(numpy.sort(ours / theirs)[11])
    with pytest.raises(ValueError):
        peers.paired([1.0, 2.0], [1.0])


def test_what_peers_print():
    # Lines as llama-bench and llama-batched-bench print them, shortened to what is read and its neighbours.
    text = json.dumps([{"n_threads": 2, "n_prompt": 0, "n_gen": 128, "n_depth": 8192, "avg_ts": 17.5, "stddev_ts": 0.0}])
    assert compare.parse_bench(text, 0, 128, 8192) == 17.5
    with pytest.raises(ValueError):
        compare.parse_bench(text, 0, 128, 0)
    lines = 'main: n_kv_max = 4096\n\n{"pp": 128, "tg": 128, "pl": 16, "speed_pp": 210.5, "t_tg": 17.1, "speed_tg": 119.75}\n\n'
    assert compare.parse_batched(lines, 16) == 119.75
    with pytest.raises(ValueError):
        compare.parse_batched(lines, 8)


def test_the_table():
    result = {"row": "decode128", "model": "m.gguf", "peer": "ik_llama.cpp", "options": "-rtr 1", "isa": None,
              "sampan": [90.0, 92.0, 94.0], "peer_figures": [90.0, 91.0, 92.0], "share_of_limit": 0.914,
              **peers.paired([90.0, 92.0, 94.0], [90.0, 91.0, 92.0])}
    assert compare.markdown([result]).splitlines()[2] == \
        "| decode 128 | m.gguf | ik_llama.cpp -rtr 1 | 3 | 92.0 | 91.0 | 1.01 (1.00 to 1.02, covers 75%) | 91% |"


def test_what_is_missing_is_named(tmp_path):
    env = dict(os.environ, SAMPAN_PEERS=str(tmp_path))
    done = subprocess.run([sys.executable, ROOT / "bench/peers/compare.py", "--model", "x.gguf"], env=env, text=True,
                          capture_output=True)
    assert done.returncode == 1 and "setup.py llama.cpp builds it" in done.stderr
    done = subprocess.run([sys.executable, ROOT / "bench/peers/setup.py", "ik_llama.cpp"], env=env, text=True, capture_output=True)
    assert done.returncode == 1 and "--source PATH" in done.stderr


def test_servers_side_by_side():
    def rounds(*rates):
        return [{"failed": 1, "total_token_throughput": r, "median_ttft_ms": 1000 / r, "p99_ttft_ms": 2000 / r, "median_tpot_ms": 5.0}
                for r in rates]
    figures = {"sampan": rounds(100.0, 200.0, 330.0), "llama-server": rounds(50.0, 100.0, 110.0)}
    found = {(peer, key): p["ratio"] for peer, key, p in serve.ratios(figures)}
    assert found == {("llama-server", "total_token_throughput"): 2.0, ("llama-server", "median_ttft_ms"): 0.5,
                     ("llama-server", "p99_ttft_ms"): 0.5, ("llama-server", "median_tpot_ms"): 1.0}
    lines = serve.markdown("16 at once", figures).splitlines()
    assert lines[1] == "16 at once: 3 rounds, medians of the rounds" and len({line.count("|") for line in lines[3:]}) == 1
    assert lines[5] == "| sampan | 3 | 200.0 | 5.0 | 10.0 | 5.0 |"
    assert lines[7].startswith("| sampan over llama-server | | 2.00 (2.00 to 3.00) | 0.50 (0.33 to 0.50) |")


def test_a_server_that_does_not_start_is_named(tmp_path):
    """With the real program and a model that is none; and with none of the peers built."""
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF")
    command = [sys.executable, ROOT / "bench/peers/serve.py", "--model", bad, "--sampan", SAMPAN, "--rows", "1", "--logs", tmp_path]
    done = subprocess.run(command, env=dict(os.environ, SAMPAN_PEERS=str(tmp_path)), text=True, capture_output=True)
    assert done.returncode == 1 and "setup.py llama.cpp builds it" in done.stderr
    peer = tmp_path / "llama.cpp/build/bin/llama-server"
    peer.parent.mkdir(parents=True)
    peer.write_text("#!/bin/sh\nexit 1\n")
    peer.chmod(0o755)
    done = subprocess.run(command, env=dict(os.environ, SAMPAN_PEERS=str(tmp_path)), text=True, capture_output=True)
    assert done.returncode == 1 and "sampan: does not answer" in done.stderr and "bad.gguf" in (tmp_path / "sampan.log").read_text()
