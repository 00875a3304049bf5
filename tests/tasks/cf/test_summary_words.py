"""The last words of a job: sentences of designs, and what a difference is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif.config import load_config
from sif.core.genotype import Genotype
from sif.evaluation.evaluate import Evaluation
from sif.problems.base import SEARCHED
from sif.recommender.recommender import Recommender
from sif.spaces.closed.design import genotype_of
from sif.spaces.closed.spectrum import Spectrum
from sif.spaces.interaction.design import plain_product
from sif.tasks.base import Entry
from sif.tasks.cf import summary_words as words

EITHER = "either is enough, since what they call for is added up"


def order(**names: str) -> Genotype:
    usual = {
        "target": "next", "recent": "none", "middle": "0.7", "long": "none", "discount": "0",
    }  # fmt: skip
    return Genotype("order", {name: ((0, one),) for name, one in {**usual, **names}.items()})


@pytest.mark.parametrize(
    ("design", "told"),
    [
        (order(), "The next item follows the last few (half-life 1.9 rows)."),
        (
            order(recent="0.5", middle="0.9", discount="0.1"),
            (
                "The next item follows the last one or two (half-life 1 row) and the longer taste "
                f"(half-life 6.6 rows); {EITHER}. What is popular anyway is held back a little."
            ),
        ),
        (
            order(long="set", target="next-0.3"),
            (
                "The next item follows the last few (half-life 1.9 rows) and the long taste (all "
                f"rows count alike); {EITHER}. The items after the next one taught it too."
            ),
        ),
        (
            order(**{"half-life": "230000"}),
            "The next item follows the last few (half-life 1.9 rows, half-life 2.66 days).",
        ),
        (
            order(target="any"),
            (
                "Each item that a user has speaks for others, by a weight for each pair. The model "
                "does not look at the order of rows."
            ),
        ),
        (genotype_of(Spectrum()), "What users have is condensed to a few tastes, and what suits"),
        (plain_product(("user", "item")), "A user and an item meet by multiply(user, item)."),
    ],
)
def test_designs_in_words(design: Genotype, told: str) -> None:
    assert words.found_words(design, "multiply(user, item)").startswith(told)


def test_functions_in_words() -> None:
    config = load_config("cf")
    assert config.space == "staged"
    design = Genotype(
        "staged",
        {
            "encoding": ((0, "history"), (1, "id")), "embedding": ((0, "identity"),),
            "operation": ((0, "multiply"),), "weighting": ((0, "users"),),
        },
    )  # fmt: skip
    assert words.found_words(design, "") == (
        "A user is the items that he has and an item has a vector of its own; what counts is their "
        "product."
    )
    described = Genotype("staged", {**design.blocks, "features": ((0, "added"),)})
    told = words.found_words(described, "")
    assert told.endswith("product. Features have a part in the vectors.")


def entry(name: str, values: list[float], metric: str = "ndcg@10") -> Entry:
    users = np.arange(len(values))
    test = Evaluation({metric: float(np.mean(values))}, users, {metric: np.array(values)}, 0)
    return Entry(name, {metric: 0.0}, test, 0.0, {})


def test_worth_is_told_against_known_models_and_that_of_the_verdict() -> None:
    ours = [0.6, 0.5, 0.7, 0.4] * 10
    entries = {
        SEARCHED: entry(SEARCHED, ours),
        "als": entry("als", [value - 0.2 for value in ours]),
        "ease": entry("ease", ours[::-1]),
        "markov": entry("markov", [value + 0.1 for value in ours]),
        "popularity": entry("popularity", ours),
    }
    head, *lines = words.worth_words(entries, "markov", "ndcg@10", 0)
    assert "40 users" in head and head.endswith("is 0.5500:")
    assert lines[0] == ("better than tuned ALS by 0.2000, 95 % interval 0.2000 to 0.2000 (0.3500)")
    assert lines[1].startswith("level with tuned EASE: a difference of ")
    assert lines[1].endswith(", may be chance (0.5500)")
    assert lines[2] == (
        "worse than what followed the last item by 0.1000, 95 % interval 0.1000 to 0.1000 (0.6500, "
        "the best other model on validation)"
    )
    assert len(lines) == 3, "popularity is no rival that the last words name"


def test_less_error_is_better() -> None:
    count = np.full(30, 2.0)
    rng = np.random.default_rng(0)

    def rated(name: str, error: float) -> Entry:
        squared = count * error**2 * rng.uniform(0.9, 1.1, 30)
        metrics = {"rmse": float(np.sqrt(squared.sum() / count.sum()))}
        per_user = {"squared_error": squared, "count": count}
        return Entry(name, {}, Evaluation(metrics, np.arange(30), per_user, 0), 0.0, {})

    entries = {SEARCHED: rated(SEARCHED, 0.8), "biased-mf": rated("biased-mf", 0.95)}
    _, line = words.worth_words(entries, "biased-mf", "rmse", 0)
    assert line.startswith("better than tuned biased MF by 0.1")
    low, high = line.split("interval ")[1].split(" (")[0].split(" to ")
    assert 0.1 < float(low) < 0.15 < float(high) < 0.2


def test_recommendations_come_with_reasons_and_ages(sif: Any, without_figures: None) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for user in range(40):  # each item leads to the next one
        start = int(rng.integers(12))
        rows += [
            (f"u{user:02d}", f"i{(start + k) % 12}", f"Film {(start + k) % 12}", 1000 * user + k)
            for k in range(7)
        ]
    frame = pd.DataFrame(rows, columns=["user", "item", "title", "timestamp"])
    frame.to_csv("films.csv", index=False)
    done = sif(
        "--task", "cf", "--dataset", "films.csv", "--no-tracking", "--quiet", "--output-dir", "run",
        "--set", "threads=1", "data.protocol=last-item", "train.epochs=2", "train.dimension=4",
        "train.l2=[1]", "baselines=[popularity,ease]", "controls=[fixed-multiply]",
    )  # fmt: skip
    assert done.code == 0
    *_, last = done.out.rstrip().splitlines()
    assert last == "Run folder: run"
    said = done.out[done.out.index("\nFound: ") :].splitlines()
    assert said[1].startswith("Found: The next item follows")
    assert said[2].startswith("Worth: On the test part, 40 users")
    begin = next(i for i, line in enumerate(said) if line.startswith("Three recommendations"))
    user = said[begin].split()[4].rstrip(",:")
    best = Recommender.load("run").recommend(user, n=3)
    for line, item in zip(said[begin + 1 :], best["item"], strict=False):
        assert f"{item[1:]}" in line.split(",")[0]
    assert "(1 row ago)" in said[begin + 1]
    Path("run/report.html").write_text("<p>")
    assert words.place_words(Path("run"))[-1] == "Report: run/report.html"


def test_words_that_fail_cost_themselves_alone(
    sif: Any, tiny: list[str], monkeypatch: pytest.MonkeyPatch, without_figures: None
) -> None:
    def fails(*_: Any) -> list[str]:
        raise RuntimeError("no words")

    monkeypatch.setattr("sif.tasks.cf.summary_words.worth_words", fails)
    done = sif("--task", "cf", "--no-tracking", "--output-dir", "run", *tiny)
    assert done.code == 0
    assert any("left out: last words: no words" in line for line in done.err)
    assert Path("run/metrics.json").is_file() and "verdict:" in done.out
