"""Links from documents to files outside docs/: tables and settings come along, others are named.

On a code host such a link leads to the file. A site holds docs/ alone. So files that a browser
shows are copied to `files/` of the site, and other targets are named by their path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)\s#]+)(#[^)\s]*)?\)")
_COPIED = (".csv", ".yaml", ".toml", ".npz")


def linked_files(root: Path, texts: Iterable[str]) -> list[Path]:
    """Files outside docs/ that come along: those of `_COPIED` kinds that documents link to."""
    found = set()
    for text in texts:
        for _, target, _ in _LINK.findall(text):
            path = root / target.replace("../", "")
            if path.suffix in _COPIED and path.is_file():
                found.add(path)
    return sorted(found)


def with_inside_links(text: str, root: Path, page: str) -> str:
    """A document whose links stay inside the site.

    Args:
        text: The document, in Markdown.
        root: The folder of docs/.
        page: The document's path below docs/, such as "how-to/data.md".
    """
    folder = PurePosixPath("docs", page).parent

    def inside(link: re.Match[str]) -> str:
        name, target, _ = link.groups()
        path = os.path.normpath(folder / target)
        if path.startswith("docs/"):
            return link[0]
        if Path(path).suffix in _COPIED and (root / path).is_file():
            return f"[{name}]({os.path.relpath(f'docs/files/{path}', folder)})"
        return f"`{path}`" if name.strip("`") in (path, Path(path).name) else f"{name} (`{path}`)"

    return _LINK.sub(inside, text)
