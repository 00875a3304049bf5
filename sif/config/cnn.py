"""The configuration of the search for convolutional cells."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sif.config.cells import CellsConfig, CellSearchSection, Part
from sif.config.sections import (
    AbsolutePath,
    Count,
    Fraction,
    NameOrPath,
    Names,
    NonNegative,
    Rate,
    Section,
    Share,
    Whole,
)

Hue = Annotated[float, Field(ge=0, le=0.5)]
Degrees = Annotated[float, Field(ge=0, le=180)]


class ImagesConfig(Section):
    """The images and their split."""

    dir: AbsolutePath | None = Field(None, description="folder that holds or receives data files")
    channels: Literal[1, 3] | None = Field(None, description="of the images; None: the data's own")
    size: Count | None = Field(
        None, description="side in pixels that images are resized to; None: all have one size"
    )
    per_class: Count | None = Field(
        None, description="most images of each class and part; None: all"
    )
    test_share: Part = Field(0.2, description="of each class, where there is no official test part")


class AugmentationConfig(Section):
    """Random changes of train images."""

    pad: Whole = Field(0, description="black pixels around an image, out of which it is cropped")
    flip: bool = Field(False, description="mirror half of the images left to right")
    cutout: Whole = Field(0, description="side of a square of zeros, pixels")
    jitter: Fraction | None = Field(
        None, description="strength of brightness, contrast and saturation; None: none"
    )
    hue: Hue = Field(0.0, description="shift of hues at most, share of the color circle")
    scale: Fraction = Field(
        1.0, description="smallest share of an image that is cropped and resized; 1: no such crop"
    )
    rotate: Degrees = Field(0.0, description="rotation at most, either way, degrees")


class CellSearchConfig(CellSearchSection):
    """The search for the two cells; the defaults are those of DARTS and NASP on CIFAR-10."""

    batch_size: Count = Field(64, description="images per step")
    valid_share: Part = Field(0.5, description="share outside the test part that alpha sees")
    channels: Count = Field(16, description="channels of the first cell")
    cells: Annotated[int, Field(ge=3)] = Field(8, description="cells of the supernet")
    lr: Rate = Field(0.025, description="first step size of the weights")
    lr_end: Share = Field(0.04, description="last step size over the first, along a cosine")
    weight_decay: NonNegative = Field(3e-4, description="of the weights that a step trains")
    max_norm: Rate = Field(5.0, description="bound on the gradient's norm")
    cost: Literal["parameters", "multiply_adds"] = Field(
        "parameters", description="of an operation, for nasp's complexity penalty and for nsga2"
    )
    augment: AugmentationConfig = AugmentationConfig()


class CellTrainConfig(Section):
    """The training of a network of searched cells, from scratch."""

    epochs: Count = Field(600, description="passes over the train part")
    batch_size: Count = Field(96, description="images per step")
    valid_share: Part = Field(0.1, description="share outside the test part that chooses the epoch")
    evaluate_every: Count = Field(1, description="epochs between validations")
    channels: Count = Field(36, description="channels of the first cell")
    cells: Annotated[int, Field(ge=3)] = Field(20, description="cells")
    stem: Literal["small", "tiny-imagenet", "imagenet"] = Field("small", description="first layers")
    auxiliary: Literal["cifar", "imagenet"] | None = Field(
        None, description="second classifier of training"
    )
    auxiliary_weight: NonNegative = Field(0.4, description="of its loss")
    drop_path: Share = Field(0.0, description="chance to drop an edge, reached at the last epoch")
    label_smoothing: Share = Field(0.0, description="share of the target spread over all classes")
    lr: Rate = Field(0.025, description="first step size")
    decay: Fraction | None = Field(
        None, description="factor of the step size per epoch; None: along a cosine to 0"
    )
    weight_decay: NonNegative = Field(3e-4, description="L2 of all weights")
    max_norm: Rate = Field(5.0, description="bound on the gradient's norm")
    augment: AugmentationConfig = AugmentationConfig()


class CNNConfig(CellsConfig):
    """Images to found cells and a trained classifier.

    Examples:
        >>> sif.CNNConfig(dataset="digits", search={"epochs": 5}).search.epochs
        5
    """

    task: Literal["cnn"] = "cnn"
    dataset: NameOrPath = Field(
        "digits", description="a known dataset's name, a folder of class folders, or an archive"
    )
    space: str = Field("nasp-7op", description="search space")
    data: ImagesConfig = ImagesConfig()
    search: CellSearchConfig = CellSearchConfig()
    train: CellTrainConfig = CellTrainConfig()
    baselines: Names = Field(
        ("random-ws",), description="to compare with: search methods (random-ws, darts-1, "
        "gdas, tpe, ...), same epochs or budget, and published cells (darts-v2, ...); []: nothing"
    )  # fmt: skip
