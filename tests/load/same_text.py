#!/usr/bin/env python3
"""Greedy answers are the same bit for bit, alone and in a crowd:

    tests/load/same_text.py --model NAME [--requests 1000] [--concurrency 32] [-- options of `sampan serve`]

Different prompts, some with a shared beginning, are asked one at a time, then, of a server that starts anew and so has
nothing in its caches, in another order and company: 32 at once, with other requests that
are drawn at random among them. Texts, their finish reasons and their tokens' logprobs must be equal. Exit status 1 when one is
not.
"""
import argparse
import concurrent.futures
import random
import sys
import tempfile
import time
from pathlib import Path

import requests
from served import Served, name_of


def body(rng, model, number, prefixes, most):
    prompt = " ".join((rng.choice(prefixes), str(number), requests.words(rng, rng.choice((3, 20, 60))))).strip()
    return {"model": model, "prompt": prompt, "max_tokens": rng.randrange(1, most + 1), "temperature": 0, "logprobs": 1, "ignore_eos": True}


def ask(server, request):
    choice = server.post("/v1/completions", request)["choices"][0]
    return choice["text"], choice["finish_reason"], choice["logprobs"]["token_logprobs"]


def main():
    split_at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--longest", type=int, default=16, help="tokens of an answer")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1000000)
    options = parser.parse_args(sys.argv[1:split_at])
    rng, model = random.Random(options.seed), name_of(options.model)
    print(f"seed {options.seed}", flush=True)
    prefixes = [""] + [requests.words(rng, n) for n in (30, 100)]
    wanted = [body(rng, model, i, prefixes, options.longest) for i in range(options.requests)]
    noise = [w | {"temperature": 1, "n": 2, "seed": i, "priority": i % 7 - 3} for i, w in enumerate(rng.sample(wanted, len(wanted) // 5))]
    with tempfile.TemporaryDirectory(prefix="sampan-same-") as folder:
        def serve():
            return Served([options.model], Path(folder) / "log", "--max-context", "1024", "--max-queue", "1000", *sys.argv[split_at + 1:])
        server, begin = serve(), time.monotonic()
        alone = [ask(server, w) for w in wanted]
        took = time.monotonic() - begin
        status = server.end()
        server, begin = serve(), time.monotonic()
        order = list(range(len(wanted))) + [-1 - i for i in range(len(noise))]
        rng.shuffle(order)
        with concurrent.futures.ThreadPoolExecutor(options.concurrency) as pool:
            answers = dict(zip(order, pool.map(lambda i: ask(server, wanted[i] if i >= 0 else noise[-1 - i]), order)))
        together = time.monotonic() - begin
        status = server.end() or status
    differ = [i for i in range(len(wanted)) if answers[i] != alone[i]]
    print(f"{len(wanted)} requests: {took:.1f} s one at a time, {together:.1f} s with {len(noise)} others, {options.concurrency} at once; "
          f"{len(differ)} differ")
    for i in differ[:5]:
        print(f"{wanted[i]}\nalone: {alone[i]}\namong others: {answers[i]}")
    return 1 if differ or status else 0


if __name__ == "__main__":
    sys.exit(main())
