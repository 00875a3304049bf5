"""Jobs whose independent calls are made elsewhere: on copies in this process, in place of Ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif import tasks
from sif.baselines import BASELINES
from sif.config import load_config
from sif.errors import ConfigError, DataError
from sif.evaluation.evaluate import Scorer
from sif.tasks.console import Remarks
from sif.utils import checkpoint
from sif.utils.device import make_runtime
from sif.utils.ranks import Ranks

CLOCKS = ("seconds", "cpu_seconds", "loss_seconds", "planning", "peak_memory_mb", "rows")
SMALL = (
    "search.stages=[encoding,operation,weighting]", "data.planted.users=40",
    "data.planted.items=30", "data.planted.density=0.3", "search.epochs=3", "search.dimension=4",
    "train.epochs=4", "train.dimension=4", "train.l2=[2]", "threads=1", "budget=null",
    "tracking.enabled=false",
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("without_figures")


def ran(folder: Path, executor: Any, *sets: str, **how: Any) -> Path:
    config = load_config("cf", sets=[*SMALL, *sets])
    config = config.model_copy(update={"output_dir": folder})
    tasks.run(config, quiet=True, executor=executor, **how)
    return folder


def lines(run: Path, beginning: str) -> list[str]:
    """Of the log, but for the table of the plan; without the seconds behind them."""
    found = (run / "log.txt").read_text().splitlines()
    told = [line for line in found if line.startswith(beginning) and ": " in line]
    return [line.partition(" (")[0] for line in told]


def alike(one: Any, other: Any) -> bool:
    """True for states that differ in nothing but what clocks told."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            key in CLOCKS or alike(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, str) or one is None:
        return bool(one == other)
    return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)


def assert_same(run: Path, other: Path) -> None:
    names = [
        sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
        for folder in (run, other)
    ]
    assert names[0] == names[1]
    for name in names[0]:
        if name.startswith("checkpoint/"):
            states = [checkpoint.load(folder / name, "stage")["state"] for folder in (run, other)]
            assert alike(*states), name
    assert lines(run, "baseline ") == lines(other, "baseline ")
    assert lines(run, "left out") == lines(other, "left out")


@pytest.mark.parametrize(
    "sets",
    [(), ("refit=none", "serve=searched"), ("objective=rating",)],
    ids=["fitted-again", "fitted-once", "ratings"],
)
def test_baselines_that_are_tuned_elsewhere_are_the_same(
    sets: tuple[str, ...], tmp_path: Path, elsewhere: Any
) -> None:
    """All of them, with the stage of each, and the table."""
    place = elsewhere(2)
    here, there = ran(tmp_path / "a", None, *sets), ran(tmp_path / "b", place, *sets)
    assert_same(there, here)
    stages = list(here.glob("checkpoint/baseline-*"))
    objective = "rating" if "objective=rating" in sets else "ranking"
    wanted = [f"baseline {n}" for n, b in BASELINES.items() if objective in b.objectives]
    assert place.started == wanted and len(stages) == len(wanted)
    assert place.puts == 2  # train and valid, once for all of them
    assert place.given[0] == 1 and place.given[1].type == "cpu"


def test_candidates_and_baselines_go_to_the_same_place(tmp_path: Path, elsewhere: Any) -> None:
    place = elsewhere(3)
    sets = ("method=random", "search.candidate_epochs=1", "baselines=[popularity]")
    here, there = ran(tmp_path / "a", None, *sets), ran(tmp_path / "b", place, *sets)
    assert_same(there, here)
    assert place.started == ["candidate 1", "candidate 2", "candidate 3", "baseline popularity"]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """EASE cannot be fitted."""

    def refuse(*_: Any) -> Iterator[Scorer]:
        raise DataError("ease: expected less, found more")

    monkeypatch.setitem(BASELINES, "ease", replace(BASELINES["ease"], fit_grid=refuse))


@pytest.mark.usefixtures("broken")
def test_a_baseline_that_fails_elsewhere_is_told_as_here(tmp_path: Path, elsewhere: Any) -> None:
    sets = ("baselines=[popularity,ease,markov]",)
    here, there = ran(tmp_path / "a", None, *sets), ran(tmp_path / "b", elsewhere(2), *sets)
    assert_same(there, here)
    assert "left out: baselines ease: ease: expected less, found more" in lines(there, "left out")


def test_time_that_is_over_cuts_a_grid_by_a_clock_of_its_own(
    tmp_path: Path, elsewhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stage is left any time, so that all end at once."""
    monkeypatch.setattr("sif.problems.budget.RESERVE", 2.0)
    monkeypatch.setattr("sif.tasks.job.LEAST", 0.0)
    sets = ("baselines=[popularity,item-knn]", "budget=600")
    here, there = ran(tmp_path / "a", None, *sets), ran(tmp_path / "b", elsewhere(2), *sets)
    assert_same(there, here)
    assert lines(there, "baseline item-knn: cut, so that") != []
    state = checkpoint.load(there / "checkpoint/baseline-item-knn.safetensors", "stage")["state"]
    assert state["params"] == dict(BASELINES["item-knn"].grid[0])


def test_what_is_done_is_not_begun_again(tmp_path: Path, elsewhere: Any) -> None:
    sets = ("baselines=[popularity,markov]",)
    run = ran(tmp_path / "a", None, *sets)
    for name in ("baseline-markov", "refit-markov"):
        (run / "checkpoint" / f"{name}.safetensors").unlink()
    place = elsewhere(2)
    ran(run, place, *sets, resume=True)
    assert place.started == ["baseline markov"]


def test_every_moment_of_a_rolling_job_has_the_executor(tmp_path: Path, elsewhere: Any) -> None:
    frame = pd.DataFrame({"user": np.arange(400) % 20, "item": np.arange(400) % 17 % 11})
    frame["timestamp"] = np.arange(400) * 86_400
    frame.to_csv(tmp_path / "rows.csv", index=False)
    place = elsewhere(2)
    sets = ("baselines=[popularity]", f"dataset={tmp_path}/rows.csv", "data.protocol=rolling",
            "data.moments=2")  # fmt: skip
    ran(tmp_path / "a", place, *sets)
    assert place.started == ["baseline popularity"] * 2


def test_several_processes_and_an_executor_are_refused(elsewhere: Any) -> None:
    runtime = make_runtime("cpu", 0, threads=1)
    with pytest.raises(ConfigError, match="executor: expected local under torchrun"):
        tasks._calls(elsewhere(2), runtime, Ranks(0, 2), Remarks())
