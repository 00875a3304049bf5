"""What a job on text works on: everything that can be refused is found out here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sif.cell_methods import METHODS
from sif.config import did_you_mean
from sif.config.rnn import RNNConfig
from sif.data.text import Corpus, load_corpus
from sif.errors import ConfigError
from sif.genotype import read
from sif.language import Language
from sif.ngram import NGram, tuned
from sif.runtime import Runtime
from sif.spaces.rnn import recurrent_cell
from sif.spaces.rnn_cells import PUBLISHED, RecurrentCell
from sif.tasks.contest import GIVEN, SEARCHED

LSTM = "lstm"
Design = RecurrentCell | str
"""A cell, or `LSTM`."""


@dataclass(frozen=True, eq=False)
class TextInputs:
    """Checked inputs of one job.

    Attributes:
        corpus: The text.
        language: At work on its train and validation part.
        methods: Name in the comparison to search method.
        given: Name in the comparison to what is trained without a search.
        ours: The name that is compared with the others.
    """

    corpus: Corpus
    language: Language
    methods: Mapping[str, str]
    given: Mapping[str, Design]
    ours: str

    @property
    def data_hash(self) -> str:
        """16 hex digits of the content."""
        return self.corpus.content_hash

    @cached_property
    def ngram(self) -> NGram:
        """Tuned on validation."""
        return tuned(self.corpus)

    @cached_property
    def split_hash(self) -> str:
        """The same: a text comes in its parts."""
        return self.corpus.content_hash


def prepare(config: RNNConfig, runtime: Runtime) -> TextInputs:
    """Reads and checks what the configuration names.

    Raises:
        DataError, ConfigError, GenotypeError: One line each.
    """
    rivals = [name for name in config.baselines if config.cells or name != config.method]
    for key, names, known in (
        ("method", (config.method,), tuple(METHODS)),
        ("baselines", rivals, (*METHODS, *PUBLISHED, LSTM)),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"{key}: expected one of {', '.join(known)}, found {name!r}"
                    f"{did_you_mean(name, known)}"
                )
    ours: dict[str, Design] = {} if config.cells is None else {GIVEN: given_cell(config.cells)}
    corpus = load_corpus(config.dataset, data_dir=config.data.dir, max_words=config.data.max_words)
    language = Language(config, corpus, runtime)
    language.check()
    methods = {} if ours else {SEARCHED: config.method}
    methods |= {name: name for name in rivals if name in METHODS}
    given = ours | {name: PUBLISHED.get(name, LSTM) for name in rivals if name not in METHODS}
    return TextInputs(corpus, language, methods, given, GIVEN if ours else SEARCHED)


def given_cell(name_or_file: str) -> RecurrentCell:
    """A published cell by its name, or that of a genotype file.

    Raises:
        ConfigError, GenotypeError: Neither, or a file that holds no such cell.
    """
    if name_or_file in PUBLISHED:
        return PUBLISHED[name_or_file]
    path = Path(name_or_file)
    if not path.exists():
        raise ConfigError(
            f"cells: expected a genotype file or one of {', '.join(PUBLISHED)}, found "
            f"{name_or_file!r}{did_you_mean(name_or_file, PUBLISHED)}"
        )
    return recurrent_cell(read(path))
