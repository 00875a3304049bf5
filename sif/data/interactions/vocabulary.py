"""Original ids to contiguous numbers and back, one `Vocabulary` per field.

Ids of any type become texts, see `sif.data.interactions.ids`. Their order is numeric if every
id is an integer, else lexicographic.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.data.interactions.columns import Int64Array
from sif.data.interactions.ids import encoded, id_strings
from sif.errors import DataError, UnknownIdError
from sif.utils.registry import did_you_mean

_INTEGER = r"-?\d{1,18}"
_SEARCHED = 10_000  # ids among which a near one is looked for
_FEW = 1_000  # further ids that are indexed apart, beside a quarter of the others


class Vocabulary:
    """The ids of one field, numbered from 0. Immutable.

    Args:
        ids: (n,) distinct ids; position is number.

    Raises:
        DataError: An id occurs twice, or is none.
    """

    _halves: tuple[Vocabulary, Vocabulary] | None = None  # of an extension: first and later ids

    def __init__(self, ids: Iterable[Any]) -> None:
        self.ids: npt.NDArray[np.str_] = id_strings(ids)
        self.ids.flags.writeable = False
        if not self._index.is_unique:
            twice = self._index[self._index.duplicated()][0]
            raise DataError(f"vocabulary: expected distinct ids, found {str(twice)!r} twice")

    @classmethod
    def from_values(cls, values: Iterable[Any]) -> tuple[Vocabulary, Int64Array]:
        """Numbers the distinct values of a column.

        Args:
            values: (n,) ids, with repeats.

        Returns:
            The vocabulary, in numeric order if every id is an integer, else in lexicographic order,
            and the (n,) number of each value.

        Raises:
            EntryError: A value is no id.
        """
        texts, codes = encoded(values)
        order = _id_order(texts)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return cls(texts[order]), rank[codes]

    def extended(self, ids: Iterable[Any]) -> Vocabulary:
        """The vocabulary with further ids behind those it has, which keep their numbers.

        Only the further ones are indexed, those of earlier extensions among them. Once they are
        many beside the others, all are.

        Args:
            ids: (n,) distinct ids, none of which it has.

        Raises:
            DataError: An id occurs twice.
        """
        further = id_strings(ids)
        if not len(further):
            return self
        first, later = self._halves or (self, None)
        later = Vocabulary(further if later is None else np.concatenate([later.ids, further]))
        known = self.lookup(further) >= 0
        if known.any():
            twice = str(further[np.argmax(known)])
            raise DataError(f"vocabulary: expected distinct ids, found {twice!r} twice")
        whole = np.concatenate([self.ids, further])
        if len(later) > _FEW + len(first) // 4:
            return Vocabulary(whole)
        longer = object.__new__(Vocabulary)
        longer.ids, longer._halves = whole, (first, later)
        longer.ids.flags.writeable = False
        return longer

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids.astype(object), dtype=object)

    def number(self, text: str) -> int:
        """Number of one id, given as the text that it is here; -1 for an unknown one."""
        if self._halves is not None:
            first, later = self._halves
            place = first.number(text)
            if place < 0 <= (behind := later.number(text)):
                place = behind + len(first)
            return place
        try:
            return int(self._index.get_loc(text))
        except KeyError:
            return -1

    def lookup(self, ids: Iterable[Any]) -> Int64Array:
        """Numbers of the given ids, (n,) int64, -1 for an unknown id."""
        texts = id_strings(ids)
        if self._halves is not None:
            first, later = self._halves
            numbers = first.lookup(texts)
            unknown = np.flatnonzero(numbers < 0)
            if len(unknown):
                found = later.lookup(texts[unknown])
                numbers[unknown] = np.where(found < 0, -1, found + len(first))
            return numbers
        indices = self._index.get_indexer(pd.Index(texts.astype(object), dtype=object))
        return np.array(indices, dtype=np.int64)

    def index(self, ids: Iterable[Any], name: str = "id") -> Int64Array:
        """Numbers of the given ids.

        Args:
            ids: (n,) ids.
            name: Kind of id in the error, such as "user".

        Returns:
            (n,) int64.

        Raises:
            UnknownIdError: An id is unknown; the message names it.
        """
        texts = id_strings(ids)
        codes = self.lookup(texts)
        if (codes < 0).any():
            unknown = str(texts[np.argmin(codes)])
            known = f"one of {len(self)} known ids"
            example = f" (the first is {str(self.ids[0])!r})" if len(self) else ""
            hint = did_you_mean(unknown, self.ids.tolist()) if len(self) <= _SEARCHED else ""
            raise UnknownIdError(f"{name}: expected {known}{example}, found {unknown!r}{hint}")
        return codes

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and np.array_equal(self.ids, other.ids)

    def __hash__(self) -> int:
        return hash(self.ids.tobytes())

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} ids)"


def _id_order(texts: npt.NDArray[np.str_]) -> Int64Array:
    integers = bool(pd.Series(texts.astype(object), dtype=object).str.fullmatch(_INTEGER).all())
    if len(texts) and integers:
        return np.lexsort((texts, texts.astype(np.int64)))
    return np.argsort(texts, kind="stable")
