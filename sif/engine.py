"""The best items for many users, by any interaction function of user and item.

A function is a sum of parts (`sif.spaces.operations`): those with factors become one matrix
product, biases included, the others are added to it by `sif.kernels`. Users come as vectors, not as
ids, so that a user who is in no table is served alike. They are served in chunks, as large as the
memory allows. A thread takes whole chunks and shares none: threads that meet after every step of a
chunk would wait for the slowest each time, which costs more than it gains where cores are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sif.chunks import in_chunks
from sif.errors import ConfigError, ShapeError
from sif.kernels import Broadcast, Maxima, compiled
from sif.spaces.interaction import Interaction
from sif.spaces.operations import Operation
from sif.spaces.tables import bounded
from sif.topk import block_size, top_k

MEMORY = 1 << 24
"""Bytes of scores: 16 MB are about what the last cache can spare."""

_ROWS = 256
"""Users per chunk at most: products gain nothing from more, and less of a chunk stays in cache."""


@dataclass(frozen=True, eq=False)
class UserVectors:
    """Users as the function sees them.

    Attributes:
        vectors: (b, d), before the user's transform.
        biases: (b,); None: 0.
    """

    vectors: Tensor
    biases: Tensor | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def part(self, rows: slice) -> UserVectors:
        """Some of the users, in their order."""
        return UserVectors(self.vectors[rows], None if self.biases is None else self.biases[rows])


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
class _Part:
    """An operation that is no sum, with its share w of the readout."""

    operation: Operation
    readout: Tensor

    def factors(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """A (b, r) and B (m, r) of the matrix product."""
        assert self.operation.factors is not None  # noqa: S101
        return self.operation.factors(p, q, self.readout)

    def combined(self, p: Tensor, q: Tensor) -> Tensor:
        """w^T O(p, q) of vectors that broadcast."""
        return self.operation.combine((p, q)) @ self.readout


class Engine:
    """Best items of an interaction function.

    Keeps its own copy of what it needs of the items: make a new one after further training.

    Args:
        interaction: Of user and item, such as that of a baked network.
        memory: Bytes of scores held at once; at least one user's are.
        threads: Of the CPU, for more users than fit in one chunk; None: as many as torch has.

    Attributes:
        n_users: Rows of the user table.
        n_items: Items, all of which are scored.
        personal: Whether the order of the items depends on the user. It does not where the user
            enters as a summand alone (plus, concat).

    Raises:
        ConfigError: Another number of fields, or a limit below 1.
    """

    @torch.no_grad()
    def __init__(
        self, interaction: Interaction, memory: int = MEMORY, threads: int | None = None
    ) -> None:
        if (fields := len(interaction.vectors)) != 2:
            raise ConfigError(f"engine: expected a function of 2 fields, found {fields}")
        threads = torch.get_num_threads() if threads is None else threads
        if memory < 1 or threads < 1:
            raise ConfigError(
                f"engine: expected memory and threads of at least 1, found {memory} and {threads}"
            )
        self._memory, self._threads = memory, threads
        self._users, self._transform = interaction.vectors[0].table, interaction.transforms[0]
        self._tables = interaction.tables
        self.n_users = len(self._users)
        items = interaction.table(1).float()
        self.n_items = len(items)
        parts = _parts(interaction.operation, bounded(interaction.readout).float(), items.shape[1])
        self.personal = not all(part.operation.additive for part in parts)
        self._products = [part for part in parts if part.operation.factors is not None]
        self._no_items = items[:0]
        self._right = self._right_factors(items)
        self._rest = [_adder(part, items) for part in parts if part.operation.factors is None]

    def _right_factors(self, items: Tensor) -> Tensor:
        """B (m, r) of the matrix product, with the constants 1 and the items' biases last."""
        ones, bias = torch.ones_like(items[:, 0]), torch.zeros_like(items[:, 0])
        if self._tables.biases:
            bias = bias + self._tables.biases[1].float()
        factors = [part.factors(items[:0], items)[1] for part in self._products]
        return torch.cat([*factors, torch.stack([ones, bias], dim=1)], dim=1)

    @torch.no_grad()
    def vectors(self, rows: NDArray[np.int64]) -> UserVectors:
        """What the tables hold of known users (b,), for `scores` and `top`.

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
        return UserVectors(self._users.detach()[at], biases[0].detach()[at] if biases else None)

    def scores(self, users: UserVectors) -> NDArray[np.float32]:
        """Scores of all items, offsets included: float32 (b, n_items), higher is better.

        Raises:
            ShapeError: Vectors or biases of another shape than (b, d) and (b,).
        """
        self._check(users)
        result = torch.empty(len(users), self.n_items, device=self._right.device)
        self._in_chunks(
            len(users),
            self.n_items,
            lambda rows, _: self._fill(users.part(rows), result[rows]),
        )
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
            excluded: Sparse CSR (b, n_items); whatever it stores is not recommended to that row.
            allowed: bool (n_items,), which items may be recommended to anyone; None: all.

        Returns:
            Items and scores (b, k). An item whose score is minus infinity is left out.

        Raises:
            ConfigError: k is less than 1.
            ShapeError: An argument of another shape or type.
            DataError: A score among which was to be chosen is not a number.
        """
        if k < 1:
            raise ConfigError(f"k: expected at least 1, found {k}")
        self._check(users)
        self._check_masks(len(users), excluded, allowed)
        items = np.full((len(users), k), -1, dtype=np.int64)
        best = np.full((len(users), k), -np.inf, dtype=np.float32)
        found = min(k, self.n_items)
        if not found or not len(users):
            return Top(items, best)
        block = block_size(self.n_items, found)
        width = -(-self.n_items // block) * block
        closed = None if allowed is None else torch.from_numpy(~allowed).to(self._right.device)

        def work(rows: slice, buffer: Tensor) -> None:
            chunk = users.part(rows)
            scores = buffer[: len(chunk)]
            self._fill(chunk, scores)
            scores[:, self.n_items :] = -torch.inf
            if closed is not None:
                scores[:, : self.n_items].masked_fill_(closed, -torch.inf)
            if excluded is not None:
                flat = _flat(excluded, rows, width).to(scores.device)
                scores.view(-1).index_fill_(0, flat, -torch.inf)
            values, columns = top_k(scores, found, block, rows.start)
            columns[values.isneginf()] = -1
            items[rows, :found], best[rows, :found] = columns.cpu(), values.cpu()

        self._in_chunks(len(users), width, work)
        return Top(items, best)

    def _in_chunks(self, n: int, width: int, work: Callable[[slice, Tensor], None]) -> None:
        """Does the work for all of n users, given rows and a thread's own (rows, width) scores."""
        on_cpu = self._right.device.type == "cpu"
        threads = self._threads if on_cpu else 1
        step = max(1, min(_ROWS, self._memory // (4 * width * threads)))

        def worker(chunks: Iterator[slice]) -> None:
            buffer = torch.empty(min(n, step), width, device=self._right.device)
            for rows in chunks:
                work(rows, buffer)

        in_chunks(n, step, threads, worker)

    def _fill(self, users: UserVectors, out: Tensor) -> None:
        """Writes scores into the first n_items columns of out (b, at least n_items)."""
        p = self._transform(users.vectors.to(self._right.device)).float()
        offset = self._tables.intercept.float().expand(len(p))
        if users.biases is not None:
            offset = offset + users.biases.to(offset)
        factors = [part.factors(p, self._no_items)[0] for part in self._products]
        scores = out[:, : self.n_items]
        if factors:
            offsets = torch.stack([offset, torch.ones_like(offset)], dim=1)
            torch.mm(torch.cat([*factors, offsets], dim=1), self._right.T, out=scores)
        else:
            torch.add(offset[:, None], self._right[:, -1], out=scores)
        for add in self._rest:
            add(p, out)

    def _check(self, users: UserVectors) -> None:
        expected = (len(users), self._users.shape[1])
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


def _parts(operation: Operation, readout: Tensor, dimension: int) -> list[_Part]:
    parts, start = [], 0
    for part in operation.parts or (operation,):
        stop = start + part.width(2) * dimension
        parts.append(_Part(part, readout[start:stop]))
        start = stop
    return parts


def _adder(part: _Part, items: Tensor) -> Callable[[Tensor, Tensor], None]:
    """What adds a part without factors, given transformed users (b, d), to scores."""
    maxima, w = part.operation.maxima, part.readout
    if maxima is None or items.device.type != "cpu" or compiled() is None:
        return Broadcast(part.combined, items).add
    _, right, weights = maxima(items[:0], items, w)
    kernel = Maxima(right, weights)
    return lambda p, out: kernel.add(maxima(p, items[:0], w)[0], out)


def _flat(excluded: Any, rows: slice, width: int) -> Tensor:
    """Places of the excluded items of some rows in a flat (b, width) matrix: int64."""
    edges = excluded.indptr[rows.start : rows.stop + 1]
    row = np.repeat(np.arange(len(edges) - 1, dtype=np.int64), np.diff(edges))
    return torch.from_numpy(row * width + excluded.indices[edges[0] : edges[-1]])
