"""Functions of pairs with features: found where they decide, left out, resumed, served."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sif import Recommender
from sif.core.genotype import Genotype
from sif.data.features import Features, read_features
from sif.data.interactions import Interactions, read_frame
from sif.data.interactions.split import held_out
from sif.errors import ConfigError, DivergedError
from sif.problems.base import Reporter, Session, StageStore
from sif.problems.configuration import load_job_config
from sif.problems.controls import fixed_multiply
from sif.problems.interactions import InteractionProblem
from sif.problems.pair_features import features_of
from sif.problems.pilots import TrainingCost
from sif.problems.plan import Costs
from sif.problems.refit import Refit
from sif.recommender.model import ServedModel
from sif.spaces.interaction.design import has_features
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

ROOT = Path(__file__).parents[2]
Frames = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def planted() -> Frames:
    """Rows, kinds that decide what is taken, and kinds of other items."""
    place = ROOT / "benchmarks" / "planted_features.py"
    spec = importlib.util.spec_from_file_location("planted_features", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    frames: Frames = module.planted(1, 600, 800, 20)
    return frames


def problem(
    rows: pd.DataFrame, kinds: pd.DataFrame | None = None, *sets: str, users: Any = None
) -> InteractionProblem:
    known = read_frame(rows)
    if kinds is not None:
        known = replace(known, item_features=read_features(kinds, "item"))
    if users is not None:
        known = replace(known, user_features=users)
    config = load_job_config(
        "cf",
        sets=[
            "objective=ranking", "train.dimension=12", "search.dimension=8", "threads=1",
            "train.epochs=25", "train.l2=[1.5,3.5]", *sets,
        ],
    )  # fmt: skip
    is_valid = held_out(known, 0)
    parts = known.select(~is_valid), known.select(is_valid)
    return InteractionProblem(*parts, config, make_runtime("cpu", 0, 1))


def described(found: InteractionProblem) -> Genotype:
    plain = fixed_multiply(found)
    return replace(plain, blocks={**plain.blocks, "features": ((0, "added"),)})


class Lines(Reporter):
    def __init__(self) -> None:
        self.told: list[str] = []

    def line(self, text: str) -> None:
        self.told.append(text)


class Named(StageStore):
    def __init__(self) -> None:
        self.names: list[str] = []

    def run(self, name: str, work: Callable[[Any], Any], shared: bool = False) -> Any:
        self.names.append(name)
        return work(NoCheckpoint())


def test_features_that_decide_stay(planted: Frames) -> None:
    found, lines, stages = problem(planted[0], planted[1]), Lines(), Named()
    genotype = described(found)
    trained = found.fit("searched", genotype, Session(stages, lines))
    assert trained.network.design.features
    assert found.trained_design(genotype, trained) == genotype
    trial = trained.features
    assert trial["kept"] and trial["with"] == pytest.approx(trained.result.valid["ndcg@10"])
    told = next(line for line in lines.told if "features clearly ahead: ndcg@10 +" in line)
    assert told.endswith("in the mean over 600 validation users")
    named = [name for name in stages.names if name.startswith("searched-features-")]
    assert len(named) == 3 and stages.names[-1] == named[-1]  # two begun, one of them ended
    plain = found.fit("plain", fixed_multiply(found), Session())
    assert trained.result.valid["ndcg@10"] > 1.15 * plain.result.valid["ndcg@10"]
    assert len(trained.tried) == len(plain.tried) + 2


def test_useless_features_leave_the_model_as_it_was(planted: Frames) -> None:
    rows, _, useless = planted
    found, lines = problem(rows, useless), Lines()
    genotype = described(found)
    trained = found.fit("searched", genotype, Session(console=lines))
    assert found.trained_design(genotype, trained) == fixed_multiply(found)
    assert trained.features["tried"] and not trained.features["kept"]
    assert trained.features["without"] == pytest.approx(trained.result.valid["ndcg@10"])
    assert any("features not clearly ahead, left out" in line for line in lines.told)
    without = problem(rows).fit("searched", fixed_multiply(found), Session())
    assert trained.result.valid == without.result.valid
    for name, value in without.network.state_dict().items():
        assert torch.equal(trained.network.state_dict()[name], value)


def test_features_that_diverge_are_left_out(
    planted: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, lines, train = problem(planted[0], planted[1]), Lines(), InteractionProblem.train

    def diverging(self: Any, design: Genotype, *args: Any, **named: Any) -> Any:
        if has_features(design):
            raise DivergedError("epoch 3: the loss is not finite")
        return train(self, design, *args, **named)

    monkeypatch.setattr(InteractionProblem, "train", diverging)
    trained = found.fit("searched", described(found), Session(console=lines))
    assert not trained.network.design.features
    assert "searched: without features, with which it diverged" in lines.told[-1]
    assert trained.features["reason"] == "the training with them diverged"


def test_the_search_finds_features(planted: Frames) -> None:
    sets = ("search.stages=[operation,features]", "search.epochs=125", "search.l2=2")
    found = problem(planted[0], planted[1], *sets, "search.batch_size=4096")
    assert found.stages == ("operation", "features")
    result = found.search(NullTracker(), NoCheckpoint())
    assert has_features(result.genotype)


def test_without_a_table_the_stage_is_none(planted: Frames) -> None:
    rows, kinds, _ = planted
    found = problem(rows)
    assert "features" in found.config.search.stages
    assert "features" not in found.stages and found.described == ()
    assert "features" in problem(rows, kinds).stages
    assert "features" not in problem(rows, kinds, "search.stages=[operation]").stages
    with pytest.raises(ConfigError, match=r"expected data.item_features or .* found neither"):
        found.train(described(found), NullTracker(), NoCheckpoint())


def test_the_l2_of_a_feature_grows_with_the_rows_that_have_it(planted: Frames) -> None:
    rows, kinds, _ = planted
    found = problem(rows, kinds)
    *_, of_users, of_items = found.strengths(3.0)
    assert len(of_users) == 0
    train, table = found.train_part, found.train_part.item_features
    assert table is not None
    has = np.asarray(table.aligned(train.vocabularies[1]).toarray())[train.ids[:, 1]]
    expected = 3.0 * np.sqrt(np.maximum(has.sum(0), 1)) / len(train)
    np.testing.assert_allclose(of_items.numpy(), expected, rtol=1e-5)


def test_the_plan_counts_the_further_training() -> None:
    cost = TrainingCost(0.1, 10, 0.0, 0.0)
    config = load_job_config("cf", sets=["objective=ranking"])
    costs = Costs({}, {"searched": cost, "other": cost}, {}, 0.0, config.train.epochs)
    once = costs.seconds(config)
    twice = replace(costs, twice=("searched", "random-function")).seconds(config)
    assert twice["train other"] == once["train other"]
    assert once["train searched"] < twice["train searched"] < 2 * once["train searched"]


@dataclass
class OneState:
    """Keeps the state after some offers, or gives one."""

    after: int
    kept: Mapping[str, Any] | None = None

    def restore(self) -> Any:
        return None if self.after else self.kept

    def offer(self, state: Callable[[], Any]) -> None:
        self.after -= 1
        if self.after == 0:
            self.kept = {key: _copied(value) for key, value in state().items()}


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, list | tuple) else value


def of_users(rows: pd.DataFrame) -> Features:
    """Three kinds of users."""
    ids = rows["user"].unique()
    kinds = pd.DataFrame({"kind": [f"k{place % 3}" for place in range(len(ids))]})
    return Features.of(kinds, ids)


@pytest.mark.parametrize("block_pairs", ["null", "700"])
def test_a_resumed_training_is_the_uninterrupted_one(planted: Frames, block_pairs: str) -> None:
    rows, kinds, _ = planted
    users = of_users(rows)

    def run(keeper: Any) -> Any:
        found = problem(
            rows, kinds, f"train.block_pairs={block_pairs}", "train.patience=25", users=users
        )
        return found.train(described(found), NullTracker(), keeper, l2=1.5, epochs=8)

    keeper = OneState(3)
    whole = run(keeper)
    assert keeper.kept is not None
    again = run(OneState(0, keeper.kept))
    ours, theirs = whole.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert all(float(ours[f"tables.features.{f}"].abs().max()) > 0 for f in (0, 1))


def test_a_second_fit_and_a_file_have_features(planted: Frames, tmp_path: Path) -> None:
    rows, kinds, _ = planted
    found = problem(rows, kinds)
    genotype = described(found)
    first = found.train(genotype, NullTracker(), NoCheckpoint(), l2=3.5)
    all_rows = replace(read_frame(rows), item_features=found.train_part.item_features)
    refit = Refit.of(found, all_rows)
    again = refit.network("all", genotype, first, Session())
    assert float(again.network.tables.features[1].abs().max()) > 0
    for owner, network in ((found, first.network), (refit.problem, again.network)):
        model = ServedModel.of(owner, genotype, network, 3.5, owner.train_part)
        model.save(tmp_path)
        loaded, users = ServedModel.load(tmp_path), np.arange(20)
        expected = owner.scorer(network).scores(users)
        np.testing.assert_allclose(loaded.scorer.scores(users), expected, rtol=1e-4, atol=1e-5)
        assert loaded.expression == "multiply(user, item), features added"
        assert "tables.features.1" not in loaded.network.state_dict()


@pytest.fixture(scope="module")
def fitted(planted: Frames) -> Recommender:
    rows, kinds, _ = planted
    return recommender().fit(rows, item_features=kinds)


def recommender(**settings: Any) -> Recommender:
    few = {
        "train.epochs": 15, "search.epochs": 8, "train.l2": [3.5],
        "search.stages": ["operation", "features"],
        "search.choices": {"operation": ["multiply"], "features": ["added"]}, **settings,
    }  # fmt: skip
    return Recommender(dimension=12, threads=1, baselines=[], settings=few)


def test_a_recommender_with_features_answers_and_grows(fitted: Recommender) -> None:
    assert has_features(fitted.fitted_model().genotype)
    found = fitted.report().features
    assert found["served"] == {"name": "searched", "uses": True}
    assert found["kinds"]["function of pairs"]["kept"] and found["text"] in repr(fitted.report())
    assert len(fitted.recommend("u1", n=5)) == 5
    liked = fitted.recommend("u1", n=3)["item"].tolist()
    assert len(fitted.recommend_new(liked, n=5)) == 5
    kinds = pd.DataFrame({"item": ["new1"], "kind": ["k3"]})
    fitted.add_items(kinds)
    assert "new1" in fitted.fitted_model().vocabularies[1].ids


def test_warm_starts_begin_from_the_served_vectors(planted: Frames) -> None:
    rows, kinds, _ = planted
    some = rows.iloc[: len(rows) * 3 // 4]
    early = recommender().fit(some, item_features=kinds)
    warm = recommender().fit(rows, item_features=kinds, warm_start=early)
    assert has_features(warm.fitted_model().genotype)
    assert "trained from its vectors" in warm.report().search


def test_a_warm_start_without_the_table_is_one_line(planted: Frames, fitted: Recommender) -> None:
    more = pd.concat([planted[0], pd.DataFrame({"user": ["u1"] * 40, "item": [
        f"i{n}" for n in range(40)]})]).drop_duplicates()  # fmt: skip
    with pytest.raises(ConfigError, match="function with features: expected") as error:
        recommender(**{"search.choices": {}}).fit(more, warm_start=fitted)
    assert "\n" not in str(error.value)


def test_interactions_of_one_user_keep_their_features() -> None:
    """What a part selects has the features of all."""
    rows = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"]})
    known = replace(read_frame(rows), user_features=of_users(rows))
    assert isinstance(known, Interactions)
    assert known.select(np.array([0])).user_features is known.user_features


def test_rows_have_length_one_and_lone_features_are_left_out() -> None:
    rows = pd.DataFrame({"user": list("aabbcc"), "item": list("xyxzyz")})
    kinds = pd.DataFrame({"item": list("xyz"), "kind": ["k", "k", "alone"], "tag": ["p|q"] * 3})
    known = replace(read_frame(rows), item_features=read_features(kinds, "item"))
    counts = [torch.tensor([2, 2, 2]), torch.tensor([2, 2, 2])]
    users, items = features_of(known, counts, torch.zeros((), dtype=torch.float64))
    assert users is None and items is not None
    found = items.vectors(torch.eye(items.shape[1], dtype=torch.float64)).numpy()
    assert found.shape == (3, 3)  # k, p and q
    np.testing.assert_allclose((found[:2] ** 2).sum(1), 1, rtol=1e-6)
    assert found[2, 0] == 0 and 0 < (found[2] ** 2).sum() < 1
    lone = pd.DataFrame({"item": list("xyz"), "kind": list("klm")})
    assert features_of(
        replace(known, item_features=read_features(lone, "item")), counts, torch.zeros(())
    ) == ()  # fmt: skip


@pytest.mark.parametrize("objective", ["ranking", "rating"])
def test_both_objectives_judge_features(planted: Frames, objective: str) -> None:
    rows = planted[0].assign(rating=np.arange(len(planted[0])) % 5 + 1)
    found = problem(
        rows, planted[1], f"objective={objective}", "train.l2=[8.0]", "train.epochs=4",
        users=of_users(rows),
    )  # fmt: skip
    lines = Lines()
    trained = found.fit("searched", described(found), Session(console=lines))
    assert any("features not clearly ahead" in line or "features clearly" in line
               for line in lines.told)  # fmt: skip
    assert len(trained.tried) == 2
