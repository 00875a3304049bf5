"""Generated sequences: what follows what, at which age, and that a shuffled order says nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sif.data.interactions import Interactions, PlantedScale, planted_order, shuffled
from sif.errors import DataError


def pairs_at(data: Interactions, lag: int, half: int) -> NDArray[np.int64]:
    """(n, 2) items of one user so many places apart, the later one at his sixth place or after.

    Of the users with even numbers (half 0) or odd ones.
    """
    assert data.timestamp is not None
    rows = np.lexsort((data.timestamp, data.ids[:, 0]))
    users, items = data.ids[rows].T
    later = np.r_[np.zeros(6, bool), users[6:] == users[:-6]] & (users % 2 == half)
    places = np.flatnonzero(later)
    return np.stack([items[places - lag], items[places]], axis=1)


def following(data: Interactions, lags: range, n: int = 15) -> NDArray[np.float64]:
    """Share of pairs at each lag whose later item is one of the n that mostly follow the other.

    Half of the users say what mostly follows, the others how often it does.
    """
    counts = np.zeros((data.sizes[1],) * 2)
    np.add.at(counts, tuple(pairs_at(data, 1, 0).T), 1)
    mostly = np.zeros(counts.shape, bool)
    np.put_along_axis(mostly, np.argsort(-counts, axis=1)[:, :n], True, axis=1)
    return np.array([mostly[tuple(pairs_at(data, lag, 1).T)].mean() for lag in lags])


@pytest.mark.parametrize("gamma", [0.5, 0.9])
def test_an_item_matters_by_its_age_until_the_window_ends(gamma: float) -> None:
    data = planted_order(6000, 150, scales=[PlantedScale(gamma, 3)], length=20, seed=4)
    near, next_to, last, *beyond = following(data, range(1, 7))
    rest = np.mean(beyond)
    expected = np.array([1, gamma, gamma**2])
    found = np.array([near, next_to, last]) - rest
    # Users have no item twice, which takes some of the best successors from later places.
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=0.05)
    assert found[2] > 0.1 > np.ptp(beyond)


def test_two_scales_have_successors_of_their_own() -> None:
    scale = PlantedScale(0.5, 1)
    one, two = (planted_order(3000, 150, scales=[scale] * n, length=20, seed=1) for n in (1, 2))
    more = [
        float(np.diff([following(data, range(1, 2), n)[0] for n in (15, 30)])[0])
        for data in (one, two)
    ]
    assert more[0] < 0.05 < 0.1 < more[1]


@pytest.mark.parametrize("mixed", [False, True])
def test_an_order_that_says_nothing(mixed: bool) -> None:
    made = planted_order(1500, 100, scales=(PlantedScale(0.5, 3),) if mixed else (), seed=2)
    data = shuffled(made, 3) if mixed else made
    assert np.ptp(following(data, range(1, 7))[1:]) < 0.02
    if mixed:
        assert following(made, range(1, 7))[0] > following(data, range(1, 7))[0] + 0.1
        assert data.timestamp is not None and made.timestamp is not None
        assert (data.ids == made.ids).all() and (data.timestamp != made.timestamp).any()
        for user in range(0, 1500, 100):
            rows = made.ids[:, 0] == user
            assert sorted(data.timestamp[rows]) == sorted(made.timestamp[rows])


def test_ids_lengths_and_the_seed() -> None:
    data = planted_order(200, 60, length=12, seed=1)
    assert data.vocabularies[0].ids[[0, -1]].tolist() == ["u0001", "u0200"]
    assert data.timestamp is not None and (np.diff(data.timestamp) >= 0).all()
    assert len({tuple(row) for row in data.ids.tolist()}) == len(data)  # nobody has an item twice
    counts = np.bincount(data.ids[:, 0], minlength=200)
    assert counts.min() >= 6 and counts.max() <= 18 and abs(counts.mean() - 12) < 1
    same, other = (planted_order(200, 60, length=12, seed=seed) for seed in (1, 2))
    assert same.content_hash == data.content_hash != other.content_hash


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 2}, "users: expected at least 3, found 2"),
        ({"items": 50}, "length: expected at most 32 for 50 items, .*, found 40"),
        ({"length": 3}, "length: expected at least 4, found 3"),
        ({"successors": 0}, "successors: expected at least 1, found 0"),
        ({"successors": 300}, "successors: expected fewer than items, found 300"),
        ({"noise": 0.0}, r"noise: expected a share in \(0, 1\], found 0\.0"),
    ],
)
def test_numbers_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^planted: {message}$"):
        planted_order(**arguments)


@pytest.mark.parametrize("gamma", [0.0, -0.5, 1.5, float("nan")])
def test_a_gamma_or_a_window_out_of_range(gamma: float) -> None:
    with pytest.raises(DataError, match=r"^planted: gamma: expected a factor in \(0, 1\], found"):
        PlantedScale(gamma)
    with pytest.raises(DataError, match=r"^planted: window: expected at least 1 item, found 0$"):
        PlantedScale(0.5, 0)
