#!/usr/bin/env python3
"""House rules that compilers don't know: layers, lengths, banned calls, words that mark unfinished work.

    tools/lint.py            exit 0 when clean, 1 with one line a finding: file:line: what
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {"base": 1, "format": 2, "text": 3, "kernel": 3, "model": 4, "engine": 5, "hub": 5, "store": 5,
          "eval": 6, "bench": 6, "quant": 7, "tune": 7, "kb": 7, "jobs": 8, "server": 9, "cli": 10}
# Pairs in one layer that may still see each other, by DESIGN's "engine submits, text renders".
SAME_LAYER_OK = set()
FUNCTION_CAP, FILE_CAP = 100, 1200
BANNED = ["strcpy", "strcat", "sprintf", "vsprintf", "atoi", "atol", "atof", "strtok", "gets", "alloca",
          "system", "rand", "srand", "tmpnam", "mktemp", "strncat"]
RAW_MEMORY = ["malloc", "calloc", "realloc", "free", "strdup", "strndup", "posix_memalign", "aligned_alloc"]
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def sources():
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "src", "tests", "include", "bench"],
                           cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [ROOT / n for n in names if n.endswith((".c", ".h")) and (ROOT / n).exists()]


def strip_comments(text):
    """The text with comments and string contents blanked, line breaks kept."""
    def blank(match):
        s = match.group(0)
        if s.startswith("/"):
            return re.sub(r"[^\n]", " ", s)
        return s[0] + " " * (len(s) - 2) + s[-1] if len(s) >= 2 else s
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def room_of(path):
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] == "src" and len(parts) > 2 else None


def check_layers(path, lines, report):
    room = room_of(path)
    if room is None:
        return
    if room not in LAYERS:
        report(1, f"folder src/{room} is no layer of the design")
        return
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match:
            continue
        target = match.group(1).split("/")[0]
        if "/" not in match.group(1) or target == room:
            continue
        if target not in LAYERS:
            report(number, f'"{match.group(1)}" is in no layer')
        elif LAYERS[target] >= LAYERS[room] and (room, target) not in SAME_LAYER_OK:
            report(number, f"{room} may not include {target}: layers point downward")
        elif match.group(1).endswith("_int.h"):
            report(number, f'"{match.group(1)}" is private to {target}')


def check_lengths(path, code_lines, report):
    generated = path.name.endswith("_table.c") or path.name.endswith("_data.c")
    if len(code_lines) > FILE_CAP and not generated:
        report(1, f"{len(code_lines)} lines; the cap is {FILE_CAP}")
    start = None
    for number, line in enumerate(code_lines, 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            if number - start - 1 > FUNCTION_CAP and line.rstrip() == "}":
                report(start, f"a function of {number - start - 1} lines; the cap is {FUNCTION_CAP}")
            start = None


def check_words(path, code_lines, raw_lines, report):
    in_src = path.relative_to(ROOT).parts[0] == "src"
    banned = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    raw = re.compile(r"(?<![\w.>])(" + "|".join(RAW_MEMORY) + r")\s*\(")
    for number, line in enumerate(code_lines, 1):
        match = banned.search(line)
        if match:
            report(number, f"{match.group(1)}() is banned")
        match = raw.search(line)
        if match and in_src and path.name not in ("alloc.c",) and "lib-owned" not in raw_lines[number - 1]:
            report(number, f"{match.group(1)}(): memory goes through base/alloc.h")
        if in_src and re.search(r"(?<![\w.>])exit\s*\(", line) and path.name != "main.c":
            report(number, "exit() belongs to main.c")
    for number, line in enumerate(raw_lines, 1):
        if UNFINISHED.search(line):
            report(number, "a mark of unfinished work")
        if len(line) > 120 and not path.name.endswith("_table.c"):
            report(number, f"a line of {len(line)} characters; the cap is 120")


def main():
    findings = []
    files = sources()
    for path in files:
        text = path.read_text(encoding="utf-8")
        raw_lines = text.split("\n")
        code_lines = strip_comments(text).split("\n")

        def report(line, what, path=path):
            findings.append(f"{path.relative_to(ROOT)}:{line}: {what}")
        check_layers(path, raw_lines, report)
        check_lengths(path, code_lines, report)
        check_words(path, code_lines, raw_lines, report)
    for finding in findings:
        print(finding)
    print(f"{len(files)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
