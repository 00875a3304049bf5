"""Generated histories of films whose truth is known: what each user watches next, and why.

The next film of a user is drawn by the films watched before, and every kind says how:

- two-scales: *either* one of the last few films calls for a film that follows it, *or* the long
  taste calls for one of a genre. Each film has its own few that follow it, drawn over all genres
  and in one direction: a table of pairs, which is no product of two short vectors. An earlier film
  counts half as much per half-life, in films watched since; the two half-lives are drawn by the
  seed. The chances of both are added up, so that a film needs one of the two and not both.
- one-scale: the first of the two alone, of a longer half-life.
- set: the genres alone; all films of a user count alike, and they come in an order that says
  nothing.
- shuffled: the films of two-scales, those of each user in another order.

A share of the films follows popularity, nobody watches a film twice, and one user in ten is new,
with three or four films. Titles are of the genre, so that a person can judge a recommendation; no
model reads them. The functions here are independent of those that a search tries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sif.data.interactions.columns import Int64Array
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.planted import numbered
from sif.data.interactions.planted_order import (
    Floats,
    PlantedScale,
    followers,
    shuffled,
    walks,
)
from sif.data.interactions.planted_titles import GENRES, film_titles
from sif.errors import DataError
from sif.utils.registry import unknown

_STREAM = 0xF117  # keeps these random numbers apart from those of other generators
_POPULARITY_POWER = 0.5  # popularity falls with rank^-0.5
_RANDOM = 0.1  # share of the films that follow popularity
_FOLLOWERS = 3  # films that may follow a film
_BEGIN, _STEP, _STARTS = 1_000_000_000, 3600, 30_000_000  # seconds
_NEW, _FEW = 0.1, (3, 5)  # share of new users, and their films, from and to, the second excluded
_KIN = 4  # films of its own genre that suit a film
_LONGER = 3.0  # draws of the long taste per draw of the last few
FEW, LONG, ONE = (0.52, 0.65), (10.0, 13.0), (3.0, 8.0)
"""Ranges of the half-lives in films: of the last few, of the long taste, of a single scale."""


@dataclass(frozen=True, eq=False)
class HistoryTruth:
    """The truth behind generated histories.

    Attributes:
        kind: A key of `KINDS`.
        scales: How an earlier film is forgotten, fast ones first; none: order says nothing.
        told: The truth in words.
        base: (n_items,) chances of what follows popularity.
        follows: (n_items, n_items) of each part, chances of each film after each other.
        parts: How each of these forgets; those of `scales`, or a set's.
    """

    kind: str
    scales: tuple[PlantedScale, ...]
    told: str
    base: Floats
    follows: tuple[Floats, ...]
    parts: tuple[PlantedScale, ...]

    @property
    def half_lives(self) -> tuple[float, ...]:
        """Films after which an earlier one counts half as much, of each scale."""
        return tuple(half_life_of(scale.gamma) for scale in self.scales)

    def chances(self, history: Int64Array) -> npt.NDArray[np.float64]:
        """Chances (n_items,) of every film to be the next.

        Args:
            history: (n,) films of a user, the latest last.
        """
        chance = self.base.astype(np.float64)
        weights = sum(part.weight for part in self.parts)
        ages = np.arange(len(history))[::-1]
        for part, follow in zip(self.parts, self.follows, strict=True):
            decay = part.gamma**ages
            share = (1 - _RANDOM) * part.weight / weights
            chance += share * (decay / decay.sum()) @ follow[history]
        return np.asarray(chance)

    def of_items(self, items: Int64Array) -> HistoryTruth:
        """The same of some items alone, under numbers of their own."""
        follows = tuple(follow[np.ix_(items, items)] for follow in self.follows)
        return replace(self, base=self.base[items], follows=follows)


def half_life_of(gamma: float) -> float:
    """Rows after which a weight is half as large; endless for 1."""
    return math.inf if gamma == 1 else math.log(0.5) / math.log(gamma)


def _scale(
    half_lives: tuple[float, float], weight: float, rng: np.random.Generator
) -> PlantedScale:
    low, high = map(math.log, half_lives)
    drawn = math.exp(rng.uniform(low, high))
    return PlantedScale(0.5 ** (1 / drawn), weight=weight)


def _two_scales(rng: np.random.Generator) -> tuple[PlantedScale, ...]:
    return _scale(FEW, 1.0, rng), _scale(LONG, _LONGER, rng)


def _one_scale(rng: np.random.Generator) -> tuple[PlantedScale, ...]:
    return (_scale(ONE, 1.0, rng),)


def _set(_: np.random.Generator) -> tuple[PlantedScale, ...]:
    return (PlantedScale(1.0),)


@dataclass(frozen=True)
class FilmKind:
    """A kind of truth.

    Attributes:
        parts: Draws how each part of the truth forgets.
        tables: What each part calls for: "few" films that follow one, or some of its "genre".
        is_ordered: True if the order of a user's films says something.
        told: The truth in words, with a place for each part's half-life.
    """

    parts: Callable[[np.random.Generator], tuple[PlantedScale, ...]]
    tables: tuple[str, ...]
    is_ordered: bool
    told: str


KINDS = {
    "two-scales": FilmKind(
        _two_scales, ("few", "genre"), True,
        "the next film follows one of the last few (half-life {} rows), or suits the long taste "
        "(half-life {} rows): either is enough",
    ),
    "one-scale": FilmKind(
        _one_scale, ("few",), True,
        "the next film follows one of the last ones (half-life {} rows)",
    ),
    "set": FilmKind(
        _set, ("genre",), False,
        "the films suit the genres of all that a user has; their order says nothing",
    ),
    "shuffled": FilmKind(
        _two_scales, ("few", "genre"), False,
        "films that follow others and films of a genre, in an order that says nothing",
    ),
}  # fmt: skip
"""The kinds of truth by name."""


def planted_films(
    users: int = 1500, items: int = 240, *, kind: str = "two-scales", length: int = 50,
    seed: int = 0,
) -> tuple[Interactions, HistoryTruth]:  # fmt: skip
    """Generates histories of films whose truth is known.

    Args:
        users: Number of users; ids are "u0001", ...
        items: Number of films; ids are "i0001", ...; titles say their genre.
        kind: A key of `KINDS`.
        length: Films of a user on average, half of it at least; new users have fewer.
        seed: The same seed gives the same data.

    Returns:
        Interactions without ratings, in order of time, and the truth.

    Raises:
        DataError: An argument is unknown or out of range.
    """
    _check(users, items, kind, length)
    rng = np.random.default_rng([_STREAM, seed])
    truth_kind = KINDS[kind]
    parts = truth_kind.parts(rng)
    popularity = rng.permutation(np.arange(1, items + 1) ** -_POPULARITY_POWER)
    base = (_RANDOM * popularity / popularity.sum()).astype(np.float32)
    genres = rng.permutation(np.arange(items) % len(GENRES))
    tables = {"genre": _of_genres(genres, rng), "few": followers(items, _FOLLOWERS, rng)}
    follows = tuple(tables[name] for name in truth_kind.tables)
    lengths = rng.integers(length // 2, length + length // 2 + 1, users)
    new = rng.random(users) < _NEW
    lengths[new] = rng.integers(*_FEW, int(new.sum()))
    lengths = -np.sort(-lengths)  # those who are not done yet are the first ones
    taken = walks(lengths, base, 1 - _RANDOM, parts, follows, rng)
    titles = film_titles(genres, rng)
    made = _dated(taken, items, titles, rng)
    ordered = truth_kind.is_ordered
    told = truth_kind.told.format(*(f"{half_life_of(part.gamma):.2g}" for part in parts))
    truth = HistoryTruth(kind, parts if ordered else (), told, base, follows, parts)
    return (made if ordered else shuffled(made, seed)), truth


def _check(users: int, items: int, kind: str, length: int) -> None:
    if kind not in KINDS:
        raise unknown("planted: kind", kind, KINDS, DataError)
    if users < 3:
        raise DataError(f"planted: users: expected at least 3, found {users}")
    if length < 8:
        raise DataError(f"planted: length: expected at least 8, found {length}")
    if length + length // 2 >= items:
        raise DataError(
            f"planted: length: expected at most {2 * (items - 1) // 3} for {items} films, which"
            f" nobody watches twice, found {length}"
        )


def _of_genres(genres: Int64Array, rng: np.random.Generator) -> Floats:
    """(n_items, n_items) chance of each film after each other: a few of its genre."""
    suits = np.zeros((len(genres), len(genres)), np.float32)
    for item, genre in enumerate(genres.tolist()):
        same = np.flatnonzero((genres == genre) & (np.arange(len(genres)) != item))
        kin = rng.choice(same, min(_KIN, len(same)), replace=False)
        suits[item, kin] = rng.dirichlet(np.ones(len(kin)))
    return suits


def _dated(
    taken: Int64Array, n_items: int, titles: Sequence[str], rng: np.random.Generator
) -> Interactions:
    """Rows of (n_users, longest) films; users begin whenever they like and come about hourly."""
    n_users = len(taken)
    place, user = np.nonzero(taken.T >= 0)
    numbers, starts = rng.permutation(n_users), rng.integers(0, _STARTS, n_users)
    seconds = _BEGIN + starts[user] + _STEP * place + rng.integers(0, _STEP, len(place))
    order = np.argsort(seconds, kind="stable")
    films = numbered("i", n_items)
    return Interactions(
        ids=np.stack([numbers[user], taken[user, place]], axis=1)[order],
        fields=("user", "item"),
        vocabularies=(numbered("u", n_users), films),
        timestamp=seconds[order],
        titles=dict(zip(map(str, films.ids), titles, strict=True)),
    )
