"""Designs by name: which half-lives data offer, and what genotypes of all versions mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sif.core.genotype import Genotype
from sif.errors import GenotypeError
from sif.spaces.linear.design import (
    HALF_LIFE,
    LONGEST,
    blocks_of,
    half_lives_of,
    linear_design,
)
from sif.spaces.linear.sequences import TICK, Decay, Sequences, duration, moments

BEFORE = {"target": "next", "recent": "none", "middle": "0.8", "long": "0.97", "discount": "0.1"}
"""A genotype as it was before histories faded by time."""


def genotype(**changed: str) -> Genotype:
    names = {**BEFORE, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return Genotype("order", {name: ((0, value),) for name, value in names.items()})


def sequences(seconds: list[list[int]] | None, users: int = 2) -> Sequences:
    """Users with items at these times."""
    lists = [[0] * 4] * users if seconds is None else seconds
    owners = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    times = None if seconds is None else np.concatenate([np.array(one) for one in lists])
    return Sequences.of(owners, np.zeros(len(owners), np.int64), (len(lists), 1), seconds=times)


def test_a_genotype_without_a_half_life_is_what_it_was() -> None:
    assert linear_design(genotype()).decays == (Decay(0.8, 16), Decay(0.97, 116))
    assert linear_design(genotype(half_life="none")) == linear_design(genotype())


def test_the_longest_scale_fades_by_time() -> None:
    found = linear_design(genotype(half_life="277200"))
    assert found.decays == (Decay(0.8, 16), Decay(0.97, 116, 277200.0)) and found.reads_time
    assert found.expression == (
        "next item from history(0.8, last 16; 0.97, half-life 3.21 days, last 116) / popularity^0.1"
    )
    alone = linear_design(genotype(half_life="60", middle="last", long="none"))
    assert alone.decays == (Decay(1.0, 116, 60.0),)
    assert alone.expression.startswith("next item from history(half-life 60 s, last 116)")
    bounded = linear_design(genotype(half_life="60", long="set")).decays[-1]
    assert bounded == Decay(1.0, LONGEST, 60.0)
    nothing = linear_design(genotype(half_life="60", target="any"))
    assert not nothing.reads_time and nothing == linear_design(genotype(target="any"))


@pytest.mark.parametrize("name", ["0", "-5", "inf", "nan", "soon", ""])
def test_a_half_life_that_is_none_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(GenotypeError, match="'half-life': expected seconds above 0") as caught:
        linear_design(genotype(half_life=name))
    assert "\n" not in str(caught.value)


def test_half_lives_ascend_from_the_usual_gap_towards_the_span() -> None:
    found = half_lives_of(sequences([[0, 0, 100, 300, 6_400_000], [50, 250, 251]]))
    assert found == ("200", "1100", "6300", "36000", "200000", "1100000")  # by sqrt(1000)^(1/3)
    offered = {block.name: block for block in blocks_of(1, found)}
    assert offered[HALF_LIFE].operations == ("none", *found)
    assert offered[HALF_LIFE].default_op == "none"
    assert offered["middle"].operations[-1] == "last"


@pytest.mark.parametrize(
    "seconds",
    [
        None,
        [[5], [9]],
        [[7, 7, 7]],
        [[0, 1, 2, 3, 4], [0, 1, 2]],
        [[3600 * n + n % 3 * 600 for n in range(9)]],
    ],
)
def test_places_are_no_times(seconds: list[list[int]] | None) -> None:
    assert half_lives_of(sequences(seconds)) == ()
    assert blocks_of(3, ()) == blocks_of(3)
    assert all(block.name != HALF_LIFE for block in blocks_of(3))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_moments_ascend_behind_what_is_known_and_hardly_move(seed: int) -> None:
    draws = np.random.default_rng(seed)
    users = np.sort(draws.integers(0, 5, 40))
    seconds = draws.integers(1_600_000_000, 1_600_000_020, 40)
    seconds = seconds[np.lexsort((seconds, users))].astype(np.float64)
    last = np.where(draws.random(5) < 0.5, -np.inf, 1_600_000_010 + TICK * draws.integers(0, 9, 5))
    found = moments(users, seconds, last)
    same = users[1:] == users[:-1]
    assert (np.diff(found)[same] > 0).all() and (found > last[users]).all()
    assert (found - np.maximum(seconds, last[users]) < 1e-3).all()


def test_durations_are_for_people() -> None:
    told = [duration(seconds) for seconds in (0.5, 90, 150, 7200, 200_000)]
    assert told == ["0.5 s", "90 s", "2.5 min", "2 hours", "2.31 days"]
