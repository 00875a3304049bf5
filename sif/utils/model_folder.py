"""Models in folders: a description in JSON and weights in safetensors, read without trust."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sif.errors import MALFORMED, CheckpointError
from sif.utils import checkpoint

_WEIGHTS = "weights.safetensors"
Model = TypeVar("Model")


@dataclass(frozen=True)
class SavedKind:
    """A kind of saved model.

    Attributes:
        format: Value of "format" in the description.
        version: Value of "version".
        kind: Name of the description's file, and of the kind of weights.
        called: For messages.
    """

    format: str
    version: int
    kind: str
    called: str

    def write(self, folder: Path, about: dict[str, Any], weights: dict[str, Any]) -> None:
        """Writes both files.

        Raises:
            CheckpointError: They cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.save(folder / _WEIGHTS, weights, self.kind)
        marked = {"format": self.format, "version": self.version, **about}
        checkpoint.write_json_atomic(folder / f"{self.kind}.json", marked)

    def read(self, folder: Path, build: Callable[[dict[str, Any], dict[str, Any]], Model]) -> Model:
        """Reads what `write` wrote, weights onto the CPU.

        Args:
            folder: Of both files.
            build: Description and weights to the model; what it raises means a malformed file.

        Raises:
            CheckpointError: Missing, damaged or of another kind.
        """
        path = folder / f"{self.kind}.json"
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: expected a {self.called}, found {error}") from None
        if not isinstance(about, dict) or about.get("format") != self.format:
            raise CheckpointError(f'{path}: expected an object with "format": "{self.format}"')
        if about.get("version") != self.version:
            raise CheckpointError(
                f"{path}: expected version {self.version}, found {about.get('version')!r}"
            )
        try:
            return build(about, checkpoint.load(folder / _WEIGHTS, self.kind))
        except CheckpointError:
            raise
        except MALFORMED as error:
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{path}: malformed {self.called}: {told}") from None
