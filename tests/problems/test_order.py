"""The problem of item-item models: its search, its fits, and its second fits."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sif.baselines import BASELINES
from sif.baselines.base import fit_best
from sif.config import CFConfig, load_config
from sif.core.gates import Selection
from sif.core.genotype import Genotype
from sif.core.selections import Selections
from sif.data.interactions import (
    Interactions,
    PlantedScale,
    Split,
    Vocabulary,
    build_split,
    make_split,
    planted_order,
)
from sif.data.interactions.parts import TEST, TRAIN, VALID
from sif.errors import DivergedError
from sif.evaluation.evaluate import evaluate_on
from sif.problems.base import Session, Trained
from sif.problems.interactions import InteractionProblem
from sif.problems.order import DOUBLE, METHOD, SET, OrderProblem, OrderRefit, order_problem
from sif.problems.order_sample import ITEMS, OrderSample
from sif.spaces.linear.design import blocks_of, linear_design
from sif.spaces.linear.supernet import Judged
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime


def walks(ordered: bool, seed: int = 0) -> Split:
    """Walks around circles of 12 of 60 items; the last item of each user is tested.

    Who takes an item takes its successor three times in four, else another of the same circle.
    """
    draws = np.random.default_rng(seed)
    users, items = [], []
    for user in range(300):
        circle, place = draws.integers(0, 5), draws.integers(0, 12)
        taken = [12 * circle + place]
        while len(taken) < 9:
            step = 1 if draws.random() < 0.75 else draws.integers(2, 12)
            place = (place + step) % 12
            if 12 * circle + place not in taken:
                taken.append(12 * circle + place)
        if not ordered:
            draws.shuffle(taken)
        users += [user] * 9
        items += taken
    ids = np.stack([users, items], axis=1)
    names = (Vocabulary(np.arange(300)), Vocabulary(np.arange(60)))
    moments = np.tile(np.arange(9), 300)
    rows = Interactions(ids, ("user", "item"), names, timestamp=moments)
    part = np.where(moments == 8, TEST, np.where(moments == 7, VALID, TRAIN))
    return build_split(rows, part, protocol="last-item", seed=0)


def problem_of(split: Split, *sets: str) -> OrderProblem:
    config = load_config("cf", sets=["threads=1", *sets])
    assert isinstance(config, CFConfig)
    functions = InteractionProblem(split.train, split.valid, config, make_runtime("cpu", 0, 1))
    found = order_problem(functions)
    assert found is not None
    return found


def found_by(problem: OrderProblem) -> Genotype:
    return problem.search(NullTracker(), NoCheckpoint(), method=METHOD).genotype


def test_the_search_finds_the_order_and_a_set_where_there_is_none() -> None:
    metrics = {}
    for ordered in (True, False):
        split = walks(ordered)
        assert split.train.sizes[1] <= ITEMS  # so that all of it is judged
        problem = problem_of(split)
        genotype = found_by(problem)
        assert bool(linear_design(genotype).decays) == ordered
        fit = problem.train(genotype, NullTracker(), NoCheckpoint())
        metrics[ordered] = fit.result.valid["ndcg@10"]
        assert problem.validate(fit.network)["ndcg@10"] == pytest.approx(metrics[ordered], abs=1e-3)
        ease = fit_best(BASELINES["ease"], split.train, split.valid, "ranking", seed=0, threads=1)
        assert metrics[ordered] > ease.valid.metrics["ndcg@10"] - 0.02
    assert metrics[True] > metrics[False] + 0.1


def test_the_validation_of_a_search_is_that_of_its_sample() -> None:
    problem = problem_of(walks(True))
    space = problem.space()
    first = Selections(space.blocks).numbered(0)
    as_set = first.to_gates(space.blocks)
    in_order = Selection({**first, "target": (1,)}).to_gates(space.blocks)
    assert problem.judge(space, in_order) < problem.judge(space, as_set) < 1


def test_a_second_fit_knows_the_valid_rows() -> None:
    split = walks(True)
    problem = problem_of(split)
    genotype = found_by(problem)
    first = problem.train(genotype, NullTracker(), NoCheckpoint())
    both = replace(split, part=np.where(split.part == VALID, TRAIN, split.part))
    refit = OrderRefit.of(problem, both.train)
    second = refit.network("order", genotype, first, Session())
    stale = problem.test(first.network, split).metrics["mrr@10"]  # of other weights alone
    fresh = refit.problem.test(second.network, both).metrics["mrr@10"]
    assert fresh > stale - 0.01 and second.refit["seconds"] > 0
    assert not torch.equal(first.network.weights, second.network.weights)


def test_histories_at_test_hold_the_valid_rows_without_a_second_fit() -> None:
    split = walks(True)
    problem = problem_of(split)
    fit = problem.train(found_by(problem), NullTracker(), NoCheckpoint())
    stale = evaluate_on(
        problem.scorer(fit.network), split.train, (split.train, split.valid), split.test, "ranking"
    ).metrics["mrr@10"]  # fmt: skip
    assert problem.test(fit.network, split).metrics["mrr@10"] > stale + 0.1


def test_a_sample_without_anything_to_find_finds_no_order() -> None:
    split = walks(True)
    problem = problem_of(split)
    sample = problem._sample
    empty = OrderSample(sample.train, Judged(sample.batch.known, sample.batch.truth * 0))
    empty.batch.truth.eliminate_zeros()
    nothing = OrderSample(sample.train, empty.batch)
    for design in (SET, DOUBLE):
        assert np.isfinite(nothing.judged(design, 20.0))
    vars(problem)["_sample"] = nothing
    assert problem.refuses(found_by(problem))


def test_a_catalog_too_large_for_a_dense_solution_has_one_in_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {}
    for limit in (180, 40):
        monkeypatch.setattr("sif.spaces.linear.inputs.MAX_SIDE", limit)
        problem = problem_of(walks(True))
        genotype = found_by(problem)
        fit = problem.train(genotype, NullTracker(), NoCheckpoint())
        found[limit] = fit.result.valid["ndcg@10"]
        assert problem.validate(fit.network)["ndcg@10"] == pytest.approx(found[limit], abs=1e-3)
        restored = Trained.restored(problem.network(genotype), fit.state())
        np.testing.assert_array_equal(
            problem.scorer(restored.network).scores(np.arange(9)),
            problem.scorer(fit.network).scores(np.arange(9)),
        )
        items = fit.network.items
        assert items is None if limit == 180 else len(items) <= 40**2 // 60  # type: ignore[arg-type]
    assert found[40] > found[180] - 0.05 > 0.4


def test_the_test_part_changes_nothing() -> None:
    one, other = walks(True), walks(True)
    at = other.part == TEST
    other.interactions.ids[at, 1] = (other.interactions.ids[at, 1] + 7) % 60
    scores = []
    for split in (one, other):
        problem = problem_of(split)
        fit = problem.train(found_by(problem), NullTracker(), NoCheckpoint())
        scores.append(problem.scorer(fit.network).scores(np.arange(300)))
    np.testing.assert_array_equal(*scores)


def test_a_fit_takes_the_numbers_that_validation_likes_best() -> None:
    problem = problem_of(walks(True))
    genotype = found_by(problem)
    fit = problem.train(genotype, NullTracker(), NoCheckpoint())
    history = fit.result.history
    best = max(history, key=lambda entry: entry["ndcg@10"])
    assert {name: best[name] for name in problem.grids(genotype)} == {
        name: fit.numbers[name] for name in problem.grids(genotype)
    }
    assert len({entry["ahead"] for entry in history}) > 1
    chosen = problem.trained_design(genotype, fit)
    design = linear_design(chosen)
    assert (design.ahead, design.discount) == (best["ahead"], best["discount"])
    assert design.decays == linear_design(genotype).decays
    # Fitted afresh by these numbers alone, it is the same model.
    again = problem.fitted(chosen, fit.numbers)
    torch.testing.assert_close(again.weights, fit.network.weights, atol=1e-6, rtol=1e-5)


def test_what_the_stage_needs() -> None:
    split = walks(True)
    config = load_config("cf", sets=["threads=1"])
    assert isinstance(config, CFConfig)
    runtime = make_runtime("cpu", 0, 1)

    def found(part: Interactions, *sets: str) -> OrderProblem | None:
        config = load_config("cf", sets=["threads=1", *sets])
        assert isinstance(config, CFConfig)
        return order_problem(InteractionProblem(part, split.valid, config, runtime))

    assert found(split.train) is not None
    assert found(split.train, "search.stages=[operation]") is None
    assert found(split.train, "space=sif") is None
    assert found(replace(split.train, timestamp=None)) is None


def test_a_large_catalog_has_fewer_scales() -> None:
    assert [len(blocks_of(scales)) for scales in (1, 2, 3, 9)] == [3, 4, 5, 5]


def bursts(scale: PlantedScale) -> Split:
    made = planted_order(500, 60, scales=(scale,), length=16, successors=2, seed=1)
    dataset = SimpleNamespace(name="planted", interactions=made, official_parts=None, notes=[])
    return make_split(dataset, "last-item", 0)


@pytest.mark.slow
def test_the_search_finds_a_half_life_where_there_is_one() -> None:
    """Two searches, each of which judges some hundred candidates."""
    for half_life in (3600.0, None):
        scale = PlantedScale(0.9 if half_life is None else 1.0, half_life=half_life)
        problem = problem_of(bursts(scale))
        genotype = found_by(problem)
        design = linear_design(genotype)
        assert design.reads_time == (half_life is not None)
        if half_life is not None:
            found = design.decays[-1].half_life
            assert found is not None and half_life / 6 < found < half_life * 6
            assert Genotype.from_json(genotype.to_json()) == genotype


def test_a_history_at_test_knows_nothing_of_later_times() -> None:
    split = bursts(PlantedScale(1.0, half_life=3600.0))
    rows = split.interactions
    assert rows.timestamp is not None
    later = np.where(split.part == TEST, rows.timestamp * 2, rows.timestamp)
    shifted = replace(split, interactions=replace(rows, timestamp=later))
    design = Genotype(
        "order",
        {
            name: ((0, one),)
            for name, one in {
                "target": "next", "recent": "none", "middle": "0.8", "long": "0.97",
                "half-life": "3600", "discount": "0",
            }.items()
        },
    )  # fmt: skip
    found = []
    for one in (split, shifted):
        problem = problem_of(one)
        network = problem.fitted(design, {"l2": 20.0, "ahead": 0.0, "discount": 0.0})
        evaluation = problem.test(network, one)
        found.append((network.weights, evaluation))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1].metrics == found[1][1].metrics


@pytest.mark.parametrize("least", [20.0, math.inf])
def test_a_penalty_that_cannot_be_solved_for_is_passed_over(
    least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, weights = problem_of(walks(True)), OrderProblem._weights
    genotype = found_by(problem)

    def solved(self: OrderProblem, design: Genotype, numbers: Any, solver: Any) -> Any:
        if numbers["l2"] < least:
            raise DivergedError(f"l2 {numbers['l2']:g}")
        return weights(self, design, numbers, solver)

    monkeypatch.setattr(OrderProblem, "_weights", solved)
    monkeypatch.setattr(OrderProblem, "_l2", (10.0, 20.0))
    if least == math.inf:
        with pytest.raises(DivergedError, match="l2"):
            problem.train(genotype, NullTracker(), NoCheckpoint())
    else:
        fit = problem.train(genotype, NullTracker(), NoCheckpoint())
        assert fit.numbers["l2"] >= least and fit.result.valid["ndcg@10"] > 0.4
