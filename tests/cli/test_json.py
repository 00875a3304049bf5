"""`sif run --json`: one document on standard output, all else on standard error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
JOB = ("--task", "cf", "--no-tracking", "--output-dir", "done", "--json")


@pytest.mark.slow
def test_a_job_prints_one_document_and_tells_the_rest_elsewhere(
    sif: Command, tiny: list[str], tmp_path: Path
) -> None:
    """A whole job."""
    done = sif(*JOB, *tiny)
    found = json.loads(done.out)
    kept = json.loads((tmp_path / "done" / "metrics.json").read_text())
    assert found["verdict"] == kept["verdict"]
    assert f"verdict: {kept['verdict']}" in done.err
    ours, *others = found["entrants"]
    assert (ours["ours"], ours["name"], ours["test"]) == (True, kept["entrant"], kept["test"])
    assert {one["name"] for one in others} == set(kept["baselines"])
    ease = next(one for one in others if one["name"] == "ease")
    assert ease["valid"] == kept["baselines"]["ease"]["valid"]
    assert ease["test"][found["metric"]] == kept["baselines"]["ease"][found["metric"]]
    assert set(ease["test"]) == set(ours["test"])
    assert found["folder"] == str(tmp_path / "done")
    assert Path(found["report"]).is_file() and Path(found["metrics"]).is_file()


def test_what_is_refused_leaves_standard_output_empty(sif: Command) -> None:
    done = sif("--task", "cf", "--dataset", "ml-100", "--json", "--no-tracking")
    assert (done.code, done.out, len(done.err)) == (2, "", 1)
