"""Files about the project agree with it: citation, forms of issues, continuous integration."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import yaml

import sif

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version() -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == sif.__version__
    assert citation["license"] == PROJECT["license"]
    assert {paper["year"] for paper in citation["references"]} == {2020}


def test_continuous_integration_runs_every_supported_python() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    prefix = "Programming Language :: Python :: "
    supported = [c.removeprefix(prefix) for c in PROJECT["classifiers"] if c.startswith(prefix)]
    for name, script in (("tests", ".ci/run"), ("wheel", ".ci/wheel")):
        assert jobs[name]["strategy"]["matrix"]["python-version"] == supported
        assert jobs[name]["steps"][-1]["run"].split(" ")[0] == script
        assert os.access(ROOT / script, os.X_OK)
    one = jobs["tests"]["steps"][-1]["run"]  # coverage slows the tests, so one version measures it
    newest = f"matrix.python-version == '{supported[-1]}'"
    assert one == f".ci/run ${{{{ {newest} && '--coverage' || '' }}}}"


def test_forms_of_issues_ask_for_what_is_needed() -> None:
    for name, needed in (("bug", {"happened", "command", "output"}), ("question", {"goal"})):
        fields = read(f".github/ISSUE_TEMPLATE/{name}.yml")["body"]
        required = {f["id"] for f in fields if f.get("validations", {}).get("required")}
        assert needed <= required


def test_the_extra_of_the_site_is_pinned() -> None:
    pins = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    for needed in PROJECT["optional-dependencies"]["docs"]:
        assert f"\n{needed.split('>')[0]}==" in pins
