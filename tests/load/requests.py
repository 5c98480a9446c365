"""Requests for load tests: sound ones of every kind, and ones that a server must refuse."""
import json

WORDS = ("the river carries small boats past the old harbour where people trade rice tea paper and salt while engineers measure "
         "the depth of water and write careful notes about wind rain light and the cost of every journey").split()
HOST = b"Host: localhost\r\n"


def words(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def head(path, length, id, keep=True):
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\nContent-Length: {length}\r\n"
            f"{'' if keep else 'Connection: close' + chr(13) + chr(10)}\r\n").encode()


def sound(rng, model, prefixes, most, longest):
    """(path, body) of a request that must be answered; `most`: words of its own, `longest`: tokens of an answer."""
    chat, stream = rng.random() < 0.3, rng.random() < 0.5
    text = (rng.choice(prefixes) + " " if rng.random() < 0.6 else "") + words(rng, rng.choice((1, most // 8 + 1, most // 2 + 1, most)))
    body = {"model": model, "stream": stream, "temperature": rng.choice((0, 0, 0.7, 1.3)), "seed": rng.randrange(1 << 30)}
    count = rng.choice((1, 4, longest // 4 + 1, longest))
    body["max_completion_tokens" if chat else "max_tokens"] = count
    if chat:
        body["messages"] = [{"role": "system", "content": rng.choice(prefixes)}, {"role": "user", "content": text}]
    else:
        body["prompt"] = [text, words(rng, 5)] if rng.random() < 0.1 else text
    for share, more in ((0.2, {"n": rng.choice((2, 3, 4))}), (0.3, {"priority": rng.randrange(-3, 4)}), (0.5, {"ignore_eos": True}),
                        (0.1, {"stop": ["boat", "\n\n"]}), (0.1, {"logprobs": True, "top_logprobs": 3} if chat else {"logprobs": 3}),
                        (0.1, {"logit_bias": {"5": -20}}), (0.1, {"presence_penalty": 0.5, "frequency_penalty": 0.5}),
                        (0.1, {"user": "ann"}), (0.1, {"min_tokens": 1}), (0.05, {} if chat else {"echo": True})):
        if rng.random() < share:
            body |= more
    if stream and rng.random() < 0.5:
        body["stream_options"] = {"include_usage": True, "continuous_usage_stats": rng.random() < 0.5}
    if stream and rng.random() < 0.1:
        body["return_progress"] = True
    return "/v1/chat/completions" if chat else "/v1/completions", body


def choices_of(path, body):
    prompts = len(body["prompt"]) if isinstance(body.get("prompt"), list) else 1
    return prompts * body.get("n", 1)


def bad_bodies(model):
    """(path, body, status) that are refused, each for another reason."""
    m = json.dumps(model).encode()
    good = b'{"model":' + m + b',"prompt":"a","max_tokens":2'
    chat = b'{"model":' + m + b',"max_tokens":2,"messages":'
    path, talk = "/v1/completions", "/v1/chat/completions"
    return [(path, b"", 400), (path, b"nonsense", 400), (path, b"[1,2", 400), (path, b"[" * 100000, 400), (path, b'"x"', 400),
            (path, good, 400), (path, good + b"}}", 400), (path, good + b',"prompt":"\xff\xfe"}', 400), (path, good + b',"x":"\\ud800"}', 400),
            (path, good + b',"temperature":-1}', 400), (path, good + b',"temperature":"hot"}', 400), (path, good + b',"n":0}', 400),
            (path, good + b',"n":1000}', 400), (path, good + b',"logprobs":99}', 400), (path, good + b',"max_tokens":-5}', 400),
            (path, good + b',"stop":[1]}', 400), (path, good + b',"priority":"first"}', 400), (path, good + b',"stream":"yes"}', 400),
            (path, good + b',"prompt":[[1,2],"x"]}', 400), (path, good + b',"prompt":[-1]}', 400), (path, good + b',"prompt":[99999999]}', 400),
            (path, good + b',"stream_options":{"include_usage":true}}', 400), (path, good + b',"logit_bias":{"999999999":1}}', 400),
            (path, b'{"model":"nobody","prompt":"a"}', 404), (path, b'{"model":' + m + b"}", 400),
            (talk, chat + b"[]}", 400), (talk, chat + b'"hello"}', 400), (talk, chat + b'[{"role":7,"content":"x"}]}', 400),
            (talk, chat + b'[{"role":"user","content":[{"type":"image_url"}]}]}', 400), (talk, chat + b"[null]}", 400)]


BAD_HTTP = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), b"\0" * 500, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    b"get /health http/1.1\r\n" + HOST + b"\r\n", b"GET  /health HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", b"BREW /tea HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /health HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 10000 + b"\r\n",
    b"GET /health HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", b"GET /health HTTP/1.1\r\n" + HOST + b"A b\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Length: -4\r\n\r\nabcd",
    b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\nabcd",
    b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!!\r\n0\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n40000000\r\nx",
    b"POST /tokenize HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 100000,
]
