"""Cosines in place of products: their range, their serving, their stage, and that of losses."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sif.core.genotype import Genotype
from sif.errors import ConfigError, GenotypeError
from sif.problems.configuration import load_job_config
from sif.problems.controls import fixed_multiply
from sif.problems.interactions import InteractionProblem
from sif.recommender.model import ServedModel
from sif.spaces.interaction.design import COSINE, LOSS_BLOCK, SIMILARITY_BLOCK
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.registry import LOSSES, design_of, expression
from sif.testing.interactions import InteractionCase
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime
from tests.recommender.test_fold_in import genotype, interactions

FIELDS = ("user", "item")
EVERY = torch.tensor(list(itertools.product(range(7), range(6))))


def cosine(found: Genotype, **blocks: str) -> Genotype:
    named = {SIMILARITY_BLOCK: COSINE, **blocks}
    return Genotype(
        found.space, {**found.blocks, **{k: ((0, v),) for k, v in named.items()}}
    )  # fmt: skip


def network(found: Genotype) -> InteractionNetwork:
    case = InteractionCase("staged", "softmax")
    shape = case.shape()
    shape = type(shape)(shape.sizes, 3, init=0.7)
    draws = torch.Generator().manual_seed(0)
    return InteractionNetwork(design_of(found, FIELDS), shape, draws, case.histories()).double()


@pytest.mark.parametrize("encodings", list(itertools.product(["id", "history", "both"], repeat=2)))
@pytest.mark.parametrize("embedding", ["identity", "graph"])
def test_scores_are_cosines_and_served_as_they_are(
    encodings: tuple[str, str], embedding: str
) -> None:
    net = network(cosine(genotype(encoding=encodings, embedding=embedding)))
    user, item = (v.table for v in net.interaction().vectors)
    scores = net(EVERY).detach()
    assert scores.abs().max() <= 1 + 1e-12
    signs = net.readout.detach()
    by_hand = F.cosine_similarity(user[EVERY[:, 0]] * signs, item[EVERY[:, 1]])
    torch.testing.assert_close(scores, by_hand.detach())
    a, b = net.interaction().factors() or (user, item)
    torch.testing.assert_close((a @ b.T).reshape(-1).detach(), scores)
    served = net.precomputed()
    torch.testing.assert_close(served(EVERY).detach(), scores)
    assert not served.design.unit
    norms = torch.cat([t.norm(dim=1) for t in served.tables.embeddings]).detach()
    assert (((norms - 1).abs() < 1e-9) | (norms == 0)).all()


def test_a_pair_is_scored_without_its_own_part_before_lengths_are_one() -> None:
    net = network(cosine(genotype(encoding=("history", "id"))))
    interaction = net.interaction()
    pair = torch.tensor([[0, 1]])
    user, item = interaction.vectors
    rest = user.leave_one_out(pair[:, 0], pair[:, 1]) * net.readout
    expected = F.cosine_similarity(rest, item.table[pair[:, 1]])
    torch.testing.assert_close(interaction.pairs(pair, observed=True), expected)


def test_whole_data_draws_what_histories_of_cosines_have_no_form_for() -> None:
    assert not network(cosine(genotype(encoding=("history", "id")))).interaction().is_factorized
    assert network(cosine(genotype())).interaction().is_factorized


def test_genotypes_say_so() -> None:
    found = cosine(genotype(encoding=("history", "id")), loss="softmax")
    again = Genotype.from_json(found.to_json())
    assert again == found
    told = expression(again, FIELDS)
    assert told == "cosine multiply(history(user), item), fitted by softmax"
    design = design_of(again, FIELDS)
    assert design.unit and design.loss == "softmax"
    plain = design_of(genotype(), FIELDS)
    assert not plain.unit and plain.loss == ""


def test_learned_functions_of_unit_vectors_are_refused() -> None:
    found = cosine(genotype(embedding="elementwise"))
    with pytest.raises(GenotypeError, match="similarity cosine: expected no embedding elementw"):
        design_of(found, FIELDS)
    for sets in (["model.similarity=cosine"], []):
        stages = "embedding,operation" if sets else "embedding,similarity"
        with pytest.raises(ConfigError, match="expected no stage embedding with similarity cos"):
            problem(*sets, f"search.stages=[{stages}]").space()


def problem(*sets: str) -> InteractionProblem:
    known = interactions(20, 0.3)
    rows = np.arange(len(known))
    config = load_job_config(
        "cf",
        sets=[
            "objective=ranking", "train.dimension=4", "search.dimension=4", "threads=1",
            "train.epochs=3", "search.epochs=4", "search.batch_size=null", *sets,
        ],
    )  # fmt: skip
    return InteractionProblem(
        known.select(rows % 5 > 0), known.select(rows % 5 == 0), config, make_runtime("cpu", 0, 1)
    )  # fmt: skip


def test_a_job_of_cosines_serves_what_it_trained(tmp_path: Path) -> None:
    found = problem("model.similarity=cosine", "loss.name=softmax")
    design = fixed_multiply(found)
    assert expression(design, FIELDS) == "cosine multiply(user, item)"
    trained = found.train(design, NullTracker(), NoCheckpoint(), l2=0.0)
    users = np.arange(12)
    expected = found.scorer(trained.network).scores(users)
    model = ServedModel.of(found, design, trained.network, 0.0, found.train_part)
    model.save(tmp_path)
    again = ServedModel.load(tmp_path)
    np.testing.assert_allclose(again.scorer.scores(users), expected, rtol=1e-5, atol=1e-6)
    finite = expected[np.isfinite(expected)]
    assert np.abs(finite).max() <= 1 + 1e-6
    assert again.folds[0][0].unit and again.folds[0][1].loss == "softmax"


@pytest.mark.parametrize("method", ["nasp", "tpe"])
def test_similarity_and_loss_are_searched(method: str) -> None:
    found = problem("search.stages=[encoding,similarity,loss]", f"method={method}")
    space = found.space()
    assert [b.name for b in space.blocks] == ["encoding", "similarity", "loss"]
    assert space.blocks[1].operations == ("product", "cosine")
    assert space.blocks[2].operations[0] == "whole-data"
    assert set(space.blocks[2].operations) < set(LOSSES)
    result = found.search(NullTracker(), NoCheckpoint())
    design_of(result.genotype, FIELDS)
    trained = found.train(result.genotype, NullTracker(), NoCheckpoint(), l2=1.0)
    assert np.isfinite(trained.result.valid["ndcg@10"])


@pytest.mark.parametrize("loss", ["softmax", "bsl", "softmax-at-k", "cosine-contrastive", "bpr"])
@pytest.mark.parametrize("similarity", ["product", "cosine"])
def test_every_loss_of_the_stage_trains_every_operation(loss: str, similarity: str) -> None:
    found = problem()
    for operation in ("multiply", "max", "plus", "multiply+min"):
        design = genotype(operation, encoding=("history", "id"))
        blocks = {**design.blocks, SIMILARITY_BLOCK: ((0, similarity),), LOSS_BLOCK: ((0, loss),)}
        trained = found.train(
            Genotype("staged", blocks), NullTracker(), NoCheckpoint(), l2=1.0, epochs=1
        )
        assert np.isfinite(trained.result.valid["ndcg@10"])


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["losses.softmax.temperature=0"], "temperature: expected a number greater than or equal"),
        (["losses.cosine-contrastive.margin=2"], "margin: expected a number less than or equal"),
        (["losses.softmax.heat=1"], "heat"),
        (["objective=rating", "model.similarity=cosine"], "contradicts objective 'rating'"),
        (["objective=rating", "search.stages=[operation,loss]"], "contradicts objective 'rating'"),
        (["space=sif", "model.similarity=cosine"], "needs space 'staged'"),
        (["loss.sampling=often"], "loss.sampling: expected 'uniform', 'popularity' or 'in-batch'"),
    ],
)
def test_what_is_not_possible_is_one_line(sets: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        load_job_config("cf", sets=sets)
    assert "\n" not in str(error.value)


def test_strengths_come_in_the_unit_of_the_loss() -> None:
    found, unit = problem(), LOSSES["softmax"].l2
    for one, other in zip(found.strengths(2.0, "softmax"), found.strengths(2.0), strict=True):
        torch.testing.assert_close(one, unit * other)
