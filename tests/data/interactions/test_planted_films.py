"""Generated films: who watches what next is drawn by the chances that the truth tells."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from sif.config.cf import PlantedConfig
from sif.data.interactions.load import load_dataset
from sif.data.interactions.planted_films import (
    FEW,
    KINDS,
    LONG,
    HistoryTruth,
    half_life_of,
    planted_films,
)
from sif.data.interactions.planted_titles import GENRES
from sif.errors import DataError
from sif.evaluation.histories import sequences_of

ORDERED = ("two-scales", "one-scale")


def test_the_seed_decides_all_and_every_film_has_a_title_of_its_own() -> None:
    one, truth = planted_films(60, 70, length=12, seed=5)
    again, _ = planted_films(60, 70, length=12, seed=5)
    other, another = planted_films(60, 70, length=12, seed=6)
    assert one.content_hash == again.content_hash != other.content_hash
    assert truth.half_lives != another.half_lives
    assert list(one.titles) == list(map(str, one.vocabularies[1].ids))
    assert len(set(one.titles.values())) == 70
    words = {word for _, seconds in GENRES.values() for word in seconds}
    assert all(title.split()[-2] in words for title in one.titles.values())
    assert len(np.unique(one.ids, axis=0)) == len(one), "nobody watches a film twice"


def test_half_lives_come_from_their_ranges_and_differ_by_the_seed() -> None:
    drawn = np.array([planted_films(9, 70, length=8, seed=seed)[1].half_lives for seed in range(9)])
    for column, (low, high) in zip(drawn.T, (FEW, LONG), strict=True):
        assert ((low <= column) & (column <= high)).all()
        assert len(set(column.tolist())) == 9
    assert planted_films(9, 70, kind="set", length=8)[1].half_lives == ()
    assert half_life_of(0.5) == 1 and half_life_of(1.0) == np.inf


def test_chances_are_those_of_the_definition() -> None:
    _, truth = planted_films(9, 70, length=8, seed=1)
    history = np.array([4, 17, 30])
    expected = truth.base.astype(float).copy()
    for part, follow in zip(truth.parts, truth.follows, strict=True):
        weights = [part.gamma**2, part.gamma, 1.0]
        for film, weight in zip(history, weights, strict=True):
            for other in range(70):
                share = 0.9 * part.weight / sum(one.weight for one in truth.parts)
                expected[other] += share * weight / sum(weights) * follow[film, other]
    np.testing.assert_allclose(truth.chances(history), expected, rtol=1e-6)
    assert truth.chances(history).sum() == pytest.approx(1, abs=1e-5)
    some = np.array([4, 17, 30, 55])
    fewer = truth.of_items(some).chances(np.array([0, 1, 2]))
    np.testing.assert_allclose(fewer, expected[some], rtol=1e-6)


def surprise(truth: HistoryTruth, histories: list[NDArray[np.int64]]) -> tuple[float, float]:
    """Mean chance of what was watched next among open films, and what it would be if they agreed.

    Films that are drawn by p have the chance sum(p^2) on average.
    """
    seen, expected = [], []
    for items in histories:
        for place in range(3, len(items)):
            chance = truth.chances(items[:place])
            chance[items[:place]] = 0
            chance /= chance.sum()
            seen.append(chance[items[place]])
            expected.append((chance**2).sum())
    return float(np.mean(seen)), float(np.mean(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_film_is_drawn_by_the_chances_unless_the_order_is_another(kind: str) -> None:
    made, truth = planted_films(300, 80, kind=kind, length=16, seed=2)
    sequences = sequences_of(made)
    histories = np.split(sequences.items, sequences.starts[1:-1])
    seen, expected = surprise(truth, histories)
    if kind in ORDERED:
        assert seen == pytest.approx(expected, rel=0.08)
    else:  # the chances are those before the films were mixed
        assert seen < 0.92 * expected
        assert truth.scales == ()


def test_settings_name_every_kind() -> None:
    names = get_args(PlantedConfig.model_fields["kind"].annotation)
    assert set(names) == {"product", *KINDS}


def test_one_user_in_ten_is_new() -> None:
    made, _ = planted_films(1000, 60, length=10, seed=0)
    counts = np.bincount(made.ids[:, 0])
    assert 60 < ((counts == 3) | (counts == 4)).sum() < 140
    assert counts.min() == 3


def test_filters_renumber_the_truth() -> None:
    asked = {"truth": "two-scales", "users": 80, "items": 90, "length": 10, "seed": 3}
    whole = load_dataset("planted", planted=asked)
    fewer = load_dataset("planted", planted=asked, min_item=8)
    assert fewer.interactions.sizes[1] < 90
    assert isinstance(whole.truth, HistoryTruth) and isinstance(fewer.truth, HistoryTruth)
    kept = whole.interactions.vocabularies[1].index(fewer.interactions.vocabularies[1].ids)
    film = np.array([2])
    np.testing.assert_allclose(
        fewer.truth.chances(film), whole.truth.chances(kept[film])[kept], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "twoscales"}, r"planted: kind: .*'twoscales'.*did you mean 'two-scales'"),
        ({"users": 2}, r"planted: users: expected at least 3, found 2"),
        ({"length": 4}, r"planted: length: expected at least 8, found 4"),
        ({"items": 30, "length": 20}, r"length: expected at most 19 for 30 films.*found 20"),
    ],
)
def test_what_cannot_be_generated_is_told(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        planted_films(**arguments)  # type: ignore[arg-type]
