"""What a job on text works on: everything that can be refused is found out here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sif.baselines.ngram import NGram, tuned
from sif.config.rnn import RNNConfig
from sif.data.text import Corpus, load_corpus
from sif.problems.text import TextProblem
from sif.spaces.rnn.cells import PUBLISHED, RecurrentCell
from sif.spaces.rnn.supernet import recurrent_cell
from sif.tasks.cells.entrants import Entrants, entrants
from sif.utils.device import Runtime

LSTM = "lstm"
Design = RecurrentCell | str
"""A cell, or `LSTM`."""


@dataclass(frozen=True, eq=False)
class TextInputs:
    """Checked inputs of one job.

    Attributes:
        corpus: The text.
        language: At work on its train and validation part.
        entrants: Who is compared.
    """

    corpus: Corpus
    language: TextProblem
    entrants: Entrants

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
    known: dict[str, Design] = {**PUBLISHED, LSTM: LSTM}
    taking_part = entrants(config.method, config.baselines, config.cells, known, recurrent_cell)
    corpus = load_corpus(config.dataset, data_dir=config.data.dir, max_words=config.data.max_words)
    language = TextProblem(config, corpus, runtime)
    language.check()
    for method in taking_part.methods.values():
        language.check_method(method)
    return TextInputs(corpus, language, taking_part)
