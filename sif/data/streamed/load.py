"""Loads a `Dataset` from a source whose rows need not fit in memory.

The result is the one of `sif.data.interactions.load`, number for number, but its arrays are int32
and mapped from files of a scratch folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sif.data.interactions.clean import check_rule, check_usable
from sif.data.interactions.interactions import ordered
from sif.data.interactions.load import Dataset
from sif.data.interactions.readers import Columns
from sif.data.streamed.mapped import Rules, cleaned, keep, kept_before, numbered, with_places
from sif.data.streamed.scratch import Scratch, ScratchError, writing
from sif.data.streamed.source import CutOffError, RecordSource
from sif.data.streamed.spool import Request, spool
from sif.errors import ConfigError, DataError, SifError
from sif.utils.digest import digest
from sif.utils.locks import locked

Opened = Callable[[RecordSource], AbstractContextManager[RecordSource]]
_FORMAT = 1  # of the files
_FOLDER = f"sif-scratch-{getattr(os, 'getuid', int)()}"  # of the user
_LASTING = (ScratchError, CutOffError)  # what was read stays, to go on from there
_BUSY = "another process reads the same data into it"


@dataclass(frozen=True)
class Place:
    """Where files of a reading lie.

    Attributes:
        folder: Holds a folder for each reading.
        is_kept: The files stay for later readings of the same data with the same rules; else they
            go once they are mapped.
    """

    folder: Path
    is_kept: bool

    @classmethod
    def of(cls, scratch: Path | None, otherwise: Path | None = None) -> Place:
        """The folder that a setting names; else another, or one for files that do not stay."""
        if scratch is not None:
            return cls(scratch, True)
        return cls(otherwise or Path(tempfile.gettempdir()) / _FOLDER, False)


def load_streamed(
    source: RecordSource, name: str, columns: Columns, rules: Rules, order: str | None,
    place: Place, opened: Opened = nullcontext,
) -> Dataset:  # fmt: skip
    """Reads a source in two passes: columns into files, then rows by number.

    A process that is killed leaves what it has read, and the next one goes on behind it.

    Args:
        source: Of `open_source`, or another `RecordSource`.
        name: Of the data set.
        columns: Roles of columns.
        rules: Which rows stay.
        order: What orders the rows, as in `load_dataset`.
        place: Where files lie.
        opened: Makes of the source the one of the first pass, for as long as that takes.

    Raises:
        DataError: As in `load_dataset`; or the disk is full, or the source was cut off, after which
            the same call goes on.
    """
    check_rule(rules.duplicates)
    request = Request.of(source, columns)
    fingerprint = source.fingerprint()
    asked = {
        "format": _FORMAT,
        "source": fingerprint,
        "columns": {role: request.column(role) for role in request.roles},
        "rules": asdict(rules),
        "order": order,
    }
    key = f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[:40]}-{digest([], asked)}"
    with _own_folder(place, key) as (folder, is_kept):
        scratch = Scratch(folder, asked)
        try:
            dataset = _loaded(scratch, request, fingerprint, name, rules, order, is_kept, opened)
        except SifError as error:
            # Other data, or other rules, are other files.
            is_over = isinstance(error, DataError) and not isinstance(error, _LASTING)
            if is_over or not scratch.state:
                _remove(scratch, is_kept)
            raise
        finally:
            scratch.close()
        if not is_kept:
            _remove(scratch, is_kept)
        return dataset


def _remove(scratch: Scratch, is_kept: bool) -> None:
    """Removes a reading, and the folder of readings if that was made for it and has no other."""
    scratch.remove()
    if not is_kept:
        with contextlib.suppress(OSError):
            scratch.folder.parent.rmdir()


def _loaded(
    scratch: Scratch, request: Request, fingerprint: str, name: str, rules: Rules,
    order: str | None, is_kept: bool, opened: Opened,
) -> Dataset:  # fmt: skip
    if scratch.finished:
        rows, document = kept_before(scratch)
        return Dataset(name, rows, document["hash"], notes=document["changes"])
    where = request.source.name
    with opened(request.source) as source:
        spooled = spool(replace(request, source=source), scratch)
    if request.source.fingerprint() != fingerprint:
        raise DataError(f"{where}: expected the same rows all along, found them changed meanwhile")
    every = numbered(spooled, scratch)
    every = with_places(every, scratch) if order == "rows" else ordered(every, order, where)
    rows, notes = cleaned(every, rules, scratch)
    check_usable(rows, where, str(rules.filters) if len(rows) < len(every) else "")
    notes = [*every.notes, *notes]
    if is_kept:
        keep(rows, scratch, {"hash": rows.content_hash, "changes": notes})
    return Dataset(name, rows, rows.content_hash, notes=notes)


@contextmanager
def _own_folder(place: Place, key: str) -> Iterator[tuple[Path, bool]]:
    """A folder that no other process uses meanwhile, and whether its files stay."""
    folder = place.folder / key
    wait = float("inf") if place.is_kept else 0.0
    with contextlib.ExitStack() as stack:
        while True:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                known = folder.stat().st_ino
            held = contextlib.ExitStack()
            try:
                held.enter_context(locked(folder, _BUSY, wait))
            except ConfigError:  # it will be gone, so the other's work is of no use here
                with writing(folder):
                    alone = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=place.folder))
                stack.callback(shutil.rmtree, alone, ignore_errors=True)
                yield alone, False
                return
            if folder.exists() and folder.stat().st_ino == known:
                stack.enter_context(held)
                yield folder, place.is_kept
                return
            held.close()  # the other process has removed it
