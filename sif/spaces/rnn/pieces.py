"""The pieces of language models with recurrent cells, over one window of one text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sif.core.pieces import Example, Piece, Pieces
from sif.spaces.rnn.cells import ACTIVATIONS, RecurrentCell, cell_of, edge_nodes, expression
from sif.spaces.rnn.dropout import TextShape
from sif.spaces.rnn.networks import (
    CELL_INIT,
    CellRecurrence,
    LanguageModel,
    Window,
    highway,
)

EXAMPLES = 3
"""Whole models that are timed to find the time between pieces."""


def model_pieces(
    block: str, operations: Sequence[str], shape: TextShape, steps: int, like: Tensor
) -> Pieces:
    """The pieces of all models of a shape.

    A node's product is counted with its operation, though nodes that read the same state share one
    product; so a sum of latencies is a little above that of the whole model.

    Args:
        block: Name of the space's block.
        operations: Its activations.
        shape: Of the models.
        steps: Words of the window.
        like: Gives device and dtype.
    """
    window = (steps, 1, shape.hidden)
    size = f"{steps} words {shape.hidden} wide"

    def piece(name: str, make: Callable[[], nn.Module], integers: bool) -> Piece:
        at = (steps, 1) if integers else window
        dtype = torch.int64 if integers else like.dtype
        return Piece(
            f"{name} {size}", lambda: make().to(like.device, like.dtype).eval(),
            lambda: (torch.zeros(at, dtype=dtype, device=like.device),),
        )  # fmt: skip

    fixed = [
        piece(f"words {shape.vocabulary}", partial(_Words, shape), True),
        piece("first node", partial(_FirstNode, shape), False),
        piece(f"mean of {shape.nodes}", partial(_Mean, shape.nodes), False),
    ]
    edge = {name: [piece(name, partial(_Node, shape, name), False)] for name in operations}
    edges = [edge for _ in edge_nodes(shape.nodes)]
    pieces = Pieces(fixed, {block: edges}, f"a window of {steps} words")
    examples = []
    for turn in range(EXAMPLES):
        kept = _kept(operations, shape.nodes, turn)
        cell = cell_of(kept, shape.nodes)
        whole = piece(f"cell {expression(cell)}", partial(_model, shape, cell), True)
        examples.append(Example(whole, pieces.parts({block: kept})))
    return replace(pieces, examples=examples)


def _kept(operations: Sequence[str], nodes: int, turn: int) -> tuple[tuple[int, str], ...]:
    """A cell whose nodes read the state before, half of it or the first, by turn."""
    kept = []
    for node in range(nodes):
        source = (node, node // 2, 0)[turn % 3]
        kept.append((node * (node + 1) // 2 + source, operations[(node + turn) % len(operations)]))
    return tuple(kept)


def _model(shape: TextShape, cell: RecurrentCell) -> nn.Module:
    return _Scores(LanguageModel(shape, CellRecurrence(shape, cell)))


class _Scores(nn.Module):
    """A language model from the zero state."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, words: Tensor) -> Tensor:
        """(steps, 1) ids to logits (steps, 1, vocabulary)."""
        window: Window = self.model(words, None)
        return window.logits


def _uniform(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(rows, columns).uniform_(-CELL_INIT, CELL_INIT))


class _Words(nn.Module):
    """Embeddings and the decoder that shares their weights."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.bias = nn.Parameter(torch.zeros(shape.vocabulary))

    def forward(self, words: Tensor) -> Tensor:
        """(steps, 1) ids to logits (steps, 1, vocabulary)."""
        return F.linear(self.embedding(words), self.embedding.weight, self.bias)


class _FirstNode(nn.Module):
    """The node that reads the input and the last state."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.first = _uniform(2 * shape.hidden, 2 * shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(steps, 1, hidden) to the same shape."""
        from_input, from_hidden = self.first.split(x.shape[2])
        hidden, states = x.new_zeros(x.shape[1:]), []
        for given in (x @ from_input).unbind(0):
            hidden = highway(hidden, torch.addmm(given, hidden, from_hidden), torch.tanh)
            states.append(hidden)
        return torch.stack(states)


class _Node(nn.Module):
    """A learned node, step by step."""

    def __init__(self, shape: TextShape, activation: str) -> None:
        super().__init__()
        self.matrix = _uniform(shape.hidden, 2 * shape.hidden)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """(steps, 1, hidden) states to the last of the node's values."""
        value = x[0]
        matrix = torch.cat([self.matrix], 1)
        for read in x.unbind(0):
            value = highway(read, read @ matrix, self.activation)
        return value


class _Mean(nn.Module):
    """The output of a cell: the mean of its nodes, step by step."""

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.nodes = nodes

    def forward(self, x: Tensor) -> Tensor:
        """(steps, 1, hidden) to the same shape."""
        return torch.stack([torch.stack([read] * self.nodes).mean(dim=0) for read in x.unbind(0)])
