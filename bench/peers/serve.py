#!/usr/bin/env python3
"""Sampan's server and its peers under the same load, one after another in turn, by `sampan bench serve`.

    bench/peers/serve.py --model FILE.gguf                                 against llama-server: 1, 4, 8 and 16 at once
    bench/peers/serve.py --model FILE.gguf --vllm DIR --rows 16,prefix     also vLLM's CPU build; DIR: its model (safetensors)
    bench/peers/serve.py --model FILE.gguf --rows p99 --rounds 15 --json figures.json

All servers run at the same time on loopback ports, but only one is asked at a time, and the others are idle. (--alone
starts each one for its own runs only, where memory does not hold them all; it reads each model again every round.)
Prompts are random words that no server has seen. What counts is the median of the rounds' ratios with its interval.
setup.py llama.cpp builds llama-server; setup.py vllm makes vLLM's virtual environment. Prints Markdown; --json FILE keeps
every figure.
"""
import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from peers import home, paired, program, vllm_python

ROOT = Path(__file__).resolve().parent.parent.parent
START_LIMIT = 600  # seconds until a server answers: vLLM takes its time

# name: (what it is, options of `sampan bench serve`)
SHORT = ["--words", 128, "--max-tokens", 64]
ROWS = {
    "try": ("a try whether all is set up", ["--words", 16, "--max-tokens", 8, "--concurrency", 2, "--requests", 4]),
    "1": ("1 at once, 128 words in, 64 tokens out", [*SHORT, "--concurrency", 1, "--requests", 6]),
    "4": ("4 at once", [*SHORT, "--concurrency", 4, "--requests", 16]),
    "8": ("8 at once", [*SHORT, "--concurrency", 8, "--requests", 32]),
    "16": ("16 at once", [*SHORT, "--concurrency", 16, "--requests", 48]),
    "p99": ("32 at once", [*SHORT, "--concurrency", 32, "--requests", 96]),
    "prefix": ("8 at once, 800 words shared, 32 own, 32 tokens out",
               ["--prefix-words", 800, "--words", 32, "--max-tokens", 32, "--concurrency", 8, "--requests", 32]),
    "poisson": ("2 requests a second", [*SHORT, "--rate", 2, "--requests", 60]),
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def sampan_command(args, port):
    return [args.sampan, "serve", "--model", args.model, "--port", port, "--threads", args.threads, "--max-seqs", args.slots,
            "--max-context", args.context, *args.sampan_options.split()], {}


def llama_command(args, port):
    return [program(args.peer, "llama-server"), "-m", args.model, "--host", "127.0.0.1", "--port", port, "-t", args.threads,
            "-np", args.slots, "-c", args.slots * args.context, "--no-webui", *args.llama_options.split()], {}


def vllm_command(args, port):
    env = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": f"0-{args.threads - 1}", "HF_HUB_OFFLINE": "1"}
    return [vllm_python(), "-m", "vllm.entrypoints.openai.api_server", "--model", args.vllm, "--host", "127.0.0.1", "--port",
            port, "--max-model-len", args.context, "--max-num-seqs", args.slots, *args.vllm_options.split()], env


COMMANDS = {"sampan": sampan_command, "llama-server": llama_command, "vllm": vllm_command}


def answers(url):
    try:
        with urllib.request.urlopen(url + "/v1/models", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


@contextlib.contextmanager
def running(name, args):
    """A server that answers; it ends with the block. Its output goes to a file that is named when it fails."""
    port = free_port()
    command, env = COMMANDS[name](args, port)
    log = args.logs / f"{name}.log"
    url = f"http://127.0.0.1:{port}"
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen([str(c) for c in command], env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT)
        try:
            end = time.monotonic() + START_LIMIT
            while not answers(url):
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"{name}: does not answer; its output is in {log}")
                time.sleep(0.3)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def load(args, servers, options, rounds):
    """The lines of JSON of one call: [(name, url)] in turn."""
    command = [args.sampan, "bench", "serve", "--json", "--rounds", rounds, *options]
    for name, url in servers:
        command += ["--server", f"{name}={url}"]
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with status {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def together(args, options):
    """{name: [figures of a round]} with all servers up."""
    with contextlib.ExitStack() as stack:
        servers = [(name, stack.enter_context(running(name, args))) for name in args.names]
        lines = load(args, servers, options, args.rounds)
    return {x["label"]: x.get("rounds", [x]) for x in lines if x["bench"] == "serve"}


def alone(args, options):
    """The same with one server up at a time."""
    figures = {name: [] for name in args.names}
    for turn in range(args.rounds):
        for name in args.names if turn % 2 == 0 else reversed(args.names):
            with running(name, args) as url:
                figures[name] += [x for x in load(args, [(name, url)], options, 1) if x["bench"] == "serve"]
        print(f"round {turn + 1} of {args.rounds}", file=sys.stderr)
    return figures


FIGURES = (("total_token_throughput", "total tokens/s"), ("median_ttft_ms", "TTFT, ms"), ("p99_ttft_ms", "p99 TTFT, ms"),
           ("median_tpot_ms", "TPOT, ms"))


def ratios(figures):
    """How ours stands to each peer: [(peer, key, paired(...))]."""
    ours = figures["sampan"]
    return [(name, key, paired([x[key] for x in ours], [x[key] for x in rounds]))
            for name, rounds in figures.items() if name != "sampan" for key, _ in FIGURES]


def markdown(what, figures):
    lines = [f"\n{what}: {len(figures['sampan'])} rounds, medians of the rounds\n",
             "| server | failed | " + " | ".join(title for _, title in FIGURES) + " |", "|---|--:|" + "--:|" * len(FIGURES)]
    for name, rounds in figures.items():
        lines.append(f"| {name} | {sum(x['failed'] for x in rounds)} | " +
                     " | ".join(f"{statistics.median(x[k] for x in rounds):.1f}" for k, _ in FIGURES) + " |")
    for name in figures:
        if name == "sampan":
            continue
        cells = [p for n, _, p in ratios(figures) if n == name]
        lines.append(f"| sampan over {name} | | " + " | ".join(f"{p['ratio']:.2f} ({p['low']:.2f} to {p['high']:.2f})" for p in cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a GGUF file, for Sampan and llama-server")
    parser.add_argument("--vllm", help="a folder with safetensors: vLLM's CPU build is measured with it")
    parser.add_argument("--rows", default="1,4,8,16,prefix", help="of: " + ",".join(ROWS))
    parser.add_argument("--peer", choices=("llama.cpp", "llama.cpp-avx2"), default="llama.cpp")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slots", type=int, default=32, help="requests that a server runs at once")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--alone", action="store_true", help="one server up at a time")
    for name in ("sampan", "llama", "vllm"):
        parser.add_argument(f"--{name}-options", default="", help=f"more options for {name}'s server, as one word")
    parser.add_argument("--sampan", type=Path, default=ROOT / "build/release/sampan")
    parser.add_argument("--logs", type=Path, default=ROOT / "build", help="folder for the servers' output")
    parser.add_argument("--json", type=Path, help="write all figures here")
    args = parser.parse_args()
    rows = args.rows.split(",")
    if not set(rows) <= set(ROWS):
        sys.exit(f"--rows: no row {', '.join(sorted(set(rows) - set(ROWS)))}: there are {', '.join(ROWS)}")
    if not program(args.peer, "llama-server").exists():
        sys.exit(f"{args.peer}: no llama-server in {home()}: bench/peers/setup.py {args.peer} builds it")
    if args.vllm and not vllm_python().exists():
        sys.exit(f"vllm: not in {home()}: bench/peers/setup.py vllm gets it")
    args.names = ["sampan", "llama-server"] + (["vllm"] if args.vllm else [])
    everything = {}
    for row in rows:
        what, options = ROWS[row]
        everything[row] = (alone if args.alone else together)(args, options)
        print(markdown(what, everything[row]), flush=True)
        if args.json:
            args.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
