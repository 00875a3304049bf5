"""Generated sentences of known entropy, which only a model with a memory predicts well.

A sentence opens with some keys, goes on with fillers, and closes with the same keys in reverse:

    a3 b7 x2 x4 x5 b7 a3 <eos>

Keys are drawn uniformly, one from each of `depth` sets; the number of fillers is uniform; the first
filler is uniform, and each further one follows from the one before by a random step around a ring.
The opening keys decide the closing keys. An n-gram sees the opening keys only when there are few
fillers, and then each pair of keys is a context of its own: it pays about log(keys) nats for most
closing keys, while a network that remembers the keys pays none.

Keys and fillers are different words, so a sentence shows all of its draws. Its entropy is that of
the draws; since sentences are independent, the entropy of a word is

    (depth log(keys) + log(lengths) + log(fillers) + (m - 1) h) / (2 depth + m + 1)

with m the mean number of fillers and h the entropy of a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sif.data.interactions.parts import PART_NAMES, TEST, TRAIN, VALID
from sif.data.text.corpus import EOS, EOS_WORD, UNK_WORD, Corpus, Int64Array
from sif.errors import DataError

_GRAMMAR_STREAM = 0x6EA3  # keeps these random numbers apart from those of other generators
_CHUNK = 4096  # sentences that are drawn at once
_LETTERS = "abcdefghijklmnopqrstuvw"
_MOST_TOKENS = 100_000_000


def _check(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise DataError(
            f"grammar: {name}: expected a whole number from {low:,} to {high:,}, found {value!r}"
        )


@dataclass(frozen=True)
class Grammar:
    """The source of the sentences.

    Attributes:
        keys: Words in each set of keys.
        depth: Sets of keys, and keys that open a sentence.
        fillers: Words between the keys.
        shortest: Fewest fillers of a sentence.
        longest: Most fillers of a sentence.
        steps: Probability of going on by 1, 2, ... places in the ring of fillers.

    Raises:
        DataError: An argument is out of range.
    """

    keys: int = 10
    depth: int = 2
    fillers: int = 6
    shortest: int = 1
    longest: int = 6
    steps: tuple[float, ...] = (0.5, 0.3, 0.2)

    def __post_init__(self) -> None:
        _check("keys", self.keys, 2, 1000)
        _check("depth", self.depth, 1, len(_LETTERS))
        _check("fillers", self.fillers, 1, 1000)
        _check("shortest", self.shortest, 1, 1000)
        _check("longest", self.longest, self.shortest, 1000)
        total = math.fsum(self.steps)
        if not (min(self.steps, default=-1) >= 0 and math.isclose(total, 1, abs_tol=1e-9)):
            listing = ", ".join(f"{share:g}" for share in self.steps)
            raise DataError(f"grammar: steps: expected probabilities with sum 1, found {listing}")
        if len(self.steps) > self.fillers:
            raise DataError(
                f"grammar: steps: expected at most {self.fillers}, one for each filler,"
                f" found {len(self.steps)}"
            )

    @property
    def words(self) -> tuple[str, ...]:
        """All words: `<unk>`, which never occurs, `<eos>`, keys by their sets, fillers."""
        sets = [f"{letter}{key}" for letter in _LETTERS[: self.depth] for key in range(self.keys)]
        return (UNK_WORD, EOS_WORD, *sets, *(f"x{filler}" for filler in range(self.fillers)))

    @property
    def mean_length(self) -> float:
        """Words of a sentence on the average, with its `<eos>`."""
        return 2 * self.depth + (self.shortest + self.longest) / 2 + 1

    @property
    def entropy(self) -> float:
        """Nats per word, exactly; see the module."""
        step = -math.fsum(share * math.log(share) for share in self.steps if share)
        sentence = self.depth * math.log(self.keys)
        sentence += math.log(self.longest - self.shortest + 1) + math.log(self.fillers)
        sentence += ((self.shortest + self.longest) / 2 - 1) * step
        return sentence / self.mean_length

    def sample(self, tokens: int, rng: np.random.Generator) -> Int64Array:
        """(n,) words of whole sentences, n the first number of at least `tokens` that ends one."""
        parts: list[Int64Array] = []
        drawn = 0
        while drawn < tokens:
            parts.append(self._sentences(_CHUNK, rng))
            drawn += len(parts[-1])
        ids = np.concatenate(parts)
        ends = np.flatnonzero(ids == EOS) + 1
        return ids[: ends[np.searchsorted(ends, tokens)]]

    def _sentences(self, n: int, rng: np.random.Generator) -> Int64Array:
        """Words of n sentences, one after the other."""
        first_key = 2 + self.keys * np.arange(self.depth)
        keys = first_key + rng.integers(self.keys, size=(n, self.depth))
        lengths = rng.integers(self.shortest, self.longest + 1, size=(n, 1))
        start = rng.integers(self.fillers, size=(n, 1))
        steps = 1 + rng.choice(len(self.steps), size=(n, self.longest - 1), p=self.steps)
        walk = np.cumsum(np.hstack([start, steps]), axis=1) % self.fillers
        fillers = 2 + self.keys * self.depth + walk
        fillers[np.arange(self.longest) >= lengths] = -1
        rows = np.hstack([keys, fillers, keys[:, ::-1], np.full((n, 1), EOS)])
        return rows[rows >= 0]


_DEFAULT = Grammar()


def grammar_corpus(
    grammar: Grammar = _DEFAULT,
    *,
    train: int = 60_000,
    valid: int = 10_000,
    test: int = 10_000,
    seed: int = 0,
) -> Corpus:
    """Generates a corpus whose entropy is known; its parts are drawn independently.

    Args:
        grammar: The source.
        train: Words of the train part; a few more, so that it ends with a sentence.
        valid: The same of the validation part.
        test: The same of the test part.
        seed: The same seed gives the same corpus.

    Raises:
        DataError: An argument is out of range.
    """
    _check("seed", seed, 0, 2**32 - 1)

    def part(place: int, tokens: int) -> Int64Array:
        _check(f"{PART_NAMES[place]} words", tokens, 1, _MOST_TOKENS)
        return grammar.sample(tokens, np.random.default_rng([_GRAMMAR_STREAM, seed, place]))

    parts = (part(TRAIN, train), part(VALID, valid), part(TEST, test))
    return Corpus("grammar", grammar.words, *parts, grammar.entropy)
