"""Search, training and test of recommenders that read histories, on walks around circles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sif.config.histories import HistoryConfig, HistoryTrainConfig
from sif.data.interactions import Interactions, Split, Vocabulary
from sif.data.interactions.parts import TEST, VALID
from sif.data.interactions.split import build_split
from sif.errors import ConfigError, DataError
from sif.problems.histories import EXPORTED, READERS, HistoryProblem, StateScorer
from sif.spaces.histories.scales import ScalesDesign
from sif.spaces.linear.sequences import Decay, Sequences
from sif.spaces.rnn.cells import RecurrentCell
from sif.testing import check_problem
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

USERS, ITEMS = 60, 12
CELL = RecurrentCell((("tanh", 0), ("identity", 1)), (1, 2))
SCALES = ScalesDesign({"middle": Decay(0.5, 6), "recent": Decay(0.3, 3)}, "plus", "multiply")
SEARCH = {"epochs": 3, "users": 16, "hidden": 8, "nodes": 3, "lr": 0.02}
TRAIN = {
    "epochs": 3, "users": 16, "hidden": 8, "length": 8, "lr": 0.02, "dropout": {"embedding": 0.0},
}  # fmt: skip


def walks() -> Interactions:
    """Who takes an item takes its successor, and no item twice; rows in random order."""
    draws = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        start, length = draws.integers(ITEMS), draws.integers(4, 10)
        rows += [(user, (start + k) % ITEMS, k) for k in range(length)]
    table = draws.permutation(np.array(rows, dtype=np.int64))
    names = tuple(Vocabulary(np.arange(n)) for n in (USERS, ITEMS))
    return Interactions(table[:, :2], ("user", "item"), names, timestamp=table[:, 2].copy())


def last_out(rows: Interactions) -> Split:
    """Train, the last item but one, the last item of each user."""
    assert rows.timestamp is not None
    lengths = np.bincount(rows.ids[:, 0])
    left = lengths[rows.ids[:, 0]] - 1 - rows.timestamp
    part = np.select([left == 1, left == 0], [VALID, TEST])
    return build_split(rows, part, protocol="last-item", seed=0)


def parts_of(split: Split) -> tuple[Interactions, Interactions, Interactions]:
    return split.train, split.valid, split.test


def problem(
    parts: tuple[Interactions, ...] | None = None, reader: str = "cell", **train: Any
) -> HistoryProblem:
    known, valid, _ = parts or parts_of(last_out(walks()))
    config = HistoryConfig(reader=reader, search=SEARCH, train={**TRAIN, **train})  # type: ignore[arg-type]
    return HistoryProblem(known, valid, config, make_runtime("cpu", 0, threads=1))


def weights(trained: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = trained.network.state_dict()
    return found


@pytest.mark.parametrize("reader", READERS)
def test_the_problem_keeps_its_promises(reader: str) -> None:
    check_problem(problem(reader=reader), last_out(walks()))


@pytest.mark.parametrize("design", ["gru", "lstm", CELL, SCALES], ids=str)
def test_training_learns_what_comes_next(design: Any) -> None:
    at_work = problem(epochs=12, lr=0.05)
    trained = at_work.train(design, NullTracker(), NoCheckpoint())
    losses = [entry["loss"] for entry in trained.result.history]
    assert losses[-1] < 1.5 < 2.3 < losses[0]  # log 12 is 2.48
    assert trained.result.valid["ndcg@10"] > 0.8
    assert at_work.test(trained.network, last_out(walks())).metrics["ndcg@10"] > 0.8


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("gru", [2.48503, 2.45831, 2.43782]),
        (CELL, [2.47948, 2.43208, 2.35885]),
        (SCALES, [2.44619, 2.29401, 2.13046]),
    ],
    ids=str,
)
def test_the_first_losses_are_as_they_were(design: Any, expected: list[float]) -> None:
    trained = problem().train(design, NullTracker(), NoCheckpoint())
    losses = [entry["loss"] for entry in trained.result.history]
    assert losses == pytest.approx(expected, rel=1e-4)


def test_a_search_judges_what_it_would_train() -> None:
    at_work = problem()
    found = at_work.search(NullTracker(), NoCheckpoint())
    assert len(at_work.design(found.genotype).nodes) == 3
    assert all(0 <= entry["judged"][EXPORTED] <= 1 for entry in found.history)


def test_alpha_sees_other_users_than_the_weights() -> None:
    weights_stream, alpha_stream = problem().streams()
    users = [set(stream._users.tolist()) for stream in (weights_stream, alpha_stream)]  # type: ignore[attr-defined]
    assert not users[0] & users[1]
    assert len(users[0] | users[1]) == USERS
    assert len(users[1]) == round(0.2 * USERS)


def test_histories_at_the_test_end_with_the_valid_item() -> None:
    split = last_out(walks())
    at_work = problem()
    network = at_work.network("gru")
    both = split.interactions.select(split.part != TEST)
    assert both.timestamp is not None
    order = np.lexsort((both.timestamp, both.ids[:, 0]))
    by_hand = Sequences.of(both.ids[order, 0], both.ids[order, 1], (USERS, ITEMS))
    scores = StateScorer(network, by_hand, at_work.config.train.length).scores(np.arange(USERS))
    found = at_work.test(network, split)
    assert np.array_equal(found.per_user["ndcg@10"], ndcg(scores, both, split.test))


def ndcg(scores: NDArray[np.float32], known: Interactions, test: Interactions) -> NDArray[Any]:
    """NDCG@10 of one relevant item per user, all known ones left out."""
    left = scores.astype(np.float64)
    left[known.ids[:, 0], known.ids[:, 1]] = -np.inf
    wanted = test.ids[np.argsort(test.ids[:, 0]), 1]
    own = left[np.arange(USERS), wanted][:, None]
    rank = (left > own).sum(axis=1)
    return np.where(rank < 10, 1 / np.log2(rank + 2), 0.0)


def shifted(part: Interactions) -> Interactions:
    """The same users with other items."""
    ids = part.ids.copy()
    ids[:, 1] = (ids[:, 1] + 2) % ITEMS  # which the user never takes
    return replace(part, ids=ids)


def test_later_rows_change_nothing_that_was_learned() -> None:
    known, valid, test = parts_of(last_out(walks()))
    first = problem().train("gru", NullTracker(), NoCheckpoint())
    # Other valid items choose another epoch at most; with one epoch there is no choice.
    ours, theirs = (
        problem(parts, epochs=1).train(CELL, NullTracker(), NoCheckpoint())
        for parts in ((known, valid, test), (known, shifted(valid), test))
    )
    assert all(torch.equal(v, weights(theirs)[n]) for n, v in weights(ours).items())
    before = problem().validated(first.network, 8)
    problem().test(first.network, last_out(walks()))
    assert problem().validated(first.network, 8) == before


def test_the_order_is_that_of_time_and_not_of_rows() -> None:
    known, valid, test = parts_of(last_out(walks()))
    turned = tuple(part.select(np.argsort(-part.ids[:, 1])) for part in (known, valid, test))
    ours, theirs = (
        problem(parts).train("gru", NullTracker(), NoCheckpoint())
        for parts in ((known, valid, test), turned)
    )
    assert all(torch.equal(v, weights(theirs)[n]) for n, v in weights(ours).items())


def test_a_large_catalog_is_learned_from_drawn_items() -> None:
    at_work = problem(exact_items=5, samples=8, epochs=12, lr=0.05)
    assert at_work.loss(8).samples == 8
    trained = at_work.train("gru", NullTracker(), NoCheckpoint())
    assert trained.result.valid["ndcg@10"] > 0.8


def test_bad_input_is_told_on_one_line() -> None:
    known, valid, test = parts_of(last_out(walks()))
    with pytest.raises(DataError, match="expected timestamps, or rows in order") as told:
        problem((replace(known, timestamp=None), valid, test))
    assert "\n" not in str(told.value)
    few = known.select(np.unique(known.ids[:, 0], return_index=True)[1])
    with pytest.raises(DataError, match="at least 2 users with 2 train rows, found 0"):
        problem((few, valid, test))
    with pytest.raises(ConfigError, match=r"recurrence.*gru.*'grue'") as refused:
        problem().network("grue")
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="expected a method that runs one operation per node"):
        problem().search(NullTracker(), NoCheckpoint(), method="darts-1")
    with pytest.raises(ConfigError, match=r"train\.hidden"):
        HistoryConfig(train={"hidden": 0})


def test_scales_have_first_settings_of_their_own_unless_told() -> None:
    section = HistoryTrainConfig()
    cell, scales = section.of("cell"), section.of("scales")
    assert (cell.lr, cell.dropout.embedding) == (0.008, 0.0)
    assert (scales.lr, scales.dropout.embedding) == (0.004, 0.5)
    told = HistoryTrainConfig(lr=0.1, dropout={"embedding": 0.0, "output": 0.2}).of("scales")  # type: ignore[arg-type]
    assert (told.lr, told.dropout.embedding, told.dropout.output) == (0.1, 0.0, 0.2)
