from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sif.data.interactions import planted
from sif.data.interactions.planted import OPERATIONS, TRANSFORMS, transform
from sif.errors import DataError


def every_pair(users: int, items: int) -> Any:
    return np.stack(np.meshgrid(np.arange(users), np.arange(items), indexing="ij"), -1).reshape(
        -1, 2
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_signal_is_the_stated_function(operation: str) -> None:
    data, info = planted(30, 20, operation=operation, transforms=("~square", "-abs"), dimension=3)
    scalar: dict[str, Any] = {
        "multiply": lambda a, b: a * b,
        "plus": lambda a, b: a + b,
        "max": max,
        "min": min,
    }
    p, q = info["embeddings"]
    table = np.zeros((30, 20))
    for u in range(30):
        for v in range(20):
            a = [math.copysign(x * x, x) for x in p[u]]
            b = [-abs(x) for x in q[v]]
            joined = a + b if operation == "concat" else map(scalar[operation], a, b)
            table[u, v] = sum(w * x for w, x in zip(info["weights"], joined, strict=True))
    expected = (table - table.mean()) / table.std()
    pairs = every_pair(30, 20)
    np.testing.assert_allclose(info["signal"](pairs), expected.reshape(-1), rtol=1e-4, atol=1e-5)
    assert (np.abs(info["weights"]) >= 0.5).all() and (np.abs(info["weights"]) <= 1.5).all()
    assert data.fields == ("user", "item")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", [-4, 0, 9]),
        ("~abs", [-4, 0, 9]),
        ("abs", [4, 0, 9]),
        ("-abs", [-4, 0, -9]),
        ("square", [16, 0, 81]),
        ("~square", [-16, 0, 81]),
        ("+sqrt", [2, 0, 3]),
        ("~sqrt", [-2, 0, 3]),
    ],
)
def test_transforms(name: str, expected: list[float]) -> None:
    assert transform(name, np.array([-4.0, 0.0, 9.0])).tolist() == expected


def test_there_are_nine_transforms_and_four_aliases() -> None:
    assert len(set(TRANSFORMS.values())) == 9 and len(TRANSFORMS) == 13


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_ratings_are_signal_plus_noise(noise: float) -> None:
    data, info = planted(noise=noise, seed=5)
    assert data.rating is not None
    rest = data.rating - info["signal"](data.ids)
    assert abs(rest.std() - noise) < 0.02
    pairs = every_pair(600, 400)
    assert abs(info["signal"](pairs).mean()) < 1e-5
    assert abs(info["signal"](pairs).std() - 1) < 1e-4


@pytest.mark.parametrize("kind", ["ratings", "clicks"])
@pytest.mark.parametrize("density", [0.001, 0.1, 1.0])
def test_density_and_coverage(kind: Any, density: float) -> None:
    data, _ = planted(80, 50, density=density, kind=kind)
    counts = [np.bincount(data.ids[:, f], minlength=n) for f, n in enumerate(data.sizes)]
    assert counts[0].min() >= 2 and counts[1].min() >= 2
    assert len({tuple(row) for row in data.ids.tolist()}) == len(data)
    if density == 0.1:
        assert abs(len(data) - 400) < 40
    assert (data.rating is None) == (kind == "clicks")


def test_clicks_prefer_the_signal_and_drop_with_popularity() -> None:
    data, info = planted(kind="clicks", noise=0.0)
    assert info["signal"](data.ids).mean() > 0.5
    strong, info = planted(kind="clicks", noise=3.0)
    assert info["signal"](strong.ids).mean() < 0.5


def test_ids_and_times() -> None:
    data, _ = planted(30, 20)
    assert data.vocabularies[0].ids[[0, -1]].tolist() == ["u0001", "u0030"]
    assert data.vocabularies[1].ids[[0, -1]].tolist() == ["i0001", "i0020"]
    assert data.timestamp is not None and (np.diff(data.timestamp) > 0).all()


def test_the_seed_decides() -> None:
    one, same, other = (planted(30, 20, seed=seed)[0].content_hash for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operation": "times"}, "operation: expected one of multiply, .*, found 'times'"),
        ({"transforms": ("identity",)}, "transforms: expected one for user and .*, found 1"),
        ({"transforms": ("abs", "cube")}, "transforms: expected one of .*, found 'cube'"),
        ({"dimension": 0}, "dimension: expected at least 1, found 0"),
        ({"users": 2}, "users: expected at least 3, found 2"),
        ({"users": 10**5, "items": 10**5}, "expected at most 200,000,000, found 1,000,000,000"),
        ({"density": 0.0}, r"density: expected a share in \(0, 1\], found 0.0"),
        ({"noise": float("nan")}, "noise: expected a number of at least 0, found nan"),
        ({"kind": "likes"}, "kind: expected one of ratings, clicks, found 'likes'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"^planted: .*{message}$"):
        planted(**arguments)
