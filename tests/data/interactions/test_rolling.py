from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sif.data.interactions import Interactions, make_split, rolling_splits
from sif.data.interactions.load import Dataset, load_dataset
from sif.errors import DataError


def dataset(rows: Interactions) -> Dataset:
    return Dataset("d", rows, rows.content_hash)


def named(rows: Interactions) -> list[tuple[str, str]]:
    """Pairs in the ids of the file."""
    columns = [v.ids[rows.ids[:, f]].tolist() for f, v in enumerate(rows.vocabularies)]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("moments", [2, 3, 5])
def test_test_parts_follow_one_another(generated: Interactions, moments: int) -> None:
    data = dataset(generated)
    splits = rolling_splits(data, 3, moments)
    assert len(splits) == moments
    tested = [pair for split in splits for pair in named(split.test)]
    assert len(set(tested)) == len(tested)
    assert generated.timestamp is not None
    ends = np.sort(generated.timestamp)[[round(n * 50) for n in range(11 - moments, 10)]]
    for split, end in zip(splits, [*ends.tolist(), None], strict=True):
        known = generated.select(generated.timestamp < (1000 if end is None else end))
        assert named(split.interactions) == named(known)
        assert split.protocol == "rolling" and split.notes
        # Nobody knew at that moment whom the data meet later.
        assert split.interactions.sizes[0] == len({user for user, _ in named(known)})
    assert (splits[-1].part == make_split(data, "time-cut", 3).part).all()
    assert splits[-1].hash == make_split(data, "time-cut", 3).hash


def test_later_rows_change_no_earlier_split(generated: Interactions) -> None:
    first = rolling_splits(dataset(generated), 0, 2)[0]
    assert generated.timestamp is not None
    late = generated.timestamp >= np.sort(generated.timestamp)[450]
    ids = generated.ids.copy()
    ids[late, 1] = np.roll(ids[late, 1], 1)
    moved = replace(generated, ids=ids, timestamp=generated.timestamp + 5 * late)
    assert rolling_splits(dataset(moved), 0, 2)[0].hash == first.hash


def test_too_few_moments(generated: Interactions) -> None:
    few = replace(generated, timestamp=np.arange(500) // 250)
    with pytest.raises(DataError, match=r"^d: data\.moments: .*, found 1 for 3 in 500 rows$"):
        rolling_splits(dataset(few), 0)
    with pytest.raises(DataError, match="protocol rolling expects a timestamp column"):
        rolling_splits(dataset(replace(generated, timestamp=None)), 0)
    with pytest.raises(DataError, match="expected moments a tenth of the rows apart"):
        rolling_splits(dataset(generated), 0, 10)


def test_movielens_100k(ml_100k: Path) -> None:
    splits = rolling_splits(load_dataset("ml-100k", data_dir=ml_100k.parent), 0)
    counts = [list(split.description()["counts"].values()) for split in splits]
    assert [sum(count) for count in counts] == [79_999, 90_000, 100_000]
    assert [count[2] for count in counts] == [10_002, 10_001, 10_000]
