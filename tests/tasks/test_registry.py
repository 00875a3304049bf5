"""A task of another package: it is registered, and then as good as this package's."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from sif.bench.request import Request
from sif.cli import main as cli
from sif.config import config_model, load_config, task_names
from sif.config.cnn import CNNConfig
from sif.config.loading import OTHER_TASKS
from sif.errors import ConfigError
from sif.tasks import cnn
from sif.tasks.registry import TASKS, task_named
from sif.tasks.study import Task
from sif.utils import registry
from sif.utils.device import Runtime


class FlowersConfig(CNNConfig):
    """Like that of images, with a setting of its own and no presets."""

    overlay: ClassVar[str | None] = None

    task: Literal["flowers"] = "flowers"  # type: ignore[assignment]
    petals: int = 5


class FlowersStudy(cnn.ImageStudy):
    """Tells of itself under its own name."""

    task = "flowers"

    def opening(self) -> list[str]:
        return [*super().opening(), f"{self.config.petals} petals"]  # type: ignore[attr-defined]


def prepare(config: Any, runtime: Runtime) -> FlowersStudy:
    found = cnn.prepare(config, runtime)
    return FlowersStudy(config, found.images, found.split, found.problem, found.entrants)


FLOWERS = Task(FlowersConfig, prepare, cnn.draw)
BROKEN = object()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task of another package, one that is none, and one that cannot be loaded."""
    values = {"flowers": "FLOWERS", "broken": "BROKEN", "gone": "absent"}

    def found(group: str, name: str | None = None) -> list[EntryPoint]:
        if group != OTHER_TASKS.group:
            return []
        return [EntryPoint(n, f"theirs:{v}", group) for n, v in values.items() if name in (None, n)]

    monkeypatch.setattr(registry, "entry_points", found)
    monkeypatch.setattr(EntryPoint, "load", lambda point: globals()[point.attr])


def test_the_tasks_of_this_package_have_the_models_of_their_configurations() -> None:
    assert {name: task.config for name, task in TASKS.items()} == {
        name: config_model(name) for name in ("cf", "cnn", "rnn")
    }
    assert all(task_named(name) is task for name, task in TASKS.items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "task: broken: theirs:BROKEN: expected a Task of sif.tasks.study, found object"),
        ("gone", "task: gone: theirs:absent cannot be loaded: KeyError"),
        ("flower", "did you mean 'flowers'"),
    ],
)
def test_what_is_no_task_is_one_line(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(name)


def test_what_is_registered_without_being_a_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="task: broken: theirs:BROKEN: expected a Task of "):
        task_named("broken")


def test_a_registered_task_is_in_the_help_and_takes_its_own_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert task_names() == ("cf", "cnn", "rnn", "flowers", "broken", "gone")
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "cf, cnn, rnn, flowers" in capsys.readouterr().out
    assert load_config("flowers", sets=["petals=6"]).petals == 6  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="petal: unknown key; did you mean 'petals'"):
        load_config("flowers", sets=["petal=6"])
    plan = Request("flowers", ["nasp", "random"], [0], "4epochs", sets=["petals=7"]).plan()
    assert plan.job.petals == 7  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_registered_task_runs_and_its_run_is_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn, which holds the digits")
    small = [
        "threads=1", "data.per_class=12", "search.epochs=1", "search.batch_size=16",
        "search.channels=1", "search.cells=3", "train.epochs=1", "train.batch_size=16",
        "train.channels=1", "train.cells=3", "methods.nasp.warmup=0", "baselines=[]", "petals=3",
    ]  # fmt: skip
    run = tmp_path / "run"
    job = ["--task", "flowers", "--no-tracking", "--output-dir", str(run), "--set", *small]
    assert cli.main(job) == 0
    assert "3 petals" in (run / "log.txt").read_text()
    found = json.loads((run / "metrics.json").read_text())
    assert found["task"] == "flowers"
    capsys.readouterr()
    assert cli.main(["evaluate", str(run)]) == 0
    assert json.loads(capsys.readouterr().out) == found["test"]
    assert cli.main(["--resume", str(run), "--quiet"]) == 0
