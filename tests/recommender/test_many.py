"""Many users are answered as a few are, block by block, within the memory that is told."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from sif.data.interactions import Vocabulary
from sif.errors import ConfigError, UnknownIdError
from sif.recommender import many
from sif.recommender.many import Blocks, recommend_many
from sif.recommender.model import ServedModel
from sif.recommender.owned import Owned
from sif.recommender.recommender import Recommender
from tests.recommender.test_one_user import ITEMS, USERS, drawn

ROOM = 1 << 25


@pytest.fixture
def model() -> Recommender:
    recommender = Recommender()
    recommender._serve(drawn(7, False))
    return recommender


def test_blocks_have_the_answers_of_everybody(
    model: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "MOST_USERS", 4)
    users = [f"u{n}" for n in range(USERS)]
    expected = model.recommend(users, n=5, as_arrays=True)
    for asked in (None, users):
        blocks = recommend_many(model, asked, n=5, memory=ROOM)
        assert len(blocks) == 3 and blocks.edges == (0, 4, 8, 9)
        found = [block.arrays() for block in blocks]
        for place in (0, 1):
            np.testing.assert_array_equal(
                np.concatenate([one[place] for one in found]), expected[place]
            )
    frames = pd.concat([block.frame() for block in blocks], ignore_index=True)
    assert frames.equals(model.recommend(users, n=5))
    assert np.concatenate([block.users for block in blocks]).tolist() == users


def test_choices_are_those_of_recommend(model: Recommender) -> None:
    options = {"exclude_seen": False, "items": ["i1", "i5", "i9"], "exclude_items": ["i5"]}
    (block,) = recommend_many(model, ["u3", "u4"], n=2, **options, memory=ROOM)  # type: ignore[arg-type]
    mine, theirs = block.arrays(), model.recommend(["u3", "u4"], n=2, as_arrays=True, **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(mine[0], theirs[0])
    assert set(mine[0].ravel()) <= {"i1", "i9", ""}


def test_batches_of_arrow(model: Recommender) -> None:
    arrow = pytest.importorskip("pyarrow")
    (block,) = recommend_many(model, n=3, memory=ROOM)
    batch = block.record_batch()
    assert batch.schema.names == ["user", "item", "score", "rank", "title"]
    assert batch.schema.field("rank").type == arrow.int32()
    pd.testing.assert_frame_equal(batch.to_pandas(), block.frame(), check_dtype=False)


def test_memory_is_told_beforehand_and_kept(model: Recommender) -> None:
    model._serve(_with_users(model.model_, 4000))
    fixed = model.server().engine.scratch_bytes
    told = str(recommend_many(model, n=10, memory=fixed + (1 << 20)))
    assert told.startswith("4,000 users in ") and told.endswith(" MB at a time")
    most: list[int] = []
    for room in (1 << 18, 1 << 20):
        blocks = recommend_many(model, n=10, memory=fixed + room)
        assert fixed < blocks.most_bytes <= fixed + room
        next(iter(blocks)).frame()  # what is kept from now on
        tracemalloc.start()
        for block in blocks:
            block.frame()
            block.arrays()
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert most[-1] <= blocks.most_bytes
        assert most[-1] <= 1.5 * room  # of numpy alone: scores are torch's
    assert len(recommend_many(model, n=10, memory=fixed + (1 << 18))) > 10


def _with_users(model: ServedModel, count: int) -> ServedModel:
    """The model with so many users, who have the vectors of its own by turns."""
    rows = np.arange(count) % USERS
    with torch.no_grad():
        table = model.network.tables.embeddings[0][torch.from_numpy(rows)]
    model.network.tables.embeddings[0] = torch.nn.Parameter(table)
    assert model.cold_start is not None
    seen = (np.random.default_rng(0).random((count, ITEMS)) < 0.5).astype(np.float32)
    return replace(
        model, vocabularies=(Vocabulary(f"user {n}" for n in range(count)),
                             model.vocabularies[1]),
        seen=sparse.csr_array(seen), owned=Owned(),
        cold_start=replace(model.cold_start, cold_users=model.cold_start.cold_users[rows]),
    )  # fmt: skip


def test_bad_arguments_are_one_line(model: Recommender) -> None:
    with pytest.raises(ConfigError, match=r"^memory: expected at least [\d,]+ bytes, found 1,000$"):
        recommend_many(model, memory=1000)
    for memory in (0, -1):
        with pytest.raises(ConfigError, match=r"^memory: expected a whole number of at least 1"):
            recommend_many(model, memory=memory)
    with pytest.raises(UnknownIdError, match=r"^user: expected one of 9 known ids"):
        recommend_many(model, ["u1", "nobody"])
    with pytest.raises(ConfigError, match=r"^n: expected a whole number"):
        recommend_many(model, n=0)


def test_nobody_is_asked_about(model: Recommender) -> None:
    blocks: Blocks = recommend_many(model, [], n=3)
    assert len(blocks) == 0 and list(blocks) == []
    assert str(blocks).startswith("0 users in 0 blocks of at most 0")
