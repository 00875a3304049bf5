"""Locks of folders: one process works in a folder, and the others are told so at once.

The system holds the lock on the folder itself. It ends with the process, however that dies, and
leaves no file behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from sif.errors import ConfigError

_HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)


@contextlib.contextmanager
def locked(folder: Path, reason: str, wait: bool = False) -> Iterator[tuple[int, ...]]:
    """Holds a folder for this process and for those that inherit the descriptor.

    Where the system has no such locks, as on Windows and some network drives, nothing is held.

    Args:
        folder: Exists.
        reason: What the message says where another process holds it.
        wait: Whether to wait for the other process instead.

    Yields:
        Descriptors for child processes to inherit.

    Raises:
        ConfigError: Another process holds the folder.
    """
    try:
        import fcntl
    except ImportError:
        yield ()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in _HELD:
                raise ConfigError(f"{folder}: {reason}") from None
        yield (descriptor,)
    finally:
        os.close(descriptor)
