"""Recipes of named data sets, from `datasets/*.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from sif.config import did_you_mean, shipped
from sif.data.download import Source
from sif.errors import DataError

PLANTED = "planted"
DIGITS = "digits"
GRAMMAR = "grammar"
_CONTENT = {"images": "images", DIGITS: "images", "text": "text", GRAMMAR: "text"}
"""Content by kind; all other kinds are interactions."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Source):
    """One file of `datasets/`; its name is what `--dataset` takes.

    Attributes:
        title: For people.
        kind: "planted" or "movielens"; of images "images" or "digits"; of text "text" or "grammar".
        license: Terms of use of the data.
        citation: Whom to cite.
        options: Arguments of the generator ("planted" and "grammar" only).
    """

    title: str
    kind: str
    license: str = ""
    citation: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """Kind of its content, for messages."""
        return _CONTENT.get(self.kind, "interactions")

    def check_content(self, expected: str) -> None:
        """Raises DataError for a data set of another kind of content."""
        if self.content != expected:
            raise DataError(f"{self.name}: expected {expected}, found a data set of {self.content}")


def list_datasets() -> dict[str, Recipe]:
    """Name to recipe, by name.

    Raises:
        DataError: A recipe file is damaged.
    """
    recipes = [_read_recipe(path) for path in sorted(shipped("datasets").glob("*.yaml"))]
    return {recipe.name: recipe for recipe in recipes}


def unknown_name(name: str, content: str, expected: str) -> DataError:
    """An error for a name that is no known data set, nor what else was expected."""
    names = [recipe.name for recipe in list_datasets().values() if recipe.content == content]
    return DataError(
        f"dataset: expected {expected} or one of {', '.join(names)}, found {name!r}"
        f"{did_you_mean(name, names)}"
    )


def check_arguments(generator: str, arguments: Iterable[str], known: Iterable[str]) -> None:
    """Raises DataError for arguments that a generator does not have."""
    known = list(known)
    unknown = [key for key in arguments if key not in known]
    if unknown:
        raise DataError(
            f"{generator}: expected arguments of {', '.join(known)}, found {', '.join(unknown)}"
        )


def _read_recipe(path: Path) -> Recipe:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: expected a YAML recipe, found: {reason}") from None
    known = {f.name for f in fields(Recipe)}
    needed = {"name", "title", "kind"}
    if not isinstance(entries, dict) or not needed <= set(entries) <= known:
        actual = ", ".join(map(str, entries)) if isinstance(entries, dict) else repr(entries)
        raise DataError(
            f"{path}: expected the keys {', '.join(sorted(needed))} and of"
            f" {', '.join(sorted(known - needed))}, found {actual}"
        )
    return Recipe(**{**entries, "files": tuple(entries.get("files", ()))})
