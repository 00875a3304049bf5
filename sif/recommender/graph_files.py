"""The graph of a model's items as a file beside the model's, read without trust.

The file is of the same kind as the model's: safetensors with JSON in the header, and a digest of
all. It names the items' weights that the graph was built of, so that no graph serves another model,
and every number that a search follows is checked (`sif.retrieval.graph_file`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sif.config.cf import Retrieval
from sif.errors import MALFORMED, CheckpointError, ConfigError, first_line
from sif.retrieval.graph import ItemGraph
from sif.utils import checkpoint

FILE = "retrieval.safetensors"
KIND = "retrieval"
_OF_USERS = ("tables.embeddings.0", "tables.biases.0")
"""Weights that may change while a graph stands."""

_logger = logging.getLogger("sif")


def write_graph(folder: Path, graph: ItemGraph | None, weights: Mapping[str, Tensor]) -> None:
    """Writes a graph; without one, removes that of a former model.

    Args:
        folder: Of the model.
        graph: Of the items; None: there is none.
        weights: Of the model.

    Raises:
        CheckpointError: A failed write.
    """
    path = folder / FILE
    if graph is None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be removed: {error.strerror}") from error
        return
    checkpoint.save(path, {**graph.state(), "items": _digest(weights)}, KIND)


def read_graph(
    folder: Path, n_items: int, weights: Mapping[str, Tensor], retrieval: Retrieval
) -> ItemGraph | None:
    """The graph beside a model; None: there is none, or it is not asked for.

    Args:
        folder: Of the model.
        n_items: Of the model.
        weights: Of the model.
        retrieval: The model's setting; "auto" answers exactly where usearch is missing.

    Raises:
        CheckpointError: The file is damaged, foreign, or of other items.
        ConfigError: usearch is not installed, and "approximate" asks for it.
    """
    path = folder / FILE
    if retrieval == "exact" or not path.is_file():
        return None
    state = checkpoint.load(path, KIND)
    try:
        if state["n_items"] != n_items or state["items"] != _digest(weights):
            raise ValueError("it was built of other items than the model's")
        return ItemGraph.of_state(state)
    except ConfigError as error:
        if retrieval == "approximate":
            raise
        _logger.warning(f"retrieval: exact answers; {error}")
        return None
    except MALFORMED as error:
        raise CheckpointError(
            f"{path}: {first_line(error)}; remove the file to answer exactly"
        ) from None


def _digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of the weights that order items."""
    sha = hashlib.sha256()
    for name in sorted(set(weights) - set(_OF_USERS)):
        tensor = weights[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.numpy().reshape(-1).view("u1").data)
    return sha.hexdigest()
