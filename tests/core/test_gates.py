from __future__ import annotations

import copy
import json
import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sif.core.gates import Block, Gates, Selection
from sif.core.proximal import project
from sif.core.selections import Selections
from sif.errors import ShapeError

# Three edges into node 0 of which two are kept, one into node 1; a second block with costs.
BLOCKS = (
    Block("a", ("x", "y", "z"), (0, 0, 0, 1), 2),
    Block("b", ("p", "q", "r", "s"), costs=((1.0, 2.0, 3.0, 5.0),)),
)
CHOSEN = Selection({"a": (1, -1, 1, 2), "b": (3,)})


@st.composite
def blocks_and_selection(draw: st.DrawFn) -> tuple[tuple[Block, ...], Selection]:
    """Some blocks of any shape, nodes in any order, and a legal selection of them."""
    blocks, operations = [], {}
    for name in draw(st.lists(st.text(max_size=3), min_size=1, max_size=3, unique=True)):
        nodes = tuple(draw(st.lists(st.integers(0, 3), min_size=1, max_size=6)))
        names = tuple(str(k) for k in range(draw(st.integers(1, 4))))
        block = Block(name, names, nodes, draw(st.integers(1, 3)))
        edges = [-1] * len(nodes)
        for node in set(nodes):
            entering = [e for e, entered in enumerate(nodes) if entered == node]
            for edge in draw(st.permutations(entering))[: block.edges_per_node]:
                edges[edge] = draw(st.integers(0, len(names) - 1))
        blocks.append(block)
        operations[name] = edges
    return tuple(blocks), Selection(operations)


@given(blocks_and_selection())
def test_every_form_of_a_selection_leads_back_to_it(
    case: tuple[tuple[Block, ...], Selection],
) -> None:
    blocks, selection = case
    gates = selection.to_gates(blocks)
    gates.check(blocks)
    assert gates.choices() == selection
    assert project(gates.weights, blocks).choices() == selection
    every = Selections(blocks)
    assert every.from_row(every.to_row(gates.choices())) == selection
    for again in (
        Selection(json.loads(json.dumps(selection.to_lists()))),
        copy.deepcopy(selection), pickle.loads(pickle.dumps(selection)),
    ):  # fmt: skip
        assert again == selection and hash(again) == hash(selection)
    for block in blocks:
        kept = selection.named(blocks)[block.name]
        assert [selection[block.name][edge] for edge, _ in kept] == [int(k) for _, k in kept]
        assert len(kept) == sum(k >= 0 for k in selection[block.name])


@given(blocks_and_selection(), st.data())
def test_a_switch_leads_elsewhere_and_back(
    case: tuple[tuple[Block, ...], Selection], data: st.DataObject
) -> None:
    blocks, selection = case
    block = data.draw(st.sampled_from(blocks))
    kept = [edge for edge, k in enumerate(selection[block.name]) if k >= 0]
    edge = data.draw(st.sampled_from(kept))
    operation = data.draw(st.integers(0, len(block.operations) - 1))
    other = selection.switched(block.name, edge, operation)
    other.check(blocks)
    assert (other == selection) == (operation == selection[block.name][edge])
    assert other.switched(block.name, edge, selection[block.name][edge]) == selection


def test_a_selection_is_a_value() -> None:
    turned = Selection({"b": [3], "a": [1, -1, 1, 2]})
    assert turned == CHOSEN == {"a": (1, -1, 1, 2), "b": (3,)}
    assert len({turned, CHOSEN, CHOSEN.switched("b", 0, 1)}) == 2
    assert CHOSEN.switched("a", 0, 0) != CHOSEN
    assert CHOSEN["b"] == (3,)
    lists = {"a": [1, -1, 1, 2], "b": [3]}
    held = Selection(lists)
    lists["b"][0] = 0
    assert held == CHOSEN
    with pytest.raises(FrozenInstanceError):
        held.operations = {}  # type: ignore[misc]


def test_a_selection_costs_what_its_operations_do() -> None:
    assert [CHOSEN.switched("b", 0, k).cost(BLOCKS) for k in range(4)] == [1.0, 2.0, 3.0, 5.0]
    costly = Block("a", ("x", "y", "z"), (0, 0, 0, 1), 2, costs=((1.0, 2.0, 4.0),) * 4)
    assert Selection({"a": (1, -1, 1, 2)}).cost([costly]) == 8.0


ILLEGAL = [
    ({"a": (1, -1, 1, 2)}, "block 'b': expected an operation for each of 1 edges, found 0"),
    ({"a": (1, -1, 1), "b": (0,)}, "block 'a': expected an operation for each of 4 edges, found 3"),
    ({"a": (1, 1, 1, 2), "b": (0,)}, "block 'a': expected 2 kept edges into node 0, found 3"),
    ({"a": (1, -1, 1, -1), "b": (0,)}, "block 'a': expected 1 kept edges into node 1, found 0"),
    ({"a": (1, -1, 3, 0), "b": (0,)}, "block 'a': expected operations from 0 to 2, found 3"),
    ({"a": (1, -2, 1, 0), "b": (0,)}, "block 'a': expected operations from 0 to 2, found -2"),
    ({**CHOSEN, "c": (0,)}, "block 'c': expected one of a, b"),
]


@pytest.mark.parametrize(("operations", "told"), ILLEGAL)
def test_illegal_selections_are_refused(operations: dict[str, tuple[int, ...]], told: str) -> None:
    selection = Selection(operations)
    for refuses in (
        lambda: selection.check(BLOCKS),
        lambda: selection.to_gates(BLOCKS),
        lambda: Selections(BLOCKS).to_row(selection),
        lambda: Gates(CHOSEN.to_gates(BLOCKS).weights, selection).check(BLOCKS),
    ):
        with pytest.raises(ShapeError) as e:
            refuses()
        assert str(e.value) == told


def test_gates_that_contradict_their_selection_are_refused() -> None:
    gates = CHOSEN.to_gates(BLOCKS)
    for name, edge, k, value, told in (
        ("a", 0, 0, 1.0, "operation 1 alone on edge 0"),
        ("a", 1, 2, 0.5, "no operation on edge 1"),
        ("b", 0, 3, 0.0, "operation 3 alone on edge 0"),
    ):
        weights = {n: table.clone() for n, table in gates.weights.items()}
        weights[name][edge, k] = value
        with pytest.raises(ShapeError, match=f"block '{name}': expected {told}, found weights"):
            Gates(weights, CHOSEN).check(BLOCKS)
        Gates(weights, None).check(BLOCKS)
    endless = {**gates.weights, "a": gates.weights["a"] / 0}
    with pytest.raises(ShapeError, match="block 'a': expected finite weights"):
        Gates(endless, None).check(BLOCKS)
    for shapeless in (None, CHOSEN):
        with pytest.raises(ShapeError, match=r"shape \(4, 3\), found shape \(1, 3\)"):
            Gates({**gates.weights, "a": torch.zeros(1, 3)}, shapeless).check(BLOCKS)


def test_relaxed_gates_have_no_selection() -> None:
    with pytest.raises(ShapeError, match="expected one operation per edge, found relaxed gates"):
        Gates(CHOSEN.to_gates(BLOCKS).weights, None).choices()
