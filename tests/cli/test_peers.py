"""The statistics and parsers of bench/peers; the peers themselves are not run here."""
import json
import math
import os
import subprocess
import sys

import numpy
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench/peers"))
import compare  # noqa: E402
import peers  # noqa: E402


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
