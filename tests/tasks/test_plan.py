"""Jobs print a plan, keep to their budget and go on as planned after an interruption."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

import sif
from sif.errors import ConfigError
from sif.problems.interactions import InteractionProblem
from sif.problems.pilots import TrainingCost
from sif.tasks import job, plan
from tests.tasks.test_run_job import TINY

pytestmark = pytest.mark.usefixtures("without_figures")


def run(folder: Path, **changed: Any) -> dict[str, Any]:
    settings = {**TINY, **changed}
    return sif.run_job(sif.CFConfig(**settings, output_dir=folder)).metrics


def slow(problem: Any, design: Any) -> TrainingCost:
    """A second per epoch, whatever is trained."""
    return TrainingCost(1.0, 1, 0.0, 100.0)


def test_every_entrant_is_in_the_plan(tmp_path: Path) -> None:
    found = run(tmp_path / "run", budget="10min")["plan"]
    assert [row["stage"] for row in found["stages"]] == [
        "search searched", "train searched", "train fixed-multiply", "train random-function",
        "baseline popularity", "refit searched", "refit fixed-multiply",
        "refit popularity", "rest",
    ]  # fmt: skip
    assert found["budget"] == 600 and not (found["less"] or found["left_out"] or found["cut"])
    assert 0 < found["planning_seconds"] < found["estimated_seconds"] < 60
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "plan, measured on a few steps:" in log and "a budget of 600 s" in log


def test_a_budget_that_suffices_changes_nothing(tmp_path: Path) -> None:
    def same(folder: str, budget: float | None) -> Any:
        found = run(tmp_path / folder, budget=budget)
        return found["test"], found["genotype"], found["verdict"], found["baselines"].keys()

    assert same("with", 600.0) == same("without", None)


def test_what_does_not_fit_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "training_cost", slow)
    train = {**TINY["train"], "l2": [1, 2, 3, 4, 5]}
    found = run(tmp_path / "run", budget=22.0, train=train, refit="none")
    assert "3 of 5 strengths of L2" in found["plan"]["less"]
    assert found["train"]["epochs"] < 10
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "to fit into the budget: 3 of 5 strengths of L2" in log


def test_a_resumed_job_has_the_plan_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = sif.CFConfig(**TINY, budget=14.0, output_dir=tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(plan, "training_cost", slow)
        patch.setattr(InteractionProblem, "search", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sif.run_job(config)
    monkeypatch.setattr(job, "make_plan", interrupted)  # none is made again
    found = sif.run_job(config, resume=True).metrics
    assert any(line.endswith("epochs of train") for line in found["plan"]["less"])


def interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_a_stage_that_takes_too_long_is_cut_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate = InteractionProblem.validate

    def waits(self: InteractionProblem, net: Any) -> Any:
        time.sleep(0.3)
        return validate(self, net)

    # Estimated are moments, but validation waits: 40 epochs of 3 functions are 36 seconds.
    monkeypatch.setattr(plan, "training_cost", lambda *_: TrainingCost(0.001, 1, 0.0, 1.0))
    monkeypatch.setattr(InteractionProblem, "validate", waits)
    train = {**TINY["train"], "epochs": 40, "evaluate_every": 1, "patience": 40}
    monkeypatch.setattr("sif.tasks.study.FIGURES", 0.5)
    found = run(tmp_path / "run", budget=8.0, train=train)
    assert 4 < found["total_seconds"] < 36
    assert any(name.startswith("train") for name in found["plan"]["cut"])
    assert "cut, so that the job keeps to its budget" in (tmp_path / "run" / "log.txt").read_text()
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["verdict"]


def test_what_cannot_fit_into_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^loss.negatives: expected a value that fits into .* GB"
    ):
        run(tmp_path / "run", loss={"negatives": 10**12})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["cf", "cnn", "rnn"])
@pytest.mark.parametrize("preset", ["quick", "thorough"])
def test_each_task_has_a_quick_and_a_thorough_preset(task: str, preset: str) -> None:
    budget = sif.load_config(task, file=f"{task}/{preset}").budget
    assert budget is None if preset == "thorough" else 0 < (budget or 0) <= 120


def test_data_of_ones_own_get_sizes_of_their_own(tmp_path: Path) -> None:
    published, own = (
        sif.load_config("cnn", flags={"dataset": name}) for name in ("cifar-10", str(tmp_path))
    )
    assert published.budget is None and own.budget == 600
    assert dict(own)["train"].epochs < dict(published)["train"].epochs == 600
