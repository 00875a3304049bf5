"""The names that the pages of the reference document, as the pages name them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

API = Path(__file__).parents[1] / "reference" / "api"


def named() -> list[str]:
    """Dotted names behind `:::`, in the order of pages."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(API.glob("*.md"))]
    return [name for text in texts for name in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)]


def documented() -> Iterator[tuple[str, Any]]:
    """Every such name with what it stands for, where its library is installed."""
    for name in named():
        module, _, attribute = name.rpartition(".")
        try:
            yield name, getattr(resolve_name(module), attribute)
        except ImportError:
            continue
