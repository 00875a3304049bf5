"""Decayed sums against a loop by hand; padding, the past, and the functions on top."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from sif.core.genotype import Genotype
from sif.errors import GenotypeError
from sif.spaces.histories.catalog_loss import NONE, CatalogLoss
from sif.spaces.histories.models import HistoryBatch, HistoryModel, history_model
from sif.spaces.histories.scales import (
    INNERS,
    ScalesDesign,
    decay_matrix,
    scales_design,
)
from sif.spaces.histories.scales_supernet import ScalesSpace
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.linear.design import decay_of
from sif.spaces.linear.sequences import Decay
from sif.spaces.rnn.dropout import TextShape

F64 = torch.float64
ITEMS, HIDDEN = 6, 4
SHAPE = TextShape(ITEMS, HIDDEN)
LOSS = CatalogLoss.of(np.ones(ITEMS, np.int64), samples=4)
PADDED = torch.tensor([[1, 5, 2], [4, 0, NONE], [3, NONE, NONE], [1, NONE, NONE]])
DECAYS = {"middle": Decay(0.8, 3), "recent": Decay(0.3, 2), "long": Decay(1.0)}


def design(inner: str = "plus", outer: str = "multiply") -> ScalesDesign:
    return ScalesDesign(DECAYS, inner, outer)


def model_of(one: ScalesDesign) -> HistoryModel:
    torch.manual_seed(0)
    model = history_model(SHAPE, one).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, dtype=F64))
    return model


def state(table: Tensor, items: list[int], decay: Decay) -> list[float]:
    """The sum of gamma^age times the embeddings within the window, in units of length 1."""
    total, squares = [0.0] * HIDDEN, 0.0
    for age, item in enumerate(reversed(items)):
        if decay.window is None or age < decay.window:
            weight = decay.gamma**age
            squares += weight**2
            total = [x + weight * e for x, e in zip(total, table[item].tolist(), strict=True)]
    return [x / squares**0.5 for x in total]


PLAIN = {"multiply": lambda x, y: x * y, "plus": lambda x, y: x + y, "min": min, "max": max}


def by_hand(model: HistoryModel, one: ScalesDesign, items: list[int]) -> list[float]:
    """Scores of all items behind a history, number by number."""
    states = [state(model.reader.tables[name], items, d) for name, d in one.decays.items()]
    joined = states[0]
    for other in states[1:]:
        joined = [PLAIN[one.inner](x, y) for x, y in zip(joined, other, strict=True)]
    w = model.readout.tolist()  # type: ignore[union-attr]
    scores = []
    for item, bias in zip(model.embedding.weight.tolist(), model.bias.tolist(), strict=True):
        combined = [*joined, *item]
        if one.outer != "concat":
            combined = [PLAIN[one.outer](x, y) for x, y in zip(joined, item, strict=True)]
        scores.append(bias + sum(a * b for a, b in zip(w, combined, strict=True)))
    return scores


@pytest.mark.parametrize(("inner", "outer"), list(itertools.product(INNERS, OPERATIONS)))
def test_scores_are_those_of_a_loop_by_hand(inner: str, outer: str) -> None:
    one = design(inner, outer)
    model = model_of(one)
    scores = model.scores(model.last_states(PADDED))
    for user, items in enumerate(([1, 4, 3, 1], [5, 0], [2])):
        np.testing.assert_allclose(scores[user].numpy(), by_hand(model, one, items), rtol=1e-10)


def test_the_uniform_function_of_three_fields_is_that_of_the_table() -> None:
    for name in INNERS:
        fields = torch.randn((3, 5, HIDDEN), generator=torch.Generator().manual_seed(1), dtype=F64)
        combine = OPERATIONS[name].combine
        nested = combine([combine([fields[0], fields[1]]), fields[2]])
        torch.testing.assert_close(nested, combine(list(fields)))


@pytest.mark.parametrize("outer", OPERATIONS)
def test_padding_changes_nothing(outer: str) -> None:
    model = model_of(design(outer=outer))
    alone = [model.last_states(PADDED[:n, user, None]) for user, n in enumerate((4, 2, 1))]
    torch.testing.assert_close(model.last_states(PADDED), torch.cat(alone))
    loss = model.loss(HistoryBatch.of(PADDED, 0), {}, LOSS)
    longer = torch.cat([PADDED, torch.full((3, 3), NONE)])
    torch.testing.assert_close(model.loss(HistoryBatch.of(longer, 0), {}, LOSS), loss)


@pytest.mark.parametrize("inner", INNERS)
def test_a_pair_is_predicted_neither_from_itself_nor_from_its_future(inner: str) -> None:
    model, history = model_of(design(inner)), torch.tensor([[1], [4], [3], [0], [5]])
    with torch.no_grad():
        states = model(history)
        for place in range(1, len(history)):  # the target of the place before
            for other in range(ITEMS):
                changed = history.clone()
                changed[place:] = other
                assert torch.equal(model(changed)[:place], states[:place])


def test_weights_shrink_with_age_within_the_window() -> None:
    found = decay_matrix(4, Decay(0.5, 3), torch.zeros((), dtype=F64))
    row = torch.tensor([0, 0.25, 0.5, 1], dtype=F64)
    torch.testing.assert_close(found[3], row / row.norm())
    assert torch.equal(found, found.tril())
    torch.testing.assert_close(found.square().sum(1), torch.ones(4, dtype=F64))
    everything = decay_matrix(4, Decay(1.0), torch.zeros((), dtype=F64))
    torch.testing.assert_close(everything[3], torch.full((4,), 0.5, dtype=F64))


@pytest.mark.parametrize("outer", OPERATIONS)
@pytest.mark.parametrize("name", ["softmax", "squared"])
@pytest.mark.parametrize("samples", [4, 60])
def test_gradients_are_those_of_small_differences(outer: str, name: str, samples: int) -> None:
    model = model_of(design("multiply", outer))
    by = CatalogLoss.of(np.arange(ITEMS), samples, ITEMS - (samples < ITEMS), name)  # type: ignore[arg-type]
    batch = HistoryBatch.of(PADDED, 0)
    leaves = list(model.parameters())
    exact = torch.autograd.grad(model.loss(batch, {}, by), leaves)
    draws = torch.Generator().manual_seed(2)
    for leaf, slopes in zip(leaves, exact, strict=True):
        step = torch.randn(leaf.shape, generator=draws, dtype=F64)
        with torch.no_grad():
            leaf.add_(step, alpha=1e-6)
            above = model.loss(batch, {}, by)
            leaf.add_(step, alpha=-2e-6)
            below = model.loss(batch, {}, by)
            leaf.add_(step, alpha=1e-6)
        found = (above - below) / 2e-6
        torch.testing.assert_close(found, (slopes * step).sum(), rtol=1e-5, atol=1e-7)


def genotype(**names: str) -> Genotype:
    first = {"recent": "0.3", "middle": "0.8", "long": "set", "inner": "max", "outer": "min"}
    return Genotype("scales", {k: ((0, v),) for k, v in {**first, **names}.items()})


def test_genotypes_become_designs() -> None:
    found = scales_design(genotype())
    assert found.decays == {"middle": decay_of("0.8"), "recent": decay_of("0.3"),
                            "long": Decay(1.0)}  # fmt: skip
    assert (found.inner, found.outer) == ("max", "min")
    assert found.expression == "min(max((0.3, last 3); (0.8, last 16); (set)), item)"
    single = scales_design(genotype(recent="none", long="none"))
    assert single.expression == "min((0.8, last 16), item)"
    with pytest.raises(GenotypeError):
        scales_design(genotype(inner="concat"))


def test_the_loss_of_a_search_has_as_few_items_for_products() -> None:
    by = CatalogLoss.of(np.ones(100, np.int64), samples=80, exact=50)
    space = ScalesSpace(TextShape(100, HIDDEN), {}, by)
    assert (by.samples, by.fewer, space.by.samples) == (80, 10, 10)
