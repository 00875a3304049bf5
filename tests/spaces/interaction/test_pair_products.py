from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sif.spaces.interaction.pair_products import pair_graph, pair_products, weighted_gram


def some_pairs(seed: int, rows: int, columns: int, n: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack(
        [torch.randint(rows, (n,), generator=generator),
         torch.randint(columns, (n,), generator=generator)], dim=1,
    )  # fmt: skip


@pytest.fixture(params=["sparse", "gathered"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "gathered":
        monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    return str(request.param)


def test_graph_sorts_both_ways_and_keeps_repeated_pairs() -> None:
    ids = torch.tensor([[2, 1], [0, 3], [2, 1], [2, 0], [0, 3], [4, 2]])
    graph = pair_graph(ids, (5, 4))
    assert len(graph) == 6
    pairs = torch.stack([graph.rows, graph.columns], dim=1)
    assert pairs.tolist() == sorted(ids.tolist())
    assert torch.equal(ids[graph.order], pairs)
    assert graph.order.tolist() == [1, 4, 3, 0, 2, 5]  # equal pairs in the caller's order
    assert graph.row_start.tolist() == [0, 2, 2, 5, 5, 6]
    assert graph.columns[graph.transposed].tolist() == sorted(ids[:, 1].tolist())
    assert graph.column_start.tolist() == [0, 1, 3, 4, 6]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 40, 300])
def test_value_and_gradient_equal_dense_autograd(kernel: str, dtype: torch.dtype, n: int) -> None:
    rows, columns, d = 9, 7, 5
    ids = some_pairs(n, rows, columns, n)  # 300 pairs of 63 cells: many repeat
    graph = pair_graph(ids, (rows, columns))
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(m, d, generator=generator, dtype=dtype) for m in (rows, columns))
    weight = torch.randn(n, generator=generator, dtype=dtype)
    results = []
    for sparse in (True, False):
        x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
        dense = (x @ y.T)[graph.rows, graph.columns]
        values = pair_products(x, y, graph) if sparse else dense
        (weight[graph.order] * values**2).sum().backward()
        results.append((values.detach(), x.grad, y.grad))
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    for found, expected in zip(*results, strict=True):
        assert found is not None
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_gradcheck(kernel: str) -> None:
    graph = pair_graph(some_pairs(3, 4, 3, 8), (4, 3))
    a = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    b = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    inputs = (a.requires_grad_(), b.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, y: pair_products(x, y, graph), inputs)


def test_rows_without_pairs_get_no_gradient(kernel: str) -> None:
    graph = pair_graph(torch.tensor([[0, 1], [2, 1]]), (4, 3))
    a, b = torch.ones(4, 2, requires_grad=True), torch.ones(3, 2, requires_grad=True)
    pair_products(a, b, graph).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad.tolist() == [[1, 1], [0, 0], [1, 1], [0, 0]]
    assert b.grad.tolist() == [[0, 0], [2, 2], [0, 0]]


def test_strided_factors(kernel: str) -> None:
    graph = pair_graph(some_pairs(4, 6, 5, 20), (6, 5))
    a = torch.arange(18.0).reshape(3, 6).T
    b = torch.arange(30.0).reshape(5, 6)[:, ::2]
    expected = (a @ b.T)[graph.rows, graph.columns]
    torch.testing.assert_close(pair_products(a, b, graph), expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_weighted_gram_has_the_gradient_of_its_definition(weighted: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    a = torch.randn(7, 3, generator=draws, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(7, generator=draws, dtype=torch.float64) if weighted else None
    by_rows = sum(
        (1.0 if weights is None else weights[n]) * torch.outer(a[n], a[n]) for n in range(7)
    )
    torch.testing.assert_close(weighted_gram(a, weights), by_rows)
    assert torch.autograd.gradcheck(lambda table: weighted_gram(table, weights), (a,))
