"""`serve --plan` and --memory: what is told is what `show` knows of the model, it fits what was allowed, and nothing is
loaded for it."""
import json
import re
import time

import pytest
from conftest import sampan

GB = 1_000_000_000


def plan(*args):
    done = sampan("serve", "--plan", "--json", *args)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_plan_agrees_with_show(starter):
    shown = json.loads(sampan("show", "--json", starter, "--context", "4096").stdout)["memory"]
    begin = time.monotonic()
    [told] = plan("--model", starter, "--max-seqs", "2")
    assert time.monotonic() - begin < 30
    assert told["weights"] == shown["weights"] and told["kv"] == 2 * 4096 // 64 * shown["kv_page"]
    assert (told["kv_tokens"], told["contexts"], told["context"], told["step_tokens"]) == (8192, 2, 4096, 256)
    assert told["together"] == told["weights"] + told["kv"] + told["steps"] <= told["free"] == told["limit"]


def test_the_cache_gets_what_memory_leaves(starter):
    [told] = plan("--model", starter, "--memory", str(GB))
    page = told["kv"] // told["kv_pages"]
    assert GB - page < told["together"] <= GB == told["limit"]
    [more] = plan("--model", starter, "--memory", str(GB), "--step-tokens", "1024")
    assert more["steps"] > told["steps"] and more["kv"] < told["kv"]


def test_models_share_the_memory(starter):
    first, second = plan("--model", starter, "--model", "smollm2-135m", "--memory", str(GB))
    assert 0.98 * GB < first["together"] + second["together"] <= GB
    assert first["together"] <= GB // 2


def test_people_get_a_table(starter):
    text = sampan("serve", "--plan", "--model", starter, "--memory", "1G").stdout
    sizes = dict(re.findall(r"^  (\w+(?: cache)?) +(\d+) MB", text, re.M))
    assert abs(sum(int(sizes[k]) for k in ("weights", "KV cache", "steps")) - int(sizes["together"])) <= 2
    assert "of 1074 MB allowed" in text and "contexts of 4096" in text


def test_what_does_not_fit_names_what_does(starter):
    refused = sampan("serve", "--model", starter, "--memory", "480M", "--max-context", "0")
    assert refused.returncode == 1
    fits = re.search(r"--max-context (\d+) fits", refused.stderr).group(1)
    [told] = plan("--model", starter, "--memory", "480M", "--max-context", fits)
    assert told["together"] <= 480 << 20 and told["contexts"] == 1


@pytest.mark.parametrize("size, says", [("1M", "allow more"), ("100T", "are free: give at most")])
def test_limits_that_cannot_be_kept_are_refused(starter, size, says):
    refused = sampan("serve", "--plan", "--model", starter, "--memory", size)
    assert refused.returncode == 1 and says in refused.stderr and not refused.stdout
