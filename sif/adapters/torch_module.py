"""A searched interaction function as a plain torch module, to be put into any model.

    function = sif.InteractionFunction.load("genotype.json", dimension=64)
    scores = function(user_vectors, item_vectors)

It is written in ordinary differentiable operations, so that it trains, traces, exports and is
compiled by `torch.jit.script`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sif.core.genotype import Genotype, read
from sif.errors import ConfigError, GenotypeError, ShapeError
from sif.recommender.model import ServedModel
from sif.spaces.interaction.design import SPECS
from sif.spaces.interaction.embeddings import TableShape, clip_readout
from sif.spaces.interaction.function import Design
from sif.spaces.interaction.operations import Operation, Pair
from sif.spaces.interaction.registry import design_of, expression
from sif.spaces.interaction.transforms import Elementwise, Mlp
from sif.utils.argument_types import checks_types

FIELDS = ("user", "item")
DIMENSION = 128
"""Dimension of the vectors where nothing else says it: the presets' `train.dimension`."""


class Primitive(nn.Module):
    """An element-wise function without parameters."""

    def __init__(self, function: Elementwise) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return self.function(x)


class Combined(nn.Module):
    """An operation of two fields that is no sum."""

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self.pair: Pair = operation.pair or (lambda p, q: operation.combine((p, q)))

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """Vectors (..., d) that broadcast to (..., width)."""
        return self.pair(p, q)


class CombinedSum(nn.Module):
    """A sum of two operations: what they give, one after the other."""

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        one, other = operation.parts
        self.one, self.other = Combined(one), Combined(other)

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """Vectors (..., d) that broadcast to (..., width)."""
        return torch.cat([self.one(p, q), self.other(p, q)], dim=-1)


class FrozenMlp(nn.Module):
    """A learned element-wise function whose numbers are buffers: no optimizer meets them.

    Unlike a frozen `Mlp` it is made of ordinary operations alone, which exporters can follow.
    """

    if TYPE_CHECKING:  # at run time `torch.jit.script` cannot read annotations that are texts
        hidden_weight: Tensor
        hidden_bias: Tensor
        output_weight: Tensor
        output_bias: Tensor

    def __init__(self, mlp: Mlp) -> None:
        super().__init__()
        for name, value in mlp.state_dict().items():
            self.register_buffer(name, value.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        hidden = torch.tanh(x[..., None] * self.hidden_weight + self.hidden_bias)
        return hidden @ self.output_weight + self.output_bias


class InteractionFunction(nn.Module):
    """f(u, v) = w^T O(P(u), Q(v)): user and item vectors (..., d) that broadcast to scores (...).

    P and Q are frozen, from the genotype's numbers; the readout w is a parameter, used scaled to
    entries of at most 1 in size, as in sif. Biases, the constant and what a genotype of the space
    "staged" has around its function are not part of it: encodings by history, the propagation along
    a graph and the weighting of the loss. The vectors that go in are the encoded ones.

    Args:
        genotype: A genotype of a space of interaction functions of user and item.
        dimension: Entries d of a vector.
        mixed_signs: True to have w start at +1, -1, +1, ... instead of all at +1.

    Attributes:
        readout: (width * d,) parameter. It is trained with everything else; sif itself leaves it
            as it starts in the space "staged" (`readout.requires_grad_(False)` does that here).
        expression: The function on one line, with its encodings.
        outside: Parts of the genotype that the module lacks, in words.

    Raises:
        GenotypeError: A genotype of cells, of further fields, or with unknown names.
        ConfigError: A dimension below 1.

    Examples:
        >>> names = {"operation": "max", "user": "+sqrt", "item": "~square"}
        >>> genotype = sif.Genotype("primitives", {b: ((0, name),) for b, name in names.items()})
        >>> function = sif.InteractionFunction(genotype, dimension=4, mixed_signs=False)
        >>> function(torch.zeros(3, 1, 4), torch.ones(5, 4)).shape
        torch.Size([3, 5])
    """

    @checks_types
    def __init__(
        self, genotype: Genotype, dimension: int = DIMENSION, mixed_signs: bool = True
    ) -> None:
        super().__init__()
        if dimension < 1:
            raise ConfigError(f"dimension: expected at least 1, found {dimension}")
        design = _design(genotype)
        self.genotype, self.dimension = genotype, dimension
        self.expression = expression(genotype, FIELDS)
        self.outside = _outside(design)
        self.transforms = nn.ModuleList(map(_module, design.transforms))
        combined = CombinedSum if design.operation.parts else Combined
        self.operation = combined(design.operation)
        shape = TableShape((0, 0), dimension, mixed_signs=mixed_signs)
        self.readout = nn.Parameter(shape.initial_readout(design.operation))

    @classmethod
    @checks_types
    def of(cls, model: ServedModel) -> InteractionFunction:
        """The function of a trained model, with its readout.

        Raises:
            GenotypeError: A model of further fields.
        """
        if len(model.fields) != len(FIELDS):
            raise GenotypeError(
                f"genotype: expected a function of user and item, found one of "
                f"{', '.join(model.fields)}"
            )
        function = cls(model.genotype, model.network.shape.dimension)
        with torch.no_grad():
            function.readout.copy_(model.network.readout)
        return function

    @classmethod
    @checks_types
    def load(cls, path: str | Path, dimension: int | None = None) -> InteractionFunction:
        """A searched function from a file or folder.

        Args:
            path: A genotype file, or the folder of a run or of a saved model, whose trained readout
                is then taken as well.
            dimension: Entries of a vector; None: the model's, or 128 for a genotype, which has
                none.

        Returns:
            The function.

        Raises:
            GenotypeError: The file cannot be read, or is of another version or space.
            CheckpointError: The folder's model is missing or damaged.
            ConfigError: A dimension below 1, or another than the model's.

        Examples:
            >>> file = model.save("shop")
            >>> sif.InteractionFunction.load("shop").dimension
            8
        """
        place = Path(path)
        if not place.is_dir():
            return cls(read(place), DIMENSION if dimension is None else dimension)
        model = ServedModel.load(place)
        own = model.network.shape.dimension
        if dimension not in (None, own):
            raise ConfigError(f"dimension: expected {own}, that of {place}, found {dimension}")
        return cls.of(model)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Scores.

        Args:
            user: (..., d).
            item: (..., d), broadcast against the user vectors.

        Returns:
            (...), higher is better.

        Raises:
            ShapeError: Vectors of another dimension.
        """
        _check_dimension("user", user, self.dimension)
        _check_dimension("item", item, self.dimension)
        return self.combined(self.transforms[0](user), self.transforms[1](item))

    def combined(self, p: Tensor, q: Tensor) -> Tensor:
        """w^T O(p, q) of vectors (..., d) that are transformed already: (...)."""
        vectors: Tensor = self.operation(p, q)
        return vectors @ clip_readout(self.readout)

    def extra_repr(self) -> str:
        """The function on one line and the dimension."""
        return f"{self.expression}, dimension={self.dimension}"


load_function = InteractionFunction.load
"""By its former name."""


def _check_dimension(name: str, vectors: Tensor, dimension: int) -> None:
    if not isinstance(vectors, Tensor):
        raise ShapeError(f"{name} vectors: expected a tensor, found another type")
    found = vectors.shape[-1]
    if found != dimension:  # a single entry would be broadcast unnoticed
        raise ShapeError(f"{name} vectors: expected shape (..., {dimension}), found (..., {found})")


def _design(genotype: Genotype) -> Design:
    design = design_of(genotype, FIELDS)
    # Learned transforms are parameters by field: a third field's would be left out unsaid.
    fields = {name.split(".")[0] for name in genotype.parameters}
    if genotype.space in SPECS and not fields <= set(FIELDS):
        raise GenotypeError(
            f"genotype: expected a function of user and item, found one of "
            f"{', '.join(sorted(fields))}"
        )
    return design


def _module(transform: Elementwise) -> nn.Module:
    """An element-wise function as a module."""
    if isinstance(transform, Mlp):
        return FrozenMlp(transform)
    return transform if isinstance(transform, nn.Module) else Primitive(transform)


def _outside(design: Design) -> tuple[str, ...]:
    pairs = zip(FIELDS, design.encodings, strict=False)
    parts = [f"encoding of {field}: {name}" for field, name in pairs if name != "id"]
    if design.graph:
        parts.append("propagation along the graph of the train part")
    if design.features:
        parts.append("vectors of features")
    if design.weighting != "even":
        parts.append(f"weighting of the loss: {design.weighting}")
    return tuple(parts)
