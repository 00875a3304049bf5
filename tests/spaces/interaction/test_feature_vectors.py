"""Vectors that features have a part in: sums by hand, blocks, factors, serving, and the stage."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from sif.core.genotype import Genotype
from sif.core.selections import Selections
from sif.errors import ConfigError, GenotypeError, ShapeError
from sif.spaces.interaction.batches import Drawing, InteractionStream
from sif.spaces.interaction.block_loss import network_loss
from sif.spaces.interaction.design import (
    FEATURES_BLOCK,
    has_features,
    without_features,
)
from sif.spaces.interaction.encoders import ENCODINGS, Histories
from sif.spaces.interaction.feature_vectors import FeatureSums
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.losses import LossSettings
from sif.spaces.interaction.pair_blocks import PairBlocks, cut
from sif.spaces.interaction.registry import LOSSES, design_of, expression
from sif.spaces.interaction.staged_supernet import STAGES
from sif.spaces.interaction.user_blocks import BlockStream
from sif.testing.interactions import FIELDS, SIZES, InteractionCase, toy_batch, toy_part
from sif.testing.spaces import F64

CASE = InteractionCase("staged", "whole-data", described=True)
EVERY = torch.tensor(list(itertools.product(range(SIZES[0]), range(SIZES[1]))))
PAIRS = list(itertools.product(ENCODINGS, repeat=2))


def described(
    operation: str = "multiply", encodings: Sequence[str] = ("id", "id"),
    embedding: str = "identity", **further: str,
) -> Genotype:  # fmt: skip
    blocks = {
        "encoding": tuple(enumerate(encodings)), "embedding": ((0, embedding),),
        "operation": ((0, operation),), "weighting": ((0, "even"),), "features": ((0, "added"),),
    }  # fmt: skip
    return Genotype("staged", blocks | {name: ((0, one),) for name, one in further.items()})


def network(
    genotype: Genotype, histories: Histories | None = None,
    features: Sequence[FeatureSums | None] | None = None,
) -> InteractionNetwork:  # fmt: skip
    design, draws = design_of(genotype, FIELDS[:2]), torch.Generator().manual_seed(0)
    if design.reads_pairs and histories is None:
        histories = CASE.histories()
    features = CASE.features() if features is None else features
    net = InteractionNetwork(design, CASE.shape(), draws, histories, features).double()
    with torch.no_grad():
        for place, table in enumerate(net.tables.features):
            table.copy_(torch.sin(torch.arange(float(table.numel())) + place).view_as(table))
    return net


def dense(sums: FeatureSums) -> Tensor:
    return sums.vectors(torch.eye(sums.shape[1], dtype=F64))


def test_products_with_a_table_and_their_gradient() -> None:
    draws = np.random.default_rng(0)
    rows = csr_matrix(draws.normal(size=(9, 5)) * (draws.random((9, 5)) < 0.4))
    sums = FeatureSums.of(rows, torch.zeros((), dtype=F64))
    table = torch.from_numpy(draws.normal(size=(5, 3))).requires_grad_()
    expected = torch.from_numpy(rows.toarray())
    torch.testing.assert_close(sums.vectors(table), expected @ table)
    assert torch.autograd.gradcheck(sums.vectors, table)
    some = torch.tensor([1, 4, 5, 8])
    assert torch.autograd.gradcheck(sums.within(some).vectors, table)
    torch.testing.assert_close(sums.within(some).vectors(table), expected[some] @ table)
    assert sums.within(some[:0]).vectors(table).shape == (0, 3)
    counts = torch.arange(9, dtype=F64)
    torch.testing.assert_close(sums.counts(counts), (expected != 0).double().T @ counts)
    assert copy.deepcopy(sums) is sums


@pytest.mark.parametrize("encodings", PAIRS)
@pytest.mark.parametrize("embedding", ["identity", "graph"])
def test_scores_by_hand(encodings: tuple[str, str], embedding: str) -> None:
    net = network(described(encodings=encodings, embedding=embedding))
    graph = toy_part("train", LOSSES["whole-data"]).graph()
    assert graph is not None
    pairs = torch.zeros(SIZES[:2], dtype=F64)
    pairs[graph.rows, graph.columns] = 1.0
    tables, vectors = net.tables, []
    for f, (encoding, by) in enumerate(zip(encodings, (pairs, pairs.T), strict=True)):
        vector = dense(CASE.features()[f]) @ tables.features[f]
        if encoding != "history":
            vector = vector + tables.embeddings[f]
        if encoding != "id":
            scale = torch.where(by.sum(1) > 0, by.sum(1).clamp(min=1) ** -0.6, 0.0)
            vector = vector + scale[:, None] * (by @ tables.histories[f])
        vectors.append(vector)
    if embedding == "graph":
        norms = [torch.where(by.sum(1) > 0, by.sum(1).clamp(min=1) ** -0.5, 0.0)
                 for by in (pairs, pairs.T)]  # fmt: skip
        light = norms[0][:, None] * pairs * norms[1]
        user, item = vectors
        vectors = [0.5 * (user + light @ item), 0.5 * (item + light.T @ user)]
    offset = tables.intercept + tables.biases[0][:, None] + tables.biases[1]
    expected = (vectors[0] * net.readout) @ vectors[1].T + offset
    torch.testing.assert_close(net(EVERY), expected.reshape(-1))
    interaction = net.interaction()
    a, b = interaction.factors() or (vectors[0], vectors[1])
    torch.testing.assert_close(a @ b.T, expected)
    torch.testing.assert_close(net.precomputed()(EVERY), expected.reshape(-1))
    assert not net.precomputed().tables.features
    # A pair has no part in what features say: what is left out is what is without them.
    own = interaction.own_on_graph(graph)
    if own is not None:
        ids = graph.ids()
        gap = interaction.pairs(ids) - interaction.pairs(ids, observed=True)
        torch.testing.assert_close(own, gap)


@pytest.mark.parametrize("operation", ["multiply", "max", "multiply+min", "plus"])
@pytest.mark.parametrize(
    ("embedding", "similarity"), [("identity", "cosine"), ("graph", "product")]
)
def test_served_networks_look_up(operation: str, embedding: str, similarity: str) -> None:
    further = {} if similarity == "product" else {"similarity": similarity}
    net = network(described(operation, ("history", "both"), embedding, **further))
    served = net.precomputed()
    torch.testing.assert_close(served(EVERY), net(EVERY))
    assert served.design.looks_up
    assert not any("features" in name for name in served.state_dict())


@pytest.mark.parametrize("operation", ["multiply", "max"])
@pytest.mark.parametrize("encodings", [("both", "history"), ("id", "both")])
@pytest.mark.parametrize("embedding", ["identity", "graph"])
def test_blocks_of_users_have_the_loss_and_gradients_of_all(
    operation: str, encodings: tuple[str, str], embedding: str
) -> None:
    part = toy_part("train", LOSSES["whole-data"])
    counts = torch.bincount(part.ids[:, 0], minlength=SIZES[0])
    blocks = PairBlocks(part.ids, part.target, part.age, SIZES[:2], cut(counts, 1, 0, 7))
    like, graph, found = torch.zeros((), dtype=F64), part.graph(), []
    assert graph is not None
    kind = LOSSES["whole-data"]
    for histories in (Histories(graph, like, 0.6), Histories(blocks, like, 0.6)):
        net = network(described(operation, encodings, embedding), histories)
        draws = torch.Generator().manual_seed(3)
        stream = InteractionStream(
            part, 9, Drawing(2, 3), draws, exact=True, blocks=histories.blocks
        )
        tables, value = network_loss(net, stream.next(), kind, LossSettings(2.0, 2))
        (value + tables.squared_norm(CASE.context().strengths)).backward()
        found.append({"loss": value.detach(), **{n: p.grad for n, p in net.named_parameters()}})
    for name, one in found[0].items():
        torch.testing.assert_close(one, found[1][name], rtol=1e-9, atol=1e-11, msg=name)
    assert found[0]["tables.features.0"] is not None


def test_a_pass_over_blocks_has_the_gradient_of_the_whole_part() -> None:
    """Where vectors are looked up: features of a block's users are those of its rows."""
    part, kind = toy_part("train", LOSSES["whole-data"]), LOSSES["whole-data"]
    graph, gradients = part.graph(), []
    assert graph is not None
    stream = BlockStream(part, 5, Drawing(), torch.Generator().manual_seed(0))
    assert stream.steps_per_pass > 2
    net = network(described())
    for _ in range(stream.steps_per_pass):
        batch = stream.next()
        value = network_loss(net, batch, kind, LossSettings(2.0, 2))[1]
        (value * len(batch.ids) / len(part.ids)).backward()
    gradients.append([table.grad.clone() for table in net.tables.features])
    net.zero_grad()
    nothing = part.ids[:0]
    whole = replace(toy_batch("train", kind), ids=graph.ids(), background=nothing,
                    negatives=part.ids[:, :0], background_weight=part.target[:0])  # fmt: skip
    network_loss(net, whole, kind, LossSettings(2.0, 2))[1].backward()
    gradients.append([table.grad for table in net.tables.features])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_features_of_one_field_alone() -> None:
    items = CASE.features()[1]
    net = network(described(), features=(None, items))
    assert [len(table) for table in net.tables.features] == [0, items.shape[1]]
    vectors = net.interaction().vectors
    assert vectors[0].table is net.tables.embeddings[0]
    expected = net.tables.embeddings[1] + dense(items) @ net.tables.features[1]
    torch.testing.assert_close(vectors[1].table, expected)
    with pytest.raises(ShapeError, match="expected features of users or items, found none"):
        network(described(), features=(None, None))


def test_genotypes_name_features_only_where_they_have_a_part() -> None:
    found = described(encodings=("history", "id"))
    again = Genotype.from_json(found.to_json())
    assert again == found
    assert has_features(again)
    assert expression(again, FIELDS[:2]) == "multiply(history(user), item), features added"
    bare = without_features(again)
    assert FEATURES_BLOCK not in bare.blocks
    assert expression(bare, FIELDS[:2]) == "multiply(history(user), item)"
    assert not design_of(bare, FIELDS[:2]).features
    with pytest.raises(GenotypeError, match="features"):
        design_of(described(features="often"), FIELDS[:2])


def test_the_first_weights_are_those_without_features() -> None:
    draws = [torch.Generator().manual_seed(0) for _ in range(2)]
    designs = [design_of(one, FIELDS[:2]) for one in (described(), without_features(described()))]
    nets = [
        InteractionNetwork(design, CASE.shape(), draw, None, CASE.features())
        for design, draw in zip(designs, draws, strict=True)
    ]
    for name, value in nets[1].state_dict().items():
        assert torch.equal(nets[0].state_dict()[name], value)
    nets = [net.double() for net in nets]
    assert torch.equal(nets[0](EVERY), nets[1](EVERY))


@pytest.mark.parametrize("similarity", [(), ("similarity",)])
def test_a_combination_starts_where_its_neighbor_is(similarity: tuple[str, ...]) -> None:
    stages = ("encoding", "operation", *similarity, "features")
    space = replace(CASE, stages=stages).space()
    assert [b.name for b in space.blocks] == list(stages)
    for selection in map(Selections(space.blocks).numbered, (0, 5)):
        chosen = dict(selection)
        for first, second in ((0, 1), (1, 0)):
            chosen["features"] = (first,)
            gates = type(selection)(chosen).to_gates(space.blocks)
            before = space.interaction(gates).chosen().pairs(EVERY)
            space.count_step(gates)
            chosen["features"] = (second,)
            other = type(selection)(chosen).to_gates(space.blocks)
            space.members._places().pop(space.point(other.choices()), None)
            after = space.interaction(other).chosen().pairs(EVERY)
            torch.testing.assert_close(after, before)
            assert has_features(space.genotype(other)) == bool(second)


def test_a_stage_of_features_needs_some() -> None:
    with pytest.raises(ConfigError, match="expected features of users or items, found none"):
        replace(CASE, described=False, stages=(*STAGES, "features")).space()
