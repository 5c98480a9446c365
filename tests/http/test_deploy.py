"""What deploy/ holds: Prometheus and systemd take it, and it names no metric that the server doesn't export."""
import json
import os
import re
import subprocess

import pytest
import tiny
from conftest import ROOT, Server
from test_metrics import Numbers, tool

DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Names of all samples of a server."""
    s = Server("--max-context", "512", model=str(tiny.make(tmp_path_factory.mktemp("model") / "tiny")))
    Numbers(s)  # the counter of requests has its first sample after a request
    names = {name for name, _ in Numbers(s).samples}
    s.end()
    return names


def names_in(text):
    return set(re.findall(r"\b(?:sampan:|http_|process_)\w+", text))


def test_rules_name_what_is_exported(exported):
    rules = (DEPLOY / "prometheus/alerts.yml").read_text()
    expressions = "\n".join(re.findall(r"expr: (?:\|\n((?: {10,}.*\n)+)|(.*))", rules)[i][k] for i in range(rules.count("expr:")) for k in (0, 1))
    names = names_in(expressions)
    assert len(names) > 8 and names <= exported, names - exported


def test_the_dashboard_names_what_is_exported(exported):
    board = json.loads((DEPLOY / "grafana/sampan.json").read_text())
    expressions = [t["expr"] for p in board["panels"] for t in p["targets"]]
    queries = [v["query"] for v in board["templating"]["list"] if v["type"] == "query"]
    names = names_in("\n".join(expressions + queries))
    assert len(names) > 20 and names <= exported, names - exported
    variables = {v["name"] for v in board["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)", "\n".join(expressions))) <= variables
    assert len({p["id"] for p in board["panels"]}) == len(board["panels"]) > 10
    # What a dashboard for this should show, as vLLM's does.
    for name in ("time_to_first_token_seconds_bucket", "inter_token_latency_seconds_bucket", "e2e_request_latency_seconds_bucket",
                 "generation_tokens_total", "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc",
                 "request_queue_time_seconds_sum", "request_success_total"):
        assert "sampan:" + name in names


def test_the_dashboards_expressions_parse(tmp_path):
    """As rules, which promtool reads."""
    board = json.loads((DEPLOY / "grafana/sampan.json").read_text())
    expressions = [t["expr"].replace("$__rate_interval", "1m") for p in board["panels"] for t in p["targets"]]
    rules = [{"record": f"panel:{i}", "expr": e} for i, e in enumerate(expressions)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    done = subprocess.run([tool("promtool"), "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stdout + done.stderr


def test_promtool_takes_configuration_and_rules(tmp_path):
    for name in ("prometheus.yml", "alerts.yml"):
        (tmp_path / name).write_bytes((DEPLOY / "prometheus" / name).read_bytes())
    (tmp_path / "sampan.key").write_text("x")
    done = subprocess.run([tool("promtool"), "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should():
    cases = ROOT / "tests/http/alerts_test.yml"
    alerts = set(re.findall(r"alert: (\w+)", (DEPLOY / "prometheus/alerts.yml").read_text()))
    fired = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:", cases.read_text()))
    assert alerts == fired
    done = subprocess.run([tool("promtool"), "test", "rules", cases.name], cwd=cases.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_is_sound_and_hardened(tmp_path):
    text = (DEPLOY / "sampan.service").read_text()
    program = re.search(r"^ExecStart=(\S+)", text, re.M)[1]
    assert program == "/usr/local/bin/sampan"
    unit = tmp_path / "sampan.service"
    unit.write_text(text.replace(program, "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    about_it = [line for line in done.stderr.splitlines() if "sampan" in line]
    assert done.returncode == 0 and about_it == [], done.stderr
    # "exposure" from 0 (none) to 10; a unit that restricts nothing has 9.6.
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr


def test_the_unit_s_stop_outlasts_the_drain():
    text = (DEPLOY / "sampan.service").read_text()
    drain = int(re.search(r'"drain-seconds", OPT_INT, "(\d+)"', (ROOT / "src/base/options_table.c").read_text())[1])
    assert int(re.search(r"TimeoutStopSec=(\d+)", text)[1]) > drain


def test_compose_differs_in_names_only():
    """The files beside compose.yml are those for one machine, with the server's name."""
    for mine, theirs in (("nginx.conf", "nginx/sampan.conf"), ("prometheus.yml", "prometheus/prometheus.yml")):
        code = [[line for line in (DEPLOY / path).read_text().splitlines() if not line.lstrip().startswith("#")]
                for path in (f"docker/{mine}", theirs)]
        assert [line.replace("sampan:8080", "127.0.0.1:8080") for line in code[0]] == code[1]


def test_the_image_has_the_libraries_that_the_program_needs():
    """By name: each library the program is linked with belongs to a package that the second stage installs, or to one of
    the base image."""
    program = os.environ.get("SAMPAN", str(ROOT / "build/release/sampan"))
    linked = re.findall(r"NEEDED\s+(\S+)", subprocess.run(["objdump", "-p", program], capture_output=True, text=True, check=True).stdout)
    final = (DEPLOY / "docker/Dockerfile").read_text().rsplit("FROM", 1)[1]
    for library in linked:
        stem = re.match(r"lib[\w+]+?(?=[-.]?\d|\.so|-\d|$)", library)[0]
        package = {"libcrypto": "libssl"}.get(stem, stem.replace("_", "-"))
        assert package in final or package in ("libc", "libm", "libgcc-s"), library
