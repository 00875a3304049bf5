"""Taking in further rows, by family: what it gives, and whom it leaves alone."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sif import Recommender
from sif.baselines import BASELINES
from sif.config import CFConfig, load_config
from sif.core.genotype import Genotype
from sif.problems.controls import fixed_multiply
from sif.problems.interactions import InteractionProblem
from sif.recommender.inputs import parts
from sif.recommender.model import ServedModel
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

BASELINE_PARAMS: dict[str, dict[str, float]] = {
    "als": {"dimension": 6, "l2": 3.0, "alpha": 4.0, "epochs": 5},
    "ease": {"l2": 20.0},
    "markov": {"smoothing": 1.0},
}
ENCODED = {"id": ("id", "id"), "both": ("both", "id"), "history": ("history", "both")}


def walks() -> pd.DataFrame:
    """Every user walks around one of three circles of 10 items, from somewhere."""
    draws = np.random.default_rng(0)
    rows = []
    for user in range(50):
        circle, start = draws.integers(0, 3), draws.integers(0, 10)
        rows += [
            (f"u{user}", f"i{10 * circle + (start + step) % 10}", 1_000_000 + 60 * step + user)
            for step in range(6)
        ]
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


@pytest.fixture(scope="module", params=[*ENCODED, *BASELINE_PARAMS])
def fitted(request: pytest.FixtureRequest) -> Recommender:
    name: str = request.param
    config = load_config("cf", sets=["threads=1", "baselines=[]", "train.dimension=6"])
    assert isinstance(config, CFConfig)
    _, known, held = parts(walks(), None, 0)
    problem = InteractionProblem(known, held, config, make_runtime("cpu", 0, 1))
    if name in ENCODED:
        blocks = {**fixed_multiply(problem).blocks, "encoding": tuple(enumerate(ENCODED[name]))}
        genotype = Genotype("staged", blocks)
        trained = problem.train(genotype, NullTracker(), NoCheckpoint(), l2=2.0, epochs=2)
        model = ServedModel.of(problem, genotype, trained.network, 2.0, known)
    else:
        serving, params = BASELINES[name].serving, BASELINE_PARAMS[name]
        assert serving is not None
        network = serving.network(BASELINES[name].fit(known, params, 0, 1), known, params)
        model = ServedModel.of_baseline(problem, name, params, network, known)
    found = Recommender()
    found._serve(model)
    return found


def further() -> pd.DataFrame:
    """Known and new users with known items, some of which they have."""
    rows = [("u1", "i3"), ("u1", "i27"), ("u2", "i3"), ("u1", "i3"), ("new", "i4"), ("new", "i5")]
    frame = pd.DataFrame(rows, columns=["user", "item"])
    return frame.assign(timestamp=range(2_000_000, 2_000_000 + len(frame)))


def history(model: Recommender, user: str) -> list[str]:
    """What a user has, in order."""
    served = model.fitted_model()
    row = served.seen[served.vocabularies[0].index([user])]
    return served.vocabularies[1].ids[row.indices[np.argsort(row.data, kind="stable")]].tolist()


def test_a_touched_user_is_what_the_whole_history_makes(fitted: Recommender) -> None:
    model = copy.copy(fitted).partial_fit(further())
    assert set(history(model, "u1")) == {*history(fitted, "u1"), "i3", "i27"}
    assert history(model, "new") == ["i4", "i5"]
    for user in ("u1", "u2", "new"):
        expected = model.recommend_new(history(model, user), n=30)
        pd.testing.assert_frame_equal(model.recommend(user, n=30), expected, rtol=1e-4, atol=1e-5)


def test_the_others_and_the_model_before_stay(fitted: Recommender) -> None:
    users = [f"u{n}" for n in range(3, 50)]
    before = fitted.recommend(users, as_arrays=True), fitted.recommend("u1", as_arrays=True)
    seen = fitted.fitted_model().seen.copy()
    model = copy.copy(fitted).partial_fit(further())
    for one, other in zip(model.recommend(users, as_arrays=True), before[0], strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(fitted.recommend("u1", as_arrays=True), before[1], strict=True):
        np.testing.assert_array_equal(one, other)
    assert (fitted.fitted_model().seen != seen).nnz == 0
    assert "new" not in fitted.fitted_model().vocabularies[0].ids


def test_row_after_row_is_as_all_at_once(fitted: Recommender, tmp_path: Path) -> None:
    whole, by_row = copy.copy(fitted).partial_fit(further()), copy.copy(fitted)
    for number in range(len(further())):
        by_row.partial_fit(further().iloc[[number]])
    by_row.save(tmp_path)
    for model in (by_row, Recommender.load(tmp_path)):
        assert model.fitted_model().vocabularies[0] == whole.fitted_model().vocabularies[0]
        for user in ("u1", "u2", "new"):
            assert history(model, user) == history(whole, user)
            pd.testing.assert_frame_equal(
                model.recommend(user), whole.recommend(user), rtol=1e-4, atol=1e-5
            )


def test_new_items_are_had_or_recommended(fitted: Recommender) -> None:
    rows = pd.DataFrame({"user": ["u1", "u2", "u3"], "item": "fresh", "timestamp": 3_000_000})
    model = copy.copy(fitted).partial_fit(rows)
    assert "fresh" not in model.recommend("u1", n=100)["item"].tolist()
    if model.fitted_model().reads_order:  # until the next fit
        assert "fresh" not in model.fitted_model().vocabularies[1].ids
    else:
        assert "fresh" in model.recommend("u9", n=100)["item"].tolist()
        assert set(history(model, "u3")) == {*history(fitted, "u3"), "fresh"}


def test_the_time_that_was_named_may_be_missing_later() -> None:
    """A server's events have a time only where somebody sends one."""
    frame = walks().rename(columns={"timestamp": "clicked_at"})
    settings = {"data.timestamp": "clicked_at", "train.epochs": 1, "train.dimension": 2,
                "search.stages": ["operation"], "search.epochs": 1}  # fmt: skip
    model = Recommender(threads=1, baselines=[], settings=settings).fit(frame)
    model.partial_fit(pd.DataFrame({"user": ["guest"], "item": ["i3"]}))
    assert history(model, "guest") == ["i3"]
