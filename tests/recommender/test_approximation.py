"""A graph of a model's items: when there is one, what it promises, and its file."""

from __future__ import annotations

import copy
import logging
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sif import Recommender
from sif.config import CFConfig, load_config
from sif.core.genotype import Genotype
from sif.data.interactions import Interactions, Vocabulary
from sif.errors import CheckpointError, ConfigError
from sif.problems.interactions import InteractionProblem
from sif.recommender.approximation import check_retrieval, with_graph
from sif.recommender.graph_files import FILE, KIND
from sif.recommender.model import ServedModel
from sif.utils import checkpoint
from sif.utils.device import make_runtime

pytest.importorskip("usearch")

USERS, ITEMS = 120, 400
SETTINGS = {"train.epochs": 3, "train.l2": [1.0], "search.epochs": 2, "retrieval": "approximate"}


def interactions() -> pd.DataFrame:
    """Users of eight kinds, each of which has other items."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{u}", f"i{(u % 8) * 50 + i}")
        for u in range(USERS)
        for i in rng.choice(50, 12, replace=False)
    ]
    return pd.DataFrame(rows, columns=["user", "item"])


@pytest.fixture(scope="module", autouse=True)
def cheap() -> Iterator[None]:
    """Graphs answer small catalogs as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sif.retrieval.approximate.CANDIDATE_COST", 1)
        yield


@pytest.fixture(scope="module")
def fitted() -> Recommender:
    settings = SETTINGS | {"search.stages": ["encoding"]}
    return Recommender(dimension=8, threads=1, settings=settings, baselines=[]).fit(interactions())


def exact(model: Recommender) -> Recommender:
    """The same model without its graph."""
    other = copy.copy(model)
    other.model_ = replace(model.fitted_model(), graph=None, retrieval="exact")
    return other


def test_a_fit_builds_a_graph_and_reports_its_recall(fitted: Recommender) -> None:
    graph = fitted.fitted_model().graph
    assert graph is not None and graph.n_items == len(fitted.fitted_model().vocabularies[1])
    told = fitted.report().retrieval
    assert told.startswith(f"retrieval: approximate; graph of {len(graph):,} items built in ")
    assert "recall@10 " in told and told in repr(fitted.report())


def test_answers_are_those_of_exact_retrieval(fitted: Recommender) -> None:
    users = [f"u{u}" for u in range(USERS)]
    for options in ({}, {"exclude_seen": False}, {"exclude_items": ["i1", "i2"]}):
        items, scores = fitted.recommend(users, 5, as_arrays=True, **options)  # type: ignore[arg-type]
        others, expected = exact(fitted).recommend(users, 5, as_arrays=True, **options)  # type: ignore[arg-type]
        same = items == others
        assert same.mean() > 0.95
        np.testing.assert_allclose(scores[same], expected[same], rtol=1e-4, atol=1e-5)
    some = fitted.recommend("u1", 5, items=["i7", "i8"], as_arrays=True)[0]
    assert set(some) <= {"i7", "i8"}


def test_new_users_are_queries_like_others(fitted: Recommender) -> None:
    history = ["i1", "i2", "i3", "i4"]
    models = (fitted, exact(fitted))
    found, expected = (m.recommend_new(history, 5, as_arrays=True)[0] for m in models)
    assert np.isin(found, expected).mean() > 0.7 and not np.isin(found, history).any()


def test_folding_users_in_keeps_the_graph_and_new_items_end_it_once(
    fitted: Recommender, caplog: pytest.LogCaptureFixture
) -> None:
    graph = fitted.fitted_model().graph
    model = copy.copy(fitted)
    model.fold_in(pd.DataFrame({"user": "guest", "item": ["i1", "i2", "i3"]}))
    assert model.fitted_model().graph is not None
    assert len(model.recommend("guest", 5)) == 5
    new = pd.DataFrame({"user": ["u1", "u9", "u17"], "item": "fresh"})
    with caplog.at_level(logging.WARNING, "sif"):
        model.partial_fit(new).partial_fit(new.assign(item="fresher"))
    assert model.fitted_model().graph is None and fitted.fitted_model().graph is graph
    (line,) = [one for one in caplog.messages if one.startswith("retrieval: ")]
    assert "exact" in line
    found = model.recommend("u1", 50, exclude_seen=False, as_arrays=True)[0]
    np.testing.assert_array_equal(
        found, exact(model).recommend("u1", 50, exclude_seen=False, as_arrays=True)[0]
    )


def copies() -> dict[str, Callable[[Recommender, Path], Recommender]]:
    return {
        "saved": lambda model, folder: Recommender.load(model.save(folder).parent),
        "pickled": lambda model, _: pickle.loads(pickle.dumps(model)),
        "copied": lambda model, _: copy.deepcopy(model),
    }


@pytest.mark.parametrize("way", copies())
def test_a_model_and_its_copy_answer_alike(way: str, fitted: Recommender, tmp_path: Path) -> None:
    again = copies()[way](fitted, tmp_path)
    assert again.fitted_model().graph is not None
    assert again.fitted_model().retrieval == "approximate"
    users = [f"u{u}" for u in range(USERS)]
    for one, other in zip(
        again.recommend(users, 8, as_arrays=True), fitted.recommend(users, 8, as_arrays=True),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(one, other)


def test_an_earlier_pickle_had_the_file_alone(fitted: Recommender, tmp_path: Path) -> None:
    state = exact(fitted).__getstate__()
    state["model_"] = exact(fitted).save(tmp_path).read_bytes()
    again = Recommender.__new__(Recommender)
    again.__setstate__(state)
    assert len(again.recommend("u1", 3)) == 3


def test_a_model_without_a_graph_removes_that_of_a_former_one(
    fitted: Recommender, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    assert (tmp_path / FILE).is_file()
    exact(fitted).save(tmp_path)
    assert not (tmp_path / FILE).exists()


def test_damaged_files_are_refused_in_one_line(fitted: Recommender, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    path, state = tmp_path / FILE, checkpoint.load(tmp_path / FILE, KIND)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:-9] + b"\1" + whole[-8:], b"", b"no graph"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=FILE) as raised:
            ServedModel.load(tmp_path)
        assert "\n" not in str(raised.value)
    graph = state["graph"].copy()
    graph[-4:] = 255
    for changed, told in (
        ({"items": "0" * 64}, "other items"), ({"n_items": 7}, "other items"),
        ({"graph": graph[:-4]}, "links"), ({"expansion": None}, "whole numbers"),
    ):  # fmt: skip
        checkpoint.save(path, state | changed, KIND)
        with pytest.raises(CheckpointError, match=f"{told}.*; remove the file to answer exactly"):
            ServedModel.load(tmp_path)
    del state["graph"]
    checkpoint.save(path, state, KIND)
    with pytest.raises(CheckpointError, match="remove the file"):
        ServedModel.load(tmp_path)
    path.unlink()
    assert ServedModel.load(tmp_path).graph is None


def test_a_graph_of_other_weights_is_refused(fitted: Recommender, tmp_path: Path) -> None:
    fitted.save(tmp_path / "one")
    model = exact(fitted).fitted_model()
    other = copy.deepcopy(model.trained)
    with torch.no_grad():
        other.tables.embeddings[1].mul_(2.0)
    replace(model, trained=other, retrieval="auto").save(tmp_path / "two")
    (tmp_path / "two" / FILE).write_bytes((tmp_path / "one" / FILE).read_bytes())
    with pytest.raises(CheckpointError, match="it was built of other items than the model's"):
        ServedModel.load(tmp_path / "two")


def test_without_usearch(
    fitted: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    fitted.save(tmp_path / "asked")
    model = replace(fitted.fitted_model(), retrieval="auto")
    model.save(tmp_path / "auto")
    monkeypatch.setitem(sys.modules, "usearch", None)
    extra = r"approximate retrieval: .*pip install 'sif\[ann\]'"
    for refused in (
        lambda: check_retrieval("approximate"),
        lambda: ServedModel.load(tmp_path / "asked"),
        lambda: Recommender(settings=SETTINGS, threads=1).fit(interactions()),
    ):
        with pytest.raises(ConfigError, match=extra):
            refused()
    check_retrieval("auto")
    with caplog.at_level(logging.WARNING, "sif"):
        assert ServedModel.load(tmp_path / "auto").graph is None
    (line,) = caplog.messages
    assert line.startswith("retrieval: exact answers; approximate retrieval: ")
    found = with_graph(replace(model, graph=None), least_items=1)
    assert found.model.graph is None
    assert found.told.startswith("retrieval: exact; approximate retrieval: ")
    assert found.document["kind"] == "exact"


def test_auto_goes_by_the_size_of_the_catalogue(fitted: Recommender) -> None:
    model = replace(fitted.fitted_model(), graph=None, retrieval="auto")
    assert with_graph(model).told == "" and with_graph(model).model is model
    items = len(model.vocabularies[1])
    assert with_graph(model, least_items=items + 1).model.graph is None
    assert with_graph(model, least_items=items).model.graph is not None
    assert with_graph(replace(model, retrieval="exact"), least_items=1).told == ""


def test_a_graph_that_is_slower_or_finds_too_little_is_left_out(
    fitted: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(fitted.fitted_model(), graph=None)
    with monkeypatch.context() as patch:
        patch.setattr("sif.retrieval.approximate.CANDIDATE_COST", 640)
        slow = with_graph(model)
    assert slow.model.graph is None and "would be faster" in slow.told
    monkeypatch.setattr("sif.retrieval.approximate.TARGET", 1.1)
    poor = with_graph(model)
    assert poor.model.graph is None and poor.document["kind"] == "exact"
    assert poor.told.startswith("retrieval: exact; graph of ") and "recall@10" in poor.told


def test_functions_that_are_no_product_are_answered_exactly() -> None:
    names = (Vocabulary(range(6)), Vocabulary(range(5)))
    known = Interactions(np.argwhere(np.ones((6, 5))), ("user", "item"), names)
    config = load_config("cf", sets=["train.dimension=4", "threads=1", "retrieval=approximate"])
    assert isinstance(config, CFConfig)
    problem = InteractionProblem(known, known, config, make_runtime("cpu", 0, 1))
    genotype = Genotype("staged", {
        "operation": ((0, "max"),), "encoding": ((0, "id"), (1, "id")),
        "embedding": ((0, "identity"),), "weighting": ((0, "even"),),
    })  # fmt: skip
    model = ServedModel.of(problem, genotype, problem.network(genotype), 0.1, known)
    found = with_graph(model)
    assert found.model is model
    assert found.told == "retrieval: exact; max(user, item) is no product of finite vectors"
