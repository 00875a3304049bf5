"""Users whom nobody knows get lists by their features: kept by /users, or asked about alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif import Recommender
from tests.serving.conftest import QUICK, running

pytestmark = pytest.mark.slow
CLUBS, ITEMS = 3, 30


@pytest.fixture(scope="module")
def featured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draws = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}")
        for user in range(120)
        for item in range(ITEMS)
        if draws.random() < (0.8 if item % CLUBS == user % CLUBS else 0.1)
    ]
    people = pd.DataFrame({"user": [f"u{n}" for n in range(120)]})
    people["club"] = [f"c{n % CLUBS}" for n in range(120)]
    orders = pd.DataFrame(rows, columns=["user", "item"])
    settings = {**QUICK, "search.stages": ["closed", "operation"]}
    model = Recommender(threads=1, baselines=[], settings=settings)
    model.fit(orders, user_features=people)
    assert model.fitted_model().user_alikeness is not None
    return model.save(tmp_path_factory.mktemp("featured")).parent


def clubs(answers: list[dict[str, Any]]) -> list[float]:
    """Of each answer the share of items that are of its club."""
    found = [[int(item[1:]) % CLUBS == n for item in one["items"]] for n, one in enumerate(answers)]
    return [float(np.mean(one)) for one in found]


def test_new_users_answer_at_once_and_after_a_start(featured: Path, tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    added = [{"user": f"n{n}", "features": {"club": f"c{n}"}} for n in range(CLUBS)]
    asked = {"questions": [{"user": f"n{n}", "n": 5} for n in range(CLUBS)]}
    alone = {"questions": [{"features": {"club": f"c{n}"}, "n": 5} for n in range(CLUBS)]}
    with running(featured, "--journal", journal) as server:
        assert "known ids" in server.ask("/recommend", asked).error
        before = server.ask("/recommend", alone).json["answers"]
        assert min(clubs(before)) >= 0.8
        reply = server.ask("/users", {"users": added})
        assert (reply.status, reply.json["events"]) == (200, CLUBS)
        found = server.ask("/recommend", asked).json["answers"]
        assert [one["items"] for one in found] == [one["items"] for one in before]
        mixed = {"questions": [{"history": []}, alone["questions"][1], {"history": ["i0"]}]}
        answers = server.ask("/recommend", mixed).json["answers"]
        assert answers[1]["items"][:5] == before[1]["items"]
        assert answers[0]["items"] != answers[1]["items"] != answers[2]["items"]
        event = {"events": [{"user": "n0", "item": f"i{n}"} for n in (1, 4, 7, 10)]}
        assert server.ask("/events", event).status == 200
        now = server.ask("/recommend", asked).json["answers"]
        assert now[0]["items"] != found[0]["items"] and now[1] == found[1]
    with running(featured, "--journal", journal) as server:
        assert server.ask("/recommend", asked).json["answers"] == now


def test_bad_users_are_refused_in_one_line(featured: Path) -> None:
    many = {f"f{n}": 1 for n in range(101)}
    with running(featured) as server:
        for path, body, told in (
            ("/users", {"users": []}, "users: expected at least 1 of them"),
            ("/users", {"users": [{"user": "n"}]}, "users[0].features: expected a value"),
            ("/users", {"users": [{"user": "n", "features": {"clb": "c1"}}]}, "some of club"),
            ("/users", {"users": [{"user": "n", "features": {"club": "c1"}}] * 2}, "'n' again"),
            ("/users", {"users": [{"user": "n", "features": {}}]}, "expected at least 1 of them"),
            ("/users", {"users": [{"user": "n", "features": many}]}, "at most 100 of them"),
            ("/recommend", {"features": {"clb": "c1"}}, "expected some of club, found 'clb'"),
            ("/recommend", {"features": {}}, "features: expected at least 1 of them"),
            ("/recommend", {"features": many}, "features: expected at most 100 of them"),
            ("/recommend", {"features": {"club": ["c"] * 10_001}}, "at most 10,000 of these"),
            ("/recommend", {"features": {"club": {"a": 1}}}, "features.club: expected a text, a n"),
            ("/recommend", {"features": 5}, "features: expected an object, found 5"),
            (
                "/recommend", {"user": "u1", "features": {"club": "c1"}},
                "features: expected with a history, found with a user",
            ),
        ):  # fmt: skip
            reply = server.ask(path, body)
            assert (reply.status, told in reply.error) == (422, True), reply.error
        assert server.ask("/recommend", b'{"features": {"club": NaN}}').status in (400, 422)
        unknown = server.ask("/recommend", {"features": {"club": "c77"}, "n": 4})
        popular = server.ask("/recommend", {"history": [], "n": 4})
        assert unknown.json["items"] == popular.json["items"]
        assert server.ask("/health").json["events"] == 0


def test_a_model_without_features_refuses(tmp_path: Path) -> None:
    rows = [(f"u{n}", f"i{m}") for n in range(20) for m in range(10) if (n + m) % 3]
    orders = pd.DataFrame(rows, columns=["user", "item"])
    model = Recommender(threads=1, baselines=[], settings=QUICK).fit(orders)
    told = "expected a model that was fitted with user_features, found one without"
    with running(model.save(tmp_path / "bare").parent) as server:
        added = {"users": [{"user": "n", "features": {"club": "c1"}}]}
        for path, body in (("/users", added), ("/recommend", {"features": {"club": "c1"}})):
            reply = server.ask(path, body)
            assert (reply.status, told in reply.error) == (422, True), reply.error
