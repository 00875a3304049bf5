"""The promise of every adapter: its answers are those of `Recommender`.

Numbers and ids differ by library; a face per library turns them into original ids and scores.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.adapters.implicit import SIFFactors, SIFImplicit, to_implicit
from sif.errors import ShapeError, UnknownIdError
from sif.recommender.recommender import Recommender
from sif.testing import (
    RECOMMENDER_CHECKS,
    ContractError,
    RecommenderCase,
    check_recommender,
)

Scored = dict[str, float]


class Adapted(RecommenderCase):
    """A recommender of ours in some library, which is expected to answer alike."""

    recommender: Recommender

    def users(self) -> list[str]:
        return self.recommender.model_.vocabularies[0].ids.tolist()

    def items(self) -> list[str]:
        return self.recommender.model_.vocabularies[1].ids.tolist()

    def liked(self, user: str) -> set[str]:
        model = self.recommender.model_
        row = model.seen[model.vocabularies[0].index([user])]
        return set(model.vocabularies[1].ids[row.indices])

    def expected(self, user: str) -> Scored:
        items, scores = self.recommender.recommend(user, 10_000, False, as_arrays=True)
        return dict(zip(items.tolist(), scores.tolist(), strict=True))


class Ours(Adapted):
    unseen = UnknownIdError

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender

    def top(self, user: str, n: int, filtered: bool = True) -> list[str]:
        return self.recommender.recommend(user, n, filtered, as_arrays=True)[0].tolist()

    def batch(self, users: list[str], n: int) -> list[list[str]]:
        items, _ = self.recommender.recommend(users, n, as_arrays=True)
        return [[i for i in row if i] for row in items.tolist()]

    def scores(self, user: str) -> Scored:
        return self.expected(user)

    def again(self, folder: Path) -> Ours:
        self.recommender.save(folder)
        return type(self)(Recommender.load(folder))


class Implicit(Adapted):
    """Either of implicit's kinds; matrices and numbers are those of the object itself."""

    unseen = (IndexError, ShapeError)

    def __init__(self, recommender: Recommender, model: Any = None) -> None:
        self.recommender = recommender
        self.model = to_implicit(recommender) if model is None else model
        self.has = to_implicit(recommender).user_items

    def number(self, user: str) -> int:
        found = np.flatnonzero(self.model.user_ids == user)
        return int(found[0]) if len(found) else len(self.model.user_ids)

    def named(self, ids: Any, scores: Any) -> Scored:
        return {str(self.model.item_ids[i]): float(s) for i, s in zip(ids, scores, strict=True)
                if i >= 0 and s > -1e30}  # fmt: skip

    def top(self, user: str, n: int, filtered: bool = True) -> list[str]:
        row = self.number(user)
        has = self.has[row if row < self.has.shape[0] else 0]
        n = min(n, len(self.model.item_ids))  # implicit's own product fills up with item 0
        return list(self.named(*self.model.recommend(row, has, n, filtered)))

    def batch(self, users: list[str], n: int) -> list[list[str]]:
        rows = [self.number(user) for user in users]
        ids, scores = self.model.recommend(rows, self.has[rows], n)
        return [list(self.named(i, s)) for i, s in zip(ids, scores, strict=True)]

    def scores(self, user: str) -> Scored:
        row = self.number(user)
        count = len(self.model.item_ids)
        return self.named(*self.model.recommend(row, self.has[row], count, False))

    def again(self, folder: Path) -> Implicit:
        file = folder / "model" if isinstance(self.model, SIFImplicit) else folder / "model.npz"
        self.model.save(file if isinstance(self.model, SIFImplicit) else str(file))
        return type(self)(self.recommender, type(self.model).load(str(file)))


class LensKit(Adapted):
    unseen = None  # an unknown user without a history gets no list

    def __init__(self, recommender: Recommender, scorer: Any = None) -> None:
        pytest.importorskip("lenskit")
        from lenskit.data import from_interactions_df
        from lenskit.pipeline import topn_pipeline

        from sif.adapters.lenskit import SIFScorer

        self.recommender = recommender
        self.scorer = SIFScorer.of(recommender) if scorer is None else scorer
        self.pipeline = topn_pipeline(self.scorer)
        model = recommender.model_
        pairs = model.seen.tocoo()
        names = [v.ids[c] for v, c in zip(model.vocabularies, pairs.coords, strict=True)]
        frame = pd.DataFrame({"user_id": names[0], "item_id": names[1]})
        self.pipeline.train(from_interactions_df(frame))

    def top(self, user: str, n: int, filtered: bool = True) -> list[str]:
        if not filtered:
            return list(self.scores(user))[:n]
        return self.pipeline.run("recommender", query=user, n=n).ids().tolist()

    def batch(self, users: list[str], n: int) -> list[list[str]]:
        from lenskit.batch import recommend

        lists = recommend(self.pipeline, users, n=n, n_jobs=1)
        found = {key.user_id: items.ids().tolist() for key, items in lists}
        return [found[user] for user in users]

    def scores(self, user: str) -> Scored:
        from lenskit.data import ItemList

        ids = self.recommender.model_.vocabularies[1].ids
        items = self.pipeline.run("scorer", query=user, items=ItemList(item_ids=ids))
        pairs = zip(items.ids().tolist(), items.scores().tolist(), strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def again(self, folder: Path) -> LensKit:
        return type(self)(self.recommender, pickle.loads(pickle.dumps(self.scorer)))


class Cornac(Adapted):
    unseen = ValueError
    has_batches = False

    def __init__(self, recommender: Recommender, model: Any = None) -> None:
        pytest.importorskip("cornac")
        from cornac.data import Dataset

        from sif.adapters.cornac import SIFCornac

        self.recommender = recommender
        served = recommender.model_
        pairs = served.seen.tocoo()
        names = [v.ids[c].tolist() for v, c in zip(served.vocabularies, pairs.coords, strict=True)]
        self.data = Dataset.from_uir(list(zip(*names, [5.0] * len(names[0]), strict=True)))
        self.model = model
        if model is None:
            self.model = SIFCornac(recommender=recommender).fit(self.data)

    def top(self, user: str, n: int, filtered: bool = True) -> list[str]:
        ranked = self.model.recommend(user, remove_seen=filtered, train_set=self.data)
        return [str(item) for item in ranked[:n]]

    def scores(self, user: str) -> Scored:
        scores = self.model.score(self.data.uid_map[user])
        found = {str(item): float(scores[i]) for item, i in self.data.iid_map.items()}
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def again(self, folder: Path) -> Cornac:
        from sif.adapters.cornac import SIFCornac

        file = self.model.save(str(folder))
        return type(self)(self.recommender, SIFCornac.load(file))


FACES = [Ours, Implicit, LensKit, Cornac]
KINDS = [
    ("multiply", "ranking", "id"), ("multiply+plus", "ranking", "history"),
    ("max", "ranking", "id"), ("multiply", "rating", "id"), ("min+max", "rating", "id"),
    ("multiply", "ranking", "primitives"), ("min", "rating", "primitives"),
]  # fmt: skip


@pytest.fixture(params=KINDS, ids="-".join)
def recommender(request: pytest.FixtureRequest, make: Any) -> Recommender:
    found: Recommender = make(*request.param)
    return found


@pytest.fixture(params=FACES, ids=lambda face: face.__name__)
def face(request: pytest.FixtureRequest, recommender: Recommender) -> RecommenderCase:
    found: RecommenderCase = request.param(recommender)
    return found


@pytest.mark.parametrize("check", RECOMMENDER_CHECKS, ids=lambda check: check.__name__)
def test_an_adapter_keeps_its_promises(
    check: Callable[[RecommenderCase], None], face: RecommenderCase
) -> None:
    check(face)


class Forgetful(Ours):
    """Recommends what a user has."""

    def top(self, user: str, n: int, filtered: bool = True) -> list[str]:
        return super().top(user, n, False)


class Generous(Ours):
    """Knows everybody."""

    def top(self, user: str, n: int, filtered: bool = True) -> list[str]:
        return super().top("u0" if user == "nobody" else user, n, filtered)


class Coarse(Ours):
    """Scores in half of the digits."""

    def scores(self, user: str) -> dict[str, float]:
        return {item: float(np.float16(s)) for item, s in super().scores(user).items()}


@pytest.mark.parametrize(
    ("face", "told"),
    [
        (Coarse, "score .* of item"),
        (Forgetful, "different items that user .* does not have"),
        (Generous, "an unknown user"),
    ],
)
def test_the_suite_finds_what_is_broken(face: type[Ours], told: str, make: Any) -> None:
    with pytest.raises(ContractError, match=told):
        check_recommender(face(make()))


def test_functions_with_factors_are_implicits_own_model(make: Any) -> None:
    from implicit.cpu.matrix_factorization_base import MatrixFactorizationBase

    assert isinstance(to_implicit(make("multiply")), MatrixFactorizationBase)
    assert isinstance(to_implicit(make("multiply+plus", encoding="history")), SIFFactors)
    assert isinstance(to_implicit(make("max")), SIFImplicit)
