"""The folder in which a reading lays its columns: files that grow, and a journal of what is whole.

The journal is replaced in one rename, after the files were written up to the lengths that it tells.
After a kill the files are cut back to these, and reading goes on. The system may lose what it had
not written yet when the machine goes down, so another boot begins anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sif.errors import DataError
from sif.utils.checkpoint import write_json_atomic

JOURNAL, FINISHED = "journal.json", "finished.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_FULL = "free some space or name another folder by data.scratch; reading goes on where it was"


class ScratchError(DataError):
    """A folder that takes no more; what it has stays, to go on from there."""


class Scratch:
    """Files of one reading.

    Args:
        folder: Is made if needed.
        request: What is read and how, in values of JSON; a journal of another one is not used.

    Attributes:
        folder: Where the files lie.
        finished: True if `finish` was called, by whatever process, and all that it kept is there.
        state: What the last `commit` told; empty at the beginning.

    Raises:
        ScratchError: The folder cannot be made or written.
    """

    def __init__(self, folder: Path, request: dict[str, Any]) -> None:
        self.folder = folder
        self._request = {**request, "boot": _boot()}
        self._files: dict[str, BinaryIO] = {}
        self._sizes: dict[str, int] = {}
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.finished = self._is_finished()
            self.state = {} if self.finished else self._resumed()

    def _resumed(self) -> dict[str, Any]:
        """The state of the journal, with the files as they were then; {} where there is none."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            journal = json.loads((self.folder / JOURNAL).read_text(encoding="utf-8"))
            sizes = journal["sizes"]
            whole = all(self.path(name).stat().st_size >= n for name, n in sizes.items())
            if whole and journal["request"] == self._request:
                for name, size in sizes.items():
                    os.truncate(self.path(name), size)
                self._keep({*sizes, JOURNAL})
                self._sizes = sizes
                state: dict[str, Any] = journal["state"]
                return state
        self.clear()
        return {}

    def _is_finished(self) -> bool:
        """False as well where files were removed or cut since, as cleaners of old files do."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            sizes = json.loads(self.path(FINISHED).read_text(encoding="utf-8"))["sizes"]
            return all(self.path(name).stat().st_size == n for name, n in sizes.items())
        return False

    def path(self, name: str) -> Path:
        """The place of a file."""
        return self.folder / name

    def append(self, name: str, data: npt.NDArray[Any] | bytes | memoryview) -> None:
        """Writes behind what a file has."""
        with writing(self.folder):
            if name not in self._files:
                self._files[name] = self.path(name).open("ab", buffering=0)
            solid: Any = np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data
            view = memoryview(solid)
            view = view.cast("B") if view.nbytes else view
            self._sizes[name] = self.size(name) + view.nbytes
            while view.nbytes:
                view = view[self._files[name].write(view) :]

    def size(self, name: str) -> int:
        """Bytes that a file has."""
        return self._sizes.get(name, 0)

    def commit(self, state: dict[str, Any]) -> None:
        """Makes what was appended so far what a later process goes on from."""
        self.state = state
        journal = {"request": self._request, "state": state, "sizes": self._sizes}
        with writing(self.folder):
            part = self.path(f".{JOURNAL}")
            part.write_text(json.dumps(journal), encoding="utf-8")
            part.replace(self.path(JOURNAL))

    def mapped(
        self, name: str, kind: npt.DTypeLike, shape: tuple[int, ...] | None = None
    ) -> npt.NDArray[Any]:
        """A file as an array that the system reads where it is looked at; one value after another.

        The array may be written: that changes it alone, not the file.

        Raises:
            ScratchError: The file is not as long as what was written.
        """
        path, kind = self.path(name), np.dtype(kind)
        found = path.stat().st_size if path.exists() else 0
        if found < self.size(name):
            raise ScratchError(
                f"{path}: expected {self.size(name):,} bytes, found {found:,}: removed or cut "
                "meanwhile; the same command reads again"
            )
        count = found // kind.itemsize
        if not count:
            return np.zeros(shape or (0,), dtype=kind)
        return np.asarray(np.memmap(path, dtype=kind, mode="c", shape=shape or (count,)))

    def close(self) -> None:
        """Closes the files; what is not on disk stays with the system."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def finish(self, document: dict[str, Any], kept: Collection[str]) -> None:
        """Writes a last document once the kept files are on disk, and removes all others."""
        sizes = {}
        with writing(self.folder):
            for file in kept:
                with self.path(file).open("rb+") as stream:
                    os.fsync(stream.fileno())
                    sizes[file] = os.fstat(stream.fileno()).st_size
        self.close()
        write_json_atomic(self.path(FINISHED), {**document, "sizes": sizes})
        self._keep({*kept, FINISHED})

    def _keep(self, names: set[str]) -> None:
        """Removes all other files."""
        for path in self.folder.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes all files; the folder stays."""
        self.close()
        self._sizes = {}
        self._keep(set())

    def remove(self) -> None:
        """Removes the folder; arrays that are mapped stay as long as they are used."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns a full disk into one line that says what helps."""
    try:
        yield
    except OSError as error:
        raise ScratchError(f"{folder}: cannot be written: {error.strerror}; {_FULL}") from None


def _boot() -> str:
    """Differs after the machine went down; empty where nobody tells."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
