"""What every adapter promises, asked of all of them: the answers of `Recommender`, in theirs.

Numbers and ids differ by library; a face per library turns them into original ids and scores.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.adapters.implicit import SIFFactors, SIFImplicit, to_implicit
from sif.errors import ShapeError, UnknownIdError
from sif.recommender.recommender import Recommender

Scored = dict[str, float]


class Ours:
    unseen: type[Exception] = UnknownIdError

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender

    def top(self, user: str, n: int, filtered: bool = True) -> list[str]:
        return self.recommender.recommend(user, n, filtered, as_arrays=True)[0].tolist()

    def batch(self, users: list[str], n: int) -> list[list[str]]:
        items, _ = self.recommender.recommend(users, n, as_arrays=True)
        return [[i for i in row if i] for row in items.tolist()]

    def scores(self, user: str) -> Scored:
        items, scores = self.recommender.recommend(user, 10_000, False, as_arrays=True)
        return dict(zip(items.tolist(), scores.tolist(), strict=True))

    def again(self, folder: Path) -> Ours:
        self.recommender.save(folder)
        return type(self)(Recommender.load(folder))


class Implicit:
    """Either of implicit's kinds; matrices and numbers are those of the object itself."""

    unseen: type[Exception] = (IndexError, ShapeError)  # type: ignore[assignment]

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


class LensKit:
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


class Cornac:
    unseen: type[Exception] = ValueError

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

    batch = None

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
Face = Any


@pytest.fixture(params=KINDS, ids="-".join)
def recommender(request: pytest.FixtureRequest, make: Any) -> Recommender:
    found: Recommender = make(*request.param)
    return found


@pytest.fixture(params=FACES, ids=lambda face: face.__name__)
def face(request: pytest.FixtureRequest, recommender: Recommender) -> Face:
    return request.param(recommender)


def users(recommender: Recommender) -> list[str]:
    return recommender.model_.vocabularies[0].ids.tolist()


def liked(recommender: Recommender, user: str) -> set[str]:
    model = recommender.model_
    row = model.seen[model.vocabularies[0].index([user])]
    return set(model.vocabularies[1].ids[row.indices])


def test_everybody_gets_our_ten_best(face: Face, recommender: Recommender) -> None:
    for user in users(recommender):
        found, expected = face.top(user, 10), Ours(recommender).top(user, 10)
        # Equal scores, which maxima have, are ordered as the library likes.
        own = Ours(recommender).scores(user)
        assert [own[i] for i in found] == [own[i] for i in expected], user
        assert len(set(found)) == len(found) and not set(found) & liked(recommender, user)
        if len(set(own.values())) == len(own):
            assert found == expected, user


def test_scores_are_ours(face: Face, recommender: Recommender) -> None:
    for user in users(recommender)[:5]:
        expected = Ours(recommender).scores(user)
        found = face.scores(user)
        assert found.keys() == expected.keys()
        for item, score in expected.items():
            assert found[item] == pytest.approx(score, rel=1e-4, abs=1e-5)


def test_a_batch_is_its_users_one_by_one(face: Face, recommender: Recommender) -> None:
    if face.batch is None:
        pytest.skip("the library has no batches")
    some = users(recommender)[3:9]
    for user, row in zip(some, face.batch(some, 4), strict=True):
        assert row == face.top(user, 4)


def test_what_is_liked_is_left_out_unless_it_is_asked_for(
    face: Face, recommender: Recommender
) -> None:
    everything = set(recommender.model_.vocabularies[1].ids)
    for user in users(recommender)[:5]:
        assert set(face.top(user, len(everything))) == everything - liked(recommender, user)
        assert set(face.top(user, len(everything), False)) == everything


def test_more_than_there_is_is_what_there_is(face: Face, recommender: Recommender) -> None:
    (user,) = users(recommender)[2:3]
    count = len(recommender.model_.vocabularies[1])
    found = face.top(user, 3 * count)
    assert len(found) == len(set(found)) == count - len(liked(recommender, user))
    assert found[:5] == face.top(user, 5)


def test_somebody_unseen_is_not_made_up(face: Face) -> None:
    if face.unseen is None:
        assert face.top("nobody", 5) == []
        return
    with pytest.raises(face.unseen):
        face.top("nobody", 5)


def test_saved_and_loaded_it_answers_alike(
    face: Face, recommender: Recommender, tmp_path: Path
) -> None:
    again = face.again(tmp_path)
    for user in users(recommender)[:6]:
        assert again.top(user, 10) == face.top(user, 10)
        assert again.scores(user) == face.scores(user)


def test_functions_with_factors_are_implicits_own_model(make: Any) -> None:
    from implicit.cpu.matrix_factorization_base import MatrixFactorizationBase

    assert isinstance(to_implicit(make("multiply")), MatrixFactorizationBase)
    assert isinstance(to_implicit(make("multiply+plus", encoding="history")), SIFFactors)
    assert isinstance(to_implicit(make("max")), SIFImplicit)
