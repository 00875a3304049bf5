"""Gated cells: LSTM and GRU are points of the space, a case by hand, and the fused loop."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sif.core.gates import Gates, Probing
from sif.core.genotype import Genotype
from sif.core.probe import gate_gradient
from sif.core.selections import Selections
from sif.errors import GenotypeError
from sif.spaces.rnn.dropout import Masks, TextShape
from sif.spaces.rnn.gated_cells import (
    ACTIVATIONS,
    CHOICES,
    CLIP,
    LSTM_CELL,
    PUBLISHED,
    GatedCell,
    equations,
    expression,
    format_gated,
    graph,
    parse_gated,
)
from sif.spaces.rnn.gated_networks import (
    FORGET_BIAS,
    GatedRecurrence,
    GatedWeights,
    chosen_alone,
    unroll,
)
from sif.spaces.rnn.gated_supernet import GatedSpace, gated_cell
from sif.spaces.rnn.networks import GRURecurrence, LanguageModel, LSTMRecurrence
from sif.spaces.rnn.supernet import TextBatch

F64 = torch.float64
SHAPE = TextShape(vocabulary=11, hidden=5)
EVERY = [GatedCell(*chosen) for chosen in itertools.product(*CHOICES.values())]
SOME = [*PUBLISHED.values(), *EVERY[::37]]
"""Published cells, and a sample in which every alternative of every choice occurs."""


def made(cell: GatedCell, scale: float = 1.5) -> GatedRecurrence:
    torch.manual_seed(0)
    recurrence = GatedRecurrence(SHAPE, cell).double()
    with torch.no_grad():
        for parameter in recurrence.parameters():
            parameter.mul_(scale)
    return recurrence


def window(steps: int = 6) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(steps, 3, 5, dtype=F64, generator=draws)
    return x.requires_grad_(), torch.randn(2, 3, 5, dtype=F64, generator=draws).requires_grad_()


def gradients(outputs: Tensor, state: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    draws = torch.Generator().manual_seed(2)
    parts = [(t * torch.randn(t.shape, dtype=F64, generator=draws)).sum() for t in (outputs, state)]
    return list(torch.autograd.grad(parts[0] + parts[1], leaves, allow_unused=True,
                                    materialize_grads=True))  # fmt: skip


def test_the_sample_has_every_alternative() -> None:
    for name, operations in CHOICES.items():
        assert {getattr(cell, name) for cell in SOME} == set(operations)


def test_the_lstm_is_a_point_of_the_space() -> None:
    """Outputs, states and gradients by everything, with the weights of torch's LSTM."""
    torch.manual_seed(3)
    theirs, ours = nn.LSTM(5, 5).double(), made(LSTM_CELL)
    pairs = {}
    with torch.no_grad():
        for place, name in enumerate(("input", "forget", "candidate", "output")):
            rows = slice(5 * place, 5 * place + 5)
            pairs[name] = rows
            ours.weights.matrices[name][:5] = theirs.weight_ih_l0[rows].t()
            ours.weights.matrices[name][5:] = theirs.weight_hh_l0[rows].t()
            ours.weights.biases[name].copy_(theirs.bias_ih_l0[rows] + theirs.bias_hh_l0[rows])
    x, state = window()
    outputs, (hidden, memory) = theirs(x, (state[:1].contiguous(), state[1:].contiguous()))
    found, behind = ours(x, state, Masks())
    torch.testing.assert_close(found, outputs)
    torch.testing.assert_close(behind, torch.cat([hidden, memory]))
    expected = gradients(outputs, torch.cat([hidden, memory]), [x, state, *theirs.parameters()])
    names = list(pairs)
    leaves = [ours.weights.matrices[n] for n in names] + [ours.weights.biases[n] for n in names]
    by_x, by_state, *own = gradients(found, behind, [x, state, *leaves])
    torch.testing.assert_close(by_x, expected[0])
    torch.testing.assert_close(by_state, expected[1])
    for place, rows in enumerate(pairs.values()):
        by_matrix = torch.cat([expected[2][rows].t(), expected[3][rows].t()])
        torch.testing.assert_close(own[place], by_matrix)
        torch.testing.assert_close(own[4 + place], expected[4][rows])


def test_the_gru_is_a_point_of_the_space() -> None:
    """The input gate is 1 minus torch's update gate, so that its weights have the other sign."""
    torch.manual_seed(4)
    theirs, ours = nn.GRU(5, 5).double(), made(PUBLISHED["gru"])
    signs = {"reset": 1.0, "input": -1.0, "candidate": 1.0}
    assert ours.weights.inner is not None
    with torch.no_grad():
        for place, (name, sign) in enumerate(signs.items()):
            rows = slice(5 * place, 5 * place + 5)
            ours.weights.matrices[name][:5] = sign * theirs.weight_ih_l0[rows].t()
            ours.weights.matrices[name][5:] = sign * theirs.weight_hh_l0[rows].t()
            shared = 0 if name == "candidate" else theirs.bias_hh_l0[rows]
            ours.weights.biases[name].copy_(sign * (theirs.bias_ih_l0[rows] + shared))
        ours.weights.inner.copy_(theirs.bias_hh_l0[10:])
    x, state = window()
    both = state[:1].repeat(2, 1, 1)  # a GRU has one state: its output is its memory
    outputs, last = theirs(x, state[:1].contiguous())
    found, behind = ours(x, both, Masks())
    torch.testing.assert_close(found, outputs)
    torch.testing.assert_close(behind, last.repeat(2, 1, 1))
    draws = torch.randn(outputs.shape, dtype=F64)
    expected = torch.autograd.grad((outputs * draws).sum(), [x, state, *theirs.parameters()])
    leaves = [x, state, *(ours.weights.matrices[n] for n in signs), ours.weights.inner]
    own = torch.autograd.grad((found * draws).sum(), leaves)
    for place, by_own in ((0, own[0]), (1, own[1])):
        torch.testing.assert_close(by_own, expected[place])
    for place, sign in enumerate(signs.values()):
        rows = slice(5 * place, 5 * place + 5)
        by_matrix = torch.cat([expected[2][rows].t(), expected[3][rows].t()])
        torch.testing.assert_close(own[2 + place], sign * by_matrix)
    torch.testing.assert_close(own[5], expected[5][10:])


def test_a_step_by_hand() -> None:
    """One number: x = 1, h = 2, c = 3; every matrix is 0 but for what is said here."""
    cell = GatedCell("sigmoid", "sigmoid", "product", "relu", "tanh", "sigmoid")
    recurrence = GatedRecurrence(TextShape(2, 1), cell).double()
    weights = recurrence.weights
    with torch.no_grad():
        for parameter in weights.parameters():
            parameter.zero_()
        weights.biases["input"].fill_(math.log(3))  # a gate of 3 / 4
        weights.matrices["forget"][1] = math.log(2) / 2  # of h = 2: a gate of 2 / 3
        weights.matrices["candidate"].copy_(torch.tensor([[0.5], [0.25]]))
        weights.biases["candidate"].fill_(0.1)
        assert weights.inner is not None
        weights.inner.fill_(1.0)
    x, state = torch.ones(1, 1, 1, dtype=F64), torch.tensor([[[2.0]], [[3.0]]], dtype=F64)
    outputs, behind = recurrence(x, state, Masks())
    given = 0.5 + 0.1
    memory = 2 / 3 * 3 + 3 / 4 * (given + (1 + given) * (0.25 * 2 + 1))
    assert outputs.item() == pytest.approx(0.5 * math.tanh(memory))
    assert behind.flatten().tolist() == pytest.approx([outputs.item(), memory])


@pytest.mark.parametrize("dropped", [False, True])
def test_outputs_and_every_gradient_are_those_of_the_plain_loop(dropped: bool) -> None:
    draws = torch.Generator().manual_seed(5)
    mask = (torch.rand(3, 5, generator=draws) > 0.3).to(F64) / 0.7 if dropped else None
    for cell in SOME:
        recurrence = made(cell)
        x, state = window()
        leaves = [x, state, *recurrence.parameters()]
        outputs, behind = recurrence(x, state, Masks(hidden=mask))
        alone = chosen_alone(cell)
        plain = unroll(recurrence.weights, x, state, mask, lambda n, s, a=alone: a, cell.products)
        told = expression(cell)
        for ours, theirs in ((outputs, plain[0]), (behind, plain[1])):
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12, msg=told)
        expected = gradients(*plain, leaves)
        for ours, theirs in zip(gradients(outputs, behind, leaves), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11, msg=told)
        with torch.no_grad():
            torch.testing.assert_close(recurrence(x, state, Masks(hidden=mask))[0], outputs)


def test_a_memory_that_grows_is_clipped_and_gives_no_gradient_there() -> None:
    cell = GatedCell("one", "sigmoid", "none", "identity", "identity", "one")
    recurrence = made(cell, scale=6)
    x, state = window(steps=12)
    outputs, behind = recurrence(x, state, Masks())
    assert float(outputs.detach().abs().max()) == CLIP
    alone = chosen_alone(cell)
    plain = unroll(recurrence.weights, x, state, None, lambda n, s: alone, cell.products)
    leaves = [x, state, *recurrence.parameters()]
    expected = gradients(*plain, leaves)
    for ours, theirs in zip(gradients(outputs, behind, leaves), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
        assert theirs.isfinite().all()


def test_first_weights_are_those_of_torch_but_for_the_forget_gate() -> None:
    torch.manual_seed(7)
    weights = GatedWeights(TextShape(2, 400), ("input", "forget", "candidate"), True)
    for name, value in weights.named_parameters():
        if name == "biases.forget":
            assert value.unique().tolist() == [FORGET_BIAS]
        else:
            assert 0.9 / 20 < float(value.detach().abs().max()) <= 1 / 20, name


@pytest.mark.parametrize("cell", [*PUBLISHED.values(), EVERY[100]])
def test_weights_are_counted(cell: GatedCell) -> None:
    assert sum(p.numel() for p in made(cell).parameters()) == cell.size(5)


def test_the_lstm_and_the_gru_are_as_large_as_those_of_torch() -> None:
    lstm, gru = LSTMRecurrence(SHAPE), GRURecurrence(SHAPE)
    theirs = [sum(p.numel() for p in each.parameters()) for each in (lstm, gru)]
    assert LSTM_CELL.size(5) == theirs[0] - 4 * 5  # torch has two biases for each product
    assert PUBLISHED["gru"].size(5) == theirs[1] - 2 * 5


def test_texts_of_cells_are_read_back_and_differ() -> None:
    assert all(parse_gated(format_gated(cell)) == cell for cell in EVERY)
    for told in (expression, lambda cell: "\n".join(equations(cell))):
        assert len({told(cell) for cell in EVERY}) == len(EVERY)


def test_equations_and_expression_of_the_lstm() -> None:
    assert expression(LSTM_CELL) == (
        "i = sigmoid, f = sigmoid, o = sigmoid, g = tanh(Wx + Uh), c = f c + i g, h = o tanh(c)"
    )
    assert equations(LSTM_CELL)[2:] == [
        "o = sigmoid(Wo x + Uo h + bo)", "g = tanh(W x + b + U h)", "c' = f c + i g",
        "h' = o tanh(c')",
    ]  # fmt: skip


def test_graphs_read_only_what_comes_before() -> None:
    for cell in EVERY:
        nodes, output = graph(cell)
        for number, edges in enumerate(nodes, start=2):
            assert edges and all(0 <= source < number for _, source in edges)
        assert set(output) <= set(range(2, len(nodes) + 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (format_gated(LSTM_CELL).replace("'none'", "'nine'"), "did you mean 'none'"),
        ("Genotype(input='sigmoid', forget='coupled')", "malformed"),
        ("Genotype(input=open('x'), forget='coupled')", "malformed"),
        ("__import__('os')", "expected one Genotype"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message) as e:
        parse_gated(text, "here")
    assert "\n" not in str(e.value)


def test_other_genotypes_are_refused() -> None:
    good = {name: ((0, operations[0]),) for name, operations in CHOICES.items()}
    assert gated_cell(Genotype("gated", good)).forget == "sigmoid"
    for changed, message in (
        ({"input": ((0, "swish"),)}, "found 'swish'"),
        ({"input": ((1, "one"),)}, "that of edge 0"),
        ({"input": ((0, "one"), (1, "one"))}, "found 2"),
        ({"inputs": ((0, "one"),)}, "expects blocks"),
    ):
        with pytest.raises(GenotypeError, match=message):
            gated_cell(Genotype("gated", good | changed))


class Carry:
    value: Tensor | None = None


def test_all_products_learn_and_rows_estimate_the_gates() -> None:
    """Probes on half of the columns average to those on all."""
    torch.manual_seed(8)
    space = GatedSpace(SHAPE, {}).double()
    gates = Selections(space.blocks).drawn(torch.Generator().manual_seed(9)).to_gates(space.blocks)
    draws = torch.Generator().manual_seed(10)
    words = torch.randint(11, (8, 6), generator=draws)
    state = torch.randn(2, 6, 5, dtype=F64, generator=draws)

    def slopes(shift: int, rows: float) -> dict[str, Tensor]:
        turned = torch.arange(6).roll(shift)
        batch = TextBatch(words[:-1, turned], words[1:, turned], Carry(), state[:, turned], 0)
        factors = {block.name: torch.ones(block.shape) for block in space.blocks}
        return gate_gradient(space, batch, replace(gates, probing=Probing(factors, rows))).gates

    first, second, exact = slopes(0, 0.5), slopes(3, 0.5), slopes(0, 1.0)
    for name, value in exact.items():
        torch.testing.assert_close((first[name] + second[name]) / 2, value, rtol=1e-8, atol=1e-12)
    mixed = {name: torch.full_like(table, 0.3) for name, table in gates.weights.items()}
    batch = TextBatch(words[:-1], words[1:], Carry(), None, 0)
    space.loss(batch, Gates(mixed, None)).backward()
    for name, parameter in space.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("cell", [LSTM_CELL, PUBLISHED["gru"], EVERY[350]])
def test_a_model_step_by_step_is_the_model_over_a_window(cell: GatedCell) -> None:
    torch.manual_seed(11)
    model = LanguageModel(SHAPE, GatedRecurrence(SHAPE, cell)).double()
    words = torch.randint(11, (7, 3))
    whole = model(words, None)
    state, logits = None, []
    for word in words:
        answer = model(word[None], state)
        state = answer.state
        logits.append(answer.logits)
    torch.testing.assert_close(torch.cat(logits), whole.logits)
    assert len(ACTIVATIONS) == 4 and state is not None
    torch.testing.assert_close(state, whole.state)
