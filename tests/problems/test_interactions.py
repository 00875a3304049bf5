from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sif.config import CFConfig
from sif.core.genotype import Genotype
from sif.data.interactions import Interactions, Vocabulary, concatenate
from sif.data.interactions.planted import planted
from sif.errors import ConfigError, DataError
from sif.evaluation.scorers import InteractionScorer
from sif.problems.base import Session, Trained
from sif.problems.interactions import InteractionProblem
from sif.problems.l2_grid import Continued
from sif.problems.pilots import training_cost
from sif.recommender.model import ServedModel
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.registry import LOSSES
from sif.tracking import NullTracker
from sif.training.loop import _Training
from sif.utils import checkpoint
from sif.utils.device import Runtime, peak_memory_mb

RUNTIME = Runtime(torch.device("cpu"), torch.float32, 1, 0)
SEARCH = {
    "epochs": 6, "batch_size": None, "dimension": 3, "lr": 0.05, "l2": 2.0,
    "tables": "own", "arch_every": 1, "transform_lr": 0.003,
}  # fmt: skip
NASP = {"warmup": 0.34, "score": "replacement_loss", "arch_optimizer": "plain", "arch_lr": 0.3,
        "explore": 0.3, "alpha_constraint": "shift", "complexity_penalty": 0.0}  # fmt: skip
TRAIN = {
    "epochs": 30, "patience": 5, "evaluate_every": 2, "batch_size": None, "dimension": 4,
    "lr": 0.05, "l2": (2.0,),
}  # fmt: skip
PRODUCT = Genotype(
    "primitives", {"operation": ((0, "multiply"),), "user": ((0, "~abs"),), "item": ((0, "~abs"),)}
)


class Nothing:
    """Keeps no checkpoint."""

    def restore(self) -> None:
        return None

    def offer(self, state: object) -> None:
        return None


def config(objective: str = "rating", **changes: Any) -> CFConfig:
    values: dict[str, Any] = {
        "objective": objective,
        "space": "primitives",
        "loss": {"positive_weight": 2.0, "negatives": 2, "l2_scaling": "sqrt"},
        "model": {"biases": None, "init": 0.3, "readout_signs": "mixed"},
        "search": SEARCH,
        "methods": {"nasp": NASP},
        "train": TRAIN,
    }
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    return CFConfig(**values)


def parts(kind: str = "ratings", seed: int = 0) -> tuple[Interactions, Interactions]:
    interactions, _ = planted(
        30,
        20,
        dimension=2,
        density=0.4,
        noise=0.1,
        seed=seed,
        kind=kind,  # type: ignore[arg-type]
    )
    order = np.random.default_rng(1).permutation(len(interactions))
    cut = len(order) * 3 // 4
    return interactions.select(order[:cut]), interactions.select(order[cut:])


def problem(objective: str = "rating", **changes: Any) -> InteractionProblem:
    train, valid = parts("ratings" if objective == "rating" else "clicks")
    return InteractionProblem(train, valid, config(objective, **changes), RUNTIME)


def test_ratings_are_standardized_by_the_train_part_alone() -> None:
    train, valid = parts()
    found = InteractionProblem(train, valid, config(), RUNTIME)
    assert train.rating is not None
    assert valid.rating is not None
    assert found.scale.mean == pytest.approx(float(train.rating.mean()), rel=1e-5)
    assert found.scale.deviation == pytest.approx(float(train.rating.std()), rel=1e-5)
    target = found.stream("train", None, "x").next().target
    assert float(target.mean()) == pytest.approx(0, abs=1e-5)
    assert float(target.std(unbiased=False)) == pytest.approx(1, rel=1e-5)
    shifted = replace(valid, rating=valid.rating * 3 + 7)
    other = InteractionProblem(train, shifted, config(), RUNTIME)
    assert other.scale == found.scale
    assert torch.equal(other.stream("train", None, "x").next().target, target)
    scaled = other.stream("valid", None, "x").next().target
    expected = (shifted.rating - found.scale.mean) / found.scale.deviation
    np.testing.assert_allclose(scaled.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_clicks_have_ones_for_targets_and_no_scale() -> None:
    found = problem("ranking")
    assert (found.scale.mean, found.scale.deviation) == (0.0, 1.0)
    assert found.stream("train", None, "x").next().target.unique().tolist() == [1.0]


def test_a_search_has_a_peak_of_memory_of_its_own() -> None:
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system does not let a process begin its peak anew")
    found, mb = problem(), 300
    np.ones(mb * 2**17)  # and given back at once
    before = peak_memory_mb(RUNTIME)
    found.search(NullTracker(), Nothing())
    assert 0 < peak_memory_mb(RUNTIME) < before - mb / 2


def test_the_state_is_taken_once_where_another_stretch_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken, state = [], _Training.state

    def counted(run: _Training) -> dict[str, Any]:
        taken.append(run.epoch)
        return state(run)

    monkeypatch.setattr(_Training, "state", counted)
    found = problem(train={"epochs": 12, "l2": (1.0, 2.0, 4.0), "extend_grid": 0, "patience": 12})
    found.fit("it", PRODUCT, Session())
    assert taken == [round(12 * found.config.train.halving_fraction)] * 3


def test_what_another_stretch_goes_on_from_is_the_last_offer(tmp_path: Path) -> None:
    offered: list[dict[str, Any]] = []
    keeps = SimpleNamespace(
        restore=lambda: None, offer=lambda state: offered.append(copy.deepcopy(state()))
    )
    loop = Continued(keeps, None)
    problem().train(PRODUCT, NullTracker(), loop, l2=2.0, epochs=9, on_end=loop.end)
    assert loop.last is not None and loop.last["progress"] == [9, *offered[-1]["progress"][1:]]
    files = [tmp_path / name for name in ("last", "offered")]
    for file, content in zip(files, (loop.last, offered[-1]), strict=True):
        checkpoint.save(file, content, "stage")
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(offered) > 2


@pytest.mark.parametrize("objective", ["rating", "ranking"])
@pytest.mark.parametrize("space", ["primitives", "staged"])
def test_another_strength_is_searched_with_on_the_same_tensors(
    objective: str, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = problem(objective, space=space)
    assert found.searched is found and found.histories is not None
    fresh = problem(objective, space=space, search={"l2": 7.0})
    expected = fresh.search(NullTracker(), Nothing())
    monkeypatch.setattr(InteractionProblem, "__init__", None)  # nothing is built again
    other = found.at(l2=7.0)
    assert found.config.search.l2 == 2.0 and other.config == fresh.config
    for name in ("_train", "_valid", "_judged", "row_counts", "histories", "scale"):
        assert getattr(other, name) is getattr(found, name)
    assert other.searched is other
    result = other.search(NullTracker(), Nothing())
    assert (result.genotype, result.valid_loss) == (expected.genotype, expected.valid_loss)
    assert found.at(l2=2.0) is found


def test_what_cannot_be_learned_from_is_refused() -> None:
    train, valid = parts()
    with pytest.raises(ConfigError, match=r"space: expected one of .*found 'cnn'"):
        InteractionProblem(train, valid, config(space="cnn"), RUNTIME)
    clicks, held = parts("clicks")
    with pytest.raises(DataError, match="expected a rating column, found none"):
        InteractionProblem(clicks, held, config(), RUNTIME)
    flat = replace(train, rating=np.full(len(train), 3.0, dtype=np.float32))
    with pytest.raises(DataError, match="two different values"):
        InteractionProblem(flat, valid, config(), RUNTIME)


@pytest.mark.parametrize(("scaling", "power"), [("plain", 0.0), ("sqrt", 0.5), ("linear", 1.0)])
def test_l2_strengths_grow_with_the_number_of_interactions(scaling: str, power: float) -> None:
    found = problem(loss={"l2_scaling": scaling})
    train = found.train_part
    for field, strengths in enumerate(found.strengths(3.0)):
        counts = np.bincount(train.ids[:, field], minlength=train.sizes[field])
        expected = 3.0 * np.maximum(counts, 1.0) ** power / len(train)
        np.testing.assert_allclose(strengths.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("objective", "biases", "shape"),
    [
        ("rating", None, {"biases": True, "intercept": True}),
        ("ranking", None, {"biases": False, "intercept": False}),
        ("rating", False, {"biases": False, "intercept": True}),
        ("ranking", True, {"biases": True, "intercept": False}),
    ],
)
def test_tables_by_objective(objective: str, biases: bool | None, shape: dict[str, bool]) -> None:
    found = problem(objective, model={"biases": biases}).shape(5)
    assert isinstance(found, TableShape)
    assert (found.sizes, found.dimension, found.init) == ((30, 20), 5, 0.3)
    assert {"biases": found.biases, "intercept": found.intercept} == shape


@pytest.mark.parametrize("loss", ["whole-data", "bpr", "bce"])
@pytest.mark.parametrize("part", ["train", "valid"])
def test_streams_draw_what_the_loss_needs(loss: str, part: str) -> None:
    found = problem("ranking", loss={"name": loss, "negatives": 3})
    batch = found.stream(part, 8, "x").next()
    whole = loss == "whole-data"
    assert batch.negatives.shape == (8, 0 if whole else 3)
    assert len(batch.background) == (24 if whole else 0)
    assert (batch.graph is not None) == (whole and part == "train")
    assert batch.observed_in_background == (part == "train")


def test_validation_background_holds_no_observed_pair() -> None:
    found = problem("ranking")
    seen = {tuple(r) for p in (found.train_part, found.valid_part) for r in p.ids.tolist()}
    stream = found.stream("valid", None, "x")
    total, pairs = 0.0, 0
    for _ in range(40):
        batch = stream.next()
        heavy = batch.background[batch.background_weight > 0]
        assert not seen & {tuple(r) for r in heavy.tolist()}
        total += float(batch.background_weight.sum()) / 40
        pairs += len(heavy)
    # Every unobserved pair once, per observed train pair: the weight that training gives it.
    assert total == pytest.approx((600 - len(seen)) / len(found.train_part), rel=0.1)
    assert pairs > 100


def test_streams_are_named() -> None:
    def first(*names: str) -> torch.Tensor:
        return problem().stream("train", 8, *names).next().ids

    assert torch.equal(first("search"), first("search"))
    assert not torch.equal(first("search"), first("train"))


def test_a_search_repeats_itself_and_finds_a_legal_function() -> None:
    results = []
    for _ in range(2):
        seen: list[int] = []
        found = problem().search(
            NullTracker(), Nothing(), lambda epoch, entry, seen=seen: seen.append(epoch)
        )
        assert seen == [1, 2, 3, 4, 5, 6]
        assert found.diagnostics["arch_steps"] == 5  # alpha waits for half of the warm-up
        results.append(found)
    assert results[0].genotype == results[1].genotype
    assert results[0].valid_loss == results[1].valid_loss
    keys = ("loss", "valid_loss", "alpha", "scores", "selection")
    for one, two in zip(results[0].history, results[1].history, strict=True):
        assert all(one[key] == two[key] for key in keys)
    for name, choices in results[0].genotype.blocks.items():
        assert name in ("operation", "user", "item")
        assert len(choices) == 1


@pytest.mark.parametrize(
    ("objective", "loss"),
    [("rating", "squared"), *(("ranking", n) for n in LOSSES if n != "squared")],
)
@pytest.mark.parametrize("batch_size", [None, 50])
def test_every_loss_can_be_searched_and_trained(
    objective: str, loss: str, batch_size: int | None
) -> None:
    assert loss in LOSSES
    found = problem(
        objective, loss={"name": loss}, search={"epochs": 3, "batch_size": batch_size},
        train={"epochs": 4, "batch_size": batch_size},
    )  # fmt: skip
    result = found.search(NullTracker(), Nothing())
    assert np.isfinite(result.valid_loss)
    fitted = found.train(result.genotype, NullTracker(), Nothing(), l2=1.0)
    assert np.isfinite(fitted.result.valid[found.metric])


def test_training_beats_the_mean_and_reports_its_own_error() -> None:
    found = problem(train={"epochs": 200, "l2": (1.0,)})
    fitted = found.train(PRODUCT, NullTracker(), Nothing(), l2=1.0)
    valid = found.valid_part
    assert valid.rating is not None
    assert found.train_part.rating is not None
    low, high = found.train_part.rating.min(), found.train_part.rating.max()
    predicted = np.clip(found.scorer(fitted.network).predict(valid.ids), low, high)
    rmse = float(np.sqrt(np.mean((predicted.astype(float) - valid.rating) ** 2)))
    assert fitted.result.valid["rmse"] == pytest.approx(rmse, rel=1e-5)
    assert found.validate(fitted.network)["rmse"] == pytest.approx(rmse, rel=1e-5)
    assert rmse < 0.8 * float(valid.rating.std())
    assert fitted.numbers == {"l2": 1.0}


def test_more_l2_gives_smaller_embeddings() -> None:
    found = problem(train={"epochs": 60, "patience": 60})
    norms = []
    for l2 in (0.1, 10.0):
        tables = found.train(PRODUCT, NullTracker(), Nothing(), l2=l2).network.tables
        norms.append(sum(float((e.detach() ** 2).sum()) for e in tables.embeddings))
    assert norms[1] < 0.5 * norms[0]


def test_ranking_training_learns_who_clicks_what() -> None:
    found = problem("ranking", train={"epochs": 60, "evaluate_every": 60})
    fitted = found.train(PRODUCT, NullTracker(), Nothing(), l2=0.5)
    train = found.train_part
    scores = found.scorer(fitted.network).scores(np.arange(30))
    seen = np.zeros((30, 20), dtype=bool)
    seen[train.ids[:, 0], train.ids[:, 1]] = True
    assert scores[seen].mean() > scores[~seen].mean() + 0.2
    assert 0 < fitted.result.valid["ndcg@10"] <= 1


def test_a_row_that_training_never_saw_is_no_trouble() -> None:
    train, valid = parts()
    vocabulary = Vocabulary([*train.vocabularies[1].ids.tolist(), "i9999"])
    train, valid = (
        replace(part, vocabularies=(part.vocabularies[0], vocabulary)) for part in (train, valid)
    )
    found = InteractionProblem(train, valid, config(train={"epochs": 10}), RUNTIME)
    fitted = found.train(PRODUCT, NullTracker(), Nothing(), l2=1.0)
    unseen = np.stack([np.arange(30), np.full(30, 20)], axis=1)
    assert np.isfinite(found.scorer(fitted.network).predict(unseen)).all()


# The space staged


def staged(embedding: str, operation: str, *encodings: str) -> Genotype:
    return Genotype(
        "staged",
        {
            "encoding": tuple(enumerate(encodings)),
            "embedding": ((0, embedding),),
            "operation": ((0, operation),),
            "weighting": ((0, "users"),),
        },
    )


def with_cold_rows(kind: str) -> tuple[Interactions, Interactions]:
    """The parts with an item and a user that the train part lacks."""
    train, valid = parts(kind)
    more = tuple(Vocabulary([*v.ids.tolist(), "z9999"]) for v in train.vocabularies)
    train, valid = (replace(part, vocabularies=more) for part in (train, valid))
    return train, valid


@pytest.mark.parametrize("objective", ["ranking", "rating"])
@pytest.mark.parametrize(
    "genotype",
    [
        staged("identity", "multiply", "history", "id"),
        staged("graph", "multiply+max", "both", "history"),
        staged("identity", "multiply+plus", "both", "both"),
    ],
    ids=["history", "graph", "both"],
)
def test_a_saved_rich_model_scores_alike_and_cold_rows_are_zero(
    genotype: Genotype, objective: str, tmp_path: Path
) -> None:
    train, valid = with_cold_rows("ratings" if objective == "rating" else "clicks")
    settings = config(objective, space="staged", train={"epochs": 6})
    found = InteractionProblem(train, valid, settings, RUNTIME)
    fitted = found.train(genotype, NullTracker(), Nothing(), l2=1.0)
    scorer = found.scorer(fitted.network)
    tables = scorer.interaction.tables
    for table in (*tables.embeddings, *tables.biases):
        assert not table[-1].any()
        assert table[0].any()
    again = found.scorer(Trained.restored(found.network(genotype), fitted.state()).network)
    users, ids = np.arange(31), train.ids[:9]
    np.testing.assert_array_equal(again.scores(users), scorer.scores(users))
    model = ServedModel.of(found, genotype, fitted.network, 1.0, train)
    loaded = ServedModel.load(model.save(tmp_path).parent)
    # In ratings what is served is under no rule: a cold row is zero.
    rule = scorer.cold_start if objective == "ranking" else None
    ruled = InteractionScorer(scorer.interaction, found.scale, rule)
    np.testing.assert_array_equal(loaded.scorer.scores(users), ruled.scores(users))
    np.testing.assert_array_equal(loaded.scorer.predict(ids), scorer.predict(ids))
    assert loaded.genotype == genotype
    # The served scores are those of the encoded network.
    with torch.no_grad():
        scores = fitted.network(torch.as_tensor(ids)).numpy()
    expected = found.scale.mean + found.scale.deviation * scores
    np.testing.assert_allclose(scorer.predict(ids), expected, rtol=1e-4, atol=1e-5)


def test_large_parts_are_searched_with_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    every = ("encoding", "embedding", "operation", "weighting")
    assert problem("ranking", space="staged").stages == every
    monkeypatch.setattr("sif.problems.batch_source.MAX_EXACT", 100)
    large = problem("ranking", space="staged")
    assert large.stages == every
    assert [block.name for block in large.space().blocks] == list(every)


@pytest.mark.parametrize(
    "design", [staged("identity", "max", "id", "id"), staged("identity", "max", "id", "history")]
)
def test_large_parts_are_measured_on_few_users(
    design: Genotype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a step is a block of users, and where it is all of them."""
    whole = problem("ranking", space="staged")
    assert whole.sampled().problem is whole
    monkeypatch.setattr("sif.problems.batch_source.MAX_EXACT", 100)
    monkeypatch.setattr("sif.spaces.interaction.user_blocks.MIN_PAIRS_PER_ITEM", 1)
    rows = len(whole.train_part)
    monkeypatch.setattr("sif.problems.interactions.PILOT_ROWS", rows // 5)
    whole = problem("ranking", space="staged")
    sample = whole.sampled()
    assert whole.at_pace(threads=3).sampled().problem.runtime.threads == 3
    few = len(sample.problem.train_part)
    assert rows // 8 < few <= rows // 5
    assert sample.training == rows / few
    users = [len(np.unique(one.valid_part.ids[:, 0])) for one in (whole, sample.problem)]
    assert sample.validation == users[0] / users[1] > 1
    (*_, all_pairs, _), (*_, few_pairs, _) = (
        one._training(design, 1.0) for one in (whole, sample.problem)
    )
    sizes = [len(stream.next().ids) for stream in (all_pairs, few_pairs)]
    steps = [stream.steps_per_pass for stream in (all_pairs, few_pairs)]
    cost = training_cost(whole, design)
    if steps[0] == 1:
        assert sizes == [rows, few] and steps[1] == 1
        assert cost.steps == round(rows / few)
    else:
        assert abs(sizes[0] - sizes[1]) < 0.5 * sizes[0]
        assert abs(cost.steps - steps[0]) <= 0.4 * steps[0]  # whole blocks


def test_stages_refuse_further_fields() -> None:
    found = problem("rating", space="sif")
    ids = np.concatenate([found.train_part.ids, found.train_part.ids[:, :1]], axis=1)
    fields = (*found.train_part.fields, "hour")
    vocabularies = (*found.train_part.vocabularies, found.train_part.vocabularies[0])
    part = replace(found.train_part, ids=ids, fields=fields, vocabularies=vocabularies)
    config = found.config.model_copy(update={"space": "staged"})
    with pytest.raises(ConfigError, match=r"space staged: expected the fields user and item.*hour"):
        InteractionProblem(part, part, config, found.runtime)


def in_time(cut: bool) -> tuple[Interactions, Interactions]:
    """Two parts, the second of each user's latest rows or of random ones."""
    train, valid = parts("clicks")
    both = concatenate([train, valid])
    both = replace(both, timestamp=np.random.default_rng(3).permutation(len(both)) * 60)
    last = both.timestamp >= np.quantile(both.timestamp, 0.75)
    is_valid = last if cut else np.random.default_rng(4).random(len(both)) < 0.25
    return both.select(~is_valid), both.select(is_valid)


def test_recency_is_searched_where_validation_is_later_than_training() -> None:
    settings = config("ranking", space="staged", search={"stages": ("weighting",)})
    even = ("even", "users", "items", "both")
    bare = (replace(part, timestamp=None) for part in in_time(cut=True))
    for sets, names in (
        (in_time(cut=True), (*even, "recency")),
        (in_time(cut=False), even),
        (tuple(bare), even),
    ):
        found = InteractionProblem(*sets, settings, RUNTIME)
        (block,) = found.space().blocks
        assert block.operations == names
    with pytest.raises(DataError, match="weighting recency: expected timestamps"):
        found.weighting("recency")


def test_recency_weighs_new_pairs_in_training_and_serves(tmp_path: Path) -> None:
    train, valid = in_time(cut=True)
    found = InteractionProblem(train, valid, config("ranking", space="staged"), RUNTIME)
    genotypes = [
        Genotype("staged", {**staged("identity", "multiply", "history", "id").blocks,
                            "weighting": ((0, name),)})
        for name in ("even", "recency")
    ]  # fmt: skip
    assert found.expression(genotypes[1]) == "multiply(history(user), item), weighted by recency"
    trained = [found.train(one, NullTracker(), Nothing(), l2=0.1).network for one in genotypes]
    age = train.age
    losses = []
    for network in trained:
        with torch.no_grad():
            scores = network(torch.as_tensor(train.ids)).numpy()
        losses.append([((scores[half] - 1) ** 2).mean() for half in (age < 0.2, age > 0.8)])
    (even_new, even_old), (new, old) = losses
    assert new / old < even_new / even_old
    again = found.again(train)  # without a validation part
    assert again.weighting("recency") is not None
    model = ServedModel.of(found, genotypes[1], trained[1], 0.1, train)
    loaded = ServedModel.load(model.save(tmp_path).parent)
    users = np.arange(30)
    np.testing.assert_array_equal(
        loaded.scorer.scores(users), found.scorer(trained[1]).scores(users)
    )
