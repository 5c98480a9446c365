"""Ten Chinese questions through the official client: the first 32 greedy tokens are transformers' own (f32)."""
import json
import time
import urllib.request

import pytest
from conftest import ROOT

GOLDEN = json.loads((ROOT / "tests/data/real/chat_greedy.json").read_text(encoding="utf-8"))["items"]


def post(server, path, body):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))


@pytest.mark.parametrize("item", GOLDEN, ids=[str(i) for i in range(len(GOLDEN))])
def test_greedy_answers_equal_transformers(exact, item):
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
    ends = {151643, 151645}
    expected = [t for t in item["answer"] if t not in ends][:32]
    want = post(exact, "/detokenize", {"tokens": expected})["content"]
    assert raw.decode("utf-8", "replace").rstrip("\ufffd") == want.rstrip("\ufffd")
    assert len(times) == len(expected) and times[0] < times[-1], "the first chunk comes before generation ends"
