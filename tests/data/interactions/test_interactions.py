from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sif.data.interactions import Interactions, Vocabulary, concatenate
from sif.data.interactions.interactions import row_keys
from sif.errors import DataError, ShapeError


def three_fields() -> Interactions:
    return Interactions(
        ids=np.array([[0, 1, 0], [1, 0, 1], [0, 1, 1]]),
        fields=("user", "item", "day"),
        vocabularies=(Vocabulary("ab"), Vocabulary("xyz"), Vocabulary(["mon", "tue"])),
    )


def test_sizes_come_from_the_vocabularies_not_from_the_largest_number() -> None:
    assert three_fields().sizes == (2, 3, 2)
    pairs = Interactions(
        np.array([[0, 0]]), ("user", "item"), (Vocabulary("abc"), Vocabulary("wxyz"))
    )
    assert pairs.sizes == (3, 4)


def test_select_keeps_rows_together(generated: Interactions) -> None:
    rows = np.array([7, 3, 3])
    picked = generated.select(rows)
    assert picked.ids.tolist() == generated.ids[rows].tolist()
    assert picked.rating is not None and generated.rating is not None
    assert picked.rating.tolist() == generated.rating[rows].tolist()
    assert picked.vocabularies is generated.vocabularies
    assert len(generated.select(generated.ids[:, 0] == 39)) == 2


def test_arrays_that_do_not_fit_are_refused(generated: Interactions) -> None:
    with pytest.raises(ShapeError, match=r"rating: expected \(500,\), found \(3,\)"):
        replace(generated, rating=np.ones(3, dtype=np.float32))
    with pytest.raises(ShapeError, match=r"item: expected numbers in 0..59, found 0..60"):
        replace(generated, ids=np.array([[0, 0], [0, 60]]), rating=None, timestamp=None)
    with pytest.raises(ShapeError, match="expected int64 or int32, found int16"):
        replace(generated, ids=generated.ids.astype(np.int16))


def test_the_hash_sees_every_part_of_the_content(generated: Interactions) -> None:
    assert generated.rating is not None and generated.timestamp is not None
    ids = generated.ids.copy()
    ids[0, 1] = (ids[0, 1] + 1) % 60
    renamed = (Vocabulary([f"v{n}" for n in range(40)]), generated.vocabularies[1])
    changed = [
        replace(generated, rating=generated.rating + 1),
        replace(generated, rating=None),
        replace(generated, timestamp=generated.timestamp + 1),
        replace(generated, ids=ids),
        replace(generated, vocabularies=renamed),
    ]
    hashes = {generated.content_hash, *(each.content_hash for each in changed)}
    assert len(hashes) == 1 + len(changed)
    assert replace(generated).content_hash == generated.content_hash
    assert len(generated.content_hash) == 16


def test_concatenate_shares_vocabularies() -> None:
    def part(users: str, items: str, rated: bool) -> Interactions:
        user, user_codes = Vocabulary.from_values(users)
        item, item_codes = Vocabulary.from_values(items)
        rating = np.arange(len(users), dtype=np.float32) if rated else None
        ids = np.stack([user_codes, item_codes], axis=1)
        return Interactions(ids, ("user", "item"), (user, item), rating)

    both = concatenate([part("bz", "xy", True), part("ab", "yw", True)])
    texts = [v.ids[both.ids[:, f]].tolist() for f, v in enumerate(both.vocabularies)]
    assert texts == [list("bzab"), list("xyyw")]
    assert both.sizes == (3, 3)
    assert both.rating is not None and both.rating.tolist() == [0, 1, 0, 1]
    assert concatenate([part("b", "x", True), part("a", "y", False)]).rating is None
    with pytest.raises(DataError, match="expected fields"):
        concatenate([part("b", "x", True), three_fields()])


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=20), st.booleans())
def test_row_keys_are_equal_exactly_for_equal_rows(
    rows: list[tuple[int, int, int]], huge: bool
) -> None:
    sizes = (2**40, 2**40, 4) if huge else (4, 4, 4)
    keys = row_keys(np.array(rows, dtype=np.int64), sizes)
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            assert (keys[i] == keys[j]) == (one == other)
