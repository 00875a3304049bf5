"""The methods that NASP is compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sif.methods.base import Choosing, Learning, Method
from sif.methods.darts import Darts, DartsSettings
from sif.methods.nasp import Nasp, NaspSettings
from sif.methods.random_ws import RandomWS, RandomWSSettings
from sif.methods.relaxed import BETAS, AlphaSettings
from sif.prox import Gates, project, weight_step
from sif.spaces.cnn import CNNSpace, ImageBatch
from sif.spaces.cnn_networks import Layout

F64 = torch.float64
MAKE: dict[str, Callable[[CNNSpace, torch.Generator], Method]] = {
    "nasp": lambda s, g: Nasp(s, NaspSettings(2, optimizer="plain", lr=0.1), g),
    "darts-1": lambda s, g: Darts(s, DartsSettings(1, AlphaSettings(0.1)), g),
    "darts-2": lambda s, g: Darts(s, DartsSettings(2, AlphaSettings(0.1)), g),
    "random-ws": lambda s, g: RandomWS(s, RandomWSSettings(3), g),
}


def make_space() -> CNNSpace:
    torch.manual_seed(0)
    return CNNSpace("nasp-12op", Layout(3, 2, 3, image_channels=1, stem_multiplier=1)).double()


def batch(seed: int) -> ImageBatch:
    draws = torch.Generator().manual_seed(seed)
    images = torch.randn(4, 1, 4, 4, generator=draws, dtype=F64)
    return ImageBatch(images, torch.randint(3, (4,), generator=draws))


def loss_at(space: CNNSpace, alpha: dict[str, Tensor], data: ImageBatch) -> Tensor:
    return space.loss(data, Gates({n: a.softmax(dim=1) for n, a in alpha.items()}, None))


def alphas(method: Darts) -> dict[str, Tensor]:
    found: dict[str, Tensor] = method.state_dict()["alpha"]
    return found


@pytest.mark.parametrize("wasteful", [False, True])
def test_first_order_descends_on_the_gradient_by_alpha(wasteful: bool) -> None:
    space = make_space()
    settings = DartsSettings(1, AlphaSettings(0.1, 0.0), wasteful=wasteful)
    method = Darts(space, settings, torch.Generator().manual_seed(0))
    before = {name: a.requires_grad_() for name, a in alphas(method).items()}
    grads = torch.autograd.grad(loss_at(space, before, batch(1)), list(before.values()))
    report = method.arch_step(space, batch(0), batch(1))
    with torch.no_grad():
        assert report.loss == pytest.approx(float(loss_at(space, before, batch(1))))
    assert all(p.grad is None for p in space.parameters())
    for (name, old), grad in zip(before.items(), grads, strict=True):
        moved = old.detach() - alphas(method)[name]
        torch.testing.assert_close(moved, 0.1 * grad / (grad.abs() + 1e-8), rtol=1e-6, atol=1e-9)
    assert BETAS == (0.5, 0.999)


def test_second_order_is_the_derivative_through_the_imagined_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # With the published step of 0.01 a tiny supernet's kinks (ReLU, maxima) drown the difference.
    monkeypatch.setattr("sif.methods.darts.PERTURBATION", 1e-6)
    space, rate = make_space(), 0.05
    settings = DartsSettings(2, AlphaSettings(0.1, 0.0), unrolled_lr=rate)
    method = Darts(space, settings, torch.Generator().manual_seed(0))
    alpha = {name: a.requires_grad_() for name, a in alphas(method).items()}
    names, weights = zip(*space.named_parameters(), strict=True)
    slope = torch.autograd.grad(
        loss_at(space, alpha, batch(0)), weights, create_graph=True, allow_unused=True
    )
    stepped = {
        n: w if g is None else w - rate * g for n, w, g in zip(names, weights, slope, strict=True)
    }
    gates = Gates({n: a.softmax(dim=1) for n, a in alpha.items()}, None)
    data = batch(1)

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.space = space

        def forward(self) -> Tensor:
            return self.space.loss(data, gates)

    renamed = {f"space.{name}": value for name, value in stepped.items()}
    loss = torch.func.functional_call(Loss(), renamed, ())
    exact = torch.autograd.grad(loss, list(alpha.values()))
    kept = {name: p.detach().clone() for name, p in space.named_parameters()}
    report = method.arch_step(space, batch(0), data)
    assert report.loss == pytest.approx(float(loss.detach()))
    assert all(torch.equal(p, kept[name]) for name, p in space.named_parameters())
    for (name, a), grad in zip(alpha.items(), exact, strict=True):
        by_gate = report.scores["gradient"][name]
        weight = a.detach().softmax(dim=1)
        ours = weight * (by_gate - (weight * by_gate).sum(dim=1, keepdim=True))
        torch.testing.assert_close(ours, grad, rtol=1e-3, atol=1e-5)


def test_darts_exports_the_projection_of_its_softmax_weights() -> None:
    space = make_space()
    method = Darts(space, DartsSettings(1, AlphaSettings(0.5)), torch.Generator().manual_seed(0))
    for step in range(3):
        method.arch_step(space, batch(step), batch(step + 5))
    relaxed = method.weight_gates(7)
    assert relaxed.active is None
    assert all(
        torch.allclose(w.sum(1), torch.ones(14, dtype=F64)) for w in relaxed.weights.values()
    )
    expected = project(relaxed.weights, space.blocks)
    assert method.selection().selection() == expected.selection()


def test_random_search_keeps_the_candidate_with_the_lowest_error() -> None:
    space = make_space()
    method = RandomWS(space, RandomWSSettings(4), torch.Generator().manual_seed(0))
    assert isinstance(method, Choosing) and not isinstance(method, Learning)
    candidates = [project(a, space.blocks).selection() for a in method.state_dict()["drawn"]]
    assert method.selection().selection() == candidates[0]
    errors = iter([3.0, 1.0, 2.0, 1.0])
    asked = []

    def error(gates: Gates) -> float:
        asked.append(gates.selection())
        return next(errors)

    method.choose(error)
    assert asked == candidates
    assert method.selection().selection() == candidates[1]


def test_random_weight_steps_train_every_operation() -> None:
    space = make_space()
    method = RandomWS(space, RandomWSSettings(2), torch.Generator().manual_seed(0))
    counts = {b.name: torch.zeros(b.shape) for b in space.blocks}
    for step in range(160):
        for name, weights in method.weight_gates(step).weights.items():
            counts[name] += weights != 0
    assert all(int(count.min()) > 0 for count in counts.values())


@pytest.mark.parametrize("name", MAKE)
def test_resumed_methods_go_on_as_uninterrupted(name: str) -> None:
    def run(interrupted: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        space = make_space()
        method = MAKE[name](space, torch.Generator().manual_seed(3))
        optimizer = torch.optim.SGD(space.weight_parameters(), 0.1)
        for step in range(6):
            if interrupted and step == 3:
                state = copy.deepcopy(method.state_dict())
                method = MAKE[name](space, torch.Generator().manual_seed(3))
                method.load_state_dict(state)
            if isinstance(method, Learning):
                method.arch_step(space, batch(step), batch(step + 10))
            weight_step(space, batch(step), method.weight_gates(step), optimizer)
        return method.alpha(), dict(space.named_parameters())

    for straight, resumed in zip(run(False), run(True), strict=True):
        assert all(torch.equal(value, resumed[key]) for key, value in straight.items())
