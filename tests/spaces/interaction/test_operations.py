from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from sif.spaces.interaction.operations import (
    OPERATIONS,
    SUMS,
    nested_operations,
    operation_named,
    operations_for,
    separable,
)

NUMPY: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {
    "multiply": lambda fields: np.prod(fields, axis=0),
    "plus": lambda fields: np.sum(fields, axis=0),
    "min": lambda fields: np.min(fields, axis=0),
    "max": lambda fields: np.max(fields, axis=0),
    "concat": lambda fields: np.concatenate(fields, axis=-1),
}
FACTORED = [name for name, operation in OPERATIONS.items() if operation.factors is not None]
THIRD = operations_for(3)
EVERY = [(fields, name) for fields in (2, 3) for name in operations_for(fields)]


def evaluated(name: str, inputs: list[np.ndarray]) -> np.ndarray:
    """A name as a formula, read from left to right: "max(multiply(1,2),3)" of three arrays."""
    tokens = iter(re.findall(r"\w+|[(),]", name))

    def term(token: str) -> np.ndarray:
        if token.isdigit():
            return inputs[int(token) - 1]
        assert next(tokens) == "("
        arguments = [term(next(tokens))]
        while next(tokens) == ",":
            arguments.append(term(next(tokens)))
        return NUMPY[token](arguments)

    return NUMPY[name](inputs) if "(" not in name else term(next(tokens))


def vectors(fields: int, n: int = 6, d: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(fields)
    return [torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(fields)]


def test_the_five_published_operations_in_their_order() -> None:
    assert list(OPERATIONS) == ["multiply", "plus", "min", "max", "concat"]
    assert all(name == operation.name for name, operation in OPERATIONS.items())
    assert FACTORED == ["multiply", "plus", "concat"]
    assert list(operations_for(2)) == list(operations_for(4)) == list(OPERATIONS)


def expected_names() -> Iterator[str]:
    for inner, outer in itertools.product(("multiply", "plus", "min", "max"), OPERATIONS):
        for grouping in ("{o}({i}(1,2),3)", "{o}({i}(1,3),2)", "{o}({i}(2,3),1)"):
            if inner != outer:
                yield grouping.format(i=inner, o=outer)


def test_three_fields_have_five_uniform_and_48_mixed_operations() -> None:
    mixed = list(expected_names())
    assert len(mixed) == 48
    assert sorted(THIRD) == sorted([*OPERATIONS, *mixed])
    assert list(THIRD)[:5] == list(OPERATIONS)
    assert all(name == operation.name for name, operation in THIRD.items())
    assert all(operation.factors is None for operation in nested_operations().values())
    assert json.loads(json.dumps(list(THIRD))) == list(THIRD)


@pytest.mark.parametrize(("fields", "name"), EVERY)
def test_an_operation_is_its_numpy_formula(fields: int, name: str) -> None:
    inputs = vectors(fields)
    operation = operations_for(fields)[name]
    found = operation.combine(inputs)
    expected = evaluated(name, [x.numpy() for x in inputs])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)
    assert found.shape[-1] == operation.width(fields) * 3
    outermost = name.split("(", maxsplit=1)[0]
    assert operation.width(fields) == (
        (2 if "(" in name else fields) if outermost == "concat" else 1
    )


def test_a_formula_worked_out_by_hand() -> None:
    u, v, t = (torch.tensor([x]) for x in (2.0, -3.0, 5.0))
    found = {name: THIRD[name].combine([u, v, t]).tolist() for name in THIRD}
    assert found["max(multiply(1,2),3)"] == [5.0]
    assert found["multiply(plus(1,3),2)"] == [-21.0]
    assert found["min(max(2,3),1)"] == [2.0]
    assert found["concat(multiply(2,3),1)"] == [-15.0, 2.0]
    assert found["concat"] == [2.0, -3.0, 5.0]


@pytest.mark.parametrize("fields", [2, 3])
def test_all_operations_differ(fields: int) -> None:
    outputs = {name: o.combine(vectors(fields)) for name, o in operations_for(fields).items()}
    for (one, a), (other, b) in itertools.combinations(outputs.items(), 2):
        assert a.shape != b.shape or not torch.isclose(a, b).all(), f"{one} is {other}"


def test_one_operation_twice_is_the_uniform_one_in_every_grouping() -> None:
    """The reason to nest only different operations."""
    inputs = vectors(3)
    for name in ("multiply", "plus", "min", "max"):
        operation = OPERATIONS[name]
        for order in itertools.permutations(range(3)):
            one, two, three = (inputs[place] for place in order)
            nested = operation.combine([operation.combine([one, two]), three])
            torch.testing.assert_close(nested, operation.combine(inputs), rtol=1e-14, atol=0)


def test_a_further_binary_operation_is_nested_too() -> None:
    average = functools.partial(sum, start=torch.zeros(()))
    mean = type(OPERATIONS["plus"])("mean", lambda fields: average(fields) / len(fields))
    made = nested_operations({**OPERATIONS, "mean": mean})
    assert len(made) == 3 * (5 * 6 - 5)
    assert made["mean(max(1,3),2)"].combine(list(torch.tensor([1.0, 2.0, 7.0]))) == 4.5
    assert made["concat(mean(1,2),3)"].width(3) == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("multiply", "multiply(P(user), Q(1,2), R(2))"),
        ("max(multiply(1,2),3)", "max(multiply(P(user), Q(1,2)), R(2))"),
        ("concat(min(2,3),1)", "concat(min(Q(1,2), R(2)), P(user))"),
    ],
)
def test_operations_are_written_with_their_arguments(name: str, expected: str) -> None:
    """Places in the arguments' own names stay as they are."""
    assert THIRD[name].written(["P(user)", "Q(1,2)", "R(2)"]) == expected


@pytest.mark.parametrize(("fields", "name"), EVERY)
def test_operations_broadcast(fields: int, name: str) -> None:
    operation = operations_for(fields)[name]
    p, q, *rest = vectors(fields)
    table = operation.combine([p[:4, None, :], q[None, :, :], *(r[2] for r in rest)])
    assert table.shape[:2] == (4, 6)
    for i, j in itertools.product(range(4), range(6)):
        assert torch.equal(table[i, j], operation.combine([p[i], q[j], *(r[2] for r in rest)]))


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


# Sums of two


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_puts_both_interactions_side_by_side(name: str) -> None:
    operation, (p, q) = SUMS[name], vectors(2)
    one, other = (NUMPY[part]([p.numpy(), q.numpy()]) for part in name.split("+"))
    expected = np.concatenate([one, other], axis=-1)
    np.testing.assert_allclose(operation.combine([p, q]).numpy(), expected, rtol=1e-14)
    assert operation.width(2) == 2
    assert operation.written(["P(u)", "Q(v)"]) == f"{name}(P(u), Q(v))"
    table = operation.combine([p[:4, None, :], q[None, :, :]])
    assert torch.equal(table[2, 3], operation.combine([p[2], q[3]]))


def test_sums_factor_where_both_do() -> None:
    assert list(SUMS) == ["multiply+plus", "multiply+min", "multiply+max", "min+max"]
    assert all(name == operation.name for name, operation in SUMS.items())
    operation = SUMS["multiply+plus"]
    assert [n for n, o in SUMS.items() if o.factors is not None] == ["multiply+plus"]
    assert operation.factors is not None
    p, q = vectors(2, n=5)[0], vectors(2, n=7)[1]
    w = torch.randn(6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    a, b = operation.factors(p, q, w)
    expected = operation.combine([p[:, None, :], q[None, :, :]]) @ w
    torch.testing.assert_close(a @ b.T, expected, rtol=1e-12, atol=1e-12)


def test_operations_are_found_by_name_and_number_of_fields() -> None:
    assert operation_named("max", 2) is operation_named("max", 3) is OPERATIONS["max"]
    assert operation_named("min+max", 2) is SUMS["min+max"]
    assert operation_named("min+max", 3) is None
    assert operation_named("max(multiply(1,2),3)", 3) is THIRD["max(multiply(1,2),3)"]
    assert operation_named("max(multiply(1,2),3)", 2) is None
    assert operation_named("max+min", 2) is operation_named("power", 2) is None
    assert not set(SUMS) & set(operations_for(2))  # presets of the function alone have none
