from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from sif.spaces.operations import OPERATIONS, separable

NUMPY: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {
    "multiply": lambda fields: np.prod(fields, axis=0),
    "plus": lambda fields: np.sum(fields, axis=0),
    "min": lambda fields: np.min(fields, axis=0),
    "max": lambda fields: np.max(fields, axis=0),
    "concat": lambda fields: np.concatenate(fields, axis=-1),
}
FACTORED = [name for name, operation in OPERATIONS.items() if operation.factors is not None]


def vectors(fields: int, n: int = 6, d: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(fields)
    return [torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(fields)]


def test_the_five_published_operations_in_their_order() -> None:
    assert list(OPERATIONS) == ["multiply", "plus", "min", "max", "concat"]
    assert all(name == operation.name for name, operation in OPERATIONS.items())
    assert FACTORED == ["multiply", "plus", "concat"]


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("fields", [2, 3])
def test_an_operation_is_its_numpy_formula(name: str, fields: int) -> None:
    inputs = vectors(fields)
    found = OPERATIONS[name].combine(inputs)
    expected = NUMPY[name]([x.numpy() for x in inputs])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14)
    assert found.shape[-1] == OPERATIONS[name].width(fields) * 3


@pytest.mark.parametrize("fields", [2, 3])
def test_all_operations_differ(fields: int) -> None:
    outputs = {name: o.combine(vectors(fields)) for name, o in OPERATIONS.items()}
    for one, other in itertools.combinations(outputs.values(), 2):
        assert one.shape != other.shape or not torch.isclose(one, other).all()


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_broadcast(name: str) -> None:
    p, q = vectors(2)
    table = OPERATIONS[name].combine([p[:4, None, :], q[None, :, :]])
    assert table.shape[:2] == (4, 6)
    for i, j in itertools.product(range(4), range(6)):
        assert torch.equal(table[i, j], OPERATIONS[name].combine([p[i], q[j]]))


@pytest.mark.parametrize("name", FACTORED)
def test_factors_give_the_interaction_of_every_pair(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation.factors is not None
    p, q = vectors(2, n=5)[0], vectors(2, n=7)[1]
    generator = torch.Generator().manual_seed(9)
    w = torch.randn(operation.width(2) * 3, generator=generator, dtype=torch.float64)
    a, b = operation.factors(p, q, w)
    expected = operation.combine([p[:, None, :], q[None, :, :]]) @ w
    torch.testing.assert_close(a @ b.T, expected, rtol=1e-12, atol=1e-12)


def test_separable_sums() -> None:
    a, b = separable(torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0, 30.0]))
    assert (a @ b.T).tolist() == [[11, 21, 31], [12, 22, 32]]
