"""Loads a corpus by a name or from a folder."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from sif.data.download import first_folder, locate
from sif.data.recipe import GRAMMAR, Recipe, check_arguments, list_datasets, unknown_name
from sif.data.text.corpus import Corpus, check_max_words
from sif.data.text.grammar import Grammar, grammar_corpus
from sif.data.text.read import LAYOUTS, find_layout, read_folder
from sif.errors import DataError


def load_corpus(
    name_or_path: str | Path,
    *,
    data_dir: Path | None = None,
    max_words: int | None = None,
    grammar: Mapping[str, Any] | None = None,
) -> Corpus:
    """Load a known corpus or a folder, or generate one.

    Args:
        name_or_path: "grammar", "penn-mini", "ptb", "wikitext-2", or a folder with train.txt,
            valid.txt and test.txt (or the same as ptb.*.txt or wiki.*.tokens).
        data_dir: Looked at first for a known name, and where a download goes.
        max_words: Size of the vocabulary, with `<unk>` and `<eos>`; the most frequent words of the
            train part are kept. By default all.
        grammar: Arguments of `Grammar` and `grammar_corpus` that differ from the recipe's.

    Returns:
        The corpus, with notes on what was done.

    Raises:
        DataError: Unknown name, missing or bad files, or arguments out of range.
    """
    check_max_words(max_words)
    name = str(name_or_path)
    recipe = list_datasets().get(name)
    if recipe is None:
        path = Path(name)
        if not path.is_dir():
            raise _unknown(path)
        return read_folder(path, path.resolve().name, max_words=max_words)
    recipe.check_content("text")
    if recipe.kind == GRAMMAR:
        return _generate({**recipe.options, **(grammar or {})}, max_words)
    folder, notes = _find(recipe, data_dir)
    return read_folder(folder, name, max_words=max_words, md5s=recipe.md5s, notes=notes)


def _unknown(path: Path) -> DataError:
    files = f"{', '.join(LAYOUTS[0].files[:2])} and {LAYOUTS[0].files[2]}"
    if path.is_file():
        return DataError(f"{path}: expected a folder with {files}, found a file")
    if len(path.parts) > 1:
        return DataError(f"{path}: expected a folder with {files}, found no such folder")
    return unknown_name(str(path), "text", f"a folder with {files},")


def _find(recipe: Recipe, data_dir: Path | None) -> tuple[Path, list[str]]:
    """Folder of a known name, and notes.

    A folder in any layout counts, whole or not: its reader says what is missing. Single files count
    where their names tell of what they are.
    """

    def find(base: Path) -> Path | None:
        names = (recipe.folder, recipe.name)
        folder = first_folder(base, names, lambda f: f.is_dir() and find_layout(f) is not None)
        single = any(f.startswith(recipe.name) and (base / f).is_file() for f in recipe.files)
        return base if folder is None and single else folder

    return locate(recipe, data_dir, find)


def _generate(options: Mapping[str, Any], max_words: int | None) -> Corpus:
    source = [field.name for field in fields(Grammar)]
    sizes = [key for key in inspect.signature(grammar_corpus).parameters if key != "grammar"]
    check_arguments("grammar", options, (*source, *sizes))
    arguments = {key: options[key] for key in source if key in options}
    if "steps" in arguments:
        arguments["steps"] = tuple(arguments["steps"])
    parts = {key: options[key] for key in sizes if key in options}
    corpus = grammar_corpus(Grammar(**arguments), **parts)
    if max_words is not None and max_words < len(corpus.words):
        raise DataError(  # without a word, the entropy would be that of another source
            f"grammar: most words: expected at least {len(corpus.words)}, all that it has,"
            f" found {max_words}"
        )
    return corpus
