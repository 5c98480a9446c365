"""What a client sees of the waiting line: priorities, a full queue and when to come back, limits of time, fair shares of
keys. One request runs at a time; a small model, of which a long answer takes half a minute, unless its client leaves."""
import json
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from conftest import Server, wait_until

MODEL = "smollm2-135m"
LONG = 4000  # tokens


@pytest.fixture
def serve():
    made = []

    def start(*args):
        made.append(Server("--max-seqs", "1", "--max-context", "8192", "--speculate", "off", *args, model=MODEL))
        return made[-1]
    yield start
    for s in made:
        s.end()


def ask(server, tokens=4, key="none", **body):
    """Status, head and text of one completion."""
    data = json.dumps({"model": MODEL, "prompt": "ab", "max_tokens": tokens, "ignore_eos": True, **body}).encode()
    request = urllib.request.Request(server.url + "/v1/completions", data, {"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=120) as r:
            return r.status, r.headers, r.read().decode()
    except urllib.error.HTTPError as r:
        return r.code, r.headers, r.read().decode()


def code_of(text):
    return json.loads(text)["error"]["code"]


class Running:
    """A long answer under way; leaving cancels it."""

    def __init__(self, server, key="none"):
        client = openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0, timeout=120)
        self.stream = client.completions.create(model=MODEL, prompt="ab", max_tokens=LONG * 2, stream=True,
                                                extra_body={"ignore_eos": True})

    def __enter__(self):
        next(iter(self.stream))
        return self

    def __exit__(self, *_):
        self.stream.close()


def in_line(server, jobs):
    """Starts jobs that wait behind a long answer, each in line before the next; their order of ending."""
    ended, threads = [], []

    def work(name, job):
        assert ask(server, **job)[0] == 200
        ended.append(name)
    with Running(server, jobs[0][1].get("key", "none")):
        for name, job in jobs:
            threads.append(threading.Thread(target=work, args=(name, job)))
            threads[-1].start()
            time.sleep(.1)
    for t in threads:
        t.join()
    return ended


def test_lower_priorities_go_first(serve):
    jobs = [("late", {"priority": 5}), ("usual", {}), ("soon", {"priority": -9}), ("null", {"priority": None})]
    # long enough that the order in which they end is the order in which they ran
    assert in_line(serve(), [(n, {"tokens": 40, **j}) for n, j in jobs]) == ["soon", "usual", "null", "late"]


@pytest.mark.parametrize("value", [101, -101, 1.5, "1", True, [0]])
def test_priorities_are_checked(fast, value):
    for path, body in (("completions", {"prompt": "a"}), ("chat/completions", {"messages": [{"role": "user", "content": "a"}]})):
        data = json.dumps({"model": fast.model, "max_tokens": 1, "priority": value, **body}).encode()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(f"{fast.url}/v1/{path}", data), timeout=60)
        assert refused.value.code == 400 and json.load(refused.value)["error"]["param"] == "priority"


def test_a_key_with_many_requests_does_not_hold_up_another(serve):
    server = serve("--api-key", "one", "--api-key", "two")
    jobs = [(f"one {i}", {"key": "one", "tokens": 40}) for i in range(6)] + [("two", {"key": "two", "tokens": 40})]
    assert in_line(server, jobs).index("two") <= 1


def test_keys_do_not_find_each_other_s_prompts(serve):
    server = serve("--api-key", "one", "--api-key", "two")
    cached = [json.loads(ask(server, key=key, prompt="ab" * 200)[2])["usage"]["prompt_tokens_details"]["cached_tokens"]
              for key in ("one", "two", "two")]
    assert cached == [0, 0, 192]


def test_a_full_queue_says_when_to_come_back(serve):
    server = serve("--max-queue", "2")
    assert ask(server, 50)[0] == 200  # how fast it is
    with ThreadPoolExecutor(2) as threads:
        with Running(server):
            waiting = [threads.submit(ask, server, 50) for _ in range(2)]
            time.sleep(.3)
            status, head, text = ask(server)
            assert (status, code_of(text)) == (429, "queue_full")
            assert "2 requests wait" in text
            assert 1 <= int(head["Retry-After"]) <= 60
        assert [w.result()[0] for w in waiting] == [200, 200]
    assert ask(server)[0] == 200


def test_the_queue_is_bounded_by_tokens(serve):
    server = serve("--max-queue-tokens", "1000")
    with ThreadPoolExecutor(2) as threads:
        with Running(server):
            waiting = [threads.submit(ask, server, prompt=[40] * n) for n in (700, 300)]
            time.sleep(.3)
            status, head, text = ask(server, prompt="a")
            assert (status, code_of(text)) == (429, "queue_full") and "1000" in text and int(head["Retry-After"]) >= 1
        assert [w.result()[0] for w in waiting] == [200, 200]
    assert ask(server, prompt=[40] * 2000)[0] == 200  # a lone one may be larger


@pytest.mark.parametrize("stream", [False, True])
def test_who_waits_too_long_is_sent_away(serve, stream):
    server = serve("--queue-timeout", "0.4")
    with Running(server):
        begin = time.monotonic()
        status, head, text = ask(server, stream=stream)
        assert (status, code_of(text)) == (503, "queue_timeout") and int(head["Retry-After"]) >= 1
        assert .4 <= time.monotonic() - begin < 10
    assert ask(server)[0] == 200


def test_an_answer_that_takes_too_long_ends(serve):
    server = serve("--request-timeout", "1")
    assert ask(server)[0] == 200
    status, _, text = ask(server, LONG * 2)
    assert (status, code_of(text)) == (504, "request_timeout")
    status, _, text = ask(server, LONG * 2, stream=True)
    *pieces, error, done = [line[6:] for line in text.splitlines() if line]
    assert status == 200 and len(pieces) > 1 and done == "[DONE]" and code_of(error) == "request_timeout"
    assert all("choices" in json.loads(p) for p in pieces)
    with pytest.raises(openai.APIError, match="longer than 1 s"):
        with Running(server) as running:
            list(running.stream)
    wait_until(lambda: ask(server)[0] == 200)
