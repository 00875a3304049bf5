"""Arguments of public functions that have another type or value: one line that names them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import sif
from sif.errors import SifError
from sif.evaluation.comparison import Verdict
from sif.recommender.recommender import Recommender
from sif.tasks.base import RunResult

Board = Callable[..., pd.DataFrame]
QUICK = {"train.epochs": 2, "train.l2": [1.0], "search.epochs": 1}
FRAME = pd.DataFrame({"user": list("aabbccdd"), "item": list("xyxyxyxy")})
STRANGE: tuple[Any, ...] = (
    FRAME, FRAME["user"], pd.NA, torch.zeros(2, 2), np.nan, sparse.csr_array((2, 2)),
    np.zeros((2, 2)), object(),
)  # fmt: skip


@pytest.fixture(scope="module")
def model(checkerboard: Board) -> Recommender:
    settings = {**QUICK, "train.dimension": 4}
    return Recommender(threads=1, baselines=[], settings=settings).fit(checkerboard(30, 16))


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(SifError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 250
    return message


@pytest.mark.parametrize(
    "name",
    ["objective", "space", "method", "budget", "dimension", "min_rating", "baselines", "seed",
     "device", "threads", "settings", "unknown", "verbose"],
)  # fmt: skip
def test_an_argument_of_the_constructor_is_named_by_fit(name: str) -> None:
    for value in STRANGE:
        assert refused(lambda v=value: Recommender(**{name: v}).fit(FRAME)).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: m.recommend(None), "users: expected an id, found nothing"),
        (lambda m: m.recommend(FRAME), "users: expected ids in one dimension, found DataFrame"),
        (lambda m: m.recommend("u1", items=[None]), "items: row 1: expected an id, found nothing"),
        (lambda m: m.recommend("u1", exclude_items=3), "exclude_items: item: expected one of 16 "),
        (lambda m: m.recommend("u1", n=FRAME), "n: expected a whole number, found DataFrame"),
        (lambda m: m.recommend("u1", n=np.zeros((2, 2))), "n: expected a whole number, found nd"),
        (lambda m: m.recommend("u1", exclude_seen="false"), "exclude_seen: expected True or False"),
        (lambda m: m.recommend("u1", exclude_seen=np.zeros(2)), "exclude_seen: expected True or"),
        (lambda m: m.recommend("u1", as_arrays=pd.NA), "as_arrays: expected True or False, found"),
        (lambda m: m.recommend_new(3), "history: item: expected one of 16 known ids"),
        (lambda m: m.recommend_new(["i1"], ratings=1j), "ratings: row 1: expected a number, found"),
        (lambda m: m.recommend_new(["i1"], ratings=FRAME["user"]), "ratings: row 1: expected"),
        (lambda m: m.rank("u1", [None]), "items: row 1: expected an id, found nothing"),
        (lambda m: m.predict("u1", None), "items: expected an id, found nothing"),
        (lambda m: m.explain("u1", None), "item: row 1: expected an id, found nothing"),
        (lambda m: m.similar_users("u1", exclude_users=3), "exclude_users: user: expected one of"),
        (lambda m: m.save(3), "folder: expected a text or a path, found 3"),
        (lambda m: sif.evaluate(None, FRAME), "model: expected Recommender, found None"),
        (lambda m: sif.evaluate(m, ""), "data: expected a data frame, a sparse matrix, a file or"),
        (lambda m: sif.compare(None, FRAME), "models: expected names, each with Recommender"),
        (lambda m: sif.compare([m, m], FRAME), "models: expected names, each with Recommender"),
        (lambda m: sif.compare({"a": 3}, FRAME), "models: expected names, each with Recommender"),
        (lambda m: sif.compare({"a": m}, FRAME, seed=-1), "seed: expected an integer from 0 to"),
        (lambda m: sif.compare({"a": m}, FRAME, seed="x"), "seed: expected a whole number, found"),
        (lambda m: sif.compare({"a": m}, FRAME, FRAME["user"]), "against: expected a text or None"),
        (lambda m: sif.compare({"a": m}, FRAME, metric=FRAME), "metric: expected a text or None"),
        (lambda _: Recommender.load(None), "folder: expected a text or a path, found None"),
        (lambda _: sif.InteractionFunction.load(3), "path: expected a text or a path, found 3"),
        (lambda _: sif.InteractionFunction(None), "genotype: expected Genotype, found None"),
        (lambda _: sif.InteractionFunction.of(None), "model: expected ServedModel, found None"),
        (lambda _: sif.run_job({"task": "cf"}), "config: expected CommonConfig, found {'task'"),
        (lambda _: sif.search_function(FRAME, threads=FRAME), "threads: expected an integer, "),
        (lambda _: Recommender().fit(FRAME, valid=3), "valid: expected a data frame, a sparse"),
        (lambda _: Recommender().fit(" "), "data: expected a data frame, a sparse matrix, a file"),
        (lambda _: Recommender(dimension=10**30).fit(FRAME), "dimension: train.dimension: "),
        (lambda _: Recommender(threads=10**6).fit(FRAME), "threads: expected a number less than"),
        (lambda _: Recommender().fit(FRAME.rename(columns={"user": "stranger"})),
         'data frame: user: expected a column such as user, userid, uid (or name it: settings={'),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named(
    model: Recommender, call: Callable[[Recommender], object], said: str
) -> None:
    assert refused(lambda: call(model)).startswith(said)


@pytest.mark.parametrize("dimension", [None, "8", 1.5, True])
def test_a_dimension_is_a_whole_number(model: Recommender, dimension: Any) -> None:
    genotype = model.model_.genotype
    said = refused(lambda: sif.InteractionFunction(genotype, dimension))
    assert said == f"dimension: expected a whole number, found {dimension!r}"
    said = refused(lambda: sif.InteractionFunction(genotype, 4)(None, torch.zeros(4)))
    assert said == "user vectors: expected a tensor, found another type"


def test_numbers_of_numpy_and_zero_and_one_are_taken(model: Recommender) -> None:
    expected = model.recommend("u1", n=3, exclude_seen=False)
    for false in (0, np.bool_(False)):
        found = model.recommend("u1", n=np.int64(3), exclude_seen=false)  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(found, expected)


def test_a_setting_that_is_given_twice_is_refused() -> None:
    settings = {"train.epochs": 1, "train": {"epochs": 2}}
    said = refused(lambda: Recommender(settings=settings).fit(FRAME))
    assert said == "settings: train.epochs: expected once, found 1 and 2"


def test_an_answer_to_unknown_users_that_is_set_later_is_checked(
    model: Recommender, tmp_path: Path
) -> None:
    model.save(tmp_path)
    loaded = Recommender.load(tmp_path).set_params(unknown="x")
    assert refused(lambda: loaded.recommend("zzz")).startswith(
        "unknown: expected one of error, pop"
    )


def test_a_near_id_is_offered(model: Recommender) -> None:
    assert refused(lambda: model.recommend("u 12")).endswith("found 'u 12'; did you mean 'u12'?")


def test_former_attributes_before_fit_say_that_there_was_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("valid_", "found_"):
            assert "found one before fit" in refused(lambda n=name: getattr(Recommender(), n))


def test_what_was_not_fitted_is_scikit_learns_error_too() -> None:
    theirs = pytest.importorskip("sklearn.exceptions").NotFittedError
    with pytest.raises(theirs, match="expected a fitted one") as caught:
        Recommender().recommend("u1")
    assert isinstance(caught.value, sif.NotFittedError)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copied, theirs) and copied.args == caught.value.args


def test_results_are_written_short(model: Recommender, checkerboard: Board) -> None:
    frame = checkerboard(30, 16)
    late = pd.DataFrame({"user": ["u0"], "item": ["i1"]})
    late["item"] = sorted(set(frame.item) - set(frame.item[frame.user == "u0"]))[0]
    written = repr(sif.evaluate(model, late))
    assert written.startswith("Evaluation(ndcg@10 ") and written.endswith("; 1 users, 29 left out)")


def test_a_run_is_written_as_its_verdict() -> None:
    result = RunResult(Path("runs/x"), {"test": {"ndcg@10": 0.5}}, Verdict("ours wins", None, None))
    assert repr(result) == "RunResult('runs/x': ours wins)"


def test_the_former_class_warns_wherever_it_is_imported_from() -> None:
    with pytest.warns(DeprecationWarning, match=r"SIFRecommender is deprecated: use sif\.Recom"):
        from sif.recommender import SIFRecommender
    assert issubclass(SIFRecommender, Recommender)
