"""The API through OpenAI's own client, and what it must refuse."""
import concurrent.futures
import http.client
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request

import openai
import pytest
from conftest import SAMPAN, model_path, wait_until

HI = [{"role": "user", "content": "Count from one to five in words."}]


def chat(server, messages=HI, **more):
    return server.client.chat.completions.create(model=server.model, messages=messages, **{"max_tokens": 24, "temperature": 0, **more})


def call(server, path, body=None, method=None, headers=()):
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Content-Type": "application/json", **dict(headers)}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_stream_equals_whole(fast):
    whole = chat(fast)
    parts = list(chat(fast, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in parts if c.choices)
    assert text == whole.choices[0].message.content and len(text) > 10
    assert parts[0].choices[0].delta.role == "assistant"
    assert parts[-1].usage == whole.usage and not parts[-1].choices
    assert [c.choices[0].finish_reason for c in parts if c.choices][-1] == whole.choices[0].finish_reason


def test_stops_are_never_leaked(fast):
    full = chat(fast).choices[0].message.content
    stop = full[6:12]
    for stops in (stop, ["zzzz", stop]):
        got = chat(fast, stop=stops)
        assert got.choices[0].message.content == full[:full.index(stop)] and got.choices[0].finish_reason == "stop"
        streamed = "".join(c.choices[0].delta.content or "" for c in chat(fast, stop=stops, stream=True))
        assert streamed == full[:full.index(stop)]


def test_seed_n_and_logprobs(fast):
    draw = lambda **more: chat(fast, temperature=1.2, **more)
    assert draw(seed=1).choices[0].message.content == draw(seed=1).choices[0].message.content
    several = draw(n=3, seed=5).choices
    assert len({c.message.content for c in several}) > 1 and [c.index for c in several] == [0, 1, 2]
    got = chat(fast, logprobs=True, top_logprobs=4, max_tokens=5).choices[0].logprobs.content
    assert len(got) == 5 and all(len(t.top_logprobs) == 4 and t.top_logprobs[0].logprob == t.logprob for t in got)


def test_finish_reasons_and_usage(fast):
    got = chat(fast, max_completion_tokens=3, max_tokens=None)
    assert got.choices[0].finish_reason == "length" and got.usage.completion_tokens == 3
    assert got.usage.total_tokens == got.usage.prompt_tokens + 3
    done = chat(fast, [{"role": "user", "content": "Reply with OK."}], max_tokens=200)
    assert done.choices[0].finish_reason == "stop"


def test_messages_of_every_shape(fast):
    parts = [{"role": "system", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
             {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "More."}]
    assert chat(fast, parts).choices[0].message.content
    unicode = chat(fast, [{"role": "user", "content": "Repeat: 👩‍👩‍👧 你好 ñ"}], stream=True)
    assert "\ufffd" not in "".join(c.choices[0].delta.content or "" for c in unicode)


def test_control_tokens_in_messages_stay_text(fast):
    status, body = call(fast, "/tokenize", {"messages": [{"role": "user", "content": "<|im_end|>"}]})
    status2, control = call(fast, "/tokenize", {"content": "<|im_end|>"})
    assert status == status2 == 200
    end = json.loads(control)["tokens"]
    assert len(end) == 1 and json.loads(body)["tokens"].count(end[0]) == 2  # the template's own two


def test_completions(fast):
    c = fast.client.completions
    one = c.create(model=fast.model, prompt="def add(a, b):", max_tokens=24, temperature=0)
    assert "return" in one.choices[0].text
    ids = json.loads(call(fast, "/tokenize", {"prompt": "def add(a, b):"})[1])["tokens"]
    both = c.create(model=fast.model, prompt=[ids, ids[:3]], max_tokens=24, temperature=0)
    assert both.choices[0].text == one.choices[0].text and len(both.choices) == 2
    echo = c.create(model=fast.model, prompt=ids, max_tokens=1, temperature=0, echo=True, logprobs=1)
    lp = echo.choices[0].logprobs
    assert echo.choices[0].text.startswith("def add(a, b):") and lp.token_logprobs[0] is None
    assert len(lp.tokens) == len(lp.token_logprobs) == len(lp.top_logprobs) == len(ids) + 1
    shorter = c.create(model=fast.model, prompt=ids[:4], max_tokens=0, echo=True, logprobs=1).choices[0].logprobs
    assert shorter.token_logprobs == lp.token_logprobs[:4]


@pytest.mark.parametrize("which", ["exact", "fast"])
def test_alone_and_among_seven_others(which, request):
    """The same bits in the logprobs, whatever runs beside it."""
    server = request.getfixturevalue(which)
    ask = lambda text, n: server.client.completions.create(model=server.model, prompt=text, max_tokens=n, temperature=0, logprobs=3)
    alone = ask("The river Yangtze is", 16).choices[0]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        others = [pool.submit(ask, f"Number {i}: " + "word " * (7 * i), 12 + i) for i in range(7)]
        among = pool.submit(ask, "The river Yangtze is", 16).result().choices[0]
        for other in others:
            other.result()
    assert among.text == alone.text and among.logprobs.token_logprobs == alone.logprobs.token_logprobs
    assert among.logprobs.top_logprobs == alone.logprobs.top_logprobs


BAD = [({"temperature": -1}, "temperature"), ({"temperature": 1e9}, "temperature"), ({"top_p": 2}, "top_p"), ({"n": 0}, "n"),
       ({"max_tokens": -5}, "max_tokens"), ({"presence_penalty": 9}, "presence_penalty"), ({"stop": 3}, "stop"), ({"messages": []}, "messages"),
       ({"tools": [{"type": "function"}]}, "tools"), ({"response_format": {"type": "json_object"}}, "response_format"),
       ({"logit_bias": {"1": 999}}, "logit_bias"), ({"stream": "yes"}, "stream")]


@pytest.mark.parametrize("change,param", BAD, ids=[p for _, p in BAD])
def test_bad_values_name_the_parameter(fast, change, param):
    status, body = call(fast, "/v1/chat/completions", {"model": fast.model, "messages": HI, **change})
    error = json.loads(body)["error"]
    assert status == 400 and error["param"] == param and error["message"]


@pytest.mark.parametrize("raw", [b"{", b"[]", b"null", b'{"a": NaN}', b'{"a": "\\u0000"}', b'{"a": "\xff"}', b'{"a":1,"a":2}', b"[" * 10000,
                                 b'{"a": 1e999}', b""])
def test_bodies_that_are_no_json(fast, raw):
    status, body = call(fast, "/v1/chat/completions", raw, "POST")
    assert status == 400 and "error" in json.loads(body)


def test_unknown_things_are_404(fast):
    with pytest.raises(openai.NotFoundError) as caught:
        fast.client.chat.completions.create(model="gpt-9", messages=HI)
    assert caught.value.code == "model_not_found"
    assert call(fast, "/v1/nothing")[0] == 404 and call(fast, "/v1/chat/completions")[0] == 405
    assert chat(fast, extra_body={"some_new_field": 1}).choices


def test_a_prompt_longer_than_the_context(fast):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(fast, [{"role": "user", "content": "word " * 3000}])
    assert "2048" in str(caught.value) and "30" in str(caught.value)


def test_info_endpoints(fast):
    for path in ("/health", "/livez", "/readyz", "/version", "/", "/v1/models"):
        assert call(fast, path)[0] == 200
    names = [m.id for m in fast.client.models.list()]
    assert fast.model in names and fast.client.models.retrieve(fast.model).id == fast.model


def test_detokenize_is_tokenize_backwards(fast):
    text = "你好, world! 👋 <|im_start|>\n\t  end"
    tokens = json.loads(call(fast, "/tokenize", {"prompt": text})[1])["tokens"]
    back = json.loads(call(fast, "/detokenize", {"tokens": tokens})[1])
    assert back["prompt"] == back["content"] == text


def test_keys_hosts_and_ports(server_factory):
    s = server_factory("--api-key", "sesame")
    with pytest.raises(openai.AuthenticationError):
        chat(s)
    s.client = s.client.with_options(api_key="sesame")
    assert chat(s, max_tokens=2).choices and call(s, "/health")[0] == 200
    port = s.url.rsplit(":", 1)[1]
    refused = subprocess.run([SAMPAN, "serve", "--model", model_path(), "--host", "0.0.0.0"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2 and "--api-key" in refused.stderr
    busy = subprocess.run([SAMPAN, "serve", "--model", model_path(), "--port", port], capture_output=True, text=True, timeout=60)
    assert busy.returncode == 1 and port in busy.stderr


def test_a_busy_port_moves_to_the_next(server_factory):
    first = server_factory()
    port = int(first.url.rsplit(":", 1)[1])
    second = server_factory("--port", str(port), "--next-port")
    assert int(second.url.rsplit(":", 1)[1]) > port


def test_twenty_at_once(fast):
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda i: chat(fast, [{"role": "user", "content": f"Say {i}."}], max_tokens=6), range(20)))
    assert all(a.choices[0].message.content for a in answers)


def test_a_signal_lets_streams_end(server_factory):
    s = server_factory()
    stream = chat(s, stream=True, max_tokens=60, extra_body={"ignore_eos": True})
    first = next(iter(stream))
    s.process.terminate()
    rest = list(stream)
    assert first and rest[-1].choices[0].finish_reason == "length"
    assert wait_until(lambda: s.process.poll() is not None) and s.process.returncode == 0


def test_connections_kept_pipelined_and_slow(fast):
    host, port = fast.url[7:].split(":")
    keep = http.client.HTTPConnection(host, int(port), timeout=30)
    for _ in range(3):
        keep.request("GET", "/health")
        assert keep.getresponse().read() == b'{"status":"ok"}'
    s = socket.create_connection((host, int(port)))
    s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
    time.sleep(0.5)
    assert s.recv(65536).count(b"200 OK") >= 1
    slow = socket.create_connection((host, int(port)))
    for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n":
        slow.sendall(bytes([byte]))
    assert b"200 OK" in slow.recv(4096)
    try:  # too large a body: refused, or the line is closed before all of it came
        assert call(fast, "/tokenize", b"x" * (33 << 20), "POST")[0] == 413
    except urllib.error.URLError:
        pass
    assert call(fast, "/health")[0] == 200
