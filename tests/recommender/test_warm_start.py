"""Fits from an earlier model: the same function, the vectors of known ids, an unseen validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sif import Recommender
from sif.config import CFConfig
from sif.data.interactions import Interactions
from sif.errors import ConfigError, DataError
from sif.recommender.fit import prepared, started
from sif.recommender.inputs import parts
from sif.recommender.warm_start import WarmStart
from sif.spaces.interaction.function import InteractionNetwork

STAGES = {"functions": ["encoding", "operation"], "closed": ["closed", "encoding"]}


def circles(users: int, per_user: int, seed: int, first: int = 0) -> pd.DataFrame:
    """Users of two circles of ten items, of which each has some."""
    draws = np.random.default_rng(seed)
    rows = [
        (f"u{user}", f"i{10 * (user % 2) + item}")
        for user in range(first, first + users)
        for item in draws.permutation(10)[:per_user]
    ]
    return pd.DataFrame(rows, columns=["user", "item"])


def recommender(stages: str = "functions", **settings: Any) -> Recommender:
    few = {"train.epochs": 8, "search.epochs": 1, "search.stages": STAGES[stages], **settings}
    return Recommender(dimension=4, threads=1, baselines=[], settings=few)


@pytest.fixture(scope="module")
def early() -> Recommender:
    return recommender().fit(circles(60, 6, 0))


def later() -> pd.DataFrame:
    """The same users with more, and new ones."""
    return pd.concat([circles(60, 6, 0), circles(60, 9, 1), circles(20, 6, 2, first=200)])


def test_nothing_is_searched_and_the_function_stays(early: Recommender, tmp_path: Path) -> None:
    early.save(tmp_path)
    warm = recommender().fit(later(), warm_start=tmp_path)
    before, after = early.fitted_model(), warm.fitted_model()
    assert after.genotype == before.genotype
    assert after.constants["l2"] == pytest.approx(before.constants["l2"])
    assert [row.model for row in warm.report().rows] == ["searched"]
    assert warm.report().search.startswith("no search: the function of the earlier model")
    assert "u200" in after.vocabularies[0].ids and len(warm.recommend("u200", n=3)) == 3


def test_vectors_of_known_ids_begin_where_they_were(early: Recommender) -> None:
    config = recommender()._configuration()
    warm = WarmStart.of(early, config)
    _, problem = prepared(later(), None, config, started(None), warm)
    first, before = warm.initial(problem), early.fitted_model()
    assert first is not None and isinstance(before.trained, InteractionNetwork)
    touched = set(problem.train_part.vocabularies[0].ids[problem.train_part.ids[:, 0]])
    for f in (0, 1):
        ids = problem.train_part.vocabularies[f].ids
        old = before.vocabularies[f].lookup(ids)
        expected = before.trained.tables.embeddings[f].detach()[old[old >= 0]]
        found = first[f"tables.embeddings.{f}"][torch.from_numpy(old >= 0)]
        torch.testing.assert_close(found, expected)
    new = torch.from_numpy(
        before.vocabularies[0].lookup(problem.train_part.vocabularies[0].ids) < 0
    )
    assert new.sum() == 20 and "u200" in touched
    fresh = problem.network(before.genotype).state_dict()["tables.embeddings.0"]
    assert (first["tables.embeddings.0"][new] != fresh[new]).any(dim=1).all()  # folded in


def test_a_table_of_histories_is_told_from_the_embeddings() -> None:
    """What is served is the sum; a training goes on from its parts."""
    warm_of = recommender(**{"search.choices": {"encoding": ["both"]}})
    early = warm_of.fit(circles(60, 6, 0))
    model = early.fitted_model()
    assert isinstance(model.trained, InteractionNetwork)
    config = warm_of._configuration()
    warm = WarmStart.of(early, config)
    _, problem = prepared(later(), None, config, started(None), warm)
    first = warm.initial(problem)
    assert first is not None
    same = problem.again(parts(circles(60, 6, 0), None, 0)[0])
    network = same.network(model.genotype)
    again = WarmStart(model).initial(same)
    assert again is not None
    network.load_state_dict(dict(again))
    served = same.served(network).tables.embeddings[0].detach()
    torch.testing.assert_close(
        served, model.trained.tables.embeddings[0].detach(), rtol=1e-4, atol=1e-5
    )


def test_only_unseen_rows_judge(early: Recommender) -> None:
    config = recommender()._configuration()
    assert isinstance(config, CFConfig)
    known, train, held = parts(later(), None, 0)
    fitted, judges = WarmStart.of(early, config).parts(known, train, held)
    seen = set(circles(60, 6, 0).itertuples(index=False, name=None))

    def pairs(rows: Interactions) -> set[tuple[str, str]]:
        users, items = (v.ids[rows.ids[:, f]] for f, v in enumerate(rows.vocabularies))
        return set(zip(users.tolist(), items.tolist(), strict=True))

    assert pairs(judges) == pairs(held) - seen
    assert pairs(fitted) == pairs(known) - pairs(judges)


def test_a_fit_on_nothing_new_is_refused(early: Recommender) -> None:
    with pytest.raises(DataError, match="that the earlier model has not seen"):
        recommender().fit(circles(60, 6, 0), warm_start=early)


def test_what_gives_no_start_is_refused(early: Recommender) -> None:
    with pytest.raises(ConfigError, match="expected a recommender or the folder of one, found int"):
        recommender().fit(later(), warm_start=3)
    with pytest.raises(ConfigError, match="expected a model of the objective rating"):
        Recommender("rating", baselines=[]).fit(later().assign(rating=1), warm_start=early)


def test_closed_forms_are_solved_near_the_known_constants() -> None:
    early = recommender("closed", **{"train.epochs": 1}).fit(circles(60, 6, 0))
    if early.fitted_model().genotype.space != "closed":
        pytest.skip("validation preferred a function of vectors")
    warm = recommender("closed").fit(later(), warm_start=early)
    assert warm.fitted_model().genotype.space == "closed"
    assert [row.model for row in warm.report().rows] == ["closed"]
    assert np.isfinite(warm.validation_metrics_["ndcg@10"])
