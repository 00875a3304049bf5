"""A graph of items by inner product, of the library usearch: most of a user's best items, fast.

The graph is a navigable small world (Malkov and Yashunin, 2020) over the inner product itself
(Morozov and Babenko, NeurIPS 2018). Reductions to cosine or distance by one more coordinate
(Bachrach et al., RecSys 2014) find far fewer of the best items in as many steps, since that
coordinate outweighs the others wherever norms differ (docs/results/serving.md). Vectors are kept
as bfloat16; whoever searches scores what is found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sif.errors import CheckpointError
from sif.retrieval.graph_file import checked_items
from sif.utils.optional import library

CONNECTIVITY = 16
"""Links of an item, twice as many on the ground floor."""
EXPANSION_ADD = 128
"""Items that are kept in sight while one is added."""
NO_ITEMS = np.zeros(0, dtype=np.int64)
_WHERE = "approximate retrieval"


class ItemGraph:
    """Links from each item to others, by which a search climbs toward the largest products.

    Args:
        index: Of usearch, whose keys are numbers of items.
        rows: (m,) these numbers.
        n_items: Of the catalogue.
        expansion: Items that a search keeps in sight: more find more, and take longer.
        head: int64 (h,), ascending, further items, which have no links: whoever searches scores
            all of them.

    Attributes:
        n_items, expansion, head: See the arguments.
        is_indexed: bool (n_items,), the items that it has, those of the head among them.
        dimension: Entries of a vector.
        linked: Number of items with links.
    """

    def __init__(
        self, index: Any, rows: NDArray[Any], n_items: int, expansion: int,
        head: NDArray[np.int64] = NO_ITEMS,
    ) -> None:  # fmt: skip
        self._index, self.n_items, self.dimension = index, n_items, int(index.ndim)
        self.is_indexed = np.zeros(n_items, np.bool_)
        self.is_indexed[rows] = True
        self.is_indexed[head] = True
        self.expansion, self.head, self.linked = expansion, head, len(index)

    def __len__(self) -> int:
        """Items that it has."""
        return self.linked + len(self.head)

    @property
    def size(self) -> int:
        """Bytes of it, in memory or in a file."""
        return int(self._index.serialized_length)

    @classmethod
    def built(
        cls, vectors: NDArray[np.float32], rows: NDArray[np.int64], expansion: int,
        threads: int = 1, head: NDArray[np.int64] = NO_ITEMS,
    ) -> Self:  # fmt: skip
        """A graph of some items; the same from run to run on one thread.

        Args:
            vectors: Of all items (n_items, r), finite.
            rows: (m,) the items that it links, different ones.
            expansion: See the class.
            threads: Of the CPU.
            head: See the class.

        Raises:
            ConfigError: usearch is not installed.
        """
        index = _empty(vectors.shape[1])
        longest = float(np.sqrt(np.square(vectors[rows]).sum(axis=1).max(initial=0.0)))
        # usearch takes products from 1: below 1 no digit of them is lost.
        scaled = vectors[rows] / np.float32(longest or 1.0)
        index.add(rows.astype(np.uint64), scaled, threads=threads)
        return cls(index, rows, len(vectors), expansion, head)

    def search(
        self, queries: NDArray[np.float32], count: int, threads: int = 1
    ) -> NDArray[np.int64]:
        """Items with large products: int64 (b, count), -1 where the search found no more.

        Args:
            queries: (b, r), finite.
            count: Items of each, at most as many as have links.
            threads: Of the CPU.
        """
        length = np.sqrt(np.square(queries, dtype=np.float64).sum(axis=1, keepdims=True))
        unit = (queries / np.where(length > 0, length, 1)).astype(np.float32)
        # One value for good: it belongs to the index, which threads share. `count` is its floor.
        if self._index.expansion_search != self.expansion:
            self._index.expansion_search = self.expansion
        found = self._index.search(unit, count, threads=threads)
        if len(queries) == 1:  # usearch answers a single query by a list of its own length
            one = np.full((1, count), -1, dtype=np.int64)
            one[0, : len(found)] = found.keys
            return one
        items: NDArray[np.int64] = found.keys.astype(np.int64)
        items[np.arange(count) >= found.counts[:, None]] = -1
        return items

    def state(self) -> dict[str, Any]:
        """Plain values and one array, from which `of_state` makes the graph again."""
        return {
            "n_items": self.n_items, "expansion": self.expansion, "dimension": self.dimension,
            "head": self.head,
            "graph": np.frombuffer(bytes(self._index.save()), dtype=np.uint8),
        }  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles go by the state, since the library's index has neither."""
        return type(self).of_state, (self.state(),)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """The graph of a state that is not trusted: no link leads out of it.

        Raises:
            ConfigError: usearch is not installed.
            ValueError: The state describes no graph.
        """
        numbers = [state["n_items"], state["expansion"], state["dimension"]]
        if any(type(one) is not int or not 1 <= one < 1 << 31 for one in numbers):
            raise ValueError(f"expected whole numbers from 1, found {numbers}")
        n_items, expansion, dimension = numbers
        content = state["graph"]
        if dimension > np.size(content):
            raise ValueError(f"expected vectors of {dimension} numbers, found none")
        index = _empty(dimension)
        sample = np.frombuffer(bytes(index.save()), dtype=np.uint8)
        rows = checked_items(content, n_items, CONNECTIVITY, sample)
        try:
            index.load(content.tobytes())
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"expected a graph of usearch, found {error}") from None
        head = state["head"]
        if getattr(head, "dtype", None) != np.int64 or head.ndim != 1:
            raise ValueError("the head of the graph: expected int64 (h,)")
        ascends = bool((np.diff(head) > 0).all())
        if not ascends or (len(head) and not 0 <= head[0] <= head[-1] < n_items):
            raise ValueError(f"the head of the graph: expected ascending items below {n_items:,}")
        if np.isin(head, rows.astype(np.int64)).any():
            raise ValueError("the head of the graph: expected items without links")
        return cls(index, rows, n_items, expansion, head)


def require_usearch() -> Any:
    """The module of usearch.

    Raises:
        ConfigError: It is not installed.
    """
    return library("usearch.index", _WHERE, "usearch", "ann")


def _empty(dimension: int) -> Any:
    return require_usearch().Index(
        ndim=dimension, metric="ip", dtype="bf16", connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD, enable_key_lookups=False,
    )  # fmt: skip
