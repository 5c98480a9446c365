#!/usr/bin/env python3
"""The objects for processors with AVX-VNNI and no AVX-512 hold VPDPBUSD and no EVEX instruction.

    encoding.py VEX-OBJECTS EVEX-OBJECTS

Lists with ';' between. The second is the same sources for AVX-512: what is looked for must be found there.
In 64-bit code the byte 62 begins an EVEX instruction and nothing else (Intel SDM volume 2A, 2.7)."""

import re
import subprocess
import sys

# Prefixes that may stand before: segments, operand and address size.
EVEX_BYTES = re.compile(r"^((2e|36|3e|26|64|65|66|67) )*62 ")
EVEX_OPERANDS = re.compile(r"%zmm|%k[0-7]\b|%[xy]mm(1[6-9]|2\d|3[01])\b")


def disassemble(paths):
    """(bytes, text) of every instruction."""
    command = ["objdump", "-d", "--insn-width=16", *paths]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    parts = (line.split("\t") for line in out.splitlines())
    return [(p[1], p[2]) for p in parts if len(p) == 3]


def evex_in(name, paths):
    code = disassemble(paths)
    evex = [i for i in code if EVEX_BYTES.match(i[0]) or EVEX_OPERANDS.search(i[1])]
    dots = sum("vpdpbusd" in text for _, text in code)
    print(f"{name}: {len(code)} instructions, {dots} vpdpbusd, {len(evex)} EVEX")
    if dots == 0:
        sys.exit(f"{name}: no vpdpbusd: not the objects with the products")
    return evex


def main():
    vex, evex = (evex_in(name, paths.split(";")) for name, paths in zip(("VEX", "EVEX"), sys.argv[1:3]))
    for code, text in vex[:10]:
        print(f"EVEX: {code}: {text}")
    if vex or not evex:
        sys.exit("EVEX instructions must be in the second list only")


if __name__ == "__main__":
    main()
