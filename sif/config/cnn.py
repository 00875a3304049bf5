"""The configuration of the search for convolutional cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from sif.utils.units import Unit

Hue = Annotated[float, Field(ge=0, le=0.5)]
Degrees = Annotated[float, Field(ge=0, le=180)]


class ImagesConfig(Section):
    """The images and their split."""

    dir: AbsolutePath | None = Field(None, description="folder that holds or receives data files")
    channels: Annotated[Literal[1, 3], Unit("channels")] | None = Field(
        None, description="color channels of the images; None: those of the data"
    )
    size: Annotated[Count, Unit("pixels")] | None = Field(
        None, description="side to which images are resized; None: all images must have one size"
    )
    per_class: Annotated[Count, Unit("images")] | None = Field(
        None, description="largest number of images of each class in each part; None: all"
    )
    test_share: Part = Field(
        0.2, description="share of each class that becomes the test part where the data have none"
    )


class AugmentationConfig(Section):
    """Random changes of train images."""

    pad: Annotated[Whole, Unit("pixels")] = Field(
        0, description="black border around an image, from which a crop of the old size is taken"
    )
    flip: bool = Field(False, description="whether half of the images are mirrored left to right")
    cutout: Annotated[Whole, Unit("pixels")] = Field(
        0, description="side of a square that is set to zero"
    )
    jitter: Fraction | None = Field(
        None,
        description="strength of changes of brightness, contrast and saturation; None: no change",
    )
    hue: Annotated[Hue, Unit("share of the color circle")] = Field(
        0.0, description="largest shift of the hues"
    )
    scale: Fraction = Field(
        1.0, description="smallest share of an image that is cropped and resized; 1: no such crop"
    )
    rotate: Annotated[Degrees, Unit("degrees")] = Field(
        0.0, description="largest rotation in either direction"
    )


class CellSearchConfig(CellSearchSection):
    """The search for the two cells; the defaults are those of DARTS and NASP on CIFAR-10."""

    batch_size: Annotated[Count, Unit("images")] = Field(64, description="images per step")
    valid_share: Part = Field(
        0.5, description="share of the images outside the test part that trains alpha"
    )
    channels: Annotated[Count, Unit("channels")] = Field(
        16, description="channels of the first cell"
    )
    cells: Annotated[int, Field(ge=3), Unit("cells")] = Field(
        8, description="cells of the supernet"
    )
    nodes: Annotated[Count, Unit("nodes")] = Field(4, description="intermediate nodes of a cell")
    lr: Annotated[Rate, Unit("step size")] = Field(
        0.025, description="first step size of the weights"
    )
    lr_end: Share = Field(
        0.04, description="last step size as a share of the first; between them it follows a cosine"
    )
    weight_decay: Annotated[NonNegative, Unit("per step")] = Field(
        3e-4, description="weight decay of the weights that a step trains"
    )
    max_norm: Annotated[Rate, Unit("gradient norm")] = Field(
        5.0, description="upper bound on the norm of the gradient"
    )
    cost: Literal["parameters", "multiply_adds"] = Field(
        "parameters",
        description="cost of an operation, for the complexity penalty of nasp and for nsga2",
    )
    augment: AugmentationConfig = AugmentationConfig()


class CellTrainConfig(Section):
    """The training of a network of searched cells, from scratch."""

    epochs: Annotated[Count, Unit("epochs")] = Field(600, description="passes over the train part")
    batch_size: Annotated[Count, Unit("images")] = Field(96, description="images per step")
    valid_share: Part = Field(
        0.1, description="share of the images outside the test part that chooses the epoch"
    )
    evaluate_every: Annotated[Count, Unit("epochs")] = Field(
        1, description="epochs between two validations"
    )
    channels: Annotated[Count, Unit("channels")] = Field(
        36, description="channels of the first cell"
    )
    cells: Annotated[int, Field(ge=3), Unit("cells")] = Field(
        20, description="cells of the network"
    )
    stem: Literal["small", "tiny-imagenet", "imagenet"] = Field(
        "small", description="layers before the first cell"
    )
    auxiliary: Literal["cifar", "imagenet"] | None = Field(
        None, description="second classifier that helps the training; None: none"
    )
    auxiliary_weight: Annotated[NonNegative, Unit("weight")] = Field(
        0.4, description="weight of the second classifier's loss"
    )
    drop_path: Annotated[Share, Unit("chance")] = Field(
        0.0, description="chance to drop an edge; it grows from 0 and is reached at the last epoch"
    )
    label_smoothing: Share = Field(
        0.0, description="share of the target that is spread over all classes"
    )
    lr: Annotated[Rate, Unit("step size")] = Field(0.025, description="first step size")
    decay: Annotated[Fraction, Unit("factor per epoch")] | None = Field(
        None,
        description="factor of the step size per epoch; None: the step size falls along a cosine "
        "to 0",
    )
    weight_decay: Annotated[NonNegative, Unit("per step")] = Field(
        3e-4, description="L2 of all weights"
    )
    max_norm: Annotated[Rate, Unit("gradient norm")] = Field(
        5.0, description="upper bound on the norm of the gradient"
    )
    augment: AugmentationConfig = AugmentationConfig()


class CNNConfig(CellsConfig):
    """Images to found cells and a trained classifier.

    Examples:
        >>> sif.CNNConfig(dataset="digits", search={"epochs": 5}).search.epochs
        5
    """

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None:
            """Sections may be dictionaries, and names former ones, which the fields do not say."""

    task: Literal["cnn"] = Field("cnn", description="name of the task")
    dataset: NameOrPath = Field(
        "digits",
        description="name of a known data set, a folder of class folders, or an archive of one",
    )
    space: str = Field("nasp-7op", description="name of the search space")
    data: ImagesConfig = ImagesConfig()
    search: CellSearchConfig = CellSearchConfig()
    train: CellTrainConfig = CellTrainConfig()
    baselines: Names = Field(
        ("random-ws",),
        description="what to compare with: search methods with the same epochs or budget "
        "(random-ws, darts-1, gdas, tpe, ...) and published cells (darts-v2, ...); []: nothing",
    )
