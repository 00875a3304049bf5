"""The page of settings and names that are deprecated, from the tables that still accept them."""

from __future__ import annotations

from sif import _FORMER
from sif.config.renamed import RENAMED, Renamed

_HEAD = """\
# Deprecated names

Settings and names of earlier versions still work. One line on standard error, or a Python warning,
tells today's name. Settings that are not listed here have no other name.

## Settings

| former name | name today |
|---|---|
"""
_NAMES = """
## Names in Python

| former name | use instead |
|---|---|
"""


def renamed_page() -> str:
    """The page in Markdown."""
    settings = [
        f"| `{old}` | {', '.join(f'`{key}`' for key in new.keys)}{_values(old, new)} |"
        for old, new in RENAMED.items()
    ]
    names = [f"| `sif.{old}` | {today} |" for old, (_, today) in _FORMER.items()]
    return _HEAD + "\n".join(settings) + "\n" + _NAMES + "\n".join(names) + "\n"


def _values(old: str, new: Renamed) -> str:
    changed = ", ".join(f"`{was}` is now `{now}`" for was, now in new.values)
    if not changed:
        return ""
    return f" (only a value: {changed})" if old in new.keys else f" ({changed})"
