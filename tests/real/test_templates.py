"""Chat templates of published models, out of Python packages that carry them, against jinja2."""
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/reference"))
import template_parity  # noqa: E402

TOOL = Path(os.environ.get("SAMPAN", ROOT / "build/release/sampan")).parent / "tests/render_templates"
CACHE = Path(os.environ.get("SAMPAN_PACKAGES", ROOT / "build/packages"))
PACKAGES = {"trl": "1.16.0", "axolotl": "0.19.0"}


def wheel(name, version):
    """The wheel, from the folder of packages or else through pip into it."""
    found = list(CACHE.glob(f"{name}-{version}-*.whl"))
    if not found:
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
                        "-d", str(CACHE), f"{name}=={version}"], check=True, timeout=300)
        found = list(CACHE.glob(f"{name}-{version}-*.whl"))
    return found[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every *.jinja of the packages that makes a chat."""
    folder = tmp_path_factory.mktemp("templates")
    for name, version in PACKAGES.items():
        with zipfile.ZipFile(wheel(name, version)) as archive:
            for entry in archive.namelist():
                if entry.endswith(".jinja"):
                    (folder / f"{name}-{Path(entry).name}").write_bytes(archive.read(entry))
    return sorted(map(str, folder.glob("*.jinja")))


def test_templates_of_published_models_render_as_jinja2_does(files):
    count, total, different = template_parity.compare_files(str(TOOL), files, every=7)
    assert count > 100 and total > 8000
    assert different == 0


def test_random_templates_never_give_another_text():
    """Jinja may go on where we refuse (it works lazily), but what both render is the same."""
    assert template_parity.compare_random(str(TOOL), 4000, 1, texts_only=True) == 0
