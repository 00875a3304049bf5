from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sif.spaces.interaction.pair_blocks import BlockedSums, PairBlocks, cut
from sif.spaces.interaction.pair_products import PairSums, pair_graph

F64 = torch.float64


def pairs(users: int, items: int, seed: int = 0) -> Tensor:
    """Pairs (n, 2) of some users and items; user 0 and the last one have none."""
    draws = torch.Generator().manual_seed(seed)
    drawn = torch.rand(users, items, generator=draws) < 0.4
    drawn[[0, -1]] = False
    ids = drawn.nonzero()
    return ids[torch.randperm(len(ids), generator=draws)]


def test_a_block_is_as_large_as_memory_allows_and_the_last_one_is_smaller() -> None:
    counts = torch.tensor([3, 3, 3, 3, 3, 3, 3])
    # A user takes 3 * 10 + 2 bytes, so that three of them take 96.
    assert cut(counts, 10, 2, 96) == [0, 3, 6, 7]
    assert cut(counts, 10, 2, 95) == [0, 2, 4, 6, 7]
    assert cut(counts, 10, 2, 1e9) == [0, 7]


def test_a_user_is_never_cut_and_users_without_pairs_join_others() -> None:
    assert cut(torch.tensor([1, 50, 1, 1]), 10, 0, 20) == [0, 1, 2, 4]
    assert cut(torch.tensor([0, 0, 5, 0, 0, 5, 0]), 1, 1, 1) == [0, 5, 7]
    assert cut(torch.tensor([0, 4]), 1, 0, 1) == [0, 2]


@pytest.mark.parametrize("most", [1, 40, 100, 1e9])
def test_blocks_have_every_pair_once_with_its_target_and_age(most: float) -> None:
    ids = pairs(11, 5)
    target = ids[:, 0] * 100.0 + ids[:, 1]
    counts = torch.bincount(ids[:, 0], minlength=11)
    blocks = PairBlocks(ids, target, -target, (11, 5), cut(counts, 10, 1, most))
    found = []
    for block in blocks.blocks:
        assert len(block) > 0
        own = block.graph.ids() + torch.tensor([block.first, 0])
        assert block.target.tolist() == [100.0 * u + i for u, i in own.tolist()]
        assert block.age is not None and torch.equal(block.age, -block.target)
        found += own.tolist()
    assert found == sorted(ids.tolist())
    assert [row for block in blocks.blocks for row in block.rows.tolist()] == list(range(11))
    users = torch.arange(11)
    of_user = [k for k, block in enumerate(blocks.blocks) for _ in block.rows]
    assert blocks.block_of(users).tolist() == of_user
    of_users, of_items = blocks.counts()
    assert torch.equal(of_users, counts)
    assert torch.equal(of_items, torch.bincount(ids[:, 1], minlength=5))


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("most", [1, 60])
def test_sums_of_blocks_are_those_of_the_whole_and_so_are_gradients(side: int, most: int) -> None:
    ids, sizes = pairs(11, 5), (11, 5)
    counts = torch.bincount(ids[:, 0], minlength=11)
    blocks = PairBlocks(ids, torch.ones(len(ids)), None, sizes, cut(counts, 10, 1, most))
    assert len(blocks) > 2
    like = torch.zeros((), dtype=F64)
    draws = torch.Generator().manual_seed(1)
    table = torch.randn(sizes[1 - side], 3, dtype=F64, generator=draws, requires_grad=True)
    weights = torch.randn(sizes[side], 3, dtype=F64, generator=draws)
    results = []
    for sums in (PairSums(pair_graph(ids, sizes), like), BlockedSums(blocks, like)):
        found = sums.of(side, table)
        (gradient,) = torch.autograd.grad((found * weights).sum(), table)
        results.append((found.detach(), gradient))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
