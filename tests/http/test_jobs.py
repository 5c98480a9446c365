"""Long work: the list, its states, what is refused, events, and what outlives every way to end a server. The work is a
batch on a tiny model; tests that need it to go on have lines that take longer than they look at it, and stop it."""
import json
import signal

import pytest
import tiny
from conftest import wait_until
from test_history import Listener, Page

ENDED = ("done", "failed", "cancelled", "paused", "interrupted")
LONG = {"max_tokens": 7000, "ignore_eos": True}  # no machine is done with many of these at once


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("jobs") / "tiny"))


class Jobs(Page):
    def batch(self, lines, **params):
        text = "\n".join(json.dumps(line) for line in lines)
        return self.ok("POST", "/api/jobs", {"kind": "batch", "params": {"text": text, **params}})["id"]

    def job(self, job):
        return self.ok("GET", f"/api/jobs/{job}")

    def ask(self, job, what, want=(200,)):
        return self.ok("POST", f"/api/jobs/{job}/{what}", want=want)

    def state(self, job, *states, seconds=60):
        assert wait_until(lambda: self.job(job)["state"] in states, seconds), self.job(job)
        return self.job(job)

    def parts(self, job):
        data, at = [], 0
        while at is not None:
            page = self.ok("GET", f"/api/jobs/{job}/parts?from={at}&limit=50")
            data, at = data + page["data"], page["next"]
        return data

    def lines(self, job):
        status, text = self.call("GET", f"/api/jobs/{job}/result")
        assert status == 200, text
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    p = Jobs(model, tmp_path_factory.mktemp("jobs-history") / "history.db")
    yield p
    p.end()


def prompts(n, **params):
    return [{"prompt": f"Line {i}", "params": params} if params else {"prompt": f"Line {i}"} for i in range(n)]


def endless(n):
    """Lines as OpenAI's batches have them: these may ask to go on past an end."""
    body = {"messages": [{"role": "user", "content": "Go on"}], **LONG}
    return [{"custom_id": str(i), "method": "POST", "url": "/v1/chat/completions", "body": body} for i in range(n)]


def test_from_the_queue_to_the_result(page):
    listener = Listener(page)
    job = page.batch(prompts(5), params={"max_tokens": 4}, name="five.jsonl")
    seen = listener.until(lambda name, data: name == "job" and data["id"] == job and data["state"] == "done")
    listener.close()
    told = [data for _, name, data in seen if name == "job" and data["id"] == job]
    assert told[0]["state"] == "queued" and told[0]["progress"] == {"done": 0, "total": 5, "unit": "items"}
    assert [d["progress"]["done"] for d in told] == sorted(d["progress"]["done"] for d in told)
    ended = [data for _, name, data in seen if name == "job_part" and data["job"] == job]
    assert sorted(d["number"] for d in ended) == list(range(5)) and all(d["state"] == "done" for d in ended)
    now = page.job(job)
    assert now["title"] == "five.jsonl" and now["kind"] == "batch" and now["resumable"]
    assert now["created"] <= now["started"] <= now["finished"] and now["error"] is None and now["eta_s"] is None
    results = [part["result"] for part in page.parts(job)]
    assert now["result"] == {"parts": 5, "failed": 0, "truncated": sum(r["finish_reason"] == "length" for r in results),
                             **{name: sum(r[name] for r in results) for name in ("prompt_tokens", "completion_tokens")}}
    assert 5 <= now["result"]["completion_tokens"] <= 20
    assert [line["prompt"] for line in page.lines(job)] == [f"Line {i}" for i in range(5)]
    assert "text" not in now["params"]  # what is big is no part of what is told
    assert page.ok("GET", "/api/jobs?kind=batch&state=done")["data"][0]["id"] == job
    assert page.ok("DELETE", f"/api/jobs/{job}")["deleted"]
    assert page.call("GET", f"/api/jobs/{job}")[0] == 404


def test_pause_resume_cancel(page):
    job = page.batch(prompts(3) + endless(500), params={"max_tokens": 4})
    assert wait_until(lambda: page.job(job)["progress"]["done"] >= 3)
    assert page.call("DELETE", f"/api/jobs/{job}")[0] == 409  # it runs
    assert page.ask(job, "pause")["stopping"] in ("pause", None)
    before = page.state(job, "paused")
    kept = [p for p in page.parts(job) if p["result"]]
    assert before["progress"]["done"] == len(kept) and 3 <= len(kept) < 503
    assert page.call("POST", f"/api/jobs/{job}/pause", {})[0] == 200  # it is
    page.ask(job, "resume")
    assert wait_until(lambda: page.job(job)["state"] == "running")
    running = [p for p in page.parts(job) if p["state"] == "running"]
    assert len(running) <= 8
    page.ask(job, "cancel")
    page.state(job, "cancelled")
    assert [p for p in page.parts(job) if p["result"]][:3] == kept[:3]
    assert page.call("POST", f"/api/jobs/{job}/resume", {})[0] == 409
    assert page.ask(job, "cancel")["state"] == "cancelled"
    page.ok("DELETE", f"/api/jobs/{job}")


def test_lists_are_pages(page):
    made = [page.batch(prompts(1), params={"max_tokens": 1}) for _ in range(5)]
    for job in made:
        page.state(job, "done")
    first = page.ok("GET", "/api/jobs?limit=2")
    assert [j["id"] for j in first["data"]] == made[:2:-1]
    rest = page.ok("GET", f"/api/jobs?limit=200&cursor={first['next']}")
    assert [j["id"] for j in rest["data"]][:3] == made[2::-1] and rest["next"] is None
    for job in made:
        page.ok("DELETE", f"/api/jobs/{job}")


@pytest.mark.parametrize("method, path, body, status", [
    ("GET", "/api/jobs/j_none", None, 404),
    ("GET", "/api/jobs/j_" + "a" * 26, None, 404),
    ("POST", "/api/jobs/j_" + "a" * 26 + "/pause", {}, 404),
    ("GET", "/api/jobs?state=asleep", None, 400),
    ("GET", "/api/jobs?limit=0", None, 400),
    ("GET", "/api/jobs?cursor=x", None, 400),
    ("POST", "/api/jobs", {"kind": "spin", "params": {}}, 400),
    ("POST", "/api/jobs", {"params": {}}, 400),
    ("POST", "/api/jobs", {"kind": "batch"}, 400),
    ("POST", "/api/jobs", {"kind": "batch", "params": {"text": "x"}, "title": 1}, 400),
    ("POST", "/api/jobs", {"kind": "batch", "params": {"text": "x", "model": "none"}}, 404),
    ("POST", "/api/jobs", {"kind": "batch", "params": {"text": "x", "params": {"temperature": "hot"}}}, 400),
    ("POST", "/api/jobs", {"kind": "batch", "params": {"text": "x", "priority": -100}}, 400),
])
def test_what_is_refused(page, method, path, body, status):
    got, said = page.call(method, path, body)
    assert got == status and said["error"]["message"], said
    assert page.ok("GET", "/api/jobs?state=queued")["data"] == []


def test_a_queue_has_an_end(page):
    made = [page.batch(endless(500 if i < 2 else 1)) for i in range(100)]  # two run
    status, said = page.call("POST", "/api/jobs", {"kind": "batch", "params": {"text": "x"}})
    assert (status, said["error"]["code"]) == (429, "jobs_full")
    for job in made:
        page.ask(job, "cancel")
    for job in made:
        page.state(job, "cancelled")
        page.ok("DELETE", f"/api/jobs/{job}")


def test_others_go_first(page):
    """Someone who chats doesn't wait for a batch that fills all places."""
    job = page.batch(endless(500))
    page.state(job, "running")
    answer = page.client.chat.completions.create(model=page.model, messages=[{"role": "user", "content": "Hi"}], max_tokens=2)
    assert answer.usage.completion_tokens > 0
    assert page.job(job)["state"] == "running"
    page.ask(job, "cancel")
    page.state(job, "cancelled")


def test_kill_and_end(model, tmp_path):
    """What was done stays done; what ran is interrupted and goes on from there; what was in line runs in the next server."""
    p = Jobs(model, tmp_path / "h.db")
    job = p.batch(prompts(4) + endless(500), params={"max_tokens": 4})
    assert wait_until(lambda: p.job(job)["progress"]["done"] >= 4)
    done = [part for part in p.parts(job) if part["result"]]
    more = [p.batch(endless(500)), p.batch(endless(500))]  # two run at once: the last waits
    assert p.job(more[1])["state"] == "queued"
    p.process.kill()
    p.process.wait(timeout=20)
    p = Jobs(model, tmp_path / "h.db")
    assert p.job(job)["state"] == "interrupted"
    after = [part for part in p.parts(job) if part["result"]]
    assert after[: len(done)] == done
    p.state(more[1], "running")
    p.ask(job, "resume")
    p.state(job, "running")
    p.process.send_signal(signal.SIGTERM)
    assert p.process.wait(timeout=30) == 0  # endless work doesn't keep it
    p = Jobs(model, tmp_path / "h.db")
    assert p.job(job)["state"] == "interrupted" and p.job(more[1])["state"] == "interrupted"
    assert [part for part in p.parts(job) if part["result"]][: len(done)] == done
    p.ask(job, "cancel")
    assert p.job(job)["state"] == "cancelled"
    p.end()


def test_without_a_history(model, tmp_path):
    p = Jobs(model, "off")
    status, said = p.call("GET", "/api/jobs")
    assert (status, said["error"]["code"]) == (503, "history_off")
    p.end()
