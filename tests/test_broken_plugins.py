"""Packages that register what does not work: one line that names them, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sif.config.loading import OTHER_TASKS
from sif.methods.registry import METHODS
from sif.spaces.interaction.registry import LOSSES, SPACES

MODULE = """
import torch
from sif.methods.kind import MethodKind
from sif.spaces.interaction.losses import LossKind
from sif.spaces.interaction.space_kind import SpaceKind

def boom(*arguments):
    raise RuntimeError("boom")

def designs(genotype, fields):
    return None

M_BOOM = MethodKind(boom)
M_NONE = MethodKind(lambda space, settings, plan, draws: None)
S_NONE = SpaceKind(lambda context: None, designs, designs)
S_BOOM = SpaceKind(boom, designs, designs)
L_SHAPE = LossKind(lambda f, batch, settings: f.pairs(batch.ids), ("ranking",))
L_FLOAT = LossKind(lambda f, batch, settings: 3.0, ("ranking",))
L_BOOM = LossKind(boom, ("ranking",))
NONE = None

def __getattr__(name):
    if name == "M_SETT":
        return MethodKind(boom, int)
    if name == "S_SIG":
        return SpaceKind(lambda: None, designs, designs)
    if name == "L_SIG":
        return LossKind(lambda batch: 0, ("ranking",))
    raise AttributeError(name)
"""
POINTS = {
    "sif.methods": ("M_SETT", "M_BOOM", "M_NONE"),
    "sif.spaces": ("S_SIG", "S_NONE", "S_BOOM"),
    "sif.losses": ("L_SIG", "L_SHAPE", "L_FLOAT", "L_BOOM"),
}
TAKEN = {"sif.methods": "tpe", "sif.spaces": "sif", "sif.losses": "bpr", "sif.problems": "cf"}
SMALL = ("data.planted.users=40", "data.planted.items=30", "data.planted.density=0.2",
         "baselines=[]", "controls=[]", "space=sif")  # fmt: skip
Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, install: Any
) -> None:
    """A package of one broken thing after the other, one that exits, and no task."""
    site = tmp_path_factory.mktemp("site")
    (site / "bad_plugin.py").write_text(MODULE)
    (site / "bad_exit.py").write_text("raise SystemExit(5)")
    points = {
        group: {name.lower().replace("_", "-"): f"bad_plugin:{name}" for name in names}
        for group, names in POINTS.items()
    }
    points["sif.methods"]["m-exit"] = "bad_exit:KIND"
    points["sif.problems"] = {"t-none": "bad_plugin:NONE"}
    for registry in (METHODS, SPACES, LOSSES, OTHER_TASKS):
        monkeypatch.setattr(registry, "_has_warned", True)
    install(monkeypatch, site, {"name": "bad", "version": "1", "entry-points": points})


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("method=m-sett", "M_SETT of package bad cannot be loaded: MethodKind.settings: expected"),
        ("method=m-boom", "M_BOOM of package bad: expected a result of type Method, found Runtime"),
        ("method=m-none", "M_NONE of package bad: expected a result of type Method, found NoneTyp"),
        ("method=m-exit", "bad_exit:KIND of package bad cannot be loaded: SystemExit: 5"),
        ("space=s-sig", "S_SIG of package bad cannot be loaded: SpaceKind.make: expected a functi"),
        ("space=s-none", "S_NONE of package bad: expected a result of type InteractionSpace, foun"),
        ("space=s-boom", "S_BOOM of package bad: expected a result of type InteractionSpace, foun"),
        ("loss.name=l-sig", "L_SIG of package bad cannot be loaded: LossKind.function: expected a"),
        ("loss.name=l-shape", "L_SHAPE of package bad: expected a scalar, found shape "),
        ("loss.name=l-float", "L_FLOAT of package bad: expected a result of type Tensor, found fl"),
        ("loss.name=l-boom", "L_BOOM of package bad: expected a result of type Tensor, found Runt"),
    ],
)  # fmt: skip
def test_what_is_broken_is_one_line_before_anything_is_written(
    sif: Call, tmp_path: Path, setting: str, told: str
) -> None:
    done = sif("--task", "cf", "--output-dir", tmp_path / "run", "--set", *SMALL, setting)
    assert done.code == 2
    assert len(done.err) == 1 and told in done.err[0]
    assert not (tmp_path / "run").exists()


def test_a_task_that_is_none_is_one_line(sif: Call) -> None:
    done = sif("--task", "t-none")
    told = "bad_plugin:NONE of package bad: expected a Task of sif.tasks.study, found NoneType"
    assert (done.code, done.err) == (2, [f"error: task: t-none: {told}"])


@pytest.mark.parametrize(
    ("verb", "bad", "good"),
    [("methods", "m-sett", "nasp"), ("methods", "m-exit", "exhaustive"),
     ("spaces", "s-sig", "staged"), ("losses", "l-sig", "bpr")],
)  # fmt: skip
def test_lists_tell_what_is_broken_and_go_on(sif: Call, verb: str, bad: str, good: str) -> None:
    done = sif(verb)
    assert (done.code, done.err) == (0, [])
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert "of package bad cannot be loaded" in lines[bad] and "cannot" not in lines[good]
    assert "l-boom" not in lines or list(lines)[-1] == "l-boom"
    asked = sif(verb, bad)
    assert asked.code == 2 and "of package bad cannot be loaded" in asked.err[0]


def test_names_that_are_taken_are_told_once(
    sif: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, install: Any
) -> None:
    points = {group: {name: "theirs:KIND"} for group, name in TAKEN.items()}
    for registry in (METHODS, SPACES, LOSSES, OTHER_TASKS):
        monkeypatch.setattr(registry, "_has_warned", False)
    install(monkeypatch, tmp_path, {"name": "theirs", "version": "1", "entry-points": points})
    done = sif("--task", "cf", "--set", "train.epochs=0")
    names = ("loss bpr", "method tpe", "space sif", "task cf")
    place = "theirs:KIND of package theirs is ignored, the name is sif's"
    assert sorted(done.err[:-1]) == [f"note: {name}: {place}" for name in names]
    assert sif("methods").err == []
