"""Recommenders of histories against a loop by hand; padding, the past, and the supernet."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sif.core.gates import Gates
from sif.core.proximal import initial_alpha, project
from sif.spaces.histories.catalog_loss import NONE, CatalogLoss
from sif.spaces.histories.cell_supernet import CellHistorySpace
from sif.spaces.histories.models import HistoryBatch, HistoryModel, history_model
from sif.spaces.rnn.cells import RecurrentCell
from sif.spaces.rnn.dropout import TextShape

F64 = torch.float64
ITEMS, HIDDEN = 6, 4
SHAPE = TextShape(ITEMS, HIDDEN, nodes=3)
CELL = RecurrentCell((("tanh", 0), ("relu", 1), ("sigmoid", 0)), (1, 2, 3))
DESIGNS = ("gru", "lstm", CELL)
LOSS = CatalogLoss.of(np.ones(ITEMS, np.int64), samples=4)
PADDED = torch.tensor([[1, 5, 2], [4, 0, NONE], [3, NONE, NONE], [1, NONE, NONE]])


def model_of(design: RecurrentCell | str) -> HistoryModel:
    torch.manual_seed(0)
    return history_model(SHAPE, design).double()


def by_hand(model: HistoryModel, items: list[int]) -> list[float]:
    """Scores of all items behind a history, number by number."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    def times(row: list[float], matrix: list[list[float]]) -> list[float]:
        return [sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*matrix,
                strict=True)]  # fmt: skip

    def highway(read: list[float], product: list[float], name: str) -> list[float]:
        activation = {"tanh": math.tanh, "relu": lambda x: max(x, 0.0), "sigmoid": sigmoid}[name]
        carry, fresh = product[:HIDDEN], product[HIDDEN:]
        return [s + sigmoid(c) * (activation(h) - s) for s, c, h in zip(read, carry, fresh,
                strict=True)]  # fmt: skip

    weights = model.reader.recurrence.weights
    table, hidden = model.embedding.weight.tolist(), [0.0] * HIDDEN
    for item in items:
        states = [highway(hidden, times(table[item] + hidden, weights.first.tolist()), "tanh")]
        for (name, source), matrix in zip(CELL.nodes, weights.nodes, strict=True):
            read = states[source]
            states.append(highway(read, times(read, matrix.tolist()), name))
        hidden = [sum(column) / 3 for column in zip(*states[1:], strict=True)]
    scores = times(hidden, [list(row) for row in zip(*table, strict=True)])
    return [score + b for score, b in zip(scores, model.bias.tolist(), strict=True)]


def test_scores_are_those_of_a_loop_by_hand() -> None:
    model = model_of(CELL)
    with torch.no_grad():
        model.bias.copy_(torch.arange(ITEMS) / 7)
    scores = model.scores(model.last_states(PADDED))
    for user, items in enumerate(([1, 4, 3, 1], [5, 0], [2])):
        np.testing.assert_allclose(scores[user].numpy(), by_hand(model, items), rtol=1e-10)


def test_the_gru_is_that_of_its_formulas() -> None:
    model = model_of("gru")
    gru, x = model.reader.recurrence.gru, model.embedding.weight.detach()
    hidden = torch.zeros(HIDDEN, dtype=F64)
    for item in (1, 4, 3):
        given = gru.weight_ih_l0 @ x[item] + gru.bias_ih_l0
        before = gru.weight_hh_l0 @ hidden + gru.bias_hh_l0
        reset, update = (
            torch.sigmoid(given[k * HIDDEN :][:HIDDEN] + before[k * HIDDEN :][:HIDDEN])
            for k in (0, 1)
        )
        fresh = torch.tanh(given[2 * HIDDEN :] + reset * before[2 * HIDDEN :])
        hidden = (1 - update) * fresh + update * hidden
    found = model.last_states(torch.tensor([[1], [4], [3]]))[0]
    torch.testing.assert_close(found, hidden.detach())


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_padding_changes_nothing(design: RecurrentCell | str) -> None:
    model = model_of(design)
    alone = [model.last_states(PADDED[:n, user, None]) for user, n in enumerate((4, 2, 1))]
    torch.testing.assert_close(model.last_states(PADDED), torch.cat(alone))
    loss = model.loss(HistoryBatch.of(PADDED, 0), {}, LOSS)
    parts = [(3, model.loss(HistoryBatch.of(PADDED[:4, :1], 0), {}, LOSS)),
             (1, model.loss(HistoryBatch.of(PADDED[:2, 1:2], 0), {}, LOSS))]  # fmt: skip
    torch.testing.assert_close(loss, sum(n * part for n, part in parts) / 4)
    longer = torch.cat([PADDED, torch.full((3, 3), NONE)])
    torch.testing.assert_close(model.loss(HistoryBatch.of(longer, 0), {}, LOSS), loss)


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_the_future_changes_no_state_of_the_past(design: RecurrentCell | str) -> None:
    model = model_of(design)
    items = torch.tensor([[1, 2], [3, 3], [0, 5], [4, 1]])
    other = items.clone()
    other[2:] = torch.tensor([[5, 0], [5, 2]])
    with torch.no_grad():
        ours, theirs = model(items), model(other)
    assert torch.equal(ours[:2], theirs[:2])
    assert not torch.isclose(ours[2:], theirs[2:]).all(dim=-1).any()


def test_a_user_without_items_has_the_scores_of_the_bias() -> None:
    model = model_of(CELL)
    with torch.no_grad():
        model.bias.copy_(torch.arange(ITEMS))
    scores = model.scores(model.last_states(torch.tensor([[NONE], [NONE]])))
    assert torch.equal(scores[0], model.bias.detach())


def some_gates(space: CellHistorySpace, seed: int) -> Gates:
    return project(initial_alpha(space.blocks, torch.Generator().manual_seed(seed)), space.blocks)


def test_padding_changes_no_loss_of_the_supernet() -> None:
    torch.manual_seed(0)
    space = CellHistorySpace(SHAPE, {"input": 0.3, "hidden": 0.2, "output": 0.1}, LOSS).double()
    longer = torch.cat([PADDED, torch.full((3, 3), NONE)])
    gates = some_gates(space, 1)

    def loss(histories: Tensor) -> Tensor:
        return space.loss(HistoryBatch.of(histories, 5), gates)

    torch.testing.assert_close(loss(longer), loss(PADDED), rtol=1e-12, atol=0)


def test_a_model_that_is_taken_out_of_the_supernet_has_its_loss() -> None:
    torch.manual_seed(0)
    chances = {"embedding": 0.2, "input": 0.3, "hidden": 0.2, "output": 0.1}
    space = CellHistorySpace(SHAPE, chances, LOSS).double()
    batch = HistoryBatch.of(PADDED, 5)
    for seed in range(3):
        gates = some_gates(space, seed)
        model = space.extract(gates)
        torch.testing.assert_close(model.loss(batch, chances, LOSS), space.loss(batch, gates))


def test_a_batch_has_the_places_that_have_a_next_item() -> None:
    batch = HistoryBatch.of(PADDED, 0)
    assert batch.inputs.tolist() == [[1, 5, 2], [4, 0, 0], [3, 0, 0]]
    # Of the first user three places, of the second one, of the third none; places go row by row.
    assert batch.places.tolist() == [0, 1, 3, 6]
    assert batch.targets.tolist() == [4, 0, 3, 1]
    states = torch.arange(9.0).view(3, 3, 1)
    assert batch.known(states)[:, 0].tolist() == [0.0, 1.0, 3.0, 6.0]
