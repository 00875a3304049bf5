from __future__ import annotations

import numpy as np
import pytest

from sif.data.interactions import Interactions, few_users, planted, some_users


def parts() -> tuple[Interactions, Interactions]:
    data, _ = planted(40, 30, density=0.3)
    held = data.ids[:, 0] % 3 == 0
    last = np.zeros(len(data), dtype=bool)
    last[np.flatnonzero(held)[::4]] = True
    return data.select(~last), data.select(last)


def named(part: Interactions) -> set[tuple[str, str, float]]:
    users, items = (v.ids[part.ids[:, f]] for f, v in enumerate(part.vocabularies))
    assert part.rating is not None
    return set(zip(users.tolist(), items.tolist(), part.rating.tolist(), strict=True))


def test_some_users_keep_all_their_rows_and_numbers() -> None:
    train, valid = parts()
    history, truth = some_users(train, valid, 5, np.random.default_rng(0))
    users = np.unique(truth.ids[:, 0])
    assert len(users) == 5
    assert truth.sizes == valid.sizes
    for kept, whole in ((history, train), (truth, valid)):
        assert np.array_equal(kept.ids, whole.ids[np.isin(whole.ids[:, 0], users)])
    assert some_users(train, valid, 500, np.random.default_rng(0)) == (train, valid)


@pytest.mark.parametrize("n", [1, 60, 200, 10_000])
def test_few_users_are_whole_renumbered_and_at_most_n_rows(n: int) -> None:
    train, valid = parts()
    smaller, held = few_users(train, valid, n, np.random.default_rng(1))
    chosen = set(smaller.vocabularies[0].ids.tolist())
    assert len(smaller) <= n or len(chosen) == 1
    if n == 200:
        assert len(smaller) > 150
    for kept, whole in ((smaller, train), (held, valid)):
        assert named(kept) == {row for row in named(whole) if row[0] in chosen}
        assert kept.sizes == (len(chosen), 30)
