"""Generated interactions with a known interaction function, to check a search against the truth.

Embeddings p_u, q_v ~ N(0, 1) and weights w ~ U(0.5, 1.5) give the signal
s(u, v) = w^T O(P(p_u), Q(q_v)), standardized to mean 0 and deviation 1 over all pairs. Ratings are
the signal plus noise at a random share of the pairs; clicks are drawn from a softmax of it, mixed
with item popularity. The functions here are independent of those that a search tries.

Up to `_MAX_PAIRS` pairs of user and item, the signal of all pairs is held in memory. Beyond,
`planted_large` draws the same kinds of data without it: a sample of pairs gives the moments, and
users click among a sample of the items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
import numpy.typing as npt

from sif.data.interactions.columns import Int64Array
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.planted_large import (
    CLICK_TEMPERATURE,
    MIN_PER_ITEM,
    POPULARITY_POWER,
    POPULARITY_SHARE,
    Combine,
    Drawn,
    Float64Array,
    PairSignal,
    click_chunks,
    uniform_chunks,
)
from sif.data.interactions.vocabulary import Vocabulary
from sif.errors import DataError
from sif.utils.registry import unknown

Signal = Callable[[Int64Array], npt.NDArray[np.float32]]

_PLANTED_STREAM = 0x9EED  # keeps these random numbers apart from those of the splits
_MAX_PAIRS = 50_000_000  # up to here the signal of every pair is held in memory
_MAX_INTERACTIONS = 200_000_000  # 28 bytes each, and half as much again while they are shuffled

_MAGNITUDES: dict[str, Callable[[Float64Array], Float64Array]] = {
    "sqrt": lambda x: np.sqrt(np.abs(x)),
    "abs": np.abs,
    "square": np.square,
}
_SIGNS: dict[str, Callable[[Float64Array], Float64Array]] = {
    "+": np.ones_like,
    "-": lambda x: -np.ones_like(x),
    "~": np.sign,
}

# Element-wise functions by name "<sign><magnitude>"; "~" takes the sign of x.
TRANSFORMS: dict[str, tuple[str, str]] = {
    **{sign + magnitude: (sign, magnitude) for sign in _SIGNS for magnitude in _MAGNITUDES},
    "identity": ("~", "abs"),
    "abs": ("+", "abs"),
    "square": ("+", "square"),
    "sqrt": ("+", "sqrt"),
}

OPERATIONS: dict[str, Combine] = {
    "multiply": np.multiply,
    "plus": np.add,
    "max": np.maximum,
    "min": np.minimum,
    "concat": lambda p, q: np.concatenate(np.broadcast_arrays(p, q), axis=-1),
}


@dataclass(frozen=True)
class PlantedTruth:
    """The interaction function that made the data.

    Attributes:
        operation: A key of `OPERATIONS`.
        transforms: One key of `TRANSFORMS` per field, user first.
        dimension: Of the embeddings.

    Raises:
        DataError: A name is unknown or a number is out of range.
    """

    operation: str
    transforms: tuple[str, ...]
    dimension: int

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise unknown("planted: operation", self.operation, OPERATIONS, DataError)
        if len(self.transforms) != 2:
            raise DataError(
                f"planted: transforms: expected one for user and one for item,"
                f" found {len(self.transforms)}"
            )
        for name in self.transforms:
            if name not in TRANSFORMS:
                raise unknown("planted: transforms", name, TRANSFORMS, DataError)
        if self.dimension < 1:
            raise DataError(f"planted: dimension: expected at least 1, found {self.dimension}")

    def expression(self, fields: Sequence[str] = ("user", "item")) -> str:
        """The function on one line, such as "max(user, abs(item))".

        Args:
            fields: Names of the fields, of which it has two.
        """
        arguments = (
            field if name == "identity" else f"{name}({field})"
            for field, name in zip(fields, self.transforms, strict=False)
        )
        return f"{self.operation}({', '.join(arguments)})"


class PlantedInfo(TypedDict):
    """Knowledge of generated data.

    Keys:
        truth: The interaction function.
        signal: (b, 2) numbers of users and items to the (b,) noiseless float32 signal.
        noise: Deviation of the noise, in deviations of the signal.
        embeddings: (n_users, d) and (n_items, d).
        weights: (d,), or (2 d,) for concat.
    """

    truth: PlantedTruth
    signal: Signal
    noise: float
    embeddings: tuple[Float64Array, Float64Array]
    weights: Float64Array


def transform(name: str, x: Float64Array) -> Float64Array:
    """Apply the named element-wise function; the shape stays."""
    sign, magnitude = TRANSFORMS[name]
    return _SIGNS[sign](x) * _MAGNITUDES[magnitude](x)


def planted(
    users: int = 600,
    items: int = 400,
    *,
    operation: str = "multiply",
    transforms: tuple[str, ...] = ("identity", "identity"),
    dimension: int = 2,
    density: float = 0.1,
    noise: float = 0.3,
    seed: int = 0,
    kind: Literal["ratings", "clicks"] = "ratings",
) -> tuple[Interactions, PlantedInfo]:
    """Generate interactions whose interaction function is known.

    Args:
        users: Number of users; ids are "u0001", ...
        items: Number of items; ids are "i0001", ...
        operation: A key of `OPERATIONS`.
        transforms: Keys of `TRANSFORMS` for user and item.
        dimension: Of the embeddings.
        density: Share of the pairs that is observed, in (0, 1]; a few more where a user or an item
            would have fewer than two.
        noise: Deviation of the noise, in deviations of the signal.
        seed: The same seed gives the same data.
        kind: "ratings" (signal plus noise at uniformly random pairs) or "clicks" (drawn per user
            without replacement from softmax(noisy signal) mixed with popularity; no ratings).

    Returns:
        Pair interactions in order of time, and what is known of them.

    Raises:
        DataError: An argument is unknown or out of range.
    """
    truth = PlantedTruth(operation, tuple(transforms), dimension)
    _check(users, items, density, noise, kind)
    rng = np.random.default_rng([_PLANTED_STREAM, seed])
    embeddings = (rng.normal(size=(users, dimension)), rng.normal(size=(items, dimension)))
    width = 2 * dimension if operation == "concat" else dimension
    # All positive: max and min with a negative weight are each other's mirror image, so mixed signs
    # would plant neither.
    weights = rng.uniform(0.5, 1.5, width)
    p, q = (transform(name, e) for name, e in zip(truth.transforms, embeddings, strict=True))
    draw = _all_pairs if users * items <= _MAX_PAIRS else _pairs_by_chunk
    raw = PairSignal(OPERATIONS[operation], p, q, weights)
    (pairs, noisy), signal = draw(raw, density, noise, kind, rng)
    interactions = Interactions(
        ids=pairs,
        fields=("user", "item"),
        vocabularies=(numbered("u", users), numbered("i", items)),
        rating=noisy if kind == "ratings" else None,
        timestamp=1_000_000_000 + np.cumsum(rng.integers(1, 3600, len(pairs))).astype(np.int64),
    )
    info = PlantedInfo(
        truth=truth, signal=signal, noise=noise, embeddings=embeddings, weights=weights
    )
    return interactions, info


def _all_pairs(
    raw: PairSignal, density: float, noise: float, kind: str, rng: np.random.Generator
) -> tuple[Drawn, Signal]:
    """Shuffled pairs (n, 2), their noisy signal (n,), and the signal, by the table of all pairs."""
    # One user at a time, to bound the memory.
    table = np.stack([raw.combine(row[None, :], raw.q) @ raw.weights for row in raw.p])
    table = (table - table.mean()) / table.std()
    noisy = table + noise * rng.normal(size=table.shape)
    seen = KINDS[kind][0](noisy, density, rng)
    pairs = rng.permutation(np.argwhere(seen)).astype(np.int64)
    signal_table = table.astype(np.float32)
    values = noisy[pairs[:, 0], pairs[:, 1]].astype(np.float32)
    return (pairs, values), lambda ids: signal_table[ids[:, 0], ids[:, 1]]


def _pairs_by_chunk(
    raw: PairSignal, density: float, noise: float, kind: str, rng: np.random.Generator
) -> tuple[Drawn, Signal]:
    """Does the same as `_all_pairs`, one chunk of users at a time."""
    signal = raw.standardized(rng)
    pairs, noisy = KINDS[kind][1](signal, density, noise, rng)
    order = rng.permutation(len(pairs))
    return (pairs[order], noisy[order]), signal


def _check(users: int, items: int, density: float, noise: float, kind: str) -> None:
    for name, value in (("users", users), ("items", items)):
        if value < 3:
            raise DataError(f"planted: {name}: expected at least 3, found {value}")
    if not 0 < density <= 1:
        raise DataError(f"planted: density: expected a share in (0, 1], found {density}")
    if users * items * density > _MAX_INTERACTIONS:
        raise DataError(
            f"planted: users times items times density: expected at most {_MAX_INTERACTIONS:,},"
            f" found {round(users * items * density):,}"
        )
    if not (noise >= 0 and math.isfinite(noise)):
        raise DataError(f"planted: noise: expected a number of at least 0, found {noise}")
    if kind not in KINDS:
        raise DataError(f"planted: kind: expected one of {', '.join(KINDS)}, found {kind!r}")


def _uniform(
    noisy: Float64Array, density: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """(n_users, n_items) mask of uniformly random pairs, every user and item at least twice."""
    seen = np.zeros(noisy.size, dtype=bool)
    seen[rng.choice(noisy.size, round(density * noisy.size), replace=False)] = True
    return _at_least(seen.reshape(noisy.shape), rng.random(noisy.shape))


def _clicks(noisy: Float64Array, density: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """(n_users, n_items) mask; per user a Poisson number of mean round(density * items).

    The largest log-probability plus Gumbel noise draws without replacement (Gumbel top-k).
    """
    n_users, n_items = noisy.shape
    taste = np.exp((noisy - noisy.max(axis=1, keepdims=True)) / CLICK_TEMPERATURE)
    taste /= taste.sum(axis=1, keepdims=True)
    popularity = rng.permutation(np.arange(1, n_items + 1) ** -POPULARITY_POWER)
    popularity /= popularity.sum()
    chance = (1 - POPULARITY_SHARE) * taste + POPULARITY_SHARE * popularity
    keys = np.log(chance) + rng.gumbel(size=noisy.shape)
    counts = np.clip(rng.poisson(max(round(density * n_items), 1), n_users), 3, n_items)
    rank = np.argsort(np.argsort(-keys, axis=1), axis=1)
    return _at_least(rank < counts[:, None], keys)


def _at_least(seen: npt.NDArray[np.bool_], keys: Float64Array) -> npt.NDArray[np.bool_]:
    """Add pairs, by the largest key, for users and items seen fewer than twice."""
    for view, key in ((seen, keys), (seen.T, keys.T)):
        for row in np.flatnonzero(view.sum(axis=1) < MIN_PER_ITEM):
            missing = MIN_PER_ITEM - int(view[row].sum())
            unseen = np.where(view[row], -np.inf, key[row])
            view[row, np.argsort(-unseen)[:missing]] = True
    return seen


def numbered(letter: str, n: int) -> Vocabulary:
    """The ids of n generated users or items, such as "u0001"."""
    width = max(4, len(str(n)))
    return Vocabulary([f"{letter}{number:0{width}d}" for number in range(1, n + 1)])


_Mask = Callable[[Float64Array, float, np.random.Generator], npt.NDArray[np.bool_]]
_Chunks = Callable[[PairSignal, float, float, np.random.Generator], Drawn]
# How the observed pairs are drawn: from the (n_users, n_items) noisy signal and the density, and
# beyond `_MAX_PAIRS` from the signal, density and noise.
KINDS: dict[str, tuple[_Mask, _Chunks]] = {
    "ratings": (_uniform, uniform_chunks),
    "clicks": (_clicks, click_chunks),
}
