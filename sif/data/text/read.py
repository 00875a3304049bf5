"""Folders with a train, a valid and a test file of words between spaces.

White space separates the words of a line, and its end becomes `<eos>`. Blank lines are skipped,
except in WikiText: its published numbers of words count an `<eos>` for each of its many blank lines
(S. Merity et al. Pointer Sentinel Mixture Models. ICLR 2017, table 1), and perplexities on it are
comparable only that way. The Penn Treebank has none.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sif.data.download import file_md5
from sif.data.interactions.parts import PART_NAMES
from sif.data.text.corpus import EOS_WORD, Corpus, number
from sif.errors import DataError


@dataclass(frozen=True)
class Layout:
    """Files of train, valid and test; `blank_lines` is true if a blank line counts an `<eos>`."""

    files: tuple[str, str, str]
    blank_lines: bool = False

    def present(self, folder: Path) -> int:
        """The number of the layout's files that a folder holds."""
        return sum((folder / file).is_file() for file in self.files)


LAYOUTS = (
    Layout(("train.txt", "valid.txt", "test.txt")),
    Layout(("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")),
    Layout(("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"), blank_lines=True),
)


def find_layout(folder: Path) -> Layout | None:
    """The layout of which most files are in a folder, whole or not; None without any."""
    best = max(LAYOUTS, key=lambda layout: layout.present(folder))
    return best if best.present(folder) else None


def read_folder(
    folder: Path,
    name: str,
    *,
    max_words: int | None = None,
    md5s: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Corpus:
    """Reads the three files of a folder.

    Args:
        folder: In one of `LAYOUTS`.
        name: Of the data set.
        max_words: Size of the vocabulary; see `sif.data.text.corpus.number`.
        md5s: Checksums of the published files of train, valid and test; others are noted.
        notes: Earlier notes.

    Raises:
        DataError: A file is missing, is empty or is not UTF-8, or the train part has but one word.
    """
    layout = find_layout(folder)
    if layout is None:
        raise DataError(
            f"{folder}: expected {', '.join(LAYOUTS[0].files)} (or the same as ptb.*.txt or"
            " wiki.*.tokens) in it, found none of them"
        )
    missing = [file for file in layout.files if not (folder / file).is_file()]
    if missing:
        lacking = " and no ".join(missing)
        raise DataError(f"{folder}: expected {', '.join(layout.files)} in it, found no {lacking}")
    all_notes = [*notes, *_strangers(folder, layout, list((md5s or {}).values()))]
    parts = {}
    for part, file in zip(PART_NAMES, layout.files, strict=True):
        parts[part], skipped = read_words(folder / file, blank_lines=layout.blank_lines)
        if skipped:
            all_notes.append(f"{file}: {skipped:,} blank line{'s' * (skipped > 1)} skipped")
    return number(name, parts, str(folder / layout.files[0]), max_words, all_notes)


def read_words(path: Path, *, blank_lines: bool = False) -> tuple[list[str], int]:
    """The words of a file with an `<eos>` for each line, and how many blank lines were skipped.

    Raises:
        DataError: There are no words, or the file is not UTF-8.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start}: expected UTF-8, found 0x{raw[error.start]:02x}"
            f" ({error.reason})"
        ) from None
    words: list[str] = []
    skipped = 0
    # Lines as `open` finds them; `splitlines` would also split at signs that WikiText has in words.
    for line in io.StringIO(text.removeprefix("\ufeff"), newline=None):
        line_words = line.split()
        if line_words or blank_lines:
            words += [*line_words, EOS_WORD]
        else:
            skipped += 1
    if all(word == EOS_WORD for word in words):
        what = "white space alone" if raw else "an empty file"
        raise DataError(f"{path}: expected words, found {what}")
    return words, skipped


def _strangers(folder: Path, layout: Layout, published: list[str]) -> list[str]:
    """Notes on files that differ from the published ones, whose results do not compare."""
    notes = []
    for file, md5 in zip(layout.files, published, strict=False):
        actual = file_md5(folder / file)
        if actual != md5:
            notes.append(f"{folder / file}: not the published file (MD5 {md5}), but {actual}")
    return notes
