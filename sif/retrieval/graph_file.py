"""The bytes of a graph of usearch, checked before the library reads them.

The library believes its files: a link beyond the last item, or an item on fewer floors than a link
says, makes a search read memory that is not the graph's. Here each number is checked that a search
follows. The layout (version 2 of the format):

- rows and bytes per row (uint32), then the vectors, one row each;
- a head of 64 bytes: "usearch", version (3 uint16), kinds of product, numbers, keys and links
  (4 bytes), items present and deleted, dimensions (3 uint64), a flag;
- items, links per floor, links on the ground floor, highest floor, entry (5 uint64);
- the highest floor of each item (int16);
- each item: key (uint64), highest floor (int16), and for each floor the number of its links and
  the links (uint32), with room for all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]

_HEAD, _HEADER = 64, 40
_ITEM = 10
"""Bytes of an item before its links: its key and its highest floor."""
_LINK = 4
_AT_ONCE = 1 << 16
"""Items that are checked together: 9 MB of links."""


def _require(holds: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"the graph of items: expected {expected}")


def checked_items(
    content: Bytes, n_items: int, connectivity: int, sample: Bytes
) -> NDArray[np.uint64]:
    """The keys (m,) of a graph's items, once its bytes are such as can be read and searched.

    Args:
        content: Of the file, uint8 (n,).
        n_items: Keys are below it.
        connectivity: Links of an item per floor.
        sample: Bytes of an empty graph of the same kind by the installed library.

    Raises:
        ValueError: They are no such graph.
    """
    _require(getattr(content, "dtype", None) == np.uint8 and content.ndim == 1, "bytes")
    _require(len(content) >= 8 + _HEAD + _HEADER, "at least 112 bytes")
    rows, width = (int(number) for number in content[:8].view("<u4"))
    _require(width == sample[4:8].view("<u4")[0], "vectors of its dimension")
    start = 8 + rows * width
    _require(1 <= rows <= n_items, f"from 1 to {n_items:,} items")
    _require(len(content) >= start + _HEAD + _HEADER + 2 * rows, "the vectors of all items")
    head, empty = content[start : start + _HEAD], sample[8 : 8 + _HEAD]
    kinds = (head[:9].tobytes(), head[13:17].tobytes())  # the name with its version, four kinds
    _require(kinds == (empty[:9].tobytes(), empty[13:17].tobytes()), "one of this version and kind")
    counts = head[17:41].copy().view("<u8")
    _require((counts[:2] == [rows, 0]).all(), "as many items as vectors, none of them deleted")
    _require((head[33:] == empty[33:]).all(), "the dimension of its vectors, and no more flags")
    return _checked_links(content[start + _HEAD :], rows, n_items, connectivity)


def _checked_links(
    content: Bytes, rows: int, n_items: int, connectivity: int
) -> NDArray[np.uint64]:
    """The keys; checks floors, keys and links, which follow the head."""
    size, per_floor, on_ground, highest, entry = (
        int(number) for number in content[:_HEADER].copy().view("<u8")
    )
    _require(size == rows, "as many items as vectors")
    _require((per_floor, on_ground) == (connectivity, 2 * connectivity), f"{connectivity} links")
    floors = content[_HEADER : _HEADER + 2 * rows].copy().view("<i2").astype(np.int64)
    _require((floors >= 0).all() and floors.max() == highest, "floors from 0 to the highest")
    _require(entry < rows and floors[entry] == highest, "an entry on the highest floor")
    ground, above = _LINK * (1 + on_ground), _LINK * (1 + per_floor)
    ends = _HEADER + 2 * rows + np.cumsum(_ITEM + ground + above * floors)
    _require(ends[-1] == len(content), "the links of all items, and nothing after them")
    starts = np.append(_HEADER + 2 * rows, ends[:-1])
    heads = _gathered(content, starts, _ITEM)
    keys = np.ascontiguousarray(heads[:, :8]).view("<u8")[:, 0]
    _require((keys < n_items).all(), f"keys below {n_items:,}")
    _require(len(np.unique(keys)) == rows, "different keys")
    own = np.ascontiguousarray(heads[:, 8:]).view("<i2")[:, 0]
    _require((own == floors).all(), "items that know their floors")
    for floor in range(highest + 1):
        there = np.flatnonzero(floors >= floor)
        first = _ITEM if floor == 0 else _ITEM + ground + (floor - 1) * above
        width = ground if floor == 0 else above
        for begin in range(0, len(there), _AT_ONCE):
            places = starts[there[begin : begin + _AT_ONCE]] + first
            _check_floor(_gathered(content, places, width).view("<u4"), floors, floor)
    return keys


def _check_floor(links: NDArray[np.uint32], floors: Numbers, floor: int) -> None:
    """Checks links (b, 1 + room), the first of which is their number, of items on one floor."""
    counts, linked = links[:, 0], links[:, 1:]
    _require((counts <= linked.shape[1]).all(), "no more links than there is room for")
    used = linked[np.arange(linked.shape[1]) < counts[:, None]]
    _require((used < len(floors)).all(), "links to its items")
    _require((floors[used] >= floor).all(), "links to items on the same floor")


def _gathered(content: Bytes, places: Numbers, width: int) -> Bytes:
    """Bytes (b, width) from each of some places on."""
    return np.lib.stride_tricks.sliding_window_view(content, width)[places]
