"""Generated interactions of many users and items, a chunk of users at a time, in bounded memory.

The table of all pairs is never held: a chunk draws the pairs of some users from a random stream of
its own, so cost and memory follow the number of interactions instead of users times items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
Drawn = tuple[Int64Array, npt.NDArray[np.float32]]
Combine = Callable[[Float64Array, Float64Array], Float64Array]

CLICK_TEMPERATURE = 0.5  # in deviations of the signal
POPULARITY_SHARE = 0.1  # of the clicks follow popularity, not the signal
POPULARITY_POWER = 0.7  # popularity falls with rank^-0.7
MIN_PER_ITEM = 2
_CANDIDATES = 8  # items that a user meets per click; the share clicked is that of density 1 / 8
_CHUNK_PAIRS = 1 << 20  # of a chunk, candidates included; part of the data's definition
_MOMENT_PAIRS = 1 << 22  # sampled for mean and deviation: both within 0.0005 deviations
_PIECE = 1 << 20  # pairs whose signal is computed at once


@dataclass(frozen=True, eq=False)
class PairSignal:
    """The signal of single pairs, raw or standardized by moments of a sample of pairs.

    `combine` is O, of (b, d) and (b, d), `p` (n_users, d) and `q` (n_items, d) are transformed
    embeddings, `weights` (width,) the readout.
    """

    combine: Combine
    p: Float64Array
    q: Float64Array
    weights: Float64Array
    mean: float = 0.0
    deviation: float = 1.0

    def standardized(self, rng: np.random.Generator) -> PairSignal:
        """The same signal with the moments of uniformly drawn pairs."""
        users, items = (rng.integers(0, len(x), _MOMENT_PAIRS) for x in (self.p, self.q))
        values = self.at(users, items)
        return replace(self, mean=float(values.mean()), deviation=float(values.std()))

    def at(self, users: Int64Array, items: Int64Array) -> Float64Array:
        """Signal (n,) float64 of users (n,) and items (n,)."""
        scores = np.empty(len(users))
        for start in range(0, len(users), _PIECE):
            piece = slice(start, start + _PIECE)
            scores[piece] = self.combine(self.p[users[piece]], self.q[items[piece]]) @ self.weights
        return (scores - self.mean) / self.deviation

    def __call__(self, ids: Int64Array) -> npt.NDArray[np.float32]:
        """Signal (n,) float32 at ids (n, 2)."""
        return self.at(ids[:, 0], ids[:, 1]).astype(np.float32)


def uniform_chunks(
    signal: PairSignal, density: float, noise: float, rng: np.random.Generator
) -> Drawn:
    """Uniformly random pairs with noisy ratings; the density is rounded within a chunk.

    Returns:
        Distinct pairs (n, 2), every user and item at least twice, by user; noisy signal (n,).
    """

    def draw(first: int, n_users: int, stream: np.random.Generator) -> Drawn:
        users, items = _distinct(n_users, len(signal.q), density, stream)
        users += first
        noisy = signal.at(users, items) + noise * stream.normal(size=len(users))
        return np.stack([users, items], axis=1), noisy.astype(np.float32)

    return _all_chunks(signal, density * len(signal.q), draw, noise, rng)


def click_chunks(
    signal: PairSignal, density: float, noise: float, rng: np.random.Generator
) -> Drawn:
    """Clicks: most by taste among the items that a user meets, some by popularity.

    A user makes a Poisson number of clicks of mean round(density * items), before those that fall
    together. He meets eight items per click, every s-th of a shuffled catalogue from a random start
    with a random s: distinct, and without order in the signal. Those with the largest noisy signal
    plus Gumbel noise are clicked, which draws from their softmax without replacement. A tenth of
    the clicks, binomially, are items drawn by popularity instead; if drawn twice they count once.

    Returns:
        As `uniform_chunks`.
    """
    n_items = len(signal.q)
    mean = max(round(density * n_items), 1)
    catalogue = rng.permutation(n_items)
    popularity = np.cumsum(rng.permutation(np.arange(1, n_items + 1) ** -POPULARITY_POWER))
    strides = np.flatnonzero(np.gcd(np.arange(n_items), n_items) == 1)

    def draw(first: int, n_users: int, stream: np.random.Generator) -> Drawn:
        counts = np.clip(stream.poisson(mean, n_users), 3, n_items)
        popular = np.minimum(stream.binomial(counts, POPULARITY_SHARE), counts - 2)
        met = min(_CANDIDATES * int(counts.max()), n_items)
        steps = stream.integers(0, n_items, n_users)[:, None] + np.outer(
            stream.choice(strides, n_users), np.arange(met)
        )
        items = catalogue[steps % n_items]
        users = np.repeat(np.arange(n_users), met)
        noisy = signal.at(users + first, items.reshape(-1)).reshape(items.shape)
        noisy += noise * stream.normal(size=items.shape)
        # A user of few clicks meets fewer items than the busiest of his chunk.
        allowed = np.arange(met) < np.minimum(_CANDIDATES * counts, n_items)[:, None]
        keys = np.where(
            allowed, noisy / CLICK_TEMPERATURE + stream.gumbel(size=items.shape), -np.inf
        )
        taste = _largest(keys, counts - popular)
        chosen = np.repeat(np.arange(n_users), popular)
        drawn = np.searchsorted(
            popularity, stream.random(len(chosen)) * popularity[-1], side="right"
        )
        codes = np.concatenate([(taste[0] * n_items) + items[taste], chosen * n_items + drawn])
        codes = np.unique(codes)
        pairs = np.stack([codes // n_items + first, codes % n_items], axis=1)
        return pairs, np.zeros(len(pairs), dtype=np.float32)

    return _all_chunks(signal, _CANDIDATES * density * n_items, draw, noise, rng)


def _all_chunks(
    signal: PairSignal,
    pairs_per_user: float,
    draw: Callable[[int, int, np.random.Generator], Drawn],
    noise: float,
    rng: np.random.Generator,
) -> Drawn:
    n_users = len(signal.p)
    size = max(1, int(_CHUNK_PAIRS / max(pairs_per_user, 1.0)))
    starts = range(0, n_users, size)
    seeds = rng.integers(0, 2**63, len(starts))
    chunks = [
        draw(start, min(size, n_users - start), np.random.default_rng(seed))
        for start, seed in zip(starts, seeds, strict=True)
    ]
    pairs, noisy = (np.concatenate(column) for column in zip(*chunks, strict=True))
    extra = _missing_of_items(pairs, n_users, len(signal.q), rng)
    if len(extra):
        rest = signal.at(extra[:, 0], extra[:, 1]) + noise * rng.normal(size=len(extra))
        pairs = np.concatenate([pairs, extra])
        noisy = np.concatenate([noisy, rest.astype(np.float32)])
    return pairs, noisy


def _distinct(
    n_users: int, n_items: int, density: float, stream: np.random.Generator
) -> tuple[Int64Array, Int64Array]:
    """Users and items of round(density * users * items) distinct pairs, sorted by user.

    A few more where a user would have fewer than two.
    """
    total = n_users * n_items
    target = round(density * total)
    if density > 0.3:
        keys = np.sort(stream.permutation(total)[:target])
    else:
        keys = np.zeros(0, dtype=np.int64)
        while len(keys) < target:
            more = stream.integers(0, total, target - len(keys) + target // 8 + 8)
            keys = np.unique(np.concatenate([keys, more]))
        keys = np.sort(keys[stream.permutation(len(keys))[:target]])
    lacking = np.flatnonzero(np.bincount(keys // n_items, minlength=n_users) < 2)
    while len(lacking):
        more = lacking * n_items + stream.integers(0, n_items, len(lacking))
        keys = np.unique(np.concatenate([keys, more]))
        lacking = np.flatnonzero(np.bincount(keys // n_items, minlength=n_users) < 2)
    return keys // n_items, keys % n_items


def _largest(keys: Float64Array, counts: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Row and column numbers of the counts[r] largest keys of every row r."""
    most = int(counts.max())
    if most < keys.shape[1]:
        columns = np.argpartition(-keys, most - 1, axis=1)[:, :most]
    else:
        columns = np.tile(np.arange(keys.shape[1]), (len(keys), 1))
    order = np.argsort(-np.take_along_axis(keys, columns, axis=1), axis=1)
    columns = np.take_along_axis(columns, order, axis=1)
    rows, places = np.nonzero(np.arange(columns.shape[1]) < counts[:, None])
    return rows, columns[rows, places]


def _missing_of_items(
    pairs: Int64Array, n_users: int, n_items: int, rng: np.random.Generator
) -> Int64Array:
    """Pairs (b, 2) with random users that give every item its second interaction."""
    counts = np.bincount(pairs[:, 1], minlength=n_items)
    extra = []
    for item in np.flatnonzero(counts < MIN_PER_ITEM):
        present = set(pairs[pairs[:, 1] == item, 0].tolist()) if counts[item] else set()
        while len(present) < MIN_PER_ITEM:
            user = int(rng.integers(0, n_users))
            if user not in present:
                present.add(user)
                extra.append((user, int(item)))
    return np.array(extra, dtype=np.int64).reshape(-1, 2)
