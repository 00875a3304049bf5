"""Original ids to contiguous numbers and back, one `Vocabulary` per field.

Ids of any kind become texts. Their order is numeric if every id is an integer, else lexicographic.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.errors import DataError, UnknownIdError
from sif.utils.registry import did_you_mean

Int64Array = npt.NDArray[np.int64]
_INTEGER = r"-?\d{1,18}"
LONGEST = 512
"""Characters of an id, at most: a vocabulary takes as much memory for each as for its longest."""
_TOLD = 40
_SEARCHED = 10_000  # ids among which a near one is looked for


class Vocabulary:
    """The ids of one field, numbered from 0. Immutable.

    Args:
        ids: (n,) distinct ids; position is number. Integers and whole floats become "196".

    Raises:
        DataError: An id occurs twice or is missing.
    """

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
            values: (n,) ids, with repeats: numbers, strings or a pandas categorical.

        Returns:
            The vocabulary, in numeric order if every id is an integer, else in lexicographic order,
            and the (n,) number of each value.

        Raises:
            DataError: A value is missing.
        """
        codes, uniques = distinct(_column(values))
        if (codes < 0).any():
            raise DataError(
                f"ids: expected an id, found nothing at row {int(np.argmin(codes)) + 1}"
            )
        # Two values may be written alike (7 and "7"), so texts are made distinct once more.
        merged, texts = pd.factorize(id_strings(uniques).astype(object))
        order = _id_order(np.asarray(texts, dtype=np.str_))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return cls(np.asarray(texts, dtype=np.str_)[order]), rank[merged][codes]

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids.astype(object), dtype=object)

    def lookup(self, ids: Iterable[Any]) -> Int64Array:
        """Numbers of the given ids, (n,) int64, -1 for an unknown id."""
        indices = self._index.get_indexer(pd.Index(id_strings(ids).astype(object), dtype=object))
        return np.array(indices, dtype=np.int64)

    def index(self, ids: Iterable[Any], name: str = "id") -> Int64Array:
        """Numbers of the given ids.

        Args:
            ids: (n,) ids as strings or integers.
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


def distinct(values: Any) -> tuple[Int64Array, Any]:
    """Code of each value, -1 for none, and the distinct values, as `pandas.factorize` gives them.

    Unlike there, texts that differ only behind a NUL character count as two.
    """
    codes, uniques = pd.factorize(values)
    if not (pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)):
        return codes, uniques
    present, plain = codes >= 0, np.asarray(values, dtype=object)
    if (np.asarray(uniques, dtype=object)[codes[present]] == plain[present]).all():
        return codes, uniques
    numbers: dict[Any, int] = {}
    codes[present] = [numbers.setdefault(value, len(numbers)) for value in plain[present].tolist()]
    return codes, np.array(list(numbers), dtype=object)


def id_strings(values: Iterable[Any], name: str = "ids") -> npt.NDArray[np.str_]:
    """Ids as the user writes them, (n,) texts.

    196, 196.0 (pandas reads whole numbers with holes as floats) and "196" all become "196"; other
    texts stay as they are.

    Args:
        values: (n,) ids of any kind.
        name: For messages.

    Raises:
        DataError: A value is missing, longer than `LONGEST` or has a NUL character.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        return values.astype(np.str_)
    if isinstance(values, np.ndarray) and values.dtype.kind in "SU":
        fixed = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
        if fixed.dtype.itemsize > 4 * LONGEST:  # wide enough to hold one
            _refuse(fixed.tolist(), name)
        return fixed.astype(np.str_)
    column = _column(values)
    objects = np.asarray(column, dtype=object)
    if pd.isna(objects).any():
        raise DataError(f"{name}: expected an id, found nothing")
    texts = [
        str(int(v)) if isinstance(v, float | np.floating) and float(v).is_integer() else str(v)
        for v in objects.tolist()
    ]
    _refuse(texts, name)
    return np.asarray(texts, dtype=np.str_)


def unusable(text: str) -> str | None:
    """The fault of an id, as "expected ..., found ..."; None for a valid id.

    NUL characters are refused since fixed-width texts end at them, so that "a" and "a" with a NUL
    behind it would be one id.
    """
    if len(text) > LONGEST:
        return (
            f"expected an id of at most {LONGEST} characters, found {len(text):,}: "
            f"{text[:_TOLD]!r}..."
        )
    if "\0" in text:
        shortened = repr(text) if len(text) <= _TOLD else f"{text[:_TOLD]!r}..."
        return f"expected an id without NUL characters, found {shortened}"
    return None


def _refuse(texts: list[str], name: str) -> None:
    wrong = next(filter(None, map(unusable, texts)), None)
    if wrong is not None:
        raise DataError(f"{name}: {wrong}")


def _column(values: Iterable[Any]) -> Any:
    if isinstance(values, pd.Series | pd.Index):
        values = values.to_numpy() if isinstance(values.dtype, np.dtype) else values.array
    if isinstance(values, np.ndarray | pd.api.extensions.ExtensionArray):
        if isinstance(values, np.ndarray) and values.dtype.kind in "US":
            return id_strings(values).astype(object)
        return values
    return np.asarray(list(values), dtype=object)


def _id_order(texts: npt.NDArray[np.str_]) -> Int64Array:
    integers = bool(pd.Series(texts.astype(object), dtype=object).str.fullmatch(_INTEGER).all())
    if len(texts) and integers:
        return np.lexsort((texts, texts.astype(np.int64)))
    return np.argsort(texts, kind="stable")
