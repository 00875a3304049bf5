"""One user is answered as in a batch: rules, exclusions, choices, scales."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from sif.data.interactions import Vocabulary
from sif.errors import DataError, UnknownIdError
from sif.evaluation.cold_start import ColdStartRule
from sif.evaluation.scorers import Scale
from sif.recommender.model import ServedModel
from sif.recommender.owned import Owned
from sif.recommender.recommender import Recommender
from sif.retrieval.kernels import products
from sif.spaces.interaction.design import plain_product
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.operations import operation_named
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES

pytestmark = pytest.mark.skipif(products() is None, reason="needs numba")

USERS, ITEMS, DIMENSION = 9, 37, 5
FIELDS = ("user", "item")


def drawn(seed: int, rated: bool) -> ServedModel:
    """A model of small whole numbers, whose scores are exact and often equal."""
    rng = np.random.default_rng(seed)
    shape = TableShape((USERS, ITEMS), DIMENSION, biases=rated, intercept=rated)
    operation = operation_named("multiply", 2)
    assert operation is not None
    design = Design((PRIMITIVES[IDENTITY],) * 2, operation)
    network = InteractionNetwork(design, shape, torch.Generator())
    with torch.no_grad():
        for table in (*network.tables.embeddings, *network.tables.biases):
            table.copy_(torch.from_numpy(rng.integers(-2, 3, table.shape)).float())
        network.readout.copy_(torch.from_numpy(rng.choice([-1.0, 1.0], DIMENSION)))
    seen = sparse.csr_array((rng.random((USERS, ITEMS)) < 0.3).astype(np.float32))
    order = -rng.permutation(ITEMS).astype(np.float32)
    order[rng.random(ITEMS) < 0.2] = -np.inf
    vocabularies = tuple(
        Vocabulary(f"{field[0]}{n}" for n in range(size))
        for field, size in zip(FIELDS, (USERS, ITEMS), strict=True)
    )
    dropped = np.stack([np.arange(USERS), rng.integers(0, ITEMS, USERS)], axis=1)
    return ServedModel(
        plain_product(FIELDS), network, FIELDS, vocabularies, seen, {"i3": "Three"},
        Scale(3.5, 0.5) if rated else Scale(), "rating" if rated else "ranking",
        ColdStartRule(order, rng.random(USERS) < 0.3), owned=Owned(vocabularies[1], dropped),
    )  # fmt: skip


def served(model: ServedModel) -> tuple[Recommender, Recommender]:
    """Recommenders that answer one user by the compiled calls, and by a batch of one."""
    one, batch = Recommender(), Recommender()
    one._serve(model)
    batch._serve(replace(model))
    vars(batch.server())["_single"] = None
    vars(batch.server().engine)["single"] = None
    return one, batch


@pytest.mark.parametrize("rated", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_answers_are_those_of_a_batch_to_the_bit(seed: int, rated: bool) -> None:
    one, batch = served(drawn(seed, rated))
    rng = np.random.default_rng(seed)
    names = [f"i{n}" for n in rng.permutation(ITEMS)]
    choices: list[dict[str, Any]] = [
        {}, {"exclude_seen": "trained"}, {"exclude_seen": False}, {"items": names[:11]},
        {"exclude_items": names[:9]}, {"items": names[:20], "exclude_items": names[15:]},
        {"items": names[:2], "exclude_seen": "none"}, {"items": []},
    ]  # fmt: skip
    for user in range(USERS):
        for n in (1, 7, 80):
            for choice in choices:
                for asked in (f"u{user}", [f"u{user}"])[: 1 + (n == 7)]:
                    mine = one.recommend(asked, n=n, as_arrays=True, **choice)
                    theirs = batch.recommend(asked, n=n, as_arrays=True, **choice)
                    for a, b in zip(mine, theirs, strict=True):
                        assert a.dtype == b.dtype
                        np.testing.assert_array_equal(a, b)


def test_frames_keep_their_columns_and_types() -> None:
    one, batch = served(drawn(1, True))
    for asked in ("u4", ["u4"], ["u4", "u5"]):
        mine, theirs = one.recommend(asked, n=4), batch.recommend(asked, n=4)
        assert mine.equals(theirs) and mine.dtypes.equals(theirs.dtypes)
    assert mine.columns.tolist() == ["user", "item", "score", "rank", "title"]
    mine = one.recommend("u4", n=ITEMS)
    assert mine.dtypes.astype(str).tolist() == ["object", "float32", "int64", "object"]
    assert mine.title[mine.item == "i3"].tolist() in ([], ["Three"])
    mine.loc[0, "score"] = -7.0  # a frame is the caller's
    assert one.recommend("u4", n=ITEMS).score[0] != -7.0


def test_ids_of_any_form_and_unknown_ones() -> None:
    one, batch = served(drawn(2, False))
    for asked in (" u3 ", b"u3", np.str_("u3")):
        np.testing.assert_array_equal(*(
            model.recommend(asked, as_arrays=True)[0] for model in (one, batch)
        ))  # fmt: skip
    with pytest.raises(UnknownIdError, match="user: expected one of 9 known ids"):
        one.recommend("u99")
    with pytest.raises(DataError, match="users: expected an id, found nothing"):
        one.recommend(" ")


def test_a_score_that_is_no_number_names_the_user() -> None:
    model = drawn(3, True)
    with torch.no_grad():
        model.network.tables.embeddings[0][5] = torch.nan
    one, batch = served(model)
    for recommender in (one, batch):
        with pytest.raises(DataError, match=r"^scores of user 'u5': expected numbers, found NaN"):
            recommender.recommend("u5", as_arrays=True)
        assert len(recommender.recommend("u4", as_arrays=True)[0])


def test_a_model_that_was_served_anew_is_asked_anew() -> None:
    one, _ = served(drawn(4, True))
    before = one.recommend("u1", n=5, as_arrays=True)[1]
    with torch.no_grad():
        one.model_.network.tables.embeddings[0].neg_()
    one._serve(one.model_)
    assert not np.array_equal(one.recommend("u1", n=5, as_arrays=True)[1], before)
