"""Jobs with a third field, from the file to the loaded model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sif.config import CFConfig, load_config
from sif.core.genotype import Genotype
from sif.data.interactions import bucket_ids
from sif.errors import ConfigError, DataError
from sif.evaluation.scorers import InteractionScorer
from sif.recommender.recommender import Recommender
from sif.spaces.interaction.operations import operations_for
from sif.tasks.cf.inputs import load_data

Command = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("without_figures")
SMALL = (
    "objective=rating", "space=sif", "search.epochs=6", "search.dimension=4", "search.arch_every=2",
    "train.epochs=10", "train.dimension=4", "train.l2=[2]", "threads=1",
    "data.planted.users=40", "data.planted.items=30", "data.planted.density=0.3",
)  # fmt: skip


def table(seed: int = 0) -> list[tuple[str, str, int, int, str]]:
    """Each of 20 users rates 12 of 15 items, once in the morning and once in the evening.

    Morning and evening ratings are 2 apart.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(20):
        for item in rng.choice(15, size=12, replace=False):
            for hour, bonus in (("am", 0), ("pm", 2)):
                rating = 1 + (user + item) % 3 + bonus
                rows.append((f"u{user}", f"i{item}", int(rating), len(rows) * 1000, hour))
    return [rows[place] for place in rng.permutation(len(rows))]


def write(path: Path, rows: list[tuple[str, str, int, int, str]]) -> Path:
    lines = [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join(["user,item,rating,timestamp,half day", *lines]) + "\n")
    return path


@pytest.fixture
def job(sif: Command) -> Callable[..., Any]:
    def call(*arguments: str | Path, sets: tuple[str, ...] = ()) -> Any:
        common = ("--task", "cf", "--no-tracking", "--output-dir", "run")
        return sif(*common, *arguments, "--set", *SMALL, *sets)

    return call


def metrics(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


@pytest.mark.parametrize("space", ["sif", "primitives"])
def test_a_job_with_time_buckets(
    space: str, job: Callable[..., Any], sif: Command, tmp_path: Path
) -> None:
    done = job(sets=("data.time_buckets=3", f"space={space}"))
    assert done.code == 0, done.err
    run = tmp_path / "run"
    found = metrics(run)
    assert found["protocol"]["sizes"] == {"user": 40, "item": 30, "time": 3}
    assert set(found["baselines"]) == {
        "fixed-multiply", "random-function", "global-mean", "bias-only", "biased-mf"
    }  # fmt: skip
    names = operations_for(3)
    assert list(found["search"]["trained"]["operation"]) == list(names)
    assert all(field in found["genotype"] for field in ("user", "item", "time"))
    assert Genotype.from_json((run / "genotype.json").read_text()).operation("operation") in names
    assert any("baselines see users and items, not time" in line for line in done.err)
    # The stored model is the evaluated one, and finds its buckets again by itself.
    again = sif("evaluate", run)
    assert json.loads(again.out) == pytest.approx(found["test"])
    refused = sif("recommend", run, "u0001")
    assert (refused.code, refused.out) == (2, "")
    (line,) = refused.err
    expected = "a model of user and item alone, found one of user, item, time; use predict"
    assert line == f"error: recommend: expected {expected}"


def test_a_loaded_model_predicts_at_a_time(job: Callable[..., Any], tmp_path: Path) -> None:
    assert job(sets=("data.time_buckets=3",)).code == 0
    model = Recommender.load(tmp_path / "run" / "model")
    config = load_config("cf", sets=[*SMALL, "data.time_buckets=3"])
    assert isinstance(config, CFConfig)
    _, split = load_data(config)
    test, known = split.test, split.interactions.vocabularies
    assert test.timestamp is not None and test.rating is not None
    users, items = (known[f].ids[test.ids[:, f]] for f in (0, 1))
    times = bucket_ids(model.model_.vocabularies[2], test.timestamp)
    predicted = model.predict(users, items, times)
    np.testing.assert_array_equal(predicted, model.model_.scorer.predict(test.ids))
    clipped = np.clip(predicted, split.train.rating.min(), split.train.rating.max())  # type: ignore[union-attr]
    error = float(np.sqrt(np.mean((clipped - test.rating) ** 2)))
    assert error == pytest.approx(metrics(tmp_path / "run")["test"]["rmse"], rel=1e-6)
    with pytest.raises(DataError, match="time: expected one of 3 known ids"):
        model.predict(users[:1], items[:1], ["12"])
    with pytest.raises(
        ConfigError, match=r"expected 3 sequences of one length, or single ids \(user, item, time\)"
    ):
        model.predict(users, items)
    again = Recommender.load(model.save(tmp_path / "copy").parent)
    np.testing.assert_array_equal(again.predict(users, items, times), predicted)


def test_a_context_column_is_learned_from(job: Callable[..., Any], tmp_path: Path) -> None:
    """Ratings of the two half days are 2 apart, which users and items cannot tell."""
    write(tmp_path / "o.csv", table())
    longer = ("train.epochs=150", "train.l2=[0.3]", "baselines=[bias-only]")
    done = job("--dataset", "o.csv", sets=("data.context=half day", *longer))
    assert done.code == 0, done.err
    found = metrics(tmp_path / "run")
    assert found["protocol"]["sizes"] == {"user": 20, "item": 15, "half day": 2}
    assert found["protocol"]["counts"]["train"] == 0.8 * 480
    assert found["baselines"]["bias-only"]["rmse"] > 0.95
    assert found["test"]["rmse"] < 0.8
    model = Recommender.load(tmp_path / "run" / "model")
    evening = model.predict(["u1"] * 3, ["i1", "i2", "i3"], ["pm"] * 3)
    morning = model.predict(["u1"] * 3, ["i1", "i2", "i3"], ["am"] * 3)
    assert np.all(np.abs(evening - morning - 2) < 0.8)


def test_four_fields_have_the_uniform_operations(job: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "o.csv", table())
    done = job("--dataset", "o.csv", sets=("data.context=[half day]", "data.time_buckets=2"))
    assert done.code == 0, done.err
    found = metrics(tmp_path / "run")
    assert list(found["protocol"]["sizes"]) == ["user", "item", "half day", "time"]
    assert found["genotype"].endswith("(P(user), Q(item), R(half day), S(time))")


def test_the_split_of_a_file_keeps_its_hash(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    rows = table()
    for name, part in (("train", rows[:300]), ("valid", rows[300:400]), ("test", rows[400:])):
        write(folder / f"{name}.csv", [row for row in part if row[4] == "am"])
    sets = ["objective=rating", f"data.split_file={folder}"]
    hashes = {}
    for items in ([], ["data.time_buckets=4"], ["data.context=half day"]):
        config = load_config("cf", sets=[*sets, *items])
        assert isinstance(config, CFConfig)
        _, split = load_data(config)
        hashes["".join(items)] = split.hash
        assert len(split.interactions.fields) == 2 + len(items)
        assert len(split.train) == sum(row[4] == "am" for row in rows[:300])
    # Buckets are made of what the split knows already; a column is more data.
    assert hashes["data.time_buckets=4"] == hashes[""] != hashes["data.context=half day"]


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "ranking by time": (
        ("objective=ranking", "data.time_buckets=3"),
        "data.time_buckets contradicts objective 'ranking', which has no context to rank at",
    ),
    "ranking in a context": (
        ("objective=ranking", "data.context=half day"),
        "data.context contradicts objective 'ranking'",
    ),
    "one bucket": (("data.time_buckets=1",), "data.time_buckets: expected a number greater than"),
    "no timestamps": (
        ("data.timestamp=''", "data.time_buckets=3"),
        "data.time_buckets: expected a timestamp column, found none",
    ),
    "unknown column": (("data.context=hour",), "data.context: expected a column 'hour', found"),
    "user as context": (("data.context=user",), "expected names that differ from user, item"),
    "time twice": (
        ("data.context=time", "data.time_buckets=3"),
        "operation, time, found 'time'",
    ),
    "a column twice": (("data.context=[a, a]",), "operation, a, found 'a'"),
    "generated data": (
        ("dataset=planted", "data.context=hour"),
        "data.context: expected data with columns hour, found planted, which has none",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_costs_one_line(
    case: str, job: Callable[..., Any], tmp_path: Path
) -> None:
    sets, expected = REFUSED[case]
    write(tmp_path / "o.csv", table())
    given = () if "dataset=planted" in sets else ("--dataset", "o.csv")
    done = job(*given, sets=sets)
    (line,) = done.err
    assert (done.code, done.out) == (2, "")
    assert line.startswith("error: ") and expected in line
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]


def test_three_fields_are_not_ranked_over_all_items(
    job: Callable[..., Any], tmp_path: Path
) -> None:
    assert job(sets=("data.time_buckets=2",)).code == 0
    scorer = Recommender.load(tmp_path / "run" / "model").model_.scorer
    assert isinstance(scorer, InteractionScorer)
    with pytest.raises(ConfigError, match=r"scores of all items: .* 2 fields, found 3"):
        scorer.scores(np.array([0]))
