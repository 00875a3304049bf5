"""Interpolated Kneser-Ney models of n-grams, the classical baseline for language models.

For the longest context, the model counts how often a word followed it. For shorter contexts, it
counts how many different words preceded the n-gram, so that a word that always follows one other
word stays unlikely elsewhere. A discount is taken from each count. The probability that this frees
goes to the next shorter context, and in the end to all words equally.

R. Kneser, H. Ney. Improved backing-off for m-gram language modeling. ICASSP 1995. The interpolated
form: S. F. Chen, J. Goodman. An empirical study of smoothing techniques for language modeling.
Computer Speech and Language 13, 1999; here with one discount for each length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sif.data.text.corpus import Corpus
from sif.errors import DataError

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

_Pair = tuple[Float64Array, Float64Array]

LONGEST = 6
"""Words of the longest n-gram that `tuned` tries, the predicted one among them."""
DISCOUNT = 0.75
GRID = (0.01, *(number / 20 for number in range(1, 21)))
"""Discounts that `tuned` tries."""
_SWEEPS = 3  # over the lengths; the search also ends when one changes nothing


@dataclass(frozen=True, eq=False)
class _Counts:
    """One way of counting the n-grams of one length.

    Counts (m,) by n-gram; their sum (k,), and how many are not 0 (k,), by the number of the
    context.
    """

    grams: Int64Array
    total: Int64Array
    kinds: Int64Array

    def evidence(self, contexts: Int64Array, grams: Int64Array) -> Float64Array:
        """(3, n) count, total and kinds by (n,) numbers of contexts and n-grams, -1 if unseen.

        All are 0 after a context that was never seen.
        """
        known = contexts >= 0
        rows = [np.where(grams >= 0, self.grams[grams], 0)]
        rows += [np.where(known, values[contexts], 0) for values in (self.total, self.kinds)]
        return np.stack(rows).astype(np.float64)


@dataclass(frozen=True, eq=False)
class _Level:
    """The n-grams of one length in the text that was fitted.

    Attributes:
        codes: (m,) sorted: the number of the context, times the size of the vocabulary, plus the
            last word. An n-gram's number is its place here.
        occurrences: Number of times that it occurs: for the longest n-grams of a model.
        continuations: Number of different words before it: for all shorter ones; for the
            longest that were counted, the occurrences once more.
    """

    codes: Int64Array
    occurrences: _Counts
    continuations: _Counts

    def numbers(self, contexts: Int64Array, words: Int64Array, size: int) -> Int64Array:
        """(n,) numbers of n-grams by context and last word; -1 where one was never seen."""
        codes = contexts * size + words  # negative, and so never found, for a context of -1
        place = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        return np.where(self.codes[place] == codes, place, -1)

    def evidence(self, contexts: Int64Array, grams: Int64Array) -> _Pair:
        """Evidence on n words by occurrences, and by continuations; see `_Counts`."""
        return (
            self.occurrences.evidence(contexts, grams),
            self.continuations.evidence(contexts, grams),
        )


@dataclass(frozen=True, eq=False)
class NGram:
    """A fitted model.

    Attributes:
        size: Words of the vocabulary.
        discounts: In (0, 1], one for each length of n-grams from 1 to the order.
        levels: The n-grams of each of these lengths, and maybe of longer ones.
    """

    size: int
    discounts: tuple[float, ...]
    levels: tuple[_Level, ...]

    @classmethod
    def fit(
        cls, ids: Int64Array, size: int, order: int, discounts: float | Sequence[float] = DISCOUNT
    ) -> NGram:
        """Counts the n-grams of a text.

        Args:
            ids: (n,) words of the text, in 0..size - 1.
            size: Words of the vocabulary.
            order: Words of the longest n-grams, the predicted one among them.
            discounts: In (0, 1], one for all lengths or one for each from 1 to the order.

        Raises:
            DataError: The order is below 1 or longer than the text, or discounts do not fit.
        """
        if not 1 <= order <= len(ids):
            raise DataError(f"n-gram: order: expected 1 to {len(ids)} words, found {order}")
        per_order = (discounts,) * order if isinstance(discounts, float) else tuple(discounts)
        if len(per_order) != order or not all(0 < discount <= 1 for discount in per_order):
            values = ", ".join(f"{discount:g}" for discount in per_order)
            raise DataError(f"n-gram: discounts: expected {order} in (0, 1], found {values}")
        return cls(size, per_order, _count(ids, size, order))

    @property
    def order(self) -> int:
        """Words of the longest n-grams that are used, the predicted one among them."""
        return len(self.discounts)

    def log_probabilities(self, ids: Int64Array) -> Float64Array:
        """Natural logarithms (n - 1,) for each word of a text (n,) but the first."""
        evidence = _chosen(list(_evidence(self.levels[: self.order], ids, self.size)))
        return np.log(_mixed(evidence, self.discounts, self.size))[1:]

    def perplexity(self, ids: Int64Array) -> float:
        """Over all words of a text but the first, which no network predicts either."""
        return math.exp(-float(self.log_probabilities(ids).mean()))


def tuned(corpus: Corpus, longest: int = LONGEST) -> NGram:
    """The model of the train part whose order and discounts fit the validation part best.

    For each order up to `longest` the discounts are chosen from `GRID` one length after the other,
    the longest first, until nothing changes. Of equally good models, the shortest n-grams win.
    """
    size = len(corpus.words)
    whole = NGram.fit(corpus.train, size, min(longest, len(corpus.train)))
    pairs = list(_evidence(whole.levels, corpus.valid, size))
    best, chosen = math.inf, whole.discounts
    for order in range(1, whole.order + 1):
        cost, discounts = _discounts(_chosen(pairs[:order]), size)
        if cost < best - 1e-12:
            best, chosen = cost, discounts
    return NGram(size, chosen, whole.levels)


def _count(ids: Int64Array, size: int, order: int) -> tuple[_Level, ...]:
    """The n-grams of a text up to the order, the shortest first."""
    contexts = np.zeros(len(ids), dtype=np.int64)  # the empty one is number 0
    ending, n_contexts = np.empty(0, dtype=np.int64), 1
    counted: list[tuple[Int64Array, _Counts]] = []
    continuations: list[_Counts] = []
    for length in range(1, order + 1):
        codes, first, numbers = np.unique(
            (contexts * size + ids)[length - 1 :], return_index=True, return_inverse=True
        )
        if counted:
            # Each n-gram is one more way to continue the n-gram without its first word.
            shorter, _ = counted[-1]
            ways = np.bincount(ending[first + length - 1], minlength=len(shorter))
            continuations.append(_counts(ways, shorter // size, len(counted[-1][1].total)))
        counted.append((codes, _counts(np.bincount(numbers), codes // size, n_contexts)))
        ending, n_contexts = np.append(np.full(length - 1, -1), numbers), len(codes)
        contexts = np.append(-1, ending[:-1])
    continuations.append(counted[-1][1])
    return tuple(
        _Level(codes, counts, ways)
        for (codes, counts), ways in zip(counted, continuations, strict=True)
    )


def _counts(grams: Int64Array, contexts: Int64Array, n_contexts: int) -> _Counts:
    """Counts with their sums, from those of the n-grams (m,) and the numbers of their contexts."""
    total = np.zeros(n_contexts, dtype=np.int64)
    kinds = np.zeros(n_contexts, dtype=np.int64)
    np.add.at(total, contexts, grams)
    np.add.at(kinds, contexts, grams > 0)
    return _Counts(grams, total, kinds)


def _evidence(levels: Sequence[_Level], ids: Int64Array, size: int) -> Iterator[_Pair]:
    """Evidence of each length, the shortest first, on the words of a text."""
    contexts = np.zeros(len(ids), dtype=np.int64)
    for level in levels:
        grams = level.numbers(contexts, ids, size)
        yield level.evidence(contexts, grams)
        contexts = np.append(-1, grams[:-1])


def _chosen(pairs: Sequence[_Pair]) -> list[Float64Array]:
    """Occurrences of the longest n-grams, continuations of the shorter ones."""
    return [*(continuations for _, continuations in pairs[:-1]), pairs[-1][0]]


def _mixed(evidence: Sequence[Float64Array], discounts: Sequence[float], size: int) -> Float64Array:
    """(n,) probabilities, from (3, n) count, total and kinds of each length, the shortest first."""
    mixed = np.full(evidence[0].shape[1], 1 / size)
    for (count, total, kinds), discount in zip(evidence, discounts, strict=True):
        share = np.maximum(count - discount, 0.0) + discount * kinds * mixed
        mixed = np.where(total > 0, share / np.maximum(total, 1), mixed)
    return mixed


def _discounts(evidence: Sequence[Float64Array], size: int) -> tuple[float, tuple[float, ...]]:
    """The fewest nats per word and the discounts from `GRID` that give them."""

    def cost(discounts: Sequence[float]) -> float:
        return -float(np.log(_mixed(evidence, discounts, size))[1:].mean())

    chosen = [DISCOUNT] * len(evidence)
    for _ in range(_SWEEPS):
        before = list(chosen)
        for place in reversed(range(len(chosen))):
            tried = [(cost([*chosen[:place], d, *chosen[place + 1 :]]), d) for d in GRID]
            chosen[place] = min(tried)[1]
        if chosen == before:
            break
    return cost(chosen), tuple(chosen)
