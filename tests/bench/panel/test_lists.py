"""Lists of data sets and the entries that they become."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sif.bench.panel import Panel
from sif.bench.panel.entries import Settings, entries
from sif.bench.panel.lists import Highest, listed
from sif.config.files import presets, shipped
from sif.errors import ConfigError

Sif = Callable[..., Any]


def npz(path: Path, part: list[int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    n = len(part)
    np.savez(path, user=np.arange(n) // 3, item=np.arange(n) % 3, part=np.array(part))
    return path


def csv(path: Path) -> Path:
    path.write_text("user,item\n" + "".join(f"u{u},i{i}\n" for u in range(4) for i in range(4)))
    return path


def test_a_list_says_what_its_entries_are(tmp_path: Path) -> None:
    npz(tmp_path / "data/split.npz", [0, 0, 0, 1, 2, 0])
    npz(tmp_path / "data/rows.npz", [0] * 6)
    (tmp_path / "list.yaml").write_text(
        "metric: recall@20\nsettings: {train: {epochs: 7}, refit: none}\ndata:\n"
        "  - data/split.npz\n"
        "  - data: data/rows.npz\n    name: mine\n    metric: ndcg@5\n"
        "    highest: {value: .5, model: best, source: a paper}\n"
        "    settings: {data.protocol: last-item, data: {order: rows}, train.epochs: 9}\n"
        "  - {data: ml-100k, metric: null}\n"
    )
    found = entries(listed([tmp_path / "list.yaml"]), Settings(sets=("refit=all",)))
    split, rows, known = found
    assert [one.name for one in found] == ["split", "mine", "ml-100k"]
    assert [one.metric for one in found] == ["recall@20", "ndcg@5", "recall@20"]
    assert split.job.data.split_file == tmp_path / "data/split.npz"
    assert (rows.job.dataset, rows.job.data.split_file) == (str(tmp_path / "data/rows.npz"), None)
    assert (rows.job.data.protocol, rows.job.data.order) == ("last-item", "rows")
    assert rows.highest == Highest(value=0.5, model="best", source="a paper")
    assert [one.job.train.epochs for one in found] == [7, 9, 7]
    assert rows.job.metrics_at == (5, 10, 20)
    assert {one.job.refit for one in found} == {"all"}  # what is asked for wins over the list
    assert known.job.dataset == "ml-100k"


def test_a_split_that_gets_another_protocol_is_a_table(tmp_path: Path) -> None:
    path = npz(tmp_path / "split.npz", [0, 0, 0, 1, 2, 0])
    (one,) = entries(listed([path]), Settings())
    assert one.job.data.split_file == path
    (one,) = entries(listed([path]), Settings(sets=("data.protocol=ranking-per-user",)))
    assert (one.job.data.split_file, one.job.dataset) == (None, str(path))


def test_files_are_looked_for_in_the_folders_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npz(tmp_path / "panel/a.npz", [0, 0, 0])
    monkeypatch.setenv("SIF_DATA_DIR", str(tmp_path))
    (one,) = entries(listed(["panel/a.npz"]), Settings())
    assert one.job.dataset == str(tmp_path / "panel/a.npz")
    monkeypatch.delenv("SIF_DATA_DIR")
    (one,) = entries(listed(["a.npz"]), Settings(flags={"data.dir": tmp_path / "panel"}))
    assert one.job.dataset == str(tmp_path / "panel/a.npz")


@pytest.mark.parametrize("path", sorted((shipped("configs") / "panel").iterdir()))
def test_a_shipped_list_is_well_formed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"panel/{path.stem}"
    assert name not in presets()
    found = listed([name])
    for one in found:
        if one.data.endswith(".npz"):  # which nobody may ship
            assert one.data.startswith("panel/")
            npz(tmp_path / one.data, [0, 0, 0, 2])
    monkeypatch.setenv("SIF_DATA_DIR", str(tmp_path))
    made = entries(found, Settings())
    assert len(made) == len(found) > 2
    assert all(one.highest is None or one.highest.source for one in made)


LISTS = {
    "empty.yaml": ("", "empty.yaml: expected a list of data sets: data: is missing"),
    "none.yaml": ("data: []", "data: expected at least one data set, found none"),
    "bare.yaml": ("- a.csv", "bare.yaml: expected keys and values, found a list"),
    "job.yaml": ("task: cf", "job.yaml: expected a list of data sets: data: is missing"),
    "typo.yaml": ("data: [{data: rows.csv, metrik: x}]", "metrik: unknown key"),
    "words.yaml": ("data: rows.csv", "words.yaml: expected a list of data sets: data: expected a"),
    "broken.yaml": ("data: [", "broken.yaml line 1: expected YAML"),
    "unsourced.yaml": ("data: [{data: rows.csv, highest: {value: 1}}]", "source: is missing"),
    "metric.yaml": ("data: [{data: rows.csv, metric: ndgc@10}]", "did you mean 'ndcg@10'?"),
    "long.yaml": ("data: [{data: rows.csv, metric: ndcg@2000}]", "metric: expected one of ndcg@10"),
    "cover.yaml": ("data: [{data: rows.csv, metric: coverage@10}]", "found 'coverage@10'"),
    "rating.yaml": (
        "{settings: {objective: rating}, data: [{data: rows.csv, metric: ndcg@10}]}",
        "metric: expected one of rmse, rmse_std, mae, found 'ndcg@10'",
    ),
    "absent.yaml": ("data: [nowhere.csv]", "absent.yaml: nowhere.csv: expected a file, also in"),
    "twice.yaml": ("data: [rows.csv, rows.csv]", "expected different names, found 'rows' twice"),
    "name.yaml": ("data: [{data: rows.csv, name: ../up}]", "expected letters and digits"),
    "own.yaml": ("{settings: {seed: 3}, data: [rows.csv]}", "seed: a panel sets it itself"),
    "file.yaml": (
        "data: [{data: rows.csv, settings: {data: {split_file: x.npz}}}]",
        "data.split_file: a panel sets it itself: leave it out",
    ),
    "setting.yaml": ("data: [{data: rows.csv, settings: {train.epoch: 3}}]", "mean 'epochs'?"),
    "several.yaml": (
        "data: [{data: rows.csv, settings: {data.protocol: rolling}}]", "one split per trial"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_another_shape_is_one_line(name: str, sif: Sif, tmp_path: Path) -> None:
    content, expected = LISTS[name]
    csv(tmp_path / "rows.csv")
    (tmp_path / name).write_text(content)
    before = sorted(tmp_path.iterdir())
    done = sif("panel", "--data", name, "--output-dir", "out")
    assert done.code == 2
    (told,) = done.err
    assert expected in told
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", "error: data: expected at least one data set, found none"),
        ("--data nowhere.npz", "error: data: expected a file, also in"),
        ("--data ml-100", "found 'ml-100'; did you mean 'ml-100k'?"),
        ("--data digits", "digits: expected interactions, found a data set of images"),
        ("--data nowhere.yaml", "error: nowhere.yaml: no such file"),
        ("--data panel/publik", "did you mean 'panel/public'?"),
        ("--data planted planted", "found 'planted' twice; name one"),
        ("--data planted --seeds 0", "seeds: expected at least 1, found 0"),
        ("--data planted --seed -1", "seed: expected 0 or more, found -1"),
        ("--data planted --jobs 0", "jobs: expected at least 1, found 0"),
        ("--data planted --set seed=3", "error: --set: seed: a panel sets it itself"),
        ("--data planted --set train.epoch=3", "did you mean 'epochs'?"),
        ("--data planted --budget soon", "budget"),
        ("--data planted --set task=cnn", "contradicts"),
        ("--report absent", "absent: expected the folder of a panel, found no panel.yaml"),
        (
            "--data planted --output-dir taken",
            "taken: the folder exists; give another --output-dir",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: str, expected: str, sif: Sif, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/mine.txt").touch()
    done = sif("panel", *words.split())
    assert done.code == 2
    (told,) = done.err
    assert expected in told
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"seeds": []}, "seeds: expected at least one, all different, found none"),
        ({"seeds": 0}, "seeds: expected at least one, all different, found none"),
        ({"seeds": [1, 1]}, "seeds: expected at least one, all different, found 1, 1"),
        ({"seeds": [-1]}, "seeds: expected at least one, all different, found -1"),
        ({"seeds": "2"}, "seeds: expected"),
        ({"data": 3}, "data: expected"),
        ({"settings": {"data": {"split_file": "x"}}}, "data.split_file: a panel sets it itself"),
    ],
)
def test_wrong_arguments_are_one_line(asked: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Panel.of(**({"data": ["planted"]} | asked))
    assert expected in str(caught.value)


def test_an_address_is_a_data_set_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    address = "postgresql://ann:pa55@db.example.org/shop?sslmode=require"
    (one,) = entries(listed([address]), Settings(sets=("data.table=orders",)))
    assert one.name == "shop"
    assert one.job.dataset == address.replace(":pa55", "") and one.job.data.table == "orders"
