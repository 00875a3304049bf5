"""A search alone: interactions in, the searched function out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sif.core.genotype import Genotype
from sif.recommender.fit import Reporter, prepared, searched, started
from sif.recommender.recommender import Recommender
from sif.utils.device import torch_threads


def search_function(
    data: Any,
    space: str = "staged",
    method: str = "nasp",
    budget: float | str | timedelta | None = None,
    *,
    objective: str = "ranking",
    valid: Any = None,
    min_rating: float | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Genotype:
    """Searches an interaction function, and trains nothing with it.

    Args:
        data: Interactions, as of `Recommender.fit`.
        space: Search space: "staged", "sif" or "primitives".
        method: Search method, such as "nasp" or "random".
        budget: Wall-clock of reading and searching; see `Recommender`. A search whose alpha had no
            time to move gives fixed multiply, with a warning.
        objective: "ranking" or "rating".
        valid: Interactions that the architecture is judged on; None: a tenth of every user's.
        min_rating: Ratings below it are left out; None: none are.
        seed: Root of all randomness.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None: torch's default.
        settings: Any other settings, nested or by dotted names.

    Returns:
        The function: `expression` has it on one line, `sif.InteractionFunction` makes a torch
        module of it.

    Raises:
        DataError: Data that cannot be used.
        ConfigError: A wrong argument or setting, or a budget in which no search fits.
        DivergedError: The search diverged.

    Examples:
        >>> genotype = sif.search_function(orders, method="nasp", budget="10s", threads=1)
        >>> genotype.space, genotype.operation("operation")
        ('staged', '...')
    """
    clock = started(budget)
    config = Recommender(
        objective, space=space, method=method, min_rating=min_rating, seed=seed, device=device,
        threads=threads, settings=settings,
    )._configuration()  # fmt: skip
    with torch_threads(config.threads):
        found = searched(prepared(data, valid, config, clock)[1], clock)
    if found.at_rest:
        Reporter(False).warn(f"the search did not move: {found.at_rest}")
    if message := clock.verdict():
        Reporter(False).warn(message)
    return found.genotype
