"""The entrants of a comparison of cells: search methods, published and given cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sif.core.genotype import Genotype, read
from sif.errors import ConfigError
from sif.methods.registry import METHODS
from sif.problems.base import SEARCHED
from sif.tasks.base import Entrants
from sif.utils.paths import exists
from sif.utils.registry import did_you_mean, unknown

GIVEN = "given"
"""Name of ours where it was not searched."""


def entrants(
    method: str,
    baselines: Sequence[str],
    cells: str | None,
    published: Mapping[str, Any],
    design: Callable[[Genotype], Any],
) -> Entrants:
    """The entrants that a configuration names.

    Args:
        method: Ours.
        baselines: Search methods and names of published designs, which go first: `enas` is both.
        cells: In place of our search: a published name, or a genotype file.
        published: Designs by name.
        design: Of a genotype.

    Raises:
        ConfigError, GenotypeError: A name that nobody has, or a file without such cells.
    """
    controls = [name for name in baselines if cells or name != method or name in published]
    METHODS.named(method)
    known = (*METHODS.names(), *published)
    for name in controls:
        if name not in known:
            raise unknown("baselines", name, known)
    ours = {} if cells is None else {GIVEN: _given(cells, published, design)}
    methods = {} if ours else {SEARCHED: method}
    methods |= {name: name for name in controls if name not in published}
    given = ours | {name: published[name] for name in controls if name in published}
    origin = f"of {cells}" if ours else f"found by {method}"
    subject = f"the network of the cells {origin}"
    return Entrants(methods, given, GIVEN if ours else SEARCHED, subject=subject)


def _given(
    name_or_file: str, published: Mapping[str, Any], design: Callable[[Genotype], Any]
) -> Any:
    if name_or_file in published:
        return published[name_or_file]
    path = Path(name_or_file)
    if not exists(path):
        raise ConfigError(
            f"cells: expected a genotype file or one of {', '.join(published)}, found "
            f"{name_or_file!r}{did_you_mean(name_or_file, published)}"
        )
    return design(read(path))
