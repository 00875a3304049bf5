"""The common part of benchmarks of searches for cells: parts with a separate judge, progress."""

from __future__ import annotations

from typing import Any

import numpy as np

from sif.config.cnn import CNNConfig
from sif.data.images.dataset import Images
from sif.data.images.lazy import FolderImages
from sif.data.images.split import make_image_split
from sif.problems.images import ImageProblem, Rows, Source
from sif.utils.device import Runtime

Parts = tuple[Rows, Rows, Rows]


def parts_of(images: Images | FolderImages, config: CNNConfig, judged: float) -> Parts:
    """Rows of train and validation part of a search, and rows that no search sees.

    Args:
        images: All of them; their test part is in none of the parts.
        config: Gives the seed and `search.valid_share`.
        judged: Share outside the test part that judges networks trained from scratch.
    """
    outer = make_image_split(images, valid_share=judged, seed=config.seed)
    order = np.random.default_rng([0xCE115, config.seed]).permutation(outer.train)
    share = round(config.search.valid_share * len(order))
    return np.sort(order[share:]), np.sort(order[:share]), outer.valid


def vision_of(
    config: CNNConfig, images: Images | FolderImages, parts: Parts, runtime: Runtime
) -> ImageProblem:
    """At work on the parts: trainings have what the search had and are judged once, on the rest."""
    train, valid, unseen = parts
    both = np.sort(np.concatenate([train, valid]))
    once = config.train.model_copy(update={"evaluate_every": config.train.epochs})
    config = config.model_copy(update={"train": once})
    return ImageProblem(config, Source(images, runtime), (train, valid), (both, unseen), runtime)


def told(epoch: int, entry: Any) -> None:
    """A line per epoch."""
    judged = entry.get("judged", entry)
    seconds = f"{entry['seconds']:.0f} s, " if "seconds" in entry else ""
    shown = ", ".join(f"{name} {value:.2f}" for name, value in judged.items())
    print(f"epoch {epoch}: {seconds}{shown}", flush=True)
