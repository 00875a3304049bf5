"""Cost of one search step: NASP with probes against DARTS, over one supernet and one batch.

A step is an architecture step and a weight step. Methods take turns in one process, DARTS, which
has no selection, in every fourth round, so that whatever else the machine does hits all alike;
every step starts from the same weights. Seconds of the CPU, on a GPU of the wall. DARTS has
this project's layout and operations, as published (its architecture step computes gradients by the
weights and discards them) and without that waste.

    OMP_NUM_THREADS=1 python benchmarks/step_cost.py --space nasp-7op --output FILE.csv
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sif.methods.base import Method
from sif.methods.darts import Darts, DartsSettings
from sif.methods.nasp import Nasp, NaspSettings
from sif.prox import Gates, project, weight_step
from sif.runtime import environment, make_runtime
from sif.spaces.cells import edge_nodes, edge_sources
from sif.spaces.cnn import SPECS, CNNSpace, ImageBatch
from sif.spaces.cnn_networks import Layout
from sif.spaces.published import PUBLISHED

DARTS = {
    "darts-1": DartsSettings(1, wasteful=True),
    "darts-2": DartsSettings(2),
    "darts-1, no waste": DartsSettings(1),
}
NASP = {
    "nasp": NaspSettings(explore=0.0),
    "nasp, 1/4 of the rows": NaspSettings(explore=0.0, probe_rows=0.25),
    "nasp, 1/4 of the others": NaspSettings(explore=0.0, probe_operations=0.25),
}
"""Exact probes; probes on a quarter of the batch; on the two best of each edge and a quarter of the
others."""
METHODS = (*NASP, *DARTS)


class Fixed(Nasp):
    """NASP held at one selection: its steps cost what they cost there."""

    def hold(self, gates: Gates) -> None:
        """Sets the selection and its alphas."""
        self._gates = gates
        for name, weights in gates.weights.items():
            self._alpha[name].copy_(weights)


def gates_of(space: CNNSpace, name: str) -> Gates:
    """The gates of a published cell, where the space has it."""
    cells = PUBLISHED[name]
    alpha = {b.name: torch.zeros(b.shape, dtype=torch.float64) for b in space.blocks}
    edges = list(zip(edge_nodes(4), edge_sources(4), strict=True))
    for block in space.blocks:
        for node, kept in enumerate(getattr(cells, block.name).nodes):
            for operation, source in kept:
                alpha[block.name][
                    edges.index((node, source)), block.operations.index(operation)
                ] = 1
    return project(alpha, space.blocks)


def random_gates(space: CNNSpace, draws: torch.Generator) -> Gates:
    """A uniform selection."""
    alpha = {b.name: torch.rand(b.shape, generator=draws) for b in space.blocks}
    return project(alpha, space.blocks)


class Bench:
    """One supernet, one batch, and the methods over it."""

    def __init__(self, values: argparse.Namespace) -> None:
        torch.manual_seed(0)
        layout = Layout(classes=10, channels=values.channels, cells=values.cells)
        space = CNNSpace(values.space, layout)
        self.space = space.to(values.device, memory_format=torch.channels_last)
        images = torch.randn(values.batch, 3, 32, 32).to(memory_format=torch.channels_last)
        labels = torch.randint(10, (values.batch,))
        self.batch = ImageBatch(images.to(values.device), labels.to(values.device))
        self.cuda = values.device.startswith("cuda")
        self.first = {name: v.clone() for name, v in self.space.state_dict().items()}

    def method(self, name: str) -> Method:
        """A method over the supernet."""
        draws = torch.Generator().manual_seed(0)
        if name in NASP:
            return Fixed(self.space, NASP[name], draws)
        return Darts(self.space, DARTS[name], draws)

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
        optimizer = torch.optim.SGD(
            self.space.weight_parameters(), 0.025, momentum=0.9, weight_decay=3e-4
        )
        gates = method.weight_gates(0)
        arch = self.seconds(lambda: method.arch_step(self.space, self.batch, self.batch))
        if isinstance(method, Fixed):
            method.hold(gates)
        weight = self.seconds(lambda: weight_step(self.space, self.batch, gates, optimizer, 5.0))
        part = 0 if self.cuda else 1
        return {"arch": arch[part], "weight": weight[part], "total": arch[part] + weight[part]}


def compare(bench: Bench, selections: dict[str, list[Gates]]) -> list[dict[str, object]]:
    """Every method in turn at every selection; DARTS, which has none, in every fourth round."""
    methods = {name: bench.method(name) for name in METHODS}
    for method in [m for m in methods.values() for _ in range(1 + 2 * bench.cuda)]:
        bench.step(method)  # first steps allocate, import and tune
    rows: list[dict[str, object]] = []
    for label, chosen in selections.items():
        for round_, gates in enumerate(chosen):
            for name, method in methods.items():
                if isinstance(method, Fixed):
                    method.hold(gates)
                elif round_ % 4:
                    continue
                rows.append({"selection": label, "method": name, **bench.step(method)})
    return rows


def table(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Means over the steps at a kind of selection, and ratios to NASP's."""

    def mean(method: str, label: str, key: str) -> float:
        found = [
            float(str(r[key])) for r in rows if r["method"] == method and r["selection"] == label
        ]
        return statistics.fmean(found)

    result: list[dict[str, object]] = []
    for label in dict.fromkeys(str(r["selection"]) for r in rows):
        ours = mean("nasp", label, "total")
        for method in METHODS:
            row = {k: mean(method, label, k) for k in ("arch", "weight", "total")}
            result.append(
                {"selection": label, "method": method, **row, "over_nasp": row["total"] / ours}
            )
    return result


def peak(values: argparse.Namespace, method: str) -> float:
    """Peak resident memory in MB above rest of a few steps, in a process of its own."""
    command = [
        sys.executable, __file__, "--space", values.space, "--batch", str(values.batch),
        "--channels", str(values.channels), "--cells", str(values.cells),
        "--device", values.device, "--memory", method,
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def memory(values: argparse.Namespace) -> float:
    """Peak memory above rest of a few steps of one method."""
    bench = Bench(values)
    method = bench.method(values.memory)
    draws = torch.Generator().manual_seed(1)
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
        rest = torch.cuda.memory_allocated()
    else:
        rest = resident("VmRSS")
    for _ in range(3 if values.memory in NASP else 1):
        if isinstance(method, Fixed):
            method.hold(random_gates(bench.space, draws))
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


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", choices=tuple(SPECS), default="nasp-7op")
    for name, value in (("batch", 16), ("channels", 16), ("cells", 8), ("selections", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    torch.set_num_threads(values.threads)
    if values.memory:
        print(memory(values))
        return
    bench = Bench(values)
    draws = torch.Generator().manual_seed(0)
    published = {"nasp-7op": "darts-v2", "nasp-12op": "nasp"}[values.space]
    uniform = [random_gates(bench.space, draws) for _ in range(values.selections)]
    selections = {"uniform": uniform, published: [gates_of(bench.space, published)] * 5}
    found = table(compare(bench, selections))
    peaks = {method: peak(values, method) for method in METHODS}
    about = environment(make_runtime(values.device, threads=values.threads))
    machine = f"{about['device_name']}, torch {torch.__version__}"
    for row in found:
        row["peak_mb_above_rest"] = peaks[str(row["method"])]
        row |= {"clock": "wall" if bench.cuda else "cpu", "machine": machine}
        print("  ".join(f"{v:.3f}" if isinstance(v, float) else f"{v:<18}" for v in row.values()))
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
