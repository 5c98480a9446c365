"""What llama.cpp's server tests and vLLM's entrypoint tests ask of an OpenAI server, asked of ours through OpenAI's own
client. docs/api-parity.md is the list, one line each; the last test here holds it to the tests that exist."""
import ast
import re

import openai
import pytest
from conftest import ROOT, Server
from test_openai import HI, call, chat

PROMPT = "The capital of France is"


def complete(server, prompt=PROMPT, **more):
    return server.client.completions.create(model=server.model, prompt=prompt, **{"max_tokens": 8, "temperature": 0, **more})


# ---- logprobs ----

def test_completions_logprobs_none_zero_some_too_many(fast):
    assert complete(fast).choices[0].logprobs is None
    zero = complete(fast, logprobs=0).choices[0].logprobs
    assert len(zero.tokens) == len(zero.token_logprobs) == 8 and all(len(t) == 1 for t in zero.top_logprobs)
    some = complete(fast, logprobs=5).choices[0].logprobs
    assert all(5 <= len(t) <= 6 for t in some.top_logprobs) and some.token_logprobs == zero.token_logprobs
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError):
            list(complete(fast, logprobs=21, stream=stream))
    assert complete(fast).choices[0].text  # and the server goes on


def test_chat_logprobs_none_zero_some_too_many(fast):
    assert chat(fast, max_tokens=4, logprobs=False).choices[0].logprobs is None
    assert all(t.top_logprobs == [] for t in chat(fast, max_tokens=4, logprobs=True, top_logprobs=0).choices[0].logprobs.content)
    assert all(len(t.top_logprobs) == 5 for t in chat(fast, max_tokens=4, logprobs=True, top_logprobs=5).choices[0].logprobs.content)
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError):
            list(chat(fast, logprobs=True, top_logprobs=21, stream=stream))


def test_tokens_of_logprobs_make_the_text(fast):
    whole = chat(fast, max_tokens=12, logprobs=True, top_logprobs=3).choices[0]
    assert "".join(t.token for t in whole.logprobs.content) == whole.message.content
    text, tokens = "", []
    for part in chat(fast, max_tokens=12, logprobs=True, top_logprobs=3, stream=True):
        text += part.choices[0].delta.content or ""
        tokens += part.choices[0].logprobs.content if part.choices[0].logprobs else []
    assert text == whole.message.content and tokens == whole.logprobs.content
    assert all(t.logprob <= 0 and bytes(t.bytes).decode() == t.token for t in tokens)


def test_text_offsets_point_into_the_text(fast):
    for more in ({}, {"echo": True}):
        got = complete(fast, logprobs=1, **more).choices[0]
        for token, at in zip(got.logprobs.tokens, got.logprobs.text_offset):
            assert got.text[at:at + len(token)] == token


# ---- echo ----

def test_echo_streamed_equals_whole(fast):
    for more in ({"logprobs": 2}, {}, {"max_tokens": 1}):
        whole = complete(fast, echo=True, **more).choices[0]
        parts = [p.choices[0] for p in complete(fast, echo=True, stream=True, **more)]
        assert whole.text.startswith(PROMPT) and "".join(p.text for p in parts) == whole.text
        assert parts[-1].finish_reason == whole.finish_reason == "length" and [p for p in parts if p.finish_reason] == parts[-1:]
        if "logprobs" in more:
            streamed = [p.logprobs for p in parts if p.logprobs]
            for field in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
                assert [v for lp in streamed for v in getattr(lp, field)] == getattr(whole.logprobs, field)
            assert whole.logprobs.token_logprobs[0] is None


def test_echo_of_the_prompt_alone(fast):
    whole = complete(fast, echo=True, max_tokens=0, logprobs=0).choices[0]
    parts = [p.choices[0] for p in complete(fast, echo=True, max_tokens=0, logprobs=0, stream=True)]
    assert whole.text == PROMPT == "".join(p.text for p in parts) and parts[-1].finish_reason == "length"
    assert [p.logprobs for p in parts if p.logprobs][0].token_logprobs == whole.logprobs.token_logprobs


# ---- usage ----

def test_usage_adds_up(fast):
    got = complete(fast, max_tokens=5)
    tokens = call(fast, "/tokenize", {"prompt": PROMPT})[1]
    assert got.usage.completion_tokens == 5 and got.usage.prompt_tokens == tokens.count(b",", tokens.index(b"["), tokens.index(b"]")) + 1
    assert got.usage.total_tokens == got.usage.prompt_tokens + 5


@pytest.mark.parametrize("ask", [chat, complete], ids=["chat", "completions"])
def test_stream_options(fast, ask):
    for options in ({}, {"include_usage": False}, {"include_usage": False, "continuous_usage_stats": True}):
        assert all(p.usage is None and p.choices for p in ask(fast, max_tokens=4, stream=True, stream_options=options))
    parts = list(ask(fast, max_tokens=6, stream=True, stream_options={"include_usage": True}))
    assert all(p.usage is None for p in parts[:-1]) and parts[-1].choices == [] and parts[-1].usage.completion_tokens == 6
    for options in ({"include_usage": None}, {"include_usage": True}, {"continuous_usage_stats": True}):
        with pytest.raises(openai.BadRequestError):
            ask(fast, stream=False, stream_options=options)


@pytest.mark.parametrize("ask", [chat, complete], ids=["chat", "completions"])
def test_continuous_usage(fast, ask):
    parts = list(ask(fast, max_tokens=10, stream=True, extra_body={"min_tokens": 10},
                     stream_options={"include_usage": True, "continuous_usage_stats": True}))
    counts = [p.usage.completion_tokens for p in parts]
    assert counts == sorted(counts) and counts[-1] == 10 and set(range(1, 11)) <= set(counts)
    assert len({p.usage.prompt_tokens for p in parts}) == 1
    assert all(p.usage.total_tokens == p.usage.prompt_tokens + p.usage.completion_tokens for p in parts)
    assert parts[-1].choices == []


# ---- streams ----

def test_finish_reason_comes_once_and_last(fast):
    for ask in (chat, complete):
        reasons = [p.choices[0].finish_reason for p in ask(fast, max_tokens=6, stream=True)]
        assert reasons[-1] == "length" and set(reasons[:-1]) == {None}


def test_chunks_of_a_stream_are_of_one_answer(fast):
    parts = list(chat(fast, max_tokens=6, stream=True))
    assert len({(p.id, p.created, p.model, p.object, p.system_fingerprint) for p in parts}) == 1
    assert parts[0].id.startswith("chatcmpl-") and parts[0].object == "chat.completion.chunk" and parts[0].system_fingerprint
    assert [p.choices[0].delta.role for p in parts] == ["assistant"] + [None] * (len(parts) - 1)
    assert not parts[-1].choices[0].delta.content


def test_completions_streamed_equals_whole(fast):
    whole = complete(fast, max_tokens=20).choices[0].text
    assert "".join(p.choices[0].text for p in complete(fast, max_tokens=20, stream=True)) == whole


def test_several_answers_in_one_stream(fast):
    whole = complete(fast, n=3, temperature=1.0, seed=42, max_tokens=30)
    assert [c.index for c in whole.choices] == [0, 1, 2] and len({c.text for c in whole.choices}) == 3
    texts, ends = [""] * 3, []
    for part in complete(fast, n=3, temperature=1.0, seed=42, max_tokens=30, stream=True):
        texts[part.choices[0].index] += part.choices[0].text
        ends += [part.choices[0].index] if part.choices[0].finish_reason else []
    assert texts == [c.text for c in whole.choices] and sorted(ends) == [0, 1, 2]


def test_stops_in_a_stream_never_show(fast):
    full = complete(fast, max_tokens=24).choices[0].text
    stop = full[5:9]
    parts = [p.choices[0] for p in complete(fast, max_tokens=24, stop=["zzzz", stop], stream=True)]
    assert "".join(p.text for p in parts) == full[:full.index(stop)] and parts[-1].finish_reason == "stop"


# ---- prompts ----

def test_batches_of_prompts(fast):
    texts = [PROMPT, "def add(a, b):", PROMPT]
    alone = [complete(fast, t).choices[0].text for t in texts]
    got = complete(fast, texts)
    assert [c.text for c in got.choices] == alone and [c.index for c in got.choices] == [0, 1, 2]
    streamed = [""] * 3
    for part in complete(fast, texts, stream=True):
        streamed[part.choices[0].index] += part.choices[0].text
    assert streamed == alone
    both = complete(fast, texts[:2], n=2, temperature=0)
    assert [c.text for c in both.choices] == [alone[0], alone[0], alone[1], alone[1]]


def test_prompts_as_tokens(fast):
    import json
    ids = json.loads(call(fast, "/tokenize", {"prompt": PROMPT})[1])["tokens"]
    text = complete(fast).choices[0].text
    assert complete(fast, ids).choices[0].text == text
    assert [c.text for c in complete(fast, [ids, ids]).choices] == [text, text]


@pytest.mark.parametrize("prompt", [None, "", [], [""], [[]], [1.5], [-1], 7, {"a": 1}, [10 ** 9], [True]], ids=repr)
def test_prompts_that_are_none(fast, prompt):
    assert call(fast, "/v1/completions", {"model": fast.model, "prompt": prompt, "max_tokens": 1})[0] == 400


MESSAGES = [None, "string", [123], [{}], [{"role": 123}], [{"role": "system", "content": 123}], [{"content": "hello"}],
            [{"role": "system", "content": "test"}, {}], [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]]


@pytest.mark.parametrize("messages", MESSAGES, ids=repr)
def test_messages_that_are_none(fast, messages):
    status, body = call(fast, "/v1/chat/completions", {"model": fast.model, "messages": messages})
    assert status == 400 and b'"param":"messages"' in body


def test_content_null_and_parts(fast):
    for content in (None, "", [], [{"type": "text", "text": "a"}]):
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": content}, {"role": "user", "content": "Go on"}]
        assert call(fast, "/v1/chat/completions", {"model": fast.model, "messages": turns, "max_tokens": 1})[0] == 200
    whole = [{"role": "user", "content": "What is the best book"}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "the best book"}]}]
    assert chat(fast, whole).choices[0].message.content == chat(fast, parts).choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_a_context_that_is_exceeded(fast, stream):
    for ask, param in ((lambda: chat(fast, HI * 100 + [{"role": "user", "content": "word " * 2500}], stream=stream), "messages"),
                       (lambda: complete(fast, "word " * 2500, stream=stream), "prompt")):
        with pytest.raises(openai.BadRequestError) as caught:
            ask()
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", param) and "2048" in str(caught.value)


# ---- sampling ----

def test_same_seed_same_text_other_seed_other_text(fast):
    draw = lambda seed: complete(fast, temperature=1.0, seed=seed, max_tokens=16).choices[0].text
    texts = [draw(seed) for seed in (0, 1, 2, 3, 0)]
    assert texts[0] == texts[4] and len(set(texts[:4])) == 4


def test_logit_bias_forbids_and_forces(fast):
    import json
    ids = json.loads(call(fast, "/tokenize", {"content": " Paris"})[1])["tokens"]
    assert len(ids) == 1 and complete(fast, max_tokens=1).choices[0].text == " Paris"
    assert " Paris" not in complete(fast, max_tokens=16, logit_bias={ids[0]: -100}).choices[0].text
    assert complete(fast, max_tokens=4, logit_bias={ids[0]: 100}).choices[0].text == " Paris" * 4
    for bad in ({"1": 101}, {"1": -101}, {"-1": 1}, {"x": 1}, {str(10 ** 8): 1}, {"1": "x"}, [1], 7):
        status, body = call(fast, "/v1/chat/completions", {"model": fast.model, "messages": HI, "logit_bias": bad})
        assert status == 400 and b'"param":"logit_bias"' in body, bad


def test_ignore_eos(fast):
    short = [{"role": "user", "content": "Reply with OK."}]
    ended = chat(fast, short, max_tokens=100)
    assert ended.choices[0].finish_reason == "stop" and ended.usage.completion_tokens < 60
    more = chat(fast, short, max_tokens=100, extra_body={"ignore_eos": True})
    assert more.choices[0].finish_reason == "length" and more.usage.completion_tokens == 100


def test_min_tokens(fast):
    short = [{"role": "user", "content": "Reply with OK."}]
    least = chat(fast, short).usage.completion_tokens + 5
    more = chat(fast, short, max_tokens=100, extra_body={"min_tokens": least})
    assert least <= more.usage.completion_tokens <= 100
    stop = chat(fast, short).choices[0].message.content[:1]
    late = chat(fast, short, stop=stop, extra_body={"min_tokens": 2}, max_tokens=30)
    assert chat(fast, short, stop=stop).choices[0].message.content == "" and late.choices[0].message.content.startswith(stop)
    status, body = call(fast, "/v1/chat/completions", {"model": fast.model, "messages": HI, "min_tokens": 9, "max_tokens": 8})
    assert status == 400 and b'"param":"min_tokens"' in body


def test_max_completion_tokens(fast):
    assert chat(fast, max_tokens=None, max_completion_tokens=3).usage.completion_tokens == 3
    assert chat(fast, max_tokens=9, max_completion_tokens=3).usage.completion_tokens == 3  # the newer name counts


def test_max_tokens_beyond_the_context_end_there(fast):
    got = complete(fast, "word " * 2040, max_tokens=10 ** 6, extra_body={"ignore_eos": True})
    assert got.choices[0].finish_reason == "length" and got.usage.total_tokens == 2048


# ---- progress ----

def test_progress_of_the_prompt(fast):
    for ask, prompt in ((complete, "river " * 700), (chat, [{"role": "user", "content": "river " * 700}])):
        parts = list(ask(fast, prompt, max_tokens=3, stream=True, extra_body={"return_progress": True}))
        told = [p.model_extra["prompt_progress"] for p in parts if "prompt_progress" in p.model_extra]
        assert len(told) >= 4 and told[0]["processed"] == told[0]["cache"] and told[-1]["processed"] == told[-1]["total"] > 700
        assert all(a["processed"] < b["processed"] and a["total"] == b["total"] and a["cache"] == b["cache"] and a["time_ms"] <= b["time_ms"]
                   for a, b in zip(told, told[1:]))
        plain = list(ask(fast, prompt, max_tokens=3, stream=True))
        text = lambda parts: "".join((p.choices[0].text if ask is complete else p.choices[0].delta.content) or "" for p in parts)
        assert text(parts) == text(plain) and not any("prompt_progress" in p.model_extra for p in plain)


# ---- what is not done is said ----

REFUSED = [{"tools": [{"type": "function"}]}, {"response_format": {"type": "json_object"}}, {"response_format": {"type": "sound"}},
           {"guided_json": {}}, {"structured_outputs": {"choice": ["a"]}}, {"grammar": 'root ::= "a"'}, {"json_schema": {"const": "42"}},
           {"prompt_logprobs": 1}, {"truncate_prompt_tokens": 4}, {"stop_token_ids": [1]}, {"use_beam_search": True}, {"suffix": "x"}]


@pytest.mark.parametrize("more", REFUSED, ids=lambda m: next(iter(m)))
def test_known_but_not_done_is_refused(fast, more):
    for path, what in (("/v1/chat/completions", {"messages": HI}), ("/v1/completions", {"prompt": PROMPT})):
        if path == "/v1/completions" and "tools" in more:
            continue  # never was a parameter there
        status, body = call(fast, path, {"model": fast.model, **what, **more})
        assert status == 400 and b'"code":"unsupported_parameter"' in body


def test_what_means_nothing_is_taken(fast):
    """Clients send the defaults of what they know."""
    empty = {"tools": None, "tool_choice": None, "functions": [], "response_format": {"type": "text"}, "use_beam_search": False, "suffix": None,
             "store": False, "metadata": {"a": "b"}, "service_tier": "auto", "some_new_field": 1}
    assert call(fast, "/v1/chat/completions", {"model": fast.model, "messages": HI, "max_tokens": 1, **empty})[0] == 200


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"7", b"null", b"{"])
def test_bodies_that_are_no_object(fast, body):
    for path in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"):
        assert call(fast, path, body, "POST")[0] == 400


def test_best_of(fast):
    assert len(complete(fast, best_of=2, n=2).choices) == 2
    with pytest.raises(openai.BadRequestError):
        complete(fast, best_of=3)


# ---- models ----

def test_model_entries(fast):
    for m in fast.client.models.list():
        assert m.object == "model" and m.root and m.max_model_len == 2048 and m.format and m.state == "loaded" and m.owned_by == "sampan"
    assert {m.root for m in fast.client.models.list()} == {fast.client.models.retrieve(fast.model).root}
    with pytest.raises(openai.NotFoundError):
        fast.client.models.retrieve("none")


def test_tokenize_special_and_pieces(fast):
    import json
    tokens = lambda **body: json.loads(call(fast, "/tokenize", body)[1])["tokens"]
    for text in ("I believe the meaning of life is", "你好", "👋 a\n\tb", ""):
        for name in ("content", "prompt"):
            back = json.loads(call(fast, "/detokenize", {"tokens": tokens(**{name: text, "add_special_tokens": False})})[1])
            assert back["content"] == back["prompt"] == text
    assert len(tokens(content="<|im_end|>")) == 1 and len(tokens(content="<|im_end|>", parse_special=False)) > 1


# ---- the table ----

def test_the_table_names_tests_that_are_there():
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= {(path.name, node.name) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
    rows = re.findall(r"^\|[^|]+\|[^|]+\|([^|]+)\|$", (ROOT / "docs/api-parity.md").read_text(), re.M)[2:]
    named = {(file, test) for row in rows for file, test in re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)}
    assert len(rows) > 60 and named and named <= there, named - there
    assert all("::" in row or row.strip().startswith(("not done", "differs", "later")) for row in rows)
