"""Features of items or of users, keyed by id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array as Rows

from sif.data.features.columns import (
    Column,
    Fault,
    FeatureKind,
    check_kinds,
    column_cells,
    column_of,
    kind_of,
    rows_of,
    stacked,
    unseen,
)
from sif.data.interactions.vocabulary import Vocabulary
from sif.errors import DataError
from sif.utils.registry import did_you_mean

_SHORT = 40
"""Characters of a name that may be a slip of a known one."""


@dataclass(frozen=True, eq=False)
class Features:
    """Encoded features, one row for each id.

    Attributes:
        vocabulary: The n ids, in the order of the rows.
        columns: Of the table, in its order.
        matrix: CSR float32 (n, m), the numbers of all columns side by side; zeros where a value is
            missing.
        ignored: Columns of the table that were left out.

    Examples:
        >>> import pandas as pd
        >>> from sif.data.features import Features
        >>> films = pd.DataFrame({"item": ["a", "b"], "genres": ["Drama", "Comedy|Drama"]})
        >>> Features.of(films.drop(columns="item"), films["item"]).matrix.toarray().tolist()
        [[0.0, 1.0], [1.0, 1.0]]
    """

    vocabulary: Vocabulary
    columns: tuple[Column, ...]
    matrix: Rows
    ignored: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, frame: pd.DataFrame, ids: Any, kinds: Mapping[str, str] | None = None,
        where: str = "features", row_name: str = "row",
    ) -> Features:  # fmt: skip
        """Encodes a table.

        Args:
            frame: The features, without the ids.
            ids: (n,) of its rows, distinct.
            kinds: Column to one of `FeatureKind`, or "ignore"; columns that are not named are
                recognized by their values, and names of other columns are of other tables.
            where: Begins messages.
            row_name: What messages call a row; rows count from 1.

        Raises:
            DataError: An id occurs twice, a cell does not fit its column, or nothing is left.
        """
        kinds = kinds or {}
        names = [str(name) for name in frame.columns]
        check_kinds(kinds, where)
        _refuse_twice(names, where)
        columns, parts, start = list[Column](), list[Rows](), 0
        for place, name in enumerate(names):
            if kinds.get(name) == "ignore":
                continue
            try:
                cells = column_cells(frame.iloc[:, place])
                kind: FeatureKind = kinds.get(name) or kind_of(cells)  # type: ignore[assignment]
                columns.append(column_of(name, kind, cells, start))
                parts.append(rows_of(columns[-1], cells))
            except Fault as fault:
                raise _refused(fault, where, row_name, name) from None
            start = columns[-1].stop
        if not start:
            raise DataError(f"{where}: expected columns with values beside the id, found none")
        ignored = tuple(name for name in names if kinds.get(name) == "ignore")
        return cls(Vocabulary(ids), tuple(columns), stacked(parts, len(frame)), ignored)

    def further(self, frame: pd.DataFrame, ids: Any, where: str = "features") -> Features:
        """Rows of a further table under the same columns.

        Values that the columns do not have count as missing, and so do absent columns.

        Raises:
            DataError: An id occurs twice, a column is not known or there twice, or a cell does not
                fit its column.
        """
        names = [str(name) for name in frame.columns]
        self.refuse_unknown(names, where)
        _refuse_twice(names, where)
        parts = []
        for column in self.columns:
            if column.name not in names:
                parts.append(Rows((len(frame), column.width), dtype=np.float32))
                continue
            try:
                cells = column_cells(frame.iloc[:, names.index(column.name)])
                parts.append(rows_of(column, cells))
            except Fault as fault:
                raise _refused(fault, where, "row", column.name) from None
        return replace(self, vocabulary=Vocabulary(ids), matrix=stacked(parts, len(frame)))

    def refuse_unknown(self, names: Iterable[Any], where: str) -> None:
        """Raises DataError for the name of a column that the table does not have."""
        for name in map(str, names):
            if name not in self.names and name not in self.ignored:
                raise DataError(
                    f"{where}: expected some of {', '.join(self.names)}, found {name!r:.80}"
                    f"{did_you_mean(name, self.names) if len(name) < _SHORT else ''}"
                )

    def unseen(self, frame: pd.DataFrame) -> tuple[str, ...]:
        """Lines on values of a further table that its columns do not have, one for each column."""
        names, lines = [str(name) for name in frame.columns], list[str]()
        for column in self.columns:
            if column.name not in names:
                continue
            found = unseen(column, column_cells(frame.iloc[:, names.index(column.name)]))
            if found:
                told = "1 value," if len(found) == 1 else f"{len(found):,} values, such as"
                count = "it counts" if len(found) == 1 else "they count"
                lines.append(
                    f"{column.name}: the fit did not know {told} {found[0]!r:.80}; {count} as "
                    "missing"
                )
        return tuple(lines)

    def joined(self, further: Features) -> Features:
        """These rows with those of `further`, whose rows count for ids that both have."""
        kept = further.vocabulary.lookup(self.vocabulary.ids) < 0
        ids = np.concatenate([self.vocabulary.ids[kept], further.vocabulary.ids])
        matrix = _stacked_rows(self.matrix[kept], further.matrix)
        return replace(self, vocabulary=Vocabulary(ids), matrix=matrix)

    def aligned(self, vocabulary: Vocabulary) -> Rows:
        """CSR float32 (len(vocabulary), m): a row for each id of a vocabulary, zeros for others."""
        return self.rows(vocabulary.ids)

    def rows(self, ids: NDArray[np.str_]) -> Rows:
        """CSR float32 (b, m): a row for each of some ids (b,), zeros for those without features."""
        places = self.vocabulary.lookup(ids)
        known = np.flatnonzero(places >= 0)
        lengths = np.zeros(len(ids), np.int64)
        some = self.matrix[places[known]]
        lengths[known] = np.diff(some.indptr)
        starts = np.concatenate([[0], lengths.cumsum()])
        return Rows((some.data, some.indices, starts), shape=(len(ids), self.width))

    def unknown(self, vocabulary: Vocabulary) -> int:
        """How many ids of the table a vocabulary does not have."""
        return int((vocabulary.lookup(self.vocabulary.ids) < 0).sum())

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """M."""
        return int(self.matrix.shape[1])

    def column(self, name: str) -> Column:
        """A column by its name.

        Raises:
            DataError: There is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.columns)
        raise DataError(f"features: expected a column of {known}, found {name!r}")

    def having(self, name: str, value: Any, vocabulary: Vocabulary) -> NDArray[np.bool_]:
        """Which ids of a vocabulary have a value of a category or among their tags.

        Args:
            name: Of the column.
            value: The label.
            vocabulary: Ids that are asked about.

        Returns:
            bool (len(vocabulary),).

        Raises:
            DataError: No such column, another kind, or a value that nothing has.
        """
        column = self.column(name)
        if column.kind not in ("category", "tags"):
            raise DataError(f"features: {name}: expected a category or tags, found {column.kind}")
        if str(value) not in column.labels:
            some = ", ".join(column.labels[:5]) + (" ..." if len(column.labels) > 5 else "")
            raise DataError(f"features: {name}: expected one of {some}, found {str(value)!r}")
        place = column.start + column.labels.index(str(value))
        by_number = self.aligned(vocabulary).tocsc()
        found = np.zeros(len(vocabulary), np.bool_)
        found[by_number.indices[by_number.indptr[place] : by_number.indptr[place + 1]]] = True
        return found

    @cached_property
    def hash(self) -> str:
        """16 hex digits over ids, columns and numbers."""
        digest = hashlib.sha256("\0".join(self.vocabulary.ids.tolist()).encode())
        digest.update(repr(self.columns).encode())
        for part in (self.matrix.indptr, self.matrix.indices, self.matrix.data):
            digest.update(np.ascontiguousarray(part).astype(np.float64).data)
        return digest.hexdigest()[:16]

    def described(self) -> str:
        """The columns on one line: "genres (tags, 18), year (number, 8)"."""
        return ", ".join(f"{one.name} ({one.kind}, {one.width:,})" for one in self.columns)

    # Files of models

    def state(self) -> dict[str, Any]:
        """Plain values and arrays, from which `restored` makes the same."""
        more = {"ignored": list(self.ignored)} if self.ignored else {}
        return more | {
            "ids": self.vocabulary.ids,
            "columns": [asdict(column) for column in self.columns],
            "matrix": [self.matrix.indptr, self.matrix.indices, self.matrix.data],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Features:
        """The features of a state.

        Raises:
            ValueError, TypeError, LookupError: It contradicts itself.
        """
        columns = tuple(
            Column(**{**one, "labels": tuple(one["labels"]), "knots": tuple(one["knots"])})
            for one in state["columns"]
        )
        _check_columns(columns)
        indptr, indices, data = state["matrix"]
        shape = (len(state["ids"]), columns[-1].stop)
        matrix = Rows((data.astype(np.float32), indices, indptr), shape=shape)
        matrix.check_format(full_check=True)
        ignored = tuple(map(str, state.get("ignored", ())))  # files before it have none
        return cls(Vocabulary(state["ids"]), columns, matrix, ignored)


def _check_columns(columns: Sequence[Column]) -> None:
    """Raises ValueError unless the columns follow one another."""
    start = 0
    for column in columns:
        if column.start != start or column.stop < start:
            raise ValueError(f"expected column {column.name!r} from {start}, found {column.start}")
        start = column.stop
    if not start:
        raise ValueError("expected columns of features, found none")


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = next((name for n, name in enumerate(names) if name in names[:n]), None)
    if twice is not None:
        raise DataError(f"{where}: expected one column of each name, found {twice!r} twice")


def _stacked_rows(first: Rows, second: Rows) -> Rows:
    starts = np.concatenate([first.indptr, first.indptr[-1] + second.indptr[1:]])
    indices = np.concatenate([first.indices, second.indices])
    data = np.concatenate([first.data, second.data])
    shape = (first.shape[0] + second.shape[0], first.shape[1])
    return Rows((data, indices, starts), shape=shape)


def _refused(fault: Fault, where: str, row_name: str, name: str) -> DataError:
    return DataError(
        f"{where} {row_name} {fault.row + 1}: {name}: expected {fault.expected}, "
        f"found {fault.found}"
    )
