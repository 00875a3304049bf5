"""Statements: a query that reads and nothing else, and names in quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sif.errors import ConfigError

_COMMENT = re.compile(r"\s*(?:--[^\n]*(?:\n|$)|/\*.*?\*/)", re.DOTALL)
_BEGINS = ("select", "with", "values", "table", "from")
_TOLD = 60


def checked_query(text: str) -> str:
    """One query, ready to stand in parentheses.

    Databases refuse what writes by themselves, in transactions that only read. Statements of other
    kinds may change a session or write a file.

    Args:
        text: A query, with or without a semicolon at its end.

    Raises:
        ConfigError: It begins like no query.
    """
    query = text.strip().rstrip(";").rstrip()
    bare = query
    while comment := _COMMENT.match(bare):
        bare = bare[comment.end() :]
    word = re.match(r"[\s(]*(\w*)", bare)
    if word is None or word[1].lower() not in _BEGINS:
        found = repr(bare[:_TOLD]) + ("..." if len(bare) > _TOLD else "")
        raise ConfigError(f"data.query: expected a query such as 'select ...', found {found}")
    return f"{query}\n"  # a comment at its end must not swallow a parenthesis


def quoted(name: str) -> str:
    """A name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def table_name(table: str) -> str:
    """A table as an identifier, behind its schema where a point separates them."""
    return ".".join(map(quoted, table.split(".")))


def literal(text: str) -> str:
    """A text as a value."""
    return "'" + text.replace("'", "''") + "'"


def create(table: str, columns: Iterable[tuple[str, str]]) -> str:
    """The statement that makes a table of columns with types."""
    listed = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns)
    return f"create table {table_name(table)} ({listed})"
