"""The official MovieLens folders to `Interactions` with titles.

100K keeps `u.data` and `u.item`, 1M and 10M `ratings.dat` and `movies.dat` ("::" between columns),
20M, 25M and the "latest" sets `ratings.csv` and `movies.csv`. The layout follows from the files.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sif.data.interactions.interactions import Interactions
from sif.data.interactions.readers import Columns, read_interactions
from sif.data.reading import reading
from sif.errors import DataError

OFFICIAL_FOLDS = ("u1", "u2", "u3", "u4", "u5")


def _cut(lines: Iterable[str], separator: str) -> Iterable[list[str]]:
    return (line.split(separator) for line in lines)


@dataclass(frozen=True)
class Layout:
    """Names of the files of one family of official folders; that of the titles may be absent."""

    ratings: str
    titles: str
    title_rows: Callable[[Iterable[str]], Iterable[list[str]]]
    """Lines of titles to rows whose first two values are item id and title."""


LAYOUTS = (
    Layout("u.data", "u.item", partial(_cut, separator="|")),
    Layout("ratings.dat", "movies.dat", partial(_cut, separator="::")),
    Layout("ratings.csv", "movies.csv", csv.reader),
)


def find_layout(folder: Path) -> Layout | None:
    """The layout whose ratings file the folder has, or None."""
    return next((layout for layout in LAYOUTS if (folder / layout.ratings).is_file()), None)


def read_movielens(folder: Path, columns: Columns | None = None) -> Interactions:
    """Reads an official folder.

    Args:
        folder: Unpacked official archive.
        columns: Roles of columns; not needed for the official files.

    Returns:
        The ratings in file order, with titles where the file of titles is there.

    Raises:
        DataError: The folder has no known layout or a file is damaged.
    """
    layout = find_layout(folder)
    if layout is None:
        names = ", ".join(layout.ratings for layout in LAYOUTS)
        raise DataError(f"{folder}: expected one of {names} in it, found none")
    interactions = read_interactions(folder / layout.ratings, columns)
    if not (folder / layout.titles).is_file():
        return interactions
    titles = _read_titles(folder / layout.titles, layout)
    known = set(interactions.vocabularies[1].ids.tolist())
    kept = {item: title for item, title in titles.items() if item in known}
    return replace(interactions, titles=kept)


def official_parts(folder: Path) -> dict[str, tuple[Path, Path]] | None:
    """Fold name to (base file, test file) for the folds that are there; None without any."""
    pairs = {fold: (folder / f"{fold}.base", folder / f"{fold}.test") for fold in OFFICIAL_FOLDS}
    complete = {fold: pair for fold, pair in pairs.items() if all(path.is_file() for path in pair)}
    return complete or None


def _read_titles(path: Path, layout: Layout) -> dict[str, str]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # 100K and 1M; the later sets are UTF-8
    with reading(path, "a table of titles"):
        rows = list(layout.title_rows(text.splitlines()))
    titles: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if not row or row == [""]:
            continue
        if len(row) < 2:
            raise DataError(f"{path} line {number}: expected item id and title, found {row[0]!r}")
        titles[row[0].strip()] = row[1].strip()
    return titles
