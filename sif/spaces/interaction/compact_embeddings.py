"""Embeddings of a served model whose items are rounded numbers.

They stand in the place of the list `Tables.embeddings`. Asked for the table of items, they make it
anew each time, so that it takes its memory only while somebody needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from torch import Tensor, nn

from sif.utils.compact_rows import CompactRows, Precision

ITEMS = 1
"""The field whose table is rounded."""
SCALES = "1_scales"
"""Name of the scales, beside "1", the name of the codes."""


class CompactEmbeddings(nn.Module):
    """Tables by field; that of the items is rounded.

    Args:
        tables: (n_f, d) of each field; None in the place of the items.
        items: Rounded (n_1, d).
    """

    def __init__(self, tables: Sequence[Tensor | None], items: CompactRows) -> None:
        super().__init__()
        self._count = len(tables)
        for field, table in enumerate(tables):
            if table is not None and field != ITEMS:
                self.register_parameter(str(field), nn.Parameter(table, requires_grad=False))
        self.register_buffer(str(ITEMS), items.codes)
        self.register_buffer(SCALES, items.scales)

    @classmethod
    def of(cls, tables: Sequence[Tensor], precision: Precision) -> CompactEmbeddings:
        """Of tables (n_f, d), in one of the smaller precisions.

        Raises:
            ValueError: Numbers of the items that are not finite.
        """
        return cls(list(tables), CompactRows.of(tables[ITEMS], precision))

    @property
    def items(self) -> CompactRows:
        """The items as they are stored."""
        codes, scales = (cast(Tensor, getattr(self, name)) for name in (str(ITEMS), SCALES))
        return CompactRows(codes, scales)

    @property
    def precision(self) -> Precision:
        """Of the items."""
        return self.items.precision

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, field: int) -> Tensor:
        """The float32 table (n_f, d) of a field; of items a new one each time."""
        if not 0 <= field < self._count:
            raise IndexError(field)
        return self.items.whole() if field == ITEMS else cast(Tensor, getattr(self, str(field)))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[field] for field in range(self._count))

    def with_table(self, field: int, table: Tensor) -> CompactEmbeddings:
        """The same with another table of a field that is not rounded."""
        tables = [
            None if f == ITEMS else table if f == field else self[f] for f in range(self._count)
        ]
        return CompactEmbeddings(tables, self.items)

    def with_items(self, items: CompactRows) -> CompactEmbeddings:
        """The same with other items."""
        tables = [None if f == ITEMS else self[f] for f in range(self._count)]
        return CompactEmbeddings(tables, items)
