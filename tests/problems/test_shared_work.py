"""Work that several processes share against that of one, number for number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from sif.config import CFConfig
from sif.core.genotype import Genotype
from sif.data.features import Features
from sif.data.interactions import Interactions, planted
from sif.errors import NotNumberError
from sif.evaluation.evaluate import rank_all_items
from sif.problems.interactions import InteractionProblem
from sif.spaces.closed import clicks
from sif.spaces.closed.clicks import Clicks
from sif.spaces.closed.item_item import ItemItem
from sif.spaces.linear import gram
from sif.spaces.linear.gram import Products
from sif.spaces.linear.sequences import Decay, Sequences
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import Runtime
from sif.utils.ranks import ALONE, Ranks

OnRanks = Callable[..., list[Any]]
STEPS = 20
pytestmark = pytest.mark.slow


def problem(ranks: Ranks, objective: str = "ranking", **train: Any) -> InteractionProblem:
    kind: Any = "ratings" if objective == "rating" else "clicks"
    data, _ = planted(30, 20, density=0.3, seed=1, kind=kind)
    order = np.random.default_rng(1).permutation(len(data))
    loss, described = train.pop("loss", None), train.pop("described", False)
    if described:
        data = replace(data, item_features=kinds(data, 1), user_features=kinds(data, 0))
    settings = {"dimension": 4, "epochs": 4, "l2": (2.0,), **train}
    search: Any = {"dimension": 3, "epochs": 5, "arch_every": 2, "batch_size": 40,
                   "stages": ("encoding", "embedding", "operation", "weighting")}  # fmt: skip
    further: dict[str, Any] = {"loss": {"name": loss}} if loss else {}
    config = CFConfig(
        objective=objective,  # type: ignore[arg-type]
        space="staged",
        model={"init": 0.5},  # type: ignore[arg-type]
        search=search,
        train=settings,  # type: ignore[arg-type]
        **further,
    )
    runtime = Runtime(torch.device("cpu"), torch.float64, 1, 0, processes=ranks.count)
    return InteractionProblem(data.select(order[40:]), data.select(order[:40]), config, runtime)


def kinds(data: Interactions, field: int) -> Features:
    """Four kinds of users or items, each with about as many."""
    ids = data.vocabularies[field].ids
    return Features.of(pd.DataFrame({"kind": [f"k{n % 4}" for n in range(len(ids))]}), ids)


def staged(
    operation: str, user: str, item: str, embedding: str = "identity", **further: str
) -> Genotype:
    blocks = {
        "encoding": ((0, user), (1, item)), "embedding": ((0, embedding),),
        "operation": ((0, operation),), "weighting": ((0, "even"),),
    }  # fmt: skip
    return Genotype("staged", blocks | {name: ((0, one),) for name, one in further.items()})


TRAININGS: dict[str, tuple[Genotype, dict[str, Any]]] = {
    "history of users": (staged("multiply", "history", "id"), {}),
    "graph of both": (staged("concat", "both", "both", "graph"), {}),
    "maxima in batches": (staged("max", "both", "history"), {"batch_size": 50}),
    "ratings": (staged("multiply", "both", "both"), {"objective": "rating", "batch_size": 50}),
    "products by blocks": (staged("multiply", "id", "id"), {"block_pairs": 30}),
    "blocks of a few pairs": (staged("multiply", "id", "id"), {"block_pairs": 5}),
    "maxima by blocks": (staged("max", "id", "id"), {"block_pairs": 30}),
    "histories by blocks": (staged("multiply", "both", "id"), {"block_pairs": 30}),
    "softmax by blocks": (staged("multiply", "id", "id"), {"block_pairs": 40, "loss": "softmax"}),
    "pairwise by blocks": (staged("plus", "id", "id"), {"block_pairs": 40, "loss": "bpr"}),
    "features by blocks": (
        staged("multiply", "id", "id", features="added"),
        {"block_pairs": 30, "described": True},
    ),
    "features and histories": (
        staged("multiply", "both", "id", "graph", features="added"),
        {"described": True},
    ),
    "rated by blocks": (staged("min", "id", "id"), {"block_pairs": 30, "objective": "rating"}),
}


def losses(ranks: Ranks, name: str) -> tuple[list[float], dict[str, Any]]:
    """Of 20 steps of a training, and the weights after them."""
    genotype, settings = TRAININGS[name]
    found = problem(ranks, **settings)
    net, objective, stream, loop = found._training(genotype, 2.0)
    optimizer = loop.make_optimizer([p for p in net.parameters() if p.requires_grad], 0.05)
    values = []
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        loss = objective(stream.next())
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    if loop.apart is not None:
        loop.apart.gather(optimizer)
    return values, {key: value.numpy() for key, value in net.state_dict().items()}


def all_losses(ranks: Ranks) -> dict[str, tuple[list[float], dict[str, Any]]]:
    return {name: losses(ranks, name) for name in TRAININGS}


@pytest.mark.parametrize("count", [2, 3])
def test_twenty_steps_have_the_losses_of_one_process(count: int, on_ranks: OnRanks) -> None:
    expected = all_losses(ALONE)
    for results in on_ranks(count, all_losses):
        for name, (values, found) in results.items():
            same, weights = expected[name]
            assert same[-1] < same[0]
            np.testing.assert_allclose(values, same, rtol=1e-10, err_msg=name)
            for key, value in found.items():
                told = f"{name}: {key}"
                np.testing.assert_allclose(value, weights[key], 1e-6, 1e-9, err_msg=told)


def trained(ranks: Ranks, name: str) -> tuple[dict[str, float], str]:
    genotype, settings = TRAININGS[name]
    found = problem(ranks, **settings)
    network = found.train(genotype, NullTracker(), NoCheckpoint())
    searched = found.search(NullTracker(), NoCheckpoint())
    history = [[entry["loss"], *entry["selection"]["operation"]] for entry in searched.history]
    return network.result.valid, f"{searched.genotype.blocks} {np.round(history, 7).tolist()}"


def test_validation_and_search_are_those_of_one_process(on_ranks: OnRanks) -> None:
    valid, searched = trained(ALONE, "products by blocks")
    for found, history in on_ranks(3, trained, "products by blocks"):
        assert found == pytest.approx(valid, rel=1e-9)
        assert history == searched


def solved(ranks: Ranks) -> dict[str, Any]:
    clicks.COLUMNS, clicks.EXACT_SIDE, gram.CHUNK = 7, 5, 40
    draws = np.random.default_rng(3)
    pairs = sp.csr_matrix((draws.random((40, 30)) < 0.2).astype(np.float32))
    found = Clicks(pairs, seed=0)
    users, items = pairs.nonzero()
    sequences = Sequences.of(users, items, pairs.shape)
    decays = [Decay(0.6, 4), Decay(0.9, None)]
    normal = Products(sequences).normal(decays, ahead=0.3)
    some = Products(sequences, items=np.arange(0, 30, 2))
    weights = ItemItem(l2=2.0, user=0.3, item=0.2).weights(found).dense
    return {
        "gram": found.gram(0.3).numpy(),
        "products": found.products(np.arange(9), 0.1, 0.2).toarray(),
        "spectrum": found.spectrum(0.2, 0.3, 4)[1], "weights": weights,
        "order": normal.gram.numpy(), "cross": normal.cross.numpy(),
        "rest": some.rest(decays, 3.0, 0.3).toarray(),
    }  # fmt: skip


@pytest.mark.parametrize("count", [2, 3])
def test_closed_forms_are_those_of_one_process(
    count: int, on_ranks: OnRanks, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((clicks, "COLUMNS"), (clicks, "EXACT_SIDE"), (gram, "CHUNK")):
        monkeypatch.setattr(module, name, getattr(module, name))  # `solved` changes them
    expected = solved(ALONE)
    for found in on_ranks(count, solved):
        for key, value in found.items():
            np.testing.assert_allclose(value, expected[key], rtol=1e-6, atol=1e-6, err_msg=key)


class Scores:
    def __init__(self, number: int) -> None:
        self.wrong, self.asked = number == 1, 0

    def scores(self, users: Any) -> Any:
        self.asked += len(users)
        found = np.random.default_rng(0).random((30, 20), dtype=np.float32)[users]
        return np.where(self.wrong, np.nan, found)


def ranked(ranks: Ranks, fails: bool) -> tuple[Any, ...]:
    found = problem(ranks)
    scorer = Scores(ranks.number if fails else 0)
    history, truth = found.train_part, found.valid_part
    try:
        result = rank_all_items(scorer, (history,), truth, chunk=4)
    except NotNumberError as error:
        return str(error), scorer.asked
    return result.metrics, result.per_user["ndcg@10"].tolist(), scorer.asked


def test_each_process_ranks_for_some_users(on_ranks: OnRanks) -> None:
    metrics, per_user, asked = ranked(ALONE, False)
    results = on_ranks(2, ranked, False)
    assert [found[:2] for found in results] == [(metrics, per_user)] * 2
    assert sum(found[2] for found in results) == asked
    assert min(found[2] for found in results) > 0


def test_a_score_that_is_no_number_ends_the_ranking_of_all(on_ranks: OnRanks) -> None:
    told = {found[0] for found in on_ranks(2, ranked, True)}
    assert len(told) == 1
    assert "expected numbers, found NaN" in told.pop()
