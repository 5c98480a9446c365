#!/usr/bin/env python3
"""What transformers computes in float32 for the starter model, over teacher-forced text in Chinese, English and
code, for tests/unit/model/test_real.c.

    python tests/reference/dump_real.py MODEL.gguf tests/data/real

Needs torch, transformers and gguf. The GGUF file is dequantized by transformers. Reads teacher_*.txt in the folder
and writes teacher.bin beside them, little-endian, for each text:
    u32 n                tokens
    i32 tokens[n]
    n times, for the distribution after token i:
        i32 ids[8]       the most probable tokens, the first one foremost
        f32 logprobs[8]
"""
import os
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ["zh", "en", "code"]
TOP = 8


def main():
    folder, name = os.path.split(os.path.abspath(sys.argv[1]))
    data = Path(sys.argv[2])
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    record = np.dtype([("ids", "<i4", TOP), ("logprobs", "<f4", TOP)])
    total = 0
    with open(data / "teacher.bin", "wb") as out:
        for text in TEXTS:
            ids = tokenizer((data / f"teacher_{text}.txt").read_text(encoding="utf-8"))["input_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0]
            top = torch.log_softmax(logits.double(), dim=-1).topk(TOP)
            rows = np.zeros(len(ids), record)
            rows["ids"] = top.indices.numpy()
            rows["logprobs"] = top.values.numpy()
            np.array([len(ids)], "<u4").tofile(out)
            np.array(ids, "<i4").tofile(out)
            rows.tofile(out)
            total += len(ids)
            print(f"{text}: {len(ids)} tokens")
    print(f"{total} tokens")


if __name__ == "__main__":
    main()
