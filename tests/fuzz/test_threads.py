"""Several threads on one recommender: no change is lost, every answer is that of one model.

A thousand calls:  SIF_FUZZ_TRIALS=250 pytest tests/fuzz/test_threads.py
"""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.adapters.implicit import SIFImplicit
from sif.errors import UnknownIdError
from sif.recommender.extend import grown_by_users
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender

THREADS, USERS, ITEMS = 8, 12, 10

Call = Callable[[Recommender], Any]


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Threads take turns after a few steps, not after five milliseconds."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@dataclass
class Log:
    """Models in the order in which they were served, each with the number of its change."""

    models: list[ServedModel] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)
    running: threading.local = field(default_factory=threading.local)


class Logged(Recommender):
    """A recommender that logs what it serves."""

    log: Log

    def _serve(self, model: ServedModel, **learned: Any) -> None:
        with self._writing():
            # Before, so that whoever is answered by a model finds it in the log.
            self.log.models.append(model)
            self.log.changes.append(getattr(self.log.running, "number", -1))
            super()._serve(model, **learned)


@pytest.fixture(scope="module")
def fitted() -> ServedModel:
    draws = np.random.default_rng(0)
    rows = sorted({(draws.integers(USERS), draws.integers(ITEMS)) for _ in range(60)})
    frame = pd.DataFrame([(f"u{u}", f"i{i}") for u, i in rows], columns=["user", "item"])
    settings = {"search.epochs": 1, "train.epochs": 3, "train.l2": [1.0]}
    model = Recommender(dimension=4, threads=1, baselines=[], settings=settings)
    return model.fit(frame).fitted_model()


def serving(model: ServedModel) -> Logged:
    recommender = Logged(unknown="popular")
    recommender.log = Log()
    recommender._serve(model)
    return recommender


def change(number: int, rng: np.random.Generator) -> Call:
    """Folds in a user of its own and a known one, every other time with a new item."""
    grows = number % 2
    items = [f"i{i}" for i in rng.choice(ITEMS, 3, replace=False)]
    rows = [(f"new{number}", item) for item in items] + [(f"u{rng.integers(USERS)}", items[0])]
    rows += [(f"u{u}", f"item{number}") for u in rng.choice(USERS, 3, replace=False)] * grows
    frame = pd.DataFrame(rows, columns=["user", "item"])
    return lambda model: (model.partial_fit if grows else model.fold_in)(frame)


def questions(user: str, item: str, other: str) -> list[Call]:
    """A question of each kind."""
    arrays = {"as_arrays": True}
    return [
        lambda model: model.recommend([user, other], 40, **arrays),
        lambda model: model.recommend_new([item], 40, **arrays),
        lambda model: model.rank(user, [item, "i0", "i2"], **arrays),
        lambda model: model.similar_items(item, 40, **arrays),
        lambda model: model.similar_users(user, 40, **arrays),
        lambda model: model.explain(user, item, 40, **arrays),
        lambda model: (model.predict([user], [item]),),
        lambda model: SIFImplicit(model).recommend(0, None, 40, False),
        lambda model: SIFImplicit(model).similar_users([0, 1], 40),
    ]


def question(number: int, rng: np.random.Generator) -> Call:
    """One about users of old, whom changes change, and about newer ones."""
    ids = [f"u{rng.integers(USERS)}", f"i{rng.integers(ITEMS)}", f"new{rng.integers(number + 1)}"]
    asked = questions(*ids)
    return asked[int(rng.integers(len(asked)))]


def alike(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def in_threads(work: Callable[[int], Any], count: int) -> list[Any]:
    """The results of numbered pieces of work, by threads that begin together."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(count)))


def check_same(one: ServedModel, other: ServedModel) -> None:
    """Two models hold the same, number for number."""
    for a, b in zip(one.vocabularies, other.vocabularies, strict=True):
        assert a.ids.tolist() == b.ids.tolist()
    assert (one.seen != other.seen).nnz == 0
    state, expected = one.network.state_dict(), other.network.state_dict()
    assert all(np.array_equal(state[name], expected[name]) for name in expected)


def test_changes_and_questions_have_an_order(fitted: ServedModel, trials: int) -> None:
    """A question is answered by a model that was served between its beginning and its end."""
    recommender, count = serving(fitted), 4 * trials
    log, answers = recommender.log, {}
    changes = {n: change(n, np.random.default_rng(n)) for n in range(0, count, 4)}

    def work(number: int) -> None:
        if number in changes:
            log.running.number = number
            assert changes[number](recommender) is recommender
            return
        ask = question(number, np.random.default_rng(number))
        first = max(0, len(log.models) - 2)  # a model is logged a moment before it is served
        answer = ask(recommender)
        answers[number] = first, answer, len(log.models)

    in_threads(work, count)
    assert sorted(log.changes) == [-1, *changes]
    serial = serving(fitted)
    for number in log.changes[1:]:
        changes[number](serial)
    check_same(recommender.fitted_model(), serial.fitted_model())
    names = set(recommender.fitted_model().vocabularies[0].ids)
    assert {f"new{number}" for number in changes} <= names
    for number, (first, answer, last) in answers.items():
        asked = (
            question(number, np.random.default_rng(number))(serving(model))
            for model in log.models[first:last]
        )
        assert any(alike(one, answer) for one in asked), number


def test_first_questions_build_indexes_at_once(fitted: ServedModel, trials: int) -> None:
    """Threads that find no index yet build it side by side, and answer alike."""

    def answers(trial: int) -> list[Any]:
        barrier, recommender = threading.Barrier(THREADS), serving(fitted)

        def work(_: int) -> Any:
            barrier.wait()
            return question(0, np.random.default_rng(trial))(recommender)

        return in_threads(work, THREADS)

    for trial in range(max(1, trials // 10)):
        expected = question(0, np.random.default_rng(trial))(serving(fitted))
        assert all(alike(answer, expected) for answer in answers(trial)), trial


class Restless(Recommender):
    """A recommender whose model changes whenever it was read."""

    def fitted_model(self) -> ServedModel:
        model = super().fitted_model()
        self._serve(Recommender.partial_fit(serving(model), everything(model)).fitted_model())
        return model


def everything(model: ServedModel) -> pd.DataFrame:
    """Three items for every user, and a new item and a new user."""
    names = [*model.vocabularies[0].ids, f"new{len(model.vocabularies[0])}"]
    items = ["i0", "i1", f"item{len(model.vocabularies[1])}"]
    return pd.DataFrame(
        [(user, item) for user in names for item in items], columns=["user", "item"]
    )


@pytest.mark.parametrize("kind", range(9))
def test_an_answer_reads_the_model_once(fitted: ServedModel, kind: int) -> None:
    ask = questions("u1", "i1", "u2")[kind]
    restless = Restless()
    restless._serve(fitted)
    assert alike(ask(restless), ask(serving(fitted)))
    assert not alike(ask(restless), ask(serving(fitted)))  # the next one is of another model


def test_answers_copies_and_pickles_wait_for_no_change(fitted: ServedModel) -> None:
    """While a change runs, the model before it answers; the end of a fit waits for the change."""
    recommender, begun, end = Recommender(), threading.Event(), threading.Event()
    recommender._serve(fitted)

    def slow(model: ServedModel, further: Any) -> ServedModel:
        begun.set()
        assert end.wait(30)
        return grown_by_users(model, further)

    new = pd.DataFrame({"user": ["guest"], "item": ["i1"]})
    fresh = replace(fitted, titles={"i1": "One"})
    with ThreadPoolExecutor(2) as pool:
        change = pool.submit(lambda: recommender._grow(new, slow))
        assert begun.wait(30)
        served = pool.submit(recommender._serve, fresh, searched_function_="max(user, item)")
        for copied in (recommender, copy.deepcopy(recommender), copy.copy(recommender)):
            with pytest.raises(UnknownIdError, match="guest"):
                copied.recommend("guest")
            assert not hasattr(copied, "searched_function_")
            assert len(copied.recommend("u1", 3)) == 3
        copied.fold_in(new)  # the lock is no part of a copy
        assert not served.done() and not change.done()
        end.set()
        change.result(30)
        served.result(30)
    assert recommender.titles and recommender.searched_function_ == "max(user, item)"
    assert "guest" in pickle.loads(pickle.dumps(copied)).fitted_model().vocabularies[0].ids
    assert "_lock" not in pickle.loads(pickle.dumps(copied)).__getstate__()
