"""Grids that go on where their best setting is at an end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from sif.baselines import BASELINES, Baseline, fit_best
from sif.baselines.axes import Axis, beyond_edges
from sif.baselines.base import FitGrid, Params
from sif.data.interactions.interactions import Interactions
from sif.errors import DataError

Blocks = tuple[Interactions, Interactions]


class Prediction:
    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, ids: np.ndarray) -> np.ndarray:
        return np.full(len(ids), self.value, dtype=np.float32)


def planted(center: float, best: dict[str, float], fails_at: float = np.inf) -> FitGrid:
    """Predicts the mean of the ratings at the best setting, and less the further from it."""

    def fit(
        train: Interactions, grid: Sequence[Params], seed: int, threads: int
    ) -> Iterator[Prediction]:
        del train, seed, threads
        for params in grid:
            if params["l2"] >= fails_at:
                raise DataError("too much")
            away = sum(abs(np.log2(params[k] / v)) for k, v in best.items())
            yield Prediction(center + 0.05 * away)

    return fit


def stub(blocks: Blocks, best: dict[str, float], **settings: float) -> Baseline:
    rating = blocks[1].rating
    assert rating is not None
    fails_at = settings.pop("fails_at", np.inf)
    grid = tuple({"l2": l2, "k": k} for l2 in (10.0, 20.0, 40.0) for k in (100, 200))
    axes = {"l2": Axis(factor=2.0), "k": Axis(factor=2.0)}
    fit = planted(float(rating.mean()), best, fails_at)
    return Baseline("stub", "a constant", frozenset({"rating"}), grid, fit, axes, **settings)


def test_an_optimum_beyond_the_end_is_found(blocks: Blocks) -> None:
    baseline = stub(blocks, {"l2": 160.0, "k": 50}, further=2.0)
    fitted = fit_best(baseline, *blocks, "rating", seed=0, threads=1)
    assert fitted.params == {"l2": 160.0, "k": 50} and isinstance(fitted.params["k"], int)
    assert fitted.edge == ()
    assert len(fitted.trials) > len(baseline.grid)
    assert len({tuple(one.items()) for one, _ in fitted.trials}) == len(fitted.trials)


def test_an_optimum_inside_costs_nothing(blocks: Blocks) -> None:
    baseline = replace(stub(blocks, {"l2": 20.0}), axes={"l2": Axis(factor=2.0)})
    fitted = fit_best(baseline, *blocks, "rating", seed=0, threads=1)
    assert len(fitted.trials) == len(baseline.grid) and fitted.edge == ()


def test_it_goes_so_far_and_says_so(blocks: Blocks) -> None:
    baseline = stub(blocks, {"l2": 1e6, "k": 100}, further=0.5)
    fitted = fit_best(baseline, *blocks, "rating", seed=0, threads=1)
    assert len(fitted.trials) == 9
    assert "l2" in fitted.edge and fitted.params["l2"] > 40.0


def test_a_setting_that_cannot_be_fitted_is_the_end(blocks: Blocks) -> None:
    baseline = stub(blocks, {"l2": 1e6, "k": 150.0}, fails_at=80.0)
    fitted = fit_best(baseline, *blocks, "rating", seed=0, threads=1)
    assert fitted.params["l2"] == 40.0 and "l2" in fitted.edge


def test_no_time_no_further(blocks: Blocks) -> None:
    baseline, asked = stub(blocks, {"l2": 1e6, "k": 100}), iter([False] * 6 + [True])
    fitted = fit_best(
        baseline, *blocks, "rating", seed=0, threads=1, out_of_time=lambda: next(asked)
    )
    assert len(fitted.trials) == 7


def test_a_lowest_value_is_no_edge() -> None:
    axes = {"shrink": Axis(factor=10.0), "share": Axis(difference=0.5, high=1.0)}
    grid = [{"shrink": s, "share": f} for s in (0.0, 10.0) for f in (0.5, 1.0)]
    assert list(beyond_edges(axes, grid, grid, grid[1])) == []
    assert [name for name, _ in beyond_edges(axes, grid, grid, grid[2])] == ["shrink", "share"]


def test_settings_of_other_parameters_do_not_count() -> None:
    grid = [{"k": 100, "b": 0.2}, {"k": 800, "shrink": 1.0}]
    beyond = [one["k"] for _, one in beyond_edges({"k": Axis(factor=2.0)}, grid, grid, grid[0])]
    assert beyond == [200, 50]


@pytest.mark.parametrize("name", sorted(name for name, one in BASELINES.items() if one.axes))
def test_axes_are_of_the_grid(name: str) -> None:
    baseline = BASELINES[name]
    for axis in baseline.axes:
        assert any(axis in params for params in baseline.grid)


def test_a_gpu_fits_where_the_job_is_on_one(blocks: Blocks) -> None:
    inside, asked = stub(blocks, {"l2": 20.0}), []

    def on_gpu(
        train: Interactions, grid: Sequence[Params], seed: int, threads: int
    ) -> Iterator[Prediction]:
        asked.append(len(grid))
        return inside.fit_grid(train, grid, seed, threads)  # type: ignore[return-value]

    baseline = replace(inside, on_gpu=on_gpu, axes={})
    fit_best(baseline, *blocks, "rating", seed=0, threads=1)
    assert asked == []
    device = torch.device("cuda", 0)
    fit_best(baseline, *blocks, "rating", seed=0, threads=1, device=device)
    assert asked == [6]
    assert inside.fits(device) is inside.fit_grid
