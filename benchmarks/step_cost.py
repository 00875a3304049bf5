"""Cost of one search step: NASP with probes against DARTS, over one supernet and one batch.

A step is an architecture step and a weight step. Methods take turns in one process, DARTS, which
has no selection, in every fourth round, so that whatever else the machine does hits all alike;
every step starts from the same weights and, on text, from the same state. Seconds of the CPU, on a
GPU of the wall. DARTS has this project's layout and operations, as published (its architecture step
computes gradients by the weights and discards them) and without that waste. On text the cell alone
is measured, too: with a vocabulary of ten words, so that the decoder, which all methods share,
hardly counts.

    OMP_NUM_THREADS=1 python benchmarks/step_cost.py --space nasp-7op --output FILE.csv
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from step_cases import KINDS, SETTINGS, Case, sizes_of

from sif.core.gates import Gates
from sif.core.method import Method, Plan
from sif.core.proximal import weight_step
from sif.methods.darts import Darts
from sif.methods.nasp import Nasp, NaspSettings
from sif.utils.device import make_runtime
from sif.utils.environment import environment

DARTS: dict[str, dict[str, Any]] = {
    "darts-1": {"order": 1, "wasteful": True},
    "darts-2": {"order": 2},
    "darts-1, no waste": {"order": 1},
}
NASP = {
    "nasp": NaspSettings(explore=0.0),
    "nasp, 1/4 of the rows": NaspSettings(explore=0.0, probe_rows=0.25),
    "nasp, 1/4 of the others": NaspSettings(explore=0.0, probe_operations=0.25),
}
"""Exact probes; probes on a quarter of the batch; on the two best of each edge and a quarter of the
others."""
METHODS = (*NASP, *DARTS)
Row = dict[str, object]


class Fixed(Nasp):
    """NASP held at one selection: its steps cost what they cost there."""

    def hold(self, gates: Gates) -> None:
        """Sets the selection and its alphas."""
        self._gates = gates
        for name, weights in gates.weights.items():
            self._alpha[name].copy_(weights)


class Bench:
    """One supernet, one batch, and the methods over it."""

    def __init__(self, case: Case, device: str) -> None:
        self.case, self.space = case, case.space
        self.cuda = device.startswith("cuda")
        self.first = {name: v.clone() for name, v in self.space.state_dict().items()}

    def method(self, name: str) -> Method:
        """A method over the supernet."""
        draws = torch.Generator().manual_seed(0)
        if name in NASP:
            return Fixed(self.space, NASP[name], Plan(1), draws)
        return Darts(self.space, Darts.Settings(), Plan(1), draws, **DARTS[name])

    def seconds(self, work: Callable[[], object]) -> tuple[float, float]:
        """Wall and CPU seconds."""
        if self.cuda:
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - wall, time.process_time() - cpu

    def step(self, method: Method) -> dict[str, float]:
        """One architecture step and one weight step; the selection stays."""
        self.space.load_state_dict(self.first)
        optimizer = self.case.optimizer(self.space.weight_parameters())
        batch, other, bound = self.case.batch(), self.case.batch(), self.case.max_norm
        gates = method.weight_gates(0)
        arch = self.seconds(lambda: method.arch_step(self.space, batch, other))
        if isinstance(method, Fixed):
            method.hold(gates)
        weight = self.seconds(lambda: weight_step(self.space, batch, gates, optimizer, bound))
        part = 0 if self.cuda else 1
        return {"arch": arch[part], "weight": weight[part], "total": arch[part] + weight[part]}


def compare(bench: Bench, selections: dict[str, list[Gates]]) -> list[Row]:
    """Every method in turn at every selection; DARTS, which has none, in every fourth round."""
    methods = {name: bench.method(name) for name in METHODS}
    for method in [m for m in methods.values() for _ in range(1 + 2 * bench.cuda)]:
        bench.step(method)  # first steps allocate, import and tune
    rows: list[Row] = []
    for label, chosen in selections.items():
        for round_, gates in enumerate(chosen):
            for name, method in methods.items():
                if isinstance(method, Fixed):
                    method.hold(gates)
                elif round_ % 4:
                    continue
                rows.append({"selection": label, "method": name, **bench.step(method)})
    return rows


def table(rows: list[Row]) -> list[Row]:
    """Means over the steps at a kind of selection, and ratios to NASP's."""

    def mean(method: str, label: str, key: str) -> float:
        found = [
            float(str(r[key])) for r in rows if r["method"] == method and r["selection"] == label
        ]
        return statistics.fmean(found)

    result: list[Row] = []
    for label in dict.fromkeys(str(r["selection"]) for r in rows):
        ours = mean("nasp", label, "total")
        for method in METHODS:
            row = {k: mean(method, label, k) for k in ("arch", "weight", "total")}
            result.append(
                {"selection": label, "method": method, **row, "over_nasp": row["total"] / ours}
            )
    return result


def peak(values: argparse.Namespace, sizes: Mapping[str, int], method: str) -> float:
    """Peak resident memory in MB above rest of a few steps, in a process of its own."""
    command = [sys.executable, __file__, "--space", values.space, "--device", values.device]
    command += [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    command += ["--memory", method]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def memory(bench: Bench, name: str) -> float:
    """Peak memory above rest of a few steps of one method."""
    method = bench.method(name)
    draws = torch.Generator().manual_seed(1)
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
        rest = torch.cuda.memory_allocated()
    else:
        rest = resident("VmRSS")
    for _ in range(3 if name in NASP else 1):
        if isinstance(method, Fixed):
            method.hold(bench.case.uniform(draws))
        bench.step(method)
    if bench.cuda:
        return (torch.cuda.max_memory_allocated() - rest) / 2**20
    return (resident("VmHWM") - rest) / 2**20


def resident(name: str) -> float:
    """VmRSS or VmHWM, its peak, in bytes; getrusage's peak is inherited from the parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return 1024.0 * float(line.split()[1])
    raise SystemExit(f"/proc/self/status: expected {name}, found none")


def measured(values: argparse.Namespace, part: str, sizes: Mapping[str, int]) -> list[Row]:
    """The table of one part, peaks of memory and the machine included."""
    bench = Bench(KINDS[values.space].make(values.space, sizes, values.device), values.device)
    draws = torch.Generator().manual_seed(0)
    uniform = [bench.case.uniform(draws) for _ in range(values.selections)]
    name, published = bench.case.published
    found = table(compare(bench, {"uniform": uniform, name: [published] * 5}))
    peaks = {method: peak(values, sizes, method) for method in METHODS}
    about = environment(make_runtime(values.device, threads=values.threads))
    where = {
        "clock": "wall" if bench.cuda else "cpu",
        "machine": f"{about['device_name']}, torch {torch.__version__}",
    }
    return [
        {"part": part, **row, "peak_mb_above_rest": peaks[str(row["method"])], **where}
        for row in found
    ]


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", choices=tuple(KINDS), default="nasp-7op")
    for name in SETTINGS:
        parser.add_argument(f"--{name}", type=int, help="by default as in step_cases.py")
    parser.add_argument("--selections", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    torch.set_num_threads(values.threads)
    kind, sizes = KINDS[values.space], sizes_of(values.space, vars(values))
    if values.memory:
        case = kind.make(values.space, sizes, values.device)
        print(memory(Bench(case, values.device), values.memory))
        return
    found: list[Row] = []
    for part, changed in kind.parts.items():
        for row in measured(values, part, {**sizes, **changed}):
            found.append(row)
            shown = (f"{v:.3f}" if isinstance(v, float) else f"{v:<18}" for v in row.values())
            print("  ".join(shown), flush=True)
    if values.output:
        values.output.parent.mkdir(parents=True, exist_ok=True)
        with values.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(found[0]))
            writer.writeheader()
            for row in found:
                told = {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()}
                writer.writerow(told)


if __name__ == "__main__":
    main()
