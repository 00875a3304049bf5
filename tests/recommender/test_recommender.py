"""The recommender on data whose answer is known: a checkerboard of two tastes."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy import sparse

from sif.config import CFConfig, load_config
from sif.config.loading import dotted
from sif.core.genotype import Genotype
from sif.data.interactions import read_frame, read_matrix
from sif.errors import CheckpointError, ConfigError, DataError, NotFittedError, UnknownIdError
from sif.problems.interactions import InteractionProblem
from sif.recommender.extend import grown_by
from sif.recommender.inputs import DEFAULTS, interactions_of, parts
from sif.recommender.model import FILE, KIND, ServedModel
from sif.recommender.recommender import Recommender
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.checkpoint import load as load_file
from sif.utils.checkpoint import save as save_file
from sif.utils.device import make_runtime, torch_threads

Board = Callable[..., pd.DataFrame]
USERS, ITEMS = 40, 20
QUICK = {
    "train.epochs": 60, "train.patience": 60, "train.dimension": 8, "train.l2": [0.003],
    "search.epochs": 4, "search.dimension": 4, "train.lr": 0.05,
}  # fmt: skip


class ask:
    """A recommender that answers with arrays."""

    def __init__(self, model: Recommender) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(self.model, name), as_arrays=True)


def taste(name: str) -> int:
    return int(name[1:]) % 2


@pytest.fixture(scope="module")
def board(checkerboard: Board) -> Board:
    return partial(checkerboard, USERS, ITEMS)


@pytest.fixture(scope="module")
def liked(board: Board) -> Recommender:
    return Recommender(threads=1, settings=QUICK).fit(board())


@pytest.fixture(scope="module")
def rated(board: Board) -> Recommender:
    return Recommender("rating", threads=1, settings=QUICK).fit(board(rated=True))


def has(user: str, frame: pd.DataFrame) -> set[str]:
    return set(frame.item[frame.user == user])


def test_everybody_gets_what_their_taste_has_and_they_have_not(
    board: Board, liked: Recommender
) -> None:
    frame = board()
    names = [f"u{u}" for u in range(USERS)]
    items, scores = ask(liked).recommend(names, n=2)
    assert items.shape == scores.shape == (USERS, 2)
    right = [taste(row[0]) == taste(user) for user, row in zip(names, items, strict=True)
             if has(user, frame) < {f"i{i}" for i in range(taste(user), ITEMS, 2)}]  # fmt: skip
    assert len(right) > 0.8 * USERS and sum(right) >= 0.95 * len(right)
    for user, row in zip(names, items, strict=True):
        assert not set(row) & has(user, frame)


def test_a_batch_is_its_users_one_by_one(liked: Recommender) -> None:
    items, scores = ask(liked).recommend(["u3", "u8"], n=5)
    for user, row, row_scores in zip(["u3", "u8"], items, scores, strict=True):
        one, one_scores = ask(liked).recommend(user, n=5)
        assert one.shape == (5,)
        np.testing.assert_array_equal(one, row)
        np.testing.assert_allclose(one_scores, row_scores, rtol=1e-5, atol=1e-6)


def test_what_is_liked_is_left_out_unless_it_is_asked_for(board: Board, liked: Recommender) -> None:
    with_liked, _ = ask(liked).recommend("u4", n=ITEMS, exclude_seen=False)
    without, _ = ask(liked).recommend("u4", n=ITEMS)
    assert set(with_liked) == {f"i{i}" for i in range(ITEMS)}
    assert set(without) == set(with_liked) - has("u4", board())
    chosen, _ = ask(liked).recommend("u4", items=["i1", "i3", "i5"], exclude_items=["i3"])
    assert set(chosen) == {"i1", "i5"}


def test_more_than_there_is_is_padded_in_tables(liked: Recommender) -> None:
    items, scores = ask(liked).recommend(["u0", "u1"], n=2 * ITEMS)
    assert items.shape == (2, 2 * ITEMS)
    assert (items[:, -1] == "").all() and np.isneginf(scores[:, -1]).all()


def test_ranks_and_predictions_are_of_the_same_scores(liked: Recommender) -> None:
    names = ["i0", "i1", "i2", "i3"]
    items, scores = ask(liked).rank("u2", names)
    assert set(items) == set(names)
    assert set(items[:2]) == {"i0", "i2"}
    np.testing.assert_allclose(
        scores, [liked.predict("u2", item) for item in items], rtol=1e-4, atol=1e-6
    )
    table = liked.predict(["u2"] * 4, names)
    assert table.shape == (4,)


def test_neighbors_share_a_taste(liked: Recommender) -> None:
    items, cosines = ask(liked).similar_items("i4", n=5)
    assert "i4" not in items and {taste(i) for i in items} == {0}
    assert (np.diff(cosines) <= 0).all() and cosines[0] <= 1.0001
    users, _ = ask(liked).similar_users(["u1", "u2"], n=3)
    assert users.shape == (2, 3)
    assert [{taste(u) for u in row} for row in users] == [{1}, {0}]


def test_a_stranger_is_served_from_a_history(liked: Recommender) -> None:
    items, _ = ask(liked).recommend_new(["i1", "i3", "i5", "i7"], n=3)
    assert {taste(i) for i in items} == {1}
    assert not {"i1", "i3", "i5", "i7"} & set(items)


def test_a_stranger_without_a_history_gets_the_popular(board: Board, liked: Recommender) -> None:
    items, _ = ask(liked).recommend_new([], n=3)
    counts = board().item.value_counts()
    assert len(items) == 3
    assert counts[items[0]] + 2 >= counts.max()  # by its counts in the train part
    everything, _ = ask(liked).recommend_new([], n=2 * ITEMS)
    assert sorted(everything) == sorted(f"i{i}" for i in range(ITEMS))


def test_unknown_ids_are_named(liked: Recommender, tmp_path: Path) -> None:
    with pytest.raises(UnknownIdError, match=r"user: expected one of 40 known ids.*found 'nobody'"):
        ask(liked).recommend("nobody")
    with pytest.raises(UnknownIdError, match=r"item: .*found 'i99'"):
        ask(liked).recommend_new(["i99"])
    with pytest.raises(UnknownIdError, match=r"item: .*found 'i99'"):
        ask(liked).recommend("u1", exclude_items=["i99"])
    liked.save(tmp_path)
    lenient = Recommender.load(tmp_path, unknown="popular")
    items, _ = ask(lenient).recommend(["nobody", "u1"], n=3)
    np.testing.assert_array_equal(items[0], ask(lenient).recommend_new([], n=3)[0])
    np.testing.assert_array_equal(items[1], ask(liked).recommend("u1", n=3)[0])


@pytest.mark.parametrize("count", [0, -1, 2.5, True, "3"])
def test_a_number_of_items_is_a_whole_one_above_zero(liked: Recommender, count: Any) -> None:
    with pytest.raises(ConfigError, match=r"n: expected a whole number( of at least 1)?, found"):
        ask(liked).recommend("u1", n=count)


def test_folded_in_users_are_known_from_then_on(liked: Recommender, tmp_path: Path) -> None:
    liked.save(tmp_path)
    model = Recommender.load(tmp_path)
    strangers, _ = ask(model).recommend_new(["i0", "i2", "i4"], n=4)
    new = pd.DataFrame({"user": ["new"] * 3, "item": ["i0", "i2", "i4"]})
    model.fold_in(new)
    np.testing.assert_array_equal(ask(model).recommend("new", n=4)[0], strangers)
    for user in ("u0", "u39"):
        np.testing.assert_array_equal(ask(model).recommend(user)[0], ask(liked).recommend(user)[0])
    model.fold_in(pd.DataFrame({"user": ["new"], "item": [strangers[0]]}))
    assert strangers[0] not in ask(model).recommend("new", n=ITEMS)[0]
    assert (
        "i0" not in ask(model).recommend("new", n=ITEMS)[0]
    )  # what was there before is still there
    with pytest.raises(UnknownIdError, match="'fresh'"):
        model.fold_in(pd.DataFrame({"user": ["new"], "item": ["fresh"]}))


def test_new_items_come_in_with_those_who_like_them(liked: Recommender, tmp_path: Path) -> None:
    liked.save(tmp_path)
    model = Recommender.load(tmp_path)
    fans = [f"u{u}" for u in range(1, 21, 2)]
    model.partial_fit(pd.DataFrame({"user": [*fans, "guest"], "item": ["fresh"] * 11}))
    assert "fresh" in model.model_.vocabularies[1].ids
    odd, even = model.predict(["u25", "u24"], ["fresh", "fresh"])
    assert odd > even
    assert {taste(i) for i in ask(model).similar_items("fresh", n=3)[0]} == {1}
    assert "fresh" not in ask(model).recommend("u1", n=ITEMS + 1)[0]


def test_reasons_are_items_of_the_same_taste(board: Board, rated: Recommender) -> None:
    frame = board(rated=True)
    mine = frame[frame.user == "u6"]
    wanted = next(f"i{i}" for i in range(0, ITEMS, 2) if f"i{i}" not in set(mine.item))
    reasons, carried = ask(rated).explain("u6", wanted, n=3)
    assert set(reasons) <= set(mine.item)
    assert (np.diff(carried) <= 0).all() and carried[0] > 0


def test_ratings_come_in_their_units(rated: Recommender) -> None:
    good, bad = rated.predict(["u2", "u2"], ["i4", "i5"])
    assert 4 < good < 7 and -1 < bad < 2  # in stars; predictions are not clipped
    items, scores = ask(rated).recommend_new(["i0", "i1", "i2"], ratings=[5, 1, 5], n=3)
    assert {taste(i) for i in items} == {0} and scores[0] > 3.5
    with pytest.raises(ConfigError, match="recommend_new: expected 1 ratings, found none"):
        ask(rated).recommend_new(["i0"])


def test_a_saved_model_answers_alike(liked: Recommender, tmp_path: Path) -> None:
    liked.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    for one, other in zip(ask(liked).recommend(["u1", "u2"]), ask(loaded).recommend(["u1", "u2"]),
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, other)
    new = ["i1", "i5"]
    np.testing.assert_array_equal(
        ask(liked).recommend_new(new)[1], ask(loaded).recommend_new(new)[1]
    )


def test_threads_are_those_of_the_fit_alone(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watched(*arguments: Any) -> InteractionProblem:
        seen.append(torch.get_num_threads())
        return InteractionProblem(*arguments)

    monkeypatch.setattr("sif.recommender.fit.InteractionProblem", watched)
    quick = {**QUICK, "train.epochs": 1, "search.epochs": 1}
    with torch_threads(3):
        Recommender(threads=1, settings=quick).fit(board())
        assert seen == [1] and torch.get_num_threads() == 3
        with pytest.raises(DataError):  # none to hold out
            Recommender(threads=2).fit(board()[:3])
        assert torch.get_num_threads() == 3


def test_a_second_fit_forgets_the_first(board: Board, liked: Recommender) -> None:
    model = Recommender(threads=1, settings=QUICK)
    with pytest.raises(NotFittedError, match="expected a fitted one, found one before fit"):
        ask(model).recommend("u1")
    model.fit(board().replace({"u1": "someone"}))
    assert "someone" in model.model_.vocabularies[0].ids
    model.fit(board())
    np.testing.assert_array_equal(ask(model).recommend("u1")[0], ask(liked).recommend("u1")[0])
    with pytest.raises(UnknownIdError):
        ask(model).recommend("someone")


def test_matrices_and_files_are_interactions_as_well(board: Board, tmp_path: Path) -> None:
    frame = board()
    rows = frame.user.str[1:].astype(int), frame.item.str[1:].astype(int)
    matrix = sparse.csr_matrix((np.ones(len(frame)), rows))
    model = Recommender(threads=1, settings=QUICK).fit(matrix)
    items, _ = ask(model).recommend(3, n=2)
    assert {int(i) % 2 for i in items} == {1}
    frame.to_csv(tmp_path / "a.csv", index=False)
    from_file = Recommender(threads=1, settings=QUICK).fit(tmp_path / "a.csv")
    assert set(from_file.model_.vocabularies[0].ids) == set(frame.user)
    with pytest.raises(DataError, match=r"data: expected a data frame.*found 3"):
        model.fit(3)


def test_repeated_pairs_and_parts_of_ones_own_are_taken_care_of(board: Board) -> None:
    frame = board()
    known, train, held = parts(pd.concat([frame, frame[:50]]), None, 0)
    assert len(known) == len(train) + len(held) == len(frame)
    counts = np.bincount(train.ids[:, 0]), np.bincount(held.ids[:, 0], minlength=USERS)
    np.testing.assert_array_equal(counts[1], sum(counts) >= 3)  # nobody has twenty
    assert counts[1].sum() > 35 and (counts[0] > 0).all()
    known, train, held = parts(frame[20:], frame[:40], 0)
    assert (len(train), len(held)) == (len(frame) - 20, 20)  # what is in both stays in train
    assert known.vocabularies == train.vocabularies == held.vocabularies
    with pytest.raises(DataError, match="expected some to hold out"):
        parts(frame.groupby("user").head(2), None, 0)


def test_titles_come_from_a_column(board: Board, tmp_path: Path) -> None:
    frame = board()
    frame["title"] = "Item " + frame.item.str[1:]
    frame.loc[frame.item == "i3", "title"] = None
    model = Recommender(threads=1, settings=QUICK).fit(frame)
    assert model.titles["i4"] == "Item 4" and "i3" not in model.titles
    model.save(tmp_path)
    assert Recommender.load(tmp_path).titles == model.titles


def test_settings_of_the_data_hold_for_frames(board: Board) -> None:
    frame = board(rated=True).rename(columns={"user": "customer"})
    settings = {**QUICK, "data.user": "customer", "data.min_rating": 4}
    model = Recommender(threads=1, settings=settings).fit(frame)
    assert model.model_.seen.nnz == (frame.rating >= 4).sum()
    for key, value in (("data.protocol", "temporal"), ("data.split_file", "a.npz")):
        with pytest.raises(ConfigError, match=f"{key}: fit makes no such split"):
            Recommender(settings={key: value}).fit(frame)
    with pytest.raises(DataError, match="expected at least 2 users, found 1"):
        Recommender().fit(board()[:3])
    with pytest.raises(DataError, match="valid: expected a rating column"):
        Recommender("rating").fit(board(rated=True), board())
    with pytest.raises(ConfigError, match="unknown: expected one of error, popular"):
        Recommender(unknown="popularr").fit(frame)


def test_rows_in_order_stay_so_over_both_parts(board: Board) -> None:
    frame = board()
    data, valid = frame[:-40], pd.concat([frame[-60:], frame[:10]])  # some are in both
    known, train, held_out = parts(data, valid, 0, DEFAULTS.model_copy(update={"order": "rows"}))
    assert known.moment is not None and train.moment is not None and held_out.moment is not None
    assert (np.diff(known.moment) > 0).all()
    assert train.moment.max() < held_out.moment.min()
    assert parts(data, valid, 0)[0].moment is None


def test_empty_rows_and_columns_of_a_matrix_are_ids_without_training(
    board: Board, tmp_path: Path
) -> None:
    frame = board(rated=True)
    rows = frame.user.str[1:].astype(int) + 1, frame.item.str[1:].astype(int) + 1
    for objective in ("ranking", "rating"):
        one = objective == "rating"
        kept = frame.rating > (0 if one else 4)
        cells = tuple(numbers[kept] for numbers in rows)
        matrix = sparse.csr_matrix((frame.rating[kept], cells), shape=(USERS + 2, ITEMS + 2))
        model = Recommender(objective, threads=1, settings=QUICK).fit(matrix)
        assert model.model_.seen.shape == matrix.shape
        items, scores = ask(model).recommend([0, USERS + 1, 4], n=ITEMS)
        assert np.isfinite(scores[:2]).all()
        np.testing.assert_array_equal(items[0], ask(model).recommend_new([], n=ITEMS)[0])
        np.testing.assert_array_equal(items[0], items[1])
        assert one or not {"0", str(ITEMS + 1)} & set(items.ravel())
        assert {int(i) % 2 for i in ask(model).recommend(4, n=2)[0]} == {0}
        _, train, held = parts(matrix, None, 0)
        assert train.sizes == held.sizes == matrix.shape
    model.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    loaded.partial_fit(pd.DataFrame({"user": [0] * 3, "item": [2, 4, 1], "rating": [5, 5, 1]}))
    assert {int(i) % 2 for i in ask(loaded).recommend(0, n=2)[0]} == {0}


def test_settings_are_plain_values_of_any_library(board: Board, tmp_path: Path) -> None:
    settings = {**QUICK, "train.epochs": np.int64(2), "search.epochs": 1, "train.lr": np.float32(1),
                "train.l2": np.array([0.5, 1.0]), "data.dir": tmp_path / "a: b"}  # fmt: skip
    Recommender(threads=1, settings=settings).fit(board())
    wrong: dict[str, Any] = {
        "settings: expected names and values .*, found list": ["train.epochs=3"],
        "settings: expected names such as 'train.epochs', found 3": {3: 4},
        "settings: train.epochs: expected an integer, found <object": {"train.epochs": object()},
        "settings: train.l2.0: expected a number, found": {"train.l2": (loop := [])},
        r"settings: train.epochs: expected an integer, found 3\.5": {"train.epochs": 3.5},
        "settings: train.epoch: unknown key; did you mean 'epochs'": {"train": {"epoch": 3}},
        r"settings: train.dimension \(8\) contradicts dimension \(4\)": {"train.dimension": 8},
    }
    alone: tuple[dict[str, Any], ...] = (
        {"controls": []}, {"rivals": []}, {"tracking": {"enabled": False}}, {"output_dir": "x"},
        {"checkpoint_seconds": 3}, {"data.planted.users": 3}, {"data": {"planted": {"items": 3}}},
        {"dataset": "ml-100k"}, {"histories.readers": ["gru"]},
    )  # fmt: skip
    for one in alone:
        ((key, _),) = dotted(one).items()
        wrong[f"settings: {key}: expected a setting of a fit, found one of jobs alone"] = one
    loop.append(loop)
    for message, settings in wrong.items():
        with pytest.raises(ConfigError, match=message):
            Recommender(dimension=4, settings=settings).fit(board())


def test_messages_name_settings_and_arguments(board: Board) -> None:
    frame = board(rated=True).assign(shop="a")
    for message, wrong in {
        "settings: train.epochs: expected an integer, found 'x'": {
            "settings": {"train.epochs": "x"}
        },
        "settings: train.epohcs: unknown key": {"settings": {"train.epohcs": 3}},
        "settings: train epochs: unknown key": {"settings": {"train epochs": 3}},
        "objective: expected 'ranking' or 'rating', found 'x'": {"objective": "x"},
        "seed: expected an integer, found 'x'": {"seed": "x"},
        "dimension: train.dimension: expected a number greater than": {"dimension": 0},
        "method: .*did you mean 'nasp'": {"method": "nsap"},
        "space: .*did you mean 'staged'": {"space": "staeged"},
        "baselines: unknown 'eas'; did you mean 'ease'": {"baselines": ["eas"]},
        "budget: expected seconds above 0, a text such as": {"budget": "soon"},
        r"space staged: .*; use space=sif or the preset cf/context$": {
            "objective": "rating",
            "settings": {"data.context": ["shop"]},
        },
    }.items():
        with pytest.raises(ConfigError, match=f"^{message}"):
            Recommender(**wrong).fit(frame)


def test_a_validation_part_needs_a_pair_of_its_own(board: Board) -> None:
    with pytest.raises(DataError, match="valid: expected pairs that the interactions do not have, "
                       "found none among its 5"):  # fmt: skip
        parts(board(), board()[:5], 0)


def test_items_that_training_never_met_come_in_later(board: Board) -> None:
    frame = board()
    rows = frame.user.str[1:].astype(int), frame.item.str[1:].astype(int)
    matrix = sparse.csr_matrix((np.ones(len(frame)), rows), shape=(USERS, ITEMS + 1))
    model = Recommender(threads=1, settings=QUICK).fit(matrix)
    assert str(ITEMS) not in ask(model).recommend(0, n=ITEMS + 1, exclude_seen=False)[0]
    fans = [str(u) for u in range(1, 21, 2)]
    model.partial_fit(pd.DataFrame({"user": fans, "item": [str(ITEMS)] * 10}))
    odd, even = model.predict(["25", "24"], [str(ITEMS)] * 2)
    assert odd > even
    assert str(ITEMS) in ask(model).recommend(25, n=ITEMS + 1)[0]


def test_an_item_that_was_folded_in_moves_with_further_fans(
    liked: Recommender, tmp_path: Path
) -> None:
    def fans(first: int, last: int) -> pd.DataFrame:
        return pd.DataFrame({"user": [f"u{u}" for u in range(first, last, 2)], "item": "fresh"})

    liked.save(tmp_path)
    once = Recommender.load(tmp_path).partial_fit(pd.concat([fans(2, 3), fans(1, 31)]))
    model = Recommender.load(tmp_path).partial_fit(fans(2, 3))
    even = model.predict(["u24", "u25"], ["fresh"] * 2)
    model.save(tmp_path / "b")
    trained = model.model_.network.tables.embeddings[1][:ITEMS].clone()
    for more in (model, Recommender.load(tmp_path / "b")):
        more.partial_fit(fans(1, 31))
        odd = more.predict(["u24", "u25"], ["fresh"] * 2)
        assert even[0] > even[1] and odd[0] < odd[1]
        np.testing.assert_allclose(odd, once.predict(["u24", "u25"], ["fresh"] * 2), atol=0.05)
        torch.testing.assert_close(more.model_.network.tables.embeddings[1][:ITEMS], trained)
        again = len(more.model_.vocabularies[1])
        assert [rows.tolist() for rows in more.model_.untrained] == [[], [again - 1]]


def test_cold_rows_of_a_file_from_before_they_were_stored_are_folded_in(
    board: Board, tmp_path: Path
) -> None:
    frame = board()
    rows = frame.user.str[1:].astype(int), frame.item.str[1:].astype(int)
    matrix = sparse.csr_matrix((np.ones(len(frame)), rows), shape=(USERS + 1, ITEMS + 1))
    path = Recommender(threads=1, settings=QUICK).fit(matrix).save(tmp_path)
    state = load_file(path, KIND)
    assert [rows.tolist() for rows in state["untrained"]] == [[USERS], [ITEMS]]
    del state["untrained"]
    save_file(path, state, KIND)
    model = Recommender.load(tmp_path)
    assert [rows.tolist() for rows in model.model_.untrained] == [[USERS], [ITEMS]]
    state["untrained"] = [np.array([0]), np.array([ITEMS + 1])]
    save_file(path, state, KIND)
    with pytest.raises(CheckpointError, match="expected untrained rows from 0 to 20"):
        Recommender.load(tmp_path)


def test_a_newcomer_brings_an_item_and_its_title(liked: Recommender, tmp_path: Path) -> None:
    liked.save(tmp_path)
    model = Recommender.load(tmp_path)
    new = pd.DataFrame({"user": ["guest"] * 4, "item": ["fresh", "i1", "i3", "i5"]})
    new["title"] = ["Fresh!", None, None, None]
    model.partial_fit(new)
    assert model.titles["fresh"] == "Fresh!"
    odd, even = model.predict(["u25", "u24"], ["fresh", "fresh"])
    assert odd > even  # folded in by the guest, whom the known items told of
    alone = Recommender.load(tmp_path)
    alone.partial_fit(pd.DataFrame({"user": ["guest"], "item": ["fresh"]}))
    assert "fresh" not in ask(alone).recommend("u25", n=ITEMS + 1)[0]  # nobody known has it


def test_folding_users_again_leaves_what_they_give_to_items(board: Board) -> None:
    blocks = {
        "operation": ((0, "multiply"),), "encoding": ((0, "id"), (1, "history")),
        "embedding": ((0, "identity"),), "weighting": ((0, "even"),),
    }  # fmt: skip
    known, train, held = parts(board(), None, 0)
    config = load_config("cf", sets=["train.dimension=4", "threads=1", "train.epochs=3"])
    assert isinstance(config, CFConfig)
    problem = InteractionProblem(train, held, config, make_runtime("cpu", 0, 1))
    genotype = Genotype("staged", blocks)
    fitted = problem.train(genotype, NullTracker(), NoCheckpoint(), l2=0.01)
    model = ServedModel.of(problem, genotype, fitted.network, 0.01, known)
    users = known.vocabularies[0].ids[:3]
    before = model.fold(1).vectors(sparse.csr_array(np.eye(1, USERS, dtype=np.float32)))
    more = read_frame(pd.DataFrame({"user": users, "item": ["i0", "i1", "i0"]}))
    after = grown_by(model, 0, more).fold(1)
    again = after.vectors(sparse.csr_array(np.eye(1, USERS, dtype=np.float32)))
    assert before.vectors.abs().max() > 0
    torch.testing.assert_close(again.vectors, before.vectors)


def test_unknown_users_of_ratings_get_scores_in_stars(rated: Recommender, tmp_path: Path) -> None:
    rated.save(tmp_path)
    items, scores = ask(Recommender.load(tmp_path, unknown="popular")).recommend("nobody", n=3)
    assert len(items) == 3 and (scores > 1).all() and (scores < 5.5).all()
    np.testing.assert_array_equal(ask(rated).recommend_new([], n=3)[0], items)


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        (["x"], "ratings: row 1: expected a number, found 'x'"),
        ([np.nan], "ratings: row 1: expected a number, found nothing"),
        ([np.inf], "ratings: expected finite numbers, found inf"),
        ([1, 2], "expected 1 rat"),
    ],
)
def test_ratings_of_a_history_are_one_number_each(
    rated: Recommender, ratings: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ask(rated).recommend_new(["i1"], ratings=ratings)
    assert len(ask(rated).recommend_new("i1", ratings=4, n=2)[0]) == 2


def test_ids_have_one_form_in_data_and_questions(board: Board) -> None:
    frame = board()
    frame["user"], frame["item"] = (frame[name].str[1:].astype(int) for name in ("user", "item"))
    model = Recommender(threads=1, settings=QUICK).fit(
        frame.assign(user=frame.user.astype("Float64"), item=frame.item.astype("category"))
    )
    expected = ask(model).recommend("7", n=3)[0].tolist()
    one: list[Any] = [
        7, 7.0, "7.0", " 7 ", b"7", np.int8(7), np.float32(7), Decimal(7), np.array(7),
        torch.tensor(7), pa.scalar(7),
    ]  # fmt: skip
    for user in one:
        assert ask(model).recommend(user, n=3)[0].tolist() == expected
        assert model.recommend([user], n=3)["user"].tolist() == ["7"] * 3
    several: list[Any] = [
        np.array([7, 8]), torch.tensor([7, 8]), pd.Series([7.0, 8.0]), pd.Categorical(["7", "8"]),
        pa.array([7, 8]), pd.array([7, 8], dtype="Int64"), (7, "8"), iter([7, 8]),
    ]  # fmt: skip
    for users in several:
        assert ask(model).recommend(users, n=3)[0][0].tolist() == expected
    new = pd.DataFrame({"user": ["7.0", "new "], "item": [b"2", b"4"]})
    grown = copy.copy(model).fold_in(new)
    assert len(grown.model_.vocabularies[0]) == len(model.model_.vocabularies[0]) + 1
    assert len(grown.recommend("new", n=2)) == 2
    stranger = ask(model).recommend_new(np.array([2.0, 4.0]), n=3)[0].tolist()
    assert stranger == ask(model).recommend_new([" 2", 4], n=3)[0].tolist()
    for wrong in (2**63, np.uint64(2**63), 1e300, [7, None], [7, ""], [7, float("nan")]):
        with pytest.raises(DataError, match=r"^users: .*expected an id"):
            model.recommend(wrong)
    with pytest.raises(DataError, match=r"^users: row 2: expected an id, found nothing$"):
        model.recommend([7, pd.NA])
    with pytest.raises(
        ConfigError, match=r"^users: expected ids in one dimension, found DataFrame"
    ):
        model.recommend(frame)


def test_single_ids_come_in_any_wrapping(liked: Recommender) -> None:
    expected = ask(liked).recommend("u1", n=3)[0].tolist()
    assert ask(liked).recommend(np.array("u1"), n=3)[0].tolist() == expected
    assert ask(liked).recommend("u1", items="i7", exclude_seen=False)[0].tolist() == ["i7"]
    with pytest.raises(ConfigError, match="n: expected at most 10,000, found 1,000,000"):
        ask(liked).recommend("u1", n=1_000_000)


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_and_pickles_answer_alike(liked: Recommender, copied: Callable[[Any], Any]) -> None:
    fresh = Recommender(
        "rating", space="sif", seed=3, settings={"train.epochs": 2}, unknown="popular"
    )
    assert vars(copied(fresh)) == vars(fresh)
    ask(liked).recommend("u1")
    other = copied(liked)
    assert other.get_params() == liked.get_params()
    assert other.validation_metrics_ == liked.validation_metrics_
    assert other.searched_function_ == liked.searched_function_
    assert repr(other.report()) == repr(liked.report())
    for one, two in zip(
        ask(liked).recommend(["u1", "u2"]), ask(other).recommend(["u1", "u2"]), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    other.fold_in(pd.DataFrame({"user": ["new"], "item": ["i1"]}))
    assert "new" not in liked.model_.vocabularies[0].ids
    state = liked.__getstate__()
    (name, content), *others = state["model_"].items()
    cut = {name: content[:-1], **dict(others)}
    for damaged in (cut, content[:-1]):  # earlier versions packed one file
        with pytest.raises(CheckpointError, match="truncated"):
            Recommender().__setstate__({**state, "model_": damaged})


def test_parameters_are_those_of_the_constructor(liked: Recommender) -> None:
    model = Recommender(seed=4, settings=QUICK)
    assert model.get_params() == {
        "objective": "ranking", "space": "staged", "method": "nasp", "budget": None,
        "dimension": None, "min_rating": None, "baselines": None, "seed": 4, "device": "auto",
        "threads": None, "settings": QUICK, "unknown": "error", "verbose": False,
    }  # fmt: skip
    assert model.set_params(seed=5, unknown="popular") is model
    assert (model.seed, model.unknown) == (5, "popular")
    with pytest.raises(ConfigError, match=r"set_params: sed: .*did you mean 'seed'"):
        model.set_params(seed=6, sed=5)
    assert model.seed == 5
    base = pytest.importorskip("sklearn.base")
    clone = base.clone(liked)
    assert clone.get_params() == liked.get_params() and not hasattr(clone, "model_")


def test_many_titles_fit_into_a_file(liked: Recommender, tmp_path: Path) -> None:
    titles = {f"x{i}": "Фильм " * 40 for i in range(80_000)}  # over a hundred million bytes
    replace(liked.model_, titles=titles).save(tmp_path)
    assert Recommender.load(tmp_path).titles == titles


def test_settings_of_the_data_hold_for_what_comes_later(board: Board, tmp_path: Path) -> None:
    names = {"user": "customer", "item": "thing", "rating": "mark"}
    frame = board(rated=True).rename(columns=names)
    frame["user"] = "nobody"  # what would be recognized
    settings = {**QUICK, "data.min_rating": 4, "data.user": "customer", "data.item": "thing",
                "data.rating": "mark"}  # fmt: skip
    Recommender(threads=1, settings=settings).fit(frame).save(tmp_path)
    new = pd.DataFrame({"thing": ["i0", "i2", "i1", "i3"], "mark": [5, 4, 1, 3]})
    new["customer"], new["user"] = "new", "nobody"
    disliking = pd.DataFrame({"customer": ["grump"], "thing": ["i2"], "mark": [1]})
    for name in ("fold_in", "partial_fit"):
        model = Recommender.load(tmp_path)
        getattr(model, name)(new)
        getattr(model, name)(disliking)
        row = model.model_.seen[model.model_.vocabularies[0].index(["new"])]
        assert set(model.model_.vocabularies[1].ids[row.indices]) == {"i0", "i2"}
        assert "nobody" not in model.model_.vocabularies[0].ids
        assert model.model_.cold_start.cold_users[-1] and model.model_.seen[[-1]].nnz == 0
        assert model.model_.vocabularies[0].ids[-1] == "grump"
        with pytest.raises(DataError, match=r"data\.user: expected a column 'customer'"):
            getattr(model, name)(board(rated=True))
    model.partial_fit(disliking.replace({"i2": "fresh"}))
    assert "fresh" not in model.model_.vocabularies[1].ids
    with pytest.raises(DataError, match=r"data\.rating: expected a column 'mark'"):
        model.fold_in(new.drop(columns="mark"))


def test_a_history_of_ratings_is_filtered_as_the_training(board: Board, tmp_path: Path) -> None:
    settings = {**QUICK, "data.min_rating": 3}
    frame = board(rated=True)
    frame["rating"] += np.random.default_rng(0).integers(-1, 1, len(frame))  # 4, 5 and 0, 1
    model = Recommender("rating", threads=1, settings=settings).fit(frame)
    new = pd.DataFrame({"user": ["new"] * 3, "item": ["i0", "i2", "i1"], "rating": [5, 4, 1]})
    expected = ask(model).recommend_new(["i0", "i2", "i1"], ratings=[5, 4, 1])
    without = ask(model).recommend_new(["i0", "i2"], ratings=[5, 4], exclude_items=["i1"])
    found = ask(model.fold_in(new)).recommend("new")
    for items, scores in (found, without):
        np.testing.assert_array_equal(items, expected[0])
        np.testing.assert_allclose(scores, expected[1], rtol=1e-5)


def test_files_from_before_settings_were_remembered_are_read(
    liked: Recommender, tmp_path: Path
) -> None:
    path = liked.save(tmp_path)
    state = load_file(path, KIND)
    del state["reading"]
    save_file(path, state, KIND)
    model = Recommender.load(tmp_path).fold_in(pd.DataFrame({"user": ["new"], "item": ["i1"]}))
    assert "new" in model.model_.vocabularies[0].ids
    state["reading"] = {"min_rating": "high"}
    save_file(path, state, KIND)
    with pytest.raises(CheckpointError, match="contradicts itself"):
        Recommender.load(tmp_path)


def test_values_of_a_matrix_that_are_not_above_zero_are_no_likes(board: Board) -> None:
    frame = board(rated=True)
    rows = frame.user.str[1:].astype(int), frame.item.str[1:].astype(int)
    matrix = sparse.csr_matrix((frame.rating - 2, rows))  # 3 or -1
    model = Recommender(threads=1, settings=QUICK).fit(matrix)
    assert model.model_.seen.nnz == (matrix > 0).nnz == (frame.rating > 2).sum()
    assert {int(i) % 2 for i in ask(model).recommend(4, n=2)[0]} == {0}
    known, _, held = parts(matrix, -matrix, 0)  # the dislikes turned round, for the choices
    assert len(known) == matrix.nnz and (held.rating == 1).all()
    assert len(parts(matrix, None, 0, objective="rating")[0]) == matrix.nnz
    with pytest.raises(DataError, match="matrix: expected a value above zero, found none"):
        parts(-abs(matrix), None, 0)
    with pytest.raises(DataError, match="expected finite values, found nan"):
        read_matrix(sparse.csr_matrix([[1.0, np.nan]]), "ranking")


def test_matrices_stay_as_they_were_given() -> None:
    cells = [1.0, 1.0, 0.0, -1.0], ([0, 0, 1, 1], [0, 0, 0, 1])
    for make in (sparse.coo_matrix, sparse.csr_array, sparse.csc_matrix):
        matrix = make(cells)
        before = matrix.nnz, matrix.data.tolist()
        assert read_matrix(matrix, "ranking").rating.tolist() == [2.0]
        assert (matrix.nnz, matrix.data.tolist()) == before


def test_a_stored_zero_is_no_interaction() -> None:
    matrix = sparse.csr_matrix(np.array([[1.0, 2.0], [0.0, 3.0]]))
    matrix.data[0] = 0
    assert len(read_matrix(matrix)) == 2


def test_models_that_contradict_themselves_are_refused(liked: Recommender, tmp_path: Path) -> None:
    path = liked.save(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="truncated"):
        Recommender.load(tmp_path)
    path.write_bytes(b"\x80\x04cos\nsystem\n")  # a pickle
    with pytest.raises(CheckpointError, match="expected a sif checkpoint, found another kind"):
        Recommender.load(tmp_path)
    path.write_bytes(whole)
    state = load_file(path, KIND)
    state["vocabularies"][0] = state["vocabularies"][0][:-1]
    save_file(path, state, KIND)
    with pytest.raises(CheckpointError, match=r"contradicts itself: expected tables of \[39, 20\]"):
        Recommender.load(tmp_path)
    header = whole[8 : 8 + int.from_bytes(whole[:8], "little")]
    newer = json.loads(header)
    inner = json.loads(newer["__metadata__"]["sif"]) | {"format": 99}
    newer["__metadata__"]["sif"] = json.dumps(inner)
    text = json.dumps(newer).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + len(header) :])
    with pytest.raises(CheckpointError, match="written in format version 99"):
        Recommender.load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_frames_of_other_libraries_become_frames_of_pandas() -> None:
    table = pa.table({"user": ["a", "b", "a"], "item": [1, 2, 3]})
    data = interactions_of(table, DEFAULTS, "ranking")
    assert data.vocabularies[0].ids.tolist() == ["a", "b"] and data.sizes == (2, 3)
    with pytest.raises(DataError, match=r"expected a data frame, .*, found \[1\]"):
        interactions_of([1], DEFAULTS, "ranking")
