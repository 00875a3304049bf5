from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sif.problems.batch_source
from sif.config import CFConfig
from sif.core.genotype import Genotype
from sif.data.interactions import Interactions, planted
from sif.problems.interactions import InteractionProblem
from sif.problems.objective import shares_of
from sif.spaces.interaction.batches import Drawing, PartTensors
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.losses import Batch
from sif.spaces.interaction.negatives import REDRAWS
from sif.spaces.interaction.registry import LOSSES, design_of
from sif.spaces.interaction.user_blocks import (
    MAX_ELEMENTS,
    MIN_PAIRS_PER_ITEM,
    STEPS,
    BlockStream,
    block_pairs,
)
from sif.tracking import NullTracker
from sif.utils.device import Runtime
from tests.doubles import OneState

ITEMS = 12
EXACT = Runtime(torch.device("cpu"), torch.float64, 1, 0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def part() -> PartTensors:
    """Nine users: 3 and 8 without a pair, 5 with every item, the others with a few."""
    draws = generator(4)
    few = [0, 1, 2, 4, 6, 7]
    cells = [(5, item) for item in range(ITEMS)]
    cells += [
        (user, item) for user in few for item in torch.randperm(ITEMS, generator=draws)[:3].tolist()
    ]
    order = torch.randperm(len(cells), generator=draws)
    ids = torch.tensor(cells)[order]
    target = ids[:, 0] * 100.0 + ids[:, 1]
    return PartTensors(ids, target, (9, ITEMS), -target)


def pairs_of(batch: Batch) -> list[tuple[int, int]]:
    assert batch.rows is not None
    return list(zip(batch.rows[batch.ids[:, 0]].tolist(), batch.ids[:, 1].tolist(), strict=True))


@pytest.mark.parametrize("pairs", [1, 5, 9, 100])
@pytest.mark.parametrize("seed", range(4))
def test_a_pass_holds_every_user_and_every_pair_once(pairs: int, seed: int) -> None:
    stream = BlockStream(part(), pairs, Drawing(), generator(seed))
    for _ in range(3):
        batches = [stream.next() for _ in range(stream.steps_per_pass)]
        users = [user for b in batches for user in b.rows.tolist()]  # type: ignore[union-attr]
        assert sorted(users) == list(range(9))
        found = [pair for b in batches for pair in pairs_of(b)]
        assert sorted(found) == sorted(map(tuple, part().ids.tolist()))
        for batch in batches:
            assert len(batch.ids) > 0
            assert batch.rows is not None
            assert (batch.rows.diff() > 0).all()
            assert batch.target.tolist() == [100.0 * u + i for u, i in pairs_of(batch)]
            assert batch.age is not None and torch.equal(batch.age, -batch.target)
            on_graph = batch.age_on_graph()
            assert on_graph is not None and torch.equal(on_graph, batch.age)
            graph = batch.graph
            assert graph is not None
            assert torch.equal(torch.stack([graph.rows, graph.columns], 1).long(), batch.ids)
            by_column = graph.columns[graph.transposed]
            assert (by_column.diff() >= 0).all()
            assert graph.row_start.tolist() == [
                int((batch.ids[:, 0] < row).sum()) for row in range(len(batch.rows) + 1)
            ]
    if pairs == 100:
        assert stream.steps_per_pass == 1


def test_blocks_have_nearly_equal_numbers_of_pairs_and_change_order() -> None:
    draws = generator(1)
    ids = torch.stack([torch.arange(3000) // 10, torch.randint(40, (3000,), generator=draws)], 1)
    stream = BlockStream(PartTensors(ids, torch.ones(3000), (300, 40)), 500, Drawing(), draws)
    assert stream.steps_per_pass == 6
    passes = [[stream.next() for _ in range(6)] for _ in range(2)]
    sizes = [len(batch.ids) for batch in passes[0]]
    assert max(sizes) - min(sizes) <= 20  # two users
    first = [[int(b.rows[0]) for b in batches] for batches in passes]  # type: ignore[index]
    assert first[0] != first[1]
    assert sorted(first[0]) == sorted(first[1])


@pytest.mark.parametrize("taken", [0, 1, 4, 7])
def test_a_resumed_stream_draws_the_same(taken: int) -> None:
    def make() -> BlockStream:
        return BlockStream(part(), 5, Drawing(2, 3), generator())

    stream = make()
    for _ in range(taken):
        stream.next()
    state = copy.deepcopy(stream.state_dict())
    expected = [stream.next() for _ in range(9)]
    other = make()
    other.next()
    other.load_state_dict(state)
    names = ("ids", "target", "negatives", "background", "background_weight", "rows")
    for batch in expected:
        found = other.next()
        assert all(torch.equal(getattr(batch, n), getattr(found, n)) for n in names)


def test_what_a_block_draws() -> None:
    stream = BlockStream(part(), 6, Drawing(3, 2), generator())
    observed = set(map(tuple, part().ids.tolist()))
    unlucky = drawn = 0
    counts = torch.zeros(9, ITEMS)
    for _ in range(200):
        batch = stream.next()
        assert batch.rows is not None
        assert int(batch.background[:, 0].max()) < len(batch.rows)
        total = len(batch.rows) * ITEMS / len(batch.ids)
        assert float(batch.background_weight.sum()) == pytest.approx(total)
        rows = zip(pairs_of(batch), batch.negatives.tolist(), strict=True)
        free = [(user, item) for (user, _), items in rows for item in items if user != 5]
        unlucky += sum(pair in observed for pair in free)
        drawn += len(free)
        for user, item in free:
            counts[user, item] += 1
    assert unlucky < 3 * (3 / ITEMS) ** (REDRAWS + 1) * drawn + 10
    few = counts[counts > 20]
    assert len(few) == 6 * (ITEMS - 3)


def test_how_large_blocks_are() -> None:
    assert block_pairs(64_000_000, 1000) == 64_000_000 // STEPS
    assert block_pairs(16_000_000, 20_000) == MIN_PAIRS_PER_ITEM * 20_000
    assert block_pairs(64_000_000, 1000, gathered=3 * 128) == MAX_ELEMENTS // (3 * 128)
    assert block_pairs(10, 1) == MIN_PAIRS_PER_ITEM


FUNCTIONS = {
    name: Genotype(
        "primitives", {"operation": ((0, name),), "user": ((0, "~sqrt"),), "item": ((0, "+abs"),)}
    )
    for name in ("multiply", "concat", "max")
}


def parts(kind: str) -> tuple[Interactions, Interactions]:
    data, _ = planted(30, 20, density=0.3, seed=1, kind=kind)  # type: ignore[arg-type]
    order = np.random.default_rng(1).permutation(len(data))
    return data.select(order[40:]), data.select(order[:40])


def problem(objective: str = "ranking", **train: Any) -> InteractionProblem:
    settings: dict[str, Any] = {"dimension": 4, "block_pairs": 30, "epochs": 4, "l2": (2.0,)}
    config = CFConfig(
        objective=objective,  # type: ignore[arg-type]
        space="primitives",
        model={"biases": True, "init": 0.5},  # type: ignore[arg-type]
        train={**settings, **train},  # type: ignore[arg-type]
    )
    return InteractionProblem(
        *parts("ratings" if objective == "rating" else "clicks"), config, EXACT
    )


def gradients(net: InteractionNetwork) -> list[Tensor]:
    found = [p.grad for p in net.parameters() if p.grad is not None]
    return [g.to_dense() if g.is_sparse else g for g in found]


@pytest.mark.parametrize(
    ("objective", "name"),
    [*itertools.product(["rating"], FUNCTIONS), ("ranking", "multiply"), ("ranking", "concat")],
)
def test_the_blocks_losses_and_gradients_sum_to_the_whole(objective: str, name: str) -> None:
    found = problem(objective)
    net = InteractionNetwork(
        design_of(FUNCTIONS[name], found.fields), found.shape(4), generator()
    ).double()
    loss, strengths = LOSSES[found.loss_name], found.strengths(2.0)
    whole = found.stream("train", None, "x").next()
    value = loss(net.interaction(), whole, found.loss_settings) + net.tables.squared_norm(strengths)
    value.backward()
    expected = gradients(net)
    net.zero_grad()
    stream = found.blocks(name != "max", "x")
    assert stream is not None
    assert stream.steps_per_pass > 3
    total = 0.0
    for _ in range(stream.steps_per_pass):
        batch = stream.next()
        interaction = net.interaction(batch.rows)
        data = loss(interaction, batch, found.loss_settings)
        shares = shares_of(strengths, batch, len(found.train_part))
        penalty = interaction.tables.squared_norm(shares)
        share = (data + penalty) * (len(batch.ids) / len(found.train_part))
        share.backward()
        total += float(share.detach())
    assert total == pytest.approx(float(value.detach()), rel=1e-11)
    for one, other in zip(gradients(net), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_small_data_comes_whole_and_large_data_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problem(block_pairs=None).blocks(True, "x") is None
    monkeypatch.setattr(sif.problems.batch_source, "MAX_EXACT", 50)
    stream = problem(block_pairs=None).blocks(True, "x")
    assert stream is not None
    assert stream.next().background.shape[0] == 0
    sampled = problem(block_pairs=None).blocks(False, "x")
    assert sampled is not None
    assert len(sampled.next().background) > 0


@pytest.mark.parametrize("objective", ["ranking", "rating"])
@pytest.mark.parametrize("name", ["multiply", "max"])
def test_training_in_blocks_learns_and_resumes_to_the_same_weights(
    objective: str, name: str
) -> None:
    def run(keeper: OneState) -> Any:
        found = problem(objective, epochs=14, patience=14, evaluate_every=2)
        return found.train(FUNCTIONS[name], NullTracker(), keeper, l2=1.0)

    keeper = OneState(3)
    whole = run(keeper)
    again = run(OneState(0, keeper.kept))
    ours, theirs = whole.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    losses = [entry["loss"] for entry in whole.result.history]
    assert losses[-1] < 0.9 * losses[0]


def test_validation_on_some_users_and_a_search_on_some_interactions() -> None:
    every, some = problem(), problem(valid_users=7)
    design = design_of(FUNCTIONS["multiply"], every.fields)
    net = InteractionNetwork(design, every.shape(4), generator()).double()
    history, truth = some._judged
    users = set(truth.ids[:, 0].tolist())
    assert len(users) == 7
    assert set(history.ids[:, 0].tolist()) <= users
    assert some.validate(net)["ndcg@10"] != every.validate(net)["ndcg@10"]
    config = every.config.model_copy(
        update={"search": every.config.search.model_copy(
            update={"max_interactions": 60, "epochs": 2, "dimension": 2})}
    )  # fmt: skip
    smaller = InteractionProblem(every.train_part, every.valid_part, config, EXACT)

    class Nothing:
        def restore(self) -> None:
            return None

        def offer(self, state: object) -> None:
            return None

    result = smaller.search(NullTracker(), Nothing())
    assert set(result.genotype.blocks) == {"operation", "user", "item"}


def staged(weighting: str, *encodings: str) -> Genotype:
    return Genotype(
        "staged",
        {
            "encoding": tuple(enumerate(encodings)),
            "embedding": ((0, "identity"),),
            "operation": ((0, "multiply"),),
            "weighting": ((0, weighting),),
        },
    )


@pytest.mark.parametrize("objective", ["ranking", "rating"])
def test_weights_of_users_follow_them_into_their_blocks(objective: str) -> None:
    """Weighted losses of the blocks sum to that of the whole."""
    found = problem(objective)
    design = design_of(staged("both", "id", "id"), found.fields)
    net = InteractionNetwork(design, found.shape(4), generator()).double()
    loss, weighting = LOSSES[found.loss_name], found.weighting("both")
    assert weighting is not None

    def weighted(batch: Batch) -> float:
        settings = replace(found.loss_settings, weighting=weighting.within(batch.rows))
        return float(loss(net.interaction(batch.rows), batch, settings).detach())

    stream = found.blocks(True, "x")
    assert stream is not None
    batches = [stream.next() for _ in range(stream.steps_per_pass)]
    total = sum(weighted(b) * len(b.ids) / len(found.train_part) for b in batches)
    assert total == pytest.approx(weighted(found.stream("train", None, "x").next()), rel=1e-10)


@pytest.mark.parametrize("encodings", [("id", "id"), ("history", "both")])
def test_rich_designs_train_where_blocks_are_asked_for(encodings: tuple[str, str]) -> None:
    """Weighted ones in blocks; those that need whole histories without."""
    config = problem(epochs=6, patience=6, evaluate_every=2).config
    found = InteractionProblem(
        *parts("clicks"), config.model_copy(update={"space": "staged"}), EXACT
    )

    class Nothing:
        def restore(self) -> None:
            return None

        def offer(self, state: object) -> None:
            return None

    fitted = found.train(staged("users", *encodings), NullTracker(), Nothing(), l2=1.0)
    losses = [entry["loss"] for entry in fitted.result.history]
    assert losses[-1] < losses[0]
    assert fitted.result.valid["ndcg@10"] > 0
