#!/usr/bin/env python3
"""Writes tests/data/bench/load.json: random requests and what `vllm bench serve` makes of them, for
tests/unit/bench/test_load_figures.c.

    tests/reference/make_load_golden.py PATH    PATH: vllm/benchmarks/serve.py of a vLLM wheel or checkout

Only the function that makes the figures runs, out of that file, with numpy; vLLM itself need not be installed.
"""
import ast
import json
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
PERCENTILES = [50.0, 90.0, 99.0, 99.9, 0.0, 100.0]
GOODPUT = {"ttft": 400.0, "tpot": 60.0, "e2el": 2500.0}


@dataclass
class Output:
    """What vLLM's request functions hand over."""
    success: bool
    start_time: float
    ttft: float
    itl: list
    latency: float
    output_tokens: int
    prompt_len: int
    error: str = ""
    input_audio_duration: float = 0.0
    generated_text: str = ""
    tpot: float = field(default=0.0)


def figures_of(path):
    """calculate_metrics and its result's class, out of the file."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    wanted = [n for n in tree.body if getattr(n, "name", "") in ("calculate_metrics", "BenchmarkMetrics")]
    assert len(wanted) == 2, "the file has no calculate_metrics and BenchmarkMetrics"
    for node in wanted:  # their annotations name types that are not here
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for arg in node.args.args:
                arg.annotation = None
    module = types.ModuleType("figures")
    module.__dict__.update(np=np, dataclass=dataclass, warnings=__import__("warnings"), TERM_PLOTLIB_AVAILABLE=False,
                           MILLISECONDS_TO_SECONDS_CONVERSION=1000)
    sys.modules["figures"] = module
    exec(compile(ast.Module(wanted, []), path, "exec"), module.__dict__)
    return module.calculate_metrics


def requests(rng, n):
    made, clock = [], 0.0
    for i in range(n):
        clock += float(rng.exponential(0.08))
        tokens = int(rng.integers(1, 12))
        ttft = float(rng.lognormal(-1.5, 0.8))
        itl = [round(float(g), 9) for g in rng.lognormal(-3.2, 0.7, tokens - 1)]
        ok = bool(rng.random() > 0.1)
        made.append(Output(ok, round(clock, 9), round(ttft, 9), itl if ok else [], round(ttft, 9) + sum(itl), tokens if ok else 0,
                           int(rng.integers(1, 300)), "" if ok else "closed"))
    # Two that meet in the same moment: the one that ends comes first.
    a, b = [o for o in made if o.success][:2]
    b.start_time = a.start_time + a.latency
    return made


def most_at_once(outputs):
    """Of the intervals [start, end): vLLM up to 0.32 counted them by whole seconds, since then like this."""
    spans = [(o.start_time, o.start_time + o.latency) for o in outputs if o.success]
    return max(sum(s <= at < e for s, e in spans) for at, _ in spans)


def main():
    calculate = figures_of(sys.argv[1])
    rng = np.random.default_rng(20261126)
    cases = []
    for n in (1, 2, 7, 60):
        outputs = requests(rng, n + 2)
        duration = max(o.start_time + o.latency for o in outputs) + 0.125
        m, _ = calculate([], outputs, duration, object(), PERCENTILES, GOODPUT)
        m.max_concurrent_requests = most_at_once(outputs)
        cases.append({
            "duration": duration,
            "requests": [[int(o.success), o.start_time, o.ttft, o.itl, o.latency, o.output_tokens, o.prompt_len] for o in outputs],
            "figures": {k: ([float(p[1]) for p in v] if isinstance(v, list) else float(v)) for k, v in vars(m).items()}})
    path = ROOT / "tests/data/bench/load.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"percentiles": PERCENTILES, "goodput_ms": GOODPUT, "cases": cases}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
