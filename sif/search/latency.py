"""The objective `latency`: a table of measured times of pieces, kept in a file of the machine.

Every piece is timed once on the device, by torch's benchmark timer, and the time goes into a file
whose name has the machine, the device and the number of threads. A network's latency is the sum
over its pieces, and what some whole networks took longer than theirs. Such sums are compared with
whole networks by benchmarks/latency_table.py.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sif.core.pieces import Piece, Pieces
from sif.errors import ConfigError
from sif.search.objectives import Measure, Objective
from sif.utils.device import Runtime
from sif.utils.environment import device_name, installed

ENVIRONMENT = "SIF_LATENCY_DIR"
"""Names the folder of the tables; by default ~/.cache/sif."""
SECONDS = 0.02
"""Time for which a block of calls is timed."""
BLOCKS = 9
"""Blocks, of which the median of the faster half counts: other processes only ever slow one."""
MILLISECONDS = 1e3


@torch.inference_mode()
def milliseconds(module: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> float:
    """Milliseconds of a call, the median of the faster half of `BLOCKS` blocks of calls.

    One thread of a CPU is timed by its own clock, which stands while other processes run.

    Args:
        module: In evaluation mode.
        inputs: Its arguments.
        threads: That it computes with.
    """
    from torch.utils.benchmark import Timer
    from torch.utils.benchmark.utils.timer import timer as waiting

    alone = threads == 1 and inputs[0].device.type == "cpu"
    clock = time.thread_time if alone else waiting  # torch's own waits for an accelerator
    values = {"module": module, "inputs": inputs}
    timer = Timer("module(*inputs)", timer=clock, globals=values, num_threads=threads)
    once = timer.timeit(3).mean  # warms up, too
    calls = max(1, round(SECONDS / max(once, 1e-9)))
    blocks = sorted(timer.timeit(calls).mean for _ in range(BLOCKS))
    return MILLISECONDS * statistics.median(blocks[: (BLOCKS + 1) // 2])


class LatencyTable:
    """Times of pieces on this machine, read from a file and written to it.

    Args:
        runtime: Device, dtype and threads.
        folder: Of the tables.

    Attributes:
        path: The file.

    Raises:
        ConfigError: The file holds something else.
    """

    def __init__(self, runtime: Runtime, folder: Path | None = None) -> None:
        self._runtime = runtime
        self._threads = runtime.threads or torch.get_num_threads()
        self._machine = {
            "machine": device_name(runtime.device), "device": runtime.device.type,
            "threads": self._threads,
            "dtype": str(runtime.dtype).removeprefix("torch."), "torch": installed("torch") or "",
        }  # fmt: skip
        name = "-".join(re.sub(r"\W+", "_", str(v)).strip("_") for v in self._machine.values())
        self.path = (folder or latency_folder()) / f"latency-{name}.json"
        self._times = self._read()

    def _read(self) -> dict[str, float]:
        if not self.path.exists():
            return {}
        try:
            document = json.loads(self.path.read_text())
            times = {str(key): float(value) for key, value in document["milliseconds"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, OSError):
            raise ConfigError(
                f"{self.path}: expected a table of latencies, found something else; remove it, and "
                "it is measured again"
            ) from None
        return times

    def __len__(self) -> int:
        return len(self._times)

    def of(self, piece: Piece) -> float:
        """Milliseconds of a piece, measured where the table has none yet."""
        if piece.key not in self._times:
            self._times[piece.key] = milliseconds(piece.make(), piece.inputs(), self._threads)
        return self._times[piece.key]

    def measure(self, pieces: Pieces) -> float:
        """Measures what the table lacks, and writes it.

        Returns:
            Milliseconds that a network takes beyond its pieces: by the examples, the mean of what
            whole networks take longer, since pieces alone find their data in the caches.
        """
        before, rest = len(self), f"rest of {pieces.fixed_keys}"
        for piece in pieces.all():
            self.of(piece)
        if rest not in self._times:
            longer = [self.of(one.whole) - self.sum(one.parts) for one in pieces.examples]
            self._times[rest] = statistics.mean(longer) if longer else 0.0
        if len(self) > before:
            self.write()
        return self._times[rest]

    def sum(self, parts: Sequence[Piece]) -> float:
        """Milliseconds of several pieces."""
        return sum(part.count * self.of(part) for part in parts)

    def write(self) -> None:
        """Writes the file, beside its place first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        document = {**self._machine, "milliseconds": dict(sorted(self._times.items()))}
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        beside.write_text(json.dumps(document, indent=1) + "\n")
        beside.replace(self.path)


def latency_folder() -> Path:
    """The folder of the tables: `SIF_LATENCY_DIR`, or ~/.cache/sif."""
    return Path(os.environ.get(ENVIRONMENT) or Path.home() / ".cache" / "sif").expanduser()


def latency(pieces: Pieces, runtime: Runtime) -> Measure:
    """Milliseconds of one input on this device, the sum of a table of timed operations."""
    table = LatencyTable(runtime)
    return Measure(table.of, table.measure(pieces))


LATENCY = Objective("ms", latency)
