"""Tutorials from examples/*.py in the percent format: Markdown cells become text, others code.

A cell begins with `# %%`, a Markdown cell with `# %% [markdown]`; its lines are comments.
"""

from __future__ import annotations

import re
from pathlib import Path

_CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)


def example_pages(folder: Path) -> dict[str, str]:
    """Name of a page, such as "first-steps.md", to its Markdown, for every example with cells."""
    pages = {}
    for path in sorted(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if _CELL.search(text):
            pages[f"{path.stem.replace('_', '-')}.md"] = rendered(text, f"examples/{path.name}")
    return pages


def rendered(text: str, name: str) -> str:
    """An example as a page in Markdown.

    Args:
        text: The example. What stands before the first cell is left out.
        name: The path of the file, which the page names.

    Raises:
        ValueError: The first cell is no Markdown cell with a title, or a line of a Markdown cell
            is no comment.
    """
    _, *parts = _CELL.split(text)
    cells = [
        _cell("[markdown]" in head, body, name)
        for head, body in zip(parts[::2], parts[1::2], strict=True)
    ]
    cells = [cell for cell in cells if cell]
    if not cells or not cells[0].startswith("# "):
        raise ValueError(f"{name}: expected a title such as '# # Title' in the first cell")
    title, _, rest = cells[0].partition("\n")
    note = f"This page is made from `{name}`, which you can run."
    return "\n\n".join([title, note, rest.strip(), *cells[1:]]).replace("\n\n\n", "\n\n") + "\n"


def _cell(is_text: bool, body: str, name: str) -> str:
    if not is_text:
        return f"```python\n{body.strip()}\n```" if body.strip() else ""
    lines = [line for line in body.strip().splitlines() if line.strip()]
    for line in lines:
        if not line.startswith("#"):
            raise ValueError(f"{name}: expected a comment in a Markdown cell, found {line!r}")
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
