"""Items that nobody has touched, answered for by features, in every kind of model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sif
from sif.errors import ConfigError, DataError
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.recommender import Recommender
from sif.spaces.closed.clicks import Clicks
from sif.spaces.closed.design import genotype_of
from sif.spaces.closed.filters import GraphFilter
from sif.spaces.closed.network import ClosedNetwork

KINDS = 4


def shop(users: int = 80, items: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Orders of users who mostly stay with one kind, and the kinds."""
    draws = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}")
        for user in range(users)
        for item in draws.permutation(items)[: items // 2]
        if item % KINDS == user % KINDS or draws.random() < 0.1
    ]
    kinds = pd.DataFrame({"item": [f"i{n}" for n in range(items)]})
    kinds["kind"] = [f"k{n % KINDS}" for n in range(items)]
    return pd.DataFrame(rows, columns=["user", "item"]), kinds


MODELS: dict[str, dict[str, Any]] = {
    "vectors": {"search.stages": ["operation"], "train.dimension": 8},
    "histories": {"search.stages": ["encoding", "operation"], "train.dimension": 8},
    "closed": {"search.stages": ["closed", "operation"], "train.epochs": 1, "train.dimension": 2},
}


@pytest.fixture(scope="module")
def fitted() -> Callable[[str], Recommender]:
    known: dict[str, Recommender] = {}
    orders, kinds = shop()

    def made(name: str) -> Recommender:
        if name not in known:
            quick = {"search.epochs": 20, "train.epochs": 20, "train.l2": [2.0]}
            settings = {**quick, **MODELS[name]}
            model = Recommender(threads=1, baselines=[], settings=settings)
            known[name] = model.fit(orders, item_features=kinds)
        return known[name]

    return made


def copied(model: Recommender) -> Recommender:
    """A copy, which may change."""
    return copy.deepcopy(model)


NEW = pd.DataFrame({"item": ["n1", "n2", "alone"], "kind": ["k1", "k2", "unseen"]})


@pytest.mark.parametrize("name", MODELS)
def test_new_items_are_for_those_who_like_their_kind(
    name: str, fitted: Callable[[str], Recommender], tmp_path: Path
) -> None:
    model = Recommender.load(fitted(name).save(tmp_path).parent)
    before = model.recommend("u1", n=5, as_arrays=True)
    model.add_items(NEW)
    users = [f"u{n}" for n in range(80) if n % KINDS in (1, 2)]
    first = model.recommend(users, n=1, items=["n1", "n2"], as_arrays=True)[0][:, 0]
    liked = np.array(["n1" if int(user[1:]) % KINDS == 1 else "n2" for user in users])
    assert (first == liked).mean() > 0.9
    everything = model.recommend("u1", n=100, exclude_seen=False)["item"].tolist()
    assert {"n1", "n2"} < set(everything)
    assert "alone" not in everything
    kept = [item for item in model.recommend("u1", n=50)["item"] if item[0] == "i"][:5]
    assert kept == before[0].tolist()
    again = Recommender.load(model.save(tmp_path / "again").parent)
    assert again.recommend("u2").equals(model.recommend("u2"))
    assert model.recommend_new(["n1"], n=3)["rank"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", MODELS)
def test_the_scores_of_an_item_do_not_depend_on_what_came_with_it(
    name: str, fitted: Callable[[str], Recommender], tmp_path: Path
) -> None:
    folder = fitted(name).save(tmp_path).parent
    one, both = Recommender.load(folder), Recommender.load(folder)
    one.add_items(NEW[:1])
    both.add_items(NEW)
    assert one.predict("u1", "n1") == pytest.approx(both.predict("u1", "n1"), rel=1e-4)


def test_items_may_be_added_again_and_known_ones_stay(
    fitted: Callable[[str], Recommender], tmp_path: Path
) -> None:
    model = Recommender.load(fitted("closed").save(tmp_path).parent)
    before = model.recommend("u3", n=5)
    model.add_items(NEW[:1]).add_items(pd.DataFrame({"item": ["n1", "i0"], "kind": ["k2", "k1"]}))
    assert len(model.fitted_model().vocabularies[1]) == 41
    items = ["n1", *(f"i{n}" for n in range(40))]
    scores = model.recommend(["u1", "u2"], n=41, exclude_seen=False, items=items)
    ranks = scores[scores.item == "n1"].set_index("user")["rank"]
    assert ranks["u2"] < ranks["u1"]
    after = [one for one in model.recommend("u3", n=6)["item"] if one != "n1"]
    assert after[:5] == before["item"].tolist()


def test_a_filter_takes_new_items_up_to_a_limit(
    fitted: Callable[[str], Recommender], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copied(fitted("closed"))
    served, design = model.fitted_model(), GraphFilter()
    genotype = genotype_of(design)
    network = ClosedNetwork(genotype, 40)
    network.take(design.weights(Clicks(sp.csr_matrix(served.seen > 0, dtype=np.float32), 0)))
    model._serve(replace(served, genotype=genotype, trained=network))
    before = model.recommend("u1", n=5)
    monkeypatch.setattr("sif.recommender.alike.WRITTEN", 39)
    with pytest.raises(ConfigError, match="a catalog of at most 39 items where a filter is served"):
        model.add_items(NEW)
    assert model.recommend("u1", n=5).equals(before)
    monkeypatch.setattr("sif.recommender.alike.WRITTEN", 40)
    model.add_items(NEW)
    assert model.recommend("u1", n=1, items=["n1", "n2"])["item"].tolist() == ["n1"]
    known = model.recommend("u1", n=5, items=[f"i{n}" for n in range(40)])
    assert known["item"].tolist() == before["item"].tolist()


def test_without_features_or_with_other_ones_it_is_refused(
    fitted: Callable[[str], Recommender], tmp_path: Path
) -> None:
    orders, kinds = shop()
    quick = {"search.epochs": 1, "train.epochs": 1, "train.l2": [2.0]}
    bare = Recommender(threads=1, baselines=[], settings=quick).fit(orders)
    with pytest.raises(ConfigError, match="expected a model that was fitted with item_features"):
        bare.add_items(NEW)
    model = fitted("vectors")
    with pytest.raises(DataError, match="expected one row for each id, found 'n1' again"):
        model.add_items(pd.concat([NEW, NEW[:1]]))
    with pytest.raises(DataError, match="item features: expected a data frame or a file"):
        model.add_items([1, 2])
    with pytest.raises(DataError, match="some of kind, found 'knd'; did you mean 'kind'"):
        model.add_items(NEW.rename(columns={"kind": "knd"}))
    with pytest.raises(DataError, match="expected a column of ids"):
        sif.Recommender(threads=1, settings=quick).fit(orders, item_features=kinds[["kind"]])


@pytest.mark.parametrize("name", MODELS)
def test_reasons_are_the_features_that_a_user_likes(
    name: str, fitted: Callable[[str], Recommender], tmp_path: Path
) -> None:
    model = Recommender.load(fitted(name).save(tmp_path).parent)
    model.add_items(pd.DataFrame({"item": ["n"], "kind": ["k1"]}))
    reasons = model.explain_features("u1", "n")
    assert reasons[["feature", "value"]].values.tolist() == [["kind", "k1"]]
    assert reasons.score[0] == pytest.approx(float(model.predict("u1", "n")), rel=1e-5)
    with pytest.raises(ConfigError, match="expected an item that no training saw, found 'i1'"):
        model.explain_features("u1", "i1")


def test_a_liked_tag_adds_more_than_a_foreign_one() -> None:
    orders, kinds = shop()
    settings = {"search.epochs": 20, "train.epochs": 20, "train.l2": [2.0], **MODELS["closed"]}
    tags = kinds.rename(columns={"kind": "tags"})
    model = Recommender(threads=1, baselines=[], settings=settings)
    model.fit(orders, item_features=tags.assign(tags=tags.tags.map(lambda one: [one])))
    model.add_items(pd.DataFrame({"item": ["n"], "tags": [["k1", "k2"]]}))
    reasons = model.explain_features("u1", "n").set_index("value").score
    assert reasons["k1"] > 2 * abs(reasons["k2"])


def test_scores_of_new_items_are_in_the_units_of_known_ones(
    fitted: Callable[[str], Recommender],
) -> None:
    """Also in catalogs so small that all items could tell the deviations."""
    model = copied(fitted("closed"))
    model.add_items(pd.DataFrame({"item": ["n0", "n1"], "kind": ["k0", "k1"]}))
    served = model.fitted_model()
    scores = IndexedRecommender(served).scores(np.arange(80))
    new = served.vocabularies[1].lookup(["n0", "n1"])
    known = np.setdiff1d(np.arange(scores.shape[1]), new)
    spread = scores[:, known][np.isfinite(scores[:, known])].std()
    assert 0.1 * spread < scores[:, new].std() < 3 * spread


def test_interactions_of_an_item_go_on_to_answer(
    fitted: Callable[[str], Recommender], caplog: pytest.LogCaptureFixture
) -> None:
    model = copied(fitted("vectors"))
    model.partial_fit(pd.DataFrame({"user": ["u1", "u2", "u3"], "item": ["n1", "n1", "n1"]}))
    before = model.predict(["u5"], ["n1"])
    with caplog.at_level("WARNING", logger="sif"):
        model.add_items(NEW)
    unseen = "item features: kind: the fit did not know 1 value, 'unseen'; it counts as missing"
    assert caplog.messages == [
        f"add_items: {unseen}",
        "add_items: 1 item has interactions, which go on to answer",
    ]
    assert model.predict(["u5"], ["n1"]) == before
    with pytest.raises(ConfigError, match="whose interactions answer for it"):
        model.explain_features("u5", "n1")


@pytest.mark.parametrize("name", MODELS)
def test_copies_of_items_get_about_as_many_places(
    fitted: Callable[[str], Recommender], name: str
) -> None:
    model = copied(fitted(name))
    copies = pd.DataFrame({"item": [f"c{n}" for n in range(12)]})
    model.add_items(copies.assign(kind=[f"k{n % KINDS}" for n in range(12)]))
    lists = model.recommend([f"u{n}" for n in range(80)], n=5)
    share = float(lists["item"].str.startswith("c").mean())
    assert 0.05 < share < 0.8  # 12 of 52 items, and of the known ones a user has half
