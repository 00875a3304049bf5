from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.losses import (
    WEIGHTINGS,
    Batch,
    Loss,
    LossKind,
    LossSettings,
    Scored,
    Weighting,
)
from sif.spaces.interaction.pair_products import PairGraph, pair_products
from sif.spaces.interaction.registry import LOSSES
from sif.testing import LOSS_CHECKS, ContractError, LossCase, check_loss

USERS, ITEMS = 7, 6
PAIRWISE = [name for name, kind in LOSSES.items() if kind.negatives]
CATALOG = ("softmax", "bsl", "softmax-at-k", "cosine-contrastive")
EVERY = torch.tensor(list(itertools.product(range(USERS), range(ITEMS))))


@dataclass
class Matrix:
    """Scores A B^T, with or without telling so."""

    a: Tensor
    b: Tensor
    factored: bool = True
    uses_history = False

    @property
    def is_factorized(self) -> bool:
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


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("check", LOSS_CHECKS, ids=lambda check: check.__name__)
def test_a_loss_keeps_its_promises(check: Callable[[LossCase], None], name: str) -> None:
    model = LOSSES[name].settings
    check(LossCase(LOSSES[name], LossSettings(3.0, 2, own=model and model()), name=name))


def without_weights(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    return LOSSES["bpr"](interaction, batch, replace(settings, weighting=None))


def from_itself(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    return LOSSES["bpr"](interaction, replace(batch, in_history=False), settings)


def away(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    return 1 / (1 + LOSSES["bpr"](interaction, batch, settings))


def detached(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    whole = LOSSES["bpr"](interaction, batch, settings)
    return whole + 0 * whole.detach() + whole.detach() ** 2


def by_chance(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    return LOSSES["bpr"](interaction, batch, settings) + torch.rand(())


@pytest.mark.parametrize(
    ("function", "told"),
    [(without_weights, "mean of the weighted losses"), (from_itself, "without their own part"),
     (away, "fall while scores move"), (detached, "as by finite differences"),
     (by_chance, "global generator"), (lambda *_: torch.tensor([1.0]), "a scalar")],
)  # fmt: skip
def test_the_suite_finds_what_is_broken(function: Loss, told: str) -> None:
    with pytest.raises(ContractError, match=told) as e:
        check_loss(LossKind(function, ("ranking",), negatives=True))
    assert "\n" not in str(e.value)


def heated(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    return LOSSES["bpr"](interaction, batch, settings) * settings.own.heat


def over_background(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    background = (batch.background_weight * interaction.pairs(batch.background) ** 2).sum()
    return LOSSES["bpr"](interaction, batch, settings) + background


@pytest.mark.parametrize(
    ("kind", "told"),
    [(LossKind(LOSSES["bpr"].function, ("ranking",)), "declare negatives=True"),
     (LossKind(over_background, ("ranking",), negatives=True), "declare background=True"),
     (LossKind(heated, ("ranking",), negatives=True), "settings.own is None without `LossKind.se")],
)  # fmt: skip
def test_the_suite_says_what_is_not_declared(kind: LossKind, told: str) -> None:
    with pytest.raises(ContractError, match=told):
        check_loss(kind)


def test_the_suite_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_loss(LOSSES["bpr"])


def test_every_loss_is_of_one_objective() -> None:
    assert set(LOSSES) == {"squared", "whole-data", "bpr", "bce", *CATALOG}
    assert {name for name, kind in LOSSES.items() if kind.objectives == ("rating",)} == {"squared"}
    assert set(PAIRWISE) == {"bpr", "bce"}


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


def test_binary_cross_entropy_formula() -> None:
    batch, observed, drawn = pairwise_batch()

    def probability(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    rows = -np.log(probability(observed)) - np.log(1 - probability(drawn)).sum(1)
    found = LOSSES["bce"](matrix(), batch, LossSettings()).item()
    assert found == pytest.approx(rows.mean(), rel=1e-12)


# Weights of users and items, and what pairs contributed to themselves


@dataclass
class Remembering(Matrix):
    """Observed pairs contributed a part, (USERS, ITEMS), to their own scores."""

    own: Tensor = field(default_factory=lambda: torch.zeros(USERS, ITEMS, dtype=torch.float64))
    uses_history = True

    def pairs(self, ids: Tensor, observed: bool = False) -> Tensor:
        scores = super().pairs(ids)
        return scores - self.own[ids[:, 0], ids[:, 1]] if observed else scores

    def own_on_graph(self, graph: PairGraph) -> Tensor:  # type: ignore[override]
        return self.own[graph.rows, graph.columns]


def remembering(factored: bool = True) -> Remembering:
    plain, draws = matrix(factored), torch.Generator().manual_seed(6)
    own = torch.randn(USERS, ITEMS, generator=draws, dtype=torch.float64)
    return Remembering(plain.a, plain.b, factored, own)


def weighted(name: str, part: PartTensors) -> Weighting:
    counts = [torch.bincount(part.ids[:, f], minlength=n).double()
              for f, n in enumerate((USERS, ITEMS))]  # fmt: skip
    found = Weighting.of(name, counts, part.age)
    assert found is not None
    return found


def aged(part: PartTensors) -> PartTensors:
    """The part with pairs of all ages, in no order."""
    n = len(part.ids)
    age = (7 * torch.arange(n, dtype=torch.float64)).remainder(n) / (n - 1)
    return replace(part, age=age)


@pytest.mark.parametrize("name", ["users", "items", "both"])
def test_weightings_are_powers_of_counts_normalized_over_pairs(name: str) -> None:
    part = click_part(n=20)
    found = weighted(name, part)
    user_power, item_power = WEIGHTINGS[name].powers
    counts = [np.bincount(part.ids[:, f].numpy(), minlength=n).clip(1)
              for f, n in enumerate((USERS, ITEMS))]  # fmt: skip
    user, item = counts[0] ** user_power, counts[1] ** item_power
    np.testing.assert_allclose(found.user / found.user[0], user / user[0])
    np.testing.assert_allclose(found.item / found.item[0], item / item[0])
    np.testing.assert_allclose(found.item_observed / found.item_observed[0], item / item[0])
    assert float(found.user[part.ids[:, 0]].mean()) == pytest.approx(1)
    assert float(found.item_observed[part.ids[:, 1]].mean()) == pytest.approx(1)
    assert float(found.item.mean()) == pytest.approx(1)
    assert (found.user.std() > 0.01) == (name != "items")
    assert (found.item.std() > 0.01) == (name != "users")


def test_even_weights_are_none() -> None:
    assert Weighting.of("even", [torch.ones(3), torch.ones(2)]) is None
    assert next(iter(WEIGHTINGS)) == "even"


def test_weights_within_a_block_are_those_of_its_users() -> None:
    found = weighted("both", click_part(n=20))
    rows = torch.tensor([1, 4, 6])
    assert torch.equal(found.within(rows).user, found.user[rows])
    assert torch.equal(found.within(rows).item, found.item)
    assert found.within(None) is found


def test_recency_halves_with_age_and_has_mean_one() -> None:
    part = aged(click_part(n=20))
    found, half_life = weighted("recency", part), WEIGHTINGS["recency"].half_life
    assert half_life is not None and part.age is not None
    weights = found.recency(part.age)
    assert isinstance(weights, Tensor)
    assert float(weights.mean()) == pytest.approx(1)
    first, second = found.recency(torch.tensor([0.1, 0.1 + half_life], dtype=torch.float64))
    assert float(first / second) == pytest.approx(2)
    assert (found.user == 1).all() and (found.item == 1).all()
    assert found.recency(None) == 1 and weighted("both", part).recency(part.age) == 1


def brute_force_weighted(
    model: Remembering, part: PartTensors, a: float, weighting: Weighting | None
) -> float:
    """Observed pairs without their own part, all others as they are, per observed pair."""
    table, own = model.table(), model.own.numpy()
    recency = 1.0 if weighting is None else weighting.recency(part.age)
    recency = np.broadcast_to(recency, len(part.ids)).tolist()
    seen = dict(zip(map(tuple, part.ids.tolist()), recency, strict=True))
    total = 0.0
    for u, v in itertools.product(range(USERS), range(ITEMS)):
        user = 1.0 if weighting is None else float(weighting.user[u])
        item = 1.0 if weighting is None else float(weighting.item[v])
        if (u, v) in seen:
            total += user * (item + a * seen[u, v]) * (table[u, v] - own[u, v] - 1) ** 2
        else:
            total += user * item * table[u, v] ** 2
    return total / len(seen)


@pytest.mark.parametrize("way", ["exact", "enumerated"])
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weighted_whole_data_loss_is_the_sum_over_every_pair(name: str, way: str) -> None:
    part, model = aged(click_part(n=20)), remembering(way == "exact")
    weighting = None if name == "even" else weighted(name, part)
    batch = stream(part, exact=way == "exact").next()
    if way == "enumerated":
        share = torch.full((len(EVERY),), 1 / 20, dtype=torch.float64)
        batch = replace(batch, background=EVERY, background_weight=share)
    settings = LossSettings(positive_weight=3.0, weighting=weighting)
    found = LOSSES["whole-data"](model, batch, settings)
    expected = brute_force_weighted(model, part, 3.0, weighting)
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["both", "recency"])
def test_sampled_weighted_whole_data_loss_is_unbiased(name: str) -> None:
    part, model = aged(click_part(n=20)), remembering(factored=False)
    settings = LossSettings(positive_weight=3.0, weighting=weighted(name, part))
    batches = stream(part, batch_size=5, drawing=Drawing(background=3))
    n = 1000
    with torch.no_grad():
        losses = np.array(
            [LOSSES["whole-data"](model, batches.next(), settings).item() for _ in range(n)]
        )
    expected = brute_force_weighted(model, part, 3.0, settings.weighting)
    assert abs(losses.mean() - expected) < 4 * losses.std() / n**0.5


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weighted_squared_error(name: str, exact: bool) -> None:
    part = aged(click_part(n=20))
    part = replace(part, target=torch.sin(torch.arange(20.0, dtype=torch.float64)))
    weighting = None if name == "even" else weighted(name, part)
    model = remembering(exact)
    batch = stream(part, batch_size=20, exact=exact).next()
    errors = []
    recency = 1.0 if weighting is None else weighting.recency(part.age)
    recency = np.broadcast_to(recency, 20).tolist()
    for (u, v), target, newer in zip(part.ids.tolist(), part.target.tolist(), recency, strict=True):
        score = model.table()[u, v] - float(model.own[u, v])
        weight = 1.0
        if weighting is not None:
            weight = float(weighting.user[u] * weighting.item_observed[v]) * newer
        errors.append(weight * (score - target) ** 2)
    found = LOSSES["squared"](model, batch, LossSettings(weighting=weighting))
    assert found.item() == pytest.approx(np.mean(errors), rel=1e-12)


def test_a_batch_with_the_graph_is_the_whole_part() -> None:
    """However few rows it has, with targets in their order."""
    clicks = click_part(n=20)
    part = PartTensors(clicks.ids, torch.sin(torch.arange(20.0, dtype=torch.float64)),
                       (USERS, ITEMS))  # fmt: skip
    model = remembering()
    whole = LOSSES["squared"](model, stream(part, exact=True).next(), LossSettings())
    few = LOSSES["squared"](model, stream(part, batch_size=6, exact=True).next(), LossSettings())
    assert few.item() == pytest.approx(whole.item(), rel=1e-12)
