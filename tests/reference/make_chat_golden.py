#!/usr/bin/env python3
"""Greedy answers of a real model by transformers in float32, for tests/http/test_real_chat.py.

    python tests/reference/make_chat_golden.py STARTER.gguf > tests/data/real/chat_greedy.json
    python tests/reference/make_chat_golden.py SMOLLM2.gguf --english > tests/data/real/smollm2_greedy.json

Needs torch, transformers and gguf. The GGUF file is dequantized by transformers.
"""
import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTIONS = [
    "你好，请用一句话介绍你自己。",
    "长江有多长？",
    "用Python写一个计算斐波那契数列的函数。",
    "什么是操作系统的进程和线程？",
    "请把“今天天气很好”翻译成英文。",
    "解释一下快速排序的思想。",
    "中国的四大发明是什么？",
    "如何在Linux里查看占用端口的程序？",
    "写一首关于秋天的四行短诗。",
    "HTTP状态码404和500分别表示什么？",
]
ENGLISH = [
    "Who are you?",
    "What is gravity?",
    "Write a haiku about the sea.",
    "How do I boil an egg?",
    "Name three colours and say what each makes you feel.",
]
NEW_TOKENS = 32


def main():
    path = sys.argv[1]
    folder, name = os.path.split(os.path.abspath(path))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    model.eval()
    items = []
    for question in ENGLISH if "--english" in sys.argv else QUESTIONS:
        messages = [{"role": "user", "content": question}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True,
                                            return_tensors="pt")["input_ids"]
        with torch.no_grad():
            out = model.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False, temperature=None, top_p=None,
                                 top_k=None, repetition_penalty=1.0)
        items.append({"question": question, "prompt": ids[0].tolist(), "answer": out[0, ids.shape[1]:].tolist()})
    json.dump({"model": name, "items": items}, sys.stdout, ensure_ascii=False, indent=1)
    print()


if __name__ == "__main__":
    main()
