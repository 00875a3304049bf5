"""Guides and public docstrings are read at once: short sentences, none of them a riddle."""

from __future__ import annotations

import ast
import inspect
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from reference import documented

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GUIDES = sorted(p for p in DOCS.rglob("*.md") if "results" not in p.relative_to(DOCS).parts)
MEDIAN, LONGEST, PAGE = 16, 35, 1200
"""Words: the median sentence has fewer, no sentence has more, no page has more."""

each_guide = pytest.mark.parametrize("path", GUIDES, ids=lambda p: str(p.relative_to(DOCS)))
_END = re.compile(r"(?<=[.!?])[\"')\]*_]*\s+(?=[\"'(\[*_]*[A-Z0-9`.])|(?<=:)\s*$")


def blocks(text: str) -> Iterator[str]:
    """Paragraphs and list items of a document, each on one line; no code, tables or headings."""
    text = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^:::.*\n(?: +.*\n)*", "", text, flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line for line in paragraph.splitlines() if line.strip()]
        if not lines or lines[0].startswith(("|", "#", "    ", "!", "<")):
            continue
        items: list[str] = []
        for line in lines:
            if re.match(r"\s*(?:[-*]|\d+\.) ", line) or not items:
                items.append(re.sub(r"^\s*(?:[-*]|\d+\.) ", "", line))
            else:
                items[-1] += " " + line.strip()
        yield from items


def sentences(block: str) -> list[str]:
    """Sentences of a paragraph, whose links are their texts and whose code is one word."""
    block = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", block)
    block = re.sub(r"`[^`]*`", "`code`", block)
    return [one for one in _END.split(block) if one and words(one)]


def words(sentence: str) -> int:
    return sum(any(c.isalnum() for c in word) for word in sentence.split())


def check(found: list[str], where: str) -> None:
    longest = max(found, key=words)
    assert words(longest) <= LONGEST, f"{where}: {words(longest)} words: {longest}"
    assert statistics.median(map(words, found)) < MEDIAN, f"{where}: long sentences"


def test_sentences_are_told_apart() -> None:
    text = "# A\n\nOne `x. Y` two. Three [four five](a.md)!\n\n- six\n- seven. Eight\n\n    code\n"
    assert [one for block in blocks(text) for one in sentences(block)] == [
        "One `code` two.", "Three four five!", "six", "seven.", "Eight",
    ]  # fmt: skip
    assert words("One `code` - two.") == 3


@each_guide
def test_sentences_of_guides_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = [one for block in blocks(text) for one in sentences(block)]
    check(found, path.name)


@each_guide
def test_pages_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").split()) <= PAGE


def prose(text: str) -> list[str]:
    """Sentences of a docstring: its paragraphs and its entries, without examples."""
    text = text.split("Examples:", maxsplit=1)[0]
    text = re.sub(
        r"^\s*(?:Args|Attributes|Returns|Raises|Yields):$", "\n", text, flags=re.MULTILINE
    )
    text = re.sub(r"^ {4}(?=[\w, ]+: )", "\n- ", text, flags=re.MULTILINE)
    text = re.sub(r"^- [\w, ]+: ", "- ", text, flags=re.MULTILINE)
    text = re.sub(r"^ +(?=\S)", "", text, flags=re.MULTILINE)
    return [one for block in blocks(text) for one in sentences(block)]


def public_docstrings() -> Iterator[tuple[str, str]]:
    """Docstrings of the reference: what it names, and the public methods of its classes."""
    for name, thing in documented():
        members = {name: thing}
        if inspect.isclass(thing) and thing.__module__.startswith("sif"):
            for key, member in vars(thing).items():
                told = inspect.isfunction(member) or isinstance(member, property | classmethod)
                if told and not key.startswith("_") and member.__doc__:
                    members[f"{name}.{key}"] = member
        for key, member in members.items():
            if not isinstance(member, tuple):
                yield key, inspect.getdoc(member) or ""


def test_sentences_of_public_docstrings_are_short() -> None:
    found = {name: prose(text) for name, text in public_docstrings()}
    assert len(found) > 60
    for name, told in found.items():
        assert told, f"{name} has no docstring"
        longest = max(told, key=words)
        assert words(longest) <= LONGEST, f"{name}: {words(longest)} words: {longest}"
    check([one for told in found.values() for one in told], "docstrings")


def test_no_docstring_begins_like_a_riddle() -> None:
    for path in sorted((ROOT / "sif").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                first = text.split(" ", 1)[0]
                assert first not in ("What", "As", "Whether", "See"), f"{path}: {text[:60]}"
