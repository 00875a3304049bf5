"""Parquet files as a source whose row groups the nodes of a Ray cluster decode, by Ray Data.

A task of Ray Data reads some row groups, and sends their pieces with all ids as dictionaries. They
come in the order of the files. Names, marks and fingerprint are those of a reading by this process
alone, so that either goes on where the other was killed.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from sif.data.streamed.columns import encoded
from sif.data.streamed.folder_source import FolderSource, places_in
from sif.data.streamed.parquet_source import ROWS, ParquetSource, file_fingerprint
from sif.data.streamed.source import CutOffError, Mark, Piece, RecordSource
from sif.errors import DataError
from sif.utils.optional import library
from sif.utils.ray_cluster import (
    RayUser,
    check_address,
    check_installed,
    connected,
    named_address,
)
from sif.utils.version import __version__

_READER = RayUser("data.reader", "RAY_ADDRESS")
_AHEAD = 1 << 31  # bytes of pieces that wait in the memory of the cluster, about
_LEAVING = 10.0  # seconds in which a thread of Ray Data ends
_ROUNDS, _PAUSE = 5, 0.2  # looks at the actors that are left, and seconds between
_EXECUTOR = "StreamingExecutor"  # threads of Ray Data
_ACTORS = ("datasets_stats_actor", "AutoscalingRequester")


@dataclass(frozen=True)
class Share:
    """Row groups of a file that follow one another: what one task reads.

    Attributes:
        file: Its number.
        group: The first row group.
        skipped: Rows of that one which were read before.
        until: The row group before which it ends.
    """

    file: int
    group: int
    skipped: int
    until: int


def shares(files: Sequence[ParquetSource], first: int, mark: Mark) -> Iterator[Share]:
    """The rest of some files, in shares of about as many rows as a piece has.

    Args:
        files: In their order.
        first: Number of the first file that has not been read to its end.
        mark: Where reading goes on in it.
    """
    for number, file in enumerate(files[first:], first):
        group, skipped = mark or (0, 0)
        mark = None
        while group < len(file.groups):
            until, rows = group + 1, file.groups[group] - skipped
            while until < len(file.groups) and rows + file.groups[until] <= ROWS:
                rows, until = rows + file.groups[until], until + 1
            yield Share(number, group, skipped, until)
            group, skipped = until, 0


class _NodeError(Exception):
    """A node that cannot read what this machine can."""


@dataclass(frozen=True)
class NodeReading:
    """The needs of nodes that read shares.

    Attributes:
        files: With absolute paths.
        fingerprints: Of the files on this machine.
        places: Positions of the columns in each file.
        ids: Of the columns those that travel as dictionaries.
        version: Of sif.
    """

    files: tuple[ParquetSource, ...]
    fingerprints: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]
    ids: tuple[bool, ...]
    version: str = __version__

    def read(self, table: Any) -> Iterator[Any]:
        """On a node: the pieces of some shares.

        Args:
            table: A `pyarrow.Table` with a row for each `Share`.

        Yields:
            Tables of one row: a piece, or why there is none.
        """
        for values in table.to_pylist():
            share = Share(**values)
            file, mark = self.files[share.file], [share.group, share.skipped]
            try:
                self._check(share.file)
                for piece in file.pieces(self.places[share.file], mark, share.until):
                    yield self._sent(share.file, piece)
            except (DataError, _NodeError) as error:
                is_damaged = isinstance(error, DataError)
                yield self._row(share.file, fault=str(error), is_damaged=is_damaged)
                return

    def _check(self, number: int) -> None:
        """Refuses another sif, and a file that is not the one of home."""
        if self.version != __version__:
            raise _NodeError(f"expected sif {self.version} as here, found {__version__}")
        try:
            found = file_fingerprint(self.files[number].path)
        except DataError:
            raise _NodeError("expected the file as here, found none") from None
        if found != self.fingerprints[number]:
            raise _NodeError("expected the file as here, found another size or time of change")

    def _sent(self, number: int, piece: Piece) -> Any:
        """A piece of a file as the row that travels."""
        arrow = library("pyarrow")
        cells = [
            encoded(values) if is_id else values
            for values, is_id in zip(piece.batch.columns, self.ids, strict=True)
        ]
        batch = arrow.RecordBatch.from_arrays(cells, names=piece.batch.schema.names)
        sink = arrow.BufferOutputStream()
        with arrow.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return self._row(number, sink.getvalue(), json.dumps(piece.mark), piece.size)

    @staticmethod
    def _row(
        number: int, batch: Any = b"", mark: str = "null", size: int = 0, fault: str = "",
        is_damaged: bool = False,
    ) -> Any:  # fmt: skip
        arrow = library("pyarrow")
        ends = arrow.array([0, len(batch)], arrow.int64()).buffers()[1]
        data = arrow.py_buffer(batch)
        return arrow.table(
            {
                "file": arrow.array([number], arrow.int64()),
                "batch": arrow.Array.from_buffers(arrow.large_binary(), 1, [None, ends, data]),
                "mark": [mark],
                "size": arrow.array([size], arrow.int64()),
                "fault": arrow.array([fault], arrow.string()),
                "node": [_node() if fault else ""],
                "is_damaged": [is_damaged],
            }
        )


def _node() -> str:
    """The address of the node that this process is a worker of."""
    return str(library("ray").util.get_node_ip_address())


@dataclass(frozen=True)
class RaySource:
    """Implements `RecordSource` by a cluster; all but `pieces` is that of the local source.

    Attributes:
        local: A Parquet file, or a folder of them.
        numbers: Columns that travel as they are.
    """

    local: RecordSource
    numbers: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """Of the local source."""
        return self.local.name

    @property
    def schema(self) -> Any:
        """Of the local source."""
        return self.local.schema

    @property
    def rows(self) -> int | None:
        """Of the local source."""
        return self.local.rows

    @property
    def size(self) -> int | None:
        """Of the local source."""
        return self.local.size

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the local source."""
        return self.local.notes

    @property
    def header_place(self) -> str:
        """Of the local source."""
        return self.local.header_place

    def fingerprint(self) -> str:
        """Of the local source."""
        return self.local.fingerprint()

    def locate(self, row: int, column: int) -> tuple[str, str]:
        """Implements `RecordSource.locate`."""
        return self.local.locate(row, column)

    def with_numbers(self, columns: Collection[int]) -> RaySource:
        """Implements `RecordSource.with_numbers`; all other columns are ids."""
        return replace(self, numbers=frozenset(columns))

    def pieces(self, columns: Sequence[int], mark: Mark = None) -> Iterator[Piece]:
        """Implements `RecordSource.pieces`."""
        files, in_folder = _files(self.local), isinstance(self.local, FolderSource)
        first, within = (mark or (0, None)) if in_folder else (0, mark)
        left = [asdict(share) for share in shares(files, first, within)]
        if not left:
            return
        reading = NodeReading(
            files=tuple(replace(file, path=file.path.absolute()) for file in files),
            fingerprints=tuple(file.fingerprint() for file in files),
            places=tuple(tuple(places_in(files[0], file, columns)) for file in files),
            ids=tuple(column not in self.numbers for column in columns),
        )
        for row in self._rows(reading, left):
            file = files[row["file"].as_py()]
            if row["fault"].as_py():
                raise _fault(file, row)
            own = json.loads(row["mark"].as_py())
            stream = library("pyarrow").ipc.open_stream(row["batch"].as_buffer())
            after = [row["file"].as_py(), own] if in_folder else own
            yield Piece(stream.read_next_batch(), after, row["size"].as_py())

    def _rows(
        self, reading: NodeReading, left: list[dict[str, int]]
    ) -> Iterator[dict[str, Any]]:  # fmt: skip
        """The answers of nodes, as scalars of Arrow, in the order of the shares."""
        data = library("ray.data", _READER.name, "ray[data]", "ray")
        try:
            with _quiet(data):
                dataset = data.from_items(left, override_num_blocks=len(left)).map_batches(
                    reading.read, batch_size=1, batch_format="pyarrow", num_cpus=1
                )
                options = dataset.context.execution_options
                options.preserve_order = True
                options.resource_limits = options.resource_limits.copy(object_store_memory=_AHEAD)
                for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                    for number in range(len(block)):
                        yield {name: block.column(name)[number] for name in block.column_names}
        except Exception as error:  # of many types
            reason = str(error).strip().splitlines() or [type(error).__name__]
            told = f"expected the cluster to read it, found: {reason[-1].strip()}"
            raise CutOffError(f"{self.name}: {told}") from None


def _files(source: RecordSource) -> tuple[ParquetSource, ...]:
    """The Parquet files of a source.

    Raises:
        DataError: It is something else.
    """
    files = source.files if isinstance(source, FolderSource) else (source,)
    found = tuple(file for file in files if isinstance(file, ParquetSource))
    if len(found) < len(files):
        raise DataError(
            f"{source.name}: data.reader: expected Parquet or a folder of it for ray, found "
            "another kind"
        )
    return found


def _fault(file: ParquetSource, row: dict[str, Any]) -> DataError:
    """The error that a node met, with the path as the user wrote it."""
    told = row["fault"].as_py()
    if row["is_damaged"].as_py():
        return DataError(file.name + told.removeprefix(str(file.path.absolute())))
    return CutOffError(f"{file.name}: node {row['node'].as_py()}: {told}")


def check(source: RecordSource) -> None:
    """Refuses what cannot be read by Ray, before anything is written.

    Raises:
        DataError: The source is not Parquet.
        ConfigError: Ray is missing, or does not answer at RAY_ADDRESS.
    """
    _files(source)
    check_installed(_READER)
    check_address(None, _READER)


@contextmanager
def on_ray(source: RecordSource) -> Iterator[RecordSource]:
    """A source that a cluster reads, for the time of a block.

    The cluster is the one that RAY_ADDRESS names, or one of this machine for that time.

    Raises:
        SifError: There is none.
    """
    known = sys.modules.get("ray")
    lent = known is not None and known.is_initialized()  # then its actors are not ours to end
    with _ending_in_order(), connected(None, (), lambda line: None, _READER) as ray:
        running = named_address(None) is not None and not lent
        with _without_actors(ray) if running else nullcontext(), _without_threads():
            yield RaySource(source)


class _Terminated(BaseException):
    """SIGTERM came."""


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM leaves the block as Ctrl-C does, and then ends the process as it would have at once.

    A second one ends it at once.
    """
    number = signal.SIGTERM
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return

    def leave(*_: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise _Terminated

    signal.signal(number, leave)
    try:
        yield
    except _Terminated:
        os.kill(os.getpid(), number)
        raise
    finally:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def _without_actors(ray: Any) -> Iterator[None]:
    """Ends the actors that Ray Data leaves on a running cluster, unless they were there before."""

    def actors() -> set[tuple[str, str]]:
        named = ray.util.list_named_actors(all_namespaces=True)
        return {(one["name"], one["namespace"]) for one in named}

    before = actors()
    try:
        yield
    finally:
        with suppress(Exception):  # the cluster may be gone
            for _ in range(_ROUNDS):  # Ray takes a moment to forget one that it ends
                left = [one for one in actors() - before if one[0] in _ACTORS]
                if not left:
                    break
                for name, space in left:
                    with suppress(ValueError):  # it has just ended
                        ray.kill(ray.get_actor(name, space))
                time.sleep(_PAUSE)


@contextmanager
def _without_threads() -> Iterator[None]:
    """Ends the thread of Ray Data, which an interrupted reading leaves to wait for cores."""
    before = set(threading.enumerate())
    try:
        yield
    finally:
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith(_EXECUTOR):
                thread.shutdown(force=True)  # type: ignore[attr-defined]
                thread.join(_LEAVING)  # until then it may start an actor again


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """Ray Data without its own progress bars and lines."""
    log, context = logging.getLogger("ray.data"), data.DataContext.get_current()
    before = log.level, context.enable_progress_bars
    log.setLevel(logging.CRITICAL)
    context.enable_progress_bars = False
    try:
        yield
    finally:
        log.setLevel(before[0])
        context.enable_progress_bars = before[1]
