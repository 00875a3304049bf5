"""The example of an outside package keeps its promises, and runs from the command line."""

from __future__ import annotations

import importlib
import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import sif
from sif.cli import main as cli
from sif.errors import ConfigError
from sif.methods.registry import METHODS
from sif.problems.interactions import InteractionProblem
from sif.spaces.interaction.losses import LossSettings
from sif.spaces.interaction.registry import LOSSES, SPACES
from sif.testing import (
    InteractionCase,
    Trial,
    check_loss,
    check_method,
    check_problem,
    check_space,
    toy_problem,
    toy_run,
)

PLUGIN = Path(__file__).parents[1] / "examples" / "plugin"
REGISTRIES = {"hill-climb": METHODS, "metric": SPACES, "tempered": LOSSES}
SMALL = (
    "data.planted.users=40", "data.planted.items=30", "data.planted.density=0.2",
    "search.epochs=8", "search.arch_every=1", "train.epochs=10", "train.l2=[1.0]",
    "baselines=[popularity]", "space=metric", "loss.name=tempered",
    "losses.tempered.temperature=0.3",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory, install: Any) -> Iterator[None]:
    """The package on the path, with its entry points, as after `pip install -e examples/plugin`."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        install(patch, tmp_path_factory.mktemp("site"), project)
        yield
    for name in [name for name in sys.modules if name.startswith("sif_example")]:
        del sys.modules[name]


def test_each_is_one_file_and_one_entry_point() -> None:
    for name, registry in REGISTRIES.items():
        assert registry.outside() == (name,)
        assert name not in registry
    files = {path.name for path in (PLUGIN / "sif_example").glob("*.py")}
    assert files == {"__init__.py", "method.py", "space.py", "loss.py"}


@pytest.mark.parametrize("space", ["primitives", "metric"])
def test_the_method_keeps_its_promises(space: str) -> None:
    check_method(Trial("hill-climb", toy_run(f"space={space}")), kills=(1,))


def test_the_climb_goes_to_neighbors_and_starts_again() -> None:
    space = toy_run("space=primitives").make_space(False)
    method = importlib.import_module("sif_example.method")
    climb = method.HillClimb(space, 0, method.HillClimbSettings(patience=2))
    start = climb.ask()
    climb.tell(start, 1.0, 0.0)
    asked = []
    for error in (2.0, 2.0, 0.5):
        asked.append(climb.ask())
        climb.tell(asked[-1], error, 0.0)
    differing = [sum(one[b] != start[b] for b in start) for one in asked]
    assert differing[:2] == [1, 1] and len(set(asked)) == 3
    assert climb.best_selection() == asked[2]
    around = climb.ask()
    assert sum(around[b] != asked[2][b] for b in around) == 1


@pytest.mark.parametrize("loss", ["squared", "whole-data", "tempered"])
def test_the_space_keeps_its_promises(loss: str) -> None:
    kind = LOSSES.named(loss)
    own = None if kind.settings is None else kind.settings()
    check_space(InteractionCase("metric", loss, loss_settings=LossSettings(2.0, 2, own=own)))


def test_the_loss_keeps_its_promises() -> None:
    check_loss(LOSSES.named("tempered"))


def test_a_problem_with_them_keeps_its_promises() -> None:
    problem, split = toy_problem("space=metric", "loss.name=tempered")
    check_problem(problem, split)


def test_python_searches_with_them() -> None:
    _, split = toy_problem()
    pairs = split.interactions
    names = [[str(pairs.vocabularies[f].ids[n]) for n in pairs.ids[:, f]] for f in (0, 1)]
    frame = pd.DataFrame(dict(zip(("user", "item"), names, strict=True)))
    settings = {"search.steps": 8, "search.candidate_epochs": 1, "loss.name": "tempered"}
    found = sif.search_function(frame, "metric", "hill-climb", threads=1, settings=settings)
    assert found.space == "metric"
    assert found.expression in {
        f"{measure}({', '.join(bent)})"
        for measure in ("product", "nearness", "bounded")
        for bent in (("user", "item"), ("tanh(user)", "tanh(item)"))
    }
    function = sif.InteractionFunction(found, 4)
    assert function(torch.ones(3, 4), torch.ones(3, 4)).shape == (3,)


def test_scores_that_a_space_does_not_offer_are_refused_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*arguments: object, **named: object) -> None:
        raise AssertionError("expected no training and no search")

    module = importlib.import_module("sif_example.space")
    unscored = type("Unscored", (module.MetricSpace,), {"replacement_scores": None})
    monkeypatch.setattr(module, "METRIC", replace(module.METRIC, make=unscored))
    for name in ("train", "search"):
        monkeypatch.setattr(InteractionProblem, name, never)
    monkeypatch.chdir(tmp_path)
    told = "methods.nasp.score: space 'metric' offers no 'replacement_loss', only 'gradient'"
    pairs = toy_problem()[1].interactions
    frame = pd.DataFrame(pairs.ids, columns=["user", "item"])
    for ask in (
        lambda: sif.Recommender(space="metric", threads=1).fit(frame),
        lambda: sif.search_function(frame, "metric", threads=1),
        lambda: sif.run_job(sif.CFConfig(space="metric")),
        lambda: sif.Bench.of(
            task="cf", methods=["nasp"], seeds=[0], budget="5steps", settings={"space": "metric"}
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            ask()
        assert str(caught.value) == told
    assert cli.main(["--task", "cf", "--set", "space=metric"]) == 2
    assert capsys.readouterr().err == f"error: {told}\n"
    assert not list(tmp_path.iterdir())


def test_messages_name_the_source_of_their_settings(capsys: pytest.CaptureFixture[str]) -> None:
    for item in ("methods.hill-climb.patience=0", "losses.tempered.temperature=0"):
        assert cli.main(["--task", "cf", "--set", item]) == 2
        assert capsys.readouterr().err.startswith(f"error: --set: {item[:-2]}: expected a number")


def test_help_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    assert "  spaces      sif, primitives, staged, metric" in capsys.readouterr().out
    for verb, name in (("methods", "hill-climb"), ("spaces", "metric"), ("losses", "tempered")):
        assert cli.main([verb]) == 0
        assert name in capsys.readouterr().out
        assert cli.main([verb, name]) == 0
    assert "losses.tempered.temperature" in capsys.readouterr().out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, installed: None) -> Path:
    """A job with the method, the space and the loss."""
    folder: Path = tmp_path_factory.mktemp("job") / "run"
    climb = ("search.steps=16", "search.candidate_epochs=2", "methods.hill-climb.patience=3")
    sets = [s for s in SMALL if not s.startswith("search.epochs")] + list(climb)
    asked = ["run", "--task", "cf", "--no-tracking", "--quiet", "--method", "hill-climb"]
    assert cli.main([*asked, "--output-dir", str(folder), "--set", *sets]) == 0
    return folder


def test_they_run_from_the_command_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert json.loads((run / "genotype.json").read_text())["space"] == "metric"
    assert 0 < metrics["test"]["ndcg@10"] < 1
    assert cli.main(["evaluate", str(run)]) == 0
    assert json.loads(capsys.readouterr().out)["ndcg@10"] == metrics["test"]["ndcg@10"]
    assert cli.main(["export", str(run), "--to", "torch", "--output", str(run / "f.pt2")]) == 0


def test_what_was_found_serves_users_who_come_later(run: Path) -> None:
    model = sif.Recommender.load(run)
    items, scores = model.recommend("u0001", 5, as_arrays=True)
    assert len(set(items.tolist())) == 5
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    liked = items[:3].tolist()
    folded, _ = model.recommend_new(liked, 5, as_arrays=True)
    assert len(set(folded.tolist()) - set(liked)) == 5


@pytest.mark.parametrize(
    ("sets", "told"),
    [(["objective=rating"], "loss.name 'tempered' contradicts objective 'rating', which takes squ"),
     (["losses.tempered.temperature=0"], "losses.tempered.temperature: expected a number greater"),
     (["space=metrics"], "staged, metric, found 'metrics'; did you mean 'metric'?"),
     (["method=hill-climbs"], "found 'hill-climbs'; did you mean 'hill-climb'?"),
     (["methods.hill-climb.patients=2"], "unknown key; did you mean 'patience'?")],
)  # fmt: skip
def test_what_they_refuse_is_one_line(
    sets: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--task", "cf", "--output-dir", str(tmp_path / "run"), "--set", *SMALL, *sets]
    assert cli.main(asked) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_genotype_without_its_package_is_refused_in_one_line(run: Path) -> None:
    text = (run / "genotype.json").read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SPACES, "outside", tuple)
        patch.setattr("sif.utils.registry.entry_points", lambda **_: ())
        with pytest.raises(ConfigError, match="space: expected one of sif, primitives, staged, f"):
            SPACES.named(json.loads(text)["space"])
