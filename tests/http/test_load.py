"""Short runs of tests/load: what holds for minutes with two hundred clients is kept by seconds with twenty."""
import os
import subprocess
import sys

import pytest
from conftest import ROOT, SAMPAN

MODEL = "smollm2-135m"


def run(*command):
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=dict(os.environ, SAMPAN=SAMPAN), text=True, timeout=400,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_clients_that_fail_in_every_way():
    said = run("tests/load/faults.py", "--model", MODEL, "--clients", "20", "--minutes", "0.3", "--warm-up", "4", "--pages", "20", "--longest", "96")
    assert "\n0 problems" in said and "killed processes" in said


def test_kills_with_a_prefix_store():
    assert "5 kills" in run("tests/load/kills.py", "--model", MODEL, "--rounds", "5")


@pytest.mark.parametrize("more", [(), ("--kv-memory", "40M", "--step-tokens", "64")], ids=["plain", "few pages"])
def test_the_same_text_alone_and_in_a_crowd(more):
    assert "0 differ" in run("tests/load/same_text.py", "--model", MODEL, "--requests", "100", "--", *more)
