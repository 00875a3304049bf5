"""Models in folders: a description in JSON and weights in safetensors, read without trust.

The weights are read first. What the description says of sizes is believed as far as they prove it:
a file of a few bytes cannot ask for all memory, or for a million layers.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from sif.errors import MALFORMED, CheckpointError, first_line
from sif.utils import checkpoint
from sif.utils.digest import digest

_WEIGHTS = "weights.safetensors"
_LONGEST = 1 << 26
"""Bytes of a description: a million words of 60 letters."""
N = TypeVar("N", bound=nn.Module)


def network_of(
    make: Callable[[], N], weights: Mapping[str, Tensor], sizes: Mapping[str, Any],
    counts: Mapping[str, Any],
) -> N:  # fmt: skip
    """A network with given weights, made once they are known to fit.

    Args:
        make: Makes the network with other weights.
        weights: Its state.
        sizes: Name to a number of the description that widths of layers follow from.
        counts: Name to a number of the description that the number of layers follows from.

    Raises:
        ValueError: A number that is larger than the weights allow, or weights of other names,
            shapes or types, or such that are not finite.
    """
    most = sum(tensor.numel() for tensor in weights.values())
    for limit, numbers in ((most, sizes), (len(weights), counts)):
        for name, number in numbers.items():
            if type(number) is not int or not 1 <= number <= limit:
                raise ValueError(f"{name}: expected 1 to {limit} by the weights, found {number!r}")
    with torch.device("meta"):
        expected = make().state_dict()
    if expected.keys() != weights.keys():
        raise ValueError(f"weights: see {min(expected.keys() ^ weights.keys())!r}")
    for name, tensor in expected.items():
        actual = weights[name]
        if (tensor.shape, tensor.dtype) != (actual.shape, actual.dtype):
            raise ValueError(
                f"weights {name}: expected {tuple(tensor.shape)} {tensor.dtype}, "
                f"found {tuple(actual.shape)} {actual.dtype}"
            )
        if not bool(actual.isfinite().all()):
            raise ValueError(f"weights {name}: expected finite numbers")
    network = make()
    network.load_state_dict(weights)
    return network


def checked_names(names: Any, count: int, what: str) -> tuple[str, ...]:
    """A list of different texts of a known length; ValueError otherwise."""
    if not isinstance(names, list) or not all(type(name) is str for name in names):
        raise ValueError(f"{what}: expected a list of texts")
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"expected {count} different {what}, found {len(names)}")
    return tuple(names)


class SavedModel(ABC):
    """A model around a trained network, saved without code.

    Attributes:
        format: Value of "format" in the description, as `version` is of "version".
        kind: Name of the description's file, and of the kind of weights.
        called: For messages.
        network: Trained.
    """

    format: ClassVar[str]
    version: ClassVar[int] = 1
    kind: ClassVar[str]
    called: ClassVar[str]
    network: nn.Module

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """The description: plain values from which `built` makes the model."""

    @classmethod
    @abstractmethod
    def built(cls, about: dict[str, Any], weights: dict[str, Any]) -> Self:
        """The model of a description and weights; what it raises means a malformed file."""

    def save(self, folder: Path) -> None:
        """Writes the model: its description in JSON, its weights in safetensors.

        Raises:
            CheckpointError: The files cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.save(folder / _WEIGHTS, dict(self.network.state_dict()), self.kind)
        about = self.about()
        marked = {
            "format": self.format, "version": self.version, "digest": _digest(about), **about
        }  # fmt: skip
        checkpoint.write_json_atomic(folder / f"{self.kind}.json", marked)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote, onto the CPU.

        Raises:
            CheckpointError: Missing, damaged or of another kind.
        """
        path = folder / f"{cls.kind}.json"
        try:
            if path.stat().st_size > _LONGEST:
                raise ValueError(f"more than {_LONGEST} bytes")
            about = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: expected a {cls.called}, found {error}") from None
        if not isinstance(about, dict) or about.get("format") != cls.format:
            raise CheckpointError(f'{path}: expected an object with "format": "{cls.format}"')
        if about.get("version") != cls.version:
            raise CheckpointError(
                f"{path}: expected version {cls.version}, found {about.get('version')!r}"
            )
        weights = checkpoint.load(folder / _WEIGHTS, cls.kind)
        del about["format"], about["version"]
        written = about.pop("digest", None)  # files of version 0.1 have none
        try:
            model = cls.built(about, weights)
            if written not in (None, _digest(about)):
                raise ValueError("the content is not what was written")
        except MALFORMED as error:
            reason = first_line(error)
            raise CheckpointError(f"{path}: malformed {cls.called}: {reason}") from None
        return model


def _digest(about: Mapping[str, Any]) -> str:
    return digest([json.dumps(about, sort_keys=True)])
