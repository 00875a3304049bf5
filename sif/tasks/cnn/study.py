"""Cells on images: what the job tells of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sif.config.cnn import CNNConfig
from sif.data.images import FolderImages, Images, ImageSplit
from sif.evaluation.evaluate import Evaluation
from sif.problems.base import Reporter
from sif.problems.image_classifier import ImageClassifier
from sif.problems.images import ImageProblem
from sif.spaces.cnn.cells import Cells, format_cells
from sif.spaces.cnn.supernet import skip_share
from sif.tasks.base import Entrants, Results
from sif.tasks.study import Study

NO_DOWNLOAD = (
    "dataset digits: 1,797 images of scikit-learn; the paper's setting: --dataset cifar-10 "
    "(downloads), or a folder train/<class>/*.jpg"
)


class ImageStudy(Study):
    """Cells on images.

    Args:
        config: Of the job.
        images: All of them.
        split: The parts of trainings from scratch.
        problem: At work on train and validation parts.
        entrants: Who is compared.
    """

    task = "cnn"
    config: CNNConfig
    problem: ImageProblem

    def __init__(
        self,
        config: CNNConfig,
        images: Images | FolderImages,
        split: ImageSplit,
        problem: ImageProblem,
        entrants: Entrants,
    ) -> None:
        self.config, self.images, self.split = config, images, split
        self.problem, self.entrants = problem, entrants
        self.label, self.data_hash = images.name, images.content_hash
        self.split_hash, self.split_name = split.hash, split.protocol
        self.test_part = split.test

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
        """Of the split."""
        return self.split.description()

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
        return {**super().figure_data(results), "cells": cells, "space": self.config.space}
