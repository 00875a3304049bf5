"""All items of an interaction function, prepared to be scored for any users.

A function is a sum of parts (`operations`). Parts with factors become one matrix product, biases
included; `sif.retrieval.kernels` adds the others.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from sif.retrieval.kernels import GROUP, Broadcast, Maxima, compiled
from sif.spaces.interaction.embeddings import clip_readout
from sif.spaces.interaction.function import Interaction
from sif.spaces.interaction.operations import Operation, shares
from sif.spaces.linear.compact_weights import CompactWeights
from sif.spaces.linear.weights import ItemWeights
from sif.utils.compact_rows import CompactRows, Precision


@dataclass(frozen=True, eq=False)
class Users:
    """Prepared users: the left side (b, r) of the matrix product, and the input of each kernel."""

    left: Tensor
    sides: tuple[Tensor, ...]


class Catalogue:
    """Items, biases and readout of a function of two fields; a copy of what it needs.

    Attributes:
        n_items: Items.
        device: Device that computes the scores.
        is_personalized: Whether the order of the items depends on the user.
        precision: Of the items' side of the products; offsets are always float32.
    """

    def __init__(self, interaction: Interaction, precision: Precision = "float32") -> None:
        self._transform, tables = interaction.transforms[0], interaction.tables
        items = interaction.table(1).detach().float()
        self.device = items.device
        readout = clip_readout(interaction.readout).detach().float()
        parts = shares(interaction.operation, readout, items.shape[1])
        self.is_personalized = not all(part.additive for part, _ in parts)
        self._products = [(part.factors, share) for part, share in parts if part.factors]
        self._kernels = [_kernel(part, share, items) for part, share in parts if not part.factors]
        self._intercept = tables.intercept.detach().float().clone()
        self._no_items = items[:0]
        right = [made(items[:0], items, share)[1] for made, share in self._products]
        # Users' and items' offsets are two more columns: (offset, 1) . (1, offset).
        self._has_offsets = bool(tables.biases) or tables.has_intercept or not right
        if self._has_offsets:
            bias = torch.zeros_like(items[:, 0])
            if tables.biases:
                bias = bias + tables.biases[1].detach().float()
            right.append(torch.stack([torch.ones_like(bias), bias], dim=1))
        self.precision: Precision = precision if self._products else "float32"
        self._set_right(torch.cat(right, dim=1) if len(right) > 1 else right[0].clone())

    def _set_right(self, right: Tensor) -> None:
        """Items' side (n_items, r) of the product; rows of zeros fill the last group up."""
        self.n_items = len(right)
        padded = F.pad(right, (0, 0, 0, -self.n_items % GROUP))
        self._right: Tensor | CompactSide = padded
        if self.precision != "float32":
            self._right = CompactSide.of(padded, 2 * self._has_offsets, self.precision)

    def rows(self, start: int, stop: int) -> Tensor:
        """Items' side (stop - start, r) of the products; rows behind the last item are zeros."""
        right = self._right
        return right[start:stop] if isinstance(right, Tensor) else right.rows(start, stop)

    def taken(self, items: Tensor) -> Tensor:
        """The same of some items int64 (...): (..., r)."""
        right = self._right
        return right[items] if isinstance(right, Tensor) else right.taken(items)

    @property
    def compact(self) -> CompactSide | None:
        """Items' side as it is rounded; None: it is float32."""
        return None if isinstance(self._right, Tensor) else self._right

    @property
    def n_rows(self) -> int:
        """n_items, rounded up to a multiple of `GROUP`."""
        return len(self._right)

    @property
    def nbytes(self) -> int:
        """Bytes of the items' side."""
        return self._right.nbytes

    def users(self, vectors: Tensor, biases: Tensor | None) -> Users:
        """Users ready for `write`: vectors (b, d) before the transform, biases (b,) or None.

        Only functions with biases have users with biases.
        """
        p = self._transform(vectors.to(self.device)).float()
        left = [made(p, self._no_items, share)[0] for made, share in self._products]
        if self._has_offsets:
            offset = self._intercept.expand(len(p))
            if biases is not None:
                offset = offset + biases.to(offset)
            left.append(torch.stack([offset, torch.ones_like(offset)], dim=1))
        whole = torch.cat(left, dim=1) if len(left) > 1 else left[0]
        return Users(whole, tuple(kernel.side(p) for kernel in self._kernels))

    @property
    def is_product(self) -> bool:
        """True if items' order for a user is that of products with one vector of theirs."""
        return self.is_personalized and not self._kernels

    @cached_property
    def _telling(self) -> Tensor:
        """Columns of the items' side that differ among items: the others shift a user's scores."""
        right = self.rows(0, self.n_items)
        return (right != right[:1]).any(dim=0).nonzero().flatten()

    @property
    def product_shape(self) -> tuple[int, int]:
        """Shape of `item_vectors`; (0, 0) where scores are no products."""
        return (self.n_items, len(self._telling)) if self.is_product else (0, 0)

    def item_vectors(self) -> Tensor:
        """Vectors (n_items, r) whose products with `user_vectors` order the items."""
        return self.rows(0, self.n_items)[:, self._telling]

    def user_vectors(self, users: Users) -> Tensor:
        """Vectors (b, r) for products with `item_vectors`."""
        return users.left[:, self._telling]

    def scores_of(self, users: Users, items: Tensor) -> Tensor:
        """Scores (b, c) of c items of each user, int64 (b, c); of products alone."""
        return (users.left[:, None] * self.taken(items)).sum(dim=2)

    @property
    def is_sum_of_products(self) -> bool:
        """True if scores are products of `Users.left` and `right`, and nothing else."""
        return bool(self._products) and not self._kernels

    def among(self, items: Tensor) -> Catalogue:
        """The catalogue of some items alone, int64 (m,); of products alone."""
        some = copy.copy(self)
        some._set_right(self.taken(items))
        return some

    def write(self, users: Users, start: int, stop: int, out: Tensor) -> None:
        """Writes scores of items start..stop into the first columns of out (b, any) float32."""
        scores, right = out[:, : stop - start], self.rows(start, stop)
        if self._products:
            torch.mm(users.left, right.T, out=scores)
        else:
            torch.add(users.left[:, :1], right[:, 1], out=scores)
        for kernel, side in zip(self._kernels, users.sides, strict=True):
            kernel.add(side, start, stop, out)


@dataclass(frozen=True, eq=False)
class CompactSide:
    """Items' side of the products, rounded but for the offsets.

    Attributes:
        vectors: (m, r - o), rounded.
        offsets: float32 (m, o), the last columns.
    """

    vectors: CompactRows
    offsets: Tensor

    @classmethod
    def of(cls, right: Tensor, offsets: int, precision: Precision) -> CompactSide:
        """Of a side (m, r), whose last columns are offsets."""
        count = right.shape[1] - offsets
        rows = CompactRows.of(right[:, :count], precision)
        return cls(rows, right[:, count:].clone())

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.vectors.nbytes + self.offsets.nbytes

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows start..stop in float32, made anew each time."""
        rows, offsets = self.vectors.rows(start, stop), self.offsets[start:stop]
        return torch.cat([rows, offsets], dim=1) if offsets.shape[1] else rows

    def taken(self, items: Tensor) -> Tensor:
        """Rows int64 (...) in float32 (..., r)."""
        rows, offsets = self.vectors.taken(items), self.offsets[items]
        return torch.cat([rows, offsets], dim=-1) if offsets.shape[-1] else rows


class HistoryCatalogue:
    """Items of an item-item model: a user's vector is his history.

    Args:
        weights: Of the model, which may be rounded.

    Attributes:
        n_items, device, is_personalized, is_product, product_shape: See `Catalogue`.
    """

    device = torch.device("cpu")
    is_product, product_shape = False, (0, 0)

    def __init__(self, weights: ItemWeights | CompactWeights) -> None:
        self._weights, self.n_items = weights, weights.n_items
        self.is_personalized = weights.size > 0

    def users(self, vectors: sparse.csr_array, biases: Tensor | None) -> Users:
        """Users ready for `write`: all their scores, from histories (b, d)."""
        return Users(torch.from_numpy(self._weights.scores(vectors)), ())

    def write(self, users: Users, start: int, stop: int, out: Tensor) -> None:
        """Writes scores of items start..stop into the first columns of out (b, any) float32."""
        out[:, : stop - start] = users.left[:, start:stop]


def _kernel(part: Operation, share: Tensor, items: Tensor) -> Maxima | Broadcast:
    """Adds a part without factors to scores, by its share of the readout."""
    if part.maxima is None or items.device.type != "cpu" or compiled() is None:
        return Broadcast(lambda p, q: part.combine((p, q)) @ share, items)
    return Maxima(part.maxima, items, share)
