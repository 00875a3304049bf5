from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sif.data.interactions import planted
from sif.data.interactions.load import load_dataset
from sif.data.recipe import list_datasets
from sif.errors import DataError

ROWS = ["ann,x,5,1", "bob,x,1,2", "ann,y,4,3", "bob,y,5,4", "eve,z,5,5", "ann,x,3,6"]


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(["user,item,rating,timestamp", *ROWS]))
    return path


def test_shipped_recipes() -> None:
    recipes = list_datasets()
    known = {"planted", "ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-latest-small"}
    assert known | {"cifar-10", "cifar-100", "cifar10-jpeg", "digits"} <= set(recipes)
    assert {"ptb", "wikitext-2", "penn-mini", "grammar"} <= set(recipes)
    kinds = ("planted", "movielens", "images", "digits", "text", "grammar")
    for recipe in recipes.values():
        assert recipe.title and recipe.kind in kinds
        if recipe.kind == "text":
            assert recipe.folder and len(recipe.files) == 3 and recipe.license and recipe.citation
        if recipe.md5s:
            assert recipe.url.endswith("/") and tuple(recipe.md5s) == recipe.files
            assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in recipe.md5s.values())
        if recipe.kind == "movielens":
            assert recipe.url.startswith("https://") and recipe.url.endswith(".zip")
            assert recipe.folder and recipe.files and recipe.license and recipe.citation
            assert recipe.md5 is None or re.fullmatch("[0-9a-f]{32}", recipe.md5)


def test_a_file_is_merged_filtered_and_told(ratings: Path) -> None:
    plain = load_dataset(ratings)
    assert plain.name == "ratings" and len(plain.interactions) == 5
    assert plain.notes == [
        "1 duplicate row of the same pair: the last by time kept, else the last in the file"
    ]
    data = load_dataset(str(ratings), min_user=2, duplicates="first")
    assert data.interactions.sizes == (2, 2) and data.hash != plain.hash
    assert data.interactions.rating is not None
    assert data.interactions.rating.tolist() == [5, 1, 4, 5]
    assert data.notes[1] == (
        "1 interactions of users with fewer than 2 or items with fewer than 1 removed"
    )


def test_filters_run_after_merging(ratings: Path) -> None:
    data = load_dataset(ratings, min_rating=4)
    pairs = {
        tuple(str(v.ids[c]) for v, c in zip(data.interactions.vocabularies, row, strict=True))
        for row in data.interactions.ids
    }
    assert pairs == {("ann", "y"), ("bob", "y"), ("eve", "z")}
    with pytest.raises(DataError, match=r"none left after filtering \(min_rating 6\)$"):
        load_dataset(ratings, min_rating=6)
    with pytest.raises(DataError, match=r"at least 2 users, found 1 after .*min_user 9|none left"):
        load_dataset(ratings, min_user=9)


def test_planted_keeps_the_truth_under_filters() -> None:
    options = {"users": 30, "items": 20, "seed": 3, "noise": 0.0}
    whole = load_dataset("planted", planted=options)
    assert whole.hash == planted(30, 20, seed=3, noise=0.0)[0].content_hash
    data = load_dataset("planted", planted=options, min_rating=1.0)
    assert data.truth is not None and data.interactions.rating is not None
    assert data.interactions.sizes < whole.interactions.sizes
    np.testing.assert_allclose(
        data.truth["signal"](data.interactions.ids), data.interactions.rating, rtol=1e-6
    )
    p, q = data.truth["embeddings"]
    assert (len(p), len(q)) == data.interactions.sizes
    clicks = load_dataset("planted", planted={"kind": "clicks"})
    assert clicks.interactions.rating is None
    with pytest.raises(DataError, match=r"planted: expected arguments of .*, found size"):
        load_dataset("planted", planted={"size": 3})


def test_unknown_names_and_missing_files() -> None:
    with pytest.raises(DataError, match=r"found 'ml-100'; did you mean 'ml-100k'\?$"):
        load_dataset("ml-100")
    with pytest.raises(DataError, match=r"one of ml-100k, .*planted, found 'zzz'$"):
        load_dataset("zzz")
    with pytest.raises(DataError, match=r"^none\.csv: expected a file, found no such file$"):
        load_dataset("none.csv")


def test_damaged_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sif.data.recipe.shipped", lambda kind: tmp_path)
    path = tmp_path / "x.yaml"
    for text, found in [("name: x", "found name$"), ("- x", r"found \['x'\]$")]:
        path.write_text(text)
        with pytest.raises(DataError, match=rf"x\.yaml: expected the keys .*{found}"):
            list_datasets()
    path.write_text("a: [")
    with pytest.raises(DataError, match=r"x\.yaml: expected a YAML recipe, found: ") as error:
        list_datasets()
    assert "\n" not in str(error.value)
    path.write_text("{name: x, title: X, kind: zoo}")
    with pytest.raises(DataError, match="x: kind: expected movielens or planted, found 'zoo'"):
        load_dataset("x")


def test_names_and_folders_give_the_same_data(ml_100k: Path) -> None:
    named = load_dataset("ml-100k", data_dir=ml_100k.parent)
    assert named.hash == load_dataset(ml_100k).hash
    assert named.notes == [] and named.official_parts is not None
    kept = load_dataset("ml-100k", data_dir=ml_100k, min_rating=4, min_user=20, min_item=10)
    users, items = (np.bincount(kept.interactions.ids[:, f]) for f in (0, 1))
    assert users.min() >= 20 and items.min() >= 10 and len(kept.notes) == 2
    assert set(kept.interactions.titles) == set(kept.interactions.vocabularies[1].ids.tolist())
