"""The site of the documents: it builds without warnings and without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from example_pages import example_pages, rendered
from outside_links import linked_files, with_inside_links

ROOT = Path(__file__).parents[1]

EXAMPLE = '''\
"""A docstring that is no part of the page."""

# %% [markdown]
# # First steps
#
# One sentence with `code`.

# %%
value = 1 + 1

# %% [markdown]
# A list:
# - of one

# %%
print(value)
'''


def test_an_example_becomes_a_page() -> None:
    assert rendered(EXAMPLE, "examples/first.py") == (
        "# First steps\n\n"
        "This page is made from `examples/first.py`, which you can run.\n\n"
        "One sentence with `code`.\n\n"
        "```python\nvalue = 1 + 1\n```\n\n"
        "A list:\n- of one\n\n"
        "```python\nprint(value)\n```\n"
    )


def test_paragraphs_of_an_example_stay_apart() -> None:
    text = "# %% [markdown]\n# # Title\n#\n# One.\n#\n# Two.\n"
    assert "One.\n\nTwo." in rendered(text, "examples/x.py")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# %%\nx = 1\n", "title"),
        ("# %% [markdown]\n# no title\n", "title"),
        ("# %% [markdown]\n# # Title\nx = 1\n", "comment"),
    ],
)
def test_an_example_without_a_title_or_with_code_in_text_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=rf"examples/x\.py: expected a .*{told}"):
        rendered(text, "examples/x.py")


def test_only_files_with_cells_become_pages(tmp_path: Path) -> None:
    (tmp_path / "first_steps.py").write_text(EXAMPLE)
    (tmp_path / "helper.py").write_text("x = 1\n")
    assert list(example_pages(tmp_path)) == ["first-steps.md"]


def test_links_out_of_the_documents_lead_to_copies_or_are_named(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.csv").write_text("x\n")
    text = "[a.csv](../../results/a.csv) [all](../../results) [run.py](../../run.py) [b](../b.md#c)"
    assert linked_files(tmp_path, [text]) == [tmp_path / "results" / "a.csv"]
    assert with_inside_links(text, tmp_path, "how-to/page.md") == (
        "[a.csv](../files/results/a.csv) all (`results`) `run.py` [b](../b.md#c)"
    )


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_refers_to_no_other_site(tmp_path: Path) -> None:
    """Slow: MkDocs reads all documents and the whole package."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*.html")}
    assert {"index.html", "reference/settings/cf.html", "reference/api/recommender.html"} <= {
        *pages
    }
    assert "tutorials" not in {path.parts[0] for path in map(Path, pages)} or any(
        "# %%" in path.read_text() for path in (ROOT / "examples").glob("*.py")
    )
    for name, path in pages.items():
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(
            r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(https?://[^"]+)"', text
        )
        assert not loaded, f"{name} loads {loaded}"
    for style in tmp_path.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"url\(['\"]?https?://|@import", text), style.name
    assert 'id="sif.Recommender.recommend"' in pages["reference/api/recommender.html"].read_text()
