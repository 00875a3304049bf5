from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif.data.interactions import Interactions, Vocabulary, make_split
from sif.data.interactions.load import Dataset, load_dataset
from sif.data.interactions.split import PROTOCOLS, build_split
from sif.errors import DataError, ShapeError

UNOFFICIAL = [name for name in PROTOCOLS if not name.startswith("u")]
SEEDED = [name for name in UNOFFICIAL if name not in ("last-item", "time-cut", "temporal")]


def dataset(interactions: Interactions) -> Dataset:
    return Dataset("d", interactions, interactions.content_hash)


@pytest.mark.parametrize("protocol", UNOFFICIAL)
def test_parts_are_disjoint_and_complete(generated: Interactions, protocol: str) -> None:
    split = make_split(dataset(generated), protocol, 3)
    rows = [set(map(tuple, part.ids.tolist())) for part in (split.train, split.valid, split.test)]
    assert sum(map(len, rows)) == len(generated)
    assert set.union(*rows) == set(map(tuple, generated.ids.tolist()))
    assert split.train.sizes == split.test.sizes == generated.sizes
    counts = split.description()["counts"]
    assert list(counts.values()) == [len(r) for r in rows]


@pytest.mark.parametrize("protocol", UNOFFICIAL)
def test_the_seed_decides(generated: Interactions, protocol: str) -> None:
    one, same, other = (make_split(dataset(generated), protocol, seed) for seed in (1, 1, 2))
    assert one.hash == same.hash and (one.part == same.part).all()
    assert (one.hash != other.hash) == (protocol in SEEDED)
    assert one.description()["split_hash"] == one.hash and one.description()["seed"] == 1


def test_the_hash_sees_parts_and_data(generated: Interactions) -> None:
    split = make_split(dataset(generated), "temporal", 0)
    part = split.part.copy()
    part[0] = (part[0] + 1) % 3
    assert generated.rating is not None
    shifted = replace(generated, rating=generated.rating + (split.part == 2))
    hashes = {
        split.hash,
        build_split(generated, part, protocol="temporal", seed=0).hash,
        build_split(shifted, split.part, protocol="temporal", seed=0).hash,
    }
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("protocol", "counts"),
    [("rating-50/25/25", [250, 125, 125]), ("rating-80/10/10", [400, 50, 50])],
)
def test_rating_sizes(generated: Interactions, protocol: str, counts: list[int]) -> None:
    split = make_split(dataset(generated), protocol, 0)
    assert np.bincount(split.part).tolist() == counts


def test_rating_parts_are_uniform(generated: Interactions) -> None:
    held = np.zeros(len(generated))
    for seed in range(200):
        held += make_split(dataset(generated), "rating-50/25/25", seed).part == 2
    # 200 draws at 1/4: mean 50, deviation 6.1; the largest of 500 stays within 5 deviations.
    assert abs(held - 50).max() < 31


def test_ranking_holds_a_tenth_of_each_user(generated: Interactions) -> None:
    split = make_split(dataset(generated), "ranking-per-user", 0)
    for user in range(40):
        parts = np.bincount(split.part[generated.ids[:, 0] == user], minlength=3).tolist()
        n = sum(parts)
        held = 0 if n < 3 else max(1, n // 10)
        assert parts == [n - 2 * held, held, held]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=8, max_size=40))
def test_last_item_against_sorting_each_user(rows: list[tuple[int, int]]) -> None:
    data = Interactions(
        ids=np.array([(user, n) for n, (user, _) in enumerate(rows)], dtype=np.int64),
        fields=("user", "item"),
        vocabularies=(Vocabulary(range(6)), Vocabulary(range(len(rows)))),
        timestamp=np.array([time for _, time in rows], dtype=np.int64),
    )
    expected = np.zeros(len(rows), dtype=int)
    for user in range(6):
        order = sorted((t, n) for n, (u, t) in enumerate(rows) if u == user)
        if len(order) >= 3:
            expected[order[-1][1]], expected[order[-2][1]] = 2, 1
    if expected.max() == 2:
        split = make_split(dataset(data), "last-item", 0)
        assert split.part.tolist() == expected.tolist()


def test_temporal_parts_do_not_overlap_in_time(generated: Interactions) -> None:
    split = make_split(dataset(generated), "temporal", 0)
    times = [part.timestamp for part in (split.train, split.valid, split.test)]
    train, valid, test = (t for t in times if t is not None)
    assert train.max() < valid.min() and valid.max() < test.min()
    assert generated.timestamp is not None
    ties = np.bincount(generated.timestamp).max()
    assert abs(len(train) - 400) <= ties and abs(len(test) - 50) <= ties


def test_rows_of_the_same_second_stay_together_at_both_cuts() -> None:
    # In order of time 0 ... 19, but 15 to 17 and 18 to 19 share a second: the cuts at 16 and at 18
    # rows of a part fall into the first group, and onto the second.
    times = np.array([*range(15), 15, 15, 15, 18, 18])
    assert temporal(times) == [0] * 15 + [1] * 3 + [2] * 2
    # Here the cut at 18 rows falls into a group that begins at 17.
    times = np.array([*range(17), 17, 17, 17])
    assert temporal(times) == [0] * 16 + [1] + [2] * 3
    # Nothing is ordered by chance: the same rows backwards.
    assert temporal(times[::-1]) == [2] * 3 + [1] + [0] * 16


def temporal(times: np.ndarray) -> list[int]:
    """Parts of rows with these times."""
    n = len(times)
    ids = np.stack([np.arange(n) % 4, np.arange(n)], axis=1)
    rows = Interactions(
        ids=ids.astype(np.int64),
        fields=("user", "item"),
        vocabularies=(Vocabulary(range(4)), Vocabulary(range(n))),
        timestamp=times.astype(np.int64),
    )
    parts: list[int] = make_split(dataset(rows), "temporal", 0).part.tolist()
    return parts


def test_needs_are_told(generated: Interactions) -> None:
    bare = dataset(replace(generated, rating=None, timestamp=None))
    for protocol in ("last-item", "temporal"):
        with pytest.raises(DataError, match=r"^d: .* expects a timestamp column, found none"):
            make_split(bare, protocol, 0)
    with pytest.raises(DataError, match=r"^d: .* expects a rating column, found none"):
        make_split(bare, "rating-80/10/10", 0)
    with pytest.raises(DataError, match=r"protocol u1 expects the official u1\.base"):
        make_split(bare, "u1", 0)
    with pytest.raises(DataError, match="'temporl'; did you mean 'temporal'"):
        make_split(bare, "temporl", 0)
    few = dataset(generated.select(generated.ids[:, 0] == 39))
    with pytest.raises(DataError, match="found train 2, valid 0, test 0"):
        make_split(few, "ranking-per-user", 0)


def test_parts_are_checked(generated: Interactions) -> None:
    part = np.zeros(500, dtype=np.int64)
    part[:2] = 1, 2
    build_split(generated, part, protocol="file", seed=0)
    part[17] = 300
    with pytest.raises(DataError, match=r"^f row 18: part: expected 0 .*, found 300$"):
        build_split(generated, part, protocol="file", seed=0, where="f")
    with pytest.raises(ShapeError, match=r"expected \(500,\), found \(3,\)"):
        build_split(generated, part[:3], protocol="file", seed=0)


def official(folder: Path) -> Path:
    """A folder in the layout of ml-100k whose first fold tests users 1 to 4."""
    rows = [
        f"{user}\t{item}\t{1 + (user + item) % 5}\t{item}"
        for user in range(1, 21)
        for item in range(1, 11)
    ]
    folder.mkdir()
    (folder / "u.data").write_text("\n".join(rows[::-1]))
    (folder / "u1.test").write_text("\n".join(rows[:40]))
    (folder / "u1.base").write_text("\n".join(rows[40:]))
    return folder


def test_official_fold(tmp_path: Path) -> None:
    data = load_dataset(official(tmp_path / "ml"))
    split = make_split(data, "u1", 5)
    assert np.bincount(split.part).tolist() == [144, 16, 40]
    users = split.interactions.vocabularies[0].ids
    assert sorted(set(users[split.test.ids[:, 0]].tolist())) == ["1", "2", "3", "4"]
    assert (make_split(data, "u1", 6).test.ids == split.test.ids).all()
    assert make_split(data, "u1", 6).hash != split.hash
    filtered = load_dataset(tmp_path / "ml", min_rating=5)
    assert len(make_split(filtered, "u1", 0).test) == 8
    (tmp_path / "ml" / "u1.base").write_text("20\t10\t3\t1\n")
    with pytest.raises(DataError, match=r"u1\.base or u1\.test, found 159 in neither$"):
        make_split(data, "u1", 5)


def test_movielens_100k(ml_100k: Path) -> None:
    data = load_dataset("ml-100k", data_dir=ml_100k.parent)
    expected = {
        "rating-50/25/25": [50_000, 25_000, 25_000],
        "u1": [72_000, 8_000, 20_000],
        "ranking-per-user": [80_808, 9_596, 9_596],
        "last-item": [98_114, 943, 943],
    }
    for protocol, counts in expected.items():
        split = make_split(data, protocol, 0)
        assert list(split.description()["counts"].values()) == counts
