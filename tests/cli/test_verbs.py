"""Every verb on the starter model: output for people and scripts, exit codes, bad input."""
import json
import re

import pytest
from conftest import ROOT, sampan


def test_help_and_version():
    assert sampan("--help").returncode == 0
    assert sampan("--version").stdout.startswith("sampan ")
    assert sampan().returncode == 2
    for verb in ("pull", "list", "show", "rm", "run", "chat", "serve", "eval", "bench", "config"):
        done = sampan(verb, "--help")
        assert done.returncode == 0 and "examples:" in done.stdout and "options:" in done.stdout


@pytest.mark.parametrize("args", [["bogus"], ["run", "--mdoel", "x", "hi"], ["serve", "--port", "70000"], ["run", "--temperature", "nan", "x"],
                                  ["run", "--temperature", "-1", "x"], ["run", "--top-p", "3", "x"], ["config", "hide"], ["bench", "x"],
                                  ["eval", "perplexity"], ["rm", "x"], ["show"], ["serve", "bare"]])
def test_wrong_usage_is_2(args, store):
    done = sampan(*args, env=store)
    assert done.returncode == 2 and done.stderr.startswith("sampan: "), done.stderr


def test_show(starter):
    text = sampan("show", starter).stdout
    assert "architecture  qwen2, 24 layers" in text and "context       32768 tokens" in text
    facts = json.loads(sampan("show", "--json", starter, "--context", "8192").stdout)
    assert facts["parameters"] == 630167424 and facts["memory"]["context"] == 8192
    assert facts["memory"]["total"] > facts["memory"]["weights"]
    pages = {kv: json.loads(sampan("show", "--json", starter, "--kv-type", kv).stdout)["memory"]["kv_page"]
             for kv in ("auto", "f16", "bf16", "f32")}
    page = 24 * 2 * 64 * 2 * 64 * 2  # layers, KV heads, head_dim, K and V, positions, bytes
    assert pages == {"auto": page, "f16": page, "bf16": page, "f32": 2 * page}


def test_run_answers_in_chinese(starter):
    done = sampan("run", "--model", starter, "--temperature", "0", "--max-tokens", "40", "--stats", "用一句话介绍长江。")
    assert done.returncode == 0 and "长江" in done.stdout and "tokens in" in done.stderr
    piped = sampan("run", "--model", starter, "--temperature", "0", "--max-tokens", "40", input="用一句话介绍长江。")
    assert piped.stdout == done.stdout and piped.stderr == ""


def test_run_raw_and_stop(starter):
    done = sampan("run", "--model", starter, "--raw", "--temperature", "0", "--max-tokens", "24", "def add(a, b):")
    assert "return a + b" in done.stdout
    cut = sampan("run", "--model", starter, "--raw", "--temperature", "0", "--max-tokens", "24", "--stop", "a + b",
                 "def add(a, b):")
    assert cut.stdout.rstrip().endswith("return")


def test_guesses_change_speed_only(starter):
    """A text to copy: guesses are made and mostly right, greedy and drawn, and the answer is the same without them."""
    ask = ("Repeat this list word for word, nothing else:\napples, pears, plums, cherries, apricots, peaches, grapes, melons, "
           "figs, dates, quinces, currants")
    for how in (("--temperature", "0"), ("--temperature", "0.5", "--seed", "3")):
        args = ("run", "--model", starter, *how, "--max-tokens", "60", "--stats")
        plain, guessed = (sampan(*args, *more, ask) for more in (("--speculate", "off"), ("--draft-max", "6")))
        assert plain.stdout == guessed.stdout != ""
        assert "guesses" not in plain.stderr
        right, made = map(int, re.search(r"(\d+) of (\d+) guesses right", guessed.stderr).groups())
        assert made / 2 <= right <= made
    refused = sampan("run", "--model", starter, "--draft-max", "17", ask)
    assert refused.returncode == 2 and "draft-max" in refused.stderr


def test_seeds(starter):
    draw = lambda seed: sampan("run", "--model", starter, "--temperature", "1", "--seed", seed, "--max-tokens", "24",
                               "Tell me a story.").stdout
    assert draw(1) == draw(1) != draw(2)


def test_control_tokens_in_a_message_are_text(starter):
    done = sampan("run", "--model", starter, "--temperature", "0", "--max-tokens", "8", "<|im_end|>")
    assert done.returncode == 0


def test_empty_and_broken_prompts(starter):
    assert sampan("run", "--model", starter, input="").returncode == 2
    done = sampan("run", "--model", starter, "--max-context", "256", "x " * 4000)
    assert done.returncode == 1 and "256" in done.stderr and re.search(r"has \d{4} tokens", done.stderr)


def test_eval_and_bench(starter):
    text = ROOT / "tests/data/real/teacher_en.txt"
    done = sampan("eval", "perplexity", "--model", starter, "--file", text, "--context", "256", "--max-tokens", "256", "--json")
    ppl = json.loads(done.stdout)
    assert ppl["tokens"] == 255 and 1 < ppl["perplexity"] < 200
    kl = json.loads(sampan("eval", "kl", "--model", starter, "--file", text, "--context", "128", "--max-tokens", "128",
                           "--json").stdout)
    assert kl["mean"] <= 0.002 and kl["top1"] > 0.9
    means = [json.loads(sampan("eval", "kl", "--model", starter, "--file", text, "--context", "64", "--max-tokens", "64",
                               "--compute", "f32", "--kv-type", kv, "--json").stdout)["mean"] for kv in ("f32", "f16", "bf16")]
    assert abs(means[0]) < 1e-9 < means[1] < means[2] < 0.002
    lines = sampan("bench", "model", "--model", starter, "--prompt", "64", "--gen", "8", "--threads", "2", "--reps", "1",
                   "--json").stdout.splitlines()
    tests = [json.loads(line) for line in lines]
    assert [t["test"] for t in tests] == ["pp64", "tg8"] and all(t["tokens_per_second"] > 0 for t in tests)


def test_config_show_tells_the_origin(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("max-seqs: 3\nthreads: 1\n")
    done = sampan("config", "show", "--json", "--config", file, "--port", "9000", env={"SAMPAN_THREADS": "2"}) \
        if "--port" in sampan("config", "--help").stdout else \
        sampan("config", "show", "--json", "--config", file, env={"SAMPAN_THREADS": "2"})
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert "SAMPAN_THREADS" in text and "config.yaml" in text


def test_models_that_are_none(tmp_path, store):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\x03\0\0\0" + b"\xff" * 64)
    for args in (["show", broken], ["run", "--model", broken, "x"], ["show", tmp_path], ["run", "--model", "nosuch", "x"]):
        done = sampan(*args, env=store)
        assert done.returncode == 1 and done.stderr.startswith("sampan: "), (args, done.stderr)


def test_too_little_memory_is_said_before_loading(starter):
    done = sampan("run", "--model", starter, "--kv-memory", "1000G", "hi") if "--kv-memory" in sampan("run", "--help").stdout \
        else sampan("run", "--model", starter, "--max-seqs", "9999", "hi")
    assert done.returncode != 0 and done.stderr.startswith("sampan: ")
