"""NASP finds decays and operations of histories that a known function has generated."""

from __future__ import annotations

import pytest
import torch

from sif.core.gates import Gates, Selection
from sif.core.method import Plan
from sif.methods.nasp import Nasp, NaspSettings
from sif.spaces.histories.catalog_loss import CatalogLoss
from sif.spaces.histories.models import HistoryBatch, HistoryModel
from sif.spaces.histories.scales import ScalesDesign, scales_design
from sif.spaces.histories.scales_supernet import ScalesSpace
from sif.spaces.rnn.dropout import TextShape

ITEMS, HIDDEN, STEPS, USERS = 40, 16, 40, 60
SHAPE = TextShape(ITEMS, HIDDEN)
SETTINGS = NaspSettings(
    warmup=0.0, explore=0.0, score="replacement_loss", arch_optimizer="plain", arch_lr=0.3
)


def space() -> ScalesSpace:
    """With weights that are known: scores tell items apart, and nothing is left to train."""
    torch.manual_seed(0)
    found = ScalesSpace(SHAPE, {}, CatalogLoss(torch.full((ITEMS,), 1 / ITEMS)))
    with torch.no_grad():
        for table in (*found.model.reader.parameters(), found.model.embedding.weight):
            table.normal_()
        for readout in found.readouts.values():
            readout.mul_(0.2)
    return found


def walked(model: HistoryModel, seed: int) -> HistoryBatch:
    """Histories whose next item is drawn by the softmax of the model's scores."""
    draws = torch.Generator().manual_seed(seed)
    items = torch.randint(ITEMS, (1, USERS), generator=draws)
    for _ in range(STEPS):
        chances = model.scores(model.last_states(items)).softmax(dim=1)
        items = torch.cat([items, torch.multinomial(chances, 1, generator=draws).t()])
    return HistoryBatch.of(items, 0)


@pytest.mark.parametrize(
    ("recent", "middle", "long", "inner", "outer"),
    [
        ("none", "0.9", "none", "plus", "multiply"),
        ("0.5", "0.7", "set", "plus", "multiply"),
        ("0.3", "0.8", "none", "max", "multiply"),
        ("none", "0.6", "0.97", "multiply", "min"),
        ("none", "0.6", "none", "plus", "min"),
    ],
)
def test_nasp_finds_planted_scales_and_operations(
    recent: str, middle: str, long: str, inner: str, outer: str
) -> None:
    at_work = space()
    names = {"recent": recent, "middle": middle, "long": long, "inner": inner, "outer": outer}
    gates = selected(at_work, names)
    planted = at_work.extract(gates)
    method = Nasp(at_work, SETTINGS, Plan(40, 0), torch.Generator().manual_seed(1))
    batches = [walked(planted, seed) for seed in range(3)]
    for step in range(40):
        batch = batches[step % 3]
        method.arch_step(at_work, batch, batch)
    found = scales_design(at_work.genotype(method.best_gates()))
    truth: ScalesDesign = scales_design(at_work.genotype(gates))
    assert found.decays == truth.decays and found.outer == truth.outer
    if len(truth.decays) > 1:
        assert found.inner == truth.inner


def selected(at_work: ScalesSpace, names: dict[str, str]) -> Gates:
    choices = {b.name: (b.operations.index(names[b.name]),) for b in at_work.blocks}
    return Selection(choices).to_gates(at_work.blocks)
