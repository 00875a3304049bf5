"""ASNG: the natural gradient, the trust region, and what it finds."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from sif.core.gates import Block
from sif.core.method import Plan
from sif.methods.asng import Asng, AsngSettings, TrustRegion, inside, utilities, whitened
from tests.doubles import PlantedSpace

F64 = torch.float64
THREE = (Block("only", ("a", "b", "c")),)
CELL = (Block("cell", ("a", "b", "c", "d"), nodes=(0, 0, 1, 1, 1)),)
TARGET = (-1, 3, -1, 1, -1)
"""Operations of the best selection of `CELL`: an edge per node."""


def method(blocks: tuple[Block, ...], seed: int = 0, noise: float = 0.0) -> Asng:
    return Asng(space(blocks, noise), AsngSettings(), Plan(10), torch.Generator().manual_seed(seed))


def space(blocks: tuple[Block, ...], noise: float = 0.0) -> PlantedSpace:
    draws = torch.Generator().manual_seed(1)

    def loss(gates: Mapping[str, Tensor]) -> Tensor:
        (table,) = gates.values()
        edges, kept = table.sum(1), torch.tensor([k >= 0 for k in TARGET])
        wrong = 2 - edges[kept].sum()  # edges, then operations, whatever their edge
        for node, right in ((slice(0, 2), 3), (slice(2, 5), 1)):
            wrong = wrong + 1 - table[node, right].sum()
        return wrong + noise * torch.randn((), generator=draws)

    return PlantedSpace(blocks, loss)


def test_one_step_is_that_worked_out_by_hand() -> None:
    asng = method(THREE)
    # Row: the set of edges (of one), then the operation.
    asng.step([(0, 0), (0, 1)], [1.0, 2.0])
    # Utilities 1 and -1; the gradient is (e_a - e_b) / 2 = (1/2, -1/2, 0). Its squared Fisher norm
    # is the sum of g^2 / theta, 3/2. So theta moves by (1/2, -1/2, 0) / sqrt(3/2).
    reach = 0.5 / math.sqrt(1.5)
    up, down, still = 1 / 3 + reach, 1 / 3 - reach, 1 / 3
    assert down < 0
    # The margin is 1 / (10 choices * 2); b is raised to it, and the others give it away in
    # proportion to what they have above it.
    over = 0.05 - down
    spare = (up - 0.05) + (still - 0.05)
    expected = [up - over * (up - 0.05) / spare, 0.05, still - over * (still - 0.05) / spare]
    assert asng.chances[1].tolist() == pytest.approx(expected, abs=1e-12)
    assert sum(expected) == pytest.approx(1.0)
    assert asng.chances[0].tolist() == [1.0]
    # beta = 1 / sqrt(2), and after the first step |s|^2 = gamma = beta (2 - beta).
    beta = 1 / math.sqrt(2)
    gamma = beta * (2 - beta)
    assert asng.region.correction == pytest.approx(gamma)
    direction = torch.tensor([1.0, -1.0], dtype=F64) / math.sqrt(2)
    torch.testing.assert_close(asng.region.path, math.sqrt(gamma) * direction)
    assert asng.region.radius == pytest.approx(math.exp(beta * (gamma / 1.5 - gamma)))


def test_the_second_update_of_the_trust_region_is_that_worked_out_by_hand() -> None:
    region = TrustRegion(4, 1.0, 1.5)
    direction = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=F64)
    region.update(direction)
    # beta = 1/2: s = sqrt(3/4), gamma = 3/4, radius exp(1/2 * (1/2 - 3/4)) = exp(-1/8).
    assert region.radius == pytest.approx(math.exp(-0.125))
    region.update(direction)
    beta = math.exp(-0.125) / 2
    fresh = beta * (2 - beta)
    path = (1 - beta) * math.sqrt(0.75) + math.sqrt(fresh)
    gamma = (1 - beta) ** 2 * 0.75 + fresh
    assert float(region.path[0]) == pytest.approx(path)
    assert region.correction == pytest.approx(gamma)
    assert region.radius == pytest.approx(
        math.exp(-0.125) * math.exp(beta * (path**2 / 1.5 - gamma))
    )


def test_the_whitened_gradient_has_the_fisher_norm() -> None:
    draws = torch.Generator().manual_seed(0)
    for k in (2, 3, 7):
        chances = torch.rand(k, generator=draws, dtype=F64).softmax(0)
        gradient = torch.randn(k, generator=draws, dtype=F64)
        gradient -= gradient.mean()
        # The Fisher matrix of the first k - 1 chances is diag(1 / p) + 1 / p_k.
        fisher = torch.diag(1 / chances[:-1]) + 1 / chances[-1]
        free = gradient[:-1]
        found = whitened(gradient, chances)
        assert float(found @ found) == pytest.approx(float(free @ fisher @ free))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [([2.0, 1.0], [-1, 1]), ([1.0, 1.0], [0, 0]), ([4.0, 1.0, 3.0, 2.0], [-1, 1, 0, 0]),
     ([1.0, 1.0, 3.0, 2.0], [0.5, 0.5, -1, 0]), ([math.nan, 1.0], [-1, 1]),
     ([6.0, 1.0, 5.0, 2.0, 3.0, 4.0], [-0.5, 0.5, -0.5, 0.5, 0, 0])],
)  # fmt: skip
def test_utilities_rank_and_share(losses: list[float], expected: list[float]) -> None:
    assert utilities(losses).tolist() == expected


def test_equal_losses_or_selections_move_nothing() -> None:
    asng = method(THREE)
    before = copy.deepcopy(asng.state_dict())
    asng.step([(0, 0), (0, 1)], [1.0, 1.0])
    asng.step([(0, 2), (0, 2)], [1.0, 2.0])
    after = asng.state_dict()
    assert after["region"]["radius"] == before["region"]["radius"] == 1.0
    assert all(torch.equal(a, b) for a, b in zip(after["chances"], before["chances"], strict=True))


def test_chances_stay_a_distribution_above_the_margin() -> None:
    chances = inside(torch.tensor([1.4, -0.7, 0.3], dtype=F64), 0.05)
    assert float(chances.sum()) == pytest.approx(1.0)
    assert float(chances.min()) == pytest.approx(0.05)
    asng = method(CELL)
    for _ in range(100):
        asng.arch_step(space(CELL), None, None)
        for c, least in zip(asng.chances, asng._least, strict=True):
            assert float(c.sum()) == pytest.approx(1.0) and float(c.min()) >= least - 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_it_converges_to_the_best_selection(seed: int) -> None:
    asng, at = method(CELL, seed), space(CELL)
    for _ in range(150):
        asng.arch_step(at, None, None)
    assert asng.best_gates().choices()["cell"] == TARGET
    alpha = asng.alpha()["cell"]
    assert all(float(alpha[e, k]) > 0.75 for e, k in enumerate(TARGET) if k >= 0)
    torch.testing.assert_close(alpha.sum(), torch.tensor(2.0, dtype=F64))


def test_the_radius_grows_while_gradients_agree_and_shrinks_where_they_are_noise() -> None:
    draws = torch.Generator().manual_seed(0)
    agreeing, noisy = TrustRegion(20, 1.0, 1.5), TrustRegion(20, 1.0, 1.5)
    same = torch.randn(20, generator=draws, dtype=F64)
    for _ in range(60):
        agreeing.update(same / same.norm())
        other = torch.randn(20, generator=draws, dtype=F64)
        noisy.update(other / other.norm())
    assert agreeing.radius > 2 and noisy.radius < 0.5
    # The same of the whole method: a loss that is mere noise shrinks its steps.
    informed, blind = method(CELL, 0), method(CELL, 0)
    told, noise = space(CELL), space(CELL, noise=1e3)
    for _ in range(40):
        informed.arch_step(told, None, None)
        blind.arch_step(noise, None, None)
    assert blind.region.radius < informed.region.radius


def test_draws_follow_the_chances_and_marginals_tell_them() -> None:
    asng = method(CELL, 3)
    asng.chances = [torch.rand(len(c), generator=torch.Generator().manual_seed(i)).double()
                    for i, c in enumerate(asng.chances)]  # fmt: skip
    asng.chances = [c / c.sum() for c in asng.chances]
    count = torch.zeros(5, 4, dtype=F64)
    for step in range(1500):
        count += asng.weight_gates(step).weights["cell"]
    torch.testing.assert_close(count / 1500, asng.alpha()["cell"], atol=0.05, rtol=0)
