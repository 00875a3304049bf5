"""Hooks of MkDocs: pages that are generated, tutorials, and links that leave the documents."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:  # the settings and commands of this checkout, installed or not
    sys.path.insert(0, str(ROOT))

from command_line_page import command_line_page  # noqa: E402
from example_pages import example_pages  # noqa: E402
from outside_links import linked_files, with_inside_links  # noqa: E402
from renamed_page import renamed_page  # noqa: E402
from settings_pages import settings_pages  # noqa: E402

TUTORIALS = "tutorials"


def on_config(config: Any) -> Any:
    """Puts tutorials behind the start page, once there are examples to make them of."""
    tutorials = [f"{TUTORIALS}/{name}" for name in example_pages(ROOT / "examples")]
    if tutorials and config.nav is not None:
        start, *others = config.nav
        config.nav = [start, {"Tutorials": tutorials}, *others]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds generated pages, tutorials, and the files outside docs/ that documents link to."""
    generated = {
        "reference/command-line.md": command_line_page(),
        "reference/renamed-settings.md": renamed_page(),
        **{f"reference/settings/{name}": text for name, text in settings_pages().items()},
        **{f"{TUTORIALS}/{name}": text for name, text in example_pages(ROOT / "examples").items()},
    }
    for uri, text in generated.items():
        files.append(File.generated(config, uri, content=text))
    texts = [f.content_string for f in files.documentation_pages() if f.abs_src_path]
    for path in linked_files(ROOT, texts):
        uri = f"files/{path.relative_to(ROOT).as_posix()}"
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Leads links out of docs/ to the copies of their files, or names them."""
    return with_inside_links(markdown, ROOT, page.file.src_uri)
