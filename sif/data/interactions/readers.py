"""Interaction files to `Interactions`: CSV, TSV, any separator, Parquet, `.inter`, u.data, npz.

The usual column names are recognized; others are named through `Columns`. Every value that cannot
be used is refused with its file, line and column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.config.cf import DataConfig
from sif.data.interactions.columns import Int64Array, told
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.npz_files import is_npz, read_npz
from sif.data.interactions.ratings import EXPECTED as A_NUMBER
from sif.data.interactions.ratings import ratings_of
from sif.data.interactions.table_files import HEADERLESS, Table, open_table
from sif.data.interactions.text_records import is_number
from sif.data.interactions.times import seconds_of
from sif.data.interactions.vocabulary import Vocabulary
from sif.errors import DataError, EntryError

# Names as compared: lower case, without spaces, "_", "-" and a RecBole type (":token"). First wins.
RECOGNIZED: dict[str, tuple[str, ...]] = {
    "user": (
        "user", "userid", "uid", "users", "reviewerid", "customerid", "visitorid", "u",
        "customer", "customers", "client", "clientid", "buyer", "buyerid", "shopper", "shopperid",
        "member", "memberid", "visitor", "reviewer", "account", "accountid", "profileid",
        "personid", "username", "sessionid", "session",
    ),
    "item": (
        "item", "itemid", "iid", "items", "movieid", "movie", "product", "productid", "asin",
        "parentasin", "bookid", "isbn", "trackid", "songid", "artistid", "businessid", "newsid",
        "i", "products", "productcode", "itemcode", "sku", "stockcode", "article", "articleid",
        "track", "song", "artist", "book", "videoid", "video", "showid", "animeid", "gameid",
        "game", "appid", "recipeid", "hotelid", "venueid", "restaurantid", "placeid", "poiid",
        "listingid", "courseid", "jobid", "contentid", "beerid",
    ),
    "rating": (
        "rating", "ratings", "score", "stars", "star", "overall", "bookrating", "r", "userrating",
        "starrating", "reviewrating", "reviewscore", "ratingvalue",
    ),
    "timestamp": (
        "timestamp", "time", "ts", "unixtime", "unixreviewtime", "unixtimestamp", "datetime",
        "date", "t", "when", "eventtime", "eventtimestamp", "eventdate", "createdat", "orderdate",
        "ordertime", "orderedat", "purchasedate", "purchasetime", "purchasedat", "transactiondate",
        "tdat", "invoicedate", "ratedat", "ratingtime", "reviewdate", "viewedat", "playedat",
        "timestampms",
    ),
}  # fmt: skip
_TOLD = 12  # columns listed in a message
_OF_TIMES = re.compile(
    r"^(date|time|timestamp|ts)[_ -]|(date|time|stamp)$|(^|[_ -])(on|at|when|ts|day|epoch|utc)$"
)
"""Names of columns that probably have times, in lower case and with _ before capitals."""
_CAPITALS = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Columns:
    """The roles of columns.

    Attributes:
        user: Name of the user column; None recognizes the usual names.
        item: Name of the item column; None as above.
        rating: Name of the rating column; None as above, "" reads none.
        timestamp: Name of the time column; None as above, "" reads none.
        context: Further fields to read as ids.
        separator: Between columns of a text file; None recognizes it.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    context: tuple[str, ...] = ()
    separator: str | None = None

    @classmethod
    def of(cls, settings: DataConfig) -> Columns:
        """The columns that settings name."""
        return cls(**{entry.name: getattr(settings, entry.name) for entry in fields(cls)})

    def find(self, role: str, names: Sequence[str]) -> int | None:
        """Position of the column of a role, by its given name, else by the usual ones."""
        given, typeless = getattr(self, role), _typeless(names)
        for known in (list(names), typeless):
            if given in known:
                return known.index(given)
        return next(iter(usual_places(names, role)), None)

    def is_header(self, first: Sequence[str], second: Sequence[str]) -> bool:
        """True if the first record of a text names columns; the second may be empty.

        It does where a name is known or no cell is a number, and also where its numbers stand
        elsewhere than those of the second record.
        """
        data = [cell.strip() for cell in first]
        given = {self.user, self.item, self.rating, self.timestamp, *self.context} - {None, ""}
        usual = {name for names in RECOGNIZED.values() for name in names}
        if given & {*data, *_typeless(data)} or usual.intersection(_plain(_typeless(data))):
            return True
        numbers = [is_number(cell) for cell in data]
        alike = numbers == [is_number(cell) for cell in second]
        return not all(numbers) and not (any(numbers) and alike)


def _typeless(names: Sequence[str]) -> list[str]:
    """Names without the types of RecBole, such as ":token"."""
    return [name.split(":")[0] for name in names]


def _plain(typeless: Sequence[str]) -> list[str]:
    """Names as those of `RECOGNIZED` are written."""
    return [re.sub(r"[\s_\-]", "", name).lower() for name in typeless]


def read_interactions(path: str | PathLike[str], columns: Columns | None = None) -> Interactions:
    """Read one interaction file.

    Args:
        path: A text file (any separator, with header or in u.data order), `.inter`, Parquet or
            Feather; texts also packed, see `sif.data.interactions.file_kinds.open_bytes`. Or an npz
            as of a split, of which all rows are read.
        columns: Roles of columns; by default the usual names are recognized.

    Returns:
        Its rows in file order; ids in the form of `sif.data.interactions.ids`, ratings and times as
        `sif.data.interactions.ratings` and `sif.data.interactions.times` read them.

    Raises:
        DataError: The file is missing, empty, lacks a column, or holds a value that cannot be used.
    """
    columns = columns or Columns()
    if is_npz(Path(path)):
        without = [role for role in ("rating", "timestamp") if getattr(columns, role) == ""]
        return read_npz(Path(path), columns.context, without)
    return from_table(open_table(Path(path), columns.is_header, columns.separator), columns)


def from_table(table: Table, columns: Columns) -> Interactions:
    """The interactions of a table; errors as in `read_interactions`."""
    roles = assign(table, columns)
    fields = ("user", "item", *columns.context)
    data = _read(table, roles, fields)
    if len(data[roles["user"]]) == 0:
        raise DataError(f"{table.path}: expected interactions, found no rows")
    numbered = []
    for name in fields:
        with _named(table, roles[name], name):
            numbered.append(Vocabulary.from_values(data[roles[name]]))
    rating = _ratings(table, data, roles)
    timestamp, notes = _times(table, data, roles, columns)
    return Interactions(
        ids=np.stack([codes for _, codes in numbered], axis=1),
        fields=fields,
        vocabularies=tuple(vocabulary for vocabulary, _ in numbered),
        rating=rating,
        timestamp=timestamp,
        notes=(*table.notes, *unread_times(table, roles, columns), *notes),
    )


def unread_times(table: Header, roles: Mapping[str, int], columns: Columns) -> tuple[str, ...]:
    """A note on columns that probably have times, where none is read and none was refused."""
    if "timestamp" in roles or columns.timestamp is not None:
        return ()
    others = [name for place, name in enumerate(table.columns) if place not in roles.values()]
    like = [name for name in others if _OF_TIMES.search(_CAPITALS.sub("_", name).lower())]
    if not like:
        return ()
    read = ", ".join(f"{role}={table.columns[place]}" for role, place in roles.items())
    named = table.setting.format("timestamp")
    named = (
        named.replace("...", json.dumps(like[0], ensure_ascii=False))
        if "..." in named
        else f"{named}={like[0]}"
    )
    looks = "looks like times" if len(like) == 1 else "look like times"
    return (f"columns read: {read}; no times; {', '.join(like)} {looks}: pass {named} to read it",)


def _ratings(
    table: Table, data: dict[int, pd.Series], roles: dict[str, int]
) -> npt.NDArray[np.float32] | None:
    if "rating" not in roles:
        return None
    with _named(table, roles["rating"], "rating"):
        return ratings_of(data[roles["rating"]])


def _times(
    table: Table, data: dict[int, pd.Series], roles: dict[str, int], columns: Columns
) -> tuple[Int64Array | None, tuple[str, ...]]:
    """Times, and a note on how they were read where they do not say it themselves."""
    if "timestamp" not in roles:
        return None, ()
    position = roles["timestamp"]
    column = data[position]
    if column.dtype == np.float64 and column.isin([0, 1]).all():
        column = table.read({position: "str"})[position]  # "True" is 1 to the parser
    with _named(table, position, "timestamp", remedy_of(columns, table.columns[position])):
        seconds, read_as = seconds_of(column)
    note = f"{table.path}: {table.columns[position]}: numbers read as {read_as}"
    return seconds, (note,) if read_as else ()


@contextmanager
def _named(table: Table, position: int, name: str, remedy: str = "") -> Iterator[None]:
    """Names the place of a bad cell, and what stands there."""
    try:
        yield
    except EntryError as error:
        raise cell_error(error, *table.locate(error.row, position), name, remedy) from None
    except DataError as error:
        raise DataError(f"{table.path}: {name}: {error}") from None


def cell_error(error: EntryError, where: str, text: str, name: str, remedy: str = "") -> DataError:
    """The error for a bad cell.

    Args:
        error: How the cell was found to be bad.
        where: The place of the cell.
        text: What stands there.
        name: Of its role or field.
        remedy: What helps, before what was found.
    """
    expected, found = error.expected, error.found
    if name in ("rating", "timestamp"):  # as it is written, not as it was parsed
        found = told(text) if text.strip() else "nothing"
        if expected == A_NUMBER and is_number(text):
            expected = "expected a finite number"  # "nan" is a number to the parser
    return DataError(f"{where}: {name}: {expected}{remedy}, found {found}")


def remedy_of(columns: Columns, column: str) -> str:
    """Advice where a column was taken for times by its name and may be something else."""
    certain = columns.timestamp or column.lower().startswith("timestamp")
    return "" if certain else ' (data.timestamp="" reads none)'


class Header(Protocol):
    """The columns of a table, and how messages speak of them; see `Table`."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names by position."""

    @property
    def header_place(self) -> str:
        """Where they stand."""

    @property
    def setting(self) -> str:
        """The way in which a caller names a column."""


def assign(table: Header, columns: Columns) -> dict[str, int]:
    """Position of the column of every role and context field.

    Raises:
        DataError: A column is missing, there twice, or asked for two roles.
    """
    typeless = _typeless(table.columns)
    roles: dict[str, int] = {}
    for role in HEADERLESS:
        header: str | None = getattr(columns, role)
        if header:
            roles[role] = _position(table, typeless, f"data.{role}", header)
        elif header is None:
            usual = [
                place for place in usual_places(table.columns, role) if place not in roles.values()
            ]
            if usual:
                roles[role] = usual[0]
            elif role in ("user", "item"):
                raise DataError(
                    f"{table.header_place}: {role}: expected a column such as"
                    f" {', '.join(RECOGNIZED[role][:3])} (or name it:"
                    f" {table.setting.format(role)}), found {_listed(table)}"
                )
    for name in columns.context:
        roles[name] = _position(table, typeless, "data.context", name)
    for role, position in roles.items():
        clash = next((r for r, p in roles.items() if p == position and r != role), None)
        if clash:
            raise DataError(
                f"{table.header_place}: expected different columns for {role} and {clash},"
                f" found {table.columns[position]!r} for both"
            )
        refuse_twice(table, position, role)
    return roles


def refuse_twice(table: Header, position: int, role: str) -> None:
    """Raises a DataError where the name of a role's column is that of another column too."""
    name = table.columns[position]
    count = table.columns.count(name)
    if count > 1:
        raise DataError(
            f"{table.header_place}: {role}: expected one column {name!r}, found {count}"
        )


def usual_places(columns: Sequence[str], role: str) -> list[int]:
    """Positions of the columns that a role usually has, by their names; the likeliest first."""
    plain = _plain(_typeless(columns))
    return [plain.index(name) for name in RECOGNIZED[role] if name in plain]


def _position(table: Header, typeless: list[str], key: str, name: str) -> int:
    for names in (list(table.columns), typeless):
        if name in names:
            return names.index(name)
    raise DataError(
        f"{table.header_place}: {key}: expected a column {name!r}, found {_listed(table)}"
    )


def _listed(table: Header) -> str:
    names = ", ".join(repr(name) for name in table.columns[:_TOLD])
    return f"columns {names}" + (" ..." if len(table.columns) > _TOLD else "")


def _read(table: Table, roles: dict[str, int], fields: tuple[str, ...]) -> dict[int, pd.Series]:
    """Reads in the narrowest types that fit: only columns that are not numeric stay text."""
    ids = {roles[name]: "id" for name in fields}
    others = [role for role in ("rating", "timestamp") if role in roles]
    # Times too are read as floats, exact to 2^53: pandas 2 wraps larger integers without a word.
    for numeric in (("rating", "timestamp"), ("rating",)):
        types = {roles[role]: "float64" if role in numeric else "str" for role in others}
        with suppress(ValueError, OverflowError):
            return table.read({**ids, **types})
    return table.read({**ids, **{roles[role]: "str" for role in others}})
