"""Cells as values, their published texts, and networks built from them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from sif.errors import ConfigError, GenotypeError, ShapeError
from sif.spaces.cnn.cells import (
    PUBLISHED,
    Cell,
    Cells,
    cell_of,
    edge_nodes,
    edge_sources,
    format_cells,
    parse_cells,
)
from sif.spaces.cnn.networks import AUXILIARIES, CellNetwork, Layout, drop_path, places
from sif.spaces.cnn.operations import (
    ALIASES,
    OPERATIONS,
    Normalization,
    canonical,
    multiply_adds,
    parameters,
)

NORM = Normalization()
CIFAR = Layout(classes=10, channels=36, cells=20, auxiliary="cifar")
IMAGENET = Layout(classes=1000, channels=48, cells=14, stem="imagenet", auxiliary="imagenet")
TINY = Layout(classes=200, channels=48, cells=14, stem="tiny-imagenet", auxiliary="imagenet")
SMALL = Layout(classes=3, channels=4, cells=4)


@pytest.mark.parametrize(
    ("name", "layout", "expected"),
    [
        # In millions, to the digits that the sources give: train.py of quark0/darts prints
        # 3.349342; the others were worked out from the published operations and texts.
        ("darts-v2", CIFAR, "3.349342"), ("darts-v1", CIFAR, "3.169"), ("nasp", CIFAR, "7.363"),
        ("darts-v2", IMAGENET, "4.719"), ("darts-v1", IMAGENET, "4.510"),
        ("nasp", IMAGENET, "9.543"), ("darts-v2", TINY, "4.104"), ("darts-v1", TINY, "3.895"),
        ("nasp", TINY, "8.928"),
    ],
)  # fmt: skip
def test_published_cells_have_the_published_number_of_parameters(
    name: str, layout: Layout, expected: str
) -> None:
    with torch.device("meta"):
        network = CellNetwork(PUBLISHED[name], layout)
    digits = len(expected.split(".")[1])
    assert f"{network.counted() / 1e6:.{digits}f}" == expected


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_multiply_adds_equal_a_count_by_hand(kernel: int, groups: int) -> None:
    conv = nn.Conv2d(4, 6, kernel, 2, kernel // 2, groups=groups, bias=False)
    network = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, 5))
    assert multiply_adds(network, (4, 6, 6)) == 6 * (4 // groups) * kernel**2 * 9 + 6 * 9 * 5
    assert network.training


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_the_channels_and_divides_the_size(name: str, stride: int) -> None:
    module = OPERATIONS[name].make(4, stride, NORM)
    assert module(torch.randn(2, 4, 8, 8)).shape == (2, 4, 8 // stride, 8 // stride)
    assert OPERATIONS[name].pooling == (parameters(module) == 0 and name != "skip_connect")


def test_operations_differ_pairwise() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 8, 8)
    results = {name: o.make(4, 1, NORM)(x) for name, o in OPERATIONS.items()}
    for a, b in pairwise(results):
        assert not torch.allclose(results[a], results[b])
    assert len(set(ALIASES.values())) == len(OPERATIONS)
    assert canonical("sep_3x3") == canonical("sep_conv_3x3") == "sep_conv_3x3"
    assert canonical("conv 3x3") == "conv_3x3"


def test_a_skip_that_halves_reads_every_pixel_of_both_diagonals() -> None:
    x = torch.zeros(1, 2, 4, 4)
    module = OPERATIONS["skip_connect"].make(2, 2, Normalization(affine=False)).eval()
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    x[0, :, 0, 0] = 1.0  # even pixel: the first half of the channels
    x[0, :, 3, 3] = 2.0  # odd pixel: the second
    out = module(x) * (1 + 1e-5) ** 0.5  # the normalization's epsilon over a variance of 1
    expected = torch.zeros(1, 2, 2, 2)
    expected[0, 0, 0, 0], expected[0, 1, 1, 1] = 2.0, 4.0
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("name", PUBLISHED)
def test_text_of_cells_reads_back(name: str) -> None:
    cells = PUBLISHED[name]
    assert parse_cells(format_cells(cells)) == cells
    assert parse_cells(f"{name.replace('-', '_')} = {format_cells(cells)}\n") == cells


def test_both_dialects_and_positional_fields() -> None:
    one = (
        "Genotype([('sep_3x3', 1), ('conv 1x1', 0)], range(2, 3), "
        "[('skip_connect', 0), ('max_pool_3x3', 1)], (2,))"
    )
    other = (
        "Genotype(reduce=[('skip_connect', 0), ('max_pool_3x3', 1)], reduce_concat=[2], "
        "normal=[('sep_conv_3x3', 1), ('conv_1x1', 0)], normal_concat=[2])"
    )
    assert parse_cells(one) == parse_cells(other)
    assert parse_cells(one).normal == Cell(((("sep_conv_3x3", 1), ("conv_1x1", 0)),), (2,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected one Genotype"),
        ("Genotype(", "expected Genotype"),
        ("import os", "expected one Genotype"),
        ("__import__('os').system('true')", "expected one Genotype"),
        ("Genotype(normal=__import__('os'), normal_concat=[2])", "malformed"),
        ("Genotype(normal=[('conv 9x9', 0), ('skip_connect', 1)], normal_concat=[2])", "conv 9x9"),
        ("Genotype(normal=[('skip_connect', 2), ('skip_connect', 1)], normal_concat=[2])", "0..1"),
        ("Genotype(normal=[('skip_connect', 0)], normal_concat=[2])", "2 edges per node"),
        ("Genotype(normal=[('conv_1x1', 0), ('conv_1x1', 'x')], normal_concat=[2])", "whole"),
        ("Genotype(normal=[('skip_connect', 0), ('skip_connect', 1)], normal_concat=[7])", "0..2"),
        ("Genotype(normal=[('conv_1x1', 0), ('conv_1x1', 1)], normal_concat=range(10**9))", "malf"),
        ("Genotype(normal=[('conv_1x1', 0), ('conv_1x1', 1)], normal_concat=[2])", "reduce"),
    ],
)  # fmt: skip
def test_other_text_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(GenotypeError) as caught:
        parse_cells(text, "cells.txt")
    assert str(caught.value).startswith("cells.txt: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_edges_are_numbered_node_by_node() -> None:
    assert edge_nodes(4) == (0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3)
    assert edge_sources(4) == (0, 1, 0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 4)
    cell = cell_of(((0, "conv_1x1"), (1, "skip_connect"), (3, "conv_3x3"), (4, "conv_1x1")), 2)
    assert cell.nodes == (
        (("conv_1x1", 0), ("skip_connect", 1)),
        (("conv_3x3", 1), ("conv_1x1", 2)),
    )
    assert cell.concat == (2, 3)
    with pytest.raises(GenotypeError, match=r"edges in 0\.\.4, found 5"):
        cell_of(((5, "conv_1x1"),), 2)
    with pytest.raises(GenotypeError, match="node 3: expected an edge"):
        cell_of(((0, "conv_1x1"),), 2)


def test_cells_halve_at_a_third_and_two_thirds() -> None:
    found = places(CIFAR, {"normal": 4, "reduce": 4})
    assert [i for i, p in enumerate(found) if p.reduction] == [6, 13]
    assert [p.channels for p in found] == [36] * 6 + [72] * 7 + [144] * 7
    assert (found[0].before, found[0].last, found[2].last) == (108, 108, 144)
    assert [i for i, p in enumerate(found) if p.reduced] == [7, 14]
    assert places(IMAGENET, {"normal": 4, "reduce": 4})[0].reduced
    with pytest.raises(ConfigError, match="at least 3, found 2"):
        places(Layout(classes=2, channels=4, cells=2), {"normal": 4, "reduce": 4})


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_of_published_cells_classify(name: str) -> None:
    network = CellNetwork(PUBLISHED[name], SMALL)
    logits, second = network.logits(torch.randn(2, 3, 8, 8))
    assert logits.shape == (2, 3)
    assert second is None


@pytest.mark.parametrize(("kind", "side"), [("cifar", 32), ("imagenet", 28)])
def test_the_auxiliary_classifier_speaks_in_training_only(kind: str, side: int) -> None:
    network = CellNetwork(PUBLISHED["darts-v2"], Layout(3, 4, 4, auxiliary=kind))
    logits, second = network.logits(torch.randn(2, 3, side, side))
    assert second is not None and second.shape == logits.shape == (2, 3)
    assert network.eval().logits(torch.randn(2, 3, side, side))[1] is None
    assert kind in AUXILIARIES


def test_images_of_another_size_are_refused() -> None:
    network = CellNetwork(PUBLISHED["darts-v2"], SMALL)
    for shape in ((2, 1, 8, 8), (2, 3, 9, 8), (3, 8, 8)):
        with pytest.raises(ShapeError, match="multiples of 4, found"):
            network(torch.zeros(shape))


def test_dropped_paths_keep_the_mean_and_drop_whole_images() -> None:
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 2, 3, 3), 0.3)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert (dropped.flatten(1).std(dim=1) == 0).all()
    assert abs(float(dropped.mean()) - 1) < 4 * (0.3 / 0.7 / 4000) ** 0.5


def test_paths_drop_in_training_alone_and_never_an_identity() -> None:
    skips = Cell(((("skip_connect", 0), ("skip_connect", 1)),), (2,))
    for cells, changes in ((Cells(skips, skips), False), (PUBLISHED["darts-v2"], True)):
        torch.manual_seed(0)
        network = CellNetwork(cells, SMALL).cells[0]
        features = torch.randn(2, 12, 8, 8)
        torch.manual_seed(1)
        same = torch.equal(network(features, features, 0.0), network(features, features, 0.9))
        assert same is not changes
        network.eval()
        assert torch.equal(network(features, features, 0.0), network(features, features, 0.9))
