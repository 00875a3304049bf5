"""`sif doctor`: libraries, data sets and the machine, in lines and as JSON."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from sif.cli import doctor

ROOT = Path(__file__).parents[2]
Command = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which one data set is unpacked, another packed, and a third not whole."""
    folder = tmp_path / "data"
    (folder / "ml-100k").mkdir(parents=True)
    (folder / "ml-100k" / "u.data").touch()
    (folder / "ml-1m.zip").touch()
    (folder / "penn-mini").mkdir()
    (folder / "penn-mini" / "train.txt").touch()
    monkeypatch.setenv("SIF_DATA_DIR", str(folder))
    monkeypatch.setattr("sif.data.download.raw_folder", lambda: tmp_path / "raw")
    return folder


def test_the_document_has_machine_versions_and_data(sif: Command, data: Path) -> None:
    done = sif("doctor", "--json")
    found = json.loads(done.out)
    assert (done.code, done.err) == (0, [])
    assert found["versions"]["torch"] == torch.__version__
    assert found["cpu"]["threads"] == torch.get_num_threads()
    assert found["devices"][0]["name"] == "cpu" and found["devices"][0]["memory"] > 0
    assert [one["exists"] for one in found["data"]["folders"]] == [True, False]
    known = found["data"]["known"]
    assert known["ml-100k"] == {"state": "found", "path": str(data / "ml-100k")}
    assert known["ml-1m"] == {"state": "found", "path": str(data / "ml-1m.zip")}
    states = {name: one["state"] for name, one in known.items()}
    assert states["planted"] == states["grammar"] == states["digits"] == "made"
    assert (states["ml-10m"], states["penn-mini"]) == ("download", "absent")


def test_a_folder_that_is_named_is_searched_first(sif: Command, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "ml-100k"
    other.mkdir(parents=True)
    (other / "u.data").touch()
    found = json.loads(sif("doctor", "--json", "--data-dir", tmp_path / "other").out)
    assert found["data"]["known"]["ml-100k"]["path"] == str(other)


def test_what_is_missing_is_told_with_what_to_install(
    sif: Command, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"pyarrow": "1", "optuna": "2"}
    monkeypatch.setattr(doctor, "installed", there.get)
    libraries = json.loads(sif("doctor", "--json").out)["libraries"]
    assert libraries["optuna"] == {"version": "2", "for": "the method tpe", "install": None}
    assert libraries["pymoo"]["install"] == "pip install 'sif[bench]'"
    assert libraries["implicit"]["install"] == "pip install implicit"
    lines = sif("doctor").out.splitlines()
    assert "missing    pymoo, for the method nsga2: pip install 'sif[bench]'" in lines
    assert not [line for line in lines if line.startswith("missing    pyarrow")]
    assert "data       found: ml-100k, ml-1m" in lines
    assert lines[0].startswith(f"sif {version_of_sif()} (")


def version_of_sif() -> str:
    text = (ROOT / "sif" / "utils" / "version.py").read_text()
    found = re.search(r'__version__ = "(.*)"', text)
    assert found is not None
    return found[1]


def test_every_optional_library_is_examined_with_its_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def names(listed: list[str]) -> set[str]:
        return {re.split(r"[<>=\[]", one)[0] for one in listed}

    required, brought = names(project["dependencies"]), set()
    for name, (extra, _) in doctor.OPTIONAL.items():
        assert name in (required if extra is None else names(extras[extra])), name
        brought |= {name} if extra is None else set()
    groups = set(extras) - {"dev", "docs", "peers", "peers-order"}
    others = {name for extra in groups for name in names(extras[extra])}
    assert set(doctor.OPTIONAL) == (others | brought) - {"torch"}
    optional = (ROOT / "pyproject.toml").read_text().partition("# Optional, as all extras")[2]
    listed = optional.partition("]")[0]
    assert brought == names(re.findall(r'"(.*?)"', listed))


def test_versions_are_those_that_are_installed(sif: Command, data: Path) -> None:
    libraries = json.loads(sif("doctor", "--json").out)["libraries"]
    assert libraries["matplotlib"]["version"] == version("matplotlib")
