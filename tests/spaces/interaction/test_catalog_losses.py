"""Losses over the catalog: by hand, against float64 autograd, at their limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.losses import Batch, LossSettings, catalog
from sif.spaces.interaction.negatives import Drawn, NegativeSampler
from sif.spaces.interaction.registry import LOSSES
from sif.testing.losses import ITEMS, USERS, ToyScores, toy_scores

F64 = torch.float64
CATALOG = ("softmax", "bsl", "softmax-at-k", "cosine-contrastive")
PAIRS = torch.tensor([[0, 1], [0, 3], [1, 0], [2, 2], [2, 4], [2, 5], [4, 1]])
PART = PartTensors(PAIRS, torch.ones(len(PAIRS), dtype=F64), (USERS, ITEMS))


def batch(shared: int = ITEMS) -> Batch:
    draws = torch.Generator().manual_seed(0)
    return InteractionStream(PART, len(PAIRS), Drawing(shared=shared), draws).next()


def numbers(name: str, **own: Any) -> LossSettings:
    model = LOSSES[name].settings
    assert model is not None
    return LossSettings(own=model(**own))


def value(name: str, scores: ToyScores, given: Batch | None = None, **own: Any) -> Tensor:
    return LOSSES[name](scores, given or batch(), numbers(name, **own))


def by_hand(name: str, table: Tensor, **own: Any) -> Tensor:
    """The mean over pairs, one pair after the other, from scores (USERS, ITEMS)."""
    settings: Any = numbers(name, **own).own
    losses = []
    for user, item in PAIRS.tolist():
        row, score = table[user], table[user, item]
        if name == "cosine-contrastive":
            had = PAIRS[PAIRS[:, 0] == user, 1].tolist()
            others = [row[j] for j in range(ITEMS) if j not in had]
            above = [max(o - settings.margin, o * 0) for o in others]
            mean = torch.stack(above).mean()
            losses.append(max(1 - score, score * 0) + settings.negative_weight * mean)
            continue
        t = settings.temperature
        whole = (row / t).exp().sum()
        if name == "bsl":
            positive = settings.positive_temperature
            losses.append(-((score / positive).exp() / whole ** (t / positive)).log())
            continue
        loss = -((score / t).exp() / whole).log()
        if name == "softmax-at-k" and settings.k < ITEMS:
            best = row.sort(descending=True).values[settings.k - 1]
            loss = loss * ((score - best) / settings.weight_temperature).sigmoid().detach()
        losses.append(loss)
    return torch.stack(losses).mean()


OWN = [
    ("softmax", {"temperature": 0.5}),
    ("bsl", {"temperature": 0.5, "positive_temperature": 0.8}),
    ("softmax-at-k", {"temperature": 0.5, "k": 2, "weight_temperature": 0.7}),
    ("softmax-at-k", {"temperature": 0.5, "k": 1}),
    ("cosine-contrastive", {"margin": 0.1, "negative_weight": 5.0}),
]


@pytest.mark.parametrize(("name", "own"), OWN)
@pytest.mark.parametrize("factorized", [True, False])
def test_losses_and_gradients_are_those_by_hand(
    name: str, own: dict[str, Any], factorized: bool
) -> None:
    scores = toy_scores(factorized=factorized)
    found, expected = value(name, scores, **own), by_hand(name, scores.a @ scores.b.T, **own)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    leaves = [scores.a, scores.b]
    for one, other in zip(
        torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "own"), OWN)
def test_observed_pairs_are_scored_without_their_own_part_wherever_they_stand(
    name: str, own: dict[str, Any]
) -> None:
    scores = toy_scores(history=True)
    table = (scores.a @ scores.b.T).detach()
    table[PAIRS[:, 0], PAIRS[:, 1]] -= scores.own[PAIRS[:, 0], PAIRS[:, 1]]
    assert value(name, scores, **own).item() == pytest.approx(by_hand(name, table, **own).item())


def test_softmax_of_two_items() -> None:
    """-log(e^1 / (e^1 + e^0)) = log(1 + 1/e)."""
    scores = ToyScores(torch.ones(1, 1, dtype=F64), torch.tensor([[0.0], [0.5]], dtype=F64))
    part = PartTensors(torch.tensor([[0, 1]]), torch.ones(1, dtype=F64), (1, 2))
    given = InteractionStream(part, 1, Drawing(shared=2), torch.Generator()).next()
    found = value("softmax", scores, given, temperature=0.5)
    assert found.item() == pytest.approx(0.3132616875182228, rel=1e-12)


def test_limits() -> None:
    scores = toy_scores()
    softmax = value("softmax", scores, temperature=0.3)
    same = value("bsl", scores, temperature=0.3, positive_temperature=0.3)
    torch.testing.assert_close(same, softmax, rtol=1e-12, atol=0)
    whole = value("softmax-at-k", scores, temperature=0.3, k=ITEMS)
    torch.testing.assert_close(whole, softmax, rtol=1e-12, atol=0)
    half = value("softmax-at-k", scores, temperature=0.3, k=2, weight_temperature=1000.0)
    torch.testing.assert_close(half, softmax / 2, rtol=1e-2, atol=0)


def test_drawn_items_that_are_all_are_the_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = toy_scores()
    exact = value("softmax", scores, temperature=0.3)
    monkeypatch.setattr(catalog, "EXACT_ITEMS", 0)
    items = torch.arange(ITEMS)
    once = replace(batch(), shared=Drawn(items, torch.ones(ITEMS, dtype=F64)))
    twice = Drawn(torch.cat([items, items]), torch.full((2 * ITEMS,), 2.0, dtype=F64))
    for given in (once, replace(once, shared=twice)):
        torch.testing.assert_close(value("softmax", scores, given, temperature=0.3), exact)


@pytest.mark.parametrize("sampling", ["uniform", "popularity", "in-batch"])
def test_corrected_sums_are_right_in_the_mean(
    sampling: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, temperature = toy_scores(), 0.8
    users, items = PAIRS.T
    reach = torch.ones(ITEMS, dtype=torch.bool)
    if sampling == "in-batch":  # which never sees what no row has
        reach = torch.bincount(items, minlength=ITEMS) > 0
    table = ((scores.a @ scores.b.T) / temperature).exp().detach()
    expected = (table * reach).sum(1)[users]
    monkeypatch.setattr(catalog, "EXACT_ITEMS", 0)
    drawing = Drawing(shared=5, sampling=sampling)
    stream = InteractionStream(PART, len(PAIRS), drawing, torch.Generator().manual_seed(3))
    rounds = 4000
    with torch.no_grad():
        sums = torch.stack(
            [
                catalog.catalog_scores(scores, stream.next()).log_sums(temperature).exp()
                for _ in range(rounds)
            ]
        )
    error = sums.std(0) / rounds**0.5
    assert ((sums.mean(0) - expected).abs() < 4.5 * error + 1e-9).all()


@pytest.mark.parametrize("sampling", ["uniform", "popularity", "in-batch"])
@pytest.mark.parametrize("k", [30, 100])
def test_thresholds_of_drawn_items_are_scores_of_that_rank_in_the_catalog(
    sampling: Any, k: int
) -> None:
    draws, items = torch.Generator().manual_seed(0), 3000
    counts = (500 / torch.arange(1, items + 1) ** 0.7).round().clamp(min=1)
    table = counts.log() + torch.randn(8, items, generator=draws)  # popular ones are liked
    place, ranks = torch.arange(8), []
    for _ in range(40):
        rows = torch.multinomial(counts, 2048, replacement=True, generator=draws)
        drawn = NegativeSampler.of(sampling, counts).shared(rows, 800, draws, table)
        grid = table[:, drawn.items]
        found = catalog.CatalogScores(grid[:, 0], place, grid, drawn.items[:8], drawn)
        ranks.append((table >= found.thresholds(k)[:, None]).sum(1))
    assert torch.stack(ranks).float().mean().item() == pytest.approx(k, rel=0.15)


def test_thresholds_of_drawn_items_by_hand() -> None:
    """Draws of weights 1/2, 2, 1/2 and 4, best first, stand for 1/2, 2 1/2, 3 and 7 items."""
    grid = torch.tensor([[1.0, 4.0, 2.0, 3.0]])
    drawn = Drawn(torch.arange(4), torch.tensor([0.25, 2.0, 2.0, 0.5]))
    pair = torch.zeros(1, dtype=torch.int64)
    scores = catalog.CatalogScores(torch.zeros(1), pair, grid, pair, drawn)
    found = [scores.thresholds(k).item() for k in range(1, 8)]
    assert found == [3.0, 3.0, 2.0, 1.0, 1.0, 1.0, -torch.inf]


def test_scores_that_are_no_product_see_an_eighth_of_the_draws() -> None:
    scores = toy_scores(factorized=False)
    given = batch(shared=5)
    assert given.shared is not None and not given.shared.complete
    sixteen = Drawn(torch.arange(16) % ITEMS, torch.full((16,), 16 / ITEMS, dtype=F64))
    found = catalog.catalog_scores(scores, replace(given, shared=sixteen))
    assert found.drawn is not None
    assert found.drawn.items.tolist() == [0, 1]
    assert found.drawn.often.tolist() == pytest.approx([2 / ITEMS] * 2)


def test_batches_are_users_with_all_of_their_pairs() -> None:
    stream = InteractionStream(PART, 3, Drawing(shared=ITEMS), torch.Generator().manual_seed(0))
    seen: list[tuple[int, int]] = []
    assert stream.steps_per_pass == 2  # 3 of 7 pairs are 2 of 4 users
    for _ in range(2):
        ids = stream.next().ids
        for user in ids[:, 0].unique():
            assert sorted(ids[ids[:, 0] == user, 1].tolist()) == sorted(
                PAIRS[PAIRS[:, 0] == user, 1].tolist()
            )
        seen += map(tuple, ids.tolist())
    assert sorted(seen) == sorted(map(tuple, PAIRS.tolist()))


def test_streams_continue_where_they_were() -> None:
    def stream() -> InteractionStream:
        return InteractionStream(PART, 3, Drawing(shared=4), torch.Generator().manual_seed(0))

    one, other = stream(), stream()
    for _ in range(3):
        one.next()
    other.load_state_dict(one.state_dict())
    for _ in range(5):
        a, b = one.next(), other.next()
        assert torch.equal(a.ids, b.ids)
        assert a.shared is not None and b.shared is not None
        assert torch.equal(a.shared.items, b.shared.items)


def test_the_first_steps_are_golden() -> None:
    """Descent on fixed scores: a change of any loss shows here."""
    found = {}
    for name in CATALOG:
        scores, losses = toy_scores(), []
        for _ in range(3):
            own = {"k": 2} if name == "softmax-at-k" else {}
            loss = value(name, scores, **own)
            losses.append(round(loss.item(), 6))
            a, b = torch.autograd.grad(loss, [scores.a, scores.b])
            scores = ToyScores(
                (scores.a - 0.05 * a).detach().requires_grad_(),
                (scores.b - 0.05 * b).detach().requires_grad_(),
            )
        found[name] = losses
    assert found == GOLDEN


GOLDEN = {
    "softmax": [15.747061, 12.272351, 9.462421],
    "bsl": [12.597649, 10.350279, 8.442919],
    "softmax-at-k": [0.837748, 0.833218, 0.826595],
    "cosine-contrastive": [11.059255, 6.728662, 4.569475],
}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("softmax", {"temperature": 0.0}), ("softmax", {"temperature": -1.0}),
        ("bsl", {"positive_temperature": 0.0}), ("softmax-at-k", {"k": 0}),
        ("softmax-at-k", {"weight_temperature": 0.0}),
        ("cosine-contrastive", {"margin": 1.5}), ("cosine-contrastive", {"margin": -1.5}),
        ("cosine-contrastive", {"negative_weight": 0.0}), ("softmax", {"heat": 1.0}),
        ("softmax", {"temperature": float("nan")}),
    ],
)  # fmt: skip
def test_bad_numbers_are_refused(name: str, own: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        numbers(name, **own)


@pytest.mark.parametrize("name", CATALOG)
def test_float32_stays_finite_at_low_temperatures(name: str) -> None:
    model = LOSSES[name].settings
    assert model is not None
    own = {"temperature": 0.01} if "temperature" in model.model_fields else {}
    exact = toy_scores()
    scores = ToyScores(*(t.detach().float().requires_grad_() for t in (exact.a, exact.b)))
    loss = value(name, scores, **own)
    assert loss.isfinite()
    for gradient in torch.autograd.grad(loss, [scores.a, scores.b]):
        assert gradient.isfinite().all()
