"""The files that a job reads, for machines that do not have them."""

from __future__ import annotations

from pathlib import Path

from sif.config import CommonConfig
from sif.data.download import first_folder, search_folders
from sif.data.recipe import list_datasets
from sif.utils.paths import exists


def inputs_of(config: CommonConfig) -> tuple[Path, ...]:
    """The files and folders on this machine that a job reads.

    A known data set that is not here yet is none of them: whoever needs it downloads it.

    Args:
        config: Of the job; paths are absolute.
    """
    data = getattr(config, "data", None)
    named = (config.dataset, getattr(config, "cells", None), getattr(data, "split_file", None))
    paths = [Path(one) for one in named if one is not None]
    found = [path for path in paths if path.is_absolute() and exists(path)]
    recipe = list_datasets().get(config.dataset)
    if recipe is not None and recipe.folder:
        names = tuple(dict.fromkeys((recipe.folder, recipe.name)))
        for base in search_folders(getattr(data, "dir", None)):
            folder = first_folder(base, names, Path.is_dir)
            if folder is not None:
                found.append(folder.absolute())
                break
    return tuple(found)
