from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from sif.core.gates import Block
from sif.core.selections import LISTED, Selections
from sif.errors import ShapeError

# Three edges into node 0 of which two are kept, one into node 1; a second block.
BLOCKS = (Block("a", ("x", "y", "z"), (0, 0, 0, 1), 2), Block("b", ("p", "q", "r", "s")))
COUNT = 3 * 9 * 3 * 4
WIDE = Selections((Block("a", tuple("abcdefgh"), tuple(range(5)), 1),))


def test_every_legal_selection_has_one_row_and_one_number() -> None:
    every = Selections(BLOCKS)
    assert every.count == COUNT
    assert every.names[:4] == ("a.0.edges", "a.0.0", "a.0.1", "a.1.edges")
    selections = [every.numbered(n) for n in range(COUNT)]
    assert len(set(selections)) == COUNT
    rows = [every.to_row(selection) for selection in selections]
    assert rows == sorted(itertools.product(*map(range, every.sizes)))
    assert [every.from_row(row) for row in rows] == selections
    for selection in selections:
        selection.check(BLOCKS)


@pytest.mark.parametrize("row", [(0,) * 6, (0,) * 8, (3, *(0,) * 6), (0, -1, *(0,) * 5)])
def test_rows_that_are_none_are_refused(row: tuple[int, ...]) -> None:
    with pytest.raises(
        ShapeError, match=r"row: expected numbers below \(3, 3, 3, 1, 3, 1, 4\), found"
    ):
        Selections(BLOCKS).from_row(row)


def test_a_space_without_blocks_has_one_selection() -> None:
    every = Selections(())
    assert every.count == 1
    assert every.numbered(0) == every.drawn(torch.Generator()) == {}


def test_every_selection_is_drawn_alike() -> None:
    every, draws = Selections(BLOCKS[1:]), torch.Generator().manual_seed(0)
    counts = Counter(every.drawn(draws)["b"][0] for _ in range(600))
    assert all(100 < counts[k] < 200 for k in range(4))


@pytest.mark.parametrize(
    ("every", "most", "expected"),
    [(Selections(BLOCKS), 20, 20), (Selections(BLOCKS), 10**6, COUNT), (WIDE, 50, 50)],
)
def test_distinct_selections_are_different_and_all_of_them_if_asked(
    every: Selections, most: int, expected: int
) -> None:
    found = every.distinct(most, torch.Generator().manual_seed(0))
    assert len(set(found)) == len(found) == expected
    assert found == every.distinct(most, torch.Generator().manual_seed(0))
    assert found != every.distinct(most, torch.Generator().manual_seed(1))


def test_a_wide_space_is_not_listed() -> None:
    assert WIDE.count == 8**5 > LISTED
