"""A trained language model that rates and continues text, saved without code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Self

import torch
from torch.nn import functional as F

from sif.data.text.corpus import EOS_WORD, UNK, UNK_WORD
from sif.errors import ShapeError
from sif.spaces.rnn.designs import parse_design, recurrence
from sif.spaces.rnn.dropout import TextShape
from sif.spaces.rnn.networks import LanguageModel
from sif.utils.model_folder import SavedModel, checked_names, network_of


class TextModel(SavedModel):
    """Predicts the probabilities of the next word.

    Args:
        network: Trained.
        recurrence: Text of its design, as `sif.spaces.rnn.designs.parse_design` reads it.
        words: By their numbers.
    """

    format, kind, called = "sif-language-model", "language-model", "language model"
    network: LanguageModel

    def __init__(self, network: LanguageModel, recurrence: str, words: Sequence[str]) -> None:
        self.network, self.recurrence, self.words = network, recurrence, tuple(words)
        self._numbers = {word: number for number, word in enumerate(self.words)}

    def numbers(self, words: Sequence[str]) -> list[int]:
        """Numbers of words; unknown ones are those of `<unk>`."""
        return [self._numbers.get(word, UNK) for word in words]

    @torch.no_grad()
    def log_probabilities(self, words: Sequence[str]) -> list[float]:
        """Natural logarithm of the probability of every word, from the beginning of a line.

        Args:
            words: At least one.

        Raises:
            ShapeError: No word.
        """
        if not words:
            raise ShapeError("words: expected at least one, found none")
        ids = torch.tensor(self.numbers([EOS_WORD, *words]), device=self.network.bias.device)
        self.network.eval()
        logits = self.network(ids[:-1, None], None).logits[:, 0]
        chances = F.log_softmax(logits, dim=1).gather(1, ids[1:, None])
        return [float(chance) for chance in chances[:, 0]]

    @torch.no_grad()
    def next_words(self, words: Sequence[str], most: int = 5) -> list[tuple[str, float]]:
        """The likeliest words after the beginning of a line, with their probabilities."""
        ids = torch.tensor(self.numbers([EOS_WORD, *words]), device=self.network.bias.device)
        self.network.eval()
        chances = self.network(ids[:, None], None).logits[-1, 0].softmax(dim=0)
        best = chances.topk(min(most, len(self.words)))
        return [
            (self.words[int(i)], float(p)) for p, i in zip(best.values, best.indices, strict=True)
        ]

    def about(self) -> dict[str, Any]:
        """The description: recurrence, sizes and words."""
        return {
            "recurrence": self.recurrence,
            "shape": asdict(self.network.shape),
            "words": list(self.words),
        }

    @classmethod
    def built(cls, about: dict[str, Any], weights: dict[str, Any]) -> Self:
        """The model of a description and weights."""
        shape, name = TextShape(**about["shape"]), about["recurrence"]
        design = parse_design(name)
        words = checked_names(about["words"], shape.vocabulary, "words")
        if words[:2] != (UNK_WORD, EOS_WORD):
            raise ValueError(f"words: expected {UNK_WORD} and {EOS_WORD} first, found {words[:2]}")
        return cls(
            network_of(
                lambda: LanguageModel(shape, recurrence(design, shape)), weights, about["shape"], {}
            ),
            name,
            words,
        )
