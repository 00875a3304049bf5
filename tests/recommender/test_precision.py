"""Rounded items: answers are those of the rounded table, and files, changes and refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sif import Recommender
from sif.cli.main import main
from sif.errors import CheckpointError, ConfigError
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.item_precision import precision_of
from sif.recommender.model import FILE, KIND, ServedModel
from sif.recommender.precision import with_precision
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.linear.design import given_genotype
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.weights import ItemWeights
from sif.utils import checkpoint
from sif.utils.compact_rows import Precision

Board = Callable[..., pd.DataFrame]
QUICK: dict[str, Any] = {
    "train": {"epochs": 10, "dimension": 8, "l2": [0.003], "lr": 0.05},
    "search": {"epochs": 2, "dimension": 4, "stages": ["operation"]},
}
SMALL: tuple[Precision, ...] = ("float16", "int8")


@pytest.fixture(scope="module")
def made(checkerboard: Board) -> Recommender:
    frame = partial(checkerboard, 40, 20)()
    return Recommender(threads=1, baselines=[], settings=QUICK).fit(frame)


@pytest.fixture(scope="module", params=["vectors", "item-item"])
def model(request: pytest.FixtureRequest, made: Recommender) -> ServedModel:
    """With drawn numbers, so that no two scores are equal."""
    model, draws = made.fitted_model(), torch.Generator().manual_seed(0)
    if request.param == "vectors":
        table = torch.nn.Parameter(torch.randn(20, 8, generator=draws))
        tables = torch.nn.ParameterList([model.network.tables.embeddings[0], table])
        return replace(model, trained=model.network.with_embeddings(tables), graph=None)
    weights = ItemWeights(torch.randn(20, 20, generator=draws).numpy(), 20)
    network = OrderNetwork(given_genotype(()), 20).take(weights)
    return replace(model, genotype=given_genotype(()), trained=network, folds=())


def full(model: ServedModel) -> ServedModel:
    """The model whose float32 items are the rounded ones."""
    trained = model.trained
    if isinstance(trained, OrderNetwork):
        return replace(model, trained=OrderNetwork(trained.genotype, 20).take(trained.item_weights))
    tables = torch.nn.ParameterList(map(torch.nn.Parameter, trained.tables.embeddings))
    return replace(model, trained=trained.with_embeddings(tables))


@pytest.mark.parametrize("precision", SMALL)
def test_answers_are_those_of_the_rounded_table(model: ServedModel, precision: Precision) -> None:
    rounded = with_precision(model, precision)
    mine, theirs = IndexedRecommender(rounded), IndexedRecommender(full(rounded))
    assert precision_of(rounded.trained) == precision
    for rows in (np.arange(40), np.array([3])):
        best, exact = mine.top(rows, 7), theirs.top(rows, 7)
        np.testing.assert_array_equal(best.items, exact.items)
        np.testing.assert_allclose(best.scores, exact.scores, rtol=1e-5, atol=1e-6)
    allowed = np.arange(20) % 3 == 0
    one = mine.top_of_one(5, 4, "trained", allowed)
    np.testing.assert_array_equal(one.items, theirs.top_of_one(5, 4, "trained", allowed).items)
    near, exact = (one.similar(1, np.array([2, 9]), 5) for one in (mine, theirs))
    np.testing.assert_allclose(near.scores, exact.scores, atol=0.02)
    np.testing.assert_allclose(mine.scores(np.arange(4)), theirs.scores(np.arange(4)), atol=1e-5)


def test_the_record_is_what_brute_force_finds(model: ServedModel) -> None:
    rounded = with_precision(model, "int8")
    record = rounded.item_precision
    assert record is not None and record.users == 40 and set(record.recall) == {10}
    rows, excluded = np.arange(40), model.excluded(np.arange(40), "all")
    lists = [IndexedRecommender(m).top(rows, 10, excluded).items for m in (model, rounded)]
    shares = [len(set(a) & set(b) - {-1}) / (a >= 0).sum() for a, b in zip(*lists, strict=True)]
    assert record.recall[10] == pytest.approx(np.mean(shares))
    numbers = 20 * (20 if model.reads_order else 8)
    assert (record.float32_bytes, record.bytes) == (4 * numbers, numbers + 4 * 20)
    assert "recall@10" in str(record) and "40 users" in str(record)


def test_a_bad_table_loses_more_than_a_fine_one(model: ServedModel) -> None:
    few = [with_precision(model, precision).item_precision for precision in SMALL]
    assert few[0] is not None and few[1] is not None
    assert few[0].recall[10] >= few[1].recall[10] > 0.8
    assert few[0].bytes > few[1].bytes


@pytest.mark.parametrize("precision", SMALL)
def test_a_file_keeps_the_codes(model: ServedModel, precision: Precision, tmp_path: Path) -> None:
    rounded = with_precision(model, precision)
    rounded.save(tmp_path)
    again = ServedModel.load(tmp_path)
    assert again.item_precision == rounded.item_precision
    one, other = again.trained.state_dict(), rounded.trained.state_dict()
    assert {n: t.dtype for n, t in one.items()} == {n: t.dtype for n, t in other.items()}
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_damaged_scales_are_refused(model: ServedModel, tmp_path: Path) -> None:
    with_precision(model, "int8").save(tmp_path)
    path = tmp_path / FILE
    state = checkpoint.load(path, KIND)
    name = "weights_scales" if model.reads_order else "tables.embeddings.1_scales"
    table = "weights" if model.reads_order else "tables.embeddings.1"
    network = state["network"]
    for changed in (
        {**network, name: network[name][1:]},
        {**network, name: -network[name]},
        {**network, name: network[name].double()},
        {**network, table: network[table].half()},
        {key: value for key, value in network.items() if key != name},
    ):
        checkpoint.save(path, {**state, "network": changed}, KIND)
        with pytest.raises(CheckpointError, match="contradicts itself"):
            ServedModel.load(tmp_path)
    checkpoint.save(path, {k: v for k, v in state.items() if k != "item_precision"}, KIND)
    with pytest.raises(CheckpointError, match="contradicts itself"):
        ServedModel.load(tmp_path)


def test_changes_keep_the_precision(made: Recommender, tmp_path: Path) -> None:
    made.save(tmp_path, precision="int8")
    small = Recommender.load(tmp_path)
    before = small.model_.network
    small.partial_fit(pd.DataFrame({"user": ["u1", "new"], "item": ["i3", "i-new"]}))
    after = small.model_.network
    assert isinstance(after, InteractionNetwork) and precision_of(after) == "int8"
    codes = [n.state_dict()["tables.embeddings.1"] for n in (before, after)]
    assert len(codes[1]) == 21 and torch.equal(codes[0], codes[1][:20])
    assert len(small.recommend("new", n=3)) == 3
    small.save(tmp_path)  # as it is
    assert precision_of(Recommender.load(tmp_path).model_.trained) == "int8"


def test_what_cannot_be_rounded_is_refused(made: Recommender) -> None:
    model = made.fitted_model()
    rounded = with_precision(model, "int8")
    assert with_precision(model, "float32") is model
    assert with_precision(rounded, "int8") is rounded
    with pytest.raises(ConfigError, match="expected int8, which the items of the model have"):
        with_precision(rounded, "float16")
    with pytest.raises(ConfigError, match="expected float32, float16 or int8, found 'int4'"):
        made.save("nowhere", precision="int4")
    assert not Path("nowhere").exists()
    bare = OrderNetwork(given_genotype(()), 20).take(
        ItemWeights(np.zeros((0, 20), np.float32), 20, offsets=np.ones(20, np.float32))
    )
    popular = replace(model, genotype=given_genotype(()), trained=bare, folds=())
    with pytest.raises(ConfigError, match="expected vectors of items or dense weights"):
        with_precision(popular, "int8")


def test_the_command_writes_a_smaller_model(
    made: Recommender, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.save(tmp_path / "shop")
    words = ["export", str(tmp_path / "shop"), "--to", "sif", "--output", str(tmp_path / "small")]
    assert main([*words, "--precision", "int8"]) == 0
    told, path = capsys.readouterr().out.splitlines()
    assert told.startswith("int8 items: ") and "recall@10" in told and Path(path).is_file()
    assert main([*words, "--precision", "int8"]) == 2  # it is there
    assert "expected a new folder" in capsys.readouterr().err
    assert main(words) == 2
    assert "expected --precision" in capsys.readouterr().err
    assert main([*words[:3], "torch", *words[4:], "--precision", "int8"]) == 2
    assert "expected it with --to sif" in capsys.readouterr().err
