"""Tokens per second of a training step with a given cell, against plain loops and torch's LSTM.

All take turns in one process, on the same words, at equal numbers of weights (the LSTM's width is
chosen for that). "as published": one product per node and step, input and hidden state side by
side, autograd. "plain": `CellLoop.unroll`, which takes the products of inputs before the loop and
those of one state together. "fused": what a model trains with. Once with the decoder, once the
recurrence alone (its outputs summed). Seconds of the CPU; on a GPU of the wall.

    OMP_NUM_THREADS=1 python benchmarks/tokens.py --output FILE.csv
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from table_files import write_table
from torch import Tensor, nn

from sif.problems.text import matched_width
from sif.spaces.rnn.cells import ACTIVATIONS, PUBLISHED, RecurrentCell
from sif.spaces.rnn.designs import LSTM
from sif.spaces.rnn.dropout import Masks, TextShape, masked
from sif.spaces.rnn.networks import (
    CellLoop,
    CellRecurrence,
    CellWeights,
    LanguageModel,
    LSTMRecurrence,
    cross_entropy,
    highway,
)
from sif.utils.device import make_runtime
from sif.utils.environment import environment


class Plain(nn.Module):
    """A cell with autograd over `CellLoop.unroll`."""

    def __init__(self, shape: TextShape, cell: RecurrentCell) -> None:
        super().__init__()
        self.cell, self.weights = cell, CellWeights(shape, len(cell.nodes))

    def forward(self, x: Tensor, state: Tensor | None, masks: Masks) -> tuple[Tensor, Tensor]:
        """As `CellRecurrence`."""
        hidden = x.new_zeros(x.shape[1:]) if state is None else state
        made = CellLoop(self.weights, self.cell, masks.hidden).unroll(x, hidden)
        return made, made[-1]


class Published(Plain):
    """One product per node and step, as in the released code of DARTS."""

    def forward(self, x: Tensor, state: Tensor | None, masks: Masks) -> tuple[Tensor, Tensor]:
        """As `CellRecurrence`."""
        hidden = x.new_zeros(x.shape[1:]) if state is None else state
        outputs = []
        for given in x.unbind(0):
            both = torch.cat([given, masked(hidden, masks.hidden)], 1)
            states = [highway(hidden, both @ self.weights.first, torch.tanh)]
            for (name, source), matrix in zip(self.cell.nodes, self.weights.nodes, strict=True):
                read = states[source]
                product = masked(read, masks.hidden) @ matrix
                states.append(highway(read, product, ACTIVATIONS[name]))
            hidden = torch.stack([states[number] for number in self.cell.output]).mean(0)
            outputs.append(hidden)
        return torch.stack(outputs), hidden


class Bench:
    """Models of one size and words to train on."""

    def __init__(self, values: argparse.Namespace) -> None:
        torch.manual_seed(0)
        cell, shape = PUBLISHED[values.cell], TextShape(values.vocabulary, values.hidden)
        made: dict[str, tuple[TextShape, nn.Module]] = {
            "fused": (shape, CellRecurrence(shape, cell)),
            "plain": (shape, Plain(shape, cell)),
            "as published": (shape, Published(shape, cell)),
        }
        like = LanguageModel(shape, made["fused"][1]).counted()
        wide = TextShape(values.vocabulary, matched_width(LSTM, values.vocabulary, like))
        made["lstm"] = (wide, LSTMRecurrence(wide))
        self.device = torch.device(values.device)
        self.models = {
            name: LanguageModel(size, recurrence).to(self.device)
            for name, (size, recurrence) in made.items()
        }
        size = (values.steps + 1, values.batch)
        words = torch.randint(values.vocabulary, size, device=self.device)
        self.inputs, self.targets = words[:-1], words[1:]
        kept = torch.rand(values.batch, values.hidden, device=self.device) >= 0.25
        self.masks = Masks(hidden=kept / 0.75)

    def whole(self, name: str) -> None:
        """Loss and gradients of a window."""
        model = self.models[name]
        model.zero_grad()
        made = model(self.inputs, None, self._masks(name))
        cross_entropy(made.logits, self.targets).backward()

    def alone(self, name: str) -> None:
        """The same without words."""
        model = self.models[name]
        model.zero_grad()
        x = torch.zeros(*self.inputs.shape, model.shape.hidden, device=self.device)
        cast(
            Tensor, model.recurrence(x.requires_grad_(), None, self._masks(name))[0]
        ).sum().backward()

    def _masks(self, name: str) -> Masks:
        return Masks() if name == "lstm" else self.masks

    def seconds(self, work: Callable[[], None]) -> float:
        """Seconds of the CPU, on a GPU of the wall."""
        cuda = self.device.type == "cuda"
        clock = time.perf_counter if cuda else time.process_time
        if cuda:
            torch.cuda.synchronize()
        start = clock()
        work()
        if cuda:
            torch.cuda.synchronize()
        return clock() - start


def compare(bench: Bench, rounds: int) -> list[dict[str, object]]:
    """Medians over rounds, methods in turn; tokens per second and ratios to fused."""
    rows: list[dict[str, object]] = []
    for part, work in {"whole": bench.whole, "recurrence alone": bench.alone}.items():
        found: dict[str, list[float]] = {name: [] for name in bench.models}
        for round_ in range(rounds + 1):
            for name, seconds in found.items():
                took = bench.seconds(lambda: work(name))  # noqa: B023
                if round_:  # the first allocates
                    seconds.append(took)
        ours = statistics.median(found["fused"])
        for name, seconds in found.items():
            middle = statistics.median(seconds)
            rows.append(
                {"part": part, "model": name, "parameters": bench.models[name].counted(),
                 "tokens_per_second": round(bench.inputs.numel() / middle),
                 "seconds_over_fused": round(middle / ours, 3)}
            )  # fmt: skip
    return rows


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", choices=tuple(PUBLISHED), default="darts-v2")
    for name, value in (
        ("hidden", 850), ("vocabulary", 10_000), ("batch", 64), ("steps", 35), ("rounds", 5),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    torch.set_num_threads(values.threads)
    rows = compare(Bench(values), values.rounds)
    about = environment(make_runtime(values.device, threads=values.threads))
    machine = f"{about['device_name']}, torch {torch.__version__}"
    for row in rows:
        row |= {"hidden": values.hidden, "machine": machine}
        print("  ".join(f"{value!s:<18}" for value in row.values()))
    if values.output:
        write_table(values.output, rows)


if __name__ == "__main__":
    main()
