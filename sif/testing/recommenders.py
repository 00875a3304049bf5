"""Promises of every recommender and every adapter of one, whatever its library."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from sif.testing.promises import ContractError, promise

ROUNDING = 128 * 2.0**-23
"""Largest difference that is rounding, in units of a user's largest score: libraries add up float32
products of some hundred factors, each in an order of its own, with an error of 2^-24 per sum."""
SOME = 6
"""Users that are asked where asking is dear."""


class RecommenderCase(Protocol):
    """A fitted recommender in the words of the suite, and what it is expected to answer.

    Derive from it; ids are texts. What a library does not have is None.

    Examples:
        >>> from sif.testing import RecommenderCase
        >>> class MyCase(RecommenderCase):
        ...     def users(self):
        ...         return [f"u{i}" for i in range(10)]
        >>> MyCase().users()[0]
        'u0'
    """

    unseen: type[Exception] | tuple[type[Exception], ...] | None = None
    """The error for an unknown user; None: an empty list."""
    has_batches: bool = True
    """True if the recommender has `batch`."""

    def users(self) -> Sequence[str]:
        """All users, at least ten."""
        ...

    def items(self) -> Collection[str]:
        """All items, at least ten."""
        ...

    def liked(self, user: str) -> Collection[str]:
        """Items that a user has."""
        ...

    def expected(self, user: str) -> Mapping[str, float]:
        """Score of every item for a user, from another source: of the model that was adapted."""
        ...

    def top(self, user: str, n: int, filtered: bool = True) -> list[str]:
        """The best n items, without those that the user has or with them."""
        ...

    def batch(self, users: Sequence[str], n: int) -> list[list[str]]:
        """The best n items of several users."""
        ...

    def scores(self, user: str) -> Mapping[str, float]:
        """Score of every item for a user."""
        ...

    def again(self, folder: Path) -> Any:
        """Returns this case, saved to the folder and loaded from there."""
        ...


def check_recommender(case: RecommenderCase) -> None:
    """Runs all `RECOMMENDER_CHECKS`; raises ContractError with the first that is not kept.

    Examples:
        >>> from sif.testing import check_recommender
        >>> check_recommender(MyCase())  # doctest: +SKIP
    """
    for check in RECOMMENDER_CHECKS:
        check(case)


def _near(found: float, score: float, scores: Mapping[str, float]) -> bool:
    """True if two scores of a user differ by no more than `ROUNDING`."""
    return abs(found - score) <= ROUNDING * max(map(abs, scores.values()))


def the_best_come_first(case: RecommenderCase) -> None:
    """Everybody gets the ten best items that they do not have, the best first.

    Scores that differ by no more than `ROUNDING` are equal, and ordered as the library likes.
    """
    for user in case.users():
        scores, liked = case.expected(user), set(case.liked(user))
        found = case.top(user, 10)
        told = f"different items that user {user!r} does not have"
        promise(len(set(found)) == len(found) and not set(found) & liked, told, found)
        best = sorted((scores[i] for i in scores if i not in liked), reverse=True)[:10]
        near = [_near(scores[i], s, scores) for i, s in zip(found, best, strict=False)]
        fits = len(found) == len(best) and all(near)
        promise(fits, f"items of scores {best} for user {user!r}", [scores[i] for i in found])


def scores_are_those_of_the_model(case: RecommenderCase) -> None:
    """Scores are the expected ones, of every item, but for `ROUNDING`."""
    for user in case.users()[:SOME]:
        expected, found = case.expected(user), case.scores(user)
        promise(found.keys() == expected.keys(), f"scores of {len(expected)} items", sorted(found))
        for item, score in expected.items():
            same = _near(found[item], score, expected)
            promise(same, f"score {score} of item {item!r} for user {user!r}", found[item])


def batches_are_their_users(case: RecommenderCase) -> None:
    """Several users at once get what each gets alone."""
    if not case.has_batches:
        return
    some = list(case.users()[3 : 3 + SOME])
    for user, row in zip(some, case.batch(some, 4), strict=True):
        alone = case.top(user, 4)
        promise(row == alone, f"{alone} for user {user!r} in a batch", row)


def what_is_liked_is_left_out(case: RecommenderCase) -> None:
    """Items that a user has are left out unless they are asked for."""
    every = set(case.items())
    for user in case.users()[:SOME]:
        rest = every - set(case.liked(user))
        found = set(case.top(user, len(every)))
        promise(found == rest, f"the {len(rest)} items that user {user!r} does not have", found)
        whole = set(case.top(user, len(every), False))
        promise(whole == every, f"all {len(every)} items for user {user!r} unfiltered", whole)


def too_many_are_all(case: RecommenderCase) -> None:
    """More items than there are is all of them, in the same order."""
    user, count = case.users()[2], len(case.items())
    left = count - len(set(case.liked(user)))
    found = case.top(user, 3 * count)
    fits = len(found) == len(set(found)) == left
    promise(fits, f"{left} different items of {3 * count} that were asked for", found)
    first = case.top(user, 5)
    promise(found[:5] == first, f"{first} at the beginning", found[:5])


def strangers_are_not_made_up(case: RecommenderCase) -> None:
    """A user whom nobody knows is an error, or gets nothing."""
    if case.unseen is None:
        found = case.top("nobody", 5)
        promise(found == [], "no item for an unknown user", found)
        return
    try:
        found = case.top("nobody", 5)
    except case.unseen:
        return
    raise ContractError(f"expected an error for an unknown user, found {found}")


def saved_it_answers_alike(case: RecommenderCase) -> None:
    """Saved and loaded it gives the same answers and scores."""
    with tempfile.TemporaryDirectory() as folder:
        again = case.again(Path(folder))
        for user in itertools.islice(case.users(), SOME):
            for what, ours, theirs in (
                ("items", case.top(user, 10), again.top(user, 10)),
                ("scores", case.scores(user), again.scores(user)),
            ):
                promise(theirs == ours, f"{what} {ours} of user {user!r} after loading", theirs)


RECOMMENDER_CHECKS: tuple[Callable[[RecommenderCase], None], ...] = (
    the_best_come_first, scores_are_those_of_the_model, batches_are_their_users,
    what_is_liked_is_left_out, too_many_are_all, strangers_are_not_made_up, saved_it_answers_alike,
)  # fmt: skip
"""Every promise of a recommender by itself, for a test of each."""
