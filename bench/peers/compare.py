#!/usr/bin/env python3
"""Sampan and its peers on the same file, alternating, as pairs.

    bench/peers/compare.py --model FILE                                      every row against llama.cpp, 15 pairs
    bench/peers/compare.py --model A.gguf --model B.gguf --rows prefill512,decode128 --peer ik_llama.cpp --options="-rtr 1"
    bench/peers/compare.py --model FILE --isa avx2 --peer llama.cpp-avx2 --rows prefill512,prefill4096,decode128

A pair is one run of each program, right after one another, the order changing from pair to pair; each run loads the
model, warms up and measures once. What counts is the median of the pairs' ratios with its 95% interval by order
statistics (exact, whatever the distribution). A peer with several --options is measured with each, and the one with the
best median counts. Prints Markdown; --json FILE keeps every figure. setup.py builds the peers.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from peers import PEERS, home, paired, program

ROOT = Path(__file__).resolve().parent.parent.parent
START_PROMPT = "Once upon a time there was a king who lived in a big castle and he"  # 16 tokens in Qwen's vocabulary
LIMIT = 1800  # seconds a run may take

# name: (what it is, prompt, answer, depth, sequences)
ROWS = {
    "prefill512": ("prefill 512", 512, 0, 0, 1),
    "prefill4096": ("prefill 4096", 4096, 0, 0, 1),
    "decode128": ("decode 128", 0, 128, 0, 1),
    "depth8192": ("decode 128 at depth 8192", 0, 128, 8192, 1),
    "seqs16": ("decode 128, 16 sequences (depth 128)", 0, 128, 128, 16),
    "start": ("warm start to first token, 16-token prompt, ms", 16, 1, 0, 1),
}


def output_of(command, env):
    done = subprocess.run([str(c) for c in command], env=env, stdin=subprocess.DEVNULL, text=True, capture_output=True,
                          timeout=LIMIT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def first_output(command, env):
    """Milliseconds from the program's start to the first text of its answer (llama.cpp prints empty lines before)."""
    begin = time.monotonic()
    with subprocess.Popen([str(c) for c in command], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as running:
        byte = b" "
        while byte.isspace():
            byte = os.read(running.stdout.fileno(), 1)
        taken = time.monotonic() - begin
        running.communicate(timeout=LIMIT)
    if not byte or running.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\ngave no answer, status {running.returncode}")
    return 1000 * taken


def parse_bench(text, prompt, gen, depth):
    """tokens/s out of `llama-bench -o json`; the run must be the one that was asked for."""
    (run,) = [r for r in json.loads(text) if (r["n_prompt"], r["n_gen"], r.get("n_depth", 0)) == (prompt, gen, depth)]
    return run["avg_ts"]


def parse_batched(text, sequences):
    """Decode tokens/s out of `llama-batched-bench --output-format jsonl`."""
    (run,) = [r for r in map(json.loads, (line for line in text.splitlines() if line.startswith("{"))) if r["pl"] == sequences]
    return run["speed_tg"]


def sampan_run(args, model, row):
    """(figure, share of the limit) of one run."""
    _, prompt, gen, depth, sequences = ROWS[row]
    env = dict(os.environ, **({"SAMPAN_ISA": args.isa} if args.isa else {}))
    if row == "start":
        return first_output([args.sampan, "run", "--model", model, "--raw", "--threads", args.threads, "--max-tokens", 1,
                             "--temperature", 0, START_PROMPT], env), None
    text = output_of([args.sampan, "bench", "model", "--model", model, "--threads", args.threads, "--reps", 1, "--prompt",
                      prompt, "--gen", gen, "--depth", depth, "--batch", sequences, "--json"], env)
    result = json.loads(text)
    return result["tokens_per_second"], result["share"]


def peer_run(args, model, row, options):
    _, prompt, gen, depth, sequences = ROWS[row]
    env = dict(os.environ)
    if row == "start":
        return first_output([program(args.peer, "llama-completion"), "-m", model, "-t", args.threads, "-n", 1, "--temp", 0,
                             "-no-cnv", "--no-warmup", "--no-display-prompt", *options, "-p", START_PROMPT], env)
    if sequences > 1:
        text = output_of([program(args.peer, "llama-batched-bench"), "-m", model, "-t", args.threads, "-c",
                          sequences * (depth + gen), "-npp", depth, "-ntg", gen, "-npl", sequences, "--output-format",
                          "jsonl", *options], env)
        return parse_batched(text, sequences)
    depths = ["-d", depth] if depth else []
    text = output_of([program(args.peer, "llama-bench"), "-m", model, "-t", args.threads, "-r", 1, "-p", prompt, "-n", gen,
                      "-o", "json", *depths, *options], env)
    return parse_bench(text, prompt, gen, depth)


def measure(args, model, row):
    """Pairs of one row: ours, our shares of the limit, and theirs with each set of options."""
    ours, shares, theirs = [], [], [[] for _ in args.options]
    for pair in range(-1 if row == "start" else 0, args.pairs):  # start: one unmeasured, so that the file is in memory
        turns = [None, *range(len(args.options))]
        for turn in turns if pair % 2 == 0 else reversed(turns):
            figure, share = sampan_run(args, model, row) if turn is None else \
                (peer_run(args, model, row, args.options[turn]), None)
            if pair < 0:
                continue
            if turn is None:
                ours.append(figure)
                shares.append(share)
            else:
                theirs[turn].append(figure)
        print(f"{row}: pair {pair + 1} of {args.pairs}", file=sys.stderr)
    best = max if row != "start" else min
    chosen = best(range(len(theirs)), key=lambda i: statistics.median(theirs[i]))
    # A start takes time, so there the peer's figure stands above: always "how many times better".
    result = paired(theirs[chosen], ours) if row == "start" else paired(ours, theirs[chosen])
    known = [s for s in shares if s is not None]
    return {"row": row, "model": Path(model).name, "peer": args.peer, "options": " ".join(args.options[chosen]),
            "isa": args.isa, "threads": args.threads, "sampan": ours, "peer_figures": theirs[chosen],
            "all_peer_figures": {" ".join(o): t for o, t in zip(args.options, theirs)},
            "share_of_limit": statistics.median(known) if known else None, **result}


def markdown(results):
    lines = ["| work | file | against | pairs | Sampan | peer | ratio (95% interval) | of the limit |",
             "|---|---|---|--:|--:|--:|--:|--:|"]
    for r in results:
        against = " ".join(filter(None, [r["peer"], r["options"]]))
        what = ROWS[r["row"]][0] + (f", SAMPAN_ISA={r['isa']}" if r["isa"] else "")
        few = "" if r["coverage"] >= 0.95 else f", covers {100 * r['coverage']:.0f}%"
        share = f"{100 * r['share_of_limit']:.0f}%" if r["share_of_limit"] is not None else "–"
        lines.append(f"| {what} | {r['model']} | {against} | {len(r['ratios'])} | {statistics.median(r['sampan']):.1f} | "
                     f"{statistics.median(r['peer_figures']):.1f} | {r['ratio']:.2f} ({r['low']:.2f} to {r['high']:.2f}{few}) "
                     f"| {share} |")
    return "\n".join(lines)


def heading(args):
    machine = json.loads(output_of([args.sampan, "bench", "machine", "--threads", args.threads, "--json"], dict(os.environ)))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True, capture_output=True).stdout.strip()
    read, peak = max(r["gb_per_second"] for r in machine["read"]), machine["peak"][-1]
    return (f"Commit {commit}, {machine['cpu']}, {args.threads} threads, {time.strftime('%Y-%m-%d')}; before the runs: read "
            f"{read:.1f} GB/s, int8 {peak['int8_gops']:.0f} GOPS ({machine['isa']}). tokens/s, medians; ratio: median of the "
            f"pairs' ratios, over 1 where Sampan is better.\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, help="a GGUF file; may be given several times")
    parser.add_argument("--rows", default=",".join(ROWS), help="of: " + ",".join(ROWS))
    parser.add_argument("--peer", choices=PEERS, default="llama.cpp")
    parser.add_argument("--options", action="append", default=None, help="of the peer, as one word; may be given several times")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--isa", help="forces Sampan's kernels: ref, avx2, avxvnni, avx512")
    parser.add_argument("--sampan", type=Path, default=ROOT / "build/release/sampan")
    parser.add_argument("--json", type=Path, help="write all figures here")
    args = parser.parse_args()
    args.options = [o.split() for o in args.options] if args.options else [[]]
    rows = args.rows.split(",")
    if not set(rows) <= set(ROWS):
        sys.exit(f"--rows: no row {', '.join(sorted(set(rows) - set(ROWS)))}: there are {', '.join(ROWS)}")
    if args.pairs < 1:
        sys.exit("--pairs: at least 1")
    if not program(args.peer, "llama-bench").exists():
        sys.exit(f"{args.peer}: not in {home()}: bench/peers/setup.py {args.peer} builds it")
    print(heading(args), flush=True)
    results = []
    for model in args.model:
        for row in rows:
            results.append(measure(args, model, row))
            if args.json:
                args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(markdown(results))


if __name__ == "__main__":
    main()
