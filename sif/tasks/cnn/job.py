"""The job on images: what a contest of cells searches, trains and tests there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from sif.config.cnn import CNNConfig
from sif.core.genotype import Genotype
from sif.evaluation.evaluate import Evaluation
from sif.problems.image_classifier import ImageClassifier
from sif.problems.images import EXPORTED
from sif.search.loop import SearchResult
from sif.spaces.cnn.cells import Cells, format_cells
from sif.spaces.cnn.networks import CellNetwork
from sif.spaces.cnn.operations import multiply_adds
from sif.spaces.cnn.supernet import SPECS, cells_of, expression, skip_share
from sif.tasks.base import JobContext
from sif.tasks.cells.entrants import SEARCHED
from sif.tasks.cells.job import CellJob
from sif.tasks.cells.work import Results, Show
from sif.tasks.checkpoint import LoopCheckpointer
from sif.tasks.cnn import figures as cnn_figures
from sif.tasks.cnn.inputs import ImageInputs, prepare
from sif.tracking import Tracker
from sif.training.loop import TrainResult
from sif.utils.device import Runtime

METRIC = "error"
NO_DOWNLOAD = (
    "dataset digits: 1,797 images of scikit-learn; the paper's setting: --dataset cifar-10 "
    "(downloads), or a folder train/<class>/*.jpg"
)


class CNNWork:
    """Cells on images (`sif.tasks.cells.job.Work`)."""

    task = "cnn"
    metric = shown = METRIC
    unit = " %"
    judged = EXPORTED

    def __init__(self, config: CNNConfig, inputs: ImageInputs) -> None:
        self.config, self.inputs, self.vision = config, inputs, inputs.vision
        self.entrants = inputs.entrants
        searched = self.entrants.ours == SEARCHED
        self.origin = f"found by {config.method}" if searched else f"of {config.cells}"
        self.operations: Mapping[str, Sequence[str]] = SPECS[config.space]
        self.epochs = config.search.epochs, config.train.epochs

    def opening(self) -> list[str]:
        """The images and their parts."""
        images, split = self.inputs.images, self.inputs.split
        height, width, channels = images.shape
        counts = " / ".join(f"{n:,}" for n in split.description()["counts"].values())
        about = (
            f"{images.name}: {len(images.labels):,} images of {height} x {width} x {channels}, "
            f"{len(images.classes)} classes; {split.protocol}, train / valid / test {counts}, "
            f"split {split.hash}"
        )
        first = [NO_DOWNLOAD] if self.config.dataset == "digits" else []
        return [*first, about, *(f"note: {note}" for note in images.notes)]

    def tags(self) -> dict[str, str]:
        """Data set, hashes, protocol."""
        return {
            "dataset": self.inputs.images.name,
            "dataset_hash": self.inputs.data_hash,
            "split_hash": self.inputs.split_hash,
            "protocol": self.inputs.split.protocol,
        }

    def protocol(self) -> dict[str, Any]:
        """Of the split."""
        return self.inputs.split.description()

    def search(
        self, method: str, tracker: Tracker, checkpointer: LoopCheckpointer, show: Show
    ) -> tuple[SearchResult, float]:
        """As `ImageProblem.search`."""
        return self.vision.search(method, tracker, checkpointer, show)

    def design(self, genotype: Genotype) -> Cells:
        """Both cells."""
        return cells_of(genotype)

    def spelled(self, design: Cells) -> tuple[str, str]:
        """On one line, and as in the published code."""
        return expression(design), format_cells(design)

    def watched(self, design: Cells) -> dict[str, float]:
        """Share of skip connections in both cells."""
        return {f"skip_share.{kind}": share for kind, share in skip_share(design).items()}

    def network(self, design: Cells) -> CellNetwork:
        """As `ImageProblem.network`."""
        return self.vision.network(design)

    def train(
        self, design: Cells, tracker: Tracker, checkpointer: LoopCheckpointer, show: Show
    ) -> tuple[TrainResult, nn.Module]:
        """As `ImageProblem.train`."""
        trained = self.vision.train(design, tracker, checkpointer, show)
        return trained.result, trained.network

    def sizes(self, network: nn.Module) -> dict[str, int]:
        """Weights, and multiply-adds of an image."""
        height, width, channels = self.vision.shape
        return {
            "parameters": cast(CellNetwork, network).counted(),
            "multiply_adds": multiply_adds(network, (channels, height, width)),
        }

    def test(self, network: nn.Module) -> Evaluation:
        """Error in percent, by image."""
        per_image = self.vision.test_error(cast(CellNetwork, network), self.inputs.split.test)
        rows = np.arange(len(per_image))
        return Evaluation({METRIC: float(per_image.mean())}, rows, {METRIC: per_image}, 0, "images")

    def save(self, folder: Path, design: Cells, network: nn.Module) -> None:
        """The classifier."""
        statistics = self.vision.test_preparation().statistics
        classes = self.inputs.images.classes
        ImageClassifier(
            cast(CellNetwork, network), design, statistics, classes, self.vision.shape
        ).save(folder)

    def figure_data(self, results: Results) -> dict[str, Any]:
        """Everything that is drawn."""
        return cnn_figures.figure_data(self.config, results)

    def draw(self, document: Mapping[str, Any], folder: Path) -> list[Path]:
        """Draws it."""
        return cnn_figures.draw(document, folder)


def job(config: CNNConfig, inputs: ImageInputs, context: JobContext) -> CellJob:
    """A contest on images."""
    return CellJob(config, CNNWork(config, inputs), context)


def evaluate_again(config: CNNConfig, runtime: Runtime, folder: Path) -> dict[str, float]:
    """Test error of the classifier that a finished run saved.

    Raises:
        CheckpointError, DataError: The classifier or the images cannot be read.
    """
    model = ImageClassifier.load(folder / "model")
    inputs = prepare(config, runtime)
    return {METRIC: float(inputs.vision.test_error(model.network, inputs.split.test).mean())}
