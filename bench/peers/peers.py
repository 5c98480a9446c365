"""What setup.py, compare.py and serve.py share: where peers are, and what paired measurements say."""
import math
import os
import statistics
from pathlib import Path

# One source package holds the whole of llama.cpp.
LLAMA_PACKAGE = "llama-cpp-python==0.3.36"
PEERS = ("llama.cpp", "llama.cpp-avx2", "ik_llama.cpp")


def home():
    """The folder of the peers: $SAMPAN_PEERS, else the user's cache."""
    if os.environ.get("SAMPAN_PEERS"):
        return Path(os.environ["SAMPAN_PEERS"])
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sampan-peers"


def program(peer, name):
    return home() / peer / "build" / "bin" / name


def vllm_python():
    """The Python of vLLM's virtual environment."""
    return home() / "vllm" / "venv" / "bin" / "python"


def median_interval(values, level=0.95):
    """(low, high, coverage): the narrowest pair of order statistics, as many from below as from above, that holds the
    median of what the values are drawn from with at least this probability, whatever its distribution: between the
    k-th smallest and the k-th largest it lies with 1 - 2 P(Binomial(n, 1/2) < k). Too few values (under 6 for 95%):
    smallest and largest, with the coverage that they have."""
    ordered = sorted(values)
    n = len(ordered)
    best, below = 1, 0.0
    for k in range(1, n // 2 + 1):
        below += math.comb(n, k - 1) / 2 ** n
        if 1 - 2 * below < level:
            break
        best = k
    outside = sum(math.comb(n, i) for i in range(best)) / 2 ** n
    return ordered[best - 1], ordered[n - best], max(0.0, 1 - 2 * outside)


def paired(ours, theirs):
    """The ratios ours / theirs of measurements made side by side: their median and its interval."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, high, coverage = median_interval(ratios)
    return {"ratio": statistics.median(ratios), "low": low, "high": high, "coverage": coverage, "ratios": ratios}
