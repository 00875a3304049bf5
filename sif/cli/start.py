"""The command line as a process: `sif`, `python -m sif` and `run.py` begin here.

The commands, whose libraries take a second to import, are imported once Ctrl-C has its handler.
"""

from __future__ import annotations

from sif.cli.interruption import Interruption


def start() -> int:
    """Runs the command line of this process; returns its exit code."""
    interruption = Interruption()
    try:
        from sif.cli.main import main

        return main()
    except BaseException:
        if not interruption.raised:
            raise
        return interruption.tell()  # a library made another error of it
    finally:
        interruption.close()
