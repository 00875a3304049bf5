"""Locks of folders: one process works in a folder, and the others are told so at once.

The system holds the lock on the folder itself. It ends with the process, however that dies, and
leaves no file behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sif.errors import ConfigError

_HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)


@contextlib.contextmanager
def locked(folder: Path, reason: str, wait: float = 0.0) -> Iterator[tuple[int, ...]]:
    """Holds a folder for this process and for those that inherit the descriptor.

    Where the system has no such locks, as on Windows and some network drives, nothing is held.

    Args:
        folder: Exists.
        reason: What the message says where another process holds it.
        wait: Seconds to wait for the other process.

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
        end = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in _HELD:
                    break
            if time.monotonic() >= end:
                raise ConfigError(f"{folder}: {reason}")
            time.sleep(0.05)
        yield (descriptor,)
    finally:
        os.close(descriptor)
