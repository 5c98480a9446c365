"""Ten Chinese questions to the starter model and five English ones to SmolLM2 (Llama's architecture) through the
official client: the first 32 greedy tokens are transformers' own (f32)."""
import json
import time
import urllib.request

import pytest
from conftest import ROOT



def golden(name):
    items = json.loads((ROOT / "tests/data/real" / name).read_text(encoding="utf-8"))["items"]
    return pytest.mark.parametrize("item", items, ids=[str(i) for i in range(len(items))])


def post(server, path, body):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))


@golden("chat_greedy.json")
def test_greedy_answers_equal_transformers(exact, item):
    check_greedy(exact, item, {151643, 151645})


@golden("smollm2_greedy.json")
def test_smollm2_answers_equal_transformers(exact_smollm2, item):
    check_greedy(exact_smollm2, item, {2})


def check_greedy(exact, item, ends):
    messages = [{"role": "user", "content": item["question"]}]
    assert post(exact, "/tokenize", {"messages": messages})["tokens"] == item["prompt"]
    times, raw = [], b""
    stream = exact.client.chat.completions.create(model=exact.model, messages=messages, temperature=0, max_tokens=32, stream=True,
                                                  logprobs=True)
    for chunk in stream:
        choice = chunk.choices[0]
        if choice.logprobs:
            times.append(time.monotonic())
            for token in choice.logprobs.content:
                raw += bytes(token.bytes)
    expected = [t for t in item["answer"] if t not in ends][:32]
    want = post(exact, "/detokenize", {"tokens": expected})["content"]
    assert raw.decode("utf-8", "replace").rstrip("\ufffd") == want.rstrip("\ufffd")
    assert len(times) == len(expected) and times[0] < times[-1], "the first chunk comes before generation ends"
