"""The methods that NASP is compared with."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sif.config import CFConfig, load_config
from sif.core.gates import Gates, Selection
from sif.core.method import ChoosesAtEnd, LearnsArchitecture, Method, Plan
from sif.core.probe import gate_gradient
from sif.core.proximal import project, weight_step
from sif.methods.asap import Asap, AsapSettings
from sif.methods.asng import Asng, AsngSettings
from sif.methods.bayesnas import BayesNAS, BayesNASSettings
from sif.methods.darts import Darts
from sif.methods.enas import Enas, EnasSettings
from sif.methods.fixed import fixed
from sif.methods.gdas import TEMPERATURES as GDAS_TEMPERATURES
from sif.methods.gdas import Gdas, log_odds
from sif.methods.nasp import Nasp, NaspSettings
from sif.methods.random_ws import RandomWS, RandomWSSettings, random_ws
from sif.methods.relaxation import BETAS, gumbel, through_softmax
from sif.methods.settings import RelaxationSettings
from sif.methods.snas import TEMPERATURES as SNAS_TEMPERATURES
from sif.methods.snas import Snas, concrete
from sif.search.budget import pilot
from sif.spaces.cnn.networks import Layout
from sif.spaces.cnn.supernet import CNNSpace, ImageBatch
from sif.spaces.interaction.supernet import FunctionSpace
from sif.tasks.cf.inputs import prepare
from sif.utils.device import make_runtime

F64 = torch.float64
FAST = RelaxationSettings(arch_lr=0.1)
PLAIN = RelaxationSettings(arch_lr=0.1, arch_weight_decay=0.0)
MAKE: dict[str, Callable[[CNNSpace, torch.Generator], Method]] = {
    "nasp": lambda s, g: Nasp(s, NaspSettings(arch_optimizer="plain", arch_lr=0.1), Plan(6, 2), g),
    "darts-1": lambda s, g: Darts(s, FAST, Plan(6), g),
    "darts-2": lambda s, g: Darts(s, FAST, Plan(6), g, order=2),
    "snas": lambda s, g: Snas(s, FAST, Plan(6), g),
    "gdas": lambda s, g: Gdas(s, FAST, Plan(6), g),
    "random-ws": lambda s, g: RandomWS(s, RandomWSSettings(candidates=3), Plan(6), g),
    "asng": lambda s, g: Asng(s, AsngSettings(), Plan(6), g),
    "asap": lambda s, g: Asap(s, AsapSettings(arch_lr=0.5, last_temperature=0.01), Plan(6), g),
    "enas": lambda s, g: Enas(s, EnasSettings(hidden=8, arch_lr=0.1), Plan(6), g),
    "bayesnas": lambda s, g: BayesNAS(s, BayesNASSettings(hessian_draws=1), Plan(4), g),
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
    draws = torch.Generator().manual_seed(0)
    method = Darts(space, PLAIN, Plan(6), draws, wasteful=wasteful)
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
    plan, draws = Plan(6, lr=rate), torch.Generator().manual_seed(0)
    method = Darts(space, PLAIN, plan, draws, order=2)
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
    method = Darts(
        space, RelaxationSettings(arch_lr=0.5), Plan(6), torch.Generator().manual_seed(0)
    )
    for step in range(3):
        method.arch_step(space, batch(step), batch(step + 5))
    relaxed = method.weight_gates(7)
    assert relaxed.active is None
    assert all(
        torch.allclose(w.sum(1), torch.ones(14, dtype=F64)) for w in relaxed.weights.values()
    )
    expected = project(relaxed.weights, space.blocks)
    assert method.best_gates().choices() == expected.choices()


def test_random_search_keeps_the_candidate_with_the_lowest_error() -> None:
    space = make_space()
    method = RandomWS(
        space, RandomWSSettings(candidates=4), Plan(6), torch.Generator().manual_seed(0)
    )
    assert isinstance(method, ChoosesAtEnd) and not isinstance(method, LearnsArchitecture)
    candidates = [Selection(lists) for lists in method.state_dict()["drawn"]]
    assert method.best_gates().choices() == candidates[0]
    errors = iter([3.0, 1.0, 2.0, 1.0])
    asked = []

    def error(gates: Gates) -> float:
        asked.append(gates.choices())
        return next(errors)

    method.choose(error)
    assert asked == candidates
    assert method.best_gates().choices() == candidates[1]


def test_an_error_that_is_no_number_is_never_the_lowest() -> None:
    space = make_space()
    for told, best in (([math.nan, 2.0, 1.0, -math.inf], 2), ([math.nan] * 4, 0)):
        method = RandomWS(
            space, RandomWSSettings(candidates=4), Plan(6), torch.Generator().manual_seed(0)
        )
        errors = iter(told)
        method.choose(lambda gates, errors=errors: next(errors))  # type: ignore[misc]
        assert method.state_dict()["ranked"][0] == best


@pytest.mark.parametrize(("most", "expected"), [(100, 100), (1000, 405)])
def test_random_search_judges_different_selections(most: int, expected: int) -> None:
    config = load_config("cf", sets=["space=primitives", "data.planted.users=20"])
    assert isinstance(config, CFConfig)
    space = prepare(config, make_runtime("cpu", 0, threads=1)).problem.space()
    method = RandomWS(
        space, RandomWSSettings(candidates=most), Plan(6), torch.Generator().manual_seed(0)
    )
    judged: list[str] = []
    method.choose(lambda gates: judged.append(str(gates.choices())) or 0.0)  # type: ignore[func-returns-value]
    assert len(set(judged)) == len(judged) == method.candidates == expected


def test_random_weight_steps_train_every_operation() -> None:
    space = make_space()
    method = RandomWS(
        space, RandomWSSettings(candidates=2), Plan(6), torch.Generator().manual_seed(0)
    )
    counts = {b.name: torch.zeros(b.shape) for b in space.blocks}
    for step in range(160):
        for name, weights in method.weight_gates(step).weights.items():
            counts[name] += weights != 0
    assert all(int(count.min()) > 0 for count in counts.values())


def test_random_weight_steps_draw_every_choice_equally_often() -> None:
    config = load_config("cf", sets=["space=primitives", "data.planted.users=20"])
    assert isinstance(config, CFConfig)
    space = prepare(config, make_runtime("cpu", 0, threads=1)).problem.space()
    assert not all(b.weighted for b in space.blocks)
    method = RandomWS(
        space, RandomWSSettings(candidates=2), Plan(6), torch.Generator().manual_seed(0)
    )
    steps, half = 540, []
    counts = {b.name: torch.zeros(b.shape, dtype=F64) for b in space.blocks}
    for step in range(steps):
        if step == steps // 2:
            state = copy.deepcopy(method.state_dict())
            method = RandomWS(
                space, RandomWSSettings(candidates=2), Plan(6), torch.Generator().manual_seed(7)
            )
            method.load_state_dict(state)
        gates = method.weight_gates(step)
        half += [gates.choices()] if step >= steps // 2 else []
        for name, weights in gates.weights.items():
            counts[name] += weights != 0
    for block in space.blocks:
        shares = counts[block.name] / steps
        even = torch.full(block.shape, 1 / block.shape[1], dtype=F64)
        torch.testing.assert_close(shares, even, atol=0.05, rtol=0)
    straight = RandomWS(
        space, RandomWSSettings(candidates=2), Plan(6), torch.Generator().manual_seed(0)
    )
    assert [straight.weight_gates(s).choices() for s in range(steps)][steps // 2 :] == half


@pytest.mark.parametrize("name", MAKE)
def test_resumed_methods_go_on_as_uninterrupted(name: str) -> None:
    def run(interrupted: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        space = make_space()
        method = MAKE[name](space, torch.Generator().manual_seed(3))
        optimizer = torch.optim.SGD(space.weight_parameters(), 0.1)
        for step in range(4):
            if interrupted and step == 2:
                state = copy.deepcopy(method.state_dict())
                method = MAKE[name](space, torch.Generator().manual_seed(3))
                method.load_state_dict(state)
            if isinstance(method, LearnsArchitecture):
                method.arch_step(space, batch(step), batch(step + 10))
            weight_step(space, batch(step), method.weight_gates(step), optimizer)
        return method.alpha(), dict(space.named_parameters())

    for straight, resumed in zip(run(False), run(True), strict=True):
        assert all(torch.equal(value, resumed[key]) for key, value in straight.items())


def test_snas_draws_dense_weights_that_sum_to_one_and_sharpen() -> None:
    space = make_space()
    method = Snas(space, RelaxationSettings(), Plan(40), torch.Generator().manual_seed(0))
    sharpest = []
    for step in (0, 39):
        gates = method.weight_gates(step)
        assert gates.active is None
        for table in gates.weights.values():
            assert bool((table > 0).all())
            torch.testing.assert_close(table.sum(dim=1), torch.ones(14, dtype=F64))
        sharpest.append(torch.cat([t.max(dim=1).values for t in gates.weights.values()]).mean())
    assert sharpest[0] < 0.5 < 0.95 < sharpest[1]


@pytest.mark.parametrize(
    ("kind", "ends", "halfway"),
    [(Snas, SNAS_TEMPERATURES, (2.5 * 0.03) ** 0.5),
     (Gdas, GDAS_TEMPERATURES, 5.05)],
)  # fmt: skip
def test_temperatures_fall_from_the_first_to_the_last(
    kind: type[Snas] | type[Gdas], ends: tuple[float, float], halfway: float
) -> None:  # fmt: skip
    method = kind(make_space(), RelaxationSettings(), Plan(101), torch.Generator().manual_seed(0))
    for step, expected in ((0, ends[0]), (50, halfway), (100, ends[1]), (150, ends[1])):
        method.weight_gates(step)
        assert method.temperature() == pytest.approx(expected)


def test_the_gradient_through_a_draw_is_that_of_finite_differences() -> None:
    draws = torch.Generator().manual_seed(1)
    alpha, slope = torch.randn(3, 4, dtype=F64), torch.randn(3, 4, dtype=F64)
    noise = gumbel(alpha, draws)
    for heat in (2.5, 0.3):
        found = through_softmax(concrete(alpha, noise, heat), slope, heat)
        for place in range(alpha.numel()):
            step = torch.zeros(12, dtype=F64)
            step[place] = 1e-6
            up, down = (
                (slope * concrete(alpha + sign * step.view(3, 4), noise, heat)).sum()
                for sign in (1, -1)
            )
            assert found.flatten()[place] == pytest.approx(float(up - down) / 2e-6, abs=1e-6)


def test_gumbel_noise_draws_by_the_softmax() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 0.5]], dtype=F64).expand(40_000, 4)
    drawn = (logits + gumbel(logits, torch.Generator().manual_seed(0))).argmax(dim=1)
    shares = torch.bincount(drawn, minlength=4) / 40_000
    torch.testing.assert_close(shares.double(), logits[0].softmax(0), atol=0.01, rtol=0)


def test_snas_descends_on_the_gradient_through_its_draw() -> None:
    space = make_space()
    method = Snas(space, PLAIN, Plan(10), torch.Generator().manual_seed(0))
    state = copy.deepcopy(method.state_dict())
    alpha = {name: a.requires_grad_() for name, a in alphas(method).items()}
    draws = torch.Generator()
    draws.set_state(state["generator"])
    heat = method.temperature()
    gates = {n: concrete(a, gumbel(a.detach(), draws), heat) for n, a in alpha.items()}
    loss = space.loss(batch(1), Gates(gates, None))
    grads = torch.autograd.grad(loss, list(alpha.values()))
    report = method.arch_step(space, batch(0), batch(1))
    assert report.loss == pytest.approx(float(loss.detach()))
    assert all(p.grad is None for p in space.parameters())
    for (name, old), grad in zip(alpha.items(), grads, strict=True):
        moved = old.detach() - alphas(method)[name]
        torch.testing.assert_close(moved, 0.1 * grad / (grad.abs() + 1e-8), rtol=1e-5, atol=1e-8)


def test_gdas_draws_selections_of_the_space() -> None:
    space = make_space()
    method = Gdas(space, RelaxationSettings(), Plan(9), torch.Generator().manual_seed(0))
    seen = set()
    for step in range(9):
        gates = method.weight_gates(step)
        assert gates.active is not None
        again = project(gates.weights, space.blocks)
        assert again.choices() == gates.choices()
        assert all(set(w.unique().tolist()) == {0.0, 1.0} for w in gates.weights.values())
        seen.add(str(gates.choices()))
    assert len(seen) == 9


def test_gdas_descends_straight_through_what_was_drawn_alone() -> None:
    space = make_space()
    method = Gdas(space, PLAIN, Plan(10), torch.Generator().manual_seed(0))
    before = alphas(method)
    draws = torch.Generator()
    draws.set_state(method.state_dict()["generator"])
    heat = method.temperature()
    report = method.arch_step(space, batch(0), batch(1))
    logits = {n: (a.log_softmax(1) + gumbel(a, draws)) / heat for n, a in before.items()}
    gates = project({n: log_odds(t) for n, t in logits.items()}, space.blocks)
    exact = gate_gradient(space, batch(1), gates)
    assert report.loss == pytest.approx(float(exact.loss))
    for name, old in before.items():
        chosen = gates.weights[name]
        torch.testing.assert_close(report.scores["gradient"][name], exact.gates[name] * chosen)
        leaf = old.clone().requires_grad_()
        soft = (leaf.log_softmax(1) - old.log_softmax(1)) / heat + logits[name]
        surrogate = (soft.softmax(1) * exact.gates[name] * chosen).sum()
        (grad,) = torch.autograd.grad(surrogate, leaf)
        moved = old - alphas(method)[name]
        # Where an edge was dropped nothing was heard, so nothing moves.
        dropped = chosen.sum(1) == 0
        assert dropped.any() and not moved[dropped].any()
        torch.testing.assert_close(moved, 0.1 * grad / (grad.abs() + 1e-8), rtol=1e-4, atol=1e-8)


def test_log_odds_order_edges_whose_softmax_rounds_to_one() -> None:
    logits = torch.tensor([[50.0, 0.0, 0.0], [80.0, 0.0, 0.0], [1.0, 0.0, -1.0]], dtype=F64)
    soft = logits.softmax(1)
    assert soft[0, 0] == soft[1, 0] == 1
    odds = log_odds(logits)
    assert odds[1, 0] > odds[0, 0]
    torch.testing.assert_close(odds[2], (soft[2] / (1 - soft[2])).log())


def test_learned_transforms_descend_under_every_method() -> None:
    sets = ["space=sif", "data.planted.users=20", "data.planted.items=15", "search.dimension=3"]
    config = load_config("cf", sets=sets)
    assert isinstance(config, CFConfig)
    run = prepare(config, make_runtime("cpu", 0, threads=1)).problem.method_run()
    made: dict[str, Callable[[Any, torch.Generator], Method]] = {
        "darts-1": lambda s, g: Darts(s, RelaxationSettings(), Plan(3), g),
        "darts-2": lambda s, g: Darts(s, RelaxationSettings(), Plan(3), g, order=2),
        "snas": lambda s, g: Snas(s, RelaxationSettings(), Plan(3), g),
        "gdas": lambda s, g: Gdas(s, RelaxationSettings(), Plan(3), g),
        "random-ws": lambda s, g: random_ws(s, RandomWSSettings(), Plan(3), g),
        "asng": lambda s, g: Asng(s, AsngSettings(), Plan(3), g),
        "asap": lambda s, g: Asap(s, AsapSettings(), Plan(3), g),
        "enas": lambda s, g: Enas(s, EnasSettings(), Plan(3), g),
        "bayesnas": lambda s, g: BayesNAS(s, BayesNASSettings(), Plan(3), g),
        "fixed": lambda s, g: fixed(s, Selection({"operation": [0]}), 3e-3),
    }
    for make in made.values():
        space, (train, valid) = run.make_space(False), run.streams()
        method = make(space, torch.Generator().manual_seed(0))
        before = {n: p.detach().clone() for n, p in space.named_parameters()}
        assert isinstance(method, LearnsArchitecture)
        method.arch_step(space, train.next(), valid.next())
        moved = {n for n, p in space.named_parameters() if not torch.equal(p, before[n])}
        assert moved == {name for name in before if name.startswith("transforms.")}
        assert len(method.state_dict()["continuous"]["state"]) == len(space.arch_parameters())


def test_l2_of_relaxed_gates_is_that_of_all_operations_by_their_weights() -> None:
    config = load_config("cf", sets=["space=primitives", "data.planted.users=20"])
    assert isinstance(config, CFConfig)
    space = prepare(config, make_runtime("cpu", 0, threads=1)).problem.space()
    assert isinstance(space, FunctionSpace)
    with torch.no_grad():
        for k, table in enumerate(space.tables):
            for parameter in table.parameters():
                parameter.mul_(1 + k)
    with torch.no_grad():
        alone = [
            float(
                space.regularizer(
                    Selection({"operation": [k], "user": [0], "item": [0]}).to_gates(space.blocks)
                )
            )
            for k in range(len(space.operations))
        ]
    assert len(set(alone)) == len(alone)
    alpha = {b.name: torch.rand(b.shape).softmax(1) for b in space.blocks}
    expected = float(alpha["operation"][0] @ torch.tensor(alone))
    found = float(space.regularizer(Gates(alpha, None)).detach())
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_pilot_takes_steps_as_bounded_as_the_search() -> None:
    # Recurrent cells take steps of size 20, which only the bound keeps from diverging.
    space, rate, bound = make_space(), 1e3, 1e-6
    before = [p.detach().clone() for p in space.weight_parameters()]

    class Batches:
        def __init__(self) -> None:
            self.taken = 0

        def next(self) -> ImageBatch:
            self.taken += 1
            return batch(self.taken)

    train: Any = Batches()
    section: Any = SimpleNamespace(lr=rate)
    plain: Any = torch.optim.SGD
    method = Nasp(space, NaspSettings(), Plan(6), torch.Generator().manual_seed(0))
    valid: Any = Batches()
    pilot(space, method, train, valid, plain, section, lambda gates: 0.0, 1e-9, bound)
    moved = sum(
        (p - q).square().sum().item()
        for p, q in zip(space.weight_parameters(), before, strict=True)
    )
    assert 0 < moved**0.5 <= train.taken * rate * bound * (1 + 1e-6)
