"""Training and search steps per second on a device: eager, compiled, and as CUDA graphs.

Every measurement runs in a process of its own with a time limit, since a compiler may take minutes.
A graph holds forward, backward and optimizer of a training step; each step copies its batch in. A
step that waits for the device cannot be captured, so a graph also proves that there is no such
wait. Weight steps train a drawn selection of the supernet, architecture steps are those of NASP.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cases import CASES, Step, moved, tensors
from machine import about, device, is_toy, runtime, write

from sif.core.method import Plan
from sif.core.proximal import weight_step
from sif.core.selections import Selections
from sif.methods.nasp import Nasp, NaspSettings
from sif.utils.device import finish, peak_memory_mb, reset_peak_memory

MEASURED = ("cf-ranking", "cnn", "rnn", "order-cell")
MODES = ("search", "eager", "compile", "graph")
LIMIT = {"search": 45, "eager": 30, "compile": 75, "graph": 30}
"""Seconds of a measurement with the start of its process."""
SECONDS = 3.0
WARM_UP = 5
Numbers = dict[str, Any]
EMPTY: Numbers = dict.fromkeys(("step", "steps_per_second", "peak_mb", "note"), "")


def timed(act: Callable[[], object], name: str, most: float) -> Numbers:
    """Steps per second and the peak of memory, after some that allocate and tune."""
    run = runtime(name)
    for _ in range(2 if is_toy(name) else WARM_UP):
        act()
    finish(run.device)
    reset_peak_memory(run)
    blocks, begin = list[float](), time.perf_counter()
    while len(blocks) < 3 or time.perf_counter() - begin < most:
        start = time.perf_counter()
        for _ in range(5):
            act()
        finish(run.device)
        blocks.append(5 / (time.perf_counter() - start))
    peak = peak_memory_mb(run)
    return {"steps_per_second": round(statistics.median(blocks), 2), "peak_mb": round(peak, 1)}


def trained(step: Step) -> Callable[[], object]:
    """One training step as the loop takes it."""

    def act() -> None:
        step.optimizer.zero_grad(set_to_none=True)
        step.objective(step.stream.next()).backward()
        step.optimizer.step()

    return act


def compiled(step: Step) -> Callable[[], object]:
    """The same with a compiled objective."""
    objective = torch.compile(step.objective)
    return trained(Step(step.network, objective, step.stream, step.optimizer))


def captured(step: Step) -> Callable[[], object]:
    """The same as one graph."""
    for group in step.optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True
    where = next(step.network.parameters()).device
    static = moved(step.stream.next(), where)
    shapes = [x.shape for x in tensors(static)]

    def whole() -> None:
        step.optimizer.zero_grad(set_to_none=True)
        step.objective(static).backward()
        step.optimizer.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            whole()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        whole()

    def act() -> None:
        batch = tensors(step.stream.next())
        if [x.shape for x in batch] == shapes:  # the last window of a text is shorter
            for target, source in zip(tensors(static), batch, strict=True):
                target.copy_(source, non_blocking=True)
        graph.replay()

    return act


def measured(case: str, mode: str, name: str) -> list[Numbers]:
    """The rows of one measurement."""
    kind, toy = CASES[case], is_toy(name)
    problem, most = kind.make(runtime(name), toy), 0.1 if toy else SECONDS
    if mode == "search":
        return searched(problem, name, most)
    step = kind.step(problem, kind.design(problem))
    step.network.train()
    act = {"eager": trained, "compile": compiled, "graph": captured}[mode](step)
    return [{"step": "training", **timed(act, name, most)}]


def searched(problem: Any, name: str, most: float) -> list[Numbers]:
    """Weight and architecture steps."""
    space, run = problem.space(), problem.method_run()
    train, valid = problem.streams()
    optimizer = run.make_optimizer(space.weight_parameters(), run.section.lr)
    draws = torch.Generator().manual_seed(0)
    gates = Selections(space.blocks).drawn(draws).to_gates(space.blocks)
    method = Nasp(space, NaspSettings(), Plan(1), draws)
    steps: dict[str, Callable[[], object]] = {
        "weight": lambda: weight_step(space, train.next(), gates, optimizer, run.max_norm),
        "architecture": lambda: method.arch_step(space, train.next(), valid.next()),
    }
    return [{"step": step, **timed(act, name, most)} for step, act in steps.items()]


def in_process(case: str, mode: str, name: str) -> list[Numbers]:
    """The rows of a measurement in a process of its own; one row with a note if it fails."""
    limit = LIMIT[mode] * (10 if is_toy(name) else 1)  # a dry run may share its core
    words = [sys.executable, str(Path(__file__).resolve()), "--case", case, "--mode", mode]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return [{"step": "training", "note": f"more than {limit} s"}]
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        return [{"step": "training", "note": lines[-1][:200]}]
    found: list[Numbers] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measures all cases, prints and writes them; 1 if an eager step fails."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--case", choices=CASES, help="one case, in this process")
    parser.add_argument("--mode", choices=MODES)
    asked, name = parser.parse_args(), device()
    if asked.case:
        print(json.dumps(measured(asked.case, asked.mode, name)))
        return 0
    rows, failed = list[Numbers](), False
    for case in MEASURED[:1] if is_toy(name) else MEASURED:
        for mode in MODES[:2] if is_toy(name) else MODES:
            for found in in_process(case, mode, name):
                row = about(name) | {"case": case, "mode": mode} | EMPTY | found
                rows.append(row)
                failed |= mode in ("search", "eager") and row["steps_per_second"] == ""
                print(f"{case:12} {mode:8} {row['step']:13} {row['steps_per_second']!s:>9} /s "
                      f"{row['peak_mb']!s:>8} MB  {row['note']}", flush=True)  # fmt: skip
    write(name, "speed", rows)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
