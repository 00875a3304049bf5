"""The spaces of convolutional cells: gradients, contract with the loops, exported networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sif.errors import GenotypeError
from sif.genotype import Genotype, from_json
from sif.methods.nasp import Nasp, NaspSettings
from sif.normalisation import recalibrated
from sif.probe import gate_gradient
from sif.prox import Gates, initial_alpha, project, weight_step
from sif.spaces.cells import edge_nodes
from sif.spaces.cnn import SPECS, CNNSpace, ImageBatch, cells_of, expression
from sif.spaces.cnn_networks import CellNetwork, Layout
from sif.spaces.cnn_ops import Normalisation, parameters

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


def full_gradient(space: CNNSpace, data: ImageBatch, gates: Gates) -> dict[str, Tensor]:
    """Of every gate by autograd through all operations of all edges."""
    leaves = {n: w.to(F64).detach().requires_grad_() for n, w in gates.weights.items()}
    loss = space.loss(data, Gates(leaves, None))
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


@pytest.mark.parametrize("seed", [1, 2])
def test_probes_equal_full_autograd(space: CNNSpace, seed: int) -> None:
    gates, data = some_gates(space, seed), batch(seed)
    found = gate_gradient(space, data, gates)
    expected = full_gradient(space, data, gates)
    for block in space.blocks:
        assert block.shape == (14, len(SPECS[space.name][block.name]))
        dropped = [e for e, k in enumerate(gates.selection()[block.name]) if k < 0]
        assert len(dropped) == 6
        assert expected[block.name][dropped].abs().min() > 0
        torch.testing.assert_close(found.gates[block.name], expected[block.name],
                                   rtol=1e-9, atol=1e-12)  # fmt: skip
    with torch.no_grad():
        torch.testing.assert_close(found.loss, space.loss(data, gates))


def test_an_arch_step_leaves_no_trace_in_the_weights(space: CNNSpace) -> None:
    before = {name: value.clone() for name, value in space.state_dict().items()}
    gate_gradient(space, batch(), some_gates(space, 0))
    assert all(p.grad is None for p in space.parameters())
    assert before.keys() == space.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in space.state_dict().items())
    assert not any(name.endswith("running_mean") for name in before)


def test_a_weight_step_moves_chosen_operations_alone(space: CNNSpace) -> None:
    gates = some_gates(space, 3)
    before = {name: p.detach().clone() for name, p in space.named_parameters()}
    optimizer = torch.optim.SGD(space.weight_parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for seed in range(2):
        weight_step(space, batch(seed), gates, optimizer, 5.0)
    chosen = gates.selection()
    for name, parameter in space.named_parameters():
        moved = not torch.equal(parameter, before[name])
        if ".edges." not in name:
            assert moved, name
            continue
        _, cell, _, edge, k, *_ = name.split(".")
        block = space.cells[int(cell)].block
        assert moved == (chosen[block][int(edge)] == int(k)), name


def test_two_passes_agree_and_only_a_batch_decides(space: CNNSpace) -> None:
    gates = some_gates(space, 0)
    with torch.no_grad():
        first = space.loss(batch(), gates)
        space.loss(batch(1), gates)
        assert torch.equal(space.loss(batch(), gates), first)


def test_one_hot_relaxed_gates_are_the_discrete_point(space: CNNSpace) -> None:
    gates = some_gates(space, 5)
    relaxed = Gates({n: w.to(F64) for n, w in gates.weights.items()}, None)
    with torch.no_grad():
        torch.testing.assert_close(space.loss(batch(), gates), space.loss(batch(), relaxed))


@pytest.mark.parametrize("seed", range(3))
def test_the_extracted_network_is_the_supernet_at_its_gates(space: CNNSpace, seed: int) -> None:
    gates, data = some_gates(space, seed), batch(seed)
    network = space.extract(gates)
    with torch.no_grad():
        torch.testing.assert_close(network(data.images), space.logits(data.images, gates))
    again = from_json(space.genotype(gates).to_json())
    layout = Layout(3, 4, 3, 2, stem_multiplier=1, norm=Normalisation(affine=False),
                    normalised_pools=True)  # fmt: skip
    built = CellNetwork(cells_of(again), layout).double()
    built.load_state_dict(network.state_dict())
    assert torch.equal(built(data.images), network(data.images))
    active = {f"{n}.{e}.{k}" for n, c in gates.selection().items() for e, k in enumerate(c)}
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
    with recalibrated(network):
        network(data.images)
    assert network.training
    norm = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    first = network.stem[0][0](data.images)
    torch.testing.assert_close(norm.running_mean, first.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, first.var(dim=(0, 2, 3)))
    assert norm.momentum == 0.1
    trained = network(data.images)
    with recalibrated(network):
        network(data.images)
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
    assert gates.selection().keys() == {"normal", "reduce"}


def test_search_steps_with_the_core(space: CNNSpace) -> None:
    settings = NaspSettings(warmup_steps=2, explore=0.5, lr=0.1, optimizer="plain", eta=1e-3)
    method = Nasp(space, settings, torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(space.weight_parameters(), 0.05, momentum=0.9)
    for step in range(4):
        gates = method.weight_gates(step)
        for block in space.blocks:
            active = gates.selection()[block.name]
            kept = [n for n, k in zip(edge_nodes(4), active, strict=True) if k >= 0]
            assert kept == [0, 0, 1, 1, 2, 2, 3, 3]
        weight_step(space, batch(step), gates, optimizer, 5.0)
        report = method.arch_step(space, batch(step), batch(step + 10))
        assert report.scores.keys() == {"gradient"}
    assert from_json(space.genotype(method.selection()).to_json()).space == space.name


def test_an_expression_names_every_kept_edge(space: CNNSpace) -> None:
    genotype = space.genotype(some_gates(space, 0))
    text = expression(cells_of(genotype))
    assert text == space.expression(genotype)
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
