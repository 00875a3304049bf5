"""Designs of item-item models: which history predicts what, and how far popularity counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sif.core.gates import Block
from sif.core.genotype import Genotype, check_names
from sif.errors import GenotypeError
from sif.spaces.linear.sequences import Decay

NAME = "order"
"""Of the space, as written in genotypes."""
GIVEN, DECAYS = "history", "decays"
"""Space of genotypes that nothing searched, and the name of their time scales: rows of gamma and
window, 0 for none."""
FORGOTTEN = 0.03
"""Weight, relative to the latest item's, below which an item is outside of a scale's window."""
NONE, SET = "none", "set"
SCALES: Mapping[str, tuple[str, ...]] = {
    "recent": (NONE, "0.3", "0.5"),
    "middle": ("0.8", "0.6", "0.7", "0.9", "0.95"),
    "long": (NONE, "0.97", "0.99", SET),
}
"""Block to the decays of one time scale."""
FIRST = {"recent": "0.3", "middle": "0.8", "long": "0.97"}
"""Where a search begins: with all scales, of which it drops the superfluous. Scales that help each
other alone would never be added one by one."""
TARGET, DISCOUNT = "target", "discount"
ANY = "any"
AHEAD = {"next": 0.0, "next-0.3": 0.3, "next-0.5": 0.5}
"""Target to the weight of each further item in it, relative to the one before."""
TARGETS = (ANY, *AHEAD)
"""any: every item of a user from all others (EASE). next: the item that follows, and those behind
it."""
DISCOUNTS = ("0", "0.05", "0.1", "0.2", "0.3")
"""Powers of the items' popularity by which scores are divided."""

BLOCKS = (
    Block(TARGET, TARGETS, default_op=ANY, own_weights=True),
    *(
        Block(name, names, default_op=FIRST[name], own_weights=True)
        for name, names in SCALES.items()
    ),
    Block(DISCOUNT, DISCOUNTS, default_op="0", own_weights=True),
)  # fmt: skip


def blocks_of(scales: int) -> tuple[Block, ...]:
    """The blocks of designs with so many time scales at most, from 1."""
    dropped = {1: ("recent", "long"), 2: ("recent",)}.get(scales, ())
    return tuple(block for block in BLOCKS if block.name not in dropped)


@dataclass(frozen=True)
class LinearDesign:
    """An item-item model.

    Attributes:
        decays: Time scales of the history side by side; empty: a history is a set, and predicts any
            item of its user.
        discount: Power of popularity by which scores are divided.
        ahead: Weight of each further item in the target, relative to the one before; 0: the next
            item alone.
    """

    decays: tuple[Decay, ...]
    discount: float = 0.0
    ahead: float = 0.0

    @property
    def scales(self) -> int:
        """Number of matrices of weights side by side."""
        return max(1, len(self.decays))

    @property
    def expression(self) -> str:
        """The model on one line, such as "next item from history(0.3, 0.8, 0.97)"."""
        told = "any item from set(user)"
        if self.decays:
            next_ = f"next items, fading by {self.ahead:g}," if self.ahead else "next item"
            told = f"{next_} from history({'; '.join(map(str, self.decays))})"
        return told if not self.discount else f"{told} / popularity^{self.discount:g}"


def decay_of(name: str) -> Decay | None:
    """The decay of a name in `SCALES`; None for "none"."""
    if name == NONE:
        return None
    if name == SET:
        return Decay(1.0)
    gamma = float(name)
    return Decay(gamma, math.ceil(math.log(FORGOTTEN) / math.log(gamma)))


def given_genotype(decays: Sequence[Decay]) -> Genotype:
    """The genotype of a model that nothing searched.

    Args:
        decays: Its time scales, which count items and not time; none: a history is a set.
    """
    numbers = [float(n) for decay in decays for n in (decay.gamma, decay.window or 0)]
    target = "next" if decays else ANY
    scales = {DECAYS: ((len(decays), 2), tuple(numbers))}
    return Genotype(GIVEN, {TARGET: ((0, target),)}, scales)


def _given_design(genotype: Genotype) -> LinearDesign:
    check_names(genotype, GIVEN, {TARGET: (ANY, "next")})
    shape, numbers = genotype.parameters.get(DECAYS, ((), ()))
    scales = list(zip(numbers[::2], numbers[1::2], strict=False))
    if shape != (len(scales), 2) or bool(scales) != (genotype.operation(TARGET) == "next"):
        raise GenotypeError(
            f"genotype: parameter {DECAYS!r}: expected gamma and window of each time scale, found "
            f"shape {list(shape)}"
        )
    return LinearDesign(tuple(Decay(gamma, int(window) or None) for gamma, window in scales))


def linear_design(genotype: Genotype) -> LinearDesign:
    """The design of a genotype.

    Raises:
        GenotypeError: Another space or unknown names.
    """
    if genotype.space == GIVEN:
        return _given_design(genotype)
    check_names(genotype, NAME, {block.name: block.operations for block in BLOCKS})
    discount = float(genotype.operation(DISCOUNT))
    target = genotype.operation(TARGET)
    if target == ANY:
        return LinearDesign((), discount)
    found = (decay_of(genotype.operation(name)) for name in SCALES)
    decays = tuple(decay for decay in found if decay is not None)
    return LinearDesign(decays, discount, AHEAD[target])


def with_powers(genotype: Genotype, ahead: float, discount: float) -> Genotype:
    """The same time scales with another weight of further items and power of popularity.

    Args:
        genotype: The design.
        ahead: One of `AHEAD`; a set has none.
        discount: One of `DISCOUNTS`.
    """
    blocks = {**genotype.blocks, DISCOUNT: ((0, f"{discount:g}"),)}
    if linear_design(genotype).decays:
        blocks[TARGET] = ((0, next(name for name, weight in AHEAD.items() if weight == ahead)),)
    return replace(genotype, blocks=blocks)
