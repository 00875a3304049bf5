"""Normal equations by lags against the histories' matrix itself, and their solution in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sif.errors import ConfigError, DataError, DivergedError
from sif.spaces.linear import gram
from sif.spaces.linear.gram import Products, normal_equations
from sif.spaces.linear.ridge import histories, solve
from sif.spaces.linear.sequences import Decay, Sequences

Rows = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
DECAYS = st.builds(
    Decay,
    st.sampled_from([0.3, 0.8, 0.97, 1.0]),
    st.one_of(st.none(), st.integers(1, 8)),
    st.sampled_from([None, 60.0]),
)


def drawn(seed: int, n: int = 80, users: int = 9, items: int = 12) -> Sequences:
    """Sequences with repeated items, a user without any and ties in time."""
    draws = np.random.default_rng(seed)
    seconds = draws.integers(0, 500, n)
    return Sequences.of(
        draws.integers(0, users, n), draws.integers(0, items, n), (users + 1, items),
        seconds=seconds,
    )  # fmt: skip


def rows(sequences: Sequences, decays: list[Decay], weights: NDArray[np.float64]) -> Rows:
    """X, Y and the weights of the rows, one place after the other."""
    n, x, y, w = sequences.n_items, [], [], []
    assert sequences.seconds is not None
    for begin, end in zip(sequences.starts[:-1], sequences.starts[1:], strict=True):
        for k in range(begin + 1, end):
            row = np.zeros((len(decays), n))
            for scale, decay in enumerate(decays):
                for i in range(begin, k):
                    weight = decay.gamma ** (k - 1 - i)
                    if decay.half_life is not None:
                        seconds = sequences.seconds[k - 1] - sequences.seconds[i]
                        weight *= 0.5 ** (seconds / decay.half_life)
                    if decay.window is None or k - i <= decay.window:
                        row[scale, sequences.items[i]] += weight
            x.append(row.ravel())
            y.append(np.eye(n)[sequences.items[k]])
            w.append(weights[k])
    return np.array(x), np.array(y), np.array(w)


def squares(sequences: Sequences, decay: Decay) -> NDArray[np.float64]:
    """(n_items,) of each place of an item alone: sum of its squared weights over the rows."""
    found = np.zeros(sequences.n_items)
    for place, item in enumerate(sequences.items):
        for k in range(1, sequences.left[place] + 1):
            assert sequences.seconds is not None
            seconds = (sequences.seconds[place + k - 1] - sequences.seconds[place]).item()
            fade = 1.0 if decay.half_life is None else 0.5 ** (seconds / decay.half_life)
            if decay.window is None or k <= decay.window:
                found[item] += (decay.gamma ** (k - 1) * fade) ** 2
    return found


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), decays=st.lists(DECAYS, min_size=1, max_size=3))
def test_normal_equations_are_those_of_the_rows(seed: int, decays: list[Decay]) -> None:
    sequences = drawn(seed)
    weights = np.random.default_rng(seed + 1).random(len(sequences.items))
    x, y, w = rows(sequences, decays, weights)
    found = normal_equations(sequences, decays, weights)
    # Decays without a window are cut where an item weighs less than 1e-4.
    np.testing.assert_allclose(found.gram, x.T @ (w[:, None] * x), atol=2e-3)
    np.testing.assert_allclose(found.cross, x.T @ (w[:, None] * y), atol=2e-3)
    if all(d.window is not None or d.gamma == 1 for d in decays):
        np.testing.assert_allclose(found.gram, x.T @ (w[:, None] * x), atol=1e-10)
        np.testing.assert_allclose(found.cross, x.T @ (w[:, None] * y), atol=1e-10)


EXACT = st.one_of(
    st.builds(Decay, st.floats(0.05, 0.99), st.integers(1, 30)),
    st.builds(Decay, st.floats(0.05, 0.99), st.integers(1, 30), st.floats(1.0, 1e6)),
    st.builds(
        Decay,
        st.just(1.0),
        st.one_of(st.none(), st.integers(1, 30)),
        st.one_of(st.none(), st.floats(1.0, 1e6)),
    ),
)
"""Decays with a window or without any: none is cut where an item hardly weighs."""


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    decays=st.lists(EXACT, min_size=1, max_size=3),
    l2=st.floats(0.5, 500.0),
    weighted=st.booleans(),
)
def test_the_solution_is_that_of_a_dense_solver(
    seed: int, decays: list[Decay], l2: float, weighted: bool
) -> None:
    sequences = drawn(seed, 300, 20, 15)
    draws = np.random.default_rng(seed + 1)
    weights = draws.uniform(0.1, 2.0, 300) if weighted else np.ones(300)
    x, y, w = rows(sequences, decays, weights)
    side = 15 * len(decays)
    expected = np.linalg.solve(x.T @ (w[:, None] * x) + l2 * np.eye(side), x.T @ (w[:, None] * y))
    found = solve(normal_equations(sequences, decays, weights if weighted else None), l2).numpy()
    assert np.linalg.norm(found - expected) <= 1e-6 * np.linalg.norm(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_single_precision_is_near_the_dense_solver() -> None:
    sequences, decays = drawn(3, 900, 60, 30), [Decay(0.6, 3), Decay(0.95, 6)]
    x, y, _ = rows(sequences, decays, np.ones(len(sequences.items)))
    expected = np.linalg.solve(x.T @ x + 5.0 * np.eye(60), x.T @ y)
    found = solve(normal_equations(sequences, decays, dtype=torch.float32), 5.0)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("keep", [False, True])
def test_pieces_and_kept_products_change_nothing(
    keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences, decays = drawn(1), [Decay(0.8, 4), Decay(0.95, 9), Decay(1.0)]
    whole = normal_equations(sequences, decays)
    monkeypatch.setattr("sif.spaces.linear.gram.CHUNK", 7)
    monkeypatch.setattr("sif.spaces.linear.gram.ROWS", 5)
    products = Products(sequences)
    for _ in range(2):
        found = products.normal(decays, keep)
        np.testing.assert_allclose(found.gram, whole.gram, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.cross, whole.cross, rtol=1e-12, atol=1e-12)
        found.gram.zero_()  # as a solution overwrites it
    swapped = products.normal(decays[::-1], keep)
    np.testing.assert_allclose(swapped.gram[:12, 24:], whole.gram[24:, :12], rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), decay=st.one_of(DECAYS, EXACT), ahead=st.floats(0.01, 0.6),
    chunk=st.sampled_from([7, 1 << 17]),
)  # fmt: skip
def test_further_items_of_the_target_fade(
    seed: int, decay: Decay, ahead: float, chunk: int
) -> None:
    sequences = drawn(seed)
    weights = np.random.default_rng(seed + 1).random(len(sequences.items))
    x, y, w = rows(sequences, [decay], weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gram, "CHUNK", chunk)
        found = normal_equations(sequences, [decay], weights, ahead=ahead)
    # Rows of a user follow each other, each place but the first as a target.
    faded, lengths = np.zeros_like(y), np.maximum(np.diff(sequences.starts) - 1, 0)
    for end, length in zip(np.cumsum(lengths), lengths, strict=True):
        after = np.zeros(sequences.n_items)
        for k in range(end - 1, end - length - 1, -1):
            after = faded[k] = y[k] + ahead * after
    # Left out are weights below 1e-3 of the next item's, and 1e-4 of the latest item's.
    np.testing.assert_allclose(found.cross, x.T @ (w[:, None] * faded), atol=5e-3)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), decays=st.lists(EXACT, min_size=1, max_size=2),
    l2=st.floats(0.5, 100.0), piece=st.sampled_from([5, 1 << 20]),
)  # fmt: skip
def test_some_items_have_the_blocks_and_all_others_stand_alone(
    seed: int, decays: list[Decay], l2: float, piece: int
) -> None:
    sequences = drawn(seed)
    items = np.array([1, 2, 5, 8, 11])
    chosen = np.concatenate([items + scale * sequences.n_items for scale in range(len(decays))])
    whole, products = normal_equations(sequences, decays), Products(sequences, items=items)
    part = products.normal(decays)
    np.testing.assert_allclose(part.gram, whole.gram[np.ix_(chosen, chosen)], atol=1e-12)
    np.testing.assert_allclose(part.cross, whole.cross[chosen], atol=1e-12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gram, "SPARSE", piece)
        rest = products.rest(decays, l2).toarray()
    x, y, _ = rows(sequences, decays, np.ones(len(sequences.items)))
    single = np.concatenate([squares(sequences, decay) for decay in decays])
    expected = (x.T @ y) / (single[:, None] + l2)
    expected[chosen] = 0
    np.testing.assert_allclose(rest, expected, atol=1e-5)


def test_a_matrix_too_close_to_singular_is_refused() -> None:
    normal = normal_equations(drawn(0), [Decay(0.8), Decay(0.8)])
    with pytest.raises(DivergedError, match=r"^ridge: l2 0 is too small"):
        solve(normal, 0.0)


def test_a_window_longer_than_any_history_is_none() -> None:
    sequences = drawn(2)
    whole, windowed = ([Decay(1.0, n), Decay(1.0, n, 60.0)] for n in (None, 10_000))
    for one, other in zip(
        vars(normal_equations(sequences, whole)).values(),
        vars(normal_equations(sequences, windowed)).values(), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(one, other)
    found = (histories(sequences, decays).toarray() for decays in (whole, windowed))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("gamma", [0.0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_decay_out_of_range_is_refused_in_one_line(gamma: float) -> None:
    with pytest.raises(ConfigError, match=r"^gamma: expected a factor in \(0, 1\], found [^\n]*$"):
        Decay(gamma)
    with pytest.raises(ConfigError, match=r"^window: expected at least 1 item, found 0$"):
        Decay(0.5, 0)
    with pytest.raises(ConfigError, match=r"^half-life: expected seconds above 0, found [^\n]*$"):
        Decay(0.5, None, 0.0 if gamma == 0 else -gamma if gamma > 0 else gamma)


def test_histories_are_the_rows_that_would_come_next() -> None:
    sequences, decays = drawn(5), [Decay(0.8, 4), Decay(0.5, None, 60.0)]
    found = histories(sequences, decays).toarray()
    extended = Sequences(
        np.insert(sequences.items, sequences.starts[1:], 0),
        sequences.starts + np.arange(len(sequences.starts)), sequences.n_items,
        np.insert(sequences.seconds, sequences.starts[1:], 0),  # type: ignore[arg-type]
    )  # fmt: skip
    x, _, _ = rows(extended, decays, np.ones(len(extended.items)))
    last = np.cumsum(np.maximum(np.diff(extended.starts) - 1, 0)) - 1
    for user in np.flatnonzero(sequences.lengths):
        np.testing.assert_allclose(found[user], x[last[user]], rtol=1e-5, atol=1e-6)
    assert not found[sequences.lengths == 0].any()


def test_places_follow_time_and_ties_follow_the_rows() -> None:
    ids = np.array([0, 0, 1, 0, 1])
    times = np.array([5, 3, 9, 5, 1])
    found = Sequences.of(ids, np.arange(5), (3, 5), seconds=times)
    assert found.items.tolist() == [1, 0, 3, 4, 2] and found.starts.tolist() == [0, 3, 5, 5]
    by_row = Sequences.of(ids, np.arange(5), (3, 5))
    assert by_row.items.tolist() == [0, 1, 3, 2, 4]
    timed = Decay(0.5, None, 60.0)
    for refused in (histories, normal_equations):
        with pytest.raises(DataError, match=r"^history\(.*\): expected times, found none$"):
            refused(by_row, [timed])
