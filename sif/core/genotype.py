"""The result of a search: an architecture as a frozen value with versioned JSON.

A genotype names, for every block of a space, the edges that are kept and the operation on each, and
carries the continuous architecture parameters (the element-wise transforms P and Q of SIF) as
numbers. Embeddings and readouts are weights, not architecture, so a genotype holds none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name

from sif.errors import GenotypeError, SifError, first_line
from sif.utils.argument_types import check_fields

FORMER_SPACES = {"rich": "staged"}
"""Former names of spaces in saved genotypes to the present ones."""
NOTATION = "sif.spaces.notation:notation"
"""The function that knows the spaces, which this package does not; it loads when first used."""
FORMAT = "sif-genotype"
VERSION = 1
_TOLD = 12  # names listed in a message

Choice = tuple[int, str]
"""A kept edge and the name of its operation."""


@dataclass(frozen=True)
class Genotype:
    """A discrete architecture with its continuous parameters.

    Attributes:
        space: Name of the search space; a former one becomes today's.
        blocks: Block name to its kept edges, ascending, each with its operation.
        parameters: Name to (shape, numbers in row-major order) of the continuous parameters.

    Raises:
        GenotypeError: Other types, edges that repeat, are negative or out of order, a number that
            is not finite, or a shape that does not hold its numbers.

    Examples:
        >>> names = {"operation": "multiply", "user": "+sqrt", "item": "~square"}
        >>> genotype = sif.Genotype("primitives", {b: ((0, name),) for b, name in names.items()})
        >>> genotype.expression
        'multiply(+sqrt(user), ~square(item))'
        >>> sif.Genotype.from_json(genotype.to_json()) == genotype
        True
    """

    space: str
    blocks: Mapping[str, tuple[Choice, ...]]
    parameters: Mapping[str, tuple[tuple[int, ...], tuple[float, ...]]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        check_fields(self, GenotypeError, "genotype: ")
        object.__setattr__(self, "space", FORMER_SPACES.get(self.space, self.space))
        for name, choices in self.blocks.items():
            edges = [edge for edge, _ in choices]
            if not edges or edges[0] < 0 or any(a >= b for a, b in pairwise(edges)):
                raise GenotypeError(
                    f"genotype: block {name!r}: expected ascending edge numbers from 0, "
                    f"found {edges}"
                )
        for name, (shape, numbers) in self.parameters.items():
            if math.prod(shape) != len(numbers):
                raise GenotypeError(
                    f"genotype: parameter {name!r}: expected {math.prod(shape)} numbers for shape "
                    f"{list(shape)}, found {len(numbers)}"
                )
            if not all(math.isfinite(number) for number in numbers):
                raise GenotypeError(f"genotype: parameter {name!r}: expected finite numbers")

    @property
    def expression(self) -> str:
        """The architecture on one line, as its space writes it, else by blocks."""
        try:
            return str(resolve_name(NOTATION)(self))
        except SifError:
            return _by_blocks(self)

    def operation(self, block: str) -> str:
        """The operation of a block that keeps one edge; GenotypeError for any other block."""
        choices = self.blocks.get(block, ())
        if len(choices) != 1:
            raise GenotypeError(
                f"genotype: block {block!r}: expected one kept edge, found {len(choices)}"
            )
        return choices[0][1]

    def to_json(self) -> str:
        """JSON text that `from_json` reads back to an equal value."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "space": self.space,
            "blocks": {name: [list(choice) for choice in c] for name, c in self.blocks.items()},
            "parameters": {
                name: {"shape": list(shape), "numbers": list(numbers)}
                for name, (shape, numbers) in self.parameters.items()
            },
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "genotype") -> Genotype:
        """Reads what `to_json` wrote.

        Args:
            text: JSON text.
            where: File name for the messages.

        Raises:
            GenotypeError: Not JSON, another format or version, or a malformed field.
        """
        try:
            document = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise GenotypeError(f"{where}: expected JSON, found {first_line(error)}") from None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise GenotypeError(f'{where}: expected an object with "format": "{FORMAT}"')
        if document.get("version") != VERSION:
            raise GenotypeError(
                f"{where}: expected genotype version {VERSION}, found {document.get('version')!r}"
            )
        try:
            return cls(
                space=document["space"],
                blocks={
                    name: tuple((edge, operation) for edge, operation in choices)
                    for name, choices in document["blocks"].items()
                },
                parameters={
                    name: (
                        tuple(value["shape"]),
                        tuple(float(x) for x in value["numbers"]),
                    )
                    for name, value in document.get("parameters", {}).items()
                },
            )
        except GenotypeError as error:
            raise GenotypeError(f"{where}: {str(error).removeprefix('genotype: ')}") from None
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise GenotypeError(
                f"{where}: malformed genotype: {type(error).__name__}: {first_line(error)}"
            ) from None


def _by_blocks(genotype: Genotype) -> str:
    """The choices by block, such as "operation: multiply; user: identity"."""
    return "; ".join(
        f"{name}: {', '.join(operation for _, operation in choices)}"
        for name, choices in genotype.blocks.items()
    )


def check_names(genotype: Genotype, space: str, legal: Mapping[str, Sequence[str]]) -> None:
    """Raises GenotypeError unless the genotype names this space and only its operations.

    Args:
        genotype: The value to check.
        space: Name the space goes by.
        legal: Block name to its allowed operations; every block must be present.
    """
    if genotype.space != space:
        raise GenotypeError(f"genotype: expected space {space!r}, found {genotype.space!r}")
    if set(genotype.blocks) != set(legal):
        raise GenotypeError(
            f"genotype: space {space!r} expects blocks {', '.join(legal)}, "
            f"found {', '.join(genotype.blocks) or 'none'}"
        )
    for block, choices in genotype.blocks.items():
        for _, operation in choices:
            if operation not in legal[block]:
                raise GenotypeError(
                    f"genotype: block {block!r}: expected one of {_listed(legal[block])}, "
                    f"found {operation!r}"
                )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_TOLD]) + (f" ... ({len(names)})" if len(names) > _TOLD else "")


def read(path: Path) -> Genotype:
    """Reads a genotype file; GenotypeError names the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GenotypeError(f"{path}: cannot be read: {first_line(error)}") from None
    return Genotype.from_json(text, str(path))
