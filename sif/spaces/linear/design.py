"""Designs of item-item models: which history predicts what, and how far popularity counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sif.core.gates import Block
from sif.core.genotype import Genotype, check_names
from sif.errors import GenotypeError
from sif.spaces.linear.sequences import Decay, Sequences

NAME = "order"
"""Of the space, as written in genotypes."""
GIVEN, DECAYS = "history", "decays"
"""Space of genotypes that nothing searched, and the name of their time scales: rows of gamma and
window, 0 for none."""
FORGOTTEN = 0.03
"""Weight, relative to the latest item's, below which an item is outside of a scale's window."""
NONE, SET, LAST = "none", "set", "last"
MIDDLE = "middle"
"""Block of the scale that every design in order has."""
SCALES: Mapping[str, tuple[str, ...]] = {
    "recent": (NONE, "0.3", "0.5"),
    MIDDLE: ("0.8", "0.6", "0.7", "0.9", "0.95"),
    "long": (NONE, "0.97", "0.99", SET),
}
"""Block to the decays of one time scale."""
FIRST = {"recent": "0.3", MIDDLE: "0.8", "long": "0.97"}
"""Where a search begins: with all scales, of which it drops the superfluous. Scales that help each
other alone would never be added one by one."""
LAST_ITEMS = 116
"""Items of the scale "last", which count alike: as many as those of gamma .97."""
LONGEST = 349
"""Items at most of a scale that fades by time. Users do much in little time, so the weight alone
would not end a window, and a fit costs the pairs within it. As many as those of gamma .99."""
HALF_LIFE = "half-life"
"""Block of the half-life by which the longest scale fades in time as well, in seconds. Only spaces
on data with times have it, with choices from these data, and so have their genotypes."""
HALF_LIVES = 6
UNEVEN = 10
"""Ratio of the 95 % and the 5 % quantile of the gaps from which time says more than rank."""
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


def blocks_of(scales: int, half_lives: tuple[str, ...] = ()) -> tuple[Block, ...]:
    """The blocks of designs with so many time scales at most, from 1.

    Args:
        scales: Time scales side by side.
        half_lives: Choices of seconds, see `half_lives_of`; empty: histories do not fade by time.
    """
    dropped = {1: ("recent", "long"), 2: ("recent",)}.get(scales, ())
    blocks = tuple(block for block in BLOCKS if block.name not in dropped)
    if not half_lives:
        return blocks
    timed = Block(HALF_LIFE, (NONE, *half_lives), default_op=NONE, own_weights=True)
    return (
        *(_with_last(block) if block.name == MIDDLE else block for block in blocks[:-1]),
        timed, blocks[-1],
    )  # fmt: skip


def _with_last(block: Block) -> Block:
    """With a scale that forgets nothing by rank, so that time alone may."""
    return replace(block, operations=(*block.operations, LAST))


def half_lives_of(sequences: Sequences) -> tuple[str, ...]:
    """Half-lives that may suit data, in whole seconds of two digits.

    They ascend by one factor from the median time between two rows of a user, ties left out,
    towards the time that the data take: shorter ones tell ties from the rest, longer ones nothing.

    Returns:
        Empty where there are no times, or where all rows are about as far from the next one, as
        those are whose times are places in truth: time says what rank says.
    """
    gaps = sequences.gaps
    gaps = gaps[gaps > 0]
    if not len(gaps):
        return ()
    low, median, high = np.quantile(gaps, (0.05, 0.5, 0.95))
    if high < UNEVEN * low:
        return ()
    assert sequences.seconds is not None  # noqa: S101
    span = float(np.ptp(sequences.seconds))
    found = (median * (span / median) ** (step / HALF_LIVES) for step in range(HALF_LIVES))
    return tuple(dict.fromkeys(str(int(float(f"{seconds:.1e}"))) for seconds in found))


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
    def reads_time(self) -> bool:
        """True if a scale fades by time."""
        return any(decay.half_life is not None for decay in self.decays)

    @property
    def expression(self) -> str:
        """The model on one line, such as "next item from history(0.3, 0.8, 0.97)"."""
        told = "any item from the user's items, in no order"
        if self.decays:
            next_ = f"next items, fading by {self.ahead:g}," if self.ahead else "next item"
            told = f"{next_} from history({'; '.join(map(str, self.decays))})"
        return told if not self.discount else f"{told} / popularity^{self.discount:g}"


def decay_of(name: str, half_life: float | None = None) -> Decay | None:
    """The decay of a name in `SCALES`, or "last"; None for "none".

    Args:
        name: The name.
        half_life: Seconds in which a weight halves as well; None: time does not count.
    """
    if name == NONE:
        return None
    if name == SET:
        return Decay(1.0, None if half_life is None else LONGEST, half_life)
    if name == LAST:
        return Decay(1.0, LAST_ITEMS, half_life)
    gamma = float(name)
    return Decay(gamma, math.ceil(math.log(FORGOTTEN) / math.log(gamma)), half_life)


def decays_of(names: Mapping[str, str]) -> tuple[Decay, ...]:
    """The time scales of operations by block; the longest one fades by the half-life, if any.

    Raises:
        GenotypeError: A half-life that is none.
    """
    chosen = [names[block] for block in SCALES if names.get(block, NONE) != NONE]
    half_life = half_life_of(names.get(HALF_LIFE, NONE))
    each = [None] * (len(chosen) - 1) + [half_life]
    found = (decay_of(name, one) for name, one in zip(chosen, each, strict=False))
    return tuple(decay for decay in found if decay is not None)


def half_life_of(name: str) -> float | None:
    """Seconds of a name; None for "none".

    Raises:
        GenotypeError: The name is no number above 0.
    """
    if name == NONE:
        return None
    try:
        seconds = float(name)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise GenotypeError(
            f"genotype: block {HALF_LIFE!r}: expected seconds above 0 or {NONE}, found {name!r}"
        )
    return seconds


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
    legal = {block.name: block.operations for block in map(_legal, BLOCKS)}
    if HALF_LIFE in genotype.blocks:
        half_life_of(name := genotype.operation(HALF_LIFE))
        legal[HALF_LIFE] = (name,)
    check_names(genotype, NAME, legal)
    discount = float(genotype.operation(DISCOUNT))
    target = genotype.operation(TARGET)
    if target == ANY:
        return LinearDesign((), discount)
    decays = decays_of({block: genotype.operation(block) for block in genotype.blocks})
    return LinearDesign(decays, discount, AHEAD[target])


def _legal(block: Block) -> Block:
    return _with_last(block) if block.name == MIDDLE else block


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
