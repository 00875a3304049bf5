"""Tables of features as other programs have them: which are meant, and how each is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from sif.adapters.tables import Rows, titles_of
from sif.config.cf import DataConfig
from sif.data.features.attach import ROLES, with_features
from sif.data.features.columns import SEPARATOR, cells_of
from sif.data.features.plain import PlainColumn, PlainFeatures, number_text, split_vectors
from sif.data.features.written import plain_features
from sif.data.interactions import Interactions
from sif.data.interactions.atomic_files import INTER, ITEM, USER, beside, inter_of
from sif.errors import DataError
from sif.utils.addresses import entered
from sif.utils.paths import exists

_logger = logging.getLogger("sif")
_ENDINGS = {"item": ITEM, "user": USER}

Tables = Mapping[str, PlainFeatures]
"""Role ("item", "user") to its table of features."""


def tables_of(source: str | Path, settings: DataConfig, rows: Rows) -> Tables:
    """The tables of features that settings name, or that lie beside the atomic files of RecBole.

    Args:
        source: Of the interactions.
        settings: Name the tables, and kinds of their columns.
        rows: The interactions, whose ids the tables must know.

    Raises:
        DataError: A table that cannot be used.
    """
    paths = {role: getattr(settings, f"{role}_features") for role in ROLES}
    file = _atomic(Path(entered(str(source))))
    if file is not None:
        paths = {role: path or beside(file, _ENDINGS[role]) for role, path in paths.items()}
    named = {f"{role}_features": path for role, path in paths.items()}
    interactions = rows if isinstance(rows, Interactions) else rows.interactions
    _, notes = with_features(interactions, settings.model_copy(update=named))
    for note in notes:
        _logger.warning("%s", note)
    return {
        role: plain_features(path, role, settings.feature_kinds)
        for role, path in paths.items()
        if path is not None
    }


def _atomic(path: Path) -> Path | None:
    """The atomic file of interactions of a folder or of this name; of a split the train part's."""
    if path.suffix.lower() == INTER:
        return path
    if not (exists(path) and path.is_dir()):
        return None
    train = sorted(path.glob(f"*.train{INTER}"))
    return inter_of(path) or (train[0] if train else None)


# For RecBole


def recbole_frames(tables: Tables, rows: Rows) -> dict[str, pd.DataFrame]:
    """Features as `sif.adapters.recbole.write_recbole` takes them, with the titles of the data.

    RecBole has no sentences: a text is the sequence of its words. Values of a sequence stand apart
    by spaces, so that those within a tag become "_".
    """
    frames = {}
    for role, table in tables.items():
        columns = tuple(map(_for_recbole, table.columns))
        frames[role] = PlainFeatures(role, table.ids, columns).frame(f"{role}_id")
    titles = titles_of(rows)
    if "item" in frames and titles and not any(map(_is_title, frames["item"].columns)):
        frames["item"] = _with_titles(frames["item"], titles)
    return frames


def _is_title(name: str) -> bool:
    return name.lower().endswith("title") or name == "name"


def _with_titles(items: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Features with a column of titles, and a row for every item that has one."""
    words = {item: _words(title) for item, title in titles.items()}
    titled = pd.DataFrame({"item_id": list(words), "title": cells_of(words.values())})
    return items.merge(titled, on="item_id", how="outer", sort=False)


def _words(text: str) -> list[str]:
    return text.replace('"', "'").split()


def _for_recbole(column: PlainColumn) -> PlainColumn:
    if column.kind == "text":
        words = [None if cell is None else _words(cell) for cell in column.cells]
        return PlainColumn(column.name, "tags", cells_of(words))
    if column.kind != "tags":
        return column
    spaced = {tag for cell in column.cells if cell for tag in cell if tag.split() != [tag]}
    if not spaced:
        return column
    _logger.warning(
        "%s: spaces within tags became _, in %d of them, such as %r", column.name, len(spaced),
        min(spaced),
    )  # fmt: skip
    joined = [
        None if cell is None else ["_".join(tag.split()) for tag in cell] for cell in column.cells
    ]
    return PlainColumn(column.name, "tags", cells_of(joined))


# For RecTools, and as CSV and Parquet

WriteTable = Callable[[pd.DataFrame, Path], Path]


def place_of(role: str, output: Path) -> Path:
    """The file of features that belongs to a file of interactions."""
    return output.with_name(f"{output.stem}.{role}_features{output.suffix}")


def write_long(tables: Tables, output: Path, write: WriteTable) -> None:
    """Writes features as RecTools has them: "id", "feature", "value"; tells which are words."""
    for role, table in tables.items():
        path = write(table.long(), place_of(role, output))
        _logger.warning(
            "%s: for Dataset.construct as %s_features_df, with cat_%s_features=%s",
            path, role, role, table.of_categories(),
        )  # fmt: skip


def write_wide(tables: Tables, place: Callable[[str], Path], write: WriteTable) -> None:
    """Writes features with a row for each id, as `read_features` reads them.

    Args:
        tables: The features.
        place: Role to the file of its table.
        write: Writes a table.

    Raises:
        DataError: CSV cannot hold a tag.
    """
    for role, table in tables.items():
        path = place(role)
        is_text = path.suffix == ".csv"
        write(_of_texts(table, str(path)) if is_text else table.frame(role), path)


def _of_texts(table: PlainFeatures, where: str) -> pd.DataFrame:
    """A table of texts: "|" between tags, a column for each number of a vector."""
    data = {table.role: table.ids.astype(object)}
    for name, cells in split_vectors(table).items():
        data[name] = cells_of(_text(cell, f"{where}: {name}") for cell in cells)
    return pd.DataFrame(data)


def _text(cell: object, where: str) -> object:
    if isinstance(cell, float):
        return number_text(cell)
    if not isinstance(cell, list):
        return cell
    torn = next((tag for tag in cell if SEPARATOR in tag), None)
    if torn is not None:
        raise DataError(f"{where}: expected tags without {SEPARATOR} for CSV, found {torn!r}")
    return SEPARATOR.join(cell)
