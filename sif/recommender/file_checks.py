"""Checks that the entries of a recommender's file describe a model, before one is made of them.

A damaged or foreign file is refused when it is read; otherwise it would fail at the first query, or
answer wrongly. The models here describe the entries that `ServedModel.save` writes; other entries
are not checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_type_hints

import numpy as np
import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from torch import Tensor

from sif.config.cf import DataConfig, ExcludeSeen, Retrieval
from sif.config.messages import describe
from sif.core.genotype import Genotype
from sif.errors import ConfigError
from sif.evaluation import evaluate
from sif.recommender.fold_in_terms import Encoding, Objective
from sif.recommender.item_precision import ItemPrecision
from sif.spaces.closed.design import NAME as CLOSED
from sif.spaces.closed.design import closed_design
from sif.spaces.closed.filters import ChebyshevFilter, GraphFilter
from sif.spaces.closed.network import PASSES, SIDES
from sif.spaces.interaction.compact_embeddings import ITEMS
from sif.spaces.interaction.compact_embeddings import SCALES as ROW_SCALES
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.registry import LOSSES
from sif.spaces.linear.design import linear_design
from sif.spaces.linear.features import Alikeness
from sif.spaces.linear.network import OFFSETS, REST
from sif.spaces.linear.network import SCALES as WEIGHT_SCALES
from sif.utils.compact_rows import DTYPES


def _require(holds: Any, expected: str, actual: Any) -> None:
    if not holds:
        raise ValueError(f"expected {expected}, found {actual}")


def _column(kind: str) -> AfterValidator:
    """An array (n,) of one kind of numpy's data types."""

    def check_column(value: Any) -> Any:
        _require(isinstance(value, np.ndarray), "an array", type(value).__name__)
        actual = f"{value.dtype} of shape {value.shape}"
        _require(value.dtype.kind == kind and value.ndim == 1, f"(n,) of kind {kind}", actual)
        return value

    return AfterValidator(check_column)


def _finite(value: Any) -> Any:
    """An array or tensor of floats, all of them finite."""
    _require(isinstance(value, np.ndarray | torch.Tensor), "floats", type(value).__name__)
    tensor = torch.as_tensor(value)
    _require(tensor.is_floating_point(), "floats", tensor.dtype)
    for invalid in tensor[~torch.isfinite(tensor)][:1]:
        _require(False, "finite floats", float(invalid))
    return value


def _finite_or_whole(value: Any) -> Any:
    """A tensor of whole numbers, or of floats that are finite."""
    kinds = (torch.int8, torch.int32, torch.int64)
    whole = isinstance(value, torch.Tensor) and value.dtype in kinds
    return value if whole else _finite(value)


def _shaped(name: str, value: Any, *shape: int) -> None:
    if value is not None:
        _require(value.shape == shape, f"{name} of shape {shape}", tuple(value.shape))


def _precision(value: Any) -> ItemPrecision | None:
    """The record of a rounded table."""
    return TypeAdapter(ItemPrecision | None).validate_python(value)


PASSING = (GraphFilter, ChebyshevFilter)
"""Closed forms with a polynomial."""
FittedOn = Literal["train", "train+valid", "all"]
Texts = Annotated[Any, _column("U")]
Numbers = Annotated[Any, _column("i")]
Floats = Annotated[Any, AfterValidator(_finite)]
Tensors = Annotated[Any, AfterValidator(_finite_or_whole)]
Bounded = Annotated[float, Field(ge=-1e12, le=1e12)]
"""Of ratings, whose squares float32 can still add up."""
Listed = Field(strict=False)
"""A list or a tuple."""

STORED: Mapping[Any, Any] = {
    int: PositiveInt,
    tuple[int, ...]: Annotated[tuple[PositiveInt, ...], Listed],
    tuple[str, ...]: Annotated[tuple[str, ...], Listed],
    Tensor: Floats,
    Tensor | None: Annotated[
        Any, AfterValidator(lambda one: None if one is None else _finite(one))
    ],
}
"""Type of a field to its type in a file, where these differ."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


def _stored(kind: type) -> GetPydanticSchema:
    """The entries of a dataclass in a file; its constructor reports missing ones."""
    entries = {name: (STORED.get(hint, hint), None) for name, hint in get_type_hints(kind).items()}
    entry = create_model(kind.__name__, __base__=_Part, **entries)  # type: ignore[call-overload]
    return GetPydanticSchema(lambda _, handler: handler(entry))


Fold = tuple[Annotated[Encoding, _stored(Encoding)], Annotated[Objective, _stored(Objective)]]


class _State(_Part):
    genotype: str
    shape: Annotated[TableShape, _stored(TableShape)] | None
    network: dict[str, Tensors]
    fields: Annotated[list[str], Field(min_length=2)]
    vocabularies: list[Texts]
    titles: list[Any]
    scale: Annotated[tuple[Bounded, Annotated[Bounded, Field(gt=0)]], Listed]
    objective: evaluate.Objective
    seen: Annotated[tuple[Numbers, Numbers, Floats], Listed]
    owned: Annotated[tuple[Texts, Numbers, Numbers], Listed] | None = None
    exclude_seen: ExcludeSeen = "all"
    retrieval: Retrieval = "auto"
    fitted_on: FittedOn = "train"
    baseline: str = ""
    folds: list[Annotated[Fold, Listed]]
    untrained: list[Numbers] = []
    reading: DataConfig = DataConfig()
    fallback: Annotated[tuple[Any, Any], Listed] | None = None
    cold_order: str = ""
    alikeness: Annotated[Alikeness, _stored(Alikeness)] | None = None
    user_alikeness: Annotated[Alikeness, _stored(Alikeness)] | None = None
    item_precision: Annotated[Any, AfterValidator(_precision)] = None

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        count, sizes = len(self.fields), [len(ids) for ids in self.vocabularies]
        _require(len(set(self.fields)) == count, "names of different fields", self.fields)
        _require(len(sizes) == count, f"ids of {count} fields", f"of {len(sizes)}")
        if self.shape is None:
            self._check_order(sizes)
            return self
        self._check_tables(self.shape, sizes)
        folds = 2 if count == 2 else 0
        _require(len(self.folds) == folds, f"the terms of {folds} folds", len(self.folds))
        for (encoding, terms), size in zip(self.folds, sizes[1::-1], strict=False):
            _shaped("history", encoding.history, size, self.shape.dimension)
            _shaped("neighbors", encoding.neighbors, size, self.shape.dimension)
            _shaped("even", terms.even, size)
            _shaped("extra", terms.extra, size)
        return self

    def _check_tables(self, shape: TableShape, sizes: list[int]) -> None:
        """A network of vectors, before one is made: few bytes must not ask for all memory."""
        actual = list(shape.sizes)
        _require(actual == sizes, f"tables of {sizes} rows", actual)
        for field, size in enumerate(sizes):
            name = f"tables.embeddings.{field}"
            _shaped(name, self.network[name], size, shape.dimension)
        name = "tables.embeddings"
        self._check_precision(f"{name}.{ITEMS}", f"{name}.{ROW_SCALES}")

    def _check_precision(self, name: str, scales_name: str) -> None:
        """A table of the items that is rounded, or not, as the record says."""
        table, scales = self.network[name], self.network.get(scales_name)
        wanted = None if self.item_precision is None else self.item_precision.precision
        if scales is None:
            _require(table.dtype not in DTYPES.values(), f"scales of {name}", "none")
            return
        found = {dtype: one for one, dtype in DTYPES.items()}.get(table.dtype)
        _require(found is not None and found == wanted, f"{name} in {wanted}", table.dtype)
        _require(scales.dtype == torch.float32, f"{scales_name} in float32", scales.dtype)
        _shaped(scales_name, scales, len(table))
        _require(bool((scales > 0).all()), f"{scales_name} above 0", "others")

    def _check_order(self, sizes: list[int]) -> None:
        """An item-item model."""
        _require(self.objective == "ranking", "rankings", self.objective)
        _require(len(sizes) == 2, "the fields user and item", self.fields)
        _require(not self.folds, "no terms of folds", len(self.folds))
        genotype = Genotype.from_json(self.genotype)
        if self.network.get(SIDES[0]) is not None:
            self._check_filter(genotype, sizes[1])
            return
        scales = 1 if genotype.space == CLOSED else linear_design(genotype).scales
        solved, names = sizes[1], set(self.network) - {OFFSETS, WEIGHT_SCALES}
        if names != {"weights"}:
            _require(names == {"weights", *REST}, "weights", sorted(self.network))
            solved = self._check_rest(scales * sizes[1], sizes[1])
        kind = self.network["weights"].dtype
        if WEIGHT_SCALES not in self.network:
            _require(kind == torch.float32, "weights in float32", kind)
        self._check_precision("weights", WEIGHT_SCALES)
        offsets = self.network.get(OFFSETS)
        if offsets is not None:
            _require(offsets.dtype == torch.float32, "offsets in float32", offsets.dtype)
        _shaped(OFFSETS, offsets, sizes[1])
        _require(solved > 0 or offsets is not None, "weights of items", "none")
        _shaped("weights", self.network["weights"], scales * solved, sizes[1])

    def _check_filter(self, genotype: Genotype, n_items: int) -> None:
        """Scales and factors, and the scaled clicks where there is a polynomial."""
        passes = isinstance(closed_design(genotype), PASSING)
        names = {"weights", *SIDES, *(PASSES if passes else ())}
        _require(set(self.network) == names, ", ".join(sorted(names)), sorted(self.network))
        for name in SIDES:
            kind = self.network[name].dtype
            _require(kind == torch.float32, f"{name} in float32", kind)
        for name in SIDES[:2]:
            _shaped(name, self.network[name], n_items)
        for name in SIDES[2:]:
            _shaped(name, self.network[name], n_items, self.network[SIDES[2]].shape[-1])
        if passes:
            numbers, *rows = (self.network[name] for name in PASSES)
            _require(numbers.ndim == 1 and len(numbers) > 1, "coefficients", numbers.shape)
            _require(float(numbers[0]) > 0, "an eigenvalue above 0", float(numbers[0]))
            self._check_csr(PASSES[1:], rows, n_items)

    @staticmethod
    def _check_csr(names: tuple[str, ...], parts: list[Tensor], n_columns: int) -> None:
        """A sparse matrix in three parts."""
        starts, columns, values = parts
        for name, part in zip(names, (starts, columns), strict=False):
            _require(not part.is_floating_point() and part.ndim == 1, f"whole {name}", part.dtype)
        _require(values.dtype == torch.float32, f"{names[2]} in float32", values.dtype)
        _shaped(names[2], values, len(columns))
        _require(len(starts) > 0, f"{names[0]}", "none")
        ends = int(starts[0]), int(starts[-1])
        _require(ends == (0, len(columns)), f"{names[0]} from 0 to {len(columns)}", ends)
        _require(bool((starts.diff() >= 0).all()), f"{names[0]} that ascend", "others")
        inside = bool(((columns >= 0) & (columns < n_columns)).all())
        _require(inside, f"{names[1]} from 0 to {n_columns - 1}", "others")

    def _check_rest(self, rows: int, n_items: int) -> int:
        """Sparse weights (rows, n_items) beside the dense ones; how many items these have."""
        items, starts, columns, values = (self.network[name] for name in REST)
        _require(not items.is_floating_point() and items.ndim == 1, "whole items", items.dtype)
        _shaped("rest_starts", starts, rows + 1)
        self._check_csr(REST[1:], [starts, columns, values], n_items)
        _require(bool((items.diff() > 0).all()), "items that ascend", "others")
        inside = bool(((items >= 0) & (items < n_items)).all())
        _require(inside, f"items from 0 to {n_items - 1}", "others")
        return len(items)

    @model_validator(mode="after")
    def _check_losses(self) -> Self:
        for _, terms in self.folds:
            try:
                loss = LOSSES.named(terms.loss, "loss")
            except ConfigError as error:
                raise ValueError(str(error)) from None
            _require(self.objective in loss.objectives, f"a loss of {self.objective}", terms.loss)
        return self

    @model_validator(mode="after")
    def _check_cold_start(self) -> Self:
        if self.fallback is not None:
            order, cold = self.fallback
            users, items = (len(ids) for ids in self.vocabularies[:2])
            _require(order.dtype == np.float32, "places in float32", order.dtype)
            _shaped("places of items", order, items)
            _require(not (np.isnan(order) | np.isposinf(order)).any(), "places of items", "NaN")
            _require(cold.dtype == np.bool_, "marks of users", cold.dtype)
            _shaped("marks of users", cold, users)
        return self


def check(state: Any) -> None:
    """Does nothing if a file's state, as `ServedModel.save` makes it, describes a model.

    Raises:
        ValueError: Something is missing, of another type or length, or not finite.
        LookupError, TypeError, AttributeError: The same, for unforeseen faults.
    """
    try:
        _State.model_validate(state)
    except ValidationError as error:
        raise ValueError(describe(error, _State, {})) from None
