"""A served item-item model: ordered histories of known and unseen users, and what it refuses."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif import Recommender
from sif.adapters.export import export, history_inputs, user_inputs
from sif.adapters.implicit import SIFImplicit, to_implicit
from sif.adapters.questions import Answering
from sif.core.gates import Block
from sif.errors import CheckpointError, ConfigError
from sif.recommender.model import FILE, KIND
from sif.spaces.linear.network import OrderNetwork
from sif.utils.checkpoint import load as load_file
from sif.utils.checkpoint import save as save_file

QUICK = {"search.epochs": 2, "train.epochs": 2, "train.l2": [1.0]}


def walks(users: int = 200, seed: int = 0) -> pd.DataFrame:
    """Every user walks around one of four circles of 10 items, from somewhere."""
    draws = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        circle, start = draws.integers(0, 4), draws.integers(0, 10)
        for step in range(6):
            item = 10 * circle + (start + step) % 10
            rows.append((f"u{user}", f"i{item}", 1_000_000 + 60 * step + user))
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


@pytest.fixture(scope="module", params=[40, 25], ids=["all items solved for", "some of 40"])
def model(request: pytest.FixtureRequest) -> Recommender:
    with pytest.MonkeyPatch.context() as patch:
        if request.param < 40:
            patch.setattr("sif.spaces.linear.inputs.MAX_SIDE", request.param)
            patch.setattr("sif.problems.order.FREQUENT", 20)  # every item has about 30 rows
        return Recommender(baselines=(), settings=QUICK, threads=1).fit(walks())


def test_validation_serves_the_order(model: Recommender) -> None:
    report = model.report()
    assert report.served == "order" and model.model_.fitted_on == "all"
    assert model.model_.expression.startswith("next item from history(")
    assert "validation prefers next item" in repr(report)


def test_a_known_user_is_his_ordered_list(model: Recommender) -> None:
    data = walks()
    for user in ("u0", "u7"):
        mine = data.item[data.user == user].tolist()
        known, listed = model.recommend(user), model.recommend_new(mine)
        pd.testing.assert_frame_equal(known, listed)
        last = int(mine[-1][1:])
        assert known.item[0] == f"i{last // 10 * 10 + (last + 1) % 10}"
        backward = model.recommend_new(mine[::-1])
        assert backward.score[0] < known.score[0]


def test_scores_of_pairs_are_those_of_lists(model: Recommender) -> None:
    best = model.recommend(["u0", "u3"], n=5)
    np.testing.assert_allclose(model.predict(best.user, best.item), best.score, rtol=1e-5)


def test_reasons_add_up_and_tell_their_age(model: Recommender) -> None:
    reasons = model.explain("u0", "i3")
    assert reasons.score.sum() == pytest.approx(model.predict("u0", "i3"), rel=1e-4, abs=1e-6)
    mine = walks().item[walks().user == "u0"].tolist()
    ages = dict(zip(reasons.item, reasons.age, strict=True))
    assert ages.items() <= {i: len(mine) - place for place, i in enumerate(mine)}.items()
    assert (reasons.score != 0).all() and reasons.score.is_monotonic_decreasing


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_and_files_answer_alike(
    model: Recommender, copied: Callable[[Any], Any], tmp_path: Path
) -> None:
    model.save(tmp_path)
    for other in (copied(model), Recommender.load(tmp_path)):
        pd.testing.assert_frame_equal(other.recommend(["u0", "u9"]), model.recommend(["u0", "u9"]))


def test_further_rows_extend_the_history(model: Recommender) -> None:
    grown = copy.deepcopy(model)
    mine = walks().item[walks().user == "u0"].tolist()
    step = f"i{int(mine[0][1:]) // 10 * 10 + (int(mine[-1][1:]) + 2) % 10}"
    grown.partial_fit(pd.DataFrame({"user": ["u0"], "item": [step], "timestamp": [9_000_000]}))
    pd.testing.assert_frame_equal(grown.recommend("u0"), model.recommend_new([*mine, step]))


def test_an_unseen_user_is_folded_in_by_time(model: Recommender) -> None:
    grown = copy.deepcopy(model)
    rows = pd.DataFrame({"user": "new", "item": ["i2", "i0", "i1"], "timestamp": [300, 100, 200]})
    grown.fold_in(rows)
    pd.testing.assert_frame_equal(grown.recommend("new"), model.recommend_new(["i0", "i1", "i2"]))
    assert grown.recommend("new").item[0] == "i3"


@pytest.fixture(scope="module")
def by_rows() -> Recommender:
    settings = {**QUICK, "data.order": "rows", "data.duplicates": "first"}
    return Recommender(baselines=(), settings=settings, threads=1).fit(walks())


def test_further_rows_stand_in_order_where_the_data_did(
    by_rows: Recommender, tmp_path: Path
) -> None:
    assert by_rows.model_.reads_order
    by_rows.save(tmp_path)
    rows = pd.DataFrame({"user": "new", "item": ["i0", "i1", "i2"], "timestamp": [300, 100, 200]})
    for grown in (copy.deepcopy(by_rows), Recommender.load(tmp_path)):
        grown.fold_in(rows)
        expected = by_rows.recommend_new(["i0", "i1", "i2"])
        pd.testing.assert_frame_equal(grown.recommend("new"), expected)


def test_the_first_of_a_repeated_pair_keeps_its_place(by_rows: Recommender) -> None:
    grown = copy.deepcopy(by_rows)
    mine = walks().item[walks().user == "u0"].tolist()
    grown.partial_fit(pd.DataFrame({"user": ["u0"], "item": mine[:1], "timestamp": [9_000_000]}))
    pd.testing.assert_frame_equal(grown.recommend("u0"), by_rows.recommend("u0"))


def test_a_user_without_a_trained_item_has_the_popular_ones(model: Recommender) -> None:
    grown = copy.deepcopy(model)
    grown.partial_fit(pd.DataFrame({"user": ["v"], "item": ["x"], "timestamp": [1]}))
    assert len(grown.explain("v", "i2")) == 0
    assert np.isfinite(grown.predict("v", ["i1", "i2"])).all()


def test_a_new_item_is_had_and_waits_for_the_next_fit(model: Recommender) -> None:
    grown = copy.deepcopy(model)
    grown.partial_fit(pd.DataFrame({"user": ["u0", "v"], "item": ["x", "x"]}))
    pd.testing.assert_frame_equal(grown.recommend("u0"), model.recommend("u0"))
    assert len(grown.recommend("v")) == 10  # the popular


def test_questions_of_a_server(model: Recommender) -> None:
    answering = Answering(model.fitted_model())
    table = pd.DataFrame({"user": ["u0", None, None], "history": [None, ["i0", "i1"], None],
                          "item": [None, None, "i5"]})  # fmt: skip
    answers = answering.answers(table, 3)
    assert answers["items"][0] == model.recommend("u0", n=3).item.tolist()
    assert answers["items"][1] == model.recommend_new(["i0", "i1"], n=3).item.tolist()
    assert all(len(items) == 3 for items in answers["items"])


def test_graphs_answer_alike(
    model: Recommender, tmp_path: Path, check_graph: Callable[[Recommender, Path], None]
) -> None:
    check_graph(model, tmp_path)


def test_what_has_no_vectors_is_refused_in_one_line(model: Recommender, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found next item from"):
        export(model, "implicit", tmp_path / "model.npz")
    for ask, of in ((user_inputs, ["u0"]), (history_inputs, ["i0"])):
        with pytest.raises(ConfigError, match=r"found next item .*use user_sequences"):
            ask(model, of)
    with pytest.raises(ConfigError, match="found an item-item model"):
        model.similar_users("u0")
    assert not list(tmp_path.iterdir())


def test_implicit_asks_it_like_any_function(model: Recommender) -> None:
    served = to_implicit(model)
    assert isinstance(served, SIFImplicit)
    had = served.user_items[:2]
    again = served.recommend([0, 1], had, recalculate_user=True)
    known = served.recommend([0, 1], had)
    for one, other in zip(again, known, strict=True):
        np.testing.assert_array_equal(one, other)


def test_similar_items_need_all_weights(model: Recommender) -> None:
    trained = model.fitted_model().trained
    assert isinstance(trained, OrderNetwork)
    assert trained.items is None or len(trained.items) == 25**2 // 40
    assert len(model.similar_items("i3", n=4)) == 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sif.recommender.functions.MAX_SIDE", 39)
        with pytest.raises(ConfigError, match=r"similar items: expected at most \d+ items .* 40"):
            model.fitted_model().function.neighborhood(1)


@pytest.mark.parametrize("model", [25], indirect=True, ids=["some of 40"])
@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.update(items=net["items"].flip(0)),
        lambda net: net.update(items=net["items"] + 20),
        lambda net: net.update(items=net["items"].double()),
        lambda net: net.update(weights=net["weights"][1:].clone()),
        lambda net: net.update(rest_starts=net["rest_starts"][1:].clone()),
        lambda net: net["rest_starts"].__setitem__(1, 10**6),
        lambda net: net["rest_starts"].__setitem__(-1, 1),
        lambda net: net["rest_items"].__setitem__(0, 40),
        lambda net: net["rest_items"].__setitem__(0, -1),
        lambda net: net.update(rest_values=net["rest_values"][1:].clone()),
        lambda net: net["rest_values"].fill_(float("inf")),
        lambda net: net.pop("rest_values"),
        lambda net: net.update(weights=net["weights"].double()),
        lambda net: net.update(rest_values=net["rest_values"].half()),
        lambda net: net.update(
            items=net["items"][:0].clone(), weights=net["weights"][:0, :0].clone()
        ),
    ],
)
def test_damaged_weights_of_a_large_catalog_are_named(
    model: Recommender, tmp_path: Path, change: Callable[[Any], object]
) -> None:
    model.save(tmp_path)
    state = load_file(tmp_path / FILE, KIND)
    change(state["network"])
    save_file(tmp_path / FILE, state, KIND)
    with pytest.raises(CheckpointError, match=FILE) as caught:
        Recommender.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["network"].update(weights=state["network"]["weights"][:-1].clone()),
        lambda state: state.update(objective="rating"),
        lambda state: state.update(genotype=state["genotype"].replace('"next"', '"nothing"')),
        lambda state: state["network"].update(more=state["network"]["weights"].clone()),
        lambda state: state["network"]["weights"].fill_(float("nan")),
        lambda state: state["fields"].append("hour"),
    ],
)
def test_a_damaged_file_is_named(
    model: Recommender, tmp_path: Path, change: Callable[[Any], object]
) -> None:
    model.save(tmp_path)
    state = load_file(tmp_path / FILE, KIND)
    change(state)
    save_file(tmp_path / FILE, state, KIND)
    with pytest.raises(CheckpointError, match=FILE) as caught:
        Recommender.load(tmp_path)
    assert "\n" not in str(caught.value)


def visits(users: int = 300, seed: int = 0) -> pd.DataFrame:
    """Every visit, a day after the one before, goes on from items of the same visit alone."""
    draws = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        second = 1_000_000 + int(draws.integers(0, 1000))
        for _ in range(4):
            circle, start = draws.integers(0, 4), draws.integers(0, 10)
            for step in range(int(draws.integers(1, 4))):
                second += int(draws.integers(0, 40))
                rows.append((f"u{user}", f"i{10 * circle + (start + 3 * step) % 10}", second))
            second += 86400
    found = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    return found.drop_duplicates(["user", "item"])


@pytest.fixture(scope="module")
def timed() -> Recommender:
    """A model whose design is given: whether a search finds one is another test."""
    with pytest.MonkeyPatch.context() as patch:
        names = {
            "target": "next", "recent": "0.3", "middle": "0.8", "long": "0.97",
            "half-life": "3600", "discount": "0",
        }  # fmt: skip
        blocks = tuple(Block(name, (one,), default_op=one) for name, one in names.items())
        patch.setattr("sif.problems.order.blocks_of", lambda *_: blocks)
        fitted = Recommender(baselines=(), settings=QUICK, threads=1).fit(visits())
    assert fitted.model_.reads_time and "half-life 60 min" in fitted.model_.expression
    return fitted


def test_times_tell_how_much_a_history_counts(timed: Recommender) -> None:
    near, far = (pd.DataFrame({"user": "v", "item": ["i0", "i13"], "timestamp": [9_000_000, then]})
                 for then in (9_000_010, 9_900_000))  # fmt: skip
    scores = []
    for rows in (near, far):
        grown = copy.deepcopy(timed)
        grown.fold_in(rows)
        reasons = grown.explain("v", "i16")
        assert reasons.score.sum() == pytest.approx(grown.predict("v", "i16"), rel=1e-4, abs=1e-6)
        assert reasons.seconds.max() == rows.timestamp[1] - rows.timestamp[0]
        scores.append(grown.predict("v", ["i3", "i16"]))
    assert not np.allclose(scores[0], scores[1])


def test_times_before_1970_are_ages_as_well(timed: Recommender) -> None:
    grown = copy.deepcopy(timed)
    rows = pd.DataFrame({"user": "v", "item": ["i0", "i13"], "timestamp": [-900, -100]})
    reasons = grown.fold_in(rows).explain("v", "i16")
    assert sorted(reasons.seconds) == [0, 800]


def test_a_known_user_is_his_rows_at_their_times(timed: Recommender) -> None:
    data = visits()
    grown = copy.deepcopy(timed)
    mine = data[data.user == "u7"]
    grown.fold_in(mine.assign(user="v"))
    pd.testing.assert_frame_equal(
        grown.recommend("v", as_arrays=False).drop(columns="user", errors="ignore"),
        timed.recommend("u7").drop(columns="user", errors="ignore"),
    )


def test_files_and_matrices_keep_the_times(timed: Recommender, tmp_path: Path) -> None:
    timed.save(tmp_path)
    pd.testing.assert_frame_equal(
        Recommender.load(tmp_path).explain("u3", "i5"), timed.explain("u3", "i5")
    )
    served = to_implicit(timed)
    had = served.user_items[:2]
    again = served.recommend([0, 1], had, recalculate_user=True)
    for one, other in zip(again, served.recommend([0, 1], had), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_list_without_times_is_spaced_as_lists_usually_are(timed: Recommender) -> None:
    gap = timed.model_.usual_gap
    data = visits().sort_values(["user", "timestamp"], kind="stable")
    same = data.user.eq(data.user.shift())
    assert gap == pytest.approx(data.timestamp.diff()[same].median(), abs=1e-3)
    items = ["i0", "i13", "i16"]
    spaced = 9_000_000 + (gap * np.arange(3)).round().astype(int)
    grown, plain = copy.deepcopy(timed), copy.deepcopy(timed)
    grown.fold_in(pd.DataFrame({"user": "v", "item": items, "timestamp": spaced}))
    plain.fold_in(pd.DataFrame({"user": "v", "item": items}))
    listed = timed.recommend_new(items)
    for one in (grown, plain):
        assert one.recommend("v").item.tolist() == listed.item.tolist()
        np.testing.assert_allclose(one.recommend("v").score, listed.score, rtol=1e-4)


def test_late_rows_stand_behind_what_is_known(timed: Recommender) -> None:
    data = visits()
    mine = data[data.user == "u0"]
    new = next(f"i{n}" for n in range(40) if f"i{n}" not in set(mine.item))
    for then in (1, mine.timestamp.max(), 9_000_000):
        grown = copy.deepcopy(timed)
        grown.partial_fit(pd.DataFrame({"user": ["u0"], "item": [new], "timestamp": [then]}))
        reasons = grown.explain("u0", "i5", n=40)
        assert reasons.age[reasons.item == new].item() == 1
        assert len(reasons) == len(mine) + 1
