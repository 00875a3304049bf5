"""A program of its own that becomes another one, which the system ends with its parent.

Where a worker of a cluster is killed, so is the trial below it. Run as
`python tied.py PARENT COMMAND...`; on systems other than Linux it only becomes the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl


def main(parent: int, command: list[str]) -> None:
    """Becomes the command, unless the parent has died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the worker was lost")
    os.execv(command[0], command)  # noqa: S606 (a fixed list)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
