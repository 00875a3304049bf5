"""What a job on images works on: everything that can be refused is found out here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sif.cell_methods import METHODS
from sif.config import did_you_mean
from sif.config.cnn import CNNConfig
from sif.data.images import FolderImages, Images, ImageSplit, load_images, make_image_split
from sif.errors import ConfigError
from sif.genotype import read
from sif.runtime import Runtime, enough_memory
from sif.sources import source_of
from sif.spaces.cells import Cells
from sif.spaces.cnn import SPECS, cells_of
from sif.spaces.published import PUBLISHED
from sif.tasks.contest import GIVEN, SEARCHED
from sif.vision import Vision


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """Checked inputs of one job.

    Attributes:
        images: All of them.
        split: The parts of trainings from scratch.
        vision: At work on train and validation parts.
        methods: Name in the comparison to search method.
        given: Name in the comparison to cells that are trained without a search.
        ours: The name that is compared with the others.
    """

    images: Images | FolderImages
    split: ImageSplit
    vision: Vision
    methods: Mapping[str, str]
    given: Mapping[str, Cells]
    ours: str

    @property
    def data_hash(self) -> str:
        """16 hex digits of the content."""
        return self.images.content_hash

    @property
    def split_hash(self) -> str:
        """16 hex digits of content and parts."""
        return self.split.hash


def prepare(config: CNNConfig, runtime: Runtime) -> ImageInputs:
    """Reads and checks what the configuration names; names first, since data may be large.

    Raises:
        DataError, ConfigError: One line each.
    """
    if config.space not in SPECS:
        hint = did_you_mean(config.space, SPECS)
        raise ConfigError(
            f"space: expected one of {', '.join(SPECS)}, found {config.space!r}{hint}"
        )
    rivals = [name for name in config.baselines if config.cells or name != config.method]
    for key, names, known in (
        ("method", (config.method,), tuple(METHODS)),
        ("baselines", rivals, (*METHODS, *PUBLISHED)),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"{key}: expected one of {', '.join(known)}, found {name!r}"
                    f"{did_you_mean(name, known)}"
                )
    ours = {} if config.cells is None else {GIVEN: given_cells(config.cells)}
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
        source = source_of(images, runtime)
    vision = Vision(
        config,
        source,
        (search_split.train, search_split.valid),
        (split.train, split.valid),
        runtime,
    )
    vision.check()
    methods = {} if ours else {SEARCHED: config.method}
    methods |= {name: name for name in rivals if name in METHODS}
    given = ours | {name: PUBLISHED[name] for name in rivals if name in PUBLISHED}
    return ImageInputs(images, split, vision, methods, given, GIVEN if ours else SEARCHED)


def given_cells(name_or_file: str) -> Cells:
    """Published cells by their name, or those of a genotype file.

    Raises:
        ConfigError, GenotypeError: Neither, or a file that holds no such cells.
    """
    if name_or_file in PUBLISHED:
        return PUBLISHED[name_or_file]
    path = Path(name_or_file)
    if not path.exists():
        raise ConfigError(
            f"cells: expected a genotype file or one of {', '.join(PUBLISHED)}, found "
            f"{name_or_file!r}{did_you_mean(name_or_file, PUBLISHED)}"
        )
    return cells_of(read(path))
