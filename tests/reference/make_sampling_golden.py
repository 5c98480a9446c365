#!/usr/bin/env python3
"""Which tokens transformers' logits processors leave, and their probabilities, for random logits and settings.

    python tests/reference/make_sampling_golden.py > tests/data/engine/sampling.json

Logits come from a formula that tests/unit/engine/test_sample.c repeats bit for bit. Presence and frequency penalties,
which transformers has not, are OpenAI's formula. Cases in which a cut falls so near a token that rounding decides
are left out.
"""
import json
import random
import sys

import numpy as np
import torch
from transformers import (MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper,
                          TopPLogitsWarper)

LISTED = 12  # tokens whose probability is kept


def make_logits(case):
    """splitmix64, 24 bits of it as u in [0, 1), then (u^power) * spread - 5 in float32."""
    i = np.arange(1, case["vocab"] + 1, dtype=np.uint64)
    z = np.uint64(case["seed"]) + i * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    u = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    x = u.copy()
    for _ in range(case["power"] - 1):
        x *= u
    return x * np.float32(case["spread"]) - np.float32(5)


def make_case(rng, seed, vocab):
    pick = lambda *values: rng.choice(values)
    case = {
        "seed": seed, "vocab": vocab, "power": pick(1, 4, 16), "spread": pick(1, 10, 30),
        "temperature": pick(0.25, 0.75, 1.0, 1.5), "top_k": pick(0, 0, 1, 3, 20, 200, 1500),
        "top_p": pick(1.0, 1.0, 0.125, 0.5, 0.875, 0.96875), "min_p": pick(0.0, 0.0, 0.03125, 0.25),
        "repetition_penalty": pick(1.0, 1.0, 1.25, 0.75), "presence_penalty": pick(0.0, 0.0, 0.5, -1.5),
        "frequency_penalty": pick(0.0, 0.0, 0.25),
    }
    strongest = np.argsort(-make_logits(case), kind="stable")[:40].tolist()
    case["prompt"] = rng.sample(strongest, 6) + rng.sample(range(vocab), 6)
    case["answer"] = rng.choices(strongest[:8], k=10) + rng.sample(range(vocab), 3)
    case["bias"] = [[t, rng.choice([-100.0, 2.5])] for t in rng.sample(strongest, rng.choice([0, 0, 3]))]
    return case


def penalize(case):
    x = make_logits(case)
    for token, bias in case["bias"]:
        x[token] += np.float32(bias)
    if case["repetition_penalty"] != 1:
        ids = torch.tensor([case["prompt"] + case["answer"]])
        x = RepetitionPenaltyLogitsProcessor(case["repetition_penalty"])(ids, torch.tensor(x)[None])[0].numpy()
    for token in set(case["answer"]):
        x[token] -= np.float32(case["presence_penalty"]) + (
            np.float32(case["frequency_penalty"]) * np.float32(case["answer"].count(token)))
    return x


def warpers(case):
    out = [TemperatureLogitsWarper(case["temperature"])]
    if case["top_k"]:
        out.append(TopKLogitsWarper(case["top_k"]))
    if case["top_p"] < 1:
        out.append(TopPLogitsWarper(case["top_p"]))
    if case["min_p"]:
        out.append(MinPLogitsWarper(case["min_p"]))
    return out


def too_near(case, x):
    """Whether float32 and float64 may differ on a cut, or two tokens of one logit stand on both its sides."""
    order = np.sort(x.astype(np.float64))[::-1] / case["temperature"]
    k = case["top_k"] or len(order)
    if k < len(order) and order[k - 1] == order[k]:
        return True
    kept = np.exp(order[:k] - order[0])
    mass = np.cumsum(kept) / kept.sum()
    at = int(np.searchsorted(mass, case["top_p"]))
    near = case["top_p"] < 1 and (np.abs(mass - case["top_p"]).min() < 2e-6 or
                                  (at + 1 < len(mass) and order[at] == order[at + 1]))
    return bool(near or (case["min_p"] and np.abs(kept / case["min_p"] - 1).min() < 1e-5))


def solve(case, x):
    scores = torch.tensor(x, dtype=torch.float64)[None]
    for warp in warpers(case):
        scores = warp(None, scores)
    probs = torch.softmax(scores, -1)[0].numpy()
    ids = np.flatnonzero(np.isfinite(scores[0].numpy()))
    best = ids[np.argsort(-probs[ids], kind="stable")][:LISTED]
    case["kept"] = len(ids)
    case["sum"] = int(ids.sum())
    case["squares"] = int((ids.astype(np.int64) ** 2 % 1000003).sum())
    case["probs"] = [[int(t), float(probs[t])] for t in best]


def main():
    rng = random.Random(8)
    out = []
    seed = 0
    while len(out) < 120:
        seed += 1
        case = make_case(rng, seed, 151936 if len(out) % 10 == 9 else rng.choice([50, 1000, 4096]))
        x = penalize(case)
        if case["top_k"] > case["vocab"] or too_near(case, x):
            continue
        solve(case, x)
        out.append(case)
    print("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in out) + "\n]")


if __name__ == "__main__":
    sys.exit(main())
