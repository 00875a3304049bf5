from __future__ import annotations

from pathlib import Path

import pytest

from sif.data.interactions.movielens import official_parts, read_movielens
from sif.errors import DataError

LAYOUTS = [
    (
        "u.data",
        "1\t10\t3\t5\n2\t20\t4\t6\n",
        "u.item",
        "10|Les Misérables (1995)|x\n20|B|\n30|C|\n",
    ),
    (
        "ratings.dat",
        "1::10::3::5\n2::20::4::6\n",
        "movies.dat",
        "10::Les Misérables (1995)::D\n20::B::D\n",
    ),
    (
        "ratings.csv",
        "userId,movieId,rating,timestamp\n1,10,3.0,5\n2,20,4.0,6\n",
        "movies.csv",
        'movieId,title,genres\n10,"Les Misérables (1995)",D\n20,B,D\n',
    ),
]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize(("ratings", "rows", "titles", "lines"), LAYOUTS)
def test_official_layouts(
    tmp_path: Path, ratings: str, rows: str, titles: str, lines: str, encoding: str
) -> None:
    (tmp_path / ratings).write_text(rows)
    bare = read_movielens(tmp_path)
    assert bare.titles == {}
    (tmp_path / titles).write_text(lines, encoding=encoding)
    data = read_movielens(tmp_path)
    assert data.titles == {"10": "Les Misérables (1995)", "20": "B"}
    assert data.content_hash == bare.content_hash
    assert [v.ids.tolist() for v in data.vocabularies] == [["1", "2"], ["10", "20"]]
    assert data.rating is not None and data.rating.tolist() == [3, 4]
    assert data.timestamp is not None and data.timestamp.tolist() == [5, 6]


def test_damage_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"expected one of u\.data, ratings\.dat, ratings\.csv in it"
    ):
        read_movielens(tmp_path)
    (tmp_path / "u.data").write_text("1\t10\t3\t5\n")
    (tmp_path / "u.item").write_text("10|A|\n\nbroken\n")
    with pytest.raises(
        DataError, match=r"u\.item line 3: expected item id and title, found 'broken'"
    ):
        read_movielens(tmp_path)
    assert official_parts(tmp_path) is None


def test_the_real_one(ml_100k: Path) -> None:
    data = read_movielens(ml_100k)
    assert len(data) == 100_000 and data.sizes == (943, 1682)
    assert data.vocabularies[0].ids[:3].tolist() == ["1", "2", "3"]
    assert data.titles["1"] == "Toy Story (1995)"
    assert "Misérables, Les (1995)" in data.titles.values()
    assert list(official_parts(ml_100k) or {}) == ["u1", "u2", "u3", "u4", "u5"]
