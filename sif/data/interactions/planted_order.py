"""Generated sequences with known time scales, to check a search for them against the truth.

The next item of a user is drawn by what he took before: one of the scales by its weight; then an
earlier item within its window, as likely as gamma^age and half as likely per half-life; then one of
that item's successors, which every scale has of its own. So the chances of the next item are linear
in the decayed histories. A share of the items follows popularity instead, and nobody takes an item
twice. Without a scale the user's taste draws all items, in an order that says nothing. The
functions here are independent of those that a search tries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sif.data.interactions.columns import Int64Array
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.planted import numbered
from sif.errors import DataError

Floats = npt.NDArray[np.float32]

_STREAM = 0x09DE  # keeps these random numbers apart from those of other generators
_POPULARITY_POWER = 0.5  # popularity falls with rank^-0.5
_GROUPS, _TASTES = 20, 2  # groups of items, and how many of them a user likes
_BEGIN, _STEP = 1_000_000_000, 3600  # seconds
_WITHIN, _PAUSE = 300.0, 86400.0  # mean seconds within bursts, and of pauses between them
_PAUSES = 0.2  # share of the pauses


@dataclass(frozen=True)
class PlantedScale:
    """How a planted history is forgotten.

    Attributes:
        gamma: Factor by which an item's weight shrinks per later item, in (0, 1].
        window: Items of the history that count, the latest ones; None: all.
        weight: How often it draws the next item, relative to other scales.
        half_life: Seconds in which an item's weight halves as well; None: time does not count.

    Raises:
        DataError: A number is out of range.
    """

    gamma: float
    window: int | None = None
    weight: float = 1.0
    half_life: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1:
            raise DataError(f"planted: gamma: expected a factor in (0, 1], found {self.gamma}")
        if self.window is not None and self.window < 1:
            raise DataError(f"planted: window: expected at least 1 item, found {self.window}")
        if not 0 < self.weight < math.inf:
            raise DataError(f"planted: weight: expected a number above 0, found {self.weight}")
        if self.half_life is not None and not 0 < self.half_life < math.inf:
            raise DataError(f"planted: half_life: expected seconds above 0, found {self.half_life}")


def planted_order(
    users: int = 2000,
    items: int = 300,
    *,
    scales: Sequence[PlantedScale] = (PlantedScale(0.8, 16),),
    length: int = 40,
    successors: int = 15,
    noise: float = 0.1,
    seed: int = 0,
) -> Interactions:
    """Generates sequences of items whose time scales are known.

    Args:
        users: Number of users; ids are "u0001", ...
        items: Number of items; ids are "i0001", ...
        scales: Time scales of the history; none: a history is a set.
        length: Items of a user on average, half of it at least.
        successors: Items that may follow an item, on each scale. The fewer, the sooner they are all
            taken, so that an item seems to be forgotten faster than by gamma.
        noise: Share of the items that follow popularity.
        seed: The same seed gives the same data.

    Returns:
        Interactions without ratings, in order of time. Where a scale has a half-life, users come in
        bursts with pauses between them, else about once an hour.

    Raises:
        DataError: A number is out of range.
    """
    _check(users, items, length, successors, noise)
    rng = np.random.default_rng([_STREAM, seed])
    popularity = rng.permutation(np.arange(1, items + 1) ** -_POPULARITY_POWER)
    popularity = (popularity / popularity.sum()).astype(np.float32)
    lengths = rng.integers(length // 2, length + length // 2 + 1, users)
    lengths = -np.sort(-lengths)  # those who are not done yet are the first ones
    base = noise * popularity
    timed = any(scale.half_life is not None for scale in scales)
    gaps = _bursts((users, int(lengths[0])), seed) if timed else None
    follows = [followers(items, successors, rng) for _ in scales]
    taken = (
        walks(lengths, base, 1 - noise, scales, follows, rng, gaps)
        if scales
        else _sets(lengths, base, 1 - noise, rng)
    )
    place, user = np.nonzero(taken.T >= 0)
    numbers = rng.permutation(users)
    ids = np.stack([numbers[user], taken[user, place]], axis=1)
    if gaps is None:
        seconds = _BEGIN + _STEP * place + rng.integers(0, _STEP, len(place))
    else:
        seconds = _BEGIN + gaps.cumsum(axis=1)[user, place]
    order = np.argsort(seconds, kind="stable")
    return Interactions(
        ids=ids[order],
        fields=("user", "item"),
        vocabularies=(numbered("u", users), numbered("i", items)),
        timestamp=seconds[order],
    )


def shuffled(interactions: Interactions, seed: int) -> Interactions:
    """The same items of every user at the same times, in an order that says nothing.

    Args:
        interactions: With times.
        seed: Of the order.

    Raises:
        DataError: There are no times.
    """
    if interactions.timestamp is None:
        raise DataError("planted: expected interactions with times, found none")
    users = interactions.ids[:, 0]
    rng = np.random.default_rng([_STREAM, seed, 1])
    rows = np.argsort(users, kind="stable")
    drawn = rows[np.lexsort((rng.random(len(users)), users[rows]))]
    timestamp = np.empty_like(interactions.timestamp)
    timestamp[rows] = interactions.timestamp[drawn]
    return replace(interactions, timestamp=timestamp)


def _check(users: int, items: int, length: int, successors: int, noise: float) -> None:
    least_of = (("users", users, 3), ("items", items, 3), ("length", length, 4))
    for name, value, least in (*least_of, ("successors", successors, 1)):
        if value < least:
            raise DataError(f"planted: {name}: expected at least {least}, found {value}")
    if length + length // 2 >= items:
        raise DataError(
            f"planted: length: expected at most {2 * (items - 1) // 3} for {items} items, of which"
            f" nobody takes one twice, found {length}"
        )
    if successors >= items:
        raise DataError(f"planted: successors: expected fewer than items, found {successors}")
    if not 0 < noise <= 1:
        raise DataError(f"planted: noise: expected a share in (0, 1], found {noise}")


def walks(
    lengths: Int64Array, base: Floats, share: float, scales: Sequence[PlantedScale],
    follows: Sequence[Floats], rng: np.random.Generator, gaps: Int64Array | None = None,
) -> Int64Array:  # fmt: skip
    """Draws the items of each user one by one; nobody takes an item twice.

    Args:
        lengths: (n_users,) items of each user, descending.
        base: (n_items,) chances of what follows popularity.
        share: Of the items that the scales draw.
        scales: How histories are forgotten.
        follows: (n_items, n_items) of each scale, chances of each item after each other.
        rng: Of the draws.
        gaps: (n_users, longest) seconds before each item, where a scale fades by time.

    Returns:
        (n_users, longest) items of each user in order, -1 beyond his last.
    """
    shape = len(lengths), len(base)
    weights = share * np.array([scale.weight for scale in scales])
    weights = (weights / sum(scale.weight for scale in scales)).astype(np.float32)
    histories = [np.zeros(shape, np.float32) for _ in scales]
    open_items = np.ones(shape, np.bool_)
    taken = np.full((shape[0], int(lengths[0])), -1)
    for place in range(taken.shape[1]):
        n = int(np.searchsorted(-lengths, -place))  # users with more items than that
        chance = np.repeat(base[None], n, axis=0)
        for weight, history, follow in zip(weights, histories, follows, strict=True):
            if place:
                total = history[:n].sum(axis=1, keepdims=True)
                chance += weight * (history[:n] / total) @ follow
        item = _drawn(chance * open_items[:n], rng)
        rows = np.arange(n)
        open_items[rows, item], taken[:n, place] = False, item
        for scale, history in zip(scales, histories, strict=True):
            np.multiply(history, scale.gamma, out=history)
            if scale.half_life is not None and gaps is not None:
                history[:n] *= np.exp2(-gaps[:n, place] / scale.half_life)[:, None]
            history[rows, item] += 1
            if scale.window is not None and place >= scale.window:
                # Exactly: what is nearly 0 could be below.
                history[rows, taken[:n, place - scale.window]] = 0
    return taken


def _bursts(shape: tuple[int, int], seed: int) -> Int64Array:
    """(n_users, longest) seconds before each item, few within a burst and many in a pause."""
    rng = np.random.default_rng([_STREAM, seed, 2])
    mean = np.where(rng.random(shape) < _PAUSES, _PAUSE, _WITHIN)
    return np.asarray(1 + rng.exponential(mean), dtype=np.int64)


def _sets(lengths: Int64Array, base: Floats, share: float, rng: np.random.Generator) -> Int64Array:
    """(n_users, longest) items that each user likes, in any order, -1 beyond his last."""
    n_users, n_items = len(lengths), len(base)
    groups = rng.dirichlet(np.full(n_items, 0.1), _GROUPS)
    liked = rng.permuted(np.tile(np.arange(_GROUPS), (n_users, 1)), axis=1)[:, :_TASTES]
    chance = base + share * groups[liked].mean(axis=1)
    # Gumbel top-k draws without replacement.
    ranked = np.argsort(-(np.log(chance) + rng.gumbel(size=chance.shape)), axis=1)
    taken = np.full((n_users, int(lengths[0])), -1)
    for user, n in enumerate(lengths.tolist()):
        taken[user, :n] = rng.permutation(ranked[user, :n])
    return taken


def followers(n_items: int, n: int, rng: np.random.Generator) -> Floats:
    """(n_items, n_items) chance of each item after each other, of which n may follow."""
    follows = np.zeros((n_items, n_items), np.float32)
    for item in range(n_items):
        others = rng.choice(n_items - 1, n, replace=False)
        follows[item, others + (others >= item)] = rng.dirichlet(np.ones(n))
    return follows


def _drawn(chance: Floats, rng: np.random.Generator) -> Int64Array:
    """(n,) column of each row, drawn as likely as its chances (n, m), which need not sum to 1."""
    total = np.cumsum(chance, axis=1, dtype=np.float64)
    point = rng.random(len(chance)) * total[:, -1]
    return np.asarray((total <= point[:, None]).sum(axis=1), dtype=np.int64)
