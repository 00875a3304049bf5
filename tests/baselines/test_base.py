"""Tuning on validation, and what every entry of the registry must keep to."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sif import baselines
from sif.baselines import BASELINES, Baseline, fit_best
from sif.baselines.base import Params, TableScorer, choose
from sif.data.interactions.interactions import Interactions
from sif.errors import ConfigError
from sif.evaluation.evaluate import RankingScorer, RatingScorer, evaluate_on
from sif.utils.device import torch_threads

Blocks = tuple[Interactions, Interactions]
EVERY = sorted(BASELINES)


@dataclass(frozen=True)
class Constant:
    value: float

    def predict(self, ids: np.ndarray) -> np.ndarray:
        return np.full(len(ids), self.value, dtype=np.float32)


def constants(
    train: Interactions, grid: Sequence[Params], seed: int, threads: int
) -> Iterator[Constant]:
    del train, seed, threads
    return (Constant(params["value"]) for params in grid)


def stub(*values: float) -> Baseline:
    grid = tuple({"value": value, "place": i} for i, value in enumerate(values))
    return Baseline("stub", "a constant", frozenset({"rating"}), grid, constants)


def output(name: str, train: Interactions, params: Params, seed: int) -> np.ndarray:
    scorer = BASELINES[name].fit(train, params, seed, 1)
    if isinstance(scorer, RankingScorer):
        return scorer.scores(np.arange(train.sizes[0]))
    return scorer.predict(train.ids)


def test_keeps_what_validation_ranks_first(blocks: Blocks) -> None:
    train, valid = blocks
    assert valid.rating is not None
    center = float(valid.rating.mean())
    fitted = fit_best(stub(center - 1, center, 9.0), train, valid, "rating", seed=0, threads=1)
    assert fitted.params["place"] == 1
    values = [value for _, value in fitted.trials]
    assert fitted.valid.metrics["rmse"] == min(values) == values[1]
    assert [params["place"] for params, _ in fitted.trials] == [0, 1, 2]
    # Both are clipped to the train part's lowest rating.
    tied = fit_best(stub(-5.0, -6.0), train, valid, "rating", seed=0, threads=1)
    assert tied.params["place"] == 0


def test_a_grid_ends_with_the_time(blocks: Blocks) -> None:
    over = iter([False, True])
    fitted = fit_best(
        stub(9.0, 3.0, 2.0), *blocks, "rating", seed=0, threads=1, out_of_time=lambda: next(over)
    )
    assert fitted.params["place"] == 1 and len(fitted.trials) == 2
    assert fitted.cut
    assert not fit_best(stub(9.0), *blocks, "rating", seed=0, threads=1).cut


def test_the_choice_is_the_fit_without_its_scorer(blocks: Blocks) -> None:
    how: dict[str, Any] = {"seed": 0, "threads": 1}
    fitted = fit_best(stub(9.0, 3.0), *blocks, "rating", **how)
    chosen = vars(choose(stub(9.0, 3.0), *blocks, "rating", **how))
    assert chosen.keys() == vars(fitted).keys() - {"scorer"}
    assert chosen["params"] == fitted.params and chosen["trials"] == fitted.trials


def test_one_order_for_all_users_travels_once() -> None:
    table = np.broadcast_to(np.arange(50, dtype=np.float32), (10_000, 50))
    for scorer in (TableScorer(table), TableScorer(table[:30].copy())):
        sent = pickle.dumps(scorer)
        users = np.array([3, 29, 3])
        np.testing.assert_array_equal(pickle.loads(sent).scores(users), scorer.scores(users))
        assert len(sent) < 10_000


def test_refuses_the_other_objective_and_an_empty_grid(blocks: Blocks) -> None:
    with pytest.raises(ConfigError, match="ease: expected objective ranking, found rating"):
        fit_best(BASELINES["ease"], *blocks, "rating", seed=0, threads=1)
    with pytest.raises(ConfigError, match="found none"):
        fit_best(stub(), *blocks, "rating", seed=0, threads=1)


def test_threads_are_restored(blocks: Blocks) -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    fit_best(stub(3.0), *blocks, "rating", seed=0, threads=before + 1)
    assert torch.get_num_threads() == before


def test_registry_names_and_objectives() -> None:
    assert all(name == baseline.name for name, baseline in BASELINES.items())
    served = {name for name, b in BASELINES.items() if b.objectives == {"ranking"}}
    in_order = {"recent-popularity", "markov", "decayed-ridge"}
    of_sets = {"popularity", "item-knn", "rp3beta", "ease", "slim", "als", "bpr"}
    assert served == of_sets | in_order
    assert set(BASELINES) - served == {"global-mean", "bias-only", "biased-mf"}


@pytest.mark.parametrize("name", EVERY)
def test_every_grid_point_differs(name: str) -> None:
    grid = [tuple(sorted(params.items())) for params in BASELINES[name].grid]
    assert len(grid) == len(set(grid)) > 0


@pytest.mark.parametrize("name", EVERY)
def test_scorers_have_the_right_shape_and_method(name: str, blocks: Blocks) -> None:
    train, _ = blocks
    baseline = BASELINES[name]
    scorer = baseline.fit(train, baseline.grid[0], 0, 1)
    if "ranking" in baseline.objectives:
        assert isinstance(scorer, RankingScorer)
        users = np.array([5, 2, 5])
        found = scorer.scores(users)
        assert found.shape == (3, 40)
        np.testing.assert_array_equal(found[0], found[2])
        np.testing.assert_allclose(found[1], scorer.scores(np.arange(60))[2], rtol=1e-5)
    else:
        assert isinstance(scorer, RatingScorer)
        found = scorer.predict(train.ids[:7])
        assert found.shape == (7,)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", EVERY)
def test_the_same_seed_gives_the_same_model(name: str, blocks: Blocks) -> None:
    params = BASELINES[name].grid[-1]
    one, two = (output(name, blocks[0], params, 7) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["als", "bpr", "biased-mf"])
def test_another_seed_gives_another_model(name: str, blocks: Blocks) -> None:
    params = BASELINES[name].grid[0]
    assert np.any(output(name, blocks[0], params, 1) != output(name, blocks[0], params, 2))


@pytest.mark.parametrize("name", ["popularity", "als", "bpr", "ease"])
def test_ranking_does_not_look_at_ratings(name: str, blocks: Blocks) -> None:
    train, _ = blocks
    params = BASELINES[name].grid[0]
    bare = output(name, replace(train, rating=None), params, 0)
    np.testing.assert_array_equal(output(name, train, params, 0), bare)


@pytest.mark.parametrize("name", ["als", "bpr", "ease"])
def test_personal_models_find_the_blocks(name: str, blocks: Blocks) -> None:
    train, valid = blocks
    fitted = fit_best(BASELINES[name], train, valid, "ranking", seed=0, threads=1)
    popular = fit_best(BASELINES["popularity"], train, valid, "ranking", seed=0, threads=1)
    # Ten places and about eight unseen items of the own half: nearly everything can be found.
    assert fitted.valid.metrics["recall@10"] > 0.9
    assert fitted.valid.metrics["ndcg@10"] > 1.3 * popular.valid.metrics["ndcg@10"]


def test_rating_models_rank_as_they_should(blocks: Blocks) -> None:
    train, valid = blocks
    found = {
        name: fit_best(BASELINES[name], train, valid, "rating", seed=0, threads=1)
        for name in ("global-mean", "bias-only", "biased-mf")
    }
    rmse = {name: fitted.valid.metrics["rmse"] for name, fitted in found.items()}
    assert rmse["bias-only"] < 0.6 * rmse["global-mean"]
    # The blocks hold biases and noise only, which a factor model must not do much worse on.
    assert rmse["biased-mf"] < 1.1 * rmse["bias-only"]
    again = evaluate_on(found["biased-mf"].scorer, train, (train,), valid, "rating")
    assert again.metrics == found["biased-mf"].valid.metrics


@pytest.mark.parametrize(
    "path", sorted(Path(baselines.__file__).parent.glob("*.py")), ids=lambda path: path.name
)
def test_implicit_is_imported_late(path: Path) -> None:
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            assert "implicit" not in [alias.name.split(".")[0] for alias in statement.names]
        if isinstance(statement, ast.ImportFrom):
            assert (statement.module or "").split(".")[0] != "implicit"
