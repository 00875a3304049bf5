"""Text for language models: read or generated, numbered, streamed.

Other packages use only the names exported here.
"""

from __future__ import annotations

from sif.data.text.corpus import EOS, EOS_WORD, UNK, Corpus
from sif.data.text.grammar import Grammar, grammar_corpus
from sif.data.text.load import load_corpus
from sif.data.text.stream import Carry, TextStream, text_batches

__all__ = [
    "EOS",
    "EOS_WORD",
    "UNK",
    "Carry",
    "Corpus",
    "Grammar",
    "TextStream",
    "grammar_corpus",
    "load_corpus",
    "text_batches",
]
