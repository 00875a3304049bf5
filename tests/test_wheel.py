"""The wheel and the source distribution hold the package and its YAML files, and nothing else.

`.ci/wheel` installs the wheel into a fresh environment and runs jobs with it.
"""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import sif

ROOT = Path(__file__).parents[1]
BUILD = """
import sys
from setuptools import build_meta
folder = sys.argv[1]  # which setuptools replaces
build_meta.build_sdist(folder)
build_meta.build_wheel(folder)
"""
LICENSES = {"licenses/LICENSE", "licenses/sif/report/assets/LICENSE-vega.txt"}


def in_folders(*names: str) -> set[str]:
    """Files of the checkout in folders, without what Python compiled."""
    files = (path for name in names for path in (ROOT / name).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built by the setuptools of this environment, without a network.

    The builder writes beside what it reads, and takes what an earlier build left there. So it reads
    links to the parts of the checkout.
    """
    needed = re.search(r"setuptools>=(\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert needed
    try:
        found = version("setuptools")
    except PackageNotFoundError:
        found = "0"
    if int(found.split(".")[0]) < int(needed[1]):
        pytest.skip(f"building needs {needed[0]} in this environment, found {found}")
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name not in ("build", "dist", "sif.egg-info"):
            (source / path.name).symlink_to(path)
    subprocess.run(
        [sys.executable, "-c", BUILD, folder],
        cwd=source,
        check=True,
        capture_output=True,
        text=True,
    )
    return folder


@pytest.mark.slow
def test_the_wheel_holds_the_package_its_presets_and_recipes_alone(built: Path) -> None:
    """One build for both tests: 600 files are copied twice and packed twice."""
    (path,) = built.glob("*.whl")
    assert path.name == f"sif-{sif.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
        about = f"sif-{sif.__version__}.dist-info/"
        metadata = email.message_from_bytes(wheel.read(f"{about}METADATA"))
        commands = wheel.read(f"{about}entry_points.txt").decode()
    share = f"sif-{sif.__version__}.data/data/share/sif/"
    assert {name for name in names if name.startswith("sif/")} == in_folders("sif")
    assert {n.removeprefix(share) for n in names if n.startswith(share)} == in_folders(
        "configs", "datasets"
    )
    rest = {n.removeprefix(about) for n in names if not n.startswith(("sif/", share))}
    assert rest == LICENSES | {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"}
    assert metadata["Requires-Python"] == ">=3.11.4"
    assert commands.split() == ["[console_scripts]", "sif", "=", "sif.cli.start:start"]


@pytest.mark.slow
def test_the_source_distribution_has_what_builds_the_wheel_and_no_tests(built: Path) -> None:
    """See above."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = {member.name for member in archive if member.isfile()}
    names = {name.removeprefix(f"sif-{sif.__version__}/") for name in files}
    about = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "pyproject.toml"}
    made = {"PKG-INFO", "setup.cfg"}
    assert {name for name in names if not name.startswith("sif.egg-info/")} - made - {
        "MANIFEST.in"
    } == about | in_folders("sif", "configs", "datasets")
