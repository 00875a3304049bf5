"""The best items for many users, by any interaction function of user and item.

Users are given as vectors, not as ids, so that users outside of the tables are served alike. If the
selection is compiled, each thread scores its users against pieces of the items, so that scores stay
in cache. Otherwise all items are scored at once, for as many users as the memory allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from sif.errors import ConfigError, ScoreError, ShapeError
from sif.retrieval.catalogue import Catalogue, HistoryCatalogue, Users
from sif.retrieval.kernels import selection
from sif.retrieval.single import SingleEngine
from sif.retrieval.threads import alone, in_chunks
from sif.retrieval.topk import LARGEST_BLOCK, block_size, top_k
from sif.spaces.interaction.function import Interaction
from sif.utils.compact_rows import Precision

MEMORY = 1 << 24
"""Bytes of scores: 16 MB are about what the last cache can spare."""
_ROWS = 256
"""Users per chunk at most: products gain nothing from more, and less of a chunk stays in cache."""
_LINE = 16
"""Scores in a line of the cache: where rows begin with one, products are written faster."""
_FEWEST_ROWS = 16
"""Fewest users that are worth a thread."""
_PIECE = 1 << 12
"""Items per piece: with 256 users 4 MB of scores."""
LARGEST_SORTED = 64
"""Up to this k the compiled selection is faster; it keeps the best in order by insertion."""

Selected = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class UserVectors:
    """Vectors and biases of users.

    Attributes:
        vectors: (b, d), before the user's transform; histories (b, d) of item-item models.
        biases: (b,); None: 0.
    """

    vectors: Tensor | sparse.csr_array
    biases: Tensor | None = None

    def __len__(self) -> int:
        return int(self.vectors.shape[0])


@dataclass(frozen=True, eq=False)
class Top:
    """The best items of some users.

    Attributes:
        items: int64 (b, k), best first, -1 where nothing is left.
        scores: float32 (b, k), minus infinity where nothing is left.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Request:
    """The arguments of `Engine.top`."""

    users: UserVectors
    k: int
    excluded: Any
    allowed: NDArray[np.bool_] | None

    def hidden(self, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Excluded items of some users, one after the other, and where each begins (b + 1,)."""
        if self.excluded is None:
            empty = np.zeros(rows.stop - rows.start + 1, dtype=np.int64)
            return empty, empty[:0]
        edges = self.excluded.indptr[rows.start : rows.stop + 1].astype(np.int64)
        return edges - edges[0], self.excluded.indices[edges[0] : edges[-1]].astype(np.int64)

    def close(self, scores: Tensor, start: int, stop: int) -> None:
        """Sets scores of excluded items to minus infinity: scores (b, any) of items start..stop."""
        if self.allowed is None:
            return
        mask, some = ~self.allowed[start:stop], scores[:, : stop - start]
        closed = np.flatnonzero(mask)
        if len(closed) > len(mask) // 8:
            some.masked_fill_(torch.from_numpy(mask).to(scores.device), -torch.inf)
        elif len(closed):  # few, of which no other score is looked at
            some.index_fill_(1, torch.from_numpy(closed).to(scores.device), -torch.inf)


class ItemEngine:
    """Best items among those of a catalog, for users given by their vectors.

    Args:
        catalogue: Items, prepared to be scored.
        dimension: Of the users' vectors.
        memory: Bytes of scores held at once; at least one user's are.
        threads: Of the CPU, for more than a few users; None: as many as torch has.

    Attributes:
        n_items: Items, all of which are scored.
        is_personalized: Whether the order of the items depends on the user. It does not where the
            user enters as a summand alone (plus, concat).
        catalogue, dimension, threads: See the arguments.

    Raises:
        ConfigError: A limit below 1.
    """

    def __init__(
        self, catalogue: Catalogue | HistoryCatalogue, dimension: int, memory: int = MEMORY,
        threads: int | None = None,
    ) -> None:  # fmt: skip
        if threads is None:
            threads = torch.get_num_threads() if catalogue.device.type == "cpu" else 1
        if memory < 1 or threads < 1:
            raise ConfigError(
                f"engine: expected memory and threads of at least 1, found {memory} and {threads}"
            )
        self._memory, self.threads, self.dimension = memory, threads, dimension
        self.catalogue = catalogue
        self.n_items, self.is_personalized = catalogue.n_items, catalogue.is_personalized

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scores that are held at once, at most."""
        copies = 3 if isinstance(self.catalogue, HistoryCatalogue) else 1
        fewest = LARGEST_BLOCK * -(-self.n_items // LARGEST_BLOCK)  # of one user
        return copies * max(self._memory, 4 * fewest * self.threads)

    @cached_property
    def single(self) -> SingleEngine | None:
        """Answers one user at a time; None: a batch of one does."""
        return SingleEngine.of(self.catalogue)

    def scores(self, users: UserVectors) -> NDArray[np.float32]:
        """Scores of all items, offsets included: float32 (b, n_items), higher is better.

        Raises:
            ShapeError: Vectors or biases of another shape than (b, d) and (b,).
        """
        self._check(users)
        result = torch.empty(len(users), self.n_items, device=self.catalogue.device)

        def worker(chunks: Iterator[slice]) -> None:
            for rows in chunks:
                self.catalogue.write(self._ready(users, rows), 0, self.n_items, result[rows])

        self._in_chunks(len(users), self.n_items, worker)
        return np.asarray(result.cpu().numpy())

    def top(
        self,
        users: UserVectors,
        k: int,
        *,
        excluded: Any = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Top:
        """The best k items of each user, ties to the lowest item.

        Args:
            users: b of them.
            k: Items per user; may exceed the catalogue.
            excluded: Sparse CSR (b, n_items); a row gets none of its stored items.
            allowed: bool (n_items,), which items may be recommended to anyone; None: all.

        Returns:
            Items and scores (b, k). An item whose score is minus infinity is left out.

        Raises:
            ConfigError: k is less than 1.
            ShapeError: An argument of another shape or type.
            ScoreError: A score among which was to be chosen is not a number.

        The scores of one user alone and of the same user among others may differ by rounding.
        """
        self.check(users, k, excluded, allowed)
        items = np.full((len(users), k), -1, dtype=np.int64)
        best = np.full((len(users), k), -np.inf, dtype=np.float32)
        n_best = min(k, self.n_items)
        if not n_best or not len(users):
            return Top(items, best)
        if len(users) == 1 and n_best <= LARGEST_SORTED and self.single is not None:
            (left,) = self.sides(users).numpy()
            hidden = None if excluded is None else excluded.indices
            best[:, :n_best], items[:, :n_best] = self.single.top(left, n_best, hidden, allowed)
            return Top(items, best)
        request = _Request(users, n_best, excluded, allowed)
        device = self.catalogue.device
        fast = n_best <= LARGEST_SORTED and device.type == "cpu" and selection() is not None
        block = block_size(self.n_items, n_best)
        # Scores of histories come all at once.
        whole = isinstance(self.catalogue, HistoryCatalogue)
        piece = (
            self.n_items if whole else _PIECE * max(1, _ROWS // len(users))
        )  # few users have room for more items
        unit = _LINE if fast else block
        width = -(-min(piece if fast else self.n_items, self.n_items) // unit) * unit

        def worker(chunks: Iterator[slice]) -> None:
            buffer = torch.empty(self._rows(len(users), width), width, device=device)
            for rows in chunks:
                scores = buffer[: rows.stop - rows.start]
                select = self._by_pieces if fast else self._at_once
                best[rows, :n_best], items[rows, :n_best] = select(request, rows, scores)

        self._in_chunks(len(users), width, worker)
        return Top(items, best)

    @torch.no_grad()
    def sides(self, users: UserVectors) -> Tensor:
        """Users' sides (b, r) of the products that scores are, for `single`."""
        return self._ready(users, slice(0, len(users))).left.contiguous()

    def check(
        self, users: UserVectors, k: int, excluded: Any = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> None:  # fmt: skip
        """Checks the arguments of `top`.

        Raises:
            ConfigError, ShapeError: See `top`.
        """
        if k < 1:
            raise ConfigError(f"k: expected at least 1, found {k}")
        self._check(users)
        self._check_masks(len(users), excluded, allowed)

    def _by_pieces(self, request: _Request, rows: slice, scores: Tensor) -> Selected:
        """The best of some users by the compiled selection; scores (b, any) are scratch memory."""
        select = selection()
        assert select is not None  # noqa: S101
        ready = self._ready(request.users, rows)
        shape = (len(scores), request.k)
        best, items = np.full(shape, -np.inf, dtype=np.float32), np.full(shape, -1, dtype=np.int64)
        edges, excluded = request.hidden(rows)
        width = scores.shape[1]
        for start in range(0, self.n_items, width):
            stop = min(start + width, self.n_items)
            self.catalogue.write(ready, start, stop, scores)
            request.close(scores, start, stop)
            nan_row = select(scores.numpy(), start, stop, edges, excluded, best, items)
            if nan_row >= 0:
                raise ScoreError(rows.start + nan_row)
        return best, items

    def _at_once(self, request: _Request, rows: slice, scores: Tensor) -> Selected:
        """The best of some users by torch; scores (b, at least n_items) are scratch memory."""
        n, width = self.n_items, scores.shape[1]
        self.catalogue.write(self._ready(request.users, rows), 0, n, scores)
        scores[:, n:] = -torch.inf
        request.close(scores, 0, n)
        edges, excluded = request.hidden(rows)
        flat = np.repeat(width * np.arange(len(scores)), np.diff(edges)) + excluded
        scores.view(-1).index_fill_(0, torch.from_numpy(flat).to(scores.device), -torch.inf)
        values, columns = top_k(scores, request.k, block_size(n, request.k), rows.start)
        columns[values.isneginf()] = -1
        return values.cpu().numpy(), columns.cpu().numpy()

    def _ready(self, users: UserVectors, rows: slice) -> Users:
        biases = None if users.biases is None else users.biases[rows]
        return self.catalogue.users(users.vectors[rows], biases)

    def _rows(self, n: int, width: int) -> int:
        """Users per chunk, of n in all, with so many scores each."""
        fair = max(_FEWEST_ROWS, -(-n // self.threads))
        return max(1, min(_ROWS, fair, n, self._memory // (4 * width * self.threads)))

    def _in_chunks(self, n: int, width: int, worker: Callable[[Iterator[slice]], None]) -> None:
        in_chunks(n, self._rows(n, max(width, 1)), self.threads, worker)

    def _check(self, users: UserVectors) -> None:
        expected = (len(users), self.dimension)
        if users.vectors.shape != expected:
            raise ShapeError(
                f"user vectors: expected shape {expected}, found {tuple(users.vectors.shape)}"
            )
        if users.biases is not None and users.biases.shape != expected[:1]:
            raise ShapeError(
                f"user biases: expected shape {expected[:1]}, found {tuple(users.biases.shape)}"
            )

    def _check_masks(self, n: int, excluded: Any, allowed: NDArray[np.bool_] | None) -> None:
        if excluded is not None and (
            getattr(excluded, "format", None) != "csr" or excluded.shape != (n, self.n_items)
        ):
            raise ShapeError(
                f"excluded items: expected a CSR matrix of shape {(n, self.n_items)}, "
                f"found {type(excluded).__name__} of shape {getattr(excluded, 'shape', None)}"
            )
        if allowed is not None and (allowed.dtype != np.bool_ or allowed.shape != (self.n_items,)):
            raise ShapeError(
                f"allowed items: expected bool of shape {(self.n_items,)}, "
                f"found {allowed.dtype} of shape {allowed.shape}"
            )


class Engine(ItemEngine):
    """Best items of an interaction function of user and item.

    Keeps its own copy of what it needs of the items: make a new one after further training.

    Args:
        interaction: The function.
        memory, threads: See `ItemEngine`.
        precision: Of the items that are kept.

    Attributes:
        n_users: Rows of the user table.

    Raises:
        ConfigError: Another number of fields, or a limit below 1.
    """

    @torch.no_grad()
    def __init__(
        self, interaction: Interaction, memory: int = MEMORY, threads: int | None = None,
        precision: Precision = "float32",
    ) -> None:  # fmt: skip
        if (fields := len(interaction.vectors)) != 2:
            raise ConfigError(f"engine: expected a function of 2 fields, found {fields}")
        self._users, self._tables = interaction.vectors[0].table, interaction.tables
        self.n_users, dimension = self._users.shape
        super().__init__(Catalogue(interaction, precision), dimension, memory, threads)

    def vectors(self, rows: NDArray[np.int64]) -> UserVectors:
        """The vectors and biases of known users (b,), for `scores` and `top`.

        Raises:
            ShapeError: A row that the table does not have.
        """
        rows = np.asarray(rows, dtype=np.int64)
        outside = rows[(rows < 0) | (rows >= self.n_users)]
        if len(outside):
            raise ShapeError(
                f"users: expected rows from 0 to {self.n_users - 1}, found {outside[0]}"
            )
        at = torch.from_numpy(rows).to(self._users.device)
        biases = self._tables.biases
        with alone(torch.get_num_threads()):  # a look-up is done before a second thread is there
            return UserVectors(self._users[at], biases[0][at] if biases else None)
