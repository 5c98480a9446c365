"""A folder of every family as it is published, shown and run: the token that `run` gives after the tiny models' 150 (or
60) is the one that the reference's logits are highest for."""
import json
import shutil
import struct

import pytest
from conftest import ROOT, sampan

MODELS = ROOT / "tests/data/models"
VOCAB = 200


def add_tokenizer(folder):
    """Every id is a word of its own, [0] to [199]."""
    words = [dict(id=i, content=f"[{i}]", single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
             for i in range(VOCAB)]
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    model = dict(type="BPE", vocab={w["content"]: w["id"] for w in words}, merges=[])
    json.dump(dict(version="1.0", added_tokens=words, pre_tokenizer=level, decoder=level, model=model),
              open(folder / "tokenizer.json", "w"))


def last_choice(golden, positions):
    data = (golden / "golden.bin").read_bytes()
    logits = struct.unpack(f"<{VOCAB}f", data[4 * VOCAB * (positions - 1):])
    return max(range(VOCAB), key=lambda i: logits[i])


# name, where its expected logits are, the context that it is loaded for
@pytest.mark.parametrize("name,golden,context", [
    ("qwen3", "", 256), ("mistral", "", 256), ("gemma3", "", 256), ("gemma3-vision", "", 256), ("phi3", "", 256),
    ("phi3-long", "", 256), ("phi3-long", "-within", 64), ("llama-dynamic", "-within", 64), ("internlm2", "-within", 64),
    ("qwen", "", 256), ("qwen", "-within", 64), ("smollm3", "", 256)])
def test_folder_is_shown_and_run(name, golden, context, tmp_path):
    folder = tmp_path / name
    shutil.copytree(MODELS / name, folder)
    add_tokenizer(folder)
    asked = json.load(open(MODELS / (name + golden) / "golden.json"))
    facts = json.loads(sampan("show", "--json", folder).stdout)
    assert facts["vocab"] == VOCAB and facts["memory"]["total"] > facts["memory"]["weights"]
    prompt = "".join(f"[{t}]" for t in asked["tokens"])
    done = sampan("run", "--model", folder, "--raw", "--compute", "f32", "--temperature", "0", "--max-tokens", "1",
                  "--max-context", context, "--stats", prompt)
    assert done.returncode == 0, done.stderr
    assert f"{len(asked['tokens'])} tokens in" in done.stderr
    assert done.stdout.strip() == f"[{last_choice(MODELS / (name + golden), len(asked['positions']))}]"
