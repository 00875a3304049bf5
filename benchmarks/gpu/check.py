"""Losses on a device against those on the CPU, for every kind of problem, in float32.

Both begin with the same weights and see the same batches: weight steps of a search, the gradient by
the gates after them, then two or three epochs of a training with their validation.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from cases import CASES, Case, moved
from machine import Row, about, device, is_toy, runtime, write

from sif.core.probe import gate_gradient
from sif.core.proximal import weight_step
from sif.core.selections import Selections
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint

STEPS = 5
ALLOWED = {"weight step": 2e-4, "gate gradient": 5e-3, "training": 2e-3, "validation": 2e-2}
"""Relative differences: steps carry the rounding of those before them, and a ranking jumps where
two scores are almost equal."""


def main() -> int:
    """Prints and writes the differences; 1 if one is too large."""
    name = device()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    rows: list[Row] = []
    for case, kind in CASES.items():
        begin = time.perf_counter()
        for quantity, ours, theirs in compared(kind, name):
            scale = max(abs(x) for x in theirs)
            off = max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / max(scale, 1e-12)
            fits = off <= ALLOWED[quantity]
            rows.append({**about(name), "case": case, "quantity": quantity, "cpu": theirs[-1],
                         "device": ours[-1], "difference": off, "allowed": ALLOWED[quantity],
                         "equal": fits})  # fmt: skip
            verdict = "ok" if fits else "DIFFERS"
            print(f"{case:13} {quantity:14} {off:9.1e} of {ALLOWED[quantity]:.0e}  {verdict}")
        print(f"{case:13} {time.perf_counter() - begin:.1f} s", flush=True)
    write(name, "check", rows)
    return 0 if all(row["equal"] for row in rows) else 1


def compared(case: Case, name: str) -> list[tuple[str, list[float], list[float]]]:
    """Name of a quantity, its numbers on the device, and on the CPU."""
    theirs, ours = (case.make(runtime(on), is_toy(name)) for on in ("cpu", name))
    (losses, slopes), (other_losses, other_slopes) = searched(case, ours, theirs)
    found = [("weight step", losses, other_losses), ("gate gradient", slopes, other_slopes)]
    results = [
        p.train(case.design(p), NullTracker(), NoCheckpoint()).result for p in (ours, theirs)
    ]
    for quantity, key in (("training", "loss"), ("validation", ours.metric)):
        numbers = [[entry[key] for entry in result.history] for result in results]
        found.append((quantity, *numbers))
    return found


def searched(case: Case, ours: Any, theirs: Any) -> tuple[Any, Any]:
    """Losses of weight steps and the gradient by the gates, of both."""
    spaces = [problem.space() for problem in (ours, theirs)]
    streams = [problem.streams()[0] for problem in (ours, theirs)]
    run = theirs.method_run()
    optimizers = [run.make_optimizer(s.weight_parameters(), run.section.lr) for s in spaces]
    draws = torch.Generator().manual_seed(1)
    gates = Selections(spaces[1].blocks).drawn(draws).to_gates(spaces[1].blocks)
    losses: tuple[list[float], list[float]] = ([], [])
    for _ in range(STEPS):
        batches = both(case, streams, ours.runtime.device)
        for space, batch, optimizer, found in zip(spaces, batches, optimizers, losses, strict=True):
            found.append(float(weight_step(space, batch, gates, optimizer, run.max_norm)))
    slopes = []
    for space, batch in zip(spaces, both(case, streams, ours.runtime.device), strict=True):
        gradient = gate_gradient(space, batch, gates).gates
        slopes.append([float(x) for table in gradient.values() for x in table.flatten()])
    return (losses[0], slopes[0]), (losses[1], slopes[1])


def both(case: Case, streams: Any, where: torch.device) -> tuple[Any, Any]:
    """The same batch on the device and on the CPU."""
    batch = streams[1].next()
    return moved(batch, where) if case.draws else streams[0].next(), batch


if __name__ == "__main__":
    sys.exit(main())
