from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor

from sif.spaces.interaction.sparse_rows import RowAdam, take_rows

LR, BETAS, EPS = 0.05, (0.9, 0.99), 1e-8
SHAPES = [(6, 3), (6,)]


def table(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draws, dtype=torch.float64).requires_grad_()


def touched(step: int) -> Tensor:
    """Rows of a step: every row now and then, row 5 never."""
    return torch.tensor([[0, 2], [1, 2, 4], [3], [0, 1, 2, 3, 4], [2, 4]][step % 5])


def goal(shape: tuple[int, ...], step: int) -> Tensor:
    return table(shape, seed=100 + step).detach()


@pytest.mark.parametrize("shape", SHAPES)
def test_taken_rows_have_the_dense_gradient(shape: tuple[int, ...]) -> None:
    rows = torch.tensor([1, 3, 4])
    sparse, dense = table(shape), table(shape)
    (take_rows(sparse, rows) ** 3).sum().backward()
    (dense[rows] ** 3).sum().backward()
    assert sparse.grad is not None
    assert sparse.grad.is_sparse
    assert sparse.grad._nnz() == 3
    assert torch.equal(sparse.grad.to_dense(), dense.grad)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_adam_where_every_row_is_touched(shape: tuple[int, ...]) -> None:
    ours, theirs = table(shape), table(shape)
    rows = torch.arange(6)
    one = RowAdam([ours], lr=LR, betas=BETAS)
    other = torch.optim.Adam([theirs], lr=LR, betas=BETAS)
    for step in range(12):
        for optimizer, rate in ((one, ours), (other, theirs)):
            optimizer.zero_grad()
            value = take_rows(rate, rows) if rate is ours else rate
            ((value - goal(shape, step)) ** 2).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_takes_the_steps_of_its_own_adam(shape: tuple[int, ...]) -> None:
    ours = table(shape)
    start = ours.detach().clone()
    alone = [start[i].clone().reshape(-1).requires_grad_() for i in range(6)]
    adams = [torch.optim.Adam([row], lr=LR, betas=BETAS, eps=EPS) for row in alone]
    optimizer = RowAdam([ours], lr=LR, betas=BETAS, eps=EPS)
    for step in range(20):
        rows = touched(step)
        optimizer.zero_grad()
        ((take_rows(ours, rows) - goal(shape, step)[rows]) ** 2).sum().backward()
        optimizer.step()
        for i in rows.tolist():
            adams[i].zero_grad()
            ((alone[i] - goal(shape, step)[i].reshape(-1)) ** 2).sum().backward()
            adams[i].step()
    expected = torch.stack([row.detach() for row in alone]).reshape(shape)
    torch.testing.assert_close(ours.detach(), expected, rtol=1e-11, atol=1e-12)
    assert torch.equal(ours[5], start[5])


def test_dense_and_sparse_side_by_side_and_resumed_from_a_file() -> None:
    def run(steps: range, a: Tensor, b: Tensor, optimizer: RowAdam) -> None:
        for step in steps:
            optimizer.zero_grad()
            value = take_rows(a, touched(step)) @ b
            (value**2).sum().backward()
            optimizer.step()

    def fresh() -> tuple[Tensor, Tensor, RowAdam]:
        a, b = table((6, 3)), table((3, 2), seed=1)
        return a, b, RowAdam([a, b], lr=LR, betas=BETAS)

    whole = fresh()
    run(range(9), *whole)
    half = fresh()
    run(range(4), *half)
    file = io.BytesIO()
    torch.save(half[2].state_dict(), file)
    file.seek(0)
    a, b, optimizer = fresh()
    with torch.no_grad():
        a.copy_(half[0])
        b.copy_(half[1])
    optimizer.load_state_dict(copy.deepcopy(torch.load(file)))
    run(range(4, 9), a, b, optimizer)
    assert torch.equal(a, whole[0])
    assert torch.equal(b, whole[1])
