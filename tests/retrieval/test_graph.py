"""Graphs of items: the same after they were saved, and refused where a byte leads out of them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sif.errors import ConfigError
from sif.retrieval.graph import CONNECTIVITY, ItemGraph

pytest.importorskip("usearch")

ITEMS, DIMENSION = 600, 6
ROWS = np.arange(0, ITEMS, 2)
HEAD = 8 + len(ROWS) * DIMENSION * 2
"""Where the head begins; behind it the header, the floors and the items."""
HEADER, FLOORS = HEAD + 64, HEAD + 64 + 40
FIRST = FLOORS + 2 * len(ROWS)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ITEMS, DIMENSION)).astype(np.float32)


@pytest.fixture(scope="module")
def graph(vectors: np.ndarray) -> ItemGraph:
    return ItemGraph.built(vectors, ROWS, 64)


def test_has_the_items_that_it_was_given(graph: ItemGraph, vectors: np.ndarray) -> None:
    assert (len(graph), graph.dimension, graph.n_items) == (len(ROWS), DIMENSION, ITEMS)
    np.testing.assert_array_equal(np.flatnonzero(graph.is_indexed), ROWS)
    found = graph.search(vectors, 20)
    assert found.shape == (ITEMS, 20)
    assert np.isin(found[found >= 0], ROWS).all()
    exact = ROWS[np.argsort(-(vectors @ vectors[ROWS].T), axis=1)[:, :10]]
    hits = [np.isin(one, many).mean() for one, many in zip(exact, found, strict=True)]
    assert np.mean(hits) > 0.98


def test_one_query_is_answered_as_among_others(graph: ItemGraph, vectors: np.ndarray) -> None:
    many = graph.search(vectors[:5], 30)
    for row in range(5):
        np.testing.assert_array_equal(graph.search(vectors[row : row + 1], 30)[0], many[row])


def test_scale_changes_nothing(vectors: np.ndarray) -> None:
    graphs = [ItemGraph.built(vectors * scale, ROWS, 64) for scale in (2.0**-60, 1.0, 2.0**60)]
    found = [graph.search(vectors[:50] * 2.0**-60, 10) for graph in graphs]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("norms", [0.0, 2.0])
def test_norms_that_differ_cost_no_recall(norms: float) -> None:
    rng = np.random.default_rng(1)
    items = rng.standard_normal((2000, 16)) * np.exp(norms * rng.standard_normal((2000, 1)))
    users = rng.standard_normal((100, 16)).astype(np.float32)
    graph = ItemGraph.built(items.astype(np.float32), np.arange(2000), 128)
    exact = np.argsort(-(users @ items.T), axis=1)[:, :10]
    found = graph.search(users, 20)
    hits = [np.isin(one, many).mean() for one, many in zip(exact, found, strict=True)]
    assert np.mean(hits) > 0.95


def test_is_the_same_after_it_was_saved(graph: ItemGraph, vectors: np.ndarray) -> None:
    again = ItemGraph.of_state(graph.state() | {"head": np.array([1, 5])})
    assert again.is_indexed[[1, 5]].all() and len(again) == len(ROWS) + 2
    again = ItemGraph.of_state(graph.state())
    assert (again.n_items, again.expansion, len(again)) == (ITEMS, 64, len(ROWS))
    np.testing.assert_array_equal(again.is_indexed, graph.is_indexed)
    np.testing.assert_array_equal(again.search(vectors, 15), graph.search(vectors, 15))
    np.testing.assert_array_equal(again.state()["graph"], graph.state()["graph"])


def put(place: int, kind: str, *values: int) -> Callable[[bytearray], None]:
    return lambda content: struct.pack_into(kind, content, place, *values)


def upper(content: bytearray) -> tuple[int, int]:
    """Where an item of two floors begins, and the number of one that has the ground floor alone."""
    floors = np.frombuffer(content, "<i2", len(ROWS), FLOORS).astype(np.int64)
    sizes = 10 + 4 * (1 + 2 * CONNECTIVITY) + floors * 4 * (1 + CONNECTIVITY)
    one = int(np.flatnonzero(floors > 0)[0])
    return FIRST + int(sizes[:one].sum()), int(np.flatnonzero(floors == 0)[0])


def link_to_a_lower_floor(content: bytearray) -> None:
    place, low = upper(content)
    struct.pack_into("<2I", content, place + 10 + 4 * (1 + 2 * CONNECTIVITY), 1, low)


DAMAGE: dict[str, tuple[Callable[[bytearray], Any], str]] = {
    "more rows": (put(0, "<I", len(ROWS) + 1), "version and kind"),
    "no rows": (put(0, "<I", 0), "from 1 to 600 items"),
    "rows without end": (put(0, "<I", 2**32 - 1), "from 1 to 600 items"),
    "wider rows": (put(4, "<I", DIMENSION * 2 + 2), "vectors of its dimension"),
    "another name": (put(HEAD, "<B", 0), "version and kind"),
    "another version": (put(HEAD + 7, "<H", 9), "version and kind"),
    "another product": (put(HEAD + 13, "<B", 99), "version and kind"),
    "other numbers": (put(HEAD + 14, "<B", 99), "version and kind"),
    "deleted items": (put(HEAD + 25, "<Q", 1), "none of them deleted"),
    "another dimension": (put(HEAD + 33, "<Q", 7), "dimension"),
    "another size": (put(HEADER, "<Q", 5), "as many items as vectors"),
    "more links": (put(HEADER + 8, "<Q", CONNECTIVITY + 1), "16 links"),
    "more links below": (put(HEADER + 16, "<Q", CONNECTIVITY), "16 links"),
    "another floor": (put(HEADER + 24, "<Q", 40), "floors from 0"),
    "entry outside": (put(HEADER + 32, "<Q", 2**40), "entry"),
    "a floor below": (put(FLOORS, "<h", -1), "floors from 0"),
    "an item that grew": (put(FLOORS + 2, "<h", 1), "links of all items|items that know"),
    "key outside": (put(FIRST, "<Q", ITEMS), "keys below 600"),
    "key twice": (put(FIRST, "<Q", 2), "different keys"),
    "own floor": (put(FIRST + 8, "<h", 7), "know their floors"),
    "links without room": (put(FIRST + 10, "<I", 2 * CONNECTIVITY + 1), "room"),
    "link outside": (put(FIRST + 10, "<2I", 1, len(ROWS)), "links to its items"),
    "link to a lower floor": (link_to_a_lower_floor, "same floor"),
    "cut": (lambda content: content.__delitem__(slice(-1, None)), "links of all items"),
    "longer": (lambda content: content.extend(b"\0"), "nothing after"),
    "empty": (lambda content: content.clear(), "found none"),
    "short": (lambda content: content.__delitem__(slice(100, None)), "112 bytes"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_bytes_that_lead_out_of_the_graph_are_refused(name: str, graph: ItemGraph) -> None:
    damage, message = DAMAGE[name]
    state = graph.state()
    content = bytearray(state["graph"].tobytes())
    damage(content)
    with pytest.raises(ValueError, match=message):
        ItemGraph.of_state(state | {"graph": np.frombuffer(bytes(content), np.uint8)})


@pytest.mark.parametrize("change", [
    {"n_items": 10}, {"n_items": "600"}, {"expansion": 0}, {"expansion": True}, {"dimension": 7},
    {"dimension": 2**30}, {"head": "text"}, {"head": np.array([3, 1])}, {"head": np.array([-1])},
    {"head": np.array([1, ITEMS])}, {"head": np.array([0])}, {"head": np.array([1.0])},
    {"graph": np.zeros(9)}, {"graph": "text"},
])  # fmt: skip
def test_numbers_that_contradict_the_graph_are_refused(
    change: dict[str, Any], graph: ItemGraph
) -> None:
    with pytest.raises(ValueError, match="expected"):
        ItemGraph.of_state(graph.state() | change)


def test_random_bytes_never_crash_a_search(graph: ItemGraph, vectors: np.ndarray) -> None:
    rng, state = np.random.default_rng(3), graph.state()
    for _ in range(200):
        content = state["graph"].copy()
        places = rng.integers(HEAD, len(content), rng.integers(1, 4))
        content[places] = rng.integers(0, 256, len(places))
        try:
            changed = ItemGraph.of_state(state | {"graph": content})
        except ValueError:
            continue
        found = changed.search(vectors[:3], 20)
        assert ((found >= -1) & (found < ITEMS)).all()


def test_without_usearch_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "usearch", None)
    with pytest.raises(ConfigError, match=r"approximate retrieval: .* pip install 'sif\[ann\]'"):
        ItemGraph.built(np.ones((2, 2), np.float32), np.arange(2), 8)
