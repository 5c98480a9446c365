"""`sampan bench` in all its output forms: their shape and sums, never how fast anything is."""
import csv
import html.parser
import io
import json
import os
import re
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import sampan


@pytest.fixture(scope="module")
def small(starter):
    """The smallest model that is here."""
    models = json.loads(sampan("list", "--json").stdout)
    names = [m["name"] for m in models]
    return "smollm2-135m" if "smollm2-135m" in names else starter


def bench(model, *args):
    done = sampan("bench", "model", "--model", model, "--prompt", "16", "--gen", "4", "--reps", "2", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_machine():
    done = sampan("bench", "machine", "--threads", "1,2", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["bench"] == "machine" and facts["isa"] in ("ref", "avx2", "avxvnni", "avx512") and facts["cores"] >= 1
    assert [(r["threads"], r["page_bytes"]) for r in facts["read"]] == [(1, 4096), (1, 2 << 20), (2, 4096), (2, 2 << 20)]
    for row in facts["read"]:
        assert 0 < row["median_gb_per_second"] <= row["gb_per_second"] and 0 <= row["huge_share"] <= 1
        assert row["page_bytes"] > 4096 or row["huge_share"] == 0
    assert [p["threads"] for p in facts["peak"]] == [1, 2]
    threads = facts["threads"]
    assert 1 <= threads["default"] <= facts["cores"]
    assert threads["performance_cores"] + threads["efficiency_cores"] + threads["sibling_threads"] >= facts["cores"]
    assert all(p["int8_gops"] > 0 and p["f32_gflops"] > 0 for p in facts["peak"])
    assert [c["level"] for c in facts["caches"]] + [0] == [n["level"] for n in facts["one_thread"]]
    text = sampan("bench", "machine", "--threads", "1").stdout
    assert re.search(r"^ +1 +4 KB +\d+\.\d +\d+\.\d$", text, flags=re.M) and "int8 GOPS" in text and "processor" in text


def test_json_lines(small):
    tests = [json.loads(line) for line in
             bench(small, "--depth", "0,20", "--batch", "1,3", "--threads", "1,2", "--json").splitlines()]
    names = ["pp16", "tg4", "tg4x3", "pp16@d20", "tg4@d20", "tg4x3@d20"]
    assert [(t["test"], t["threads"]) for t in tests] == [(n, 1) for n in names] + [(n, 2) for n in names]
    for t in tests:
        assert t["reps"] == len(t["samples"]) == 2 and min(t["samples"]) > 0
        assert t["tokens_per_second"] == pytest.approx(sum(t["samples"]) / 2, rel=1e-6)
        assert t["deviation"] == pytest.approx(abs(t["samples"][0] - t["samples"][1]) / 2 ** 0.5, rel=1e-5, abs=1e-6)
        shares = [t["gops"] / t["limit_gops"]] + ([t["gb_per_second"] / t["limit_gb_per_second"]] if t["gen"] else [])
        assert t["share"] == pytest.approx(max(shares), rel=1e-6)
        assert t["bound"] == ("read" if max(shares) != shares[0] else "operations")
        assert (t["gb_per_second"] is None) == (t["gen"] == 0)


def test_table_and_chart(small):
    text = bench(small, "--chart")
    assert re.search(r"^model +test +threads +tokens/s", text)
    assert re.search(r"pp16 +\d+ +\d+\.\d\d ± \d+\.\d\d +- +\d+\.\d +\d+% of \d+\.\d GOPS", text)
    assert re.search(r"^prefill, tokens/s\n  pp16 █+.? \d+\.\d$", text, flags=re.M)
    assert re.search(r"^decode, tokens/s\n  tg4 █+.? \d+\.\d$", text, flags=re.M)


def test_markdown(small):
    lines = bench(small, "--format", "markdown").splitlines()
    assert len(lines) == 4 and {line.count("|") for line in lines} == {8}
    assert set(lines[1]) == set("|-:") and lines[2].split("|")[2].strip() == "pp16"


def test_csv(small):
    rows = list(csv.DictReader(io.StringIO(bench(small, "--format", "csv", "--model", small))))
    assert [r["test"] for r in rows] == ["pp16", "tg4"] * 2 and all(float(r["tokens_per_second"]) > 0 for r in rows)
    assert rows[0]["gb_per_second"] == "" and float(rows[1]["gb_per_second"]) > 0 and None not in rows[0]


class Balance(html.parser.HTMLParser):
    """Every tag is closed where it must be."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html(small, tmp_path):
    page = tmp_path / "report.html"
    out = bench(small, "--batch", "1,2", "--json", "--html", page)
    text = page.read_text(encoding="utf-8")
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert not parser.open and parser.seen.count("table") == 1
    drawings = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, flags=re.S)]
    assert len(drawings) == 4 and all(float(r.get("width")) >= 0 for d in drawings for r in d.iter("rect"))
    assert not re.search(r"(src|href)=|url\(|https?:|@import", text)  # nothing is loaded
    data = re.search(r'<script type="application/json" id="results">(.*?)</script>', text, flags=re.S).group(1)
    assert json.loads(data) == [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("args,why", [
    (["--prompt", "many"], "no list"), (["--depth", "-1"], "no list"), (["--batch", "0"], "out of range"),
    (["--prompt", "0", "--gen", "0"], "nothing to measure"), (["--depth", "100000000"], "out of range"),
    (["--depth", "16000000"], "--max-context"), (["--chart", "--json"], "--chart"), (["--prompt", "9-1"], "no list")])
def test_wrong_usage(small, args, why):
    done = sampan("bench", "model", "--model", small, *args)
    assert done.returncode == 2 and why in done.stderr, done.stderr


def test_one_number_of_threads_elsewhere(small):
    done = sampan("run", "--model", small, "--threads", "1,2", "hi")
    assert done.returncode == 2 and "takes one number" in done.stderr


def test_pinning():
    cpus = len(os.sched_getaffinity(0))
    assert sampan("bench", "machine", "--threads", str(cpus), "--pin", "on").returncode == 0
    done = sampan("bench", "machine", "--threads", str(cpus + 1), "--pin", "on")
    assert done.returncode != 0 and f"{cpus} CPUs" in done.stderr and "--pin off" in done.stderr


def test_report_that_cannot_be_written(small, tmp_path):
    done = sampan("bench", "model", "--model", small, "--prompt", "8", "--gen", "0", "--reps", "1", "--html",
                  tmp_path / "none" / "report.html")
    assert done.returncode == 1 and "report.html" in done.stderr
