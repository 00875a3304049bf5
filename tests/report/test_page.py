"""The page of a run: what it says, what it escapes, and what it does without."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sif.errors import DataError
from sif.problems.feature_trial import FeatureTrial, clearly_ahead, features_document
from sif.report import RunFiles, compare_page, run_page, write_page
from sif.report.candidates import bounds, effects, tried
from sif.report.results import Scale
from sif.report.scales import in_words
from sif.report.tries import point_sets
from tests.report.conftest import (
    NASTY,
    cell_documents,
    model,
    order_documents,
    rolling_documents,
    run_documents,
    written,
)

LIMIT = 2_000_000
"""Bytes of a page."""


class Text(HTMLParser):
    """Text of a page by the element that it is in, and all tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.inside: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("script", "style"):
            self.inside.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside and data.strip():
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def page_of(folder: Path, documents: dict[str, Any]) -> str:
    return run_page(RunFiles.read(written(folder, documents)))


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', page)


def charts(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.S)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_a_page_has_every_section_and_is_small(tmp_path: Path, documents: dict[str, Any]) -> None:
    page = page_of(tmp_path, documents)
    assert sections(page) == [
        "verdict", "test", "found", "search", "groups", "data", "recommendations", "costs",
        "settings",
    ]  # fmt: skip
    assert len(page.encode()) < LIMIT
    text = Text(page).text
    assert "Better than ease" in text
    assert "multiply(history(user), item) is better than ease" in text
    assert "two rows were dropped" in text
    assert "popularity 0.1000" in text


def test_a_page_loads_nothing(tmp_path: Path, documents: dict[str, Any]) -> None:
    page = page_of(tmp_path, documents)
    assert all(one.startswith(("#", "data:")) for one in Text(page).addresses)
    assert "default-src 'none'" in page
    assert "url(" not in page.split("<script", 1)[0]
    assert '"url"' not in json.dumps(charts(page))


def test_texts_from_outside_are_escaped(tmp_path: Path, documents: dict[str, Any]) -> None:
    documents["report.json"]["models"][1]["name"] = NASTY
    documents["metrics.json"]["dataset"] = NASTY
    documents["metrics.json"]["verdict"] = f"worse than {NASTY}"
    documents["report.json"]["opening"] = [f"note: {NASTY}"]
    documents["report.json"]["search"]["searched"]["operations"]["operation"][0] = NASTY
    documents["genotype.json"]["blocks"]["operation"] = [[0, NASTY]]
    documents["config.yaml"] += f"data:\n  user: {json.dumps(NASTY)}\n"
    page = page_of(tmp_path, documents)
    found = Text(page)
    assert "<script>alert" not in page
    assert found.tags.count("script") == 4  # of charts, candidates, the library and the page
    assert found.text.count(NASTY) >= 5


def test_a_value_in_an_attribute_stays_in_it(tmp_path: Path, documents: dict[str, Any]) -> None:
    documents["report.json"]["search"]["searched"]["operations"]["operation"][1] = '" onclick="x'
    page = page_of(tmp_path, documents)
    assert 'onclick="x"' not in page
    assert "&#34; onclick=&#34;x" in page


def test_two_hundred_baselines_fit(tmp_path: Path, documents: dict[str, Any]) -> None:
    many = [model(f"baseline-{k}", 0.2 + k / 10_000) for k in range(200)]
    documents["report.json"]["models"] += many
    page = page_of(tmp_path, documents)
    assert len(page.encode()) < LIMIT
    assert Text(page).text.count("baseline-") == 400  # in both tables


def test_numbers_that_are_not_finite_are_dashes(
    tmp_path: Path, documents: dict[str, Any]
) -> None:  # fmt: skip
    record = documents["report.json"]
    record["models"][1] |= {"test": {"ndcg@10": None}, "interval": None, "compared": False}
    record["curves"]["searched"][0]["ndcg@10"] = None
    record["search"]["searched"]["history"][1]["judged"]["exported_error"] = None
    record["not_finite"] = {
        "curves.searched.ndcg@10": "found nan", "models.test.ndcg@10": "found nan",
        "search.searched.history.judged.exported_error": "found nan",
    }  # fmt: skip
    page = page_of(tmp_path, documents)
    assert "missing" not in sections(page)
    assert [row["value"] for row in charts(page)["validation"]["data"]["values"]] == [0.3]
    assert not re.search(r"\bNaN\b", page.split('id="charts"')[1].split("</script>")[0])
    assert re.search("ease.{0,200}\N{EN DASH}", Text(page).text)


def test_one_user_has_no_interval(tmp_path: Path, documents: dict[str, Any]) -> None:
    for one in documents["report.json"]["models"]:
        one["interval"] = None
        if one["compared"]:
            one["compared"] |= {"low": None, "high": None, "outcome": "undecided"}
    documents["metrics.json"]["comparison"] |= {"low": None, "high": None, "outcome": "undecided"}
    page = page_of(tmp_path, documents)
    assert "missing" not in sections(page)
    assert "No difference that stands" in page
    assert "95 %: no interval" in Text(page).text


def test_data_without_times_have_no_time_line(
    tmp_path: Path, documents: dict[str, Any]
) -> None:  # fmt: skip
    del documents["report.json"]["data"]["timeline"]
    page = page_of(tmp_path, documents)
    assert "timeline" not in charts(page)
    assert "data" in sections(page)


def test_times_that_are_no_dates_are_numbers(tmp_path: Path, documents: dict[str, Any]) -> None:
    documents["report.json"]["data"]["timeline"]["start"] = 10**15
    spec = charts(page_of(tmp_path, documents))["timeline"]
    assert spec["encoding"]["x"]["type"] == "quantitative"


def test_a_killed_run_shows_what_there_is(tmp_path: Path, documents: dict[str, Any]) -> None:
    left = ("config.yaml", "environment.json", "log.txt")
    killed = {name: documents[name] for name in left}
    killed["metrics.jsonl"] = (
        '{"stage": "train-searched", "step": 1, "seconds": 2.0, "valid.ndcg@10": 0.25}\n'
        '{"stage": "retrain-ease-0", "step": 1, "seconds": 3.0, "valid.ndcg@10": 0.2}\n'
        '{"stage": "tr'
    )
    page = page_of(tmp_path, killed)
    assert sections(page) == ["verdict", "search", "data", "costs", "settings"]
    assert "This run has not finished" in page
    assert charts(page)["validation"]["data"]["values"] == [
        {"seconds": 2.0, "value": 0.25, "series": "searched"},
        {"seconds": 3.0, "value": 0.2, "series": "ease-0"},
    ]


def test_a_run_of_an_earlier_version_shows_its_metrics(
    tmp_path: Path, documents: dict[str, Any]
) -> None:
    del documents["report.json"]
    page = page_of(tmp_path, documents)
    assert "report.json: not there" in Text(page).text
    assert {"verdict", "test", "found"} <= set(sections(page))
    assert "ease best by validation 0.2800" in Text(page).text


@pytest.mark.parametrize("name", ["report.json", "plots/figures.json", "genotype.json"])
def test_a_damaged_file_costs_its_part_alone(
    name: str, tmp_path: Path, documents: dict[str, Any]
) -> None:
    documents[name] = '{"cut of'
    page = page_of(tmp_path, documents)
    assert f"{name}: damaged" in Text(page).text
    assert "Better than ease" in page


def test_a_part_that_is_not_as_expected_is_told(
    tmp_path: Path, documents: dict[str, Any]
) -> None:  # fmt: skip
    documents["report.json"]["groups"] = {"models": 3, "groups": [7]}
    page = page_of(tmp_path, documents)
    assert "groups: TypeError" in Text(page).text
    assert "recommendations" in sections(page)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.yaml: cannot be read"):
        write_page(tmp_path)


def test_settings_at_their_default_are_told_apart(
    tmp_path: Path, documents: dict[str, Any]
) -> None:  # fmt: skip
    page = page_of(tmp_path, documents)
    rows = re.findall(r'<tr class="(\w*)"><th scope="row">([\w.]+)</th>', page)
    assert {("", "search.epochs"), ("", "seed"), ("default", "objective")} <= set(rows)
    assert "passes over the train part" in page


def test_cells_are_drawn_with_their_errors(tmp_path: Path) -> None:
    page = page_of(tmp_path, cell_documents())
    assert {"found", "errors"} <= set(sections(page))
    found = Text(page).text
    assert "node 2: conv of c" in page  # for readers that do not see the drawing
    assert "1 of 8 test images are misread." in found
    assert "read as <dog>, 90 %" in found
    assert page.count('class="diagram cell"') == 2


def test_candidates_have_names_and_qualities(tmp_path: Path, documents: dict[str, Any]) -> None:
    (found,) = tried(RunFiles.read(written(tmp_path, documents)))
    assert [axis.name for axis in found.axes] == ["encoding user", "encoding item", "operation"]
    assert [row["name"] for row in found.rows] == [
        "id, id, multiply", "history, id, multiply", "history, both, plus",
    ]  # fmt: skip
    assert found.best is not None and found.best["quality"] == 0.7
    encoding, operation = effects(found)
    assert [row["tried"] for row in encoding["rows"]] == [2, 2, 1]
    assert [row["best"] for row in encoding["rows"]] == [0.7, 0.7, 0.75]
    assert [row["median"] for row in operation["rows"]] == [0.75, 0.75]
    assert [row["share"] for row in operation["rows"]] == pytest.approx([4 / 6, 2 / 6])


def test_candidates_of_a_sampler_are_its_own_selections(
    tmp_path: Path, documents: dict[str, Any]
) -> None:
    record = documents["report.json"]["search"]["searched"]
    for entry, error in zip(record["history"], (0.9, 0.6, 0.8), strict=True):
        entry["candidate"] = {
            "selection": {"encoding": [2, 2], "operation": [1]}, "cost": 4.0, "epochs": 2,
            "judged": {"exported_error": error},
        }  # fmt: skip
    (found,) = tried(RunFiles.read(written(tmp_path, documents)))
    assert [row["quality"] for row in found.rows] == [0.9, 0.6, 0.8]
    assert {row["name"] for row in found.rows} == {"both, both, plus"}
    best = charts(page_of(tmp_path, documents))["best"]["data"]["values"]
    assert [row["value"] for row in best] == [0.9, 0.6, 0.6]


def test_a_finish_has_the_candidates_and_the_search_before_it_the_course(
    tmp_path: Path, documents: dict[str, Any]
) -> None:
    history = documents["report.json"]["search"]["searched"]["history"]
    for seconds, error in ((8.0, 0.6), (9.0, 0.65)):
        alone = {"selection": {"encoding": [2, 2], "operation": [1]}, "cost": 4.0, "epochs": 2,
                 "judged": {"exported_error": error}}  # fmt: skip
        history.append({**history[-1], "seconds": seconds, "candidate": alone})
    documents["metrics.json"].setdefault("search", {}).update(finished=2.0, finish_changed=1.0)
    (found,) = tried(RunFiles.read(written(tmp_path, documents)))
    assert [row["quality"] for row in found.rows] == [0.6, 0.65]
    page = page_of(tmp_path, documents)
    assert {"best", "selection"} <= set(charts(page))
    course = charts(page)["selection"]["data"]["values"]
    assert max(row["to"] for row in course) == 3  # epochs of the search, not trainings
    assert "the best of them is another selection than that of the search" in page


def test_designs_that_grids_tried_are_points_of_their_models(
    tmp_path: Path, documents: dict[str, Any]
) -> None:
    models = documents["report.json"]["models"]
    models[1]["tried"] = [
        {"name": "l2 100", "value": 0.26, "seconds": 0.2},
        {"name": "l2 300", "value": 0.28, "seconds": 0.4},
        {"name": "l2 900", "value": None, "seconds": 0.6},
    ]
    models[2]["tried"] = [{"name": "filter", "value": 0.5, "seconds": 1.0, "users": 200}]
    run = RunFiles.read(written(tmp_path, documents))
    grids = next(one for one in point_sets(run, tried(run)) if "every design" in one["label"])
    assert [(row["name"], row["quality"], row["since"]) for row in grids["rows"]] == [
        ("searched", 0.3, 1.0), ("ease: l2 100", 0.26, 0.2), ("ease: l2 300", 0.28, 0.4),
        ("popularity: filter", 0.5, 1.0),
    ]  # fmt: skip
    assert grids["rows"][3]["users"] == 200
    # Its only judgment is by some users, yet it is a group.
    assert set(grids["groups"]) == {"searched", "ease", "popularity"}
    assert grids["measure"] == "valid ndcg@10" and not grids["lower"]


def test_many_models_share_a_color(tmp_path: Path, documents: dict[str, Any]) -> None:
    tries = [{"name": "a", "value": 0.1, "seconds": 1.0}, {"name": "b", "value": 0.2, "seconds": 2}]
    documents["report.json"]["models"] += [
        model(f"baseline-{k}", 0.2, tried=tries) for k in range(20)
    ]
    run = RunFiles.read(written(tmp_path, documents))
    grids = next(one for one in point_sets(run, []) if "every design" in one["label"])
    assert len(grids["groups"]) == 9 and grids["groups"][-1] == "others"
    assert {row["group"] for row in grids["rows"]} == set(grids["groups"])


def test_a_served_model_in_order_shows_its_time_scales(tmp_path: Path) -> None:
    page = page_of(tmp_path, order_documents())
    text = Text(page).text
    assert "The served model decayed-ridge" in text
    assert "time scale: half-life 1 row, last 6" in text
    rows = charts(page)["served-decays"]["data"]["values"]
    assert [(row["age"], row["weight"]) for row in rows[:3]] == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert {row["series"] for row in rows} == {"half-life 1 row, last 6"}


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("0.5, last 6", "half-life 1 row, last 6"),
        ("0.97, last 116", "half-life 23 rows, last 116"),
        ("0.9, half-life 2 days, last 40", "half-life 6.6 rows, 2 days, last 40"),
        ("half-life 2 days, last 40", "half-life 2 days, last 40"),
        ("set", "all rows alike"),
        ("1, last 116", "all alike, last 116"),
    ],
)
def test_time_scales_are_told_in_rows(scale: str, words: str) -> None:
    assert in_words(scale) == words


def test_the_parent_of_moments_has_a_page_that_links_them(tmp_path: Path) -> None:
    folder = written(tmp_path, rolling_documents())
    part = run_documents()
    part["metrics.json"]["test"] = {"ndcg@10": 0.25}
    written(folder / "moment-1", part)
    (folder / "moment-1" / "report.html").write_text("x")
    written(folder / "moment-2", run_documents())
    page = write_page(folder).read_text()
    assert sections(page) == ["verdict", "moments", "data", "costs", "settings"]
    found = Text(page)
    assert "moment-1/report.html" in found.addresses
    assert "moment-2/report.html" not in found.addresses  # it has none
    assert "<script>alert" not in page
    assert "minus the best baseline by validation, mean" in found.text
    assert "ease 0.3100 0.0200 0.3300 2" in found.text
    rows = charts(page)["moments"]["data"]["values"]
    ours = [(row["moment"], row["value"]) for row in rows if row["series"] == "searched"]
    assert ours == [(1, 0.25), (2, 0.3)]


def test_moments_whose_folders_are_gone_are_listed(tmp_path: Path) -> None:
    page = page_of(tmp_path, rolling_documents())
    assert "moments" in sections(page) and "moments" not in charts(page)
    assert "missing" not in sections(page)


def test_errors_in_percent_have_two_decimals_and_their_unit(tmp_path: Path) -> None:
    documents = cell_documents()
    documents["metrics.json"] |= {"test": {"error": 200 / 3}}
    documents["report.json"] |= {"metric": "error", "shown": "error", "higher_is_better": False}
    for one in documents["report.json"]["models"]:
        one["test"] = one["valid"] = {"error": 200 / 3}
    text = Text(page_of(tmp_path, documents)).text
    assert "66.67 % test error" in text
    assert "66.6667" not in text


def test_the_license_of_the_figures_is_in_the_page(
    tmp_path: Path, documents: dict[str, Any]
) -> None:  # fmt: skip
    page = page_of(tmp_path, documents)
    library = page.split('<script type="module">')[1]
    comment = library[: library.index("*/")]
    assert comment.startswith("/*")
    holders = ("University of Washington Interactive Data Lab", "Mike Bostock", "Joachim Wester")
    assert all(holder in comment for holder in holders)
    assert "Redistributions in binary form" in comment


def test_settings_of_methods_have_defaults_and_meanings(
    tmp_path: Path, documents: dict[str, Any]
) -> None:
    documents["config.yaml"] += "methods:\n  nasp: {explore: 0.2, score: replacement_loss}\n"
    page = page_of(tmp_path, documents)
    rows = re.findall(r'<tr class="(\w*)"><th scope="row">(methods[\w.]+)</th>', page)
    assert rows == [("default", "methods.nasp.explore"), ("", "methods.nasp.score")]
    assert "score on which alpha descends" in page


def test_a_model_that_stands_for_ours_is_drawn_once(
    tmp_path: Path, documents: dict[str, Any]
) -> None:
    record = documents["report.json"]
    record["models"][0]["stands_for"] = "order"
    record["curves"]["order"] = record["curves"]["searched"]
    spec = charts(page_of(tmp_path, documents))["validation"]
    assert [row["series"] for row in spec["data"]["values"]] == ["order", "order"]


def test_functions_that_change_nothing_are_told_and_not_drawn(
    tmp_path: Path, documents: dict[str, Any]
) -> None:
    assert "curves" in charts(page_of(tmp_path, documents))
    function = documents["plots/figures.json"]["function"]
    function["curves"]["user"] = function["x"]
    page = page_of(tmp_path, documents)
    assert "curves" not in charts(page)
    assert "P and Q change nothing" in page


def test_a_few_wild_candidates_do_not_stretch_the_axis() -> None:
    rows = [{"quality": 1 + k / 100} for k in range(30)] + [{"quality": 1e9}]
    low, high = bounds(rows)
    assert low == 1.0
    assert 1.2 < high < 2


def test_the_column_of_intervals_leaves_out_what_is_far() -> None:
    scale = Scale.of([(0.30, 0.32), (0.29, 0.31), (0.28, 0.30), (0.10, 0.11)], 1)
    assert 0.2 < scale.low < 0.28
    assert scale.beyond(0.1) == "left"
    assert scale(0.1) < scale(0.29) < scale(0.32)
    worse = Scale.of([(1.0, 1.1), (0.9, 1.0), (5.0, 5.1)], -1)
    assert worse.beyond(5.0) == "right"


def test_runs_are_compared_on_a_page(tmp_path: Path, documents: dict[str, Any]) -> None:
    one = written(tmp_path / "a" / "run", documents)
    other = run_documents()
    other["config.yaml"] = other["config.yaml"].replace("epochs: 7", "epochs: 9")
    other["metrics.json"]["protocol"]["split_hash"] = "other"
    other["metrics.json"]["dataset"] = NASTY
    path = compare_page([one, written(tmp_path / "b" / "run", other)], tmp_path / "c.html")
    page = path.read_text()
    assert sections(page) == ["runs", "models", "time", "functions", "settings"]
    found = Text(page)
    assert "search.epochs 7 9" in found.text
    assert "2 different splits" in found.text
    assert "a/run" in found.text and "b/run" in found.text
    assert "<script>alert" not in page
    assert {row["series"] for row in charts(page)["time-0"]["data"]["values"]} == {"a/run", "b/run"}


def test_a_run_that_was_killed_is_compared_too(tmp_path: Path, documents: dict[str, Any]) -> None:
    whole = written(tmp_path / "whole", documents)
    killed = written(tmp_path / "killed", {"config.yaml": "task: cf\n"})
    page = compare_page([whole, killed], tmp_path / "c.html").read_text()
    assert "not finished" in Text(page).text


def test_the_headline_speaks_of_the_served_baseline(tmp_path: Path) -> None:
    documents = run_documents()
    documents["metrics.json"]["served"] = {
        "name": "ease", "expression": "ease(l2 10)", "rule": "simpler", "test": {"ndcg@10": 0.28},
    }  # fmt: skip
    page = write_page(written(tmp_path / "ease", documents)).read_text(encoding="utf-8")
    heading = page.partition("<h1")[2].partition("</h1>")[0]
    assert 'class="tone-none"' in heading
    assert heading.endswith("Served: ease; the search&#39;s answer was better on test")
    assert "of ease, which is served" in page and "<b>0.2800</b>" in page
    documents["metrics.json"]["served"]["name"] = "searched"
    page = write_page(written(tmp_path / "ours", documents)).read_text(encoding="utf-8")
    assert "Better than ease</h1>" in page and "tone-better" in page


@pytest.mark.parametrize("kept", [True, False])
def test_the_page_says_whether_features_helped(kept: bool, tmp_path: Path) -> None:
    values, known = np.full(30, 0.3 if kept else 0.2), np.linspace(0.1, 0.3, 30)
    trial = FeatureTrial.of("ndcg@10", values, known, clearly_ahead(values, known)).document()
    documents = run_documents()
    documents["metrics.json"]["features"] = features_document({"searched": trial}, "searched", {})
    documents["metrics.json"]["search"]["found"] = "multiply(user, item) with features added"
    page = write_page(written(tmp_path / "run", documents)).read_text(encoding="utf-8")
    assert "Did features help?" in page
    assert ("searched, uses features" in page) == kept
    assert ("trained without its features" in page) == (not kept)
