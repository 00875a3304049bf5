"""The parameters of one model on the data: embeddings, histories, features, biases, a constant."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sif.spaces.interaction.compact_embeddings import CompactEmbeddings
from sif.spaces.interaction.feature_vectors import FeatureSums
from sif.spaces.interaction.operations import Operation
from sif.spaces.interaction.sparse_rows import take_rows
from sif.utils.compact_rows import Precision

UNIT_INIT = 5.0
"""Initial vectors whose length does not count are this many times longer: a step of Adam then turns
them by less. At `train.lr` 0.05 they learn as at 0.01, which suits them: on validation softmax with
cosines had NDCG@10 .2712 in place of .2599 (ML-100K, docs/results/losses.md)."""


@dataclass(frozen=True)
class TableShape:
    """Sizes, switches and initialization of the tables.

    Attributes:
        sizes: Rows per field.
        dimension: Embedding dimensions d.
        biases: Whether every row has a bias.
        intercept: Whether there is a constant c.
        init: Deviation of the initial embeddings.
        mixed_signs: Readouts start at +1, -1, +1, ... instead of all at +1. On rating data a
            mixture fits better; with all +1, max and min differ in kind (convex, concave).
        encodings: Encoding of each field, see `sif.spaces.interaction.encoders`; empty: by id.
        trained_readout: Whether w is trained. With an identity for P and Q every operation takes
            any scale of w from its vectors, so that only signs are left; training it anyway weakens
            the L2 of dimensions that grow: on validation (ML-100K) it cost .003 NDCG@10 for
            ids over the preset's strengths, .015 for histories at one strength.
        history_l2, bias_l2: L2 of a history's row and of a bias, in units of an embedding's.
    """

    sizes: tuple[int, ...]
    dimension: int
    biases: bool = False
    intercept: bool = False
    init: float = 0.1
    mixed_signs: bool = True
    encodings: tuple[str, ...] = ()
    history_l2: float = 1.0
    bias_l2: float = 1.0
    trained_readout: bool = True

    def encoding(self, field: int) -> str:
        """The encoding of a field."""
        return self.encodings[field] if self.encodings else "id"

    def readout(self, operation: Operation) -> nn.Parameter:
        """An operation's readout w, (width * d,), as it starts."""
        return nn.Parameter(self.initial_readout(operation), requires_grad=self.trained_readout)

    def initial_readout(self, operation: Operation) -> Tensor:
        """(width * d,) start of an operation's readout."""
        readout = torch.ones(operation.width(len(self.sizes)) * self.dimension)
        if self.mixed_signs:
            readout[1::2] = -1.0
        return readout


class Tables(nn.Module):
    """Embeddings, biases and the constant of one model.

    Args:
        shape: Sizes and switches.
        generator: Draws the embeddings, N(0, init^2); biases, constant and vectors of features
            start at 0, where a function is the one without features.
        described: Features of each field, of which vectors have a part; None: it has none. Empty:
            no field has any.

    A table that no encoding uses has no columns. `histories[f]` (n_other, d) is what the history of
    field f sums over, `features[f]` (m_f, d) has the vectors of its features.
    """

    def __init__(
        self, shape: TableShape, generator: torch.Generator,
        described: Sequence[FeatureSums | None] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.history_l2, self.bias_l2 = shape.history_l2, shape.bias_l2
        d = shape.dimension

        def draw(n: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(n, columns, generator=generator) * shape.init)

        self.embeddings = nn.ParameterList(
            draw(n, 0 if shape.encoding(f) == "history" else d) for f, n in enumerate(shape.sizes)
        )
        self.histories = nn.ParameterList(
            draw(n, 0 if shape.encoding(f) == "id" else d)
            for f, n in enumerate(reversed(shape.sizes) if shape.encodings else ())
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.zeros(n)) for n in (shape.sizes if shape.biases else ())
        )
        self.has_intercept = shape.intercept
        self.intercept = nn.Parameter(torch.zeros(()), requires_grad=shape.intercept)
        self.described = tuple(described)
        self.features = nn.ParameterList(
            nn.Parameter(torch.zeros(0 if sums is None else sums.shape[1], d)) for sums in described
        )

    def has_features(self, field: int) -> bool:
        """True if features have a part in a field's vectors."""
        return bool(self.described) and self.described[field] is not None

    def of_features(self, field: int) -> Tensor | None:
        """The part (n_f, d) of a field's vectors that its features have; None: it has none."""
        sums = self.described[field] if self.described else None
        return None if sums is None else sums.vectors(self.features[field])

    def without_features(self) -> Tables:
        """The same tables, of which features are no part."""
        if not self.described:
            return self
        result = copy.copy(self)
        result._modules = dict(self._modules)
        result.features, result.described = nn.ParameterList(), ()
        return result

    @property
    def precision(self) -> Precision:
        """Of the items' embeddings, which may be rounded once they are served."""
        embeddings: object = self.embeddings
        return embeddings.precision if isinstance(embeddings, CompactEmbeddings) else "float32"

    def of_users(self) -> list[Tensor]:
        """The tables with a row for each of the first field's."""
        return [*self.embeddings[:1], *self.biases[:1], *self.histories[1:]]

    def offset(self, ids: Tensor) -> Tensor:
        """Constant and biases, c + b_u + b_v, at ids (n, k): (n,); the scalar c without biases."""
        total = self.intercept
        for field, bias in enumerate(self.biases):
            total = total + bias[ids[:, field]]
        return total

    def squared_norm(
        self, strengths: Sequence[Tensor], encodings: Sequence[str] | None = None
    ) -> Tensor:
        """sum_f sum_i strengths[f][i] (|e_i|^2 + bias_l2 b_i^2 + history_l2 |y_i|^2).

        Args:
            strengths: (n_f,) per field; y are the rows that the other field's history sums over.
                Where there are features, (m_f,) of those of each field follow.
            encodings: Of each field: a table that its encoding does not use is left out; None: all.
        """
        return torch.stack([*self._norms(strengths, encodings).values()]).sum()

    def norm_of_users(self, strengths: Sequence[Tensor]) -> Tensor:
        """The part of `squared_norm` that the first field's rows have."""
        norms = self._norms(strengths, None)
        rows = [norm for (name, f), norm in norms.items() if f == 0 and name != "features"]
        return torch.stack(rows).sum()

    def _norms(
        self, strengths: Sequence[Tensor], encodings: Sequence[str] | None
    ) -> dict[tuple[str, int], Tensor]:
        """The parts of `squared_norm`, by table and the field whose rows it has."""
        found: dict[tuple[str, int], Tensor] = {}
        for f, embedding in enumerate(self.embeddings):
            if encodings is None or encodings[f] != "history":
                found["embedding", f] = strengths[f] @ (embedding * embedding).sum(dim=1)
        for f, bias in enumerate(self.biases):
            found["bias", f] = self.bias_l2 * (strengths[f] @ (bias * bias))
        for f, history in enumerate(self.histories):
            if encodings is None or encodings[f] != "id":
                squares = (history * history).sum(dim=1)
                found["history", 1 - f] = self.history_l2 * (strengths[1 - f] @ squares)
        for f, table in enumerate(self.features):
            found["features", f] = strengths[len(self.embeddings) + f] @ (table * table).sum(dim=1)
        return found


class TableRows(Tables):
    """Some rows of the first field and all of the others, as tables of their own.

    Gradients reach the first field's table as sparse tensors of those rows; see `sparse_rows`.

    Args:
        whole: The tables; they keep the parameters.
        rows: (b,) int64, ascending and distinct; ids of the first field count within them.
    """

    def __init__(self, whole: Tables, rows: Tensor) -> None:
        nn.Module.__init__(self)
        self.embeddings: Any = [_taken(whole.embeddings[0], rows), *whole.embeddings[1:]]
        first = [take_rows(bias, rows) for bias in whole.biases[:1]]
        self.biases: Any = [*first, *whole.biases[1:]]
        self.has_intercept, self.intercept = whole.has_intercept, whole.intercept
        # Those of items, which users sum up, and of users, which items do.
        users = [_taken(history, rows) for history in whole.histories[1:]]
        self.histories: Any = [*whole.histories[:1], *users]
        self.history_l2, self.bias_l2 = whole.history_l2, whole.bias_l2
        first_sums = [None if one is None else one.within(rows) for one in whole.described[:1]]
        self.described = (*first_sums, *whole.described[1:])
        self.features = whole.features


class GivenRows(Tables):
    """Rows of the first field that were taken, in the form that a sum over blocks gives them.

    Args:
        taken: The same rows; they have all other tables.
        first: Their embeddings and, where there are some, biases.
    """

    def __init__(self, taken: TableRows, first: Sequence[Tensor | None]) -> None:
        nn.Module.__init__(self)
        embedding, *biases = first
        self.embeddings: Any = [embedding, *taken.embeddings[1:]]
        self.biases: Any = [*biases, *taken.biases[1:]]
        self.histories = taken.histories
        self.has_intercept, self.intercept = taken.has_intercept, taken.intercept
        self.history_l2, self.bias_l2 = taken.history_l2, taken.bias_l2
        self.described, self.features = taken.described, taken.features


def _taken(table: Tensor, rows: Tensor) -> Tensor:
    """Rows of a table (n, d); of one that no encoding uses, with no columns, they are nothing."""
    return take_rows(table, rows) if table.shape[1] else table[rows]


def clip_readout(readout: Tensor) -> Tensor:
    """The readout scaled to entries of at most 1 in size.

    SIF constrains |w| <= 1 (WWW 2020, equation 3): otherwise w grows, the embeddings shrink, and
    their L2 penalty means nothing.
    """
    return readout / readout.detach().abs().max().clamp(min=1.0)
