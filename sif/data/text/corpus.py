"""A text in three parts, its words numbered by the train part alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sif.data.interactions.parts import PART_NAMES
from sif.errors import DataError, ShapeError
from sif.utils.digest import digest

Int64Array = npt.NDArray[np.int64]

UNK_WORD, EOS_WORD = "<unk>", "<eos>"
UNK, EOS = 0, 1
"""Numbers of these two in every corpus."""
MIN_WORDS = 4  # the two and two more: with one, there is nothing to predict but the ends of lines


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text in three parts.

    Attributes:
        name: Of the data set, for messages.
        words: By their numbers; `<unk>` and `<eos>` are the first two.
        train, valid, test: (n,) int64 words in the order of the text, each in 0..len(words) - 1.
        entropy: Nats per word of the source that the parts are drawn from; None where it is not
            known. No model has a perplexity below exp(entropy) on long parts.
        notes: Changes of the text, one line each.

    Raises:
        ShapeError: A part is not of this form.
    """

    name: str
    words: tuple[str, ...]
    train: Int64Array
    valid: Int64Array
    test: Int64Array
    entropy: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.words[:2] != (UNK_WORD, EOS_WORD):
            raise ShapeError(
                f"{self.name}: words: expected {UNK_WORD} and {EOS_WORD} first,"
                f" found {self.words[:2]}"
            )
        for part, ids in self.parts.items():
            if ids.dtype != np.int64 or ids.ndim != 1:
                raise ShapeError(
                    f"{self.name}: {part}: expected int64 (n,), found {ids.dtype} {ids.shape}"
                )
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(self.words):
                raise ShapeError(
                    f"{self.name}: {part}: expected numbers in 0..{len(self.words) - 1},"
                    f" found {ids.min()}..{ids.max()}"
                )

    @property
    def parts(self) -> dict[str, Int64Array]:
        """Train, valid and test part by their names."""
        return dict(zip(PART_NAMES, (self.train, self.valid, self.test), strict=True))

    @cached_property
    def content_hash(self) -> str:
        """16 hex digits over the words and the three parts."""
        return digest(self.words, self.train, self.valid, self.test)

    def description(self) -> dict[str, Any]:
        """Values that two runs with comparable perplexities share, ready for JSON."""
        return {
            "name": self.name,
            "content_hash": self.content_hash,
            "words": len(self.words),
            "tokens": {part: len(ids) for part, ids in self.parts.items()},
        }


def number(
    name: str, parts: Mapping[str, Sequence[str]], where: str, max_words: int | None = None,
    notes: Sequence[str] = (),
) -> Corpus:  # fmt: skip
    """Numbers the words of a text.

    Words of the train part are ordered by frequency, then by first appearance, after `<unk>` and
    `<eos>`. All others become `<unk>`, which a note counts for each part.

    Args:
        name: Of the data set.
        parts: "train", "valid" and "test" to words in the order of the text.
        where: File of the train part, for messages.
        max_words: Size of the vocabulary, with `<unk>` and `<eos>`; by default all words.
        notes: Earlier notes.

    Raises:
        DataError: There are fewer than two words beside `<unk>` and `<eos>`.
    """
    ordered = Counter(parts["train"]).most_common()  # equal ones as they first appeared
    distinct = [word for word, _ in ordered if word not in (UNK_WORD, EOS_WORD)]
    if len(distinct) + 2 < MIN_WORDS:
        count = f"{len(distinct)}{f' ({distinct[0]!r})' if distinct else ''}"
        raise DataError(f"{where}: expected at least 2 different words, found {count}")
    words = (UNK_WORD, EOS_WORD, *distinct)[:max_words]
    index = {word: place for place, word in enumerate(words)}
    reason = "not in the train part"
    if len(words) < len(distinct) + 2:
        reason = f"not among the {len(words):,} that are kept"
    ids, remarks = {}, list(notes)
    for part in PART_NAMES:
        ids[part] = np.array([index.get(word, UNK) for word in parts[part]], dtype=np.int64)
        unknown = sum(word not in index for word in parts[part])
        total = len(ids[part])
        if unknown and unknown == total - np.count_nonzero(ids[part] == EOS):
            remarks.append(
                f"{part}: none of its {unknown:,} words is known ({reason}): all are now "
                f"{UNK_WORD}, and a perplexity on them says little"
            )
        elif unknown:
            remarks.append(f"{part}: {unknown:,} of {total:,} words are {reason}: now {UNK_WORD}")
    return Corpus(name, words, ids["train"], ids["valid"], ids["test"], notes=tuple(remarks))


def check_max_words(max_words: int | None) -> None:
    """Raises DataError unless a vocabulary of that size has a word to predict."""
    if max_words is not None and max_words < MIN_WORDS:
        raise DataError(
            f"most words: expected at least {MIN_WORDS}, with {UNK_WORD} and {EOS_WORD},"
            f" found {max_words}"
        )
