#!/usr/bin/env python3
"""lm-evaluation-harness on Sampan's /v1/completions against its own `hf` backend: the same items, the same weights.

    python tests/reference/lm_eval/compare.py SAMPAN MODEL_FOLDER [WORK_FOLDER]

SAMPAN: the program. MODEL_FOLDER: a model as Hugging Face has it. Needs lm-eval[api], torch, transformers. Prints the
largest difference of an item's loglikelihood and both accuracies, for --compute f32 and fast; exit status 1 when f32
differs by more than 0.01 or in accuracy, or fast in more than 3 items.
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.request

HERE = pathlib.Path(__file__).parent


def run_harness(work, name, model, args):
    out = work / name
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "lm_eval", "run", "--model", model, "--model_args", args, "--tasks",
                    "sampan_items", "--include_path", str(work), "--output_path", str(out), "--log_samples",
                    "--device", "cpu", "--batch_size", "8"], check=True, cwd=work, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in next(out.rglob("samples_*.jsonl")).open()]
    lines.sort(key=lambda s: s["doc_id"])
    scores = [[float(r[0][0] if isinstance(r[0], list) else r[0]) for r in s["resps"]] for s in lines]
    return scores, [s["acc"] for s in lines]


def serve_and_run(work, sampan, model, compute, tokenizer):
    server = subprocess.Popen([sampan, "serve", "--model", model, "--port", "18571", "--compute", compute],
                              stdout=subprocess.PIPE, text=True)
    try:
        for line in server.stdout:
            if "Ctrl-C" in line:
                break
        name = json.load(urllib.request.urlopen("http://127.0.0.1:18571/v1/models"))["data"][0]["id"]
        return run_harness(work, compute, "local-completions",
                           f"model={name},base_url=http://127.0.0.1:18571/v1/completions,num_concurrent=4,"
                           f"tokenizer_backend=huggingface,tokenizer={tokenizer},max_length=2048")
    finally:
        server.terminate()
        server.wait()


def report(name, ours, theirs):
    difference = max(abs(a - b) for x, y in zip(ours[0], theirs[0]) for a, b in zip(x, y))
    flips = sum(a != b for a, b in zip(ours[1], theirs[1]))
    print(f"{name:5} {len(ours[1])} items: loglikelihoods differ by {difference:.5f} at most; accuracy "
          f"{sum(ours[1]) / len(ours[1]):.4f}, transformers {sum(theirs[1]) / len(theirs[1]):.4f}; {flips} items differ")
    return difference, flips


def main():
    sampan, model = sys.argv[1], str(pathlib.Path(sys.argv[2]).resolve())
    work = pathlib.Path(sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp())
    work.mkdir(exist_ok=True)
    shutil.copy(HERE / "sampan_items.yaml", work)
    with open(work / "items.jsonl", "w") as f:
        subprocess.run([sys.executable, str(HERE / "make_items.py")], stdout=f, check=True)
    theirs = run_harness(work, "hf", "hf", f"pretrained={model},dtype=float32,tokenizer={model}")
    f32 = report("f32", serve_and_run(work, sampan, model, "f32", model), theirs)
    fast = report("fast", serve_and_run(work, sampan, model, "fast", model), theirs)
    sys.exit(f32[0] > 0.01 or f32[1] != 0 or fast[1] > 3)


if __name__ == "__main__":
    main()
