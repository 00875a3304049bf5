"""Whether what a recommender's file holds is a model at all, asked before one is made of it.

A damaged or foreign file is refused where it is read; otherwise it would fail when it is asked, or
answer. What is asked is what `ServedModel.save` writes; further entries are left to others.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from sif.errors import ConfigError
from sif.evaluation.evaluate import MAIN_METRIC
from sif.spaces.interaction.registry import LOSSES


class _Told(str):
    """Words for what was found, where its value would say less."""

    __slots__ = ()


Check = Callable[[Any, str], None]
NEEDED = (
    "genotype", "shape", "network", "fields", "vocabularies", "titles", "scale", "objective",
    "seen", "folds",
)  # fmt: skip


def check(state: Any) -> None:
    """Does nothing if a file's state describes a model.

    Args:
        state: As `ServedModel.save` made it.

    Raises:
        ValueError: Something is missing, of another type or length, or not finite.
        TypeError, AttributeError, OverflowError: The same, of a kind that nobody has thought of.
    """
    _require(isinstance(state, dict), "a table of entries", state)
    for name in NEEDED:
        _require(name in state, f"an entry {name!r}", _Told("none"))
    objective = state["objective"]
    known = tuple(MAIN_METRIC)
    _require(objective in known, f"objective {' or '.join(known)}", objective)
    fields = state["fields"]
    texts = isinstance(fields, list) and all(isinstance(name, str) for name in fields)
    _require(texts and len(set(fields)) == len(fields) >= 2, "names of two fields or more", fields)
    sizes = _sizes(state["vocabularies"], len(fields))
    _check_network(state["shape"], state["network"], sizes)
    mean, deviation = state["scale"]
    _number(mean, "mean of the scale")
    _number(deviation, "deviation of the scale")
    _require(deviation > 0, "a deviation of the scale above 0", deviation)
    for part, kind in zip(state["seen"], "iif", strict=True):
        _require(part.dtype.kind == kind and part.ndim == 1, "a sparse matrix of pairs", part.dtype)
    _floats(state["seen"][2], state["seen"][2].shape, "values of pairs")
    for rows, _ in zip(state.get("untrained", ()), sizes, strict=False):
        _require(rows.dtype.kind == "i" and rows.ndim == 1, "numbers of untrained rows", rows.dtype)
    _require(isinstance(state.get("reading", {}), dict), "how data are read", state.get("reading"))
    if "fallback" in state:
        _check_cold_start(state["fallback"], sizes)
    _require(
        len(state["folds"]) == (2 if len(fields) == 2 else 0),
        "the terms of two folds for two fields, of none for more", _Told(f"{len(state['folds'])}"),
    )  # fmt: skip
    for (encoding, terms), size in zip(state["folds"], sizes[1::-1], strict=False):
        _check_encoding(encoding, size, state["shape"]["dimension"])
        _check_terms(terms, size, objective)


def _sizes(vocabularies: Any, count: int) -> list[int]:
    """Rows of each field."""
    _require(len(vocabularies) == count, f"ids of {count} fields", _Told(f"of {len(vocabularies)}"))
    for ids in vocabularies:
        _require(ids.dtype.kind == "U" and ids.ndim == 1, "ids as a list of texts", ids.dtype)
    return [len(ids) for ids in vocabularies]


def _check_network(shape: Any, tensors: Any, sizes: list[int]) -> None:
    _require(isinstance(shape, dict) and isinstance(tensors, dict), "tables and their shape", shape)
    for value in shape["sizes"]:
        _whole(value, "number of rows")
    found = list(shape["sizes"])
    _require(found == sizes, f"tables of {sizes} rows", found)
    _whole(shape["dimension"], "dimension")
    for name, asked in _SHAPE.items():
        if name in shape:
            asked(shape[name], name)
    for name, tensor in tensors.items():
        _floats(tensor, tensor.shape, name)
    # Before a network is made: a file of a few bytes must not ask for all memory.
    for field, size in enumerate(sizes):
        name = f"tables.embeddings.{field}"
        _floats(tensors[name], (size, shape["dimension"]), name)


def _check_cold_start(cold_start: Any, sizes: list[int]) -> None:
    order, cold = cold_start
    _require(
        order.dtype == np.float32 and order.shape == (sizes[1],)
        and bool((np.isfinite(order) | np.isneginf(order)).all()),
        f"places of {sizes[1]} items, none NaN",
        _Told(f"{order.dtype} of shape {order.shape}"),
    )  # fmt: skip
    _require(
        cold.dtype == np.bool_ and cold.shape == (sizes[0],),
        f"marks of {sizes[0]} users", _Told(f"{cold.dtype} of shape {cold.shape}"),
    )  # fmt: skip


def _check_encoding(encoding: Any, size: int, dimension: int) -> None:
    _flag(encoding["free"], "free")
    _number(encoding["power"], "power of a history")
    for name in ("history", "neighbors"):
        if encoding[name] is not None:
            _floats(encoding[name], (size, dimension), name)


def _check_terms(terms: Any, size: int, objective: str) -> None:
    try:
        loss = LOSSES.named(terms["loss"], "loss")
    except ConfigError as error:
        raise ValueError(str(error)) from None
    _require(objective in loss.objectives, f"a loss of {objective}", terms["loss"])
    for name in ("l2", "l2_power", "bias_l2", "power", "level"):
        _number(terms[name], name)
    _flag(terms["apart"], "apart")
    _whole(terms["negatives"], "number of negatives")
    for name in ("even", "extra"):
        _floats(terms[name], (size,), name)


def _require(holds: bool, expected: str, found: Any) -> None:
    if not holds:
        told = found if isinstance(found, _Told) else reprlib.repr(found)
        raise ValueError(f"expected {expected}, found {told}")


def _number(value: Any, name: str) -> None:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    _require(real and math.isfinite(value), f"a finite {name}", value)


def _whole(value: Any, name: str) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    _require(whole and value >= 1, f"a whole {name} of at least 1", value)


def _flag(value: Any, name: str) -> None:
    _require(isinstance(value, bool), f"{name} to be true or false", value)


def _texts(value: Any, name: str) -> None:
    listed = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    _require(listed, f"{name} as texts", value)


def _floats(value: Any, shape: Any, name: str) -> None:
    """An array or tensor of that shape, all of it finite."""
    expected = f"finite floats of shape {tuple(shape)} as {name}"
    made = isinstance(value, np.ndarray | torch.Tensor)
    _require(made, expected, _Told(type(value).__name__))
    tensor = torch.as_tensor(value)
    told = _Told(f"{tensor.dtype} of shape {tuple(tensor.shape)}")
    _require(tensor.is_floating_point() and tensor.shape == tuple(shape), expected, told)
    lost = tensor[~torch.isfinite(tensor)]
    if lost.numel():
        _require(False, expected, float(lost[0]))


_SHAPE: Mapping[str, Check] = {
    "biases": _flag, "intercept": _flag, "mixed_signs": _flag, "trained_readout": _flag,
    "init": _number, "history_l2": _number, "bias_l2": _number, "encodings": _texts,
}  # fmt: skip
