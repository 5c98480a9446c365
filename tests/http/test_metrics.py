"""/metrics: Prometheus' own client reads it, promtool checks it, a Prometheus server scrapes it, and after requests that are
known its numbers are exact."""
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import openai
import pytest
import tiny
from conftest import ROOT, Server, wait_until
from prometheus_client.parser import text_string_to_metric_families

KEY = "scrape-key"
DEBS = ROOT / "build/debs/usr"  # tools/unpack_debs.sh puts Debian's programs there


def tool(name):
    found = shutil.which(name, path=f"{DEBS}/bin:{DEBS}/sbin:{os.environ['PATH']}")
    assert found, f"{name} is missing: tools/unpack_debs.sh gets it"
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def serve(folder):
    made = []

    def make(*args):
        made.append(Server(*args, model=str(folder)))
        return made[-1]
    yield make
    for s in made:
        s.end()


def text(server, key=None, path="/metrics"):
    request = urllib.request.Request(server.url + path, headers={"Authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert path != "/metrics" or answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return answer.read().decode()


class Numbers:
    """Samples by name and labels, model_name left out."""
    def __init__(self, server, key=None):
        self.text = text(server, key)
        self.families = {f.name: f for f in text_string_to_metric_families(self.text)}
        self.samples = {}
        for family in self.families.values():
            for s in family.samples:
                labels = tuple(sorted((k, v) for k, v in s.labels.items() if k != "model_name"))
                assert (s.name, labels) not in self.samples
                self.samples[s.name, labels] = s.value

    def get(self, name, **labels):
        name = name if name.startswith(("http_requests", "process_", "vllm:")) else "sampan:" + name
        return self.samples[name, tuple(sorted(labels.items()))]


def post(server, path, body, key=None):
    head = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(server.url + path, json.dumps({"model": server.model, **body}).encode(), head)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def ask(server, **more):
    return server.client.chat.completions.create(model=server.model, messages=[{"role": "user", "content": "Hello"}],
                                                 temperature=0, extra_body={"ignore_eos": True}, **more)


def test_counts_are_exact(serve):
    s = serve("--max-context", "512", "--prefix-cache", "off", "--speculate", "off")
    three = ask(s, n=3, max_tokens=5)
    prompt = three.usage.prompt_tokens
    chunks = list(ask(s, stream=True, max_tokens=8))
    assert chunks[-1].choices[0].finish_reason == "length"
    read = s.client.completions.create(model=s.model, prompt=[1, 2, 3, 4], max_tokens=0, echo=True, logprobs=1)
    assert read.usage.prompt_tokens == 4
    assert post(s, "/v1/chat/completions", {"messages": [], "n": 0})[0] == 400
    assert post(s, "/v1/completions", {"model": "none"})[0] == 404
    with pytest.raises(urllib.error.HTTPError):
        text(s, path="/nowhere")
    with pytest.raises(urllib.error.HTTPError):
        text(s, path="/v1/models/none")
    m = Numbers(s)

    assert m.get("prompt_tokens_total") == m.get("prompt_tokens_by_source_total", source="local_compute") == 4 * prompt + 4
    assert m.get("generation_tokens_total") == 3 * 5 + 8
    assert [m.get("request_success_total", finished_reason=r) for r in ("length", "stop", "abort", "error")] == [5, 0, 0, 0]
    assert m.get("requests_accepted_total") == 5
    assert (m.get("request_prompt_tokens_count"), m.get("request_prompt_tokens_sum")) == (5, 4 * prompt + 4)
    assert (m.get("request_generation_tokens_count"), m.get("request_generation_tokens_sum")) == (5, 23)
    assert (m.get("request_params_n_count"), m.get("request_params_n_sum")) == (3, 3 + 1 + 1)
    assert (m.get("request_params_max_tokens_count"), m.get("request_params_max_tokens_sum")) == (5, 23)
    assert m.get("time_to_first_token_seconds_count") == 4 and m.get("inter_token_latency_seconds_count") == 3 * 4 + 7
    for name, n in (("e2e_request_latency", 5), ("request_queue_time", 5), ("request_prefill_time", 4),
                    ("request_decode_time", 4), ("request_inference_time", 4)):
        assert m.get(f"{name}_seconds_count") == n, name
    rows = m.get("iteration_tokens_total_sum")
    # Each prompt once, then each token of an answer but the last.
    assert rows == 4 * prompt + 4 + 3 * 4 + 7
    assert m.get("requests_rejected_total", reason="invalid_request") == m.get("requests_rejected_total", reason="model_not_found") == 1
    assert m.get("http_requests_total", handler="/v1/chat/completions", method="POST", status="2xx") == 2
    assert m.get("http_requests_total", handler="/v1/chat/completions", method="POST", status="4xx") == 1
    assert m.get("http_requests_total", handler="none", method="GET", status="4xx") == 1
    assert m.get("http_requests_total", handler="/v1/models/{name}", method="GET", status="4xx") == 1
    assert m.get("num_requests_waiting") == 0
    assert wait_until(lambda: Numbers(s).get("num_requests_running") == 0 and Numbers(s).get("kv_cache_usage_perc") == 0)
    assert m.get("http_connections") >= 1


def test_tokens_by_source(serve):
    s = serve("--max-context", "2048")
    prompt = list(range(250)) * 2
    used = [s.client.completions.create(model=s.model, prompt=prompt + [i], max_tokens=2).usage for i in range(3)]
    cached = sum(u.prompt_tokens_details.cached_tokens for u in used)
    assert cached > 500
    assert wait_until(lambda: Numbers(s).get("prefix_cache_hits_total") == cached)
    m = Numbers(s)
    assert m.get("prompt_tokens_by_source_total", source="local_cache_hit") == cached
    assert m.get("prompt_tokens_by_source_total", source="local_compute") == m.get("prompt_tokens_total") - cached == 3 * 501 - cached
    assert m.get("prefix_cache_queries_total") == 3 * 501 and m.get("num_preemptions_total") == 0
    assert m.get("kv_cache_usage_perc") == 0  # pages that only the cache keeps are free to take


def test_guesses_are_counted(serve):
    s = serve("--max-context", "2048", "--prefix-cache", "off")
    used = s.client.completions.create(model=s.model, prompt=list(range(40)) * 8, max_tokens=600, temperature=0,
                                       extra_body={"ignore_eos": True}).usage
    m = Numbers(s)
    right = m.get("spec_decode_num_accepted_tokens_total")
    assert 0 < m.get("spec_decode_num_drafts_total") <= m.get("spec_decode_num_draft_tokens_total")
    assert 0 < right <= m.get("spec_decode_num_draft_tokens_total")
    by_place = [v for (name, _), v in m.samples.items() if name == "sampan:spec_decode_num_accepted_tokens_per_pos_total"]
    assert sum(by_place) == right and by_place == sorted(by_place, reverse=True)
    # The prompt, each token of the answer that was no right guess but the last, and all guesses.
    assert m.get("iteration_tokens_total_sum") == used.prompt_tokens + 600 - 1 - right + m.get("spec_decode_num_draft_tokens_total")


def test_preemptions_are_counted(serve):
    """Two answers that do not fit together: one has to wait, and computes again."""
    s = serve("--max-context", "2048", "--kv-memory", "400K", "--prefix-cache", "off", "--speculate", "off")
    m = Numbers(s)
    pages = float(next(dict(labels)["num_gpu_blocks"] for name, labels in m.samples if name == "sampan:cache_config_info"))
    answer = s.client.completions.create(model=s.model, prompt=[[1], [2]], max_tokens=2000, temperature=0, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 4000
    m = Numbers(s)
    assert m.get("num_preemptions_total") >= 1, pages
    assert m.get("generation_tokens_total") == 4000 and m.get("prompt_tokens_total") == 2
    assert m.get("request_success_total", finished_reason="length") == 2


def test_times_are_those_of_the_client(serve):
    s = serve("--max-context", "4096")
    begin = time.monotonic()
    stream = ask(s, stream=True, max_tokens=400)
    arrivals = [time.monotonic() for c in stream if c.choices and c.choices[0].delta.content is not None]
    m = Numbers(s)
    first, whole = m.get("time_to_first_token_seconds_sum"), m.get("e2e_request_latency_seconds_sum")
    inference = m.get("request_inference_time_seconds_sum")
    assert 0 < first < arrivals[-1] - begin and first < whole < time.monotonic() - begin
    assert inference <= whole and m.get("request_queue_time_seconds_sum") + inference <= whole + 1e-6
    gaps = m.get("inter_token_latency_seconds_sum")
    assert gaps == pytest.approx(m.get("request_decode_time_seconds_sum"), rel=0.05, abs=0.01)
    assert gaps == pytest.approx(whole - first, rel=0.05, abs=0.01)


def test_buckets_are_vllms(serve):
    s = serve("--max-context", "512")
    m = Numbers(s)
    bounds = {}
    for name, labels in m.samples:
        if name.endswith("_bucket"):
            bounds.setdefault(name.removeprefix("sampan:").removesuffix("_bucket"), []).append(float(dict(labels)["le"]))
    inf = [float("inf")]
    ttft = [.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560]
    itl = [.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80]
    e2e = [.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680]
    tokens = [1, 2, 5, 10, 20, 50, 100, 200, 500]
    expected = {"time_to_first_token_seconds": ttft, "inter_token_latency_seconds": itl, "e2e_request_latency_seconds": e2e,
                "request_queue_time_seconds": e2e, "request_prefill_time_seconds": e2e, "request_decode_time_seconds": e2e,
                "request_inference_time_seconds": e2e, "request_prompt_tokens": tokens, "request_generation_tokens": tokens,
                "request_params_max_tokens": tokens, "request_params_n": [1, 2, 5, 10, 20],
                "iteration_tokens_total": [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]}
    assert bounds == {name: list(map(float, b)) + inf for name, b in expected.items()}
    assert 'le="1.0"' in m.text and 'le="0.25"' in m.text


def test_a_client_that_leaves_is_an_abort(serve):
    s = serve("--max-context", "8192")
    connection = http.client.HTTPConnection(s.url.removeprefix("http://"), timeout=60)
    body = {"model": s.model, "prompt": "a", "max_tokens": 8000, "stream": True, "ignore_eos": True}
    connection.request("POST", "/v1/completions", json.dumps(body))
    assert connection.getresponse().read(6) == b"data: "
    assert Numbers(s).get("num_requests_running") == 1
    assert wait_until(lambda: 0 < Numbers(s).get("kv_cache_usage_perc") <= 1)  # it is told with the next step
    connection.close()
    assert wait_until(lambda: Numbers(s).get("request_success_total", finished_reason="abort") == 1)
    after = Numbers(s)
    assert after.get("e2e_request_latency_seconds_count") == 0 and after.get("kv_cache_usage_perc") == 0
    assert ("http_requests_total", (("handler", "/v1/completions"), ("method", "POST"), ("status", "5xx"))) not in after.samples


def test_refusals_by_reason(serve):
    s = serve("--api-key", KEY, "--max-queue", "1", "--max-seqs", "1", "--max-context", "4096")
    with pytest.raises(urllib.error.HTTPError) as refused:
        text(s)
    assert refused.value.code == 401
    assert post(s, "/tokenize", {"prompt": "x"})[0] == 401
    status, said = post(s, "/v1/completions", {"prompt": ["a"] * 100, "max_tokens": 300, "ignore_eos": True}, KEY)
    assert status == 429 and json.loads(said)["error"]["code"] == "queue_full"
    with socket.create_connection(("127.0.0.1", int(s.url.rsplit(":", 1)[1])), timeout=20) as raw:
        raw.sendall(b"POST /tokenize HTTP/1.1\r\nContent-Length: +1\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
    m = Numbers(s, KEY)
    assert m.get("requests_rejected_total", reason="invalid_api_key") == 1  # a scrape without a key is none
    assert m.get("requests_rejected_total", reason="queue_full") == 1
    assert m.get("requests_rejected_total", reason="invalid_request") == 1
    assert m.get("http_requests_total", handler="none", method="none", status="4xx") == 1


def test_open_metrics_and_vllms_names(serve):
    s = serve("--api-key", KEY, "--metrics-open", "--metrics-alias", "vllm", "--max-context", "512")
    m = Numbers(s)
    with pytest.raises(urllib.error.HTTPError):
        text(s, path="/v1/models")
    ours = {name for name in m.families if name.startswith("sampan:")}
    theirs = {name for name in m.families if name.startswith("vllm:")}
    only_ours = {"sampan:requests_rejected", "sampan:http_connections", "sampan:build_info", "sampan:prefix_cache_evicted_pages",
                 "sampan:requests_accepted"}
    only_ours |= {name for name in ours if name.startswith("sampan:model_")}
    assert theirs == {name.replace("sampan:", "vllm:") for name in ours - only_ours} and len(theirs) > 15
    assert m.get("vllm:num_requests_running") == m.get("num_requests_running")


def test_the_process_is_this_one(serve):
    s = serve("--max-context", "512")
    m = Numbers(s)
    with open(f"/proc/{s.process.pid}/status") as f:
        rss = next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))
    assert m.get("process_resident_memory_bytes") == pytest.approx(rss, rel=0.2)
    assert abs(m.get("process_open_fds") - len(os.listdir(f"/proc/{s.process.pid}/fd"))) <= 2
    assert 0 <= time.time() - m.get("process_start_time_seconds") < 120
    assert 0 < m.get("process_cpu_seconds_total") < 60 and m.get("process_max_fds") > 100


def test_promtool_reads_it(serve):
    s = serve("--max-context", "512", "--metrics-alias", "vllm")
    ask(s, max_tokens=4)
    done = subprocess.run([tool("promtool"), "check", "metrics"], input=text(s), capture_output=True, text=True, timeout=60)
    # What it finds is what makes these names vLLM's.
    found = [line for line in done.stderr.splitlines()
             if not line.endswith("metric names should not contain ':'") and "iteration_tokens_total non-counter metrics" not in line]
    assert done.returncode in (0, 3) and found == [] and done.stdout == "", done.stderr


@contextlib.contextmanager
def prometheus(folder, server):
    """Debian's Prometheus with our configuration, pointed at this server; yields a function that asks it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    config = config.replace("127.0.0.1:8080", server.url.removeprefix("http://")).replace("scrape_interval: 15s", "scrape_interval: 1s")
    config = config.replace("evaluation_interval: 15s", "evaluation_interval: 1s")
    (folder / "prometheus.yml").write_text(config)
    shutil.copy(ROOT / "deploy/prometheus/alerts.yml", folder)
    (folder / "sampan.key").write_text(KEY)
    log = open(folder / "log", "w")
    process = subprocess.Popen([tool("prometheus"), "--config.file", folder / "prometheus.yml", "--storage.tsdb.path", folder / "data",
                                "--web.listen-address", f"127.0.0.1:{port}"], stdout=log, stderr=log)

    def query(path, **parameters):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}?" + urllib.parse.urlencode(parameters), timeout=20) as answer:
            return json.load(answer)["data"]

    def value(expression):
        result = query("query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else None
    try:
        def ready():
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).status == 200
        assert wait_until(ready, 60), (folder / "log").read_text()[-3000:]
        yield query, value
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


def test_prometheus_scrapes_it(serve, tmp_path):
    s = serve("--max-context", "512", "--api-key", KEY)
    s.client = openai.OpenAI(base_url=s.url + "/v1", api_key=KEY, max_retries=0)
    ask(s, n=2, max_tokens=6)
    with prometheus(tmp_path, s) as (query, value):
        assert wait_until(lambda: value("sampan:generation_tokens_total") == 12, 60)
        assert value('up{job="sampan"}') == 1
        ask(s, max_tokens=20)
        assert wait_until(lambda: value("sampan:generation_tokens_total") == 32, 60)
        assert value("histogram_quantile(0.99, sampan:time_to_first_token_seconds_bucket)") > 0
        target = query("targets")["activeTargets"][0]
        assert target["health"] == "up" and target["lastError"] == ""
        groups = query("rules")["groups"]
        assert sum(len(g["rules"]) for g in groups) > 5
        assert all(rule["health"] == "ok" for g in groups for rule in g["rules"]), groups
