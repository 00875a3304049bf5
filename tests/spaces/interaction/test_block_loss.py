"""Losses over blocks of users against the same losses over all users at once."""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.probe import gate_gradient
from sif.core.selections import Selections
from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.block_loss import Units, block_sum, network_loss
from sif.spaces.interaction.encoders import Histories
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.losses import Batch, LossSettings
from sif.spaces.interaction.pair_blocks import PairBlocks, cut
from sif.spaces.interaction.registry import LOSSES, design_of
from sif.testing.interactions import FIELDS, SIZES, InteractionCase, toy_part
from sif.testing.losses import toy_scores
from sif.testing.spaces import F64

ROWS = 17
ENCODINGS = ("id", "history", "both")
HISTORIES = [
    (encodings, embedding)
    for encodings in itertools.product(ENCODINGS, repeat=2)
    for embedding in ("identity", "graph")
    if (encodings, embedding) != (("id", "id"), "identity")
]
SIZE_OF_BLOCKS = {"a user each": 1, "some users": 7}
"""Pairs of a block; the second leaves the last one smaller."""


def train_part(loss: str) -> PartTensors:
    """Toy data where every user has two pairs, or none.

    Without its only pair a vector is 0 but for rounding, which scaling to length 1 would show.
    """
    part = toy_part("train", LOSSES[loss])
    many = torch.bincount(part.ids[:, 0])[part.ids[:, 0]] > 1
    age = None if part.age is None else part.age[many]
    return replace(part, ids=part.ids[many], target=part.target[many], age=age)


def blocks_of(loss: str, pairs: int) -> PairBlocks:
    part = train_part(loss)
    counts = torch.bincount(part.ids[:, 0], minlength=SIZES[0])
    found = PairBlocks(part.ids, part.target, part.age, SIZES[:2], cut(counts, 1, 0, pairs))
    sizes = [len(block) for block in found.blocks]
    assert len(sizes) > 2
    assert len(set(sizes)) > 1
    return found


def both_histories(loss: str, pairs: int) -> tuple[Histories, Histories]:
    """As a whole and in blocks."""
    graph, like = train_part(loss).graph(), torch.zeros((), dtype=F64)
    assert graph is not None
    return Histories(graph, like, 0.6), Histories(blocks_of(loss, pairs), like, 0.6)


def staged(operation: str, encodings: Sequence[str], embedding: str, unit: bool) -> Genotype:
    blocks = {
        "encoding": tuple(enumerate(encodings)), "embedding": ((0, embedding),),
        "operation": ((0, operation),), "weighting": ((0, "both"),),
    }  # fmt: skip
    if unit:
        blocks["similarity"] = ((0, "cosine"),)
    return Genotype("staged", blocks)


def batch_of(loss: str, rows: int, exact: bool, blocks: PairBlocks | None) -> Batch:
    kind = LOSSES[loss]
    shared = 4 if kind.shared else 0
    drawing = Drawing(2 if kind.negatives else 0, 3 if kind.background else 0, shared)
    draws = torch.Generator().manual_seed(3)
    part = train_part(loss)
    return InteractionStream(part, rows, drawing, draws, exact=exact, blocks=blocks).next()


def settings_of(loss: str) -> LossSettings:
    case = InteractionCase("staged", loss)
    return replace(case.numbers, weighting=case.context().weightings["both"])


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in module.named_parameters()}


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for name, one in ours.items():
        other = theirs[name]
        assert (one is None) == (other is None), name
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("pairs", SIZE_OF_BLOCKS.values(), ids=SIZE_OF_BLOCKS)
@pytest.mark.parametrize(("encodings", "embedding"), HISTORIES)
def test_loss_gradients_and_scores_of_networks(
    encodings: tuple[str, str], embedding: str, pairs: int
) -> None:
    """Products by the exact loss, others by drawn rows, which some blocks have none of."""
    loss, every = "whole-data", torch.cartesian_prod(*map(torch.arange, SIZES[:2]))
    ones = [torch.ones(n, dtype=F64) for n in SIZES[:2]]
    cases = (("multiply", False, ROWS, True), ("max", False, 4, True), ("multiply", True, 4, False))
    for operation, unit, rows, exact in cases:
        design = design_of(staged(operation, encodings, embedding, unit), FIELDS[:2])
        found = []
        for histories in both_histories(loss, pairs):
            draws = torch.Generator().manual_seed(1)
            shape = InteractionCase("staged", loss).shape()
            net = InteractionNetwork(design, shape, draws, histories).double()
            batch = batch_of(loss, rows, exact, histories.blocks)
            tables, value = network_loss(net, batch, LOSSES[loss], settings_of(loss))
            (value + tables.squared_norm(ones)).backward()
            scores = {"pairs": net(every).detach(), "served": net.precomputed()(every).detach()}
            found.append({"loss": value.detach(), **scores, **gradients(net)})
        assert_same(*found)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss(loss: str) -> None:
    for operation in ("multiply", "min"):
        design = design_of(staged(operation, ("both", "history"), "graph", False), FIELDS[:2])
        found = []
        for histories in both_histories(loss, 4):
            draws = torch.Generator().manual_seed(1)
            shape = InteractionCase("staged", loss).shape()
            net = InteractionNetwork(design, shape, draws, histories).double()
            batch = batch_of(loss, 9, LOSSES[loss].graph, histories.blocks)
            value = network_loss(net, batch, LOSSES[loss], settings_of(loss))[1]
            value.backward()
            found.append({"loss": value.detach(), **gradients(net)})
        assert_same(*found)


def drawn_at_once(batch: Batch, blocks: PairBlocks) -> Batch:
    """A batch that is drawn a block at a time, with all that its blocks draw."""
    assert batch.draw is not None
    parts: dict[str, list[Tensor]] = {}
    for number, block in enumerate(blocks.blocks):
        own = batch.draw(number)
        first = torch.tensor([block.first, 0])
        found = {
            "ids": own.ids + first, "target": own.target, "negatives": own.negatives,
            "background": own.background + first, "age": own.age,
            "background_weight": own.background_weight * (len(block) / blocks.pairs),
        }  # fmt: skip
        for name, values in found.items():
            if values is not None:
                parts.setdefault(name, []).append(values)
    joined: dict[str, Any] = {name: torch.cat(values) for name, values in parts.items()}
    return Batch(**joined, blocks=batch.blocks, in_history=batch.in_history)


@pytest.mark.parametrize("operation", ["multiply", "min"])
@pytest.mark.parametrize("loss", sorted(name for name, kind in LOSSES.items() if not kind.shared))
def test_draws_of_a_block_at_a_time_are_those_of_all_blocks(loss: str, operation: str) -> None:
    design = design_of(staged(operation, ("both", "history"), "identity", False), FIELDS[:2])
    kind, part, found = LOSSES[loss], train_part(loss), []
    histories = both_histories(loss, 7)[1]
    assert histories.blocks is not None
    drawing = Drawing(2 if kind.negatives else 0, 3 if kind.background else 0)
    stream = InteractionStream(
        part, len(part.ids), drawing, torch.Generator().manual_seed(3),
        exact=kind.graph, blocks=histories.blocks, by_block=histories.blocks,
    )  # fmt: skip
    batch, other = stream.next(), stream.next()
    for given in (batch, drawn_at_once(batch, histories.blocks), other):
        shape = InteractionCase("staged", loss).shape()
        net = InteractionNetwork(
            design, shape, torch.Generator().manual_seed(1), histories
        ).double()
        value = network_loss(net, given, kind, settings_of(loss))[1]
        value.backward()
        found.append({"loss": value.detach(), **gradients(net)})
    assert_same(*found[:2])
    draws = (kind.negatives or kind.background) and not (kind.graph and operation == "multiply")
    assert (found[0]["loss"] != found[2]["loss"]) == bool(draws)


def spaces(
    loss: str, pairs: int, stages: tuple[str, ...] | None = None
) -> list[tuple[Any, Histories]]:
    """Supernets of equal weights with the histories as a whole and in blocks."""
    case = InteractionCase("staged", loss, stages=stages, described=stages is not None)
    made = []
    for histories in both_histories(loss, pairs):
        context = replace(case.context(), histories=lambda known=histories: known)
        space: Any = case.space_kind.make(context).double()
        with torch.no_grad():
            draws = torch.Generator().manual_seed(5)
            for parameter in space.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draws, dtype=F64) * 0.4)
        made.append((space, histories))
    return made


def points(space: Any) -> list[Gates]:
    """Every choice of every stage, in some combinations."""
    selections = Selections(space.blocks)
    every = range(selections.count)
    return [selections.numbered(k).to_gates(space.blocks) for k in every[:: len(every) // 23]]


DESCRIBED = ("encoding", "embedding", "operation", "features")


@pytest.mark.parametrize("stages", [None, DESCRIBED], ids=["plain", "features"])
@pytest.mark.parametrize("loss", ["whole-data", "squared", "bpr"])
def test_weight_steps_of_the_supernet(loss: str, stages: tuple[str, ...] | None) -> None:
    exact = LOSSES[loss].graph
    first, second = spaces(loss, 4, stages)
    for gates in points(first[0]):
        found = []
        for space, histories in (first, second):
            space.zero_grad()
            value = space.loss(batch_of(loss, 9, exact, histories.blocks), gates)
            value.backward()
            chosen = space.interaction(gates).chosen().tables
            found.append({"loss": value.detach(), **gradients(chosen)})
        assert_same(*found)


@pytest.mark.parametrize("mixture", [False, True])
@pytest.mark.parametrize(
    ("loss", "stages"), [("whole-data", None), ("softmax", None), ("whole-data", DESCRIBED)]
)
def test_gradients_of_gates(loss: str, mixture: bool, stages: tuple[str, ...] | None) -> None:
    """At a discrete point, where candidates are probed, and of mixtures of all."""
    first, second = spaces(loss, 4, stages)
    for discrete in points(first[0])[::8]:
        weights = {n: torch.full_like(w, 0.3) + 0.4 * w for n, w in discrete.weights.items()}
        gates = replace(discrete, weights=weights, active=None) if mixture else discrete
        found = []
        for space, histories in (first, second):
            batch = batch_of(loss, 9, LOSSES[loss].graph, histories.blocks)
            of_gates = gate_gradient(space, batch, gates)
            arch = {f"arch {k}": g for k, g in enumerate(of_gates.arch)}
            found.append({"loss": of_gates.loss, **of_gates.gates, **arch})
        assert_same(*found)


def test_no_block_outlives_its_turn() -> None:
    """While one block is computed, the tensors of the others are gone."""
    alive: list[weakref.ref[Tensor]] = []
    table = torch.ones(5, 3, dtype=F64, requires_grad=True)

    def function(number: int, _: Any) -> Tensor:
        assert not any(ref() is not None for ref in alive)
        large = table * float(number)
        alive.append(weakref.ref(large))
        return (large * large).sum()

    block_sum(function, 4, [], [table], once=True).backward()
    assert len(alive) == 4
    assert table.grad is not None
    assert torch.equal(table.grad, torch.full_like(table, 2.0 * (0 + 1 + 4 + 9)))


@pytest.mark.parametrize("once", [True, False])
def test_a_sum_of_blocks_has_the_gradient_of_what_it_is_given(once: bool) -> None:
    leaf = torch.tensor([1.0, 2.0], dtype=F64, requires_grad=True)
    given = leaf.pow(2)

    def function(number: int, tensors: Sequence[Tensor | None]) -> Tensor:
        assert tensors[0] is not None and tensors[1] is None
        return (number + 1) * (tensors[0] * leaf).sum()

    total = block_sum(function, 3, [given, None], [leaf, leaf], once)
    (2 * total).backward()
    assert float(total.detach()) == 6 * (1 + 8)
    assert leaf.grad is not None and torch.equal(leaf.grad, 2 * 6 * 3 * leaf.detach() ** 2)
    with torch.no_grad():
        assert float(block_sum(function, 3, [given, None], [leaf], once)) == 6 * (1 + 8)


def test_units_have_every_row_once() -> None:
    """Rows and background of a batch, in blocks of one user; shares sum to 1."""
    blocks = blocks_of("whole-data", 1)
    batch = batch_of("whole-data", 6, True, blocks)
    units = Units(batch, blocks, exact=True, drawn=True)
    seen: dict[bool, list[list[int]]] = {True: [], False: []}
    background, shares = [], {True: 0.0, False: 0.0}
    weight = 0.0
    for number in range(len(units)):
        unit = units[number]
        first = torch.tensor([blocks.blocks[unit.block].first, 0])
        seen[unit.exact] += (unit.batch.ids + first).tolist()
        background += (unit.batch.background + first).tolist()
        weight += float((unit.batch.background_weight * unit.share).sum())
        shares[unit.exact] += unit.share if len(unit.batch.ids) else 0.0
    assert sorted(seen[True]) == sorted(train_part("whole-data").ids.tolist())
    assert sorted(seen[False]) == sorted(batch.ids.tolist())
    assert sorted(background) == sorted(batch.background.tolist())
    assert weight == pytest.approx(float(batch.background_weight.sum()))
    assert shares == pytest.approx({True: 1.0, False: 1.0})


def test_chunks_of_a_batch_have_its_rows_and_their_loss() -> None:
    batch, scored = batch_of("squared", ROWS, False, None), toy_scores()
    parts = list(batch.chunks(5))
    assert [len(part.ids) for _, part in parts] == [5, 5, 5, 2]
    assert torch.equal(torch.cat([part.ids for _, part in parts]), batch.ids)
    numbers, kind = InteractionCase("staged", "squared").numbers, LOSSES["squared"]
    total = sum(share * float(kind(scored, part, numbers).detach()) for share, part in parts)
    assert total == pytest.approx(float(kind(scored, batch, numbers).detach()), rel=1e-12)
    assert [part for _, part in batch.chunks(ROWS)] == [batch]


def test_a_block_with_its_own_histories_needs_no_other_user() -> None:
    """Steps over some users with all of their pairs, where items are looked up."""
    loss, whole = "whole-data", both_histories("whole-data", 4)[1]
    design = design_of(staged("multiply", ("both", "id"), "identity", False), FIELDS[:2])
    shape = InteractionCase("staged", loss).shape()
    net = InteractionNetwork(design, shape, torch.Generator().manual_seed(1), whole).double()
    assert whole.blocks is not None
    total, settings = 0.0, settings_of(loss)
    for block in whole.blocks.blocks:
        ids = block.graph.ids()
        batch = Batch(
            ids, block.target, ids[:, :0], ids[:0], block.target[:0], block.graph, rows=block.rows
        )
        value = network_loss(net, batch, LOSSES[loss], settings)[1]
        total += float(value.detach()) * len(block) / ROWS
    every = batch_of(loss, ROWS, True, whole.blocks)
    expected = network_loss(net, every, LOSSES[loss], settings)[1]
    assert total == pytest.approx(float(expected.detach()), rel=1e-10)


def test_the_supernet_inherits_alike() -> None:
    """A new combination starts from its neighbor's vectors, from whatever blocks they come."""
    loss = "whole-data"
    found = []
    for space, _ in spaces(loss, 4):
        for gates in points(space)[::6]:
            space.interaction(gates).chosen()
            space.count_step(gates)
        found.append({name: value.clone() for name, value in space.state_dict().items()})
    assert_same(*copy.deepcopy(found))
