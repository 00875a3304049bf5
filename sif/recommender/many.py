"""Answers to many users, a block of them at a time, within a memory that is told beforehand.

A block holds what its users had, the numbers and scores of the answers, and their ids as texts. The
engine's scores come on top. Both are counted before anything is answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sif.config.cf import ExcludeSeen
from sif.errors import ConfigError
from sif.recommender import answers
from sif.recommender.arguments import (
    allowed_ids,
    answer_length,
    exclusion,
    listed,
    refuses_unknown,
    whole_number,
)
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.retrieval.engine import Top
from sif.utils.argument_types import checks_types

MEMORY = 1 << 28
"""Bytes that answers take at most where a caller does not say: 256 MiB."""
MOST_USERS = 4096
"""Users of a block at most: more at a time are answered no faster."""
_PER_PAIR = 64
"""Bytes for a pair of what a user had: its number and value, their copies, its place in order."""
_PER_ANSWER = 160
"""Bytes for an answer beside its id: numbers and scores with a copy, and its row of a frame."""
_PER_USER = 512


@dataclass(frozen=True, eq=False)
class Block:
    """The answers to some users.

    Attributes:
        users: (b,) their ids.
        best: Numbers and scores (b, n).
        model: That answered.
    """

    users: NDArray[np.str_]
    best: Top
    model: ServedModel

    def arrays(self) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Ids and scores (b, n), "" and minus infinity where nothing is left."""
        items, scores = answers.answer(self.model, self.best, self.users, as_arrays=True)
        return items, scores

    def frame(self) -> pd.DataFrame:
        """A row for each answer; see `Recommender.recommend` of several users."""
        frame: pd.DataFrame = answers.answer(self.model, self.best, self.users, as_arrays=False)
        return frame

    def record_batch(self) -> Any:
        """The frame as a `pyarrow.RecordBatch`, ids and titles as texts, ranks int32.

        Raises:
            ConfigError: pyarrow is not installed.
        """
        try:
            import pyarrow as pa
        except ModuleNotFoundError:
            raise ConfigError("record batches: expected pyarrow; pip install pyarrow") from None
        frame = self.frame()
        kinds = {"score": pa.float32(), "rank": pa.int32()}
        schema = pa.schema([(name, kinds.get(name, pa.string())) for name in frame.columns])
        return pa.RecordBatch.from_pandas(frame, schema, preserve_index=False)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Answers to many users; iterating makes them, and keeps none. Printed, it says what it takes.

    Attributes:
        users: (n,) ids that were asked about.
        edges: (number of blocks + 1,) where each block begins among them.
        most_bytes: That a block takes while it is answered, with the scores of the engine and one
            form of the answers (arrays, frame or record batch).
    """

    users: NDArray[np.str_]
    edges: tuple[int, ...]
    most_bytes: int
    _server: IndexedRecommender
    _rows: NDArray[np.int64]
    _k: int
    _how: ExcludeSeen
    _allowed: NDArray[np.bool_] | None

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __iter__(self) -> Iterator[Block]:
        for start, stop in zip(self.edges[:-1], self.edges[1:], strict=True):
            rows = self._rows[start:stop]
            best = answers.best_of_rows(self._server, rows, self._k, self._how, self._allowed)
            yield Block(self.users[start:stop], best, self._server.model)

    def __str__(self) -> str:
        largest = max(np.diff(self.edges), default=0)
        return (
            f"{len(self.users):,} users in {len(self):,} blocks of at most {largest:,}; at most "
            f"{self.most_bytes / 1e6:,.1f} MB at a time"
        )


@checks_types
def recommend_many(
    model: Recommender, users: Any = None, n: int = 10, exclude_seen: bool | str = True,
    exclude_items: Iterable[Any] | None = None, items: Iterable[Any] | None = None,
    *, where: Mapping[str, Any] | None = None, memory: int = MEMORY,
) -> Blocks:  # fmt: skip
    """The best n items of many users, some users at a time.

    Args:
        model: Fitted.
        users: Ids (n,); None: all users of the model.
        n: Items per user.
        exclude_seen: What of a user's items is left out, see `Recommender.recommend`.
        exclude_items: Ids that are left out for everybody.
        items: Ids to choose among; None: all.
        where: Features of items and the values to choose among, see `Recommender.recommend`.
        memory: Bytes that answers may take at a time, beside the model and the users' ids.

    Returns:
        Blocks of answers, which are made while they are gone through.

    Raises:
        NotFittedError, UnknownIdError, DataError: For the reasons of `Recommender.recommend`.
        ConfigError: For those reasons, or less memory than one user takes.

    Examples:
        >>> from sif.recommender.many import recommend_many
        >>> blocks = recommend_many(model, n=3, memory=1 << 26)
        >>> print(blocks)
        40 users in 1 blocks of at most 40; at most ... MB at a time
        >>> [block.arrays()[0].shape for block in blocks]
        [(40, 3)]
    """
    server = model.server()
    server.refuse_unpersonalized()
    served, vocabulary = server.model, server.model.vocabularies[0]
    k, how = answer_length(n, served), exclusion(exclude_seen, served)
    memory = whole_number(memory, "memory")
    allowed = server.filter.allowed(where, allowed_ids(served, 1, exclude_items, items))
    if users is None:
        names, rows = vocabulary.ids, np.arange(len(vocabulary))
    else:
        names, _ = listed(users, "users")
        refuses = refuses_unknown(model.unknown)
        rows = vocabulary.index(names, "user") if refuses else vocabulary.lookup(names)
    sizes = _bytes(served, rows, k)
    fixed = server.engine.scratch_bytes
    edges = _edges(sizes, memory - fixed)
    taken = np.add.reduceat(sizes, edges[:-1]) if len(sizes) else sizes
    most = int(taken.max(initial=0)) + fixed
    if most > memory:
        raise ConfigError(f"memory: expected at least {most:,} bytes, found {memory:,}")
    return Blocks(names, tuple(edges), most, server, rows, k, how, allowed)


def _bytes(model: ServedModel, rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Bytes (b,) that each user of a block takes."""
    widths = [vocabulary.ids.dtype.itemsize for vocabulary in model.vocabularies]
    title = max(map(len, model.titles.values()), default=0)
    pairs = np.diff(model.had.indptr).astype(np.int64)
    own = np.where(rows >= 0, pairs[rows], 0) if len(pairs) else np.zeros(len(rows), np.int64)
    vector = 0 if model.reads_order else 4 * model.function.engine.dimension
    answer = _PER_ANSWER + 3 * widths[1] + widths[0] + title
    return _PER_USER + 2 * widths[0] + vector + k * answer + _PER_PAIR * own


def _edges(sizes: NDArray[np.int64], room: int) -> list[int]:
    """Where blocks begin (number of blocks + 1,), each as large as fits, and at least one user."""
    ends = np.cumsum(sizes)
    edges = [0]
    while edges[-1] < len(sizes):
        start = edges[-1]
        before = ends[start - 1] if start else 0
        fitting = int(np.searchsorted(ends, before + room, side="right"))
        edges.append(min(max(fitting, start + 1), start + MOST_USERS))
    return edges
