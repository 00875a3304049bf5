"""Folded rows minimize the training loss: its own gradient vanishes where the loss is smooth.

Where the function has kinks there is no gradient to ask; there the fold's own loss must not become
less by small steps.
"""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from sif.config import CFConfig, load_config
from sif.core.genotype import Genotype
from sif.data.interactions import Interactions, Vocabulary
from sif.problems.interactions import InteractionProblem
from sif.recommender.fold_in import FoldIn
from sif.recommender.model import ServedModel
from sif.retrieval.engine import Engine
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.registry import LOSSES, design_of
from sif.utils.device import make_runtime

USERS, ITEMS, L2 = 12, 9, 0.7
POINT = {"encoding": ("id", "id"), "embedding": "identity", "weighting": "even"}


def interactions(items: int = ITEMS, density: float = 0.4) -> Interactions:
    """Everybody has something, and so has every item; ratings 1 to 5."""
    draws = np.random.default_rng(0)
    has = draws.random((USERS, items)) < density
    has[np.arange(USERS), np.arange(USERS) % items] = True
    has[np.arange(items) % USERS, np.arange(items)] = True
    ids = np.argwhere(has).astype(np.int64)
    rating = draws.integers(1, 6, len(ids)).astype(np.float32)
    names = (Vocabulary(range(USERS)), Vocabulary(range(items)))
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
    return Genotype("staged", blocks)


class Trained:
    """A network with weights of any kind, as if training had left it there."""

    def __init__(
        self, found: Genotype, objective: str, *sets: str, known: Interactions | None = None
    ) -> None:
        config = load_config(
            "cf", sets=[f"objective={objective}", "train.dimension=4", "threads=1", *sets]
        )
        assert isinstance(config, CFConfig)
        known = known or interactions()
        self.config, self.genotype, self.known = config, found, known
        self.problem = InteractionProblem(known, known, config, make_runtime("cpu", 0, 1))
        self.design = design_of(found, known.fields)
        histories = self.problem.histories if self.design.encodings or self.design.graph else None
        draws = torch.Generator().manual_seed(1)
        self.network = InteractionNetwork(self.design, self.problem.shape(4), draws, histories)
        with torch.no_grad():
            for place, p in enumerate(self.network.parameters()):
                if p.requires_grad:
                    p.add_(0.4 * torch.sin(torch.arange(p.numel()) + place).view_as(p))
        self.model = ServedModel.of(self.problem, found, self.network, L2, known)

    def with_rows(self, field: int, vectors: torch.Tensor, biases: torch.Tensor | None) -> None:
        """Puts folded rows in: the embedding is what histories and neighbors do not give."""
        tables = self.network.tables
        with torch.no_grad():
            table = tables.embeddings[field]
            if table.shape[1]:
                before = self.network.interaction().vectors[field].table
                scale = 0.5 if self.design.graph else 1.0
                table += (vectors - before) / scale
            if biases is not None:
                tables.biases[field].copy_(biases)

    def gradients(self, field: int, batches: int = 1) -> list[torch.Tensor]:
        """Gradients of the training loss by a field's embeddings and biases."""
        tables = self.network.tables
        free = tables.embeddings[field].shape[1]
        leaves: list[nn.Parameter] = [tables.embeddings[field]] if free else []
        leaves += [tables.biases[field]] if tables.biases else []
        return list(torch.autograd.grad(self.loss(batches), leaves)) if leaves else []

    def loss(self, batches: int = 1) -> torch.Tensor:
        """Loss of the whole train part with its penalty, per pair; a mean over batches."""
        interaction = self.network.interaction()
        weighting = self.problem.weighting(self.design.weighting)
        settings = replace(self.problem.loss_settings, weighting=weighting)
        stream = self.problem.stream("train", None, "test")
        batch = stream.next()
        if batches > 1:
            drawn = [batch, *(stream.next() for _ in range(batches - 1))]
            ids, negatives = (
                torch.cat([getattr(b, n) for b in drawn]) for n in ("ids", "negatives")
            )
            batch = replace(batch, ids=ids, negatives=negatives)
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
    rows = trained.model.fold(field).vectors(trained.pairs(field))
    trained.with_rows(field, *rows)
    table = trained.network.interaction().vectors[field].table
    torch.testing.assert_close(table, rows.vectors, rtol=1e-4, atol=1e-5)
    for gradient, was in zip(trained.gradients(field), before, strict=True):
        assert was > 1e-3
        assert float(gradient.abs().max()) < 1e-5 * max(1, was)


def test_propagation_counts_for_a_half() -> None:
    found = genotype(embedding="graph")
    trained = Trained(found, "ranking")
    rows = trained.model.fold(0).vectors(trained.pairs(0))
    trained.with_rows(0, *rows)
    table = trained.network.interaction().vectors[0].table
    torch.testing.assert_close(table, rows.vectors, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoding", ["id", "both"])
@pytest.mark.parametrize("weighting", ["even", "both"])
@pytest.mark.parametrize("loss", ["bpr", "bce"])
def test_a_fold_is_where_the_pairwise_losses_are_least_over_all_that_training_draws(
    loss: str, weighting: str, encoding: str
) -> None:
    known = interactions(40, 0.15)
    found = genotype(encoding=(encoding, "id"), weighting=weighting)
    trained = Trained(found, "ranking", f"loss.name={loss}", "loss.negatives=3", known=known)
    before = trained.gradients(0, 1000)
    trained.with_rows(0, *trained.model.fold(0).vectors(trained.pairs(0)))
    for gradient, was in zip(trained.gradients(0, 1000), before, strict=True):
        assert float(gradient.norm()) < 0.02 * float(was.norm())


@pytest.mark.parametrize("encoding", ["id", "both"])
@pytest.mark.parametrize("weighting", ["even", "users"])
@pytest.mark.parametrize("loss", ["softmax", "bsl", "softmax-at-k", "cosine-contrastive"])
def test_a_fold_is_where_a_loss_over_the_catalog_is_least(
    loss: str, weighting: str, encoding: str
) -> None:
    found = genotype(encoding=(encoding, "id"), weighting=weighting)
    trained = Trained(found, "ranking", f"loss.name={loss}")
    before = trained.gradients(0)
    trained.with_rows(0, *trained.model.fold(0).vectors(trained.pairs(0)))
    for gradient, was in zip(trained.gradients(0), before, strict=True):
        # A margin is a kink, where no gradient vanishes.
        most = 0.3 if loss == "cosine-contrastive" else 1e-3
        assert float(gradient.norm()) < most * float(was.norm())


def test_a_folded_cosine_is_where_the_loss_is_least_and_has_length_one() -> None:
    found = genotype()
    found = replace(found, blocks={**found.blocks, "similarity": ((0, "cosine"),)})
    trained = Trained(found, "ranking", "loss.name=softmax")
    rows = trained.model.fold(0).vectors(trained.pairs(0))
    torch.testing.assert_close(rows.vectors.norm(dim=1), torch.ones(USERS))
    batch = trained.problem.stream("train", None, "test").next()
    table = trained.network.tables.embeddings[0]

    def gradient() -> torch.Tensor:
        loss = trained.problem.loss(
            trained.network.interaction(), batch, trained.problem.loss_settings
        )
        return torch.autograd.grad(loss, [table])[0]

    before = gradient()
    with torch.no_grad():
        table.copy_(rows.vectors)
    assert float(gradient().norm()) < 1e-3 * float(before.norm())


@pytest.mark.parametrize("loss", ["bpr", "bce"])
def test_negatives_of_a_row_are_its_own_and_never_its_pairs(
    loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = interactions(40, 0.15)
    trained = Trained(genotype(), "ranking", f"loss.name={loss}", known=known)
    fold, pairs = trained.model.fold(0), trained.pairs(0)
    paired = [torch.from_numpy(pairs[[u]].indices.astype(np.int64)) for u in range(USERS)]
    for own in paired:
        assert sorted([*fold._negatives(own).rows.tolist(), *own.tolist()]) == list(range(40))
    monkeypatch.setattr("sif.recommender.fold_in.NEGATIVES", 8)
    drawn = [fold._negatives(own).rows.tolist() for own in paired]
    assert drawn == [fold._negatives(own).rows.tolist() for own in paired]
    for rows, own in zip(drawn, paired, strict=True):
        assert len(set(rows)) == 8 and not set(rows) & set(own.tolist())
    assert len({tuple(sorted(rows)) for rows in drawn}) > USERS / 2
    everything = torch.arange(40)
    assert len(fold._negatives(everything).rows) == 40


CURVED = [("max", "ranking", "whole-data"), ("min", "rating", "squared"), ("max", "ranking", "bpr")]


@pytest.mark.parametrize(("operation", "objective", "loss"), CURVED)
def test_elsewhere_a_fold_descends_to_where_no_small_step_helps(
    operation: str, objective: str, loss: str
) -> None:
    trained = Trained(genotype(operation), objective, f"loss.name={loss}")
    fold, pairs = trained.model.fold(0), trained.pairs(0)
    rows = fold.vectors(pairs)
    assert torch.equal(rows.vectors, fold.vectors(pairs).vectors)
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
    fold: FoldIn, pairs: sparse.csr_array, vector: torch.Tensor, bias: torch.Tensor | None
) -> float:
    """The loss of one row with its penalty."""
    others = torch.from_numpy(pairs.indices.astype(np.int64))

    def score(at: torch.Tensor) -> torch.Tensor:
        scores = fold._scores(vector[None], at)
        return scores if bias is None else scores + bias

    negatives = fold._negatives(others) if fold.objective.loss == "bpr" else None
    data = fold._loss(score(others), score, others, torch.from_numpy(pairs.data), negatives)
    unknowns = vector if bias is None else torch.cat([vector, bias.view(1)])
    ridge = (fold._ridge(len(others)) * unknowns**2).sum()
    return float(fold.objective.weight(len(others)) * data + ridge)


def test_the_benchmark_ranks_what_problems_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    known = interactions()
    train = known.select(known.ids[:, 1] != 4)
    trained = Trained(genotype(), "ranking", known=train)
    place = Path(__file__).parents[2] / "benchmarks" / "fold_in.py"
    monkeypatch.syspath_prepend(place.parent)
    spec = importlib.util.spec_from_file_location("fold_in", place)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    engine = Engine(trained.model.network.interaction())
    users = np.arange(USERS)
    scores = engine.scores(engine.vectors(users))
    expected = trained.problem.scorer(trained.network).scores(users)
    assert np.isneginf(expected[:, 4]).all()
    np.testing.assert_allclose(script.trained_only(scores, trained.model), expected, rtol=1e-5)


def test_a_row_without_pairs_stays_at_zero() -> None:
    trained = Trained(genotype(encoding=("both", "id")), "rating")
    rows = trained.model.fold(0).vectors(sparse.csr_array((2, ITEMS)))
    assert not rows.vectors.any()
    assert rows.biases is not None and not rows.biases.any()


@pytest.mark.parametrize("loss", ["bpr", "whole-data"])
@pytest.mark.parametrize("field", [0, 1])
def test_folding_leaves_no_gradients_in_the_model(loss: str, field: int) -> None:
    found = genotype("max")
    trained = Trained(found, "ranking", f"loss.name={loss}")
    model = trained.model
    has = model.seen if field == 0 else model.seen.T.tocsr()
    model.fold(field).vectors(has[:3])
    assert any(parameter.requires_grad for parameter in model.network.parameters())
    assert all(parameter.grad is None for parameter in model.network.parameters())
