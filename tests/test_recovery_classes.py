"""Functions that count as one in the recovery benchmark are equal on data, up to a constant."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sif.data.interactions.planted import OPERATIONS, transform

FOLDER = Path(__file__).parents[1] / "benchmarks"
Floats = npt.NDArray[np.float64]
INVERSE = {"sqrt": np.square, "abs": np.abs, "square": lambda x: np.sqrt(np.abs(x))}


@pytest.fixture(scope="module")
def scripts() -> Iterator[tuple[ModuleType, ModuleType]]:
    names = "recovery", "recovery_searches"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module(names[0]), importlib.import_module(names[1])
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def script(scripts: tuple[ModuleType, ModuleType]) -> ModuleType:
    return scripts[0]


def signal(operation: str, p: Floats, q: Floats, weights: Floats) -> Floats:
    return OPERATIONS[operation](p[:, None], q[None]) @ weights


def embedded(name: str, values: Floats) -> Floats:
    """Embeddings that a transform turns into the values."""
    found = np.sign(values) * INVERSE[name[1:]](values)
    assert np.allclose(transform(name, found), values)
    return np.asarray(found)


def shift(sides: str, a: Floats, b: Floats) -> float:
    """A number that takes both sides into their ranges."""
    both = np.concatenate([a.ravel(), b.ravel()])
    if "+" in sides:
        return float(1 - both.min())
    return float(-1 - both.max()) if "-" in sides else 0.0


@pytest.mark.parametrize("truth", [("max", "+abs", "~abs"), ("min", "~square", "~abs")])
def test_every_spelling_of_max_writes_the_planted_signal(
    script: ModuleType, truth: tuple[str, str, str]
) -> None:
    """By embeddings made for it: max(a + t, b + t) = max(a, b) + t, min(a, b) = -max(-a, -b)."""
    draws = np.random.default_rng(0)
    p, q = draws.normal(size=(30, 2)), draws.normal(size=(20, 2))
    weights = draws.uniform(0.5, 1.5, 2)
    a, b = transform(truth[1], p), transform(truth[2], q)
    target = signal(truth[0], a, b, weights)
    assert script.planted_class(script.class_of(*truth)) == "max"
    spellings = 0
    signs, magnitudes = "+-~", ("sqrt", "abs", "square")
    for operation, user, item in itertools.product(("max", "min"), signs, signs):
        kind = script.planted_class(script.class_of(operation, f"{user}abs", f"{item}abs"))
        if kind != "max":
            assert {user, item} == {"+", "-"} and kind in ("user alone", "item alone")
            continue
        turn = 1 if operation == truth[0] else -1
        t = shift(user + item, turn * a, turn * b)
        for of_user, of_item in itertools.product(magnitudes, magnitudes):
            names = user + of_user, item + of_item
            sides = embedded(names[0], turn * a + t), embedded(names[1], turn * b + t)
            written = signal(
                operation,
                transform(names[0], sides[0]),
                transform(names[1], sides[1]),
                turn * weights,
            )
            difference = written - target
            assert np.allclose(difference, difference.mean())  # the constant
            assert np.corrcoef(written.ravel(), target.ravel())[0, 1] > 1 - 1e-9
            spellings += 1
    assert spellings == 2 * 7 * 9


def test_ranges_that_hear_one_side_are_classes_of_their_own(script: ModuleType) -> None:
    draws = np.random.default_rng(1)
    p, q = draws.normal(size=(2, 9, 2))
    for operation, user, item, kind in (
        ("max", "+abs", "-abs", "user alone"), ("max", "-abs", "+abs", "item alone"),
        ("min", "+abs", "-abs", "item alone"), ("min", "-abs", "+abs", "user alone"),
    ):  # fmt: skip
        assert script.planted_class(script.class_of(operation, user, item)) == kind
        table = signal(operation, transform(user, p), transform(item, q), np.ones(2))
        axis = 1 if kind == "user alone" else 0
        assert np.allclose(np.ptp(table, axis=axis), 0)


def test_products_are_told_apart_by_rank_and_by_sign(script: ModuleType) -> None:
    """The constant takes no term of rank one, so ranges of a product are no spellings."""
    names = [
        script.planted_class(script.class_of("multiply", f"{user}abs", f"{item}abs"))
        for user, item in itertools.product("+-~", "+-~")
    ]
    assert sorted(set(names)) == ["multiply ++", "multiply +R", "multiply R+", "multiply RR"]
    draws = np.random.default_rng(2)
    p, q = draws.normal(size=(2, 40, 2))
    table = signal("multiply", np.abs(p), q, np.ones(2))
    # What is left of it after the best constant has rank 3: no other product of two dimensions.
    assert np.linalg.matrix_rank(table) == 2
    assert np.linalg.matrix_rank(table - table.mean()) == 3


def test_the_committed_picks_count_by_the_planted_class(script: ModuleType) -> None:
    row = {"truth_class": "max +R", "best_rmse": "0.30", "switch_pick": "max RR"}
    assert script.found({**row, "switch_rmse": "0.35"}, "switch")
    other = {**row, "switch_pick": "multiply RR"}
    assert not script.found({**other, "switch_rmse": "0.31"}, "switch")
    assert script.found({**other, "switch_rmse": "0.302"}, "switch")
    table = script.summary(FOLDER / "results" / "recovery-primitives.csv")
    last = table.splitlines()[-1].split("|")
    assert [cell.strip() for cell in last[2:4]] == ["80", "96%"]
    assert last[4].strip() == "91.2% (73/80)"


def test_searches_go_on_where_they_stopped(
    scripts: tuple[ModuleType, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, asked = scripts[1], list[tuple[str, int]]()

    def searched(truth: tuple[str, ...], seed: int, sets: list[str], best: float) -> Any:
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append((truth[0], seed))
        near = int(seed == 1)
        return {
            "truth": script.written(truth), "seed": seed, "pick": "max(~abs, ~abs)",
            "class": "max", "same_class": int(truth[0] in ("max", "min")),
            "rmse": 1.1 * best, "best_rmse": best, "near": near, "seconds": 2.0,
        }  # fmt: skip

    monkeypatch.setattr(script, "searched", searched)
    words = ("--seeds", "2", "--searches", "random", "--operations", "max", "plus")
    output = tmp_path / "new" / "searches.csv"
    monkeypatch.setattr(sys, "argv", ["script", *words, "--output", str(output)])
    with pytest.raises(KeyboardInterrupt):
        script.main()
    del asked[:]
    script.main()
    assert asked == [("max", 1)]
    assert len(script.read(output)) == 4
    last = capsys.readouterr().out.splitlines()[-1].split("|")
    assert [cell.strip() for cell in last[1:7]] == [
        "random", "all", "4", "50.0% (2)", "75.0% (3)", "50.0% (2)"
    ]  # fmt: skip
