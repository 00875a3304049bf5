from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif.data.interactions import (
    Filters,
    Interactions,
    Vocabulary,
    filter_interactions,
    merge_duplicates,
)
from sif.data.interactions.clean import check_usable
from sif.data.interactions.load import filters_of
from sif.data.load import load_dataset
from sif.errors import DataError, SifError


def make(
    pairs: list[tuple[int, int]], rating: list[float] | None, times: list[int] | None
) -> Interactions:
    return Interactions(
        ids=np.array(pairs, dtype=np.int64).reshape(-1, 2),
        fields=("user", "item"),
        vocabularies=(Vocabulary(range(5)), Vocabulary(range(5))),
        rating=None if rating is None else np.array(rating, dtype=np.float32),
        timestamp=None if times is None else np.array(times, dtype=np.int64),
        titles={str(n): f"title {n}" for n in range(5)},
    )


PAIRS = [(0, 0), (1, 1), (0, 0), (0, 0), (1, 0)]
RATING = [1.0, 2.0, 3.0, 5.0, 4.0]


@pytest.mark.parametrize(
    ("rule", "times", "ratings"),
    [
        ("last", [9, 0, 8, 7, 0], [1, 2, 4]),
        ("last", [9, 0, 9, 7, 0], [2, 3, 4]),
        ("last", None, [2, 5, 4]),
        ("first", [9, 0, 8, 7, 0], [2, 5, 4]),
        ("first", [7, 0, 8, 7, 0], [1, 2, 4]),
        ("first", None, [1, 2, 4]),
        ("mean", [9, 0, 8, 7, 0], [3, 2, 4]),
    ],
)
def test_duplicate_rules(rule: str, times: list[int] | None, ratings: list[float]) -> None:
    merged, notes = merge_duplicates(make(PAIRS, RATING, times), rule)
    assert merged.rating is not None and merged.rating.tolist() == ratings
    assert len(notes) == 1 and notes[0].startswith("2 duplicate rows of the same pair: ")


def test_duplicates_can_be_refused_and_rules_are_checked() -> None:
    with pytest.raises(DataError, match="found user '0', item '0' again"):
        merge_duplicates(make(PAIRS, RATING, None), "error")
    with pytest.raises(DataError, match="expected one of last, first, mean, error, found 'sum'"):
        merge_duplicates(make(PAIRS, RATING, None), "sum")
    single = make([(0, 0), (0, 1)], None, None)
    assert merge_duplicates(single, "error") == (single, [])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), max_size=25))
def test_last_agrees_with_a_dictionary(rows: list[tuple[int, int, int]]) -> None:
    data = make([row[:2] for row in rows], list(range(len(rows))), [row[2] for row in rows])
    kept: dict[tuple[int, int], tuple[int, int]] = {}
    for place, (user, item, time) in enumerate(rows):
        kept[user, item] = max(kept.get((user, item), (-1, -1)), (time, place))
    merged, _ = merge_duplicates(data, "last")
    assert merged.rating is not None
    assert merged.rating.tolist() == sorted(place for _, place in kept.values())


@given(
    st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_filters_leave_the_core(pairs: set[tuple[int, int]], min_user: int, min_item: int) -> None:
    expected = set(pairs)
    while True:
        users, items = [u for u, _ in expected], [i for _, i in expected]
        core = {
            (u, i) for u, i in expected if users.count(u) >= min_user and items.count(i) >= min_item
        }
        if core == expected:
            break
        expected = core
    kept, _ = filter_interactions(
        make(sorted(pairs), None, None), Filters(min_user=min_user, min_item=min_item)
    )
    texts = [v.ids[kept.ids[:, f]].tolist() for f, v in enumerate(kept.vocabularies)]
    assert set(zip(*texts, strict=True)) == {(str(u), str(i)) for u, i in expected}
    assert kept.sizes == (len(set(texts[0])), len(set(texts[1])))
    assert set(kept.titles) == set(texts[1])


def test_ratings_are_filtered_first(generated: Interactions) -> None:
    kept, notes = filter_interactions(generated, Filters(4.0, 3))
    assert kept.rating is not None and generated.rating is not None
    assert kept.rating.min() == 4
    assert np.bincount(kept.ids[:, 0]).min() >= 3
    assert notes[0] == f"{int((generated.rating < 4).sum())} ratings below 4 removed"
    with pytest.raises(DataError, match=r"data\.min_rating: expected a rating column"):
        filter_interactions(replace(generated, rating=None), Filters(4.0))


DAY = 86_400


def timed(path: Path) -> Path:
    """Days 0 to 5: user a has i, j, i again; user b has j, k, l; each on a day of its own."""
    rows = enumerate(["a,i", "b,j", "a,j", "b,k", "a,i", "b,l"])
    lines = [f"{pair},{1_600_000_000 + DAY * day}" for day, pair in rows]
    path.write_text("\n".join(["user,item,timestamp", *lines]) + "\n")
    return path


def pairs_of(data: Interactions) -> list[str]:
    users, items = (v.ids[data.ids[:, f]] for f, v in enumerate(data.vocabularies))
    return [f"{user}{item}" for user, item in zip(users, items, strict=True)]


def test_earlier_interactions_are_remembered_and_later_ones_have_not_happened(
    tmp_path: Path,
) -> None:
    """The end comes before repeated pairs are merged, the beginning after."""
    file, day = timed(tmp_path / "some.csv"), 1_600_000_000
    data = load_dataset(file, since=day + DAY, until=day + 4 * DAY)
    assert pairs_of(data.interactions) == ["bj", "aj", "bk"]
    assert data.interactions.dropped is not None
    assert pairs_of(data.interactions.dropped) == ["ai"]
    assert data.notes == [
        "2 interactions from 2020-09-17T12:26:40 on removed",
        "1 interactions before 2020-09-14T12:26:40 removed",
    ]
    again = load_dataset(file, since="2020-09-15")
    assert pairs_of(again.interactions) == ["aj", "bk", "ai", "bl"]
    assert again.notes[-1] == "1 interactions before 2020-09-15 removed"
    dated = load_dataset(file, until=date(2020, 9, 15))
    assert pairs_of(dated.interactions) == ["ai", "bj"]
    assert dated.interactions.dropped is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"since": "soon"}, "data.since: expected seconds since 1970 or an ISO date, found 'soon'"),
        ({"until": [1]}, "data.until: expected seconds since 1970 or an ISO date, found"),
        ({"since": "2021-01-02", "until": "2021-01-02"},
         "data.since: expected a time before data.until (2021-01-02), found 2021-01-02"),
        ({"until": "1999-01-01"}, "found none left after filtering (until 1999-01-01)"),
    ],
)  # fmt: skip
def test_bad_times_are_refused(settings: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(SifError) as error:
        load_dataset(timed(tmp_path / "some.csv"), **settings)
    assert told in str(error.value)


@pytest.mark.parametrize("value", [200_001, "200001", 200_001.9])
def test_numbers_of_settings_are_seconds_whatever_date_they_spell(value: Any) -> None:
    assert filters_of(since=value).since == 200_001
    assert filters_of(until="1970-01-03").until == 2 * DAY
    assert str(filters_of(until=1)) == "until 1970-01-01T00:00:01"


@pytest.mark.parametrize("name", ["since", "until"])
def test_times_are_needed_to_filter_by_them(name: str, tmp_path: Path) -> None:
    file = tmp_path / "some.csv"
    file.write_text("user,item\na,i\na,j\nb,i\n")
    with pytest.raises(DataError, match=rf"data\.{name}: expected timestamps, found none"):
        load_dataset(file, **{name: "2020-01-01"})


def test_unusable_data_are_refused() -> None:
    with pytest.raises(DataError, match=r"^f\.csv: expected interactions, found none left$"):
        check_usable(make([], None, None), "f.csv")
    with pytest.raises(
        DataError, match=r"at least 2 users, found 1 after filtering \(x\): user '3'"
    ):
        check_usable(make([(3, 0), (3, 1)], None, None), "f.csv", "x")
    with pytest.raises(DataError, match="at least 2 items, found 1: user '0', item '1'"):
        check_usable(make([(0, 1), (3, 1)], None, None), "f.csv")
