"""The files that a job reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from sif.bench.inputs import inputs_of
from sif.bench.sitting import Nesting
from sif.config import TrackingConfig
from sif.problems.configuration import load_job_config


def test_named_files_and_folders_are_inputs(tmp_path: Path) -> None:
    rows, split = tmp_path / "rows.csv", tmp_path / "split"
    rows.write_text("user,item\n")
    split.mkdir()
    config = load_job_config("cf", flags={"dataset": str(rows), "data.split_file": str(split)})
    assert inputs_of(config) == (rows, split)


def test_generated_data_are_none(tmp_path: Path) -> None:
    assert inputs_of(load_job_config("cf", flags={"data.dir": str(tmp_path)})) == ()


def test_a_known_data_set_is_the_folder_in_which_a_job_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIF_DATA_DIR", str(tmp_path / "shared"))
    own = load_job_config("cf", flags={"dataset": "ml-100k", "data.dir": str(tmp_path / "own")})
    for base in ("shared", "own"):  # the later one is looked at first
        (tmp_path / base / "ml-100k").mkdir(parents=True)
        assert inputs_of(own) == (tmp_path / base / "ml-100k",)


def test_needs_are_those_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    job = tmp_path / "job.yaml"
    config = load_job_config("cf", flags={"threads": 3})
    cuda = config.model_copy(update={"device": "cuda"})
    for uri, store in (
        (None, "a store in the working directory"), ("sqlite:///a.db", "sqlite:///a.db"),
        ("runs", "runs"), ("http://host:5000", ""), ("postgresql://host/db", ""),
    ):  # fmt: skip
        found = Nesting(TrackingConfig(uri=uri), "cup").needs(config, job)
        assert found.store == store
        assert (found.inputs, found.cores, found.gpus) == ((job,), 3, 0.0)
    off = Nesting(TrackingConfig(enabled=False), "cup")
    assert off.needs(cuda, job).gpus == 1.0
    assert off.needs(cuda, job).store == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert Nesting(TrackingConfig(), "cup").needs(config, job).store == ""
