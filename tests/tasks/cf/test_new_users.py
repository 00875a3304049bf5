"""New users: one order of the items for every model, chosen on validation, told and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.data.interactions import load_split_file
from sif.data.interactions.parts import TEST
from sif.evaluation.cold_start import cold_rows
from sif.evaluation.item_orders import RecentPopularity
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender

Command = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("without_figures")
RECENT = "popularity with a half-life of 1/"
MODELS = "baselines=[popularity,recent-popularity,ease]"


def rows(test: str = "late") -> pd.DataFrame:
    """40 users of popular items, 8 of them late of other ones, which new users take.

    Users 40 to 79 are new in valid, 80 to 89 in test; in test there are 8 known users as well.
    """
    draws = np.random.default_rng(0)
    popular, ranges = np.arange(10), {"late": np.arange(10, 20), "first": np.arange(20, 30)}
    found = [(u, i, 50 + n, 0) for u in range(40) for n, i in enumerate(draws.permutation(popular))]
    found += [(u, int(20 + u % 10), u, 0) for u in range(40)]
    found += [(u, i, 9_000 + i, 0) for u in range(8) for i in draws.permutation(ranges["late"])[:8]]
    new = draws.permuted(np.tile(ranges["late"], (40, 1)), axis=1)[:, :4]
    found += [(40 + n, i, 10_000, 1) for n, items in enumerate(new) for i in items]
    told = draws.permuted(np.tile(ranges[test], (18, 1)), axis=1)[:, :4]
    who = [*range(80, 90), *range(20, 28)]
    # Known users have all popular items; the new ones take whatever the test is of.
    found += [(who[n], i, 20_000, 2) for n, items in enumerate(told) for i in items]
    table = pd.DataFrame(found, columns=["user", "item", "timestamp", "part"]).astype(int)
    return table.drop_duplicates(["user", "item"])


def split_file(table: pd.DataFrame, path: str) -> str:
    columns = {name: table[name].to_numpy() for name in table}
    ids = {f"{f}_ids": np.array([f"{f[0]}{n:02}" for n in range(90)]) for f in ("user", "item")}
    np.savez(path, **columns, **ids)
    return path


@pytest.fixture
def job(sif: Command, tiny: list[str]) -> Callable[..., str]:
    """Runs a job on a table of rows; what it printed."""

    def call(run: str, table: pd.DataFrame, *sets: str) -> str:
        path = split_file(table, f"{run}.npz")
        words = ["--task", "cf", "--split-file", path, "--output-dir", run, "--no-tracking"]
        done = sif(*words, *tiny, MODELS, *sets)
        assert done.code == 0, done.err
        return "\n".join([done.out, *done.err])

    return call


def metrics(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run) / "metrics.json").read_text())
    return found


def chosen(found: dict[str, Any], fitted: Any) -> np.ndarray:
    """The order that metrics.json names, of some rows."""
    shares = {RecentPopularity(1 / n).name: 1 / n for n in (4, 16, 64)}
    order = RecentPopularity(shares[found["new_users"]["order"]]).scores(fitted)
    return np.where(cold_rows(fitted, 1), np.float32(-np.inf), order)


def test_every_model_has_one_order_which_the_job_tells_and_keeps(job: Command) -> None:
    printed = job("run", rows())
    found, split = metrics("run"), load_split_file(Path("run.npz"))
    told = found["new_users"]
    assert told["valid_users"] == 40 and told["order"].startswith(RECENT)
    assert told["valid"][told["order"]] == max(told["valid"].values()) > told["valid"]["popularity"]
    again = [one for name, one in found["baselines"].items() if name != "random-function"]
    groups = [one["groups"]["cold-user"] for one in (found, *again)]
    assert len(groups) == 5 and all(group == groups[0] for group in groups)
    # Fitted again on train and valid rows, by the same rule.
    fitted = split.interactions.select(split.part != TEST)
    rule = ServedModel.load(Path("run")).cold_start
    assert rule is not None and rule.name == told["order"]
    np.testing.assert_array_equal(rule.order, chosen(found, fitted))
    line = "40 of 40 in valid, 10 of 18 in test; every model ranks the items for them by "
    assert f"note: new users, without a fitted row: {line}{told['order']}" in printed
    (known,) = [line for line in printed.splitlines() if line.startswith("known users")]
    warm = found["warm_comparison"]
    start = f"known users (8 of 18, 44.4% of the rows), group warm: {found['entrant']} against "
    assert known.startswith(f"{start}{warm['against']}: ndcg@10 ")
    assert f"difference {warm['difference']:+.4f} (95 % interval over 8 users" in known
    # A further comparison, which nothing corrects, says of nobody that he is better.
    assert not any(word in known for word in ("better", "worse", "undecided"))
    (new,) = [line for line in printed.splitlines() if line.startswith("new users")]
    assert new == (
        "new users (10 of 18, 55.6% of the rows): every model gives them the same list, by "
        f"{told['order']}: ndcg@10 {groups[0]['ndcg@10']:.4f}"
    )


def test_another_test_part_changes_no_choice(job: Command) -> None:
    job("one", rows("late"))
    job("other", rows("first"))
    one, other = metrics("one"), metrics("other")
    assert one["new_users"] == other["new_users"] and one["valid"] == other["valid"]
    assert one["groups"]["cold-user"]["ndcg@10"] != other["groups"]["cold-user"]["ndcg@10"]
    rules = [ServedModel.load(Path(run)).cold_start for run in ("one", "other")]
    np.testing.assert_array_equal(*(rule.order for rule in rules if rule is not None))


def test_populations_are_told_where_they_differ(job: Command) -> None:
    printed = job("run", rows())
    found = metrics("run")["populations"]
    assert (found["valid"]["users"], found["valid"]["new_row_share"]) == (40, 1.0)
    assert (found["test"]["users"], found["test"]["new_users"]) == (18, 10)
    assert found["test"]["known_median"] == 11
    line = "note: valid and test have different users: 100.0% and 55.6% of their rows are of new"
    assert line in printed and "need not be best at test" in printed
    alike = rows()
    place = alike.groupby("user").cumcount(ascending=False)
    alike["part"] = np.select([place == 0, place == 1], [2, 1], 0)
    printed = job("alike", alike[alike["user"] < 20])
    assert metrics("alike")["populations"]["differences"] == []
    assert "different users" not in printed and "new users" not in printed


def test_ratings_have_no_such_order(job: Command) -> None:
    table = rows().assign(rating=lambda t: 1 + (t["user"] + t["item"]) % 5)
    printed = job("run", table, "objective=rating", "baselines=[bias-only]")
    assert "new_users" not in metrics("run") and "ranks the items" not in printed
    rule = ServedModel.load(Path("run")).cold_start
    assert rule is not None and rule.name == "popularity"


def test_a_fit_from_python_chooses_alike() -> None:
    table = rows()
    parts = (table[table["part"] == part].drop(columns="part").astype(str) for part in (0, 1))
    train, valid = (one.assign(timestamp=one["timestamp"].astype(int)) for one in parts)
    quick = {"search.epochs": 4, "search.dimension": 4, "train.epochs": 5, "train.l2": [2]}
    model = Recommender(threads=1, settings=quick).fit(train, valid)
    rule = model.model_.cold_start
    assert rule is not None and rule.name.startswith(RECENT)
    assert f"new users: items by {rule.name} (ndcg@10 of 40 new users" in repr(model.model_.report)
