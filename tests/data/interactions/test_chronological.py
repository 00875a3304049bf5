from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sif.data.interactions import Interactions, Split, Vocabulary, make_split
from sif.data.interactions.chronological import counts_rows, is_later
from sif.data.interactions.interactions import ordered
from sif.data.interactions.load import Dataset, load_dataset
from sif.errors import DataError

Rows = list[tuple[int, int]]
N_USERS = 8


def rows_of(users: Sequence[int], moments: Sequence[int]) -> Interactions:
    """A different item in each row."""
    n = len(users)
    return Interactions(
        ids=np.stack([np.array(users), np.arange(n)], axis=1).astype(np.int64),
        fields=("user", "item"),
        vocabularies=(Vocabulary(range(N_USERS)), Vocabulary(range(n))),
        timestamp=np.array(moments, dtype=np.int64),
    )


def split_of(rows: Interactions, protocol: str, seed: int = 0) -> Split:
    return make_split(Dataset("d", rows, rows.content_hash), protocol, seed)


def test_time_cut_by_hand() -> None:
    # 20 rows: the cut falls on the 18th, at moment 40; the test part spans 10. The last row before
    # is at 30, so the window is 20 to 30. In test user 7 is new: half of the rows. In the window
    # users 3 (three rows) and 4 (one) are new, 0 and 1 are not: one of four rows each. Half of the
    # window at most can be new: two known rows and two new ones, or one; as users are drawn whole,
    # user 4 alone is nearer (1 of 2) than 3 alone (3 of 2, as near, so whoever is drawn first).
    users = [0, 1, 2] * 4 + [0, 1] + [3, 3, 3, 4] + [0, 7]
    moments = [*range(12), 25, 26, 20, 28, 30, 29, 40, 50]
    seen = set()
    for seed in range(20):
        split = split_of(rows_of(users, moments), "time-cut", seed)
        assert split.part[:12].tolist() == [0] * 12
        assert split.part[12:14].tolist() == [1, 1]
        assert split.part[18:].tolist() == [2, 2]
        seen.add(tuple(split.part[14:18].tolist()))
        assert split.notes[0].startswith("rows of new users: 50.0% of test, ")
    assert seen == {(1, 1, 1, 0), (0, 0, 0, 1)}


def test_a_window_without_new_users_is_valid_as_a_whole() -> None:
    users = [n % 4 for n in range(27)] + [5, 6, 7]
    split = split_of(rows_of(users, range(30)), "time-cut")
    assert split.part.tolist() == [0] * 24 + [1] * 3 + [2] * 3
    (note,) = split.notes
    assert note.startswith("rows of new users: 100.0% of test, 0.0% of valid, a whole window of 3 ")


@given(
    st.lists(st.tuples(st.integers(0, N_USERS - 1), st.integers(0, 40)), min_size=20, max_size=60),
    st.integers(0, 3),
    st.booleans(),
)
@example([(n % 7, n) for n in range(50)], 0, False)
def test_time_cut_holds_its_promises(rows: Rows, seed: int, by_rows: bool) -> None:
    users, moments = map(np.array, zip(*rows, strict=True))
    data = rows_of(users, moments)
    if by_rows:
        data, moments = ordered(data, "rows", "d"), np.arange(len(rows))
    try:
        part = split_of(data, "time-cut", seed).part
    except DataError:
        assume(False)
    test = moments >= np.sort(moments)[round(0.9 * len(rows))]
    assert (test == (part == 2)).all()
    span, last = np.ptp(moments[test]), moments[~test].max()
    window = (moments >= last - span) & (moments <= last)
    valid = part == 1
    assert not (valid & ~window).any()
    new_at_test = test & ~np.isin(users, users[~test])
    new = window & ~np.isin(users, users[moments < last - span])
    known = window & ~new
    for user in range(N_USERS):
        mine = users == user
        assert len(set(part[mine & window].tolist())) < 2  # users are drawn whole
        if (mine & valid).any() and (mine & (part == 0)).any():
            assert moments[mine & (part == 0)].max() < moments[mine & valid].min()
    share = new_at_test.sum() / test.sum()
    # One group whole, of the other one as many rows as make the share, up to half a user.
    pairs = [(new, share), (known, 1 - share)]
    total = min(group.sum() / wanted for group, wanted in pairs if wanted > 0)
    if total < 0.1 * window.sum():  # too few are left
        assert (valid == window).all()
        return
    for group, wanted in pairs:
        largest = np.bincount(users[group], minlength=1).max()
        assert abs((valid & group).sum() - total * wanted) <= largest / 2 + 1e-9


@pytest.mark.parametrize("protocol", ["last-item", "time-cut"])
@given(
    st.lists(st.tuples(st.integers(0, N_USERS - 1), st.integers(0, 99)), min_size=20, max_size=60),
    st.integers(0, 10**9),
)
def test_a_shifted_future_moves_nothing_before_it(protocol: str, rows: Rows, shift: int) -> None:
    users, moments = map(np.array, zip(*rows, strict=True))
    try:
        before = split_of(rows_of(users, moments), protocol)
    except DataError:
        assume(False)
    test = before.part == 2
    data = before.interactions
    assert data.timestamp is not None
    ids = data.ids.copy()
    ids[test, 1] = np.roll(ids[test, 1], 1)  # other items, at a later time
    shifted = replace(data, ids=ids, timestamp=np.where(test, moments + shift, moments))
    after = split_of(shifted, protocol)
    assert (after.part == before.part).all()
    for one, other in ((before.train, after.train), (before.valid, after.valid)):
        assert one.content_hash == other.content_hash


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=12, max_size=40))
def test_history_at_test_is_never_later(rows: Rows) -> None:
    users, moments = zip(*rows, strict=True)
    for protocol in ("last-item", "time-cut"):
        try:
            split = split_of(rows_of(users, moments), protocol)
        except DataError:
            continue
        moment = split.interactions.moment
        assert moment is not None
        for user in range(N_USERS):
            mine = split.interactions.ids[:, 0] == user
            then = [moment[mine & (split.part == part)] for part in (0, 1, 2)]
            for earlier, later in ((0, 1), (0, 2), (1, 2)):
                if len(then[earlier]) and len(then[later]):
                    assert then[earlier].max() <= then[later].min()


def test_the_order_of_rows_in_place_of_times() -> None:
    users = [n % 5 for n in range(60)]
    counted = rows_of(users, range(60))
    in_rows = ordered(rows_of(users, [7] * 60), "rows", "d")
    bare = ordered(replace(counted, timestamp=None), "rows", "d")
    for protocol in ("last-item", "time-cut", "temporal"):
        parts = [split_of(rows, protocol).part.tolist() for rows in (counted, in_rows, bare)]
        assert parts[0] == parts[1] == parts[2]
    assert split_of(in_rows, "last-item").notes == ()  # no ties among places


def test_ties_are_told_once_with_their_number() -> None:
    users = [0, 0, 0, 1, 1, 1, 1]
    split = split_of(rows_of(users, [5, 5, 4, 1, 2, 2, 2]), "last-item")
    assert split.part.tolist() == [1, 2, 0, 0, 0, 1, 2]
    told = "5 rows share their time with others of their user: the order of rows decides"
    assert split.notes == (told,)


def test_what_cannot_be_cut_is_told() -> None:
    users = [n % 5 for n in range(40)]
    cases = {
        "expected rows before the test part, found all in one moment": [3] * 40,
        # the last four rows take 70 of 79 seconds
        "expected rows before the validation window, .* 70 of the 79 seconds": [
            *[n // 4 for n in range(36)], 9, 30, 60, 79,
        ],
        "found each user's rows counted from 0; use last-item": [n // 5 for n in range(40)],
    }  # fmt: skip
    for message, moments in cases.items():
        with pytest.raises(DataError, match=message) as error:
            split_of(rows_of(users, moments), "time-cut")
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="rolling makes several splits"):
        split_of(rows_of(users, range(40)), "rolling")


FORMS = {
    "seconds": lambda second: f"{second}",
    "milliseconds": lambda second: f"{second}123",
    "zones": lambda second: f"{np.datetime64(second + 3600, 's')}+01:00",
}


@pytest.mark.parametrize("protocol", ["last-item", "time-cut"])
def test_times_in_any_form_make_the_same_parts(tmp_path: Path, protocol: str) -> None:
    rng = np.random.default_rng(0)
    times = np.sort(1_500_000_000 + rng.integers(0, 10**6, 80))[rng.permutation(80)]
    users = rng.integers(0, 8, 80)
    parts = []
    for form in FORMS.values():
        lines = [f"{u},{n},{form(int(times[n]))}" for n, u in enumerate(users.tolist())]
        path = tmp_path / "a.csv"
        path.write_text("\n".join(["user,item,time", *lines]))
        parts.append(make_split(load_dataset(path), protocol, 0).part.tolist())
    assert parts[0] == parts[1] == parts[2]
    path.write_text("\n".join(["user,item,time", *lines[:40], "1,99,1500000000"]))
    with pytest.raises(DataError, match="line 42: timestamp: expected a date as in most rows"):
        load_dataset(path)


def test_a_file_without_times(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [f"{n % 5},{n}" for n in range(60)]
    path.write_text("\n".join(["user,item", *lines, "0,0"]))  # the first pair again, as the last
    for protocol in ("last-item", "time-cut"):
        with pytest.raises(DataError, match=r"data\.order=rows .* or use ranking-per-user$"):
            make_split(load_dataset(path), protocol, 0)
    rows = load_dataset(path, order="rows").interactions
    assert rows.order.tolist() == list(range(60)) and rows.place is not None
    assert rows.place.tolist() == list(range(1, 61))
    split = make_split(load_dataset(path, order="rows"), "last-item", 0)
    assert split.part.tolist() == [0] * 50 + [1] * 5 + [2] * 5
    with pytest.raises(DataError, match=r"a\.csv: data\.order: expected a timestamp column for"):
        load_dataset(path, order="time")


def test_order_of_interactions() -> None:
    rows = rows_of([0, 1, 2, 3], [5, 3, 5, 1])
    assert rows.order.tolist() == [3, 1, 0, 2]
    assert rows.select(np.array([2, 1])).order.tolist() == [1, 0]
    by_rows = ordered(rows, "rows", "d")
    assert by_rows.order.tolist() == [0, 1, 2, 3]
    assert by_rows.select(np.array([2, 1])).order.tolist() == [1, 0]  # places stay with their rows
    with pytest.raises(DataError, match=r"expected timestamps, or rows in order"):
        _ = replace(rows, timestamp=None).order


def test_a_part_is_later_where_no_row_is_earlier_than_one_of_its_user() -> None:
    rows = rows_of([0, 0, 0, 1, 1, 2, 3], [1, 5, 9, 20, 30, 2, 40])
    train = rows.select(np.array([0, 1, 3]))
    assert is_later(rows.select(np.array([2, 4])), train)
    assert is_later(rows.select(np.array([2, 4, 5, 6])), train)  # users 2 and 3 are new
    assert is_later(rows.select(np.array([1])), rows.select(np.array([0, 1])))  # of one moment
    assert not is_later(rows.select(np.array([0, 4])), rows.select(np.array([1, 3])))
    bare = replace(rows, timestamp=None)
    assert not is_later(bare, train) and not is_later(train, bare)
    assert is_later(replace(bare, place=np.arange(7)).select(np.array([2])),
                    replace(bare, place=np.arange(7)).select(np.array([0, 1])))  # fmt: skip


def test_counted_rows_are_no_times() -> None:
    users = [0, 0, 0, 1, 1]
    assert counts_rows(rows_of(users, [1, 2, 3, 1, 2]))
    assert not counts_rows(rows_of(users, [1, 2, 4, 1, 2]))
    assert not counts_rows(rows_of(users, [1, 2, 3, 2, 3]))
    assert not counts_rows(rows_of([], []))
    placed = replace(rows_of(users, [1, 2, 3, 1, 2]), place=np.arange(5))
    assert not counts_rows(placed)
