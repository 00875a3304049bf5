"""Searches and trainings in blocks of users against those in memory, number for number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from sif.config import CFConfig
from sif.core.genotype import Genotype
from sif.data.interactions import Interactions, planted
from sif.errors import ConfigError
from sif.problems.history_blocks import BlockPlan, StepSize, gathered_numbers
from sif.problems.interactions import InteractionProblem
from sif.recommender.model import ServedModel
from sif.spaces.interaction.block_loss import network_loss
from sif.spaces.interaction.registry import LOSSES
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import Runtime
from tests.doubles import OneState

EXACT = Runtime(torch.device("cpu"), torch.float64, 1, 0)
ONE_BLOCK, FEW_USERS = 1 << 32, 1 << 14


def parts(kind: str) -> tuple[Interactions, Interactions]:
    data, _ = planted(30, 20, density=0.3, seed=1, kind=kind)  # type: ignore[arg-type]
    order = np.random.default_rng(1).permutation(len(data))
    return data.select(order[40:]), data.select(order[:40])


def problem(
    objective: str = "ranking", block_bytes: int = ONE_BLOCK, runtime: Runtime = EXACT,
    search: Mapping[str, Any] | None = None, method: str = "nasp", **train: Any,
) -> InteractionProblem:  # fmt: skip
    settings: dict[str, Any] = {"dimension": 4, "epochs": 4, "l2": (2.0,), "evaluate_every": 2}
    searched = {"dimension": 3, "epochs": 3, "arch_every": 3, "batch_size": 40}
    config = CFConfig(
        objective=objective,  # type: ignore[arg-type]
        space="staged",
        method=method,
        model={"init": 0.5},  # type: ignore[arg-type]
        search={**searched, **(search or {})},  # type: ignore[arg-type]
        train={**settings, "block_bytes": block_bytes, **train},  # type: ignore[arg-type]
    )
    return InteractionProblem(
        *parts("ratings" if objective == "rating" else "clicks"), config, runtime
    )


def staged(operation: str, user: str, item: str, embedding: str = "identity") -> Genotype:
    return Genotype(
        "staged",
        {
            "encoding": ((0, user), (1, item)),
            "embedding": ((0, embedding),),
            "operation": ((0, operation),),
            "weighting": ((0, "even"),),
        },
    )


FUNCTIONS = {
    "history of users": staged("multiply", "history", "id"),
    "both of both": staged("multiply", "both", "both"),
    "graph of histories": staged("concat", "history", "history", "graph"),
    "maxima": staged("max", "both", "history"),
}


@pytest.mark.parametrize("most", [0, (1 << 10) - 1, -5, (1 << 50) + 1, 2.5, "many", None])
def test_the_setting_has_bounds(most: Any) -> None:
    with pytest.raises(ConfigError, match="block_bytes"):
        CFConfig(train={"block_bytes": most})  # type: ignore[arg-type]
    assert CFConfig(train={"block_bytes": 1 << 10}).train.block_bytes == 1024  # type: ignore[arg-type]


def test_the_estimate_is_that_of_the_largest_block_and_within_the_setting() -> None:
    counts = torch.tensor([5, 5, 0, 5, 5, 5])
    steps = [StepSize(2, 1, 8), StepSize(25, 2, 4)]
    # 25 pairs of 18 vectors of 4 numbers, 8 vectors of 8 per user.
    assert gathered_numbers(2, 4) == 18 * 4
    pair, user = 8 * 18 * 4, 8 * 8 * 8
    plan = BlockPlan(counts, steps, 8, 2 * (5 * pair + user) + user)
    assert plan.bounds == [0, 3, 5, 6]
    assert plan.bytes == 2 * (5 * pair + user) + user
    told = "25 interactions in 3 blocks of users, about 7.1 kB at most for a step over one"
    assert plan.told == told
    # Products alone need a few numbers per pair, however small the batch.
    assert BlockPlan(counts, [StepSize(1, 0, 1)], 4, 1 << 30).bytes == 25 * 4 * 26 + 6 * 4 * 8


def test_common_sizes_stay_in_one_block_by_default() -> None:
    """MovieLens 1M under the three presets of rows, users and dimensions."""
    counts = torch.full((6040,), 900_188 // 6040 + 1)
    rows, most = int(counts.sum()), CFConfig().train.block_bytes
    for step in (StepSize(rows, 2, 32), StepSize(2048, 2, 128), StepSize(rows, 0, 64)):
        assert BlockPlan(counts, [step], 4, most).blocks == 1
    large = BlockPlan(counts.repeat(20), [StepSize(20 * rows, 2, 64)], 4, most)
    assert large.blocks > 10
    assert large.bytes <= most


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("objective", "batch_size"), [("ranking", None), ("rating", 50)])
def test_training_has_the_numbers_of_one_in_memory(
    name: str, objective: str, batch_size: int | None
) -> None:
    results = []
    for most in (ONE_BLOCK, FEW_USERS):
        found = problem(objective, most, batch_size=batch_size)
        blocks = found.histories.blocks
        assert (blocks is None) == (most == ONE_BLOCK)
        assert blocks is None or len(blocks) > 2
        results.append(found.train(FUNCTIONS[name], NullTracker(), NoCheckpoint()))
    whole, blocked = results
    for one, other in zip(whole.result.history, blocked.result.history, strict=True):
        times = {"seconds": 0}
        assert {**one, **times} == pytest.approx({**other, **times}, rel=1e-9)
    ours, theirs = blocked.network.state_dict(), whole.network.state_dict()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("objective", ["ranking", "rating"])
@pytest.mark.parametrize("method", ["nasp", "random"])
def test_a_search_has_the_numbers_of_one_in_memory(objective: str, method: str) -> None:
    results = []
    for most in (ONE_BLOCK, FEW_USERS):
        stages = ("encoding", "embedding", "operation", "weighting")
        found = problem(objective, most, search={"stages": stages}, method=method)
        results.append(found.search(NullTracker(), NoCheckpoint()))
    whole, blocked = results
    assert whole.genotype.blocks == blocked.genotype.blocks
    for one, other in zip(whole.history, blocked.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-8)
        assert one["judged"] == pytest.approx(other["judged"], rel=1e-8)


@pytest.mark.parametrize(("name", "block_pairs"), [("maxima", None), ("history of users", 30)])
def test_a_resumed_training_in_blocks_is_the_uninterrupted_one(
    name: str, block_pairs: int | None
) -> None:
    def run(keeper: OneState) -> Any:
        found = problem(
            "ranking", FEW_USERS, epochs=12, patience=12, block_pairs=block_pairs, batch_size=60
        )
        return found.train(FUNCTIONS[name], NullTracker(), keeper, l2=1.0)

    keeper = OneState(3)
    whole = run(keeper)
    again = run(OneState(0, keeper.kept))
    ours, theirs = whole.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    losses = [entry["loss"] for entry in whole.result.history]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("objective", ["ranking", "rating"])
def test_steps_over_some_users_sum_to_the_whole(objective: str) -> None:
    """Where items are looked up, a block of users has all that its loss needs."""
    found = problem(objective, block_pairs=30)
    genotype = staged("multiply", "both", "id")
    net, objective_of, stream, _ = found._training(genotype, 2.0)
    assert stream.steps_per_pass > 3
    total, n = 0.0, len(found.train_part)
    for _ in range(stream.steps_per_pass):
        batch = stream.next()
        share = objective_of(batch) * (len(batch.ids) / n)
        share.backward()
        total += float(share.detach())
    found_gradients = [p.grad for p in net.parameters()]
    net.zero_grad()
    whole = found.stream("train", None, "x", encodes=True).next()
    loss = LOSSES[found.loss_name]
    tables, value = network_loss(net, whole, loss, found.loss_settings)
    value = value + tables.squared_norm(found.strengths(2.0))
    value.backward()
    assert total == pytest.approx(float(value.detach()), rel=1e-11)
    for one, other in zip(found_gradients, [p.grad for p in net.parameters()], strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one.to_dense(), other, rtol=1e-9, atol=1e-12)


def test_large_parts_are_exact_whatever_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items' histories need all users in a step, users' histories only some."""
    small, exact = problem(batch_size=50), FUNCTIONS["both of both"]
    assert small._training(exact, 1.0)[2].steps_per_pass == 3
    monkeypatch.setattr("sif.problems.batch_source.MAX_EXACT", 100)
    monkeypatch.setattr("sif.spaces.interaction.user_blocks.MIN_PAIRS_PER_ITEM", 1)
    monkeypatch.setattr("sif.spaces.interaction.user_blocks.STEPS", 4)
    large = problem(block_bytes=FEW_USERS, batch_size=50)
    stream = large._training(exact, 1.0)[2]
    assert stream.steps_per_pass == 1
    batch = stream.next()
    assert batch.blocks is not None and batch.graph is None
    assert len(batch.background) == 0  # which nothing would read
    gathered = large._training(FUNCTIONS["maxima"], 1.0)[2].next()
    assert gathered.draw is not None and len(gathered.background) == 0
    assert len(gathered.draw(0).background) > 0  # a block at a time
    of_users = large._training(FUNCTIONS["history of users"], 1.0)[2]
    assert of_users.steps_per_pass > 1
    assert of_users.next().rows is not None


def test_folding_in_and_serving_are_the_same(tmp_path: Path) -> None:
    genotype = FUNCTIONS["graph of histories"]
    models = []
    for most in (ONE_BLOCK, FEW_USERS):
        found = problem("ranking", most, replace(EXACT, dtype=torch.float32))
        trained = found.train(genotype, NullTracker(), NoCheckpoint())
        model = ServedModel.of(found, genotype, trained.network, 2.0, found.train_part)
        models.append(ServedModel.load(model.save(tmp_path / str(most)).parent))
    pairs = sparse.csr_array(np.eye(3, 20, dtype=np.float32) + np.eye(3, 20, 5, dtype=np.float32))
    users = np.arange(30)
    one, other = models
    np.testing.assert_allclose(
        one.scorer.scores(users), other.scorer.scores(users), rtol=1e-5, atol=1e-6
    )
    for field, rows in ((0, pairs), (1, sparse.csr_array(np.eye(2, 30, dtype=np.float32)))):
        ours, theirs = (model.fold(field).vectors(rows).vectors for model in models)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
