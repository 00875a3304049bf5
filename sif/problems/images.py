"""Image classification as a problem, with images on the device or on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from sif.config.cnn import AugmentationConfig, CNNConfig
from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.pieces import Pieces
from sif.core.stream import Checkpointer, Stream
from sif.data.images.augment import Augmentation, Preparation, Statistics, channel_statistics
from sif.data.images.dataset import Images
from sif.data.images.folder_stream import FolderStream, folder_batches
from sif.data.images.lazy import FolderImages
from sif.data.images.stream import ImageStream, image_batches
from sif.errors import ConfigError
from sif.evaluation.evaluate import Evaluation
from sif.problems.base import ADAM, Problem, Progress, Sampled, Trained, quiet
from sif.problems.image_classifier import ImageClassifier
from sif.search.run import MethodRun
from sif.spaces.cnn.cells import Cells
from sif.spaces.cnn.networks import AUXILIARIES, HALVINGS, CellNetwork, Layout
from sif.spaces.cnn.operations import multiply_adds
from sif.spaces.cnn.pieces import network_pieces
from sif.spaces.cnn.supernet import (
    SPECS,
    CNNSpace,
    ImageBatch,
    cells_of,
    expression,
)
from sif.tracking import Tracker
from sif.training.loop import Metrics, train
from sif.training.optim import cosine, exponential, momentum
from sif.utils.device import Runtime, lowered
from sif.utils.random import derive_seed, generator, seeded

Rows = NDArray[np.int64]

IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Statistics that normalize images on disk: the usual ones of ImageNet's train part."""

GRAY = Statistics((0.449,), (0.226,))
"""Means of the three channels' numbers in `IMAGENET`, for gray images on disk."""


class Source:
    """Images in memory or on disk, as batches on the device.

    Args:
        images: All of them, in memory or on disk.
        runtime: Device, dtype, seed.
    """

    def __init__(self, images: Images | FolderImages, runtime: Runtime) -> None:
        self.images, self.runtime, device = images, runtime, runtime.device
        if isinstance(images, Images):
            data = images.tensors(device)
            self._batches: Callable[..., Iterator[ImageBatch]] = partial(image_batches, data)
            self._stream: Callable[..., Stream] = partial(ImageStream, data)
        else:
            self._batches = partial(folder_batches, images, device=device)
            self._stream = partial(FolderStream, images, device=device)

    def preparation(self, rows: Rows, augment: AugmentationConfig | None) -> Preparation:
        """Normalization by some rows, the train part, and augmentation where it is given."""
        if isinstance(self.images, Images):
            statistics = channel_statistics(self.images, rows)
        else:
            statistics = GRAY if self.images.shape[2] == 1 else IMAGENET
        return Preparation(statistics, _augmentation(augment), self.runtime.dtype)

    def batches(self, rows: Rows, batch_size: int, prepare: Preparation) -> Iterator[ImageBatch]:
        """One pass over some rows."""
        return self._batches(rows, batch_size, prepare, make=ImageBatch)

    def stream(self, rows: Rows, batch_size: int, prepare: Preparation, *names: str) -> Stream:
        """Endless batches of some rows, in an order of the named random stream."""
        draws = generator(self.runtime, *names, device=torch.device("cpu"))
        return self._stream(rows, batch_size, prepare, draws, make=ImageBatch)


def _augmentation(augment: AugmentationConfig | None) -> Augmentation | None:
    if augment is None:
        return None
    jitter = augment.jitter or 0.0
    return Augmentation(
        augment.pad, augment.flip, augment.cutout, jitter, jitter, jitter,
        augment.scale, augment.rotate, augment.hue,
    )  # fmt: skip


EXPORTED = "exported_error"
"""Validation error (%) of the selection as a network of its own with the supernet's weights."""

SAMPLED = 512
"""Images on which pilots validate."""
RECALIBRATION = 16
"""Train batches over which an extracted network's statistics are taken."""


@torch.no_grad()
def wrong(network: CellNetwork, batches: Iterator[ImageBatch]) -> NDArray[np.float64]:
    """100 for each image that the network gets wrong, 0 for the others; in evaluation mode."""
    network.eval()
    errors = [100.0 * (network(b.images).argmax(1) != b.labels).double() for b in batches]
    return torch.cat(errors).cpu().numpy()


@dataclass(eq=False)
class ImageProblem(Problem[Cells, CellNetwork]):
    """Cells on the rows of the train and validation parts of images.

    Attributes:
        config: Of the job.
        source: The images.
        searched: Rows of the train and validation part of the search.
        trained: The same for trainings from scratch.
        runtime: Device, seed.
    """

    metric = shown = "error"
    format, unit, judged = ".2f", " %", EXPORTED
    memory_settings = ("batch_size", "channels")

    config: CNNConfig
    source: Source
    searched: tuple[Rows, Rows]
    trained: tuple[Rows, Rows]
    runtime: Runtime

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the images."""
        return self.source.images.shape

    def sampled(self) -> Sampled[ImageProblem]:
        """The problem with few images to validate on."""
        train_rows, valid_rows = self.trained
        few = self.changed(
            trained=(train_rows, valid_rows[:SAMPLED]),
            searched=(self.searched[0], self.searched[1][:SAMPLED]),
        )
        return Sampled(few, validation=len(valid_rows) / len(few.trained[1]))

    def memory_needs(self) -> dict[str, float]:
        """Of the first feature maps of every cell, and of a preprocessing of its inputs."""
        height, width, _ = self.shape
        needs = {}
        for name, section in (("search", self.config.search), ("train", self.config.train)):
            maps = section.batch_size * height * width / HALVINGS["imagenet"] ** 2
            weights = ADAM * section.channels
            needs[f"{name}.channels"] = section.channels * section.cells * (4 * maps + weights)
        return needs

    def check(self) -> None:
        """Raises ConfigError for images and channels of which there is no such network."""
        height, width, _ = self.shape
        train, side = self.config.train, min(self.shape[:2])
        if train.stem != "small" and train.channels % 2:
            raise ConfigError(
                f"train.channels: expected an even number with stem {train.stem}, "
                f"found {train.channels}"
            )
        if train.auxiliary:
            least = (5 + AUXILIARIES[train.auxiliary][0]) * HALVINGS[train.stem]
            if side < least:
                raise ConfigError(
                    f"train.auxiliary: {train.auxiliary!r} expects images of at least {least} "
                    f"pixels a side with stem {train.stem}, found {height} x {width}"
                )
        for name, stem in (("search", "small"), ("train", self.config.train.stem)):
            if height % HALVINGS[stem] or width % HALVINGS[stem]:
                raise ConfigError(
                    f"{name}: expected images whose sides are multiples of {HALVINGS[stem]}, found "
                    f"{height} x {width}; set data.size"
                )

    def layout(self, channels: int, cells: int, **options: Any) -> Layout:
        """The outside of a network on these images."""
        classes = len(self.source.images.classes)
        return Layout(classes, channels, cells, self.shape[2], **options)

    def space(self, mixed: bool = False) -> CNNSpace:
        """A supernet with fresh weights, the same for all methods, mixed or not."""
        settings = self.config.search
        with seeded(self.runtime, "search", "space"):
            layout = self.layout(settings.channels, settings.cells)
            space = CNNSpace(
                self.config.space, layout, settings.cost, self.config.precision, settings.nodes
            )
        placed: CNNSpace = self.placed(space)
        return placed

    def placed(self, module: Any) -> Any:
        """A module on the device, in the layout that convolutions like."""
        return module.to(self.runtime.device, self.runtime.dtype, memory_format=torch.channels_last)

    def method_run(self) -> MethodRun:
        """The run that methods search with."""
        settings = self.config.search
        return self.run_with(
            momentum(settings.weight_decay), cosine(settings.lr_end),
            steps_per_epoch=settings.steps_per_epoch, max_norm=settings.max_norm,
        )  # fmt: skip

    def streams(self) -> tuple[Stream, Stream]:
        """Augmented images for the weights, plain ones for alpha."""
        settings, (train_rows, valid_rows) = self.config.search, self.searched
        plain = self.source.preparation(train_rows, None)
        stream = self.source.stream(
            train_rows, settings.batch_size, self.preparation(), "search", "train"
        )
        size = min(settings.batch_size, len(valid_rows))
        return stream, self.source.stream(valid_rows, size, plain, "search", "valid")

    def preparation(self) -> Preparation:
        """Normalization and augmentation of the search's train images."""
        return self.source.preparation(self.searched[0], self.config.search.augment)

    def judge(self, space: Any, gates: Gates) -> float:
        """Validation error (%) of the selection as a network of its own, recalibrated."""
        train_rows, valid_rows = self.searched
        plain = self.source.preparation(train_rows, None)
        network = self.placed(space.extract(gates))
        size = self.config.search.batch_size
        # In any order but their own: folders list one class after the other.
        draws = generator(self.runtime, "search", "recalibrate", device=torch.device("cpu"))
        order = torch.randperm(len(train_rows), generator=draws).numpy()
        some = train_rows[order[: RECALIBRATION * size]]
        # A supernet's statistics would be of no use: other operations fed them.
        update_bn((batch.images for batch in self.source.batches(some, size, plain)), network)
        return float(wrong(network, self.source.batches(valid_rows, size, plain)).mean())

    def design(self, genotype: Genotype) -> Cells:
        """Both cells."""
        return cells_of(genotype)

    def expression(self, design: Cells) -> str:
        """Both cells on one line."""
        return expression(design)

    def network(self, design: Cells) -> CellNetwork:
        """An untrained network of the configured size, the same first weights for equal cells."""
        settings = self.config.train
        layout = self.layout(
            settings.channels, settings.cells, stem=settings.stem, auxiliary=settings.auxiliary
        )
        with seeded(self.runtime, "train", "network"):
            network = CellNetwork(design, layout)
        placed: CellNetwork = self.placed(network)
        return placed

    def pieces(self) -> Pieces:
        """The pieces of the networks that are trained, for one image."""
        settings = self.config.train
        layout = self.layout(settings.channels, settings.cells, stem=settings.stem)
        like = torch.zeros(1, device=self.runtime.device, dtype=self.runtime.dtype)
        operations = SPECS[self.config.space]
        nodes = self.config.search.nodes
        return network_pieces(operations, layout, self.shape[:2], self.placed, like, nodes)

    def train(
        self, design: Cells, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress = quiet,
    ) -> Trained[CellNetwork]:  # fmt: skip
        """Trains a network of cells from scratch; validation chooses the epoch."""
        settings = self.config.train
        network = self.network(design)
        drops = network.draws = torch.Generator(self.runtime.device)
        train_rows, valid_rows = self.trained
        prepare = self.source.preparation(train_rows, settings.augment)
        plain = self.source.preparation(train_rows, None)

        def validate() -> Metrics:
            batches = self.source.batches(valid_rows, settings.batch_size, plain)
            return {"error": float(wrong(network, batches).mean())}

        def begin(epochs_done: int) -> None:
            network.drop = settings.drop_path * epochs_done / settings.epochs
            # By epoch, so that a resumed training drops the same paths.
            drops.manual_seed(derive_seed(self.runtime.seed, "train", "drop", epochs_done))

        schedule = exponential(settings.decay) if settings.decay else cosine()
        loop = self.loop_settings(make_optimizer=momentum(settings.weight_decay), schedule=schedule)
        stream = self.source.stream(train_rows, settings.batch_size, prepare, "train", "train")
        objective = partial(self._objective, network)
        result = train(
            network, objective, stream, validate, loop, tracker, checkpointer, on_epoch, begin
        )
        height, width, channels = self.shape
        sizes = {
            "parameters": network.counted(),
            "multiply_adds": multiply_adds(network, (channels, height, width)),
        }
        return Trained(network, result, sizes)

    def _objective(self, network: CellNetwork, batch: ImageBatch) -> Tensor:
        settings = self.config.train
        network.train()
        with lowered(self.config.precision, self.runtime.device):
            logits, second = network.logits(batch.images)

        def loss(logits: Tensor) -> Tensor:
            smooth, exact = settings.label_smoothing, logits.to(batch.images.dtype)
            return F.cross_entropy(exact, batch.labels, label_smoothing=smooth)

        extra = 0.0 if second is None else settings.auxiliary_weight * loss(second)
        return loss(logits) + extra

    def test(self, network: CellNetwork, part: Rows) -> Evaluation:
        """Error in percent, by image, on rows that neither search nor training has seen."""
        size = self.config.train.batch_size
        with self.enough_memory("train"):
            batches = self.source.batches(part, size, self.test_preparation())
            per_image = wrong(self.placed(network), batches)
        metrics = {self.metric: float(per_image.mean())}
        return Evaluation(metrics, np.arange(len(part)), {self.metric: per_image}, 0, "images")

    def test_preparation(self) -> Preparation:
        """Preparation of test images of a trained network, normalized by its own train part."""
        return self.source.preparation(self.trained[0], None)

    def classifier(self, design: Cells, network: CellNetwork) -> ImageClassifier:
        """A trained network as a classifier of pixels."""
        statistics = self.test_preparation().statistics
        classes = self.source.images.classes
        return ImageClassifier(network, design, statistics, classes, self.shape)
