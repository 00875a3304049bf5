"""Re-ranked answers of a recommender: steps on known, unknown and new users, rules, bad steps."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sif
from sif.errors import ConfigError, UnknownIdError
from sif.recommender.reranking import (
    AtMost,
    Boost,
    Bury,
    Calibrated,
    MeanPopularity,
    Mmr,
    Never,
    Pin,
    TailShare,
)

N_ITEMS = 24
KIND = {f"i{i}": ["tea", "mug", "pot"][i % 3] for i in range(N_ITEMS)}


@pytest.fixture(scope="module")
def orders() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [
        (f"u{u}", f"i{i}")
        for u in range(30)
        for i in range(N_ITEMS)
        if rng.random() < (0.5 if i % 3 == u % 3 else 0.15) + 0.2 * (i < 4)
    ]
    return pd.DataFrame(rows, columns=["user", "item"])


@pytest.fixture(scope="module")
def model(orders: pd.DataFrame) -> sif.Recommender:
    settings = {"search.epochs": 2, "train.epochs": 3, "train.l2": [1.0]}
    made = sif.Recommender(dimension=4, threads=1, baselines=[], settings=settings)
    return made.fit(orders, refit="none")


def top(model: sif.Recommender, user: Any = "u0", n: int = 5, **more: Any) -> list[str]:
    return model.recommend(user, n, as_arrays=True, **more)[0].tolist()


def test_without_steps_nothing_changes(model: sif.Recommender) -> None:
    users = ["u0", "u1", "u2"]
    for plain, again in zip(model.recommend(users, 6, as_arrays=True),
                            model.recommend(users, 6, rerank=[], as_arrays=True),
                            strict=True):  # fmt: skip
        np.testing.assert_array_equal(plain, again)


@pytest.mark.parametrize("step", [
    Mmr(0.0), Calibrated(KIND, strength=0.0), TailShare(0.0), MeanPopularity(1.0),
    Boost("i1"), AtMost(N_ITEMS, KIND),
])  # fmt: skip
def test_a_step_without_strength_keeps_the_order(model: sif.Recommender, step: Any) -> None:
    assert top(model, n=8, rerank=step) == top(model, n=8)


def test_scores_are_those_of_the_model(model: sif.Recommender) -> None:
    all_scores = dict(zip(*model.recommend("u3", N_ITEMS, as_arrays=True), strict=True))
    steps = [Boost("i9", factor=3.0), Mmr(0.7, features=KIND), AtMost(2, KIND)]
    items, scores = model.recommend("u3", 6, rerank=steps, as_arrays=True)
    assert [all_scores[item] for item in items] == scores.tolist()


def test_many_users_are_as_alone(model: sif.Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [f"u{u}" for u in range(30)]
    steps = [Calibrated(KIND, 0.6), Mmr(0.4), TailShare(0.4), AtMost(2, KIND)]
    whole, _ = model.recommend(users, 4, rerank=steps, as_arrays=True)
    monkeypatch.setattr("sif.recommender.reranking.rerank.USERS_AT_ONCE", 7)
    pieces, _ = model.recommend(users, 4, rerank=steps, as_arrays=True)
    np.testing.assert_array_equal(whole, pieces)
    for user, items in zip(users, whole, strict=True):
        assert top(model, user, 4, rerank=steps) == [item for item in items if item]


def test_somebody_new_is_re_ranked_by_the_history(
    model: sif.Recommender, orders: pd.DataFrame
) -> None:
    history = ["i0", "i3", "i6", "i9"]
    found = model.recommend_new(history, 4, rerank=[Calibrated(KIND, 1.0)], as_arrays=True)[0]
    assert {KIND[item] for item in found.tolist()} == {"tea"}
    assert not set(found.tolist()) & set(history)


def test_unknown_users_get_the_popular_with_all_rules(model: sif.Recommender) -> None:
    served = copy.copy(model)
    served.unknown = "popular"
    plain = top(served, ["u0", "who"], 4)
    again = top(served, ["u0", "who"], 4, rerank=[Pin("i7", 2), Calibrated(KIND, 0.9)][::-1])
    assert again[1] == [plain[1][0], "i7", *[i for i in plain[1][1:] if i != "i7"][:2]]
    with pytest.raises(UnknownIdError, match="user: expected one of 30 known ids"):
        model.recommend("who", rerank=[Pin("i7")])


# Rules


def test_a_pin_stands_at_its_place(model: sif.Recommender, orders: pd.DataFrame) -> None:
    users = [f"u{u}" for u in range(30)]
    plain, _ = model.recommend(users, 5, as_arrays=True)
    found, scores = model.recommend(users, 5, rerank=[Pin("i20", 3)], pool=5, as_arrays=True)
    has = set(orders.user[orders.item == "i20"])
    all_scores = {u: dict(zip(*model.recommend(u, 99, as_arrays=True), strict=True)) for u in users}
    assert 0 < len(has) < 30
    for user, before, after, own in zip(users, plain, found, scores, strict=True):
        if user in has:
            assert after.tolist() == before.tolist()
            continue
        others = [item for item in before if item != "i20"]
        assert after.tolist() == [*others[:2], "i20", *others[2:]][:5]
        assert own[2] == pytest.approx(all_scores[user]["i20"])


def test_a_pin_of_an_item_without_training(model: sif.Recommender) -> None:
    grown = copy.copy(model).partial_fit(pd.DataFrame({"user": ["u1"], "item": ["new"]}))
    assert "new" in top(grown, "u0", 3, rerank=[Pin("new")])
    assert top(grown, "u0", 3, rerank=[Pin("new")])[0] == "new"
    assert "new" not in top(grown, "u1", 3, rerank=[Pin("new")])
    assert top(grown, "u1", 3, exclude_seen=False, rerank=[Pin("new")])[0] == "new"


def test_several_pins_and_short_lists(model: sif.Recommender) -> None:
    *_, b, a = top(model, "u0", N_ITEMS)
    found = top(model, "u0", 4, rerank=[Pin(a, 1), Pin(b, 3)])
    assert (found[0], found[2]) == (a, b)
    assert top(model, "u0", 5, items=[a, b], rerank=[Pin(a, 5)]) == [b, a]


def test_boosts_raise_scores_above_and_below_zero(model: sif.Recommender) -> None:
    items, scores = model.recommend("u0", N_ITEMS, as_arrays=True)
    for place in (3, len(items) - 1):
        item, score = items[place], float(scores[place])
        for step in (Boost(item, factor=2.5), Boost(item, offset=0.8), Boost([item], 0.5, -0.1)):
            new = score + (step.factor - 1) * abs(score) + step.offset
            others = [i for i in range(len(items)) if i != place]
            order = sorted([*others, place], key=lambda i: (-(new if i == place else scores[i]), i))
            assert top(model, "u0", N_ITEMS, rerank=[step]) == [items[i] for i in order]


def test_buried_items_come_last_and_never_means_never(model: sif.Recommender) -> None:
    plain = top(model, n=N_ITEMS)
    assert top(model, n=N_ITEMS, rerank=[Bury(plain[:2])]) == [*plain[2:], *plain[:2]]
    assert top(model, n=N_ITEMS, rerank=[Never(plain[:2])]) == plain[2:]
    assert top(model, n=3, rerank=[Pin(plain[0]), Never(iter(plain[:1]))]) == plain[1:4]
    # The pool is filled without them.
    assert top(model, n=2, pool=2, rerank=[Never(plain[:2])]) == plain[2:4]


@pytest.mark.parametrize("labels", [KIND, {i: [k, "all"] if i < "i2" else [k] for i, k in
                                           KIND.items()}])  # fmt: skip
def test_caps_against_a_loop(model: sif.Recommender, labels: dict[str, Any]) -> None:
    for count in (1, 2, 3):
        expected: list[str] = []
        taken: dict[str, int] = {}
        for item in top(model, n=N_ITEMS):
            own = [labels[item]] if isinstance(labels[item], str) else labels[item]
            if all(taken.get(label, 0) < count for label in own):
                expected.append(item)
                for label in own:
                    taken[label] = taken.get(label, 0) + 1
        assert top(model, n=N_ITEMS, rerank=[AtMost(count, labels)]) == expected


def test_items_without_a_category_have_no_cap(model: sif.Recommender) -> None:
    plain = top(model, n=6)
    labels = pd.Series({plain[0]: "a", plain[2]: "a", "unheard of": "a", plain[3]: None})
    assert top(model, n=5, rerank=[AtMost(1, labels)]) == [p for p in plain if p != plain[2]]


# Features


def test_features_as_numbers_and_as_labels_agree(model: sif.Recommender) -> None:
    kinds = sorted(set(KIND.values()))
    frame = pd.DataFrame({k: [float(KIND[i] == k) for i in KIND] for k in kinds}, index=list(KIND))
    by_labels = top(model, n=8, rerank=[Mmr(0.5, features=KIND)])
    assert top(model, n=8, rerank=[Mmr(0.5, features=frame)]) == by_labels
    assert len({KIND[i] for i in top(model, n=3, rerank=[Mmr(1.0, features=KIND)])}) == 3


def test_an_id_may_be_repeated_for_several_labels(model: sif.Recommender) -> None:
    both = {item: [kind, "all"] for item, kind in KIND.items()}
    rows = pd.DataFrame(both.items(), columns=["item", "kind"]).explode("kind")
    asked = {"n": 9, "rerank": [AtMost(2, both)]}
    assert top(model, **{**asked, "rerank": [AtMost(2, rows.set_index("item").kind)]}) == top(
        model, **asked
    )


def test_columns_of_the_models_own_features_are_named(orders: pd.DataFrame) -> None:
    frame = pd.DataFrame({"item": list(KIND), "kind": list(KIND.values()),
                          "price": np.arange(N_ITEMS) ** 1.5})  # fmt: skip
    settings = {"search.epochs": 2, "train.epochs": 3, "train.l2": [1.0]}
    made = sif.Recommender(dimension=4, threads=1, baselines=[], settings=settings)
    own = made.fit(orders, refit="none", item_features=frame)
    for step, other in ((AtMost(1, "kind"), AtMost(1, KIND)),
                        (Mmr(0.6, features="kind"), Mmr(0.6, features=KIND)),
                        (Calibrated(own.fitted_model().item_features), Calibrated(KIND)),
                        ):  # fmt: skip
        assert top(own, n=3, rerank=[step]) == top(own, n=3, rerank=[other])
    assert len(top(own, n=3, rerank=[Mmr(0.6, features="price")])) == 3
    with pytest.raises(ConfigError, match=r"features: .*'prize'.*price"):
        top(own, rerank=[Mmr(features="prize")])


def test_nobody_asks_for_nothing(model: sif.Recommender) -> None:
    items, scores = model.recommend([], 3, rerank=[Mmr(), Pin("i1")], as_arrays=True)
    assert items.shape == scores.shape == (0, 3)


def test_a_step_serves_several_models(model: sif.Recommender) -> None:
    step = Mmr(0.8, features=KIND)
    first = top(model, n=5, rerank=[step])
    grown = copy.copy(model).partial_fit(pd.DataFrame({"user": ["u1"], "item": ["a new one"]}))
    assert top(grown, n=5, exclude_items=["a new one"], rerank=[step]) == first
    assert top(model, n=5, rerank=[step]) == first


# Bad steps


@pytest.mark.parametrize(("steps", "message"), [
    ("mmr", "rerank: expected steps such as"), ([0.3], "rerank: expected steps such as Mmr"),
    ([Mmr(), Boost("i1")], "rerank: expected Boost before Mmr, whose order it would undo"),
    ([Pin("i1", 2), Pin("i2", 2)], "rerank: expected one pin at place 2, found several"),
    ([Pin("i99")], "Pin: item: expected one of 24 known ids"),
    ([Boost(["i1", "i98"])], "Boost: item: expected one of 24 known ids .*'i98'"),
    ([Bury([])], "Bury: item: expected at least one id, found none"),
    ([Never("i97")], "Never: item: expected one of 24 known ids"),
    ([Mmr(features=3)], "features: expected labels by item id, a data frame .* found 3"),
    ([Mmr(features="genre")], "features: expected a model that was fitted with item features"),
    ([Mmr(features=pd.DataFrame({"a": ["x"]}, index=["i1"]))], "expected columns of numbers"),
    ([Mmr(features={"i99": "tea"})], "features: expected some of the model's items, found none"),
    ([Mmr(features=pd.DataFrame({"a": [1, 2]}, index=["i1", "i1"]))], "once, found 'i1' twice"),
    ([Calibrated(pd.DataFrame({"a": [-1.0]}, index=["i1"]))], "weights of at least 0"),
])  # fmt: skip
def test_bad_steps_are_named(model: sif.Recommender, steps: Any, message: str) -> None:
    with pytest.raises(sif.SifError, match=message):
        model.recommend("u0", rerank=steps)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: AtMost(0, KIND), "AtMost: count: expected a whole number of at least 1, found 0"),
    (lambda: Pin("i1", 0), "Pin: place: expected a whole number of at least 1, found 0"),
    (lambda: Boost("i1", factor=float("nan")), "Boost: factor: .*at least 0, found nan"),
    (lambda: Boost("i1", factor=-1.0), "Boost: factor: expected a finite number of at least 0"),
    (lambda: Boost("i1", offset=float("inf")), "Boost: offset: expected a finite number"),
])  # fmt: skip
def test_bad_rules_are_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_pool_holds_the_list(model: sif.Recommender) -> None:
    with pytest.raises(ConfigError, match=r"pool: expected at least n \(5\) candidates, found 4"):
        model.recommend("u0", 5, rerank=[Mmr()], pool=4)
