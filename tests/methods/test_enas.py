"""ENAS: the gradient of the controller, its rewards, and what it learns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from sif.core.gates import Block, Gates
from sif.core.method import ChoosesAtEnd, LearnsArchitecture, Plan
from sif.core.selections import Selections
from sif.core.space import Rewarded
from sif.methods.enas import Controller, Enas, EnasSettings, log_chance, path_entropy, surrogate
from tests.doubles import PlantedSpace
from tests.methods.test_contract import RUNS

F64 = torch.float64
TINY = (Block("cell", ("a", "b", "c"), nodes=(0, 0)), Block("pair", ("x", "y")))
"""3 * 2 * 2 selections: an edge of two with its operation, and one more operation."""
BEST = {"cell": (-1, 2), "pair": (1,)}


def loss(gates: Mapping[str, Tensor]) -> Tensor:
    """1 for each wrong one of the edge, its operation and the other operation."""
    cell, pair = gates["cell"], gates["pair"]
    return 3 - cell[1].sum() - cell[:, 2].sum() - pair[0, 1]


def enas(seed: int = 0, **settings: Any) -> tuple[Enas, PlantedSpace]:
    space = PlantedSpace(TINY, loss)
    given = EnasSettings(hidden=8, **settings)
    return Enas(space, given, Plan(10), torch.Generator().manual_seed(seed)), space


def chances(method: Enas) -> dict[tuple[int, ...], float]:
    """Chance of every row."""
    sizes = Selections(TINY).sizes
    found = {}
    for row in itertools.product(*(range(n) for n in sizes)):
        _, log = method.controller(lambda place, _, row=row: row[place])
        found[row] = float(log_chance(row, log).detach().exp())
    return found


@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_reinforce_is_in_expectation_the_gradient_of_mean_reward_and_entropy(
    baseline: float,
) -> None:
    selections = Selections(TINY)
    draws = torch.Generator().manual_seed(0)
    controller = Controller(selections, EnasSettings(hidden=8, temperature=0.1), draws)
    parameters = list(controller.parameters())
    rows = list(itertools.product(*(range(n) for n in selections.sizes)))
    rewards = torch.rand(len(rows), generator=draws, dtype=F64)
    exact, total = torch.zeros((), dtype=F64), 0.0
    estimate = [torch.zeros_like(p) for p in parameters]
    for row, reward in zip(rows, rewards.tolist(), strict=True):
        _, log = controller(lambda place, _, row=row: row[place])
        chance = log_chance(row, log).exp()
        total += float(chance.detach())
        # The entropy of rows is the mean of -log chance; its gradient is taken by autograd.
        exact = exact + chance * (reward - 0.3 * log_chance(row, log))
        part, _ = surrogate(row, log, reward, 0.3, baseline)
        grads = torch.autograd.grad(part, parameters, retain_graph=True, materialize_grads=True)
        for mean, grad in zip(estimate, grads, strict=True):
            mean.add_(grad, alpha=float(chance.detach()))
    assert total == pytest.approx(1.0)
    expected = torch.autograd.grad(exact, parameters, materialize_grads=True)
    for ours, grad in zip(estimate, expected, strict=True):
        torch.testing.assert_close(-ours, grad, rtol=1e-9, atol=1e-12)
    assert max(float(grad.abs().max()) for grad in expected) > 1e-3


def test_the_path_entropy_is_that_of_rows_in_the_mean() -> None:
    method, _ = enas(temperature=0.1)
    mean = surprise = 0.0
    for row, chance in chances(method).items():
        _, log = method.controller(lambda place, _, row=row: row[place])
        mean += chance * float(path_entropy(log).detach())
        surprise -= chance * math.log(chance)
    assert mean == pytest.approx(surprise)


def test_logits_are_bounded_by_temperature_and_tanh() -> None:
    method, _ = enas(tanh_constant=2.5)
    with torch.no_grad():
        for parameter in method.controller.parameters():
            parameter.mul_(1e4)
        _, log = method.controller.likeliest()
    for table in log:
        assert float(table.max() - table.min()) <= 5.0 + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_the_planted_selection_becomes_likely(seed: int) -> None:
    method, space = enas(seed, arch_lr=0.02, baseline_decay=0.9, temperature=1.0)
    best = Selections(TINY).to_row(Selections(TINY).from_row((1, 2, 0, 1)))
    before = chances(method)[best]
    assert before == pytest.approx(1 / 12, rel=0.3)
    for _ in range(250):
        method.arch_step(space, None, None)
    assert dict(method.best_gates().choices()) == BEST
    assert chances(method)[best] > 0.5
    assert float(method.alpha()["cell"][1, 2]) > 0.5


def test_the_entropy_bonus_keeps_the_distribution_wide() -> None:
    widths = []
    for bonus in (0.0, 2.0):
        method, space = enas(arch_lr=0.02, baseline_decay=0.9, temperature=1.0, entropy=bonus)
        for _ in range(150):
            method.arch_step(space, None, None)
        widths.append(-sum(c * math.log(c) for c in chances(method).values()))
    assert widths[0] < 1.2 < 2.2 < widths[1] <= math.log(12) + 1e-9


def test_the_baseline_follows_rewards_and_begins_with_the_first() -> None:
    method, space = enas(entropy=0.0, baseline_decay=0.75)
    rewards = iter([1.0, 5.0, 1.0])
    method._rewarded = lambda *_: (0.0, next(rewards))  # type: ignore[method-assign]
    for expected in (1.0, 2.0, 1.75):
        method.arch_step(space, None, None)
        assert method.state_dict()["baseline"] == pytest.approx(expected)


def test_rewards_without_one_of_the_space_rank_losses_whatever_their_sign() -> None:
    method, space = enas()
    losses = iter([-2.0, -4.0, 3.0, math.inf])
    space.loss = lambda *_: torch.tensor(next(losses))  # type: ignore[method-assign]
    found = [method._rewarded(space, None, method.best_gates())[1] for _ in range(4)]
    assert found[1] > found[0] > found[2] > found[3] == 0.0


@pytest.mark.parametrize(("name", "worst", "best"), [("cnn", 0.0, 1.0), ("rnn", 0.0, 80.0)])
def test_cells_are_rewarded_as_published(name: str, worst: float, best: float) -> None:
    run = RUNS[name]()
    space, batch = run.make_space(False), run.streams()[1].next()
    assert isinstance(space, Rewarded)
    gates = Selections(space.blocks).numbered(0).to_gates(space.blocks)
    with torch.no_grad():
        found, reward = space.rewarded(batch, gates)
        assert float(found) == float(space.loss(batch, gates))
    assert worst <= float(reward) <= best
    if name == "rnn":
        assert float(reward) == pytest.approx(80 / math.exp(float(found)), rel=1e-5)
    else:
        assert float(reward) * len(batch.labels) == round(float(reward) * len(batch.labels))


def test_it_judges_different_candidates_and_keeps_the_best() -> None:
    method, _ = enas(candidates=6)
    assert isinstance(method, ChoosesAtEnd) and isinstance(method, LearnsArchitecture)
    likeliest = method.best_gates().choices()
    asked = []

    def error(gates: Gates) -> float:
        asked.append(gates.choices())
        return math.nan if len(asked) == 2 else -float(len(asked))

    method.choose(error)
    assert asked[0] == likeliest and len(set(asked)) == len(asked) <= 6
    assert method.best_gates().choices() == asked[-1]
    again, _ = enas(seed=9, candidates=6)
    again.load_state_dict(method.state_dict())
    assert again.best_gates().choices() == asked[-1]
