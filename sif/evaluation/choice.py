"""The choice of the model that is served: the simplest of those that are as good as the best.

The best mean on validation leads. Of all models whose mean is within a quarter of a standard error
of the leader's, the error of the paired differences over users, the simplest one is chosen. So near
it is almost a toss-up: the simpler one is the better one in two of five such cases, and a model
with more to choose looks better on validation than it is. A whole error, or a 95 % interval that
contains 0, would serve what is worse: `benchmarks/choice_margin.py`, docs/results/protocols.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sif.errors import DataError

MARGIN = 0.25
"""Standard errors behind the best within which a simpler model is served."""
RULE = "the simplest within a quarter of a standard error of the best on validation"


@dataclass(frozen=True)
class Choice:
    """The model that is served.

    Attributes:
        name: Of the model.
        leader: Name of the model with the best mean.
        behind: Mean of the leader's merit less that of the model, over users; 0 of the leader.
        error: Standard error of that difference; 0 of the leader.
        among: The models that it was chosen of, in words; empty: all.
    """

    name: str
    leader: str
    behind: float = 0.0
    error: float = 0.0
    among: str = ""


def chosen(
    merits: Mapping[str, NDArray[np.float64]], simplest_first: Sequence[str],
    margin: float = MARGIN,
) -> Choice:  # fmt: skip
    """The simplest of the models within a margin of the best.

    Args:
        merits: Name to (n,), the higher the better, of the same users.
        simplest_first: All names. Of equal means the simpler one leads.
        margin: In standard errors of the difference.

    Raises:
        DataError: There is no model, or they were not judged on the same users.
    """
    if len({values.shape for values in merits.values()}) != 1:
        raise DataError("choice: expected the models judged on the same users, found others")
    order = sorted(merits, key=simplest_first.index)
    leader = max(order, key=lambda name: float(merits[name].mean()))
    for name in order:
        gaps = merits[leader] - merits[name]
        behind, error = float(gaps.mean()), _standard_error(gaps)
        if name == leader or behind <= margin * error:
            return Choice(name, leader, behind, error)
    raise AssertionError(leader)


def _standard_error(values: NDArray[np.float64]) -> float:
    """Of the mean; of a single value 0: it says nothing, and so excuses nothing."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
