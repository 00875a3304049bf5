"""Sums over pieces are what whole networks have, by torch's counter and by counting."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sif.core.gates import Block
from sif.core.pieces import Applied
from sif.core.selections import Selections
from sif.search.objectives import cost_table
from sif.search.sizes import MIB, activation_bytes, counted
from sif.spaces.cnn.networks import CellNetwork, Layout
from sif.spaces.cnn.pieces import network_pieces
from sif.spaces.cnn.supernet import SPECS, CNNSpace, cells_of
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.pieces import function_pieces, measured_ids
from sif.spaces.interaction.transforms import PRIMITIVES
from sif.spaces.rnn.dropout import TextShape
from sif.spaces.rnn.networks import CellRecurrence, LanguageModel
from sif.spaces.rnn.pieces import model_pieces
from sif.spaces.rnn.supernet import RNNSpace, recurrent_cell
from sif.utils.device import make_runtime

RUNTIME = make_runtime("cpu", 0, threads=1)
LIKE = torch.zeros(1)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def weights(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def mebibytes(network: nn.Module, inputs: torch.Tensor) -> float:
    own = [*network.parameters(), *network.buffers()]
    return (sum(t.nbytes for t in own) + activation_bytes(network, (inputs,))) / MIB


@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_networks_of_cells_are_the_sums_of_their_pieces(stem: str) -> None:
    side = 32 if stem == "small" else 64
    layout = Layout(3, 4, 4, stem=stem)
    placed = lambda module: module.to(memory_format=torch.channels_last)
    pieces = network_pieces(SPECS["nasp-12op"], layout, (side, side), placed, LIKE)
    names = ("parameters", "multiply_adds", "memory")
    tables = [cost_table(name, pieces, RUNTIME) for name in names]
    space = CNNSpace("nasp-12op", Layout(3, 1, 3, stem_multiplier=1))
    images = torch.zeros(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    generator = draws()
    for _ in range(2):
        gates = Selections(space.blocks).drawn(generator).to_gates(space.blocks)
        network = placed(CellNetwork(cells_of(space.genotype(gates)), layout).eval())
        found = [table.of(gates.choices(), space.blocks) for table in tables]
        assert found[0] == network.counted()
        assert found[1] == counted(network, (images,))
        assert found[2] == pytest.approx(mebibytes(network, images), rel=1e-9)
        assert tables[0].of_kept(space.genotype(gates).blocks) == found[0]


def test_recurrent_models_are_the_sums_of_their_pieces() -> None:
    shape = TextShape(50, 6, 3)
    space = RNNSpace(shape, {}, False)
    (block,) = space.blocks
    pieces = model_pieces(block.name, block.operations, shape, 4, LIKE)
    counts, products = (cost_table(n, pieces, RUNTIME) for n in ("parameters", "multiply_adds"))
    gates = Selections(space.blocks).drawn(draws()).to_gates(space.blocks)
    model = LanguageModel(
        shape, CellRecurrence(shape, recurrent_cell(space.genotype(gates)))
    ).eval()
    with torch.no_grad():
        words = torch.zeros(4, 1, dtype=torch.int64)
        assert products.of(gates.choices(), space.blocks) == counted(
            Applied(lambda x: model(x, None).logits), (words,)
        )
    assert counts.of(gates.choices(), space.blocks) == model.counted()
    # By hand: decoder, then the first node's two products and one of each node, for every word.
    assert products.of(gates.choices(), space.blocks) == 4 * (50 * 6 + (2 + 3) * 6 * 2 * 6)


@pytest.mark.parametrize("sizes", [(30, 40), (2000, 1500)])
def test_functions_are_the_sums_of_their_pieces(sizes: tuple[int, int]) -> None:
    shape = TableShape(sizes, 4, biases=True, intercept=True)
    fields = ("user", "item")
    pieces = function_pieces("operation", OPERATIONS, fields, PRIMITIVES, [], shape, LIKE)
    blocks = [Block("operation", tuple(OPERATIONS)), *(Block(f, tuple(PRIMITIVES)) for f in fields)]
    names = ("parameters", "multiply_adds", "memory")
    tables = [cost_table(name, pieces, RUNTIME) for name in names]
    ids, generator = measured_ids(sizes), draws()
    for _ in range(6):
        selection = Selections(blocks).drawn(generator)
        kept = {name: edges[0][1] for name, edges in selection.named(blocks).items()}
        transforms = tuple(PRIMITIVES[kept[field]] for field in fields)
        design = Design(transforms, OPERATIONS[kept["operation"]])
        network = InteractionNetwork(design, shape, draws())
        found = [table.of(selection, blocks) for table in tables]
        assert found[0] == weights(network)
        assert found[1] == counted(network, (ids,), entrywise=True)
        assert found[2] == pytest.approx(mebibytes(network, ids), rel=1e-9)


def test_entries_of_a_product_with_its_readout_by_hand() -> None:
    shape = TableShape((5, 5), 4)
    pieces = function_pieces("operation", OPERATIONS, ("u", "v"), {}, [], shape, LIKE)
    table = cost_table("multiply_adds", pieces, RUNTIME)
    block = Block("operation", tuple(OPERATIONS))
    costs = dict(zip(block.operations, table.rows(block)[0], strict=True))
    # 4 products, 4 multiply-adds of the readout and 1 sum for each of 1000 pairs; the readout's
    # scaling to 1 takes 4 entries and its largest size 4.
    assert costs["multiply"] == 1000 * (4 + 4 + 1) + 8
    assert costs["concat"] == 1000 * (0 + 8 + 1) + 16
