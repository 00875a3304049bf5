from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sif.data.interactions import (
    Columns,
    Interactions,
    Split,
    Vocabulary,
    bucket_ids,
    build_split,
    load_split_file,
    make_split,
    planted,
    with_time_buckets,
)
from sif.errors import DataError


def split_at(times: list[int], part: list[int]) -> Split:
    n = len(times)
    ids = np.stack([np.arange(n) % 3, np.arange(n) // 3], axis=1).astype(np.int64)
    vocabularies = (Vocabulary(range(3)), Vocabulary(range(n)))
    data = Interactions(ids, ("user", "item"), vocabularies, timestamp=np.array(times, np.int64))
    return build_split(data, np.array(part), protocol="file", seed=0)


def bucket_names(split: Split) -> list[str]:
    return [str(split.interactions.vocabularies[2].ids[b]) for b in split.interactions.ids[:, 2]]


def test_buckets_worked_out_by_hand() -> None:
    times = [50, 10, 40, 20, 30, 60, 5, 35, 99, 40, 39]
    part = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 1]
    found = with_time_buckets(split_at(times, part), 3)
    assert found.interactions.fields == ("user", "item", "time")
    # Train: 10 20 | 30 40 | 50 60. What is earlier or later falls into the end buckets.
    assert found.interactions.vocabularies[2].ids.tolist() == ["10", "30", "50"]
    expected = ["50", "10", "30", "10", "30", "50", "10", "30", "50", "30", "30"]
    assert bucket_names(found) == expected
    (note,) = found.notes
    assert note.startswith(
        "field time: 3 buckets of the train timestamps, new ones from 1970-01-01"
    )


@pytest.mark.parametrize("buckets", [2, 5, 12, 97])
def test_train_rows_are_shared_out_evenly_in_time_order(buckets: int) -> None:
    data, _ = planted(users=40, items=30, density=0.3, seed=1)
    rng = np.random.default_rng(buckets)
    times = rng.permutation(len(data) * 7)[: len(data)]  # no second twice
    data = replace(data, timestamp=times.astype(np.int64))
    split = with_time_buckets(build_split(data, rng.integers(0, 3, len(data)), protocol="file",
                                          seed=0), buckets)  # fmt: skip
    counts = np.bincount(split.train.ids[:, 2], minlength=buckets)
    assert len(counts) == buckets
    assert counts.max() - counts.min() <= 1
    order = np.argsort(split.interactions.timestamp)
    assert (np.diff(split.interactions.ids[order, 2]) >= 0).all()


@pytest.mark.parametrize("shift", [-(10**9), 10**9])
def test_other_parts_decide_nothing(shift: int) -> None:
    """Valid and test rows may lie anywhere in time; the buckets and train's place stay."""
    data, _ = planted(users=30, items=20, density=0.4, seed=2)
    split = build_split(data, np.arange(len(data)) % 3, protocol="file", seed=0)
    assert data.timestamp is not None
    moved = data.timestamp + np.where(split.part == 0, 0, shift)
    other = build_split(replace(data, timestamp=moved), split.part, protocol="file", seed=0)
    one, two = with_time_buckets(split, 6), with_time_buckets(other, 6)
    assert one.interactions.vocabularies[2] == two.interactions.vocabularies[2]
    assert one.train.ids.tolist() == two.train.ids.tolist()
    assert set(one.valid.ids[:, 2]) == set(range(6))
    assert set(two.valid.ids[:, 2]) == set(two.test.ids[:, 2]) == {0 if shift < 0 else 5}


def test_the_split_stays_what_it_is() -> None:
    split = split_at(list(range(12)), [0, 1, 2] * 4)
    found = with_time_buckets(split, 2)
    assert (found.hash, found.protocol, found.seed) == (split.hash, split.protocol, split.seed)
    assert found.part is split.part
    assert (found.interactions.ids[:, :2] == split.interactions.ids).all()
    assert found.description()["sizes"] == {"user": 3, "item": 12, "time": 2}
    assert split.interactions.fields == ("user", "item")


def test_equal_seconds_stay_together_and_make_fewer_buckets() -> None:
    found = with_time_buckets(split_at([7] * 8 + [9, 9, 7, 8], [0] * 10 + [1, 2]), 5)
    assert found.interactions.vocabularies[2].ids.tolist() == ["7", "9"]
    assert bucket_names(found) == ["7"] * 8 + ["9", "9", "7", "7"]
    assert "2 buckets" in found.notes[0]


def test_times_beyond_the_calendar_are_told_as_numbers() -> None:
    found = with_time_buckets(split_at([-(2**60), 2**60, 0, 0], [0, 0, 1, 2]), 2)
    assert found.notes[0].endswith(str(2**60))
    assert bucket_names(found)[2:] == [str(-(2**60))] * 2


def test_new_timestamps_find_their_bucket() -> None:
    split = with_time_buckets(split_at([10, 20, 30, 40, 15, 15], [0, 0, 0, 0, 1, 2]), 2)
    vocabulary = split.interactions.vocabularies[2]
    found = bucket_ids(vocabulary, [-5, 10, 29, 30, 10**12])
    assert found.tolist() == ["10", "10", "10", "30", "30"]
    assert bucket_ids(vocabulary, split.interactions.timestamp).tolist() == bucket_names(split)


def test_what_makes_no_buckets_is_refused() -> None:
    split = split_at([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 1, 2])
    untimed = replace(split, interactions=replace(split.interactions, timestamp=None))
    with pytest.raises(DataError, match="time_buckets: expected a timestamp column, found none"):
        with_time_buckets(untimed, 2)
    with pytest.raises(DataError, match="no field 'time' yet, found user, item, time"):
        with_time_buckets(with_time_buckets(split, 2), 2)
    alike = split_at([3, 3, 3, 3, 5, 6], [0, 0, 0, 0, 1, 2])
    with pytest.raises(DataError, match="at least 2 buckets, found 1 different"):
        with_time_buckets(alike, 2)


# Context columns of an npz, and official folds with a further field


def save(path: Path, **arrays: Any) -> Path:
    base = {"user": np.arange(9) % 3, "item": np.arange(9) // 3, "part": np.arange(9) % 3}
    np.savez(path, **{**base, **arrays})
    return path


def test_an_npz_brings_its_context(tmp_path: Path) -> None:
    place = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1])
    path = save(tmp_path / "s.npz", hour=np.arange(9) % 2 + 20, place=place,
                place_ids=np.array(["home", "away"]))  # fmt: skip
    data = load_split_file(path, columns=Columns(context=("hour", "place"))).interactions
    assert data.fields == ("user", "item", "hour", "place")
    assert data.vocabularies[2].ids.tolist() == ["20", "21"]
    assert data.vocabularies[3].ids.tolist() == ["home", "away"]
    assert data.ids[:, 2].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert data.ids[:, 3].tolist() == place.tolist()
    assert load_split_file(path).interactions.fields == ("user", "item")


def test_an_npz_without_the_context_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "s.npz")
    with pytest.raises(DataError, match=r"s\.npz: data.context: expected an array 'hour', found"):
        load_split_file(path, columns=Columns(context=("hour",)))


def test_official_folds_know_pairs_whatever_the_context(tmp_path: Path) -> None:
    lines = [f"{u}\t{i}\t3\t{9 * u + i}" for u in range(1, 6) for i in range(1, 5)]
    base, test = lines[4:], lines[:4]
    for name, content in (("u1.base", base), ("u1.test", test)):
        (tmp_path / name).write_text("\n".join(content) + "\n")
    ids = np.array([[u, i, (u + i) % 2] for u in range(5) for i in range(4)], dtype=np.int64)
    vocabularies = (Vocabulary(range(1, 6)), Vocabulary(range(1, 5)), Vocabulary(["am", "pm"]))
    data = Interactions(ids, ("user", "item", "half"), vocabularies)

    class Folder:
        name, interactions = "small", data
        official_parts = {"u1": (tmp_path / "u1.base", tmp_path / "u1.test")}  # noqa: RUF012

    split = make_split(Folder(), "u1", seed=0)
    assert split.test.ids[:, :2].tolist() == [[0, i] for i in range(4)]
    assert len(split.valid) == 2
