"""Sizes of language models, and dropout that is constant over a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextShape:
    """Sizes of a language model.

    Attributes:
        vocabulary: Number of words.
        hidden: Width of embeddings and of every state; equal, since the decoder's weights are the
            embeddings (Press & Wolf, EACL 2017).
        nodes: Learned nodes of a cell.
    """

    vocabulary: int
    hidden: int
    nodes: int = 8


@dataclass(frozen=True, eq=False)
class Masks:
    """Factors 0 or 1 / (1 - chance), all fixed over a window; None: nothing is dropped.

    Gal & Ghahramani, NIPS 2016; Merity et al., ICLR 2018.

    Attributes:
        word: (vocabulary, 1); drop a word, wherever it stands in the window.
        embedding: (batch, hidden); drop a value of what the embeddings give.
        input: (batch, hidden); drop a value of the cell's input.
        hidden: (batch, hidden); drop a value of a state, wherever it is read.
        output: (batch, hidden); drop a value of the cell's output.
    """

    word: Tensor | None = None
    embedding: Tensor | None = None
    input: Tensor | None = None
    hidden: Tensor | None = None
    output: Tensor | None = None


def draw_masks(
    chances: Mapping[str, float], shape: TextShape, batch: int, like: Tensor, seed: int
) -> Masks:
    """Masks of one window, the same for the same seed.

    Args:
        chances: Name of a mask to the chance to drop, in the order of `Masks`.
        shape: Of the model.
        batch: Columns of the window.
        like: Gives device and dtype.
        seed: Of this window.
    """
    draws = torch.Generator(like.device).manual_seed(seed)
    masks: dict[str, Tensor] = {}
    for name, chance in chances.items():
        if chance:
            size = (shape.vocabulary, 1) if name == "word" else (batch, shape.hidden)
            kept = torch.rand(size, generator=draws, device=like.device) >= chance
            masks[name] = kept.to(like) / (1 - chance)
    return Masks(**masks)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Values times their factors, or unchanged."""
    return x if mask is None else x * mask
