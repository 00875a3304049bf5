from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sif.batches import Drawing, InteractionStream, PartTensors
from sif.objectives import LOSSES, PAIRWISE, Batch, LossSettings
from sif.pairs import PairGraph, pair_products

USERS, ITEMS = 7, 6
EVERY = torch.tensor(list(itertools.product(range(USERS), range(ITEMS))))


@dataclass
class Matrix:
    """Scores A B^T, with or without telling so."""

    a: Tensor
    b: Tensor
    factored: bool = True
    uses_history = False

    @property
    def exact(self) -> bool:
        return self.factored

    def own_on_graph(self, graph: PairGraph) -> None:
        return None

    def pairs(self, ids: Tensor, observed: bool = False) -> Tensor:
        return (self.a[ids[:, 0]] * self.b[ids[:, 1]]).sum(1)

    def factors(self) -> tuple[Tensor, Tensor] | None:
        return (self.a, self.b) if self.factored else None

    def on_graph(self, graph: PairGraph) -> Tensor:
        return pair_products(self.a, self.b, graph)

    def table(self) -> np.ndarray:
        return (self.a @ self.b.T).detach().numpy()


def matrix(factored: bool = True) -> Matrix:
    generator = torch.Generator().manual_seed(2)
    a, b = (
        torch.randn(n, 3, generator=generator, dtype=torch.float64).requires_grad_()
        for n in (USERS, ITEMS)
    )
    return Matrix(a, b, factored)


def click_part(seed: int = 0, n: int = 13) -> PartTensors:
    rows = torch.randperm(len(EVERY), generator=torch.Generator().manual_seed(seed))[:n]
    return PartTensors(EVERY[rows], torch.ones(n, dtype=torch.float64), (USERS, ITEMS))


def brute_force_whole_data(table: np.ndarray, observed: Tensor, a: float) -> float:
    """Weight 1 + a and target 1 on observed pairs, 1 and 0 on every other, per observed pair."""
    seen = {tuple(row) for row in observed.tolist()}
    total = 0.0
    for u, v in itertools.product(range(USERS), range(ITEMS)):
        total += (1 + a) * (table[u, v] - 1) ** 2 if (u, v) in seen else table[u, v] ** 2
    return total / len(seen)


def stream(part: PartTensors, **options: object) -> InteractionStream:
    values: dict[str, object] = {"batch_size": 50, "drawing": Drawing(), "seed": 0, **options}
    generator = torch.Generator().manual_seed(values.pop("seed"))  # type: ignore[arg-type]
    return InteractionStream(part, generator=generator, **values)  # type: ignore[arg-type]


def test_registries_agree() -> None:
    assert set(LOSSES) == {"squared", "whole-data", "bpr", "softmax", "bce"}
    assert set(LOSSES) > PAIRWISE


def test_squared_error() -> None:
    part = PartTensors(click_part().ids, torch.arange(13.0, dtype=torch.float64), (USERS, ITEMS))
    model = matrix()
    batch = stream(part).next()
    errors = [
        (model.table()[u, v] - t) ** 2
        for (u, v), t in zip(part.ids.tolist(), part.target.tolist(), strict=True)
    ]
    found = LOSSES["squared"](model, batch, LossSettings())
    assert found.item() == pytest.approx(np.mean(errors), rel=1e-12)


@pytest.mark.parametrize("weight", [0.0, 3.0, 40.0])
@pytest.mark.parametrize("batch_size", [4, 50])
def test_exact_whole_data_loss_is_the_sum_over_every_pair(weight: float, batch_size: int) -> None:
    part, model = click_part(), matrix()
    batch = stream(part, exact=True, batch_size=batch_size).next()
    loss = LOSSES["whole-data"](model, batch, LossSettings(positive_weight=weight))
    expected = brute_force_whole_data(model.table(), part.ids, weight)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_exact_whole_data_gradient_equals_the_dense_one() -> None:
    part, model = click_part(), matrix()
    batch = stream(part, exact=True).next()
    loss = LOSSES["whole-data"](model, batch, LossSettings(positive_weight=3.0))
    found = torch.autograd.grad(loss, [model.a, model.b])
    scores = model.a @ model.b.T
    seen = torch.zeros(USERS, ITEMS, dtype=torch.float64)
    seen[part.ids[:, 0], part.ids[:, 1]] = 1
    dense = ((1 + 3 * seen) * (scores - seen) ** 2).sum() / 13
    expected = torch.autograd.grad(dense, [model.a, model.b])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("batch_size", [5, 50])
def test_sampled_whole_data_loss_is_unbiased(batch_size: int) -> None:
    part, model = click_part(), matrix(factored=False)
    batches = stream(part, batch_size=batch_size, drawing=Drawing(background=3), exact=True)
    settings = LossSettings(positive_weight=3.0)
    n = 3000
    with torch.no_grad():
        losses = np.array(
            [LOSSES["whole-data"](model, batches.next(), settings).item() for _ in range(n)]
        )
    expected = brute_force_whole_data(model.table(), part.ids, 3.0)
    # Row batches within a pass are dependent, which only makes the mean surer.
    assert abs(losses.mean() - expected) < 4 * losses.std() / n**0.5
    assert losses.std() > 0.01 * expected


def test_validation_loss_counts_known_pairs_nowhere() -> None:
    train, valid = click_part(n=30), None
    seen = {tuple(row) for row in train.ids.tolist()}
    free = torch.tensor([row for row in EVERY.tolist() if tuple(row) not in seen])
    valid = PartTensors(free[:4], torch.ones(4, dtype=torch.float64), (USERS, ITEMS))
    model = matrix()
    batches = stream(
        valid, drawing=Drawing(background=30), known=(train,), observed_total=30, seed=3
    )
    settings, n = LossSettings(positive_weight=2.0), 800
    with torch.no_grad():
        losses = np.array(
            [LOSSES["whole-data"](model, batches.next(), settings).item() for _ in range(n)]
        )
    table = model.table()
    positive = np.mean([3 * (table[u, v] - 1) ** 2 for u, v in free[:4].tolist()])
    negative = sum(table[u, v] ** 2 for u, v in free[4:].tolist()) / 30
    assert abs(losses.mean() - positive - negative) < 4 * losses.std() / n**0.5


def pairwise_batch() -> tuple[Batch, np.ndarray, np.ndarray]:
    """A batch, and its observed (b,) and drawn (b, m) scores."""
    batch, table = stream(click_part(), drawing=Drawing(negatives=3)).next(), matrix().table()
    observed = np.array([table[u, v] for u, v in batch.ids.tolist()])
    drawn = np.array(
        [
            [table[u, item] for item in items]
            for (u, _), items in zip(batch.ids.tolist(), batch.negatives.tolist(), strict=True)
        ]
    )
    return batch, observed, drawn


def test_bpr_formula() -> None:
    batch, observed, drawn = pairwise_batch()
    expected = -np.log(1 / (1 + np.exp(-(observed[:, None] - drawn)))).mean()
    found = LOSSES["bpr"](matrix(), batch, LossSettings()).item()
    assert found == pytest.approx(expected, rel=1e-12)


def test_sampled_softmax_formula() -> None:
    batch, observed, drawn = pairwise_batch()
    share = np.exp(observed) / (np.exp(observed) + np.exp(drawn).sum(1))
    found = LOSSES["softmax"](matrix(), batch, LossSettings()).item()
    assert found == pytest.approx(-np.log(share).mean(), rel=1e-12)


def test_binary_cross_entropy_formula() -> None:
    batch, observed, drawn = pairwise_batch()

    def probability(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    rows = -np.log(probability(observed)) - np.log(1 - probability(drawn)).sum(1)
    found = LOSSES["bce"](matrix(), batch, LossSettings()).item()
    assert found == pytest.approx(rows.mean(), rel=1e-12)


@pytest.mark.parametrize("name", sorted(PAIRWISE))
def test_losses_stay_finite_at_extreme_scores(name: str) -> None:
    model = matrix()
    huge = replace(model, a=model.a.detach() * 1e4)
    batch, _, _ = pairwise_batch()
    assert np.isfinite(LOSSES[name](huge, batch, LossSettings()).item())
