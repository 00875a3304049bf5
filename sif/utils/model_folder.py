"""Models in folders: a description in JSON and weights in safetensors, read without trust."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn

from sif.errors import MALFORMED, CheckpointError, first_line
from sif.utils import checkpoint

_WEIGHTS = "weights.safetensors"


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
        marked = {"format": self.format, "version": self.version, **self.about()}
        checkpoint.write_json_atomic(folder / f"{self.kind}.json", marked)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote, onto the CPU.

        Raises:
            CheckpointError: Missing, damaged or of another kind.
        """
        path = folder / f"{cls.kind}.json"
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: expected a {cls.called}, found {error}") from None
        if not isinstance(about, dict) or about.get("format") != cls.format:
            raise CheckpointError(f'{path}: expected an object with "format": "{cls.format}"')
        if about.get("version") != cls.version:
            raise CheckpointError(
                f"{path}: expected version {cls.version}, found {about.get('version')!r}"
            )
        try:
            return cls.built(about, checkpoint.load(folder / _WEIGHTS, cls.kind))
        except CheckpointError:
            raise
        except MALFORMED as error:
            reason = first_line(error)
            raise CheckpointError(f"{path}: malformed {cls.called}: {reason}") from None
