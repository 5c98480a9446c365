"""The prefix cache and a small KV pool, on a real model: what is shared, and that no answer changes."""
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Server, wait_until

MODEL = "smollm2-135m"
SYSTEM = "You answer about the harbour. " + " ".join(
    f"Boat number {i} carries {i * 7 % 90} bags of rice and leaves at {i % 24} o'clock." for i in range(30))
QUESTIONS = [f"Which boat has most rice, and is it number {i}?" for i in range(8)]


def ask(server, question, **more):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    return server.client.chat.completions.create(
        model=server.model, messages=messages, **{"temperature": 0, "max_tokens": 40, "seed": 3, **more})


def texts(got):
    return [c.message.content for c in got.choices]


@pytest.fixture(scope="module")
def caching():
    s = Server("--max-context", "2048", model=MODEL)
    yield s
    s.end()


@pytest.fixture(scope="module")
def plain():
    s = Server("--max-context", "2048", "--prefix-cache", "off", model=MODEL)
    yield s
    s.end()


def cached(got):
    return got.usage.prompt_tokens_details.cached_tokens


def test_a_prompt_is_computed_once(caching, plain):
    first, again = ask(caching, QUESTIONS[0]), ask(caching, QUESTIONS[0])
    assert cached(again) == (again.usage.prompt_tokens - 1) // 64 * 64 > 0
    assert again.usage.prompt_tokens == first.usage.prompt_tokens
    off = [ask(plain, QUESTIONS[0]) for _ in range(2)]
    assert [cached(o) for o in off] == [0, 0]
    assert len({texts(g)[0] for g in (first, again, *off)}) == 1


def test_another_question_shares_the_system_message(caching, plain):
    ask(caching, QUESTIONS[1])
    got = ask(caching, QUESTIONS[2])
    assert 0 < cached(got) < got.usage.prompt_tokens and texts(got) == texts(ask(plain, QUESTIONS[2]))


def test_a_stream_tells_cached_tokens(caching):
    ask(caching, QUESTIONS[3])
    *_, last = ask(caching, QUESTIONS[3], stream=True, stream_options={"include_usage": True})
    assert last.usage.prompt_tokens_details.cached_tokens == (last.usage.prompt_tokens - 1) // 64 * 64


def test_choices_are_the_same_with_and_without(caching, plain):
    drawn = {"n": 4, "temperature": 1.1, "seed": 11}
    assert texts(ask(caching, QUESTIONS[4], **drawn)) == texts(ask(plain, QUESTIONS[4], **drawn))


def test_hardly_any_memory_changes_no_answer(plain):
    """One context's pages for eight at once: they are evicted and preempted, and all end as if alone."""
    tight = Server("--max-context", "1024", "--kv-memory", "26M", model=MODEL)
    alone = [texts(ask(plain, q, max_tokens=100)) for q in QUESTIONS]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda q: texts(ask(tight, q, max_tokens=100)), QUESTIONS))
    tight.end()
    assert together == alone


def test_a_killed_server_comes_back_warm(tmp_path):
    args = ("--max-context", "1024", "--prefix-store", str(tmp_path / "store"))
    first = Server(*args, model=MODEL)
    cold = ask(first, QUESTIONS[0])
    pages = (cold.usage.prompt_tokens + cold.usage.completion_tokens - 1) // 64
    [file] = (tmp_path / "store").iterdir()
    page_bytes = 30 * 3 * 64 * 64 * 2 * 2  # layers, heads, dimensions, positions, keys and values, f16
    assert wait_until(lambda: file.stat().st_size >= pages * page_bytes)
    first.process.kill()
    first.process.wait(timeout=20)
    second = Server(*args, model=MODEL)
    warm = ask(second, QUESTIONS[0])
    second.end()
    assert cached(cold) == 0 and cached(warm) == (warm.usage.prompt_tokens - 1) // 64 * 64
    assert texts(warm) == texts(cold)
