#!/usr/bin/env python3
"""Runs the labs of the learning path as a reader would: tools/run_lab.py LAB.md...

Every ```sh block of a lab runs, in order, in one shell and an empty folder, with SAMPAN's folder and the check's
Python first in PATH. A ```text block after it is what one should see: each of its lines must be in the block's
output, with any numbers where it has numbers; a line "..." stands for any others. Blocks of other kinds (```console)
are shown only. A lab that ends with status 77 can't be run here, and so does this script then. What a lab started is over
before the next begins, so that no port is held.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MARK = "@@block@@"
LIMIT = 1800  # seconds a guide may take, on a busy machine too
END_LIMIT = 60  # seconds that its servers may take to end after it
NOT_HERE = 77


def blocks(path):
    """(shell, expected lines) in order."""
    found, last = [], None
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), flags=re.S | re.M):
        if language == "sh":
            found.append([body, []])
            last = found[-1]
        elif language == "text" and last is not None:
            last[1] = [line for line in body.splitlines() if line.strip() and line.strip() != "..."]
    return found


def pattern(line):
    """A line with its numbers open and its white space loose."""
    parts = re.split(r"\d[\d.,]*", line.strip())
    return r"\d[\d.,]*".join(r"\s+".join(re.escape(w) for w in re.split(r"\s+", p)) for p in parts)


def gone(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def bash(script, folder, env):
    """(status, output, whether all that it started has ended). It and all of that are one process group."""
    with subprocess.Popen(["bash", "-c", script], cwd=folder, env=env, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT)
            end = time.monotonic() + END_LIMIT
            while not (ended := gone(process.pid)) and time.monotonic() < end:
                time.sleep(0.1)
        finally:
            if not gone(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output, ended


def run(path, program, venv):
    """Status: 0, 1 or NOT_HERE."""
    steps = blocks(path)
    script = "set -euo pipefail\n" + "".join(f"{body}\necho '{MARK}'\n" for body, _ in steps)
    env = dict(os.environ, PATH=f"{program.parent}:{venv}/bin:{os.environ['PATH']}", TOOLS=str(Path(__file__).parent.resolve()),
               SAMPAN_HISTORY="off")  # not into the history of who runs them
    with tempfile.TemporaryDirectory(prefix="sampan-lab-") as folder:
        status, output, ended = bash(script, folder, env)
    outputs = output.split(MARK)
    if status == NOT_HERE:
        print(f"{path}: block {len(outputs)} can't be run here: {outputs[-1][-500:]}")
        return NOT_HERE
    problems = [] if ended else [f"something that it started was still running after {END_LIMIT} s"]
    if status != 0:
        problems.append(f"block {len(outputs)} ended with status {status}:\n{outputs[-1][-2000:]}")
    for number, ((_, expected), output) in enumerate(zip(steps, outputs), 1):
        for line in expected:
            if not re.search(pattern(line), output):
                problems.append(f"block {number}: not seen: {line}\nin:\n{output[-1500:]}")
    print(f"{path}: {len(steps)} blocks, {len(problems)} problems")
    for problem in problems:
        print(problem)
    return 1 if problems or not steps else 0


def main():
    program = Path(os.environ.get("SAMPAN", "build/release/sampan")).resolve()
    venv = Path("build/venv").resolve()
    results = [run(Path(name), program, venv) for name in sys.argv[1:]]
    return 1 if 1 in results or not results else max(results)


if __name__ == "__main__":
    sys.exit(main())
