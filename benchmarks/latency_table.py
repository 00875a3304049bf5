"""The latency that a table of pieces predicts against whole networks (docs/concepts/objectives.md).

    python benchmarks/latency_table.py --networks 10

Draws networks of cells, recurrent models and functions, times each as a whole, and prints the
relative errors of the sums. The bar is a mean absolute error of 10 %. The examples that calibrate
the table are none of the drawn networks.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from sif.core.gates import Block
from sif.core.genotype import Genotype
from sif.core.pieces import Pieces
from sif.core.selections import Selections
from sif.search.latency import LatencyTable, milliseconds
from sif.search.objectives import cost_table
from sif.spaces.cnn.networks import CellNetwork, Layout
from sif.spaces.cnn.pieces import network_pieces
from sif.spaces.cnn.supernet import SPECS, CNNSpace, cells_of
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.pieces import function_pieces, measured_ids
from sif.spaces.interaction.transforms import PRIMITIVES
from sif.spaces.rnn.cells import ACTIVATIONS, edge_nodes
from sif.spaces.rnn.dropout import TextShape
from sif.spaces.rnn.networks import CellRecurrence, LanguageModel
from sif.spaces.rnn.pieces import model_pieces
from sif.spaces.rnn.supercell import BLOCK, KEPT, SPACE
from sif.spaces.rnn.supernet import recurrent_cell
from sif.utils.device import Runtime, make_runtime

BAR = 10.0
"""Percent."""
Case = tuple[Pieces, tuple[Block, ...], Callable[[Genotype], nn.Module], tuple[Tensor, ...]]


def cells(like: Tensor) -> Case:
    """Networks of 8 cells with 16 channels on CIFAR's images."""
    layout, shape = Layout(10, 16, 8), (32, 32)

    def placed(module: nn.Module) -> nn.Module:
        moved: nn.Module = module.to(like.device, memory_format=torch.channels_last)
        return moved

    pieces = network_pieces(SPECS["nasp-7op"], layout, shape, placed, like)
    space = CNNSpace("nasp-7op", Layout(3, 1, 3, stem_multiplier=1))
    image = torch.zeros(1, 3, *shape, device=like.device)
    image = image.contiguous(memory_format=torch.channels_last)
    return pieces, space.blocks, lambda g: placed(CellNetwork(cells_of(g), layout)), (image,)


class _Logits(nn.Module):
    """A language model from the zero state."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, words: Tensor) -> Tensor:
        """(steps, 1) ids to logits."""
        logits: Tensor = self.model(words, None).logits
        return logits


def recurrent(like: Tensor) -> Case:
    """Models of 300 units with 10,000 words on a window of 35 words."""
    shape, steps = TextShape(10_000, 300), 35
    pieces = model_pieces(BLOCK, tuple(ACTIVATIONS), shape, steps, like)
    block = Block(BLOCK, tuple(ACTIVATIONS), edge_nodes(shape.nodes), KEPT)

    def whole(genotype: Genotype) -> nn.Module:
        cell = CellRecurrence(shape, recurrent_cell(genotype))
        return _Logits(LanguageModel(shape, cell)).to(like.device)

    words = torch.zeros(steps, 1, dtype=torch.int64, device=like.device)
    return pieces, (block,), whole, (words,)


def functions(like: Tensor) -> Case:
    """Functions of 64 dimensions on tables as large as MovieLens-1M's."""
    shape = TableShape((6040, 3706), 64, biases=True, intercept=True)
    fields = ("user", "item")
    pieces = function_pieces("operation", OPERATIONS, fields, PRIMITIVES, [], shape, like)
    blocks = (Block("operation", tuple(OPERATIONS)), *(Block(f, tuple(PRIMITIVES)) for f in fields))

    def whole(genotype: Genotype) -> nn.Module:
        transforms = tuple(PRIMITIVES[genotype.operation(field)] for field in fields)
        design = Design(transforms, OPERATIONS[genotype.operation("operation")])
        return InteractionNetwork(design, shape, torch.Generator()).to(like.device)

    return pieces, blocks, whole, (measured_ids(shape.sizes).to(like.device),)


CASES = {"cells": cells, "recurrent": recurrent, "functions": functions}


def compared(
    case: Case, runtime: Runtime, networks: int, seed: int
) -> Iterator[tuple[float, float]]:
    """Predicted and measured milliseconds of drawn networks."""
    pieces, blocks, whole, inputs = case
    table = cost_table("latency", pieces, runtime)
    selections, draws = Selections(blocks), torch.Generator().manual_seed(seed)
    name = SPACE if len(blocks) == 1 else "nasp-7op" if len(blocks) == 2 else "primitives"
    drawn = [selections.drawn(draws) for _ in range(networks)]
    wholes = [whole(Genotype(name, one.named(blocks))).eval() for one in drawn]
    # Twice, some time apart: other processes on the machine only ever slow a network down.
    passes = [[milliseconds(one, inputs, runtime.threads) for one in wholes] for _ in range(2)]
    for selection, *measured in zip(drawn, *passes, strict=True):
        yield table.of(selection, blocks), min(measured)


def main() -> None:
    """Prints a line for each kind of network, and a JSON document where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--networks", type=int, default=10, help="drawn of each kind")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--output", type=Path, help="JSON file to write")
    values = parser.parse_args()
    runtime = make_runtime(values.device, 0, threads=values.threads)
    like, document = torch.zeros(1, device=runtime.device), {}
    for name in values.cases:
        pairs = list(compared(CASES[name](like), runtime, values.networks, values.seed))
        errors = [100 * (guess / real - 1) for guess, real in pairs]
        mean, worst = statistics.mean(map(abs, errors)), max(errors, key=abs)
        low, high = min(real for _, real in pairs), max(real for _, real in pairs)
        verdict = "within" if mean <= BAR else "beyond"
        print(
            f"{name}: {low:.3g} to {high:.3g} ms, mean absolute error {mean:.1f} % "
            f"({verdict} {BAR:g} %), worst {worst:+.1f} %",
            flush=True,
        )
        document[name] = {"pairs": pairs, "mean": mean, "worst": worst}
    table = LatencyTable(runtime)
    print(f"table: {len(table)} times in {table.path}")
    if values.output is not None:
        values.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
