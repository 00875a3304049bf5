"""Cells on images: checks before a run, the report of a job, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sif import plots
from sif.config.cnn import CNNConfig
from sif.data.images.dataset import Images
from sif.data.images.lazy import FolderImages
from sif.data.images.load import load_images
from sif.data.images.split import ImageSplit, make_image_split
from sif.errors import ConfigError
from sif.evaluation.evaluate import Evaluation
from sif.problems.base import Reporter
from sif.problems.image_classifier import ImageClassifier
from sif.problems.images import ImageProblem, Source
from sif.spaces.cnn.cells import INPUTS, PUBLISHED, Cells, edge_nodes, edge_sources, format_cells
from sif.spaces.cnn.supercell import NODES
from sif.spaces.cnn.supernet import SPECS, cells_of, skip_share
from sif.tasks.base import Entrants, Results
from sif.tasks.entrants import entrants
from sif.tasks.figures import draw_curves
from sif.tasks.misread import confusion
from sif.tasks.study import Study
from sif.utils.device import Runtime, enough_memory
from sif.utils.registry import unknown

NO_DOWNLOAD = (
    "dataset digits: 1,797 images of scikit-learn; the paper's setting: dataset cifar-10 "
    "(downloads), or a folder train/<class>/*.jpg"
)


@dataclass(eq=False)
class ImageStudy(Study):
    """Cells on images.

    Attributes:
        config: Of the job.
        images: All of them.
        split: The parts of trainings from scratch.
        problem: At work on train and validation parts.
        entrants: Models and methods to compare.
    """

    task = "cnn"
    config: CNNConfig
    images: Images | FolderImages
    split: ImageSplit
    problem: ImageProblem
    entrants: Entrants

    def __post_init__(self) -> None:
        self.label, self.data_hash = self.images.name, self.images.content_hash
        self.split_hash, self.split_name = self.split.hash, self.split.protocol
        self.test_part = self.split.test

    def opening(self) -> list[str]:
        """The images and their parts."""
        images, split = self.images, self.split
        height, width, channels = images.shape
        counts = " / ".join(f"{n:,}" for n in split.description()["counts"].values())
        about = (
            f"{images.name}: {len(images.labels):,} images of {height} x {width} x {channels}, "
            f"{len(images.classes)} classes; {split.protocol}, train / valid / test {counts}, "
            f"split {split.hash}"
        )
        first = [NO_DOWNLOAD] if self.config.dataset == "digits" else []
        return [*first, about, *(f"note: {note}" for note in images.notes)]

    def protocol(self) -> dict[str, Any]:
        """The protocol of the split."""
        return self.split.description()

    @property
    def profile(self) -> dict[str, int]:
        """Images, classes, and sizes."""
        height, width, channels = self.images.shape
        return {
            "num_rows": len(self.images.labels), "classes": len(self.images.classes),
            "height": height, "width": width, "channels": channels,
        }  # fmt: skip

    def facts(self, name: str) -> dict[str, Any]:
        """Channels of the first cell, and weight decay."""
        train = self.config.train
        return {**super().facts(name), "dimension": train.channels, "l2": train.weight_decay}

    def watched(self, design: Cells) -> dict[str, float]:
        """Share of skip connections in both cells."""
        return {f"skip_share.{kind}": share for kind, share in skip_share(design).items()}

    def save(self, folder: Path, results: Results, console: Reporter) -> None:
        """The classifier."""
        ours = self.entrants.ours
        self.problem.classifier(results.designs[ours], results.trained[ours].network).save(folder)

    def test_saved(self, folder: Path) -> Evaluation:
        """The classifier's error again."""
        return self.problem.test(ImageClassifier.load(folder).network, self.test_part)

    def in_document(self, results: Results) -> dict[str, Any]:
        """Our cells as in the published code."""
        return {"cells": format_cells(results.designs[self.entrants.ours])}

    def figure_data(self, results: Results) -> dict[str, Any]:
        """Cells, trainings and searches."""
        cells = {
            name: {
                kind: {"nodes": cell.nodes, "concat": cell.concat}
                for kind, cell in vars(pair).items()
            }
            for name, pair in results.designs.items()
        }
        further = {"space": self.config.space, "nodes": self.config.search.nodes}
        return {**super().figure_data(results), "cells": cells, **further}

    def page_data(self, results: Results) -> dict[str, Any]:
        """The classes, and what ours mistakes for what."""
        ours, images = self.entrants.ours, self.images
        wrong = results.entries[ours].test.per_user["error"] > 0
        network = results.trained[ours].network
        classifier = self.problem.classifier(results.designs[ours], network)
        counts = np.bincount(images.labels, minlength=len(images.classes))
        return {
            "data": {
                "images": len(images.labels), "shape": list(images.shape),
                "classes": list(images.classes), "counts": {"class": counts.tolist()},
                "parts": self.split.description()["counts"],
            },
            "confusion": confusion(images, self.test_part, wrong, classifier.predict),
        }  # fmt: skip


def prepare(config: CNNConfig, runtime: Runtime) -> ImageStudy:
    """Reads and checks what the configuration names; names first, since data may be large.

    Raises:
        DataError, ConfigError: One line each.
    """
    if config.space not in SPECS:
        raise unknown("space", config.space, SPECS)
    taking_part = entrants(config.method, config.baselines, config.cells, PUBLISHED, cells_of)
    data = config.data
    images = load_images(
        config.dataset,
        data_dir=data.dir,
        channels=data.channels,
        size=data.size,
        per_class=data.per_class,
    )
    search_split, split = (
        make_image_split(
            images, valid_share=section.valid_share, seed=config.seed, test_share=data.test_share
        )
        for section in (config.search, config.train)
    )
    for name, section, parts in (
        ("search", config.search, search_split), ("train", config.train, split),
    ):  # fmt: skip
        if section.batch_size > len(parts.train):
            raise ConfigError(
                f"{name}.batch_size: expected at most {len(parts.train)}, the images of the train "
                f"part, found {section.batch_size}"
            )
    with enough_memory(runtime.device, "lower data.per_class or data.size"):
        source = Source(images, runtime)
    problem = ImageProblem(
        config,
        source,
        (search_split.train, search_split.valid),
        (split.train, split.valid),
        runtime,
    )
    problem.check()
    for method in taking_part.methods.values():
        problem.check_method(method)
    return ImageStudy(config, images, split, problem, taking_part)


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws cells, gates, and validation of searches and trainings; returns the paths."""
    paths: list[Path] = []
    for name, pair in document["cells"].items():
        cells = [(f"{name}: {kind} cell", c["nodes"], c["concat"]) for kind, c in pair.items()]
        paths += plots.cell_graphs(folder / f"cells-{name}.png", cells)
    operations = SPECS[document["space"]]
    # A damaged number would ask for any amount of memory; run folders of before have none.
    most = max(len(c["nodes"]) for pair in document["cells"].values() for c in pair.values())
    count = min(document.get("nodes", NODES), most)
    nodes = (node + INPUTS for node in edge_nodes(count))
    edges = list(zip(edge_sources(count), nodes, strict=True))

    def strips(trained: Mapping[str, Sequence[int]]) -> list[plots.Strips]:
        return [plots.Strips(b, operations[b], edges, trained[b]) for b in trained]

    return [*paths, *draw_curves(document, ImageProblem.shown, strips, folder)]
