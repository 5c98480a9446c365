"""What goes wrong on the way from a hub: each case ends in success or a clear error, never in half a model.

CASES is the table. For each: the faults by the kind of request (list: the hub's API, hub: its files, cdn: where it
redirects to), and what must come of it. ok: the model is there, whole, summed. Otherwise the error says `says`, nothing
is in the store, and once the faults are gone the same command succeeds.
"""
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import ROOT, hub_env, sampan, stored
from hubs import COMMIT, TOKEN, Hubs, sha256

GGUF = (ROOT / "tests/data/models/qwen2-gguf/model.gguf").read_bytes()
BIG = GGUF + b"\0" * ((12 << 20) - len(GGUF))  # three ranges
REPO = "acme/tiny"
FILE = "tiny-q4_k_m.gguf"
SPEC = f"hf:{REPO}:{FILE}"


@dataclass
class Case:
    name: str
    ok: bool = True
    says: str = ""
    big: bool = False
    spec: str = SPEC
    args: tuple = ()
    faults: dict = field(default_factory=dict)
    lies: dict = field(default_factory=dict)
    extra: tuple = ()
    file: str = FILE
    heals: bool = True
    etag: str = ""


def cdn(*faults):
    return {"cdn": list(faults)}


def listing(*faults):
    return {"list": list(faults)}


MS = f"ms:{REPO}:{FILE}"
FAST = ("--timeout", "1")
CASES = [
    # Nothing wrong
    Case("hugging face, through its CDN"),
    Case("modelscope", spec=MS),
    Case("ranges side by side", big=True),
    Case("modelscope, ranges side by side", big=True, spec=MS),
    Case("one line", big=True, args=("--connections", "1")),
    Case("a quantization", spec=f"hf:{REPO}:q4_k_m"),
    Case("a pattern", spec=f"ms:{REPO}:*Q4*".replace("Q4", "q4")),
    Case("the whole repository", spec=f"hf:{REPO}"),
    Case("a tag", spec=f"{SPEC}@v2"),
    Case("a commit", args=("--revision", COMMIT)),
    # Redirects
    Case("redirects in a circle", ok=False, says="in a circle", faults={"hub": ["loop"] * 20}),
    Case("redirect to a file of this machine", ok=False, says="only https:// is", faults={"hub": [("to", "file:///etc/passwd")]}),
    Case("redirect to another protocol", ok=False, says="only https:// is", faults={"hub": [("to", "gopher://127.0.0.1/x")]}),
    Case("redirect to plain http elsewhere", ok=False, says="from this machine itself only",
         faults={"hub": [("to", "http://192.0.2.1/x")]}),
    Case("redirect without an address", ok=False, says="without an address", faults={"hub": ["no location"]}),
    Case("listing redirects in a circle", ok=False, says="in a circle", faults=listing(*["loop"] * 20)),
    # Answers of trouble
    Case("500 once", faults=cdn(500)),
    Case("502 at the hub", faults={"hub": [502]}),
    Case("503 for the listing", faults=listing(503)),
    Case("429 with Retry-After, everywhere", faults={"list": [429], "hub": [429], "cdn": [429]}),
    Case("500 for ever", ok=False, says="given up after 5 tries", faults=cdn(*[500] * 9), args=("--connections", "1")),
    Case("403 of an address that ran out", big=True, faults=cdn(None, 403)),
    Case("403 for good", ok=False, says="refuses access (403)", faults={"hub": [403] * 9}),
    Case("404", ok=False, says="no such file", faults={"hub": [404] * 9}),
    Case("410", ok=False, says="(410)", faults=cdn(*[410] * 9)),
    Case("501, which is no answer", ok=False, says="status 501", faults=cdn(501)),
    # Ranges
    Case("ranges refused with 200", big=True, faults=cdn(*["whole"] * 9)),
    Case("ranges refused with 200, and cut", big=True, faults=cdn("whole", "whole", "cut:100000", "whole")),
    Case("ranges refused with 416", big=True, faults=cdn("416:")),
    Case("another range than asked", big=True, faults=cdn("shifted:")),
    Case("a range without Content-Range", big=True, faults=cdn("no content-range:")),
    Case("Content-Range tells another length, always", big=True, ok=False, says="keeps changing", faults=cdn(*["total:"] * 30)),
    # Cut, stalled, slow
    Case("cut before the answer", faults=cdn("hang up")),
    Case("cut after the first byte", faults=cdn("cut:1")),
    Case("cut one byte early", big=True, faults=cdn(None, f"cut:{(4 << 20) - 1}")),
    Case("cut in every range", big=True, faults=cdn(*["cut:"] * 4)),
    Case("listing cut", faults=listing("hang up")),
    Case("stalled", faults=cdn("stall:"), args=FAST),
    Case("stalled range", big=True, faults=cdn(None, "stall:"), args=FAST),
    Case("no answer", faults={"hub": ["no answer"]}, args=FAST),
    Case("slow first byte", faults={"list": ["slow"], "hub": ["slow"], "cdn": ["slow"]}, args=("--timeout", "3")),
    # Lengths and sums
    Case("shorter than listed", ok=False, says="another length", faults=cdn("short:")),
    Case("longer than listed", ok=False, says="another length", faults=cdn("long:")),
    Case("a range that goes on too long", big=True, ok=False, says="more bytes come", faults=cdn(*["long:"] * 9)),
    Case("damaged on the way", ok=False, says="deleted: pull again", faults=cdn("garbage:")),
    Case("damaged in one range", big=True, ok=False, says="sha256 is", faults=cdn(None, "garbage:")),
    Case("listing and file tell different sums", ok=False, says="different sums", lies={"other": 1}, heals=False),
    Case("no length, chunked", faults=cdn("chunked:")),
    Case("no length, chunked, cut", faults=cdn("chunked cut:")),
    Case("no length, cut by the end of the line", faults=cdn("no length:")),
    Case("a hotel's log-in page", ok=False, says="another length", faults=cdn("portal")),
    # The file changes
    Case("ETag changes between ranges", big=True, faults=cdn(None, 'etag:"new"')),
    Case("a weak ETag", big=True, etag='W/"weak"', faults=cdn(None, "cut:70000")),
    # The listing
    Case("listing is no JSON", ok=False, says="no JSON", faults=listing(b"<html>log in</html>")),
    Case("listing is cut JSON", ok=False, says="no JSON", faults=listing(b'{"siblings": [{"rfilename": "a')),
    Case("listing is JSON of something else", ok=False, says="lists no files", faults=listing(b'{"error": "x"}')),
    Case("listing is huge", ok=False, says="larger than 16 MB", faults=listing(b"[" + b"0," * (9 << 20))),
    Case("listing nests too deep", ok=False, says="no JSON", faults=listing(b"[" * 100000)),
    Case("names that lead out of the folder", extra=("../../evil.gguf", "/etc/evil.gguf", "a\0b.gguf", "x" * 5000, ".hidden",
                                                    "a/../b", "q?x", "sampan.json"), spec=f"hf:{REPO}"),
    Case("no such repository", ok=False, says="set HF_TOKEN", spec="hf:acme/none", heals=False),
    Case("no such repository at modelscope", ok=False, says="no such file or repository", spec="ms:acme/none", heals=False),
    Case("no such revision", ok=False, says="no such revision", spec=f"{SPEC}@v9", heals=False),
    Case("no such file", ok=False, says="name one of those above", spec=f"hf:{REPO}:nothing-q8_0", heals=False),
]


def assert_nothing_stored(store):
    models = Path(store["SAMPAN_STORE"]) / "models"
    assert stored(store) == [] and not (models.exists() and list(models.iterdir()))


def assert_whole(done, store, data, spec):
    assert done.returncode == 0, done.stderr
    model, = stored(store)
    assert Path(model["path"]).read_bytes() == data and model["sha256"] == sha256(data)
    assert model["commit"] in (COMMIT, "2" * 40) and model["source"] == spec
    left = Path(store["SAMPAN_STORE"]) / "partial"
    assert [p.name for p in left.iterdir() if not p.name.endswith(".lock")] == []
    assert sampan("store", "verify", env=store).returncode == 0


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_case(case, hubs, store, tmp_path):
    data = BIG if case.big else GGUF
    hubs.repos[REPO] = {case.file: data, "README.md": b"read me", "config.json": b"{}"}
    hubs.extra, hubs.etag = case.extra, None
    hubs.faults.update({k: list(v) for k, v in case.faults.items()})
    if case.etag:
        hubs.through_cdn, hubs.faults["hub"] = False, [f"etag:{case.etag}"] * 2 + case.faults["cdn"] + [f"etag:{case.etag}"] * 9
    if case.lies:
        original = hubs.hf_list
        hubs.hf_list = lambda *a: (hubs.lies.update({case.file: {"sha256": "1" * 64}}), original(*a), hubs.lies.clear())
    env = hub_env(hubs, store, tmp_path)
    done = sampan("pull", case.spec, *case.args, env=env, timeout=60)
    if case.ok:
        return assert_whole(done, store, data, case.spec)
    assert done.returncode in (1, 2) and case.says in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1].startswith(("sampan: ", "`sampan")), done.stderr
    assert_nothing_stored(store)
    if case.heals:
        hubs.faults = {"list": [], "hub": [], "cdn": []}
        assert_whole(sampan("pull", case.spec, env=env), store, data, case.spec)
    return None


def test_there_are_forty_cases():
    assert len({c.name for c in CASES if c.faults or c.lies or c.extra or not c.ok}) >= 40


# ---- tokens ----


def headers_of(hubs, kind):
    return [{k.lower(): v for k, v in headers.items()} for _, _, _, headers in hubs.kinds(kind)]


def test_the_token_stays_at_the_hub(hubs, store, tmp_path):
    hubs.repos[REPO] = {FILE: BIG}
    hubs.gated.add(REPO)
    env = hub_env(hubs, store, tmp_path, HF_TOKEN=TOKEN)
    assert_whole(sampan("pull", SPEC, env=env), store, BIG, SPEC)
    for kind in ("list", "hub"):
        assert all(h["authorization"] == f"Bearer {TOKEN}" for h in headers_of(hubs, kind)) and headers_of(hubs, kind)
    assert len(headers_of(hubs, "cdn")) >= 3
    for h in headers_of(hubs, "cdn"):
        assert TOKEN not in json.dumps(h)


def test_another_port_is_another_host(hubs, store, tmp_path):
    """A redirect from the hub to the same name with another port: no token."""
    other = Hubs()
    hubs.repos[REPO] = other.repos[REPO] = {FILE: GGUF}
    hubs.faults["hub"] = [("to", f"{other.url}/{REPO}/resolve/main/{FILE}")]
    env = hub_env(hubs, store, tmp_path, HF_TOKEN=TOKEN)
    assert_whole(sampan("pull", SPEC, env=env), store, GGUF, SPEC)
    assert other.kinds("hub") and TOKEN not in json.dumps(other.requests)
    other.close()


def test_the_token_of_a_file(hubs, store, tmp_path):
    hubs.repos[REPO] = {FILE: GGUF}
    hubs.gated.add(REPO)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert sampan("pull", SPEC, env=hub_env(hubs, store, tmp_path)).returncode == 0


def test_modelscope_gets_its_token_both_ways(hubs, store, tmp_path):
    hubs.repos[REPO] = {FILE: GGUF}
    env = hub_env(hubs, store, tmp_path, HF_TOKEN="hf_other", MODELSCOPE_API_TOKEN="ms-secret")
    assert_whole(sampan("pull", MS, env=env), store, GGUF, MS)
    for kind in ("list", "hub"):
        for h in headers_of(hubs, kind):
            assert h["authorization"] == "Bearer ms-secret" and h["cookie"] == "m_session_id=ms-secret"


def test_gated(hubs, store, tmp_path):
    hubs.repos[REPO] = {FILE: GGUF}
    hubs.gated.add(REPO)
    for token in ("", "hf_wrong"):
        done = sampan("pull", SPEC, env=hub_env(hubs, store, tmp_path, HF_TOKEN=token))
        assert done.returncode == 1 and f"open {hubs.url}/{REPO}" in done.stderr and "HF_TOKEN" in done.stderr
        assert TOKEN not in done.stderr and "hf_wrong" not in done.stderr
    assert_nothing_stored(store)


def test_a_token_that_would_break_the_request(hubs, store, tmp_path):
    done = sampan("pull", SPEC, env=hub_env(hubs, store, tmp_path, HF_TOKEN="a\r\nX-Evil: 1"))
    assert done.returncode == 1 and "holds no token" in done.stderr and hubs.requests == []


# ---- addresses ----


@pytest.mark.parametrize("url", ["http://192.0.2.1", "ftp://127.0.0.1", "nonsense", "file:///tmp"])
def test_endpoints_that_are_not_taken(store, tmp_path, url):
    done = sampan("pull", SPEC, env={**store, "HF_HOME": str(tmp_path), "HF_ENDPOINT": url})
    assert done.returncode == 1 and ("https://" in done.stderr)


def test_mirrors_in_order(hubs, store, tmp_path):
    """The first does not answer, the second has trouble with the file, the third serves."""
    bad = Hubs()
    bad.repos[REPO] = hubs.repos[REPO] = {FILE: BIG}
    bad.faults["hub"] = [404] * 9
    env = hub_env(hubs, store, tmp_path, HF_ENDPOINT=f"http://127.0.0.1:9,{bad.url}/,{hubs.url}")
    done = sampan("pull", SPEC, env=env)
    assert_whole(done, store, BIG, SPEC)
    assert f"trying {hubs.url}" in done.stderr and bad.kinds("hub")
    bad.close()


def test_mirrors_by_option_and_resume_over_mirrors(hubs, store, tmp_path):
    """What came from one mirror is kept with the next, since the sum is known."""
    first = Hubs()
    first.repos[REPO] = hubs.repos[REPO] = {FILE: BIG}
    first.etag = "another-tag"
    first.faults["cdn"] = [None, None] + [404] * 9
    env = hub_env(hubs, store, tmp_path)
    done = sampan("pull", SPEC, "--endpoint", first.url, "--endpoint", hubs.url, "--connections", "1", env=env)
    assert_whole(done, store, BIG, SPEC)
    ranges = [h["range"] for h in headers_of(hubs, "cdn")]
    assert len(ranges) == 1 and ranges[0].startswith("bytes=8388608-")
    first.close()


def test_an_address_without_length_is_not_believed(hubs, store, tmp_path):
    hubs.repos[REPO] = {FILE: GGUF}
    hubs.through_cdn = False
    hubs.faults["hub"] = ["bare:"]
    env = hub_env(hubs, store, tmp_path)
    done = sampan("pull", f"{hubs.url}/{REPO}/resolve/main/{FILE}", env=env)
    assert done.returncode == 1 and "could not be known for whole" in done.stderr
    hubs.faults["hub"] = []
    assert sampan("pull", f"{hubs.url}/{REPO}/resolve/main/{FILE}", env=env).returncode == 0


def test_an_address_of_a_file_beyond_any_disk(hubs, store, tmp_path):
    hubs.repos[REPO] = {FILE: GGUF}
    hubs.through_cdn = False
    hubs.faults["hub"] = ["petabytes:"]
    done = sampan("pull", f"{hubs.url}/{REPO}/resolve/main/{FILE}", env=hub_env(hubs, store, tmp_path))
    assert done.returncode == 1 and "make room" in done.stderr
    assert_nothing_stored(store)


def test_modelscope_files_of_another_commit(hubs, store, tmp_path):
    hubs.repos[REPO] = {FILE: GGUF}
    assert_whole(sampan("pull", f"{MS}@v2", env=hub_env(hubs, store, tmp_path)), store, GGUF, f"{MS}@v2")
