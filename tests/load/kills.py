#!/usr/bin/env python3
"""kill -9 at any moment with --prefix-store, and a start after each:

    tests/load/kills.py --model NAME [--rounds 30] [-- options of `sampan serve`]

In each round clients with long shared prompts keep a server busy until it is killed at a random moment: while it loads,
reads the store, computes, writes pages. Then it must start, answer greedy prompts as it did before the first round, and,
in most rounds, find pages of theirs in the store. Exit status 1, and what was seen, when one fails.
"""
import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import requests
from served import Served, name_of

TOKENS = 24


def ask(server, model, prompt):
    said = server.post("/v1/completions", {"model": model, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True})
    return said["choices"][0]["text"], said["usage"]["prompt_tokens_details"]["cached_tokens"]


def busy(server, model, rng, prompts):
    """Until the server is gone."""
    with contextlib.suppress(OSError, json.JSONDecodeError):
        while True:
            ask(server, model, rng.choice(prompts) + " " + requests.words(rng, rng.randrange(1, 60)))


def main():
    split_at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--kv-memory", default="64M")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1000000)
    options = parser.parse_args(sys.argv[1:split_at])
    rng, wrong, warm, began, logs = random.Random(options.seed), [], 0, [], set()
    print(f"seed {options.seed}", flush=True)
    prompts = [f"{i} {requests.words(rng, 150)}" for i in range(8)]
    with tempfile.TemporaryDirectory(prefix="sampan-kills-") as folder:
        work, model = Path(folder), name_of(options.model)

        def start(wait=True):
            begin = time.monotonic()
            server = Served([options.model], work / "log", "--max-context", "1024", "--kv-memory", options.kv_memory,
                            "--prefix-store", str(work / "store"), *sys.argv[split_at + 1:], wait=wait)
            began.append(time.monotonic() - begin)
            return server

        server = start()
        alone = {p: ask(server, model, p)[0] for p in prompts}
        for number in range(options.rounds):
            crowd = [threading.Thread(target=busy, args=(server, model, random.Random(rng.random()), prompts))
                     for _ in range(options.clients)]
            for t in crowd:
                t.start()
            time.sleep(rng.choice((0, rng.uniform(0, 0.3), rng.uniform(0.3, 3))))
            server.kill()
            for t in crowd:
                t.join()
            if rng.random() < 0.3:  # killed again while it starts
                again = start(wait=False)
                time.sleep(rng.uniform(0, 0.5))
                again.kill()
            server = start()
            found = 0
            for p in rng.sample(prompts, 3):
                text, cached = ask(server, model, p)
                found += cached > 0
                if text != alone[p]:
                    wrong.append(f"round {number}: {text!r} where it was {alone[p]!r}; {cached} tokens from the store")
            warm += found > 0
            lines, others = server.lines()
            wrong += [f"round {number}: the log holds {text}" for text in others]
            logs |= {line["msg"] for line in lines if line["level"] in ("warn", "error")}
        if server.end() != 0:
            wrong.append("the last server did not end well")
        store = sum(f.stat().st_size for f in (work / "store").iterdir())
    if warm < options.rounds * 0.8:
        wrong.append(f"only {warm} of {options.rounds} starts were warm")
    print(f"{options.rounds} kills: {warm} starts warm, slowest start {max(began):.2f} s, store {store / 1e6:.0f} MB")
    for text in sorted(logs):
        print("log:", text)
    for text in wrong[:30]:
        print("WRONG:", text)
    print(f"{len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
