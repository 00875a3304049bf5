"""Second fits: as many passes as the best epoch, on more rows, with nothing left to choose."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sif.baselines import BASELINES
from sif.config import CFConfig, load_config
from sif.data.interactions import Interactions, Vocabulary
from sif.errors import DataError
from sif.evaluation.cold_start import ColdStartRule
from sif.problems.base import Session, StageStore
from sif.problems.controls import fixed_multiply
from sif.problems.interactions import InteractionProblem
from sif.problems.objective import Objective
from sif.problems.refit import Refit
from sif.training import loop
from sif.training.loop import TrainResult
from sif.utils import checkpoint
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

SMALL = [
    "train.epochs=4", "train.evaluate_every=4", "train.dimension=4", "train.l2=[1]", "threads=1",
]  # fmt: skip
"""The best epoch is the only one that is validated, the fourth."""
RATED = [*SMALL, "objective=rating", "train.evaluate_every=1"]


def rows(seed: int, keep: Callable[[np.ndarray], np.ndarray]) -> Interactions:
    """Ratings of 30 users of 20 items; the last user and item are in the rows that come late."""
    draws = np.random.default_rng(0)
    user, item = np.divmod(np.flatnonzero(draws.random(30 * 20) < 0.5), 20)
    part = np.where((user == 29) | (item == 19), 1, draws.random(len(user)) < 0.2)
    ids = np.stack([user, item], axis=1)
    rating = (1 + (user + item + part) % 5).astype(np.float32)
    names = (
        Vocabulary([f"u{n:02}" for n in range(30)]),
        Vocabulary([f"i{n:02}" for n in range(20)]),
    )
    every = Interactions(ids.astype(np.int64), ("user", "item"), names, rating)
    return every.select(keep(part))


@pytest.fixture
def parts() -> tuple[Interactions, Interactions, Interactions]:
    """Train, valid, and both."""
    train, valid = (rows(0, lambda part, n=n: part == n) for n in (0, 1))  # type: ignore[misc]
    return train, valid, rows(0, lambda part: part >= 0)


def problem(parts: tuple[Interactions, ...], *sets: str) -> InteractionProblem:
    config = load_config("cf", sets=[*(sets or SMALL)])
    assert isinstance(config, CFConfig)
    return InteractionProblem(parts[0], parts[1], config, make_runtime("cpu", 0, 1))


def test_steps_are_scaled_with_the_rows_by_hand(parts: Any) -> None:
    refit = Refit(problem(parts).again(parts[2]), before=len(parts[2]) * 4 // 5)
    # 3 epochs of 40 steps on four fifths of the rows: 150 steps, 50 in each epoch, 75 to settle.
    first = TrainResult({}, 3, 8, [{"epoch": 3, "seconds": 2.0}], 9.0, steps=120)
    assert refit.rows / refit.before == pytest.approx(5 / 4, rel=0.01)
    steps = round(120 * refit.rows / refit.before)
    assert sum(refit.steps(first)) == steps + math.ceil(steps / 2)
    exact = Refit(refit.problem, before=refit.rows)
    assert exact.steps(first) == [40, 40, 40, 30, 30]
    assert exact.seconds(first) == 3.0


def test_a_first_training_counts_its_steps(parts: Any) -> None:
    first = problem(parts, *SMALL, "train.batch_size=50")
    trained = first.train(fixed_multiply(first), Session().tracker, NoCheckpoint())
    per_pass = -(-len(parts[0]) // 50)
    assert trained.result.steps == trained.result.best_epoch * per_pass


def test_a_second_fit_takes_these_steps_on_all_rows_and_validates_nothing(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = problem(parts, *SMALL, "train.batch_size=50", "train.valid_users=5")
    trained = first.train(fixed_multiply(first), Session().tracker, NoCheckpoint())
    refit = Refit.of(first, parts[2])

    def validated(*_: Any) -> Any:
        raise AssertionError("validated")

    taken = []
    monkeypatch.setattr(InteractionProblem, "validate", validated)
    call = Objective.__call__
    monkeypatch.setattr(Objective, "__call__", lambda *a: (taken.append(1), call(*a))[1])
    second = refit.network("it", fixed_multiply(first), trained, Session())
    assert len(taken) == second.refit["steps"]
    assert len(taken) == sum(refit.steps(trained.result))
    assert second.result is trained.result and second.numbers == trained.numbers
    assert second.network is not trained.network
    with pytest.raises(DataError, match="expected interactions in the evaluated part"):
        monkeypatch.undo()
        refit.problem.validate(second.network)


def test_a_second_fit_on_the_same_rows_repeats_the_first_up_to_its_best_epoch(parts: Any) -> None:
    first = problem(parts, *SMALL, "train.batch_size=50")
    genotype = fixed_multiply(first)
    trained = first.train(genotype, Session().tracker, NoCheckpoint())
    assert trained.result.best_epoch == 4
    refit = Refit.of(first, parts[0])
    repeated = refit.steps(trained.result)[:4]
    quiet = Session().tracker, NoCheckpoint(), lambda epoch, loss: None
    network, _ = refit.problem.train_again(genotype, trained.numbers, repeated, 4, *quiet)
    for name, weights in trained.network.state_dict().items():
        assert np.array_equal(weights.numpy(), network.state_dict()[name].numpy()), name


def test_rules_and_scale_are_of_the_rows_of_the_second_fit(parts: Any) -> None:
    first = problem(parts, *RATED)
    again = first.again(parts[2])
    assert again.scale.mean == pytest.approx(parts[2].rating.mean())
    assert again.scale.deviation == pytest.approx(parts[2].rating.std())
    assert first.scale.mean != again.scale.mean
    assert first.cold_start.cold_users[29] and not again.cold_start.cold_users[29]
    assert np.isneginf(first.cold_start.order[19])
    assert np.array_equal(again.cold_start.order, ColdStartRule.of(parts[2]).order)
    assert int(again.row_counts[0].sum()) == len(parts[2])


def test_batches_are_as_large_as_those_of_the_first_fit(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part may grow beyond what is one batch; it is trained as before all the same."""
    between = (len(parts[0]) + len(parts[2])) // 2
    monkeypatch.setattr("sif.problems.batch_source.MAX_EXACT", between)
    first = problem(parts)
    assert first.blocks(True, "train") is None
    assert first.again(parts[2]).blocks(True, "train") is None
    assert problem((parts[2], parts[1])).blocks(True, "train") is not None


@pytest.mark.parametrize("name", ["ease", "popularity"])
def test_a_baseline_again_is_a_direct_fit_of_all_rows(name: str, parts: Any) -> None:
    first = problem(parts)
    fitted = first.baseline_fits.tuned(name)
    users = np.arange(30)
    direct = BASELINES[name].fit(parts[2], fitted.params, 0, 1)
    again = first.again(parts[2]).baseline_fits.fitted(name, fitted.params)
    assert np.array_equal(again.scores(users), direct.scores(users))
    assert not np.array_equal(fitted.scorer.scores(users), direct.scores(users))


class Files(StageStore):
    """Keeps stages in a folder, and stops a loop after some epochs."""

    def __init__(self, folder: Path, stop: int | None = None) -> None:
        self.folder, self.stop = folder, stop

    def run(
        self, name: str, work: Callable[[Any], dict[str, Any]], shared: bool = False
    ) -> dict[str, Any]:
        self.path = self.folder / name
        return work(self)

    def restore(self) -> dict[str, Any] | None:
        return checkpoint.load(self.path, "stage") if self.path.exists() else None

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        checkpoint.save(self.path, state(), "stage")
        if self.stop is not None:
            self.stop -= 1
            if self.stop == 0:
                raise KeyboardInterrupt


def test_a_second_fit_that_is_interrupted_goes_on_as_if_it_were_not(
    parts: Any, tmp_path: Path
) -> None:
    first = problem(parts, *SMALL, "train.batch_size=50")
    genotype = fixed_multiply(first)
    trained = first.train(genotype, Session().tracker, NoCheckpoint())
    assert trained.result.best_epoch == 4
    refit = Refit.of(first, parts[2])
    whole = refit.network("it", genotype, trained, Session())
    with pytest.raises(KeyboardInterrupt):
        refit.network("it", genotype, trained, Session(stages=Files(tmp_path, stop=2)))
    resumed = refit.network("it", genotype, trained, Session(stages=Files(tmp_path)))
    for name, weights in whole.network.state_dict().items():
        assert np.array_equal(weights.numpy(), resumed.network.state_dict()[name].numpy()), name
    assert resumed.refit["steps"] == whole.refit["steps"]


def test_a_second_fit_ends_with_a_falling_step_size(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a constant one, the last epoch may be one in which a training goes astray."""
    first = problem(parts, *SMALL, "train.batch_size=50")
    genotype = fixed_multiply(first)
    trained = first.train(genotype, Session().tracker, NoCheckpoint())
    rates: list[float] = []
    set_rate = loop.set_rate

    def noted(optimizer: Any, rate: float) -> None:
        rates.append(rate)
        set_rate(optimizer, rate)

    monkeypatch.setattr(loop, "set_rate", noted)
    Refit.of(first, parts[2]).network("it", genotype, trained, Session())
    lr, best = first.config.train.lr, trained.result.best_epoch
    assert rates[:best] == [lr] * best
    assert rates[best:] == pytest.approx([lr * 0.75, lr * 0.25])  # best is 4, so two settle
