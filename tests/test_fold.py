"""Folded rows minimise the training loss, which is asked as it is, not by the fold's algebra."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from sif.config import CFConfig, load_config
from sif.data import Interactions, Vocabulary
from sif.fitting import Problem
from sif.fold import Fold
from sif.genotype import Genotype
from sif.objectives import LOSSES
from sif.runtime import make_runtime
from sif.served import ServedModel
from sif.spaces.functions import design_of

USERS, ITEMS, L2 = 12, 9, 0.7
POINT = {"encoding": ("id", "id"), "embedding": "identity", "weighting": "even"}


def interactions(seed: int = 0) -> Interactions:
    """Everybody has something; ratings 1 to 5."""
    draws = np.random.default_rng(seed)
    has = draws.random((USERS, ITEMS)) < 0.4
    has[np.arange(USERS), np.arange(USERS) % ITEMS] = True
    ids = np.argwhere(has).astype(np.int64)
    rating = draws.integers(1, 6, len(ids)).astype(np.float32)
    names = (Vocabulary(range(USERS)), Vocabulary(range(ITEMS)))
    return Interactions(ids, ("user", "item"), names, rating)


def genotype(operation: str = "multiply", **stages: object) -> Genotype:
    stages = POINT | stages
    encodings = stages["encoding"]
    assert isinstance(encodings, tuple)
    blocks = {
        "operation": ((0, operation),), "encoding": tuple(enumerate(encodings)),
        "embedding": ((0, str(stages["embedding"])),),
        "weighting": ((0, str(stages["weighting"])),),
    }  # fmt: skip
    return Genotype("rich", blocks)


class Trained:
    """A network with weights of any kind, as if training had left it there."""

    def __init__(self, found: Genotype, objective: str, *sets: str) -> None:
        config = load_config(
            "cf", sets=[f"objective={objective}", "train.dimension=4", "threads=1", *sets]
        )
        assert isinstance(config, CFConfig)
        known = interactions()
        self.config, self.genotype, self.known = config, found, known
        self.problem = Problem(known, known, config, make_runtime("cpu", 0, 1))
        self.design = design_of(found, known.fields)
        self.network = self.problem.network(self.design, torch.Generator().manual_seed(1))
        with torch.no_grad():
            for place, p in enumerate(self.network.parameters()):
                if p.requires_grad:
                    p.add_(0.4 * torch.sin(torch.arange(p.numel()) + place).view_as(p))
        self.model = ServedModel.of(self.problem, found, self.network, L2, known)

    def with_rows(self, field: int, vectors: torch.Tensor, biases: torch.Tensor | None) -> None:
        """Puts folded rows in: the embedding is what histories and neighbours do not give."""
        tables = self.network.tables
        with torch.no_grad():
            table = tables.embeddings[field]
            if table.shape[1]:
                before = self.network.interaction().vectors[field].table
                scale = 0.5 if self.design.graph else 1.0
                table += (vectors - before) / scale
            if biases is not None:
                tables.biases[field].copy_(biases)

    def gradients(self, field: int) -> list[torch.Tensor]:
        """Of the training loss by a field's embeddings and biases."""
        tables = self.network.tables
        free = tables.embeddings[field].shape[1]
        leaves: list[nn.Parameter] = [tables.embeddings[field]] if free else []
        leaves += [tables.biases[field]] if tables.biases else []
        return list(torch.autograd.grad(self.loss(), leaves)) if leaves else []

    def loss(self) -> torch.Tensor:
        """Of the whole train part with its penalty, per pair."""
        interaction = self.network.interaction()
        weighting = self.problem.weighting(self.design.weighting)
        settings = replace(self.problem.loss_settings, weighting=weighting)
        batch = self.problem.stream("train", None, "test").next()
        loss = LOSSES[self.problem.loss_name](interaction, batch, settings)
        return loss + interaction.tables.squared_norm(self.problem.strengths(L2))

    def pairs(self, field: int) -> sparse.csr_array:
        seen = self.model.seen
        return seen if field == 0 else sparse.csr_array(seen.T)


EXACT = [
    *itertools.product(
        ["multiply", "plus", "concat", "multiply+plus"], ["ranking", "rating"], ["id"], ["even"]
    ),
    *itertools.product(
        ["multiply", "multiply+plus"], ["ranking", "rating"], ["history", "both"], ["even", "both"]
    ),
]


@pytest.mark.parametrize("field", [0, 1])
@pytest.mark.parametrize(("operation", "objective", "encoding", "weighting"), EXACT)
def test_a_fold_is_where_the_training_loss_of_a_row_is_least(
    operation: str, objective: str, encoding: str, weighting: str, field: int
) -> None:
    # Only the folded side has a history: with one on the other side, the pair would be in it.
    encodings = (encoding, "id") if field == 0 else ("id", encoding)
    found = genotype(operation, encoding=encodings, weighting=weighting)
    trained = Trained(found, objective, "loss.l2_scaling=sqrt")
    assert trained.problem.stream("train", None, "test").next().graph is not None
    before = [float(g.abs().max()) for g in trained.gradients(field)]
    rows = trained.model.fold(field).rows(trained.pairs(field))
    trained.with_rows(field, *rows)
    table = trained.network.interaction().vectors[field].table
    torch.testing.assert_close(table, rows.vectors, rtol=1e-4, atol=1e-5)
    for gradient, was in zip(trained.gradients(field), before, strict=True):
        assert was > 1e-3
        assert float(gradient.abs().max()) < 1e-5 * max(1, was)


def test_propagation_counts_for_a_half() -> None:
    found = genotype(embedding="graph")
    trained = Trained(found, "ranking")
    rows = trained.model.fold(0).rows(trained.pairs(0))
    trained.with_rows(0, *rows)
    table = trained.network.interaction().vectors[0].table
    torch.testing.assert_close(table, rows.vectors, rtol=1e-4, atol=1e-5)


CURVED = [
    ("max", "ranking", "whole-data"), ("min", "rating", "squared"), ("multiply", "ranking", "bpr"),
    ("multiply", "ranking", "softmax"), ("multiply", "ranking", "bce"),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "objective", "loss"), CURVED)
def test_elsewhere_a_fold_descends_to_where_no_small_step_helps(
    operation: str, objective: str, loss: str
) -> None:
    trained = Trained(genotype(operation), objective, f"loss.name={loss}")
    fold, pairs = trained.model.fold(0), trained.pairs(0)
    rows = fold.rows(pairs)
    assert torch.equal(rows.vectors, fold.rows(pairs).vectors)
    for user in range(3):
        bias = None if rows.biases is None else rows.biases[user]
        here = value(fold, pairs[[user]], rows.vectors[user], bias)
        draws = torch.Generator().manual_seed(user)
        assert here < value(fold, pairs[[user]], torch.zeros(4), None if bias is None else 0 * bias)
        for _ in range(50):
            step = 0.05 * torch.randn(4, generator=draws)
            there = value(fold, pairs[[user]], rows.vectors[user] + step, bias)
            assert there > here - 1e-4 * abs(here)


@torch.no_grad()
def value(
    fold: Fold, pairs: sparse.csr_array, vector: torch.Tensor, bias: torch.Tensor | None
) -> float:
    """The loss of one row with its penalty."""
    others = torch.from_numpy(pairs.indices.astype(np.int64))

    def score(at: torch.Tensor) -> torch.Tensor:
        scores = fold._scores(vector[None], at)
        return scores if bias is None else scores + bias

    data = fold._loss(score(others), score, others, torch.from_numpy(pairs.data))
    unknowns = vector if bias is None else torch.cat([vector, bias.view(1)])
    ridge = (fold._ridge(len(others)) * unknowns**2).sum()
    return float(fold.objective.weight(len(others)) * data + ridge)


def test_a_row_without_pairs_stays_at_zero() -> None:
    trained = Trained(genotype(encoding=("both", "id")), "rating")
    rows = trained.model.fold(0).rows(sparse.csr_array((2, ITEMS)))
    assert not rows.vectors.any()
    assert rows.biases is not None and not rows.biases.any()
