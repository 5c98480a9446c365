#!/usr/bin/env python3
"""How far the fast path's next-token distributions are from exact arithmetic on the same file: Sampan and llama.cpp.

    bench/peers/quality.py --model FILE.gguf                   on the English and Chinese pages of docs/
    bench/peers/quality.py --model FILE.gguf --text TEXT --context 512

Each program is its own reference: Sampan's --compute f32, and llama.cpp on the file's weights as float32 (made by its
quantizer: the same values, twelve times the disk). Both take the same text in the same windows and score their second
halves. llama.cpp keeps the reference's log-probabilities in 16 bits, which adds a little to its figure (some 1e-5).
Prints a Markdown table; setup.py llama.cpp builds the peer.
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from peers import PEERS, program

ROOT = Path(__file__).resolve().parent.parent.parent


def output_of(*command):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def figure(text, name):
    """(mean, deviation) of a line such as `Mean    KLD:   0.001126 ±   0.000036`."""
    found = re.search(re.escape(name).replace(r"\ ", r"\s+") + r"\s*:\s+([\d.]+)\s*±\s*([\d.]+)", text)
    if not found:
        sys.exit(f"llama-perplexity printed no '{name}'")
    return float(found[1]), float(found[2])


def ours(args, text):
    whole = args.context * windows_of(args, text)
    result = json.loads(output_of(args.sampan, "eval", "kl", "--model", args.model, "--file", text, "--context", args.context,
                                  "--skip", args.context // 2 + 1, "--max-tokens", whole, "--threads", args.threads, "--json"))
    return {"mean": result["mean"], "deviation": result["stderr"], "top1": result["top1"], "tokens": result["tokens"],
            "ratio": result["perplexity"] / result["perplexity_reference"]}


def windows_of(args, text):
    """How many whole windows the text has: llama.cpp leaves the rest out."""
    counted = json.loads(output_of(args.sampan, "eval", "perplexity", "--model", args.model, "--file", text, "--context",
                                   args.context, "--threads", args.threads, "--json"))
    return (counted["tokens"] + counted["windows"]) // args.context


def theirs(args, text):
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        exact, base = Path(folder) / "f32.gguf", Path(folder) / "base.bin"
        common = ["-f", text, "-c", args.context, "-t", args.threads, "--kl-divergence-base", base]
        output_of(program(args.peer, "llama-quantize"), "--allow-requantize", args.model, exact, "F32")
        output_of(program(args.peer, "llama-perplexity"), "-m", exact, *common)
        printed = output_of(program(args.peer, "llama-perplexity"), "-m", args.model, *common, "--kl-divergence")
    mean, deviation = figure(printed, "Mean KLD")
    return {"mean": mean, "deviation": deviation, "top1": figure(printed, "Same top p")[0] / 100,
            "ratio": figure(printed, "Mean PPL(Q)/PPL(base)")[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--text", type=Path, help="UTF-8; the pages of docs/ if unset")
    parser.add_argument("--context", type=int, default=512, help="tokens of a window")
    parser.add_argument("--peer", choices=PEERS, default="llama.cpp")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sampan", type=Path, default=ROOT / "build/release/sampan")
    parser.add_argument("--scratch", help="folder for the float32 file and log-probabilities (0.15 MB a token)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = args.text
        if not text:
            text = Path(folder) / "docs.txt"
            pages = [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/zh").glob("*.md"))]
            text.write_text("\n\n".join(p.read_text(encoding="utf-8") for p in pages), encoding="utf-8")
        we, they = ours(args, text), theirs(args, text)
    print(f"{Path(args.model).name}, {we['tokens']} positions in windows of {args.context}\n")
    print("| fast path against its own f32 | mean KL, nats | perplexity ratio | same best token |\n|---|--:|--:|--:|")
    for name, r in (("Sampan", we), (args.peer, they)):
        print(f"| {name} | {r['mean']:.6f} ± {r['deviation']:.6f} | {r['ratio']:.5f} | {100 * r['top1']:.2f}% |")


if __name__ == "__main__":
    main()
