"""The space of recurrent cells: windows and their state, estimates, the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from sif.core.gates import Gates, Probing
from sif.core.genotype import Genotype
from sif.core.method import Plan
from sif.core.probe import gate_gradient
from sif.core.proximal import initial_alpha, project, weight_step
from sif.errors import GenotypeError
from sif.methods.darts import Darts
from sif.spaces.rnn.cells import (
    ACTIVATIONS,
    PUBLISHED,
    RecurrentCell,
    edge_nodes,
    expression,
    format_cell,
    parse_cell,
)
from sif.spaces.rnn.dropout import Masks, TextShape, draw_masks
from sif.spaces.rnn.networks import CellRecurrence, LanguageModel, LSTMRecurrence, Window, penalties
from sif.spaces.rnn.supercell import BLOCK
from sif.spaces.rnn.supernet import RNNSpace, TextBatch, recurrent_cell

F64 = torch.float64
SHAPE = TextShape(vocabulary=11, hidden=5, nodes=8)
DROPOUT = {"word": 0.1, "embedding": 0.2, "input": 0.3, "hidden": 0.25, "output": 0.4}


@dataclass
class Carry:
    value: Tensor | None = None


def make_space(shape: TextShape = SHAPE, dropout: Mapping[str, float] = DROPOUT) -> RNNSpace:
    torch.manual_seed(0)
    space = RNNSpace(shape, dropout).double()
    with torch.no_grad():  # far enough from zero for every candidate to differ
        for parameter in space.parameters():
            parameter.mul_(6)
    return space


def batch(seed: int = 0, steps: int = 7, columns: int = 6, start: bool = True) -> TextBatch:
    draws = torch.Generator().manual_seed(seed)
    words = torch.randint(SHAPE.vocabulary, (steps + 1, columns), generator=draws)
    state = torch.randn(columns, SHAPE.hidden, generator=draws, dtype=F64) if start else None
    return TextBatch(words[:-1], words[1:], Carry(), state, seed)


def some_gates(space: RNNSpace, seed: int) -> Gates:
    return project(initial_alpha(space.blocks, torch.Generator().manual_seed(seed)), space.blocks)


def test_the_block_is_a_node_per_matrix_and_an_edge_per_state_that_it_may_read() -> None:
    (block,) = make_space().blocks
    assert (block.shape, block.edges_per_node) == ((36, 4), 1)
    assert [block.nodes.count(node) for node in range(8)] == list(range(1, 9))


def test_rows_give_the_gradient_without_bias_under_frozen_statistics() -> None:
    space = make_space(dropout={})
    draws = torch.Generator().manual_seed(2)
    for norm in (m for m in space.modules() if isinstance(m, nn.BatchNorm1d)):
        norm.track_running_stats = True
        norm.running_mean = torch.randn(norm.num_features, generator=draws, dtype=F64)
        norm.running_var = 0.5 + torch.rand(norm.num_features, generator=draws, dtype=F64)
        norm.eval()
    gates, data = some_gates(space, 3), batch()
    turned = torch.arange(6).roll(3)
    assert data.start is not None
    other = TextBatch(
        data.inputs[:, turned], data.targets[:, turned], Carry(), data.start[turned], 0
    )
    exact = gate_gradient(space, data, gates).gates[BLOCK]
    half = replace(gates, probing=Probing({BLOCK: torch.ones(36, 4)}, 0.5))
    first, second = (gate_gradient(space, d, half).gates[BLOCK] for d in (data, other))
    torch.testing.assert_close((first + second) / 2, exact, rtol=1e-8, atol=1e-12)
    assert not torch.allclose(first, exact, rtol=0.01)


def test_another_seed_drops_others() -> None:
    space, gates = make_space(), some_gates(make_space(), 0)
    with torch.no_grad():
        first = space.loss(batch(), gates)
        assert not torch.equal(space.loss(replace(batch(), seed=9), gates), first)


def test_the_state_goes_on_from_window_to_window() -> None:
    space = make_space(dropout={})
    gates, data = some_gates(space, 0), batch(steps=8, start=False)
    with torch.no_grad():
        whole = space.loss(data, gates)
        first = replace(data, inputs=data.inputs[:4], targets=data.targets[:4], carry=Carry())
        one = space.loss(first, gates)
        second = replace(
            data, inputs=data.inputs[4:], targets=data.targets[4:], start=first.carry.value
        )
        other = space.loss(second, gates)
    torch.testing.assert_close((one + other) / 2, whole)
    assert first.carry.value is not None and not first.carry.value.requires_grad
    torch.testing.assert_close(second.carry.value, data.carry.value)


def test_an_expression_is_that_of_the_cell() -> None:
    space = make_space()
    for seed in range(3):
        genotype = space.genotype(some_gates(space, seed))
        assert genotype.expression == expression(recurrent_cell(genotype))


@pytest.mark.parametrize("cell", [*PUBLISHED.values(), RecurrentCell((("relu", 0),), (0, 1))])
def test_a_model_step_by_step_is_the_model_over_a_window(cell: RecurrentCell) -> None:
    torch.manual_seed(1)
    model = LanguageModel(SHAPE, CellRecurrence(SHAPE, cell)).double()
    words = batch(steps=9).inputs
    with torch.no_grad():
        whole = model(words, None)
        state, logits = None, []
        for word in words:
            window = model(word[None], state)
            state = window.state
            logits.append(window.logits)
    torch.testing.assert_close(torch.cat(logits), whole.logits)
    assert state is not None
    torch.testing.assert_close(state, whole.state)


def by_hand(model: LanguageModel, word: int, state: Tensor) -> Tensor:
    """One step of DARTS' second-order cell in one column, written out."""
    weights = model.recurrence.weights
    n = state.shape[0]

    def highway(s: Tensor, product: Tensor, f: str) -> Tensor:
        c, h = product[:n].sigmoid(), product[n:]
        return s + c * (ACTIVATIONS[f](h) - s)

    x = model.embedding.weight[word]
    states = [highway(state, torch.cat([x, state]) @ weights.first, "tanh")]
    for (f, source), matrix in zip(PUBLISHED["darts-v2"].nodes, weights.nodes, strict=True):
        states.append(highway(states[source], states[source] @ matrix, f))
    return sum(states[1:]) / 8


def test_the_published_cell_computes_what_its_definition_says() -> None:
    torch.manual_seed(2)
    model = LanguageModel(SHAPE, CellRecurrence(SHAPE, PUBLISHED["darts-v2"])).double()
    state = torch.randn(SHAPE.hidden, dtype=F64)
    with torch.no_grad():
        found = model(torch.tensor([[3]]), state[None])
        expected = by_hand(model, 3, state)
        torch.testing.assert_close(found.raw[0, 0], expected)
        logits = model.embedding.weight @ expected + model.bias
        torch.testing.assert_close(found.logits[0, 0], logits)


def test_the_evaluation_model_of_darts_has_23_million_weights() -> None:
    shape = TextShape(vocabulary=10_000, hidden=850)
    with torch.device("meta"):
        model = LanguageModel(shape, CellRecurrence(shape, PUBLISHED["darts-v2"]))
    embeddings, bias = 10_000 * 850, 10_000
    first, nodes = 1700 * 1700, 8 * 850 * 1700
    assert model.counted() == embeddings + bias + first + nodes == 22_960_000


def test_masks_keep_the_mean_and_one_word_everywhere() -> None:
    like = torch.zeros(1, dtype=F64)
    shape = TextShape(4000, 50)
    masks = draw_masks(DROPOUT, shape, 400, like, seed=3)
    for name, chance in DROPOUT.items():
        mask = getattr(masks, name)
        assert set(mask.unique().tolist()) == {0.0, 1 / (1 - chance)}
        assert mask.mean() == pytest.approx(1, abs=0.05)
    assert masks.word is not None and masks.word.shape == (4000, 1)
    assert vars(draw_masks({}, shape, 4, like, 0)) == vars(Masks())
    again = draw_masks(DROPOUT, shape, 400, like, seed=3)
    assert again.hidden is not None and torch.equal(again.hidden, masks.hidden)


def test_penalties_are_those_of_their_formulas() -> None:
    raw = torch.tensor([[[1.0, 2.0]], [[3.0, 2.0]], [[3.0, 5.0]]])
    window = Window(torch.zeros(3, 1, 4), raw, 2 * raw, raw[-1])
    assert float(penalties(window, 0.5, 0.0)) == pytest.approx(
        0.5 * 4 * (1 + 4 + 9 + 4 + 9 + 25) / 6
    )
    assert float(penalties(window, 0.0, 2.0)) == pytest.approx(2 * (4 + 9) / 4)


@pytest.mark.parametrize("slowness", [0.0, 2.0])
def test_a_window_of_one_step_has_no_penalty_on_change(slowness: float) -> None:
    raw = torch.tensor([[[1.0, 2.0]]], requires_grad=True)
    window = Window(torch.zeros(1, 1, 4), raw, 2 * raw, raw[-1])
    found = penalties(window, 0.5, slowness)
    found.backward()
    assert found.item() == 0.5 * 4 * (1 + 4) / 2
    assert raw.grad is not None and raw.grad.tolist() == [[[2.0, 4.0]]]


def test_an_lstm_carries_both_of_its_states() -> None:
    torch.manual_seed(3)
    model = LanguageModel(SHAPE, LSTMRecurrence(SHAPE)).double()
    words = batch(steps=8).inputs
    with torch.no_grad():
        whole = model(words, None)
        first = model(words[:3], None)
        second = model(words[3:], first.state)
    assert first.state.shape == (2, 6, 5)
    torch.testing.assert_close(second.logits, whole.logits[3:])


@pytest.mark.parametrize("order", [1, 2])
def test_a_relaxed_search_takes_steps(order: int) -> None:
    space = make_space(TextShape(11, 5, nodes=3))
    method = Darts(space, Darts.Settings(), Plan(2), torch.Generator().manual_seed(0), order=order)
    optimizer = torch.optim.SGD(space.weight_parameters(), 0.1)
    for step in range(2):
        report = method.arch_step(space, batch(step), batch(step + 5))
        assert report.scores["gradient"][BLOCK].shape == (6, 4)
        weight_step(space, batch(step), method.weight_gates(step), optimizer, 0.25)
    cell = recurrent_cell(space.genotype(method.best_gates()))
    assert len(cell.nodes) == 3


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_survive_their_text(name: str) -> None:
    assert parse_cell(format_cell(PUBLISHED[name])) == PUBLISHED[name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Genotype(recurrent=[('relu', 1)], concat=[1])", "a state in 0..0, which comes before it"),
        ("Genotype(recurrent=[('relu', 0), ('relu', 2)], concat=[1])", "0..1, which comes"),
        ("Genotype(recurrent=[('swish', 0)], concat=[1])", "found 'swish'"),
        ("Genotype(recurrent=[('relu', 0)], concat=[2])", "states 0..1, found"),
        ("Genotype(recurrent=[], concat=[1])", "at least one node"),
        ("Genotype(recurrent=[('relu', True)], concat=[1])", "whole numbers"),
        ("Genotype(recurrent=[('relu', 0)])", "malformed"),
        ("__import__('os').system('true')", "expected one Genotype"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        parse_cell(text, "here")


def test_other_genotypes_are_refused() -> None:
    good = make_space().genotype(some_gates(make_space(), 0))
    edges = good.blocks[BLOCK]
    for blocks, message in (
        ({BLOCK: (*edges[:-1], (40, "tanh"))}, "0..35, found 40"),
        ({BLOCK: (edges[0], (1, "tanh"), (2, "tanh"), *edges[3:])}, "one edge, found two"),
        ({BLOCK: ((0, "swish"), *edges[1:])}, "swish"),
        ({}, "expects blocks recurrent"),
    ):
        with pytest.raises(GenotypeError, match=message):
            recurrent_cell(Genotype(good.space, blocks))
    assert [edge_nodes(8)[edge] for edge, _ in edges] == list(range(8))


@pytest.mark.parametrize("normalized", [True, False])
def test_lower_precision_is_that_of_products_alone(normalized: bool) -> None:
    """States, gradients and weights stay float32; `fused` runs without normalization."""
    torch.manual_seed(0)
    space = RNNSpace(SHAPE, {}, normalized)
    with torch.no_grad():
        for parameter in space.parameters():
            parameter.mul_(6)
    gates, losses, slopes, carried = some_gates(space, 0), [], [], []
    for space.precision in ("float32", "bfloat16"):
        one = batch()
        window = replace(one, start=cast(Tensor, one.start).float(), carry=Carry())
        loss = space.loss(window, gates)
        found = torch.autograd.grad(loss, list(space.weight_parameters()), materialize_grads=True,
                                    allow_unused=True)  # fmt: skip
        assert loss.dtype == window.carry.value.dtype == torch.float32
        assert {gradient.dtype for gradient in found} == {torch.float32}
        losses.append(loss.item())
        slopes.append(torch.cat([gradient.flatten() for gradient in found]))
        carried.append(window.carry.value)
        gated = gate_gradient(space, replace(window, carry=Carry()), gates)
        slopes.append(gated.gates[BLOCK].flatten())
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.02)
    for exact, lower in ((slopes[0], slopes[2]), (slopes[1], slopes[3])):
        assert 0.99 < torch.cosine_similarity(exact, lower, dim=0) < 1
    torch.testing.assert_close(carried[0], carried[1], rtol=0.05, atol=0.05)
    relaxed = gates.weights[BLOCK].float().softmax(1)
    if normalized:
        window = replace(batch(), start=None, carry=Carry())
        assert space.loss(window, Gates({BLOCK: relaxed}, None)).isfinite()
