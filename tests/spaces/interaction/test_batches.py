from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from sif.spaces.interaction.batches import Drawing, InteractionStream, PartTensors
from sif.spaces.interaction.losses import Batch
from sif.spaces.interaction.negatives import REDRAWS

SIZES = (6, 5)
CELLS = list(itertools.product(range(6), range(5)))


def part(cells: list[tuple[int, ...]], sizes: tuple[int, ...] = SIZES) -> PartTensors:
    target = torch.arange(len(cells), dtype=torch.float64)
    return PartTensors(torch.tensor(cells), target, sizes, -target)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shuffled() -> list[tuple[int, ...]]:
    order = torch.randperm(len(CELLS), generator=generator(5)).tolist()
    return [CELLS[i] for i in order]


TRAIN, VALID = part(shuffled()[:12]), part(shuffled()[12:17])


def equal(one: Batch, other: Batch) -> bool:
    names = ("ids", "target", "negatives", "background", "background_weight")
    return all(torch.equal(getattr(one, n), getattr(other, n)) for n in names)


@pytest.mark.parametrize("batch_size", [5, 12, 50])
def test_rows_come_with_their_targets_once_per_pass(batch_size: int) -> None:
    stream = InteractionStream(TRAIN, batch_size, Drawing(), generator())
    seen: list[tuple[int, int, float]] = []
    while len(seen) < 12 * 5:
        batch = stream.next()
        assert len(batch.ids) == min(batch_size, 12)
        assert batch.age is not None and torch.equal(batch.age, -batch.target)
        seen += [
            (*row, t) for row, t in zip(batch.ids.tolist(), batch.target.tolist(), strict=True)
        ]
    every = sorted(
        (*row, t) for row, t in zip(TRAIN.ids.tolist(), TRAIN.target.tolist(), strict=True)
    )
    for start in range(0, 60, 12):
        assert sorted(seen[start : start + 12]) == every
    assert stream.steps_per_pass == -(-12 // min(batch_size, 12))


def test_nothing_is_drawn_unless_asked() -> None:
    batch = InteractionStream(TRAIN, 4, Drawing(), generator()).next()
    assert batch.negatives.shape == (4, 0)
    assert batch.background.shape == (0, 2)
    assert batch.background_weight.shape == (0,)
    assert batch.graph is None


def test_negatives_avoid_what_the_row_has_and_are_uniform_over_the_rest() -> None:
    stream = InteractionStream(TRAIN, 12, Drawing(negatives=4), generator())
    observed = {tuple(row) for row in TRAIN.ids.tolist()}
    drawn = [stream.next() for _ in range(300)]
    assert drawn[0].negatives.shape == (12, 4)
    pairs = [tuple(row) for b in drawn for row in b.with_negatives().tolist()]
    unlucky = sum(pair in observed for pair in pairs) / len(pairs)
    share = len(observed) / 30
    assert unlucky < 3 * share ** (REDRAWS + 1)
    user = 0
    rest = [item for u, item in pairs if u == user and (u, item) not in observed]
    free = [item for item in range(5) if (user, item) not in observed]
    counts = torch.bincount(torch.tensor(rest), minlength=5)[free] / len(rest)
    p = 1 / len(free)
    assert float((counts - p).abs().max()) < 4.5 * (p * (1 - p) / len(rest)) ** 0.5


@pytest.mark.parametrize("batch_size", [4, 12])
def test_background_is_uniform_and_stands_for_all_combinations(batch_size: int) -> None:
    stream = InteractionStream(TRAIN, batch_size, Drawing(background=3), generator())
    batches = [stream.next() for _ in range(300)]
    for batch in batches[:3]:
        assert batch.observed_in_background
        assert len(batch.background) == 3 * batch_size
        assert batch.background_weight.dtype == torch.float64
        # All 30 combinations, for 12 observed pairs.
        assert float(batch.background_weight.sum()) == pytest.approx(30 / 12, rel=1e-12)
    drawn = torch.cat([b.background for b in batches])
    share = torch.bincount(drawn[:, 0] * 5 + drawn[:, 1], minlength=30) / len(drawn)
    assert float((share - 1 / 30).abs().max()) < 4.5 * (1 / 30 / len(drawn)) ** 0.5


def test_validation_never_weighs_an_observed_pair_and_every_other_evenly() -> None:
    stream = InteractionStream(
        VALID, 5, Drawing(background=8), generator(), known=(TRAIN,), observed_total=12
    )
    observed = {tuple(row) for p in (TRAIN, VALID) for row in p.ids.tolist()}
    total = torch.zeros(SIZES, dtype=torch.float64)
    n = 400
    for _ in range(n):
        batch = stream.next()
        assert not batch.observed_in_background
        for row, weight in zip(
            batch.background.tolist(), batch.background_weight.tolist(), strict=True
        ):
            assert (weight == 0) == (tuple(row) in observed)
            total[tuple(row)] += weight / n
    # Each unobserved combination stands for itself, per observed train row.
    free = total[total > 0]
    assert len(free) == 30 - len(observed)
    assert float(free.mean()) == pytest.approx(1 / 12, rel=0.05)
    assert float((free * 12 - 1).abs().max()) < 4.5 * (30 / (40 * n)) ** 0.5


def test_three_fields() -> None:
    sizes = (3, 4, 2)
    cells = [(0, 1, 1), (2, 3, 0), (1, 1, 1)]
    stream = InteractionStream(
        part(cells, sizes), 3, Drawing(2, 5), generator(), known=(part([(0, 0, 0)], sizes),)
    )
    for _ in range(40):
        batch = stream.next()
        assert batch.background.shape == (15, 3)
        assert (batch.background.amax(0) < torch.tensor(sizes)).all()
        zero = {tuple(r) for r in batch.background[batch.background_weight == 0].tolist()}
        weighed = {tuple(r) for r in batch.background[batch.background_weight > 0].tolist()}
        assert zero <= {*cells, (0, 0, 0)}
        assert not weighed & {*cells, (0, 0, 0)}
    assert part(cells, sizes).graph() is None


def test_exact_batches_carry_the_whole_part() -> None:
    stream = InteractionStream(TRAIN, 4, Drawing(), generator(), exact=True)
    graph = stream.next().graph
    assert graph is not None
    pairs = torch.stack([graph.rows, graph.columns], dim=1)
    assert torch.equal(TRAIN.ids[graph.order], pairs)
    assert stream.next().graph is graph


@pytest.mark.parametrize("taken", [0, 1, 2, 5])
@pytest.mark.parametrize("batch_size", [5, 12])
def test_a_resumed_stream_draws_the_same(taken: int, batch_size: int) -> None:
    def make(seed: int) -> InteractionStream:
        return InteractionStream(TRAIN, batch_size, Drawing(2, 3), generator(seed))

    stream = make(0)
    for _ in range(taken):
        stream.next()
    state = stream.state_dict()
    expected = [stream.next() for _ in range(5)]
    other = make(1)
    other.next()
    other.load_state_dict(state)
    assert all(equal(batch, other.next()) for batch in expected)


def test_streams_differ_by_seed_alone() -> None:
    def first(seed: int) -> Batch:
        return InteractionStream(TRAIN, 5, Drawing(2, 3), generator(seed)).next()

    assert equal(first(0), first(0))
    assert not equal(first(0), first(1))


def rows_of(ids: Tensor) -> list[tuple[int, ...]]:
    return [tuple(row) for row in ids.tolist()]


def test_negatives_replace_the_item_and_nothing_else() -> None:
    stream = InteractionStream(
        part([(0, 1, 1), (2, 3, 0)], (3, 4, 2)), 2, Drawing(negatives=3), generator()
    )
    batch = stream.next()
    expected = [
        (int(row[0]), int(item), int(row[2]))
        for row, items in zip(batch.ids, batch.negatives, strict=True)
        for item in items
    ]
    assert rows_of(batch.with_negatives()) == expected


def test_least_squares_of_ratings_is_the_batch_itself() -> None:
    batch = InteractionStream(TRAIN, 5, Drawing(), generator()).next()
    ids, target, weight = batch.least_squares(3.0)
    assert torch.equal(ids, batch.ids)
    assert torch.equal(target, batch.target)
    assert torch.equal(weight, torch.ones(5, dtype=torch.float64))


def test_least_squares_of_clicks_weighs_observed_against_drawn() -> None:
    ones = PartTensors(TRAIN.ids, torch.ones(12, dtype=torch.float64), SIZES)
    batch = InteractionStream(ones, 4, Drawing(background=2), generator()).next()
    ids, target, weight = batch.least_squares(3.0)
    assert torch.equal(ids, torch.cat([batch.ids, batch.background]))
    # 4 (s - 1)^2 beside the background's s^2, of which the observed pair must not count:
    # 4 (s - 1)^2 - s^2 = 3 (s - 4/3)^2 + constant.
    assert target.tolist() == pytest.approx([4 / 3] * 4 + [0.0] * 8)
    assert weight[:4].tolist() == [3.0] * 4
    # 12 observed rows share 30 combinations, so four rows stand for ten.
    assert float(weight[4:].sum()) == pytest.approx(10.0)


def test_least_squares_where_the_background_stands_for_unobserved_pairs_alone() -> None:
    ones = PartTensors(TRAIN.ids, torch.ones(12, dtype=torch.float64), SIZES)
    batch = InteractionStream(ones, 4, Drawing(background=2), generator()).next()
    batch = dataclasses.replace(batch, observed_in_background=False)
    _, target, weight = batch.least_squares(3.0)
    # Nothing is to be taken off the 4 (s - 1)^2 of an observed pair.
    assert target.tolist() == pytest.approx([1.0] * 4 + [0.0] * 8)
    assert weight[:4].tolist() == [4.0] * 4


def test_least_squares_of_pairwise_losses_has_drawn_items_as_zeros() -> None:
    ones = PartTensors(TRAIN.ids, torch.ones(12, dtype=torch.float64), SIZES)
    batch = InteractionStream(ones, 4, Drawing(negatives=2), generator()).next()
    ids, target, weight = batch.least_squares(3.0)
    assert rows_of(ids) == rows_of(batch.ids) + rows_of(batch.with_negatives())
    assert target.tolist() == [1.0] * 4 + [0.0] * 8
    assert torch.equal(weight, torch.ones(12, dtype=torch.float64))
