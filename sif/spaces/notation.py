"""Genotypes of every space on one line, as the space writes them."""

from __future__ import annotations

from pkgutil import resolve_name

from sif.core.genotype import Genotype
from sif.spaces.interaction.registry import SPACES

WRITERS = {
    "closed": "sif.spaces.closed.design:notation",
    "nasp-7op": "sif.spaces.cnn.supernet:notation",
    "nasp-12op": "sif.spaces.cnn.supernet:notation",
    "nasp-ptb": "sif.spaces.rnn.supernet:notation",
    "gated": "sif.spaces.rnn.gated_supernet:notation",
}
"""Space to the function that writes its genotypes, of those that write their own."""


def notation(genotype: Genotype) -> str:
    """The genotype on one line; SifError for one that its space does not have, or no such space."""
    if genotype.space in WRITERS:
        return str(resolve_name(WRITERS[genotype.space])(genotype))
    kind = SPACES.named(genotype.space)
    from sif.spaces.interaction.design import SPECS, fields_of

    fields = fields_of(genotype) if genotype.space in SPECS else ("user", "item")
    return kind.expression(genotype, fields)
