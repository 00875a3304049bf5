from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates
from sif.core.probe import Candidate, gate_gradient, gated_output, probe
from sif.core.proximal import project

OPS = 3


class Dag(nn.Module):
    """Input 0, node 1 with one edge, node 2 with three: two from node 1 and one from node 0.

    Every edge has a linear map, a gated tanh and a scaled skip; the last needs the continuous
    architecture parameter.
    """

    def __init__(self, keep: int, width: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64))

        self.block = Block("cell", ("linear", "tanh", "skip"), (1, 2, 2, 2), keep)
        self.unused = Block("idle", ("a", "b"))
        self.linear = nn.ParameterList(draw(width, width) for _ in range(4))
        self.bend = nn.ParameterList(draw(width) for _ in range(4))
        self.stretch = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))
        self.calls: list[tuple[int, int, bool]] = []

    def arch_parameters(self) -> list[nn.Parameter]:
        return [self.stretch]

    def reference_tensor(self) -> Tensor:
        return self.stretch

    def candidates(self, edge: int, x: Tensor) -> list[Candidate]:
        def noted(operation: int, value: Candidate) -> Candidate:
            def run() -> Tensor:
                self.calls.append((edge, operation, torch.is_grad_enabled()))
                return value()

            return run

        return [
            noted(0, lambda: x @ self.linear[edge]),
            noted(1, lambda: torch.tanh(x * self.bend[edge])),
            noted(2, lambda: x * self.stretch),
        ]

    def node(self, edges: Sequence[int], inputs: Sequence[Tensor], gates: Gates) -> Tensor:
        weights = gates.weights["cell"][list(edges)]
        table = [self.candidates(e, x) for e, x in zip(edges, inputs, strict=True)]
        if gates.active is None:
            return sum(weights[i, k] * table[i][k]() for i in range(len(edges)) for k in range(OPS))
        active = [gates.active["cell"][e] for e in edges]
        value = sum(table[i][k]() for i, k in enumerate(active) if k >= 0)
        return probe(value, weights, [c for row in table for c in row])

    def loss(self, batch: Tensor, gates: Gates) -> Tensor:
        one = self.node([0], [batch], gates)
        two = self.node([1, 2, 3], [one, one, batch], gates)
        return ((two - 1) ** 2).mean() + (one**3).mean()


def discrete(dag: Dag, seed: int) -> Gates:
    generator = torch.Generator().manual_seed(seed)
    alpha = {b.name: torch.randn(b.shape, generator=generator) for b in (dag.block, dag.unused)}
    return project(alpha, [dag.block, dag.unused])


def batch_of(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 + seed)
    return torch.randn(7, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_probes_equal_autograd_through_the_dense_mixture(keep: int, seed: int) -> None:
    dag = Dag(keep)
    gates, batch = discrete(dag, seed), batch_of(seed)
    assert gates.choices()["cell"].count(-1) == 3 - keep
    found = gate_gradient(dag, batch, gates)
    dense = gates.weights["cell"].double().requires_grad_()
    loss = dag.loss(batch, Gates({"cell": dense}, None))
    by_gate, by_arch = torch.autograd.grad(loss, [dense, dag.stretch])
    torch.testing.assert_close(found.loss, loss.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.gates["cell"], by_gate, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.arch[0], by_arch, rtol=1e-10, atol=1e-12)
    assert found.gates["cell"].abs().min() > 0  # every edge and operation is told, dropped or not


@pytest.mark.parametrize("keep", [1, 2])
def test_probes_equal_finite_differences_of_the_relaxed_loss(keep: int) -> None:
    dag = Dag(keep)
    gates, batch = discrete(dag, 11), batch_of(11)
    found = gate_gradient(dag, batch, gates).gates["cell"]
    h = 1e-6
    for edge in range(4):
        for operation in range(OPS):
            losses = []
            for sign in (1, -1):
                weights = gates.weights["cell"].double()
                weights[edge, operation] += sign * h
                losses.append(dag.loss(batch, Gates({"cell": weights}, None)).item())
            slope = (losses[0] - losses[1]) / (2 * h)
            assert float(found[edge, operation]) == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_candidates_run_once_each_and_without_a_graph() -> None:
    dag = Dag(1)
    gates = discrete(dag, 0)
    gate_gradient(dag, batch_of(0), gates)
    chosen = {(e, k) for e, k in enumerate(gates.choices()["cell"]) if k >= 0}
    assert sorted(c[:2] for c in dag.calls if c[2]) == sorted(chosen)
    silent = [c[:2] for c in dag.calls if not c[2]]
    assert sorted(silent) == [(e, k) for e in range(4) for k in range(OPS)]


def test_no_gradient_reaches_weights_that_are_not_chosen() -> None:
    dag = Dag(1)
    gates = discrete(dag, 1)
    leaves = {n: w.double().requires_grad_() for n, w in gates.weights.items()}
    dag.loss(batch_of(1), Gates(leaves, gates.active)).backward()
    for edge, operation in enumerate(gates.choices()["cell"]):
        assert (dag.linear[edge].grad is not None) == (operation == 0)
        assert (dag.bend[edge].grad is not None) == (operation == 1)


def test_gate_gradient_leaves_no_trace() -> None:
    dag = Dag(2)
    gates = discrete(dag, 2)
    before = {name: p.detach().clone() for name, p in dag.named_parameters()}
    table = gates.weights["cell"].clone()
    found = gate_gradient(dag, batch_of(2), gates)
    assert all(p.grad is None for p in dag.parameters())
    assert all(torch.equal(p, before[name]) for name, p in dag.named_parameters())
    assert torch.equal(gates.weights["cell"], table)
    assert not gates.weights["cell"].requires_grad
    assert not found.loss.requires_grad
    assert found.gates["idle"].shape == (1, 2)
    assert not found.gates["idle"].any()  # a block that the loss does not use


def test_a_probe_without_a_question_is_the_value_itself() -> None:
    def never() -> Tensor:
        raise AssertionError("a candidate ran")

    value, weights = torch.ones(3, requires_grad=True), torch.ones(2)
    assert probe(value, weights, [never, never]) is value
    with torch.no_grad():
        assert probe(value, weights.requires_grad_(), [never, never]) is value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mix_agrees_relaxed_and_discrete(dtype: torch.dtype) -> None:
    x = torch.linspace(-1, 1, 5, dtype=dtype)
    operations: list[Candidate] = [lambda: x, lambda: x**2, lambda: torch.exp(x)]
    gates = [torch.tensor([0.0, 1.0, 0.0], dtype=dtype, requires_grad=True) for _ in range(2)]
    mixed = [
        gated_output(w, active, operations) for w, active in zip(gates, (1, None), strict=True)
    ]
    torch.testing.assert_close(mixed[0], mixed[1])
    for value in mixed:
        (value**2).sum().backward()
    expected = [(2 * x**2 * op()).sum() for op in operations]
    torch.testing.assert_close(gates[0].grad, torch.stack(expected))
    torch.testing.assert_close(gates[0].grad, gates[1].grad)
    assert gates[0].grad is not None
    assert gates[0].grad.dtype == dtype


def test_mix_runs_no_candidate_whose_factor_is_zero() -> None:
    def never() -> Tensor:
        raise AssertionError("a candidate ran")

    x = torch.linspace(-1, 1, 5)
    gates = torch.tensor([0.0, 1.0, 0.0], requires_grad=True)
    gated_output(
        gates, 1, [never, lambda: x**2, lambda: torch.exp(x)], [0.0, 1.0, 3.0]
    ).sum().backward()
    expected = torch.stack([torch.zeros(()), (x**2).sum(), 3 * torch.exp(x).sum()])
    torch.testing.assert_close(gates.grad, expected)


def test_relaxed_mix_is_the_weighted_sum() -> None:
    operations: list[Candidate] = [lambda: torch.ones(2), lambda: torch.tensor([1.0, 3.0])]
    assert gated_output(torch.tensor([0.5, 2.0]), None, operations).tolist() == [2.5, 6.5]
