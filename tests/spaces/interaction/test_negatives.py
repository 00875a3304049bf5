"""Drawn items: expected frequencies, seeds, and never what comes later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.negatives import NegativeSampler, flattened

COUNTS = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])
BATCH = torch.tensor([0, 0, 0, 1, 2, 2])
CHANCES = {
    "uniform": np.full(5, 0.2),
    "popularity": np.array([8, 4, 2, 1, 0.5]) ** 0.5 / (np.array([8, 4, 2, 1, 0.5]) ** 0.5).sum(),
    "in-batch": np.array([3, 1, 2, 0, 0]) / 6,
}


def sampler(sampling: Any, power: float = 0.5) -> NegativeSampler:
    return NegativeSampler.of(sampling, COUNTS, power)


@pytest.mark.parametrize("sampling", CHANCES)
def test_items_are_drawn_as_often_as_they_should_be(sampling: str) -> None:
    n, draws = 20_000, torch.Generator().manual_seed(0)
    items = sampler(sampling).draw((n,), draws, BATCH)
    found = np.bincount(items.numpy(), minlength=5)
    chances = CHANCES[sampling]
    assert not found[chances == 0].any()
    possible = chances > 0
    assert stats.chisquare(found[possible], n * chances[possible]).pvalue > 1e-3


@pytest.mark.parametrize("sampling", CHANCES)
def test_shared_items_tell_how_often_they_are_expected(sampling: str) -> None:
    drawn = sampler(sampling).shared(BATCH, 4, torch.Generator().manual_seed(1), COUNTS)
    assert len(drawn.items) == 4 and not drawn.complete
    chances = CHANCES[sampling]
    if sampling == "in-batch":  # over all batches, or they would stand for this one alone
        chances = COUNTS.numpy() / 15
    np.testing.assert_allclose(drawn.often, 4 * chances[drawn.items], rtol=1e-5)
    assert drawn.first(2).items.tolist() == drawn.items[:2].tolist()
    np.testing.assert_allclose(drawn.first(2).often, drawn.often[:2] / 2)


def test_items_of_a_batch_that_no_train_pair_has_are_expected_at_least_a_little() -> None:
    later = torch.tensor([4, 4, 4])
    drawn = sampler("in-batch").shared(later, 4, torch.Generator(), COUNTS)
    assert drawn.often.tolist() == pytest.approx([4 * 0.5 / 15] * 4)


@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
def test_as_many_draws_as_items_are_every_item_once(sampling: str) -> None:
    drawn = sampler(sampling).shared(BATCH, 5, torch.Generator(), COUNTS)
    assert drawn.complete and drawn.items.tolist() == [0, 1, 2, 3, 4]
    assert drawn.often.tolist() == [1.0] * 5 and drawn.first(2) is drawn


def test_power_0_is_uniform_and_1_is_popularity() -> None:
    assert flattened(COUNTS, 0.0).tolist() == pytest.approx([0.2] * 5)
    assert flattened(COUNTS, 1.0).tolist() == pytest.approx(np.array([8, 4, 2, 1, 0.5]) / 15.5)


@pytest.mark.parametrize("sampling", CHANCES)
def test_the_seed_decides(sampling: str) -> None:
    def drawn(seed: int) -> list[int]:
        draws = torch.Generator().manual_seed(seed)
        return sampler(sampling).draw((30,), draws, BATCH).tolist()

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize("sampling", CHANCES)
def test_negatives_of_a_row_are_not_its_pairs(sampling: str) -> None:
    ids = torch.tensor([[u, i] for u in range(40) for i in ((u + k) % 30 for k in range(3))])
    part = PartTensors(ids, torch.ones(len(ids)), (40, 30))
    drawing = Drawing(negatives=8, sampling=sampling)  # type: ignore[arg-type]
    batch = InteractionStream(part, 120, drawing, torch.Generator().manual_seed(0)).next()
    had = {tuple(pair) for pair in ids.tolist()}
    users = batch.ids[:, :1].expand_as(batch.negatives)
    drawn = torch.stack([users, batch.negatives], dim=2).view(-1, 2).tolist()
    assert sum(tuple(pair) in had for pair in drawn) < 3


@pytest.mark.parametrize("sampling", CHANCES)
def test_nothing_is_drawn_from_what_comes_later(sampling: Any) -> None:
    """Popularity of another part changes no draw: the train part alone is counted."""
    train = PartTensors(torch.tensor([[0, 0], [1, 1], [2, 0]]), torch.ones(3), (3, 6))
    later = torch.tensor([[0, 5]] * 50 + [[1, 4]] * 50)

    def drawn(rows: torch.Tensor) -> list[list[int]]:
        valid = PartTensors(rows, torch.ones(len(rows)), (3, 6))
        draws = torch.Generator().manual_seed(0)
        drawing = Drawing(shared=3, sampling=sampling)
        stream = InteractionStream(train, 3, drawing, draws)
        found = []
        for _ in range(20):
            shared = stream.next().shared
            assert shared is not None
            found.append(shared.items.tolist())
        judged = InteractionStream(valid, 3, drawing, draws, (train,), in_history=False)
        assert judged._sampler.chances is None or torch.equal(
            judged._sampler.chances, stream._sampler.chances
        )
        return found

    assert drawn(later) == drawn(later.flip(0)[:7])
    if sampling == "in-batch":
        assert {i for row in drawn(later) for i in row} == {0, 1}
