"""Spaces of which only some operations are searched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import sif
from sif.core.gates import Gates, Probing, Selection
from sif.core.probe import gate_gradient
from sif.core.selections import Selections
from sif.core.space import CountsSteps, ReplacementScored, Rewarded
from sif.errors import ConfigError
from sif.search.narrowed import NarrowedSpace, judging
from sif.spaces.interaction.design import SPECS
from sif.spaces.interaction.supernet import FunctionSpace
from sif.testing import InteractionCase
from tests.methods.test_contract import RUNS

KEPT = {"operation": ["plus", "min"], "user": ["~abs"]}
CASE = InteractionCase("primitives", "squared")


def spaces() -> tuple[FunctionSpace, NarrowedSpace]:
    """A space, and the same of which some operations are searched, over the same weights."""
    context = replace(CASE.context(), draws=torch.Generator().manual_seed(0))
    whole = FunctionSpace(SPECS["primitives"], context).double()
    return whole, NarrowedSpace(whole, KEPT)


def test_only_what_is_kept_is_there() -> None:
    whole, narrow = spaces()
    blocks = {block.name: block for block in narrow.blocks}
    assert blocks["operation"].operations == ("plus", "min")  # in the order of the space
    assert blocks["user"].operations == ("~abs",)
    assert blocks["item"] == next(block for block in whole.blocks if block.name == "item")
    assert blocks["operation"].default_op in (None, "plus", "min")
    costs, all_costs = blocks["operation"].costs, whole.blocks[0].costs
    if all_costs is not None:
        assert costs is not None
        assert costs[0] == tuple(
            all_costs[0][whole.blocks[0].operations.index(name)] for name in ("plus", "min")
        )


def chosen(space: Any, **names: str) -> Gates:
    """Gates of operations by their names."""
    blocks = {block.name: block.operations for block in space.blocks}
    picked = {name: [blocks[name].index(operation)] for name, operation in names.items()}
    return Selection(picked).to_gates(space.blocks)


def test_a_selection_is_that_of_the_space() -> None:
    whole, narrow = spaces()
    names = {"operation": "min", "user": "~abs", "item": "+sqrt"}
    one, other = chosen(narrow, **names), chosen(whole, **names)
    full = narrow.full(one)
    assert full.active == other.active
    assert all(torch.equal(full.weights[name], other.weights[name]) for name in names)
    batch = CASE.batch("train")
    assert torch.equal(narrow.loss(batch, one), whole.loss(batch, other))
    assert torch.equal(narrow.regularizer(one), whole.regularizer(other))
    assert narrow.genotype(one) == whole.genotype(other)
    judge = judging(lambda space, gates: space.loss(batch, gates).item())
    assert judge(narrow, one) == whole.loss(batch, other).item()


def test_the_gradient_of_a_gate_is_that_in_the_space() -> None:
    whole, narrow = spaces()
    names = {"operation": "min", "user": "~abs", "item": "+sqrt"}
    batch = CASE.batch("train")
    found = gate_gradient(narrow, batch, chosen(narrow, **names)).gates
    expected = gate_gradient(whole, batch, chosen(whole, **names)).gates
    operations = whole.blocks[0].operations
    columns = [operations.index(name) for name in ("plus", "min")]
    assert torch.equal(found["operation"], expected["operation"][:, columns])


def test_what_was_not_drawn_stays_so() -> None:
    _, narrow = spaces()
    gates = chosen(narrow, operation="plus", user="~abs", item="+sqrt")
    factors = {block.name: torch.full(block.shape, 2.0) for block in narrow.blocks}
    full = narrow.full(replace(gates, probing=Probing(factors, 0.5)))
    assert full.probing is not None and full.probing.rows == 0.5
    row = full.probing.factors["operation"][0]
    assert row.count_nonzero() == 2
    assert set(row.tolist()) == {0.0, 2.0}


def test_a_narrowed_space_can_do_what_the_space_can() -> None:
    whole, narrow = spaces()
    assert isinstance(narrow, ReplacementScored) == isinstance(whole, ReplacementScored)
    assert isinstance(narrow, CountsSteps) == isinstance(whole, CountsSteps)
    assert isinstance(narrow, Rewarded) == isinstance(whole, Rewarded)


def test_a_reward_is_that_of_the_space() -> None:
    run = RUNS["cnn"]()
    cells, batch = run.make_space(False), run.streams()[1].next()
    operations = cells.blocks[0].operations[2:4]
    narrow = NarrowedSpace(cells, {"normal": operations})
    assert isinstance(cells, Rewarded) and isinstance(narrow, Rewarded)
    gates = Selections(narrow.blocks).numbered(1).to_gates(narrow.blocks)
    found = narrow.rewarded(batch, gates)
    assert found == cells.rewarded(batch, narrow.full(gates))


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"operation": ["multipy"]}, r"operation: expected some of .*'multipy'.*multiply"),
        ({"operations": ["multiply"]}, r"operations: expected one of operation, .*'operations'"),
        ({"operation": []}, "operation: expected an operation at least, found none"),
    ],
)
def test_what_a_space_does_not_have_is_refused(choices: dict[str, list[str]], told: str) -> None:
    with pytest.raises(ConfigError, match=rf"search\.choices\.{told}"):
        NarrowedSpace(spaces()[0], choices)


TINY: dict[str, Any] = {
    "data": {"planted": {"users": 40, "items": 30, "density": 0.3}},
    "train": {"epochs": 10, "dimension": 4, "l2": [2.0]},
    "baselines": ["popularity"], "threads": 1, "tracking": {"enabled": False}, "budget": None,
}  # fmt: skip


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("method", ["nasp", "darts-1", "random"])
def test_a_job_searches_what_is_left(method: str, tmp_path: Path) -> None:
    search = {"epochs": 6, "candidate_epochs": 1, "dimension": 4, "arch_every": 1}
    choices = {"operation": ["plus", "max"], "user": ["~abs"]}
    config = sif.CFConfig(
        **TINY, space="primitives", method=method, search={**search, "choices": choices},
        output_dir=tmp_path / "run",
    )  # fmt: skip
    found = sif.run_job(config).metrics["search"]["found"]
    assert found.startswith(("plus(~abs(user)", "max(~abs(user)"))


def test_a_name_that_is_none_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    search = {"epochs": 2, "choices": {"operation": ["product"]}}
    config = sif.CFConfig(
        **TINY, space="primitives", method="random", search=search, output_dir=tmp_path / "run"
    )
    with pytest.raises(ConfigError, match=r"search\.choices\.operation: expected some of"):
        sif.run_job(config)
    assert not (tmp_path / "run").exists()
