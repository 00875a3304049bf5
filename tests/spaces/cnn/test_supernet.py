"""The spaces of convolutional cells: blocks, costs, exported networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.proximal import initial_alpha, project
from sif.errors import GenotypeError
from sif.spaces.cnn.cells import edge_nodes
from sif.spaces.cnn.networks import Layout
from sif.spaces.cnn.operations import parameters
from sif.spaces.cnn.supernet import SPECS, CNNSpace, ImageBatch, cells_of, expression

F64 = torch.float64
LAYOUT = Layout(classes=3, channels=4, cells=3, image_channels=2, stem_multiplier=1)


def make_space(name: str, layout: Layout = LAYOUT) -> CNNSpace:
    torch.manual_seed(0)
    return CNNSpace(name, layout).double()


def batch(seed: int = 0, n: int = 6) -> ImageBatch:
    draws = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 2, 8, 8, generator=draws, dtype=F64)
    return ImageBatch(images, torch.randint(3, (n,), generator=draws))


def some_gates(space: CNNSpace, seed: int) -> Gates:
    return project(initial_alpha(space.blocks, torch.Generator().manual_seed(seed)), space.blocks)


@pytest.fixture(params=SPECS)
def space(request: pytest.FixtureRequest) -> CNNSpace:
    return make_space(request.param)


def test_blocks_are_two_cells_of_which_every_node_keeps_two_edges(space: CNNSpace) -> None:
    assert [b.name for b in space.blocks] == ["normal", "reduce"]
    for block in space.blocks:
        assert block.shape == (14, len(SPECS[space.name][block.name]))
        assert (block.nodes, block.edges_per_node) == (edge_nodes(4), 2)
        assert [block.nodes.count(node) for node in range(4)] == [2, 3, 4, 5]


@pytest.mark.parametrize("seed", range(3))
def test_the_extracted_network_lacks_what_rests_and_gains_statistics(
    space: CNNSpace, seed: int
) -> None:
    gates = some_gates(space, seed)
    network = space.extract(gates)
    assert not any(name.endswith("running_mean") for name in space.state_dict())
    assert any(name.endswith("running_mean") for name in network.state_dict())
    active = {f"{n}.{e}.{k}" for n, c in gates.choices().items() for e, k in enumerate(c)}
    resting = sum(
        parameters(module)
        for cell in space.cells
        for e, edge in enumerate(cell.edges)
        for k, module in enumerate(edge)
        if f"{cell.block}.{e}.{k}" not in active
    )
    assert parameters(network) == parameters(space) - resting


def test_recalibrated_statistics_are_those_of_the_batches(space: CNNSpace) -> None:
    network = space.extract(some_gates(space, 0))
    data = batch(n=64)
    update_bn([data.images], network)
    assert network.training
    norm = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    first = network.stem[0][0](data.images)
    torch.testing.assert_close(norm.running_mean, first.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, first.var(dim=(0, 2, 3)))
    assert norm.momentum == 0.1
    trained = network(data.images)
    update_bn([data.images], network)
    # Evaluation divides by the unbiased variance; 64 x 4 values and more make that small.
    torch.testing.assert_close(network.eval()(data.images), trained, rtol=0.05, atol=0.05)


def test_costs_are_the_weights_of_all_cells_of_a_kind(space: CNNSpace) -> None:
    gates = some_gates(space, 0)
    for block in space.blocks:
        assert block.costs is not None
        for e, k in ((0, 3), (13, 1)):
            cells = [c for c in space.cells if c.block == block.name]
            assert block.costs[e][k] == sum(parameters(c.edges[e][k]) for c in cells)
    reduced = {"nasp-7op": 2, "nasp-12op": 0}[space.name]
    skip = SPECS[space.name]["reduce"].index("skip_connect")
    assert skip == reduced
    assert space.blocks[1].costs is not None
    # A skip that halves has weights, one that does not is free: both are counted at their width.
    assert space.blocks[1].costs[0][skip] > 0 == space.blocks[1].costs[13][skip]
    assert gates.choices().keys() == {"normal", "reduce"}


def test_an_expression_names_every_kept_edge(space: CNNSpace) -> None:
    genotype = space.genotype(some_gates(space, 0))
    text = expression(cells_of(genotype))
    assert text == genotype.expression
    for choices in genotype.blocks.values():
        assert len(choices) == 8
    assert text.startswith("normal: 2 = ") and "; reduce: 2 = " in text
    assert text.count(" + ") == 8


def genotypes() -> Iterator[tuple[Genotype, str]]:
    good = make_space("nasp-7op").genotype(some_gates(make_space("nasp-7op"), 0))
    yield Genotype("sif", good.blocks), "nasp-7op"
    yield Genotype("nasp-7op", {"normal": good.blocks["normal"]}), "reduce"
    alien = ((0, "conv_1x1"), *good.blocks["normal"][1:])
    yield Genotype("nasp-7op", {**good.blocks, "normal": alien}), "conv_1x1"
    beyond = (*good.blocks["normal"][:-1], (14, "skip_connect"))
    yield Genotype("nasp-7op", {**good.blocks, "normal": beyond}), "0..13, found 14"


@pytest.mark.parametrize(("genotype", "message"), list(genotypes()), ids=range(4))
def test_other_genotypes_are_refused(genotype: Genotype, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        cells_of(genotype)


def test_the_loss_is_the_cross_entropy_of_the_logits(space: CNNSpace) -> None:
    gates, data = some_gates(space, 0), batch()
    with torch.no_grad():
        logits = space.logits(data.images, gates)
        by_hand = -torch.log_softmax(logits, 1)[torch.arange(6), data.labels].mean()
        torch.testing.assert_close(space.loss(data, gates), by_hand)
        assert F.cross_entropy(logits, data.labels) > 0


def test_multiply_adds_as_costs_are_those_of_the_modules_at_their_size() -> None:
    torch.manual_seed(0)
    space = CNNSpace("nasp-7op", LAYOUT, "multiply_adds")
    names = SPECS["nasp-7op"]["normal"]
    by_block = {block.name: block.costs for block in space.blocks}
    assert by_block["normal"] is not None and by_block["reduce"] is not None
    # Separable 3 x 3, twice: 9 c + c^2 weights at every pixel; 3 cells: 4 channels at 32 pixels,
    # then two reductions, to 8 channels at 16 and to 16 channels at 8.
    separable = names.index("sep_conv_3x3")
    assert by_block["normal"][0][separable] == 2 * (9 * 4 + 16) * 32**2
    halved = 2 * (9 * 8 + 64) * 16**2 + 2 * (9 * 16 + 256) * 8**2
    assert by_block["reduce"][0][separable] == by_block["reduce"][13][separable] == halved
    assert by_block["normal"][0][names.index("max_pool_3x3")] == 0
