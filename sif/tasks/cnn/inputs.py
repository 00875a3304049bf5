"""What a job on images works on: everything that can be refused is found out here."""

from __future__ import annotations

from sif.config import did_you_mean
from sif.config.cnn import CNNConfig
from sif.data.images import load_images, make_image_split
from sif.errors import ConfigError
from sif.problems.images import ImageProblem, source_of
from sif.spaces.cnn.cells import PUBLISHED
from sif.spaces.cnn.supernet import SPECS, cells_of
from sif.tasks.cnn.study import ImageStudy
from sif.tasks.entrants import entrants
from sif.utils.device import Runtime, enough_memory


def prepare(config: CNNConfig, runtime: Runtime) -> ImageStudy:
    """Reads and checks what the configuration names; names first, since data may be large.

    Raises:
        DataError, ConfigError: One line each.
    """
    if config.space not in SPECS:
        hint = did_you_mean(config.space, SPECS)
        raise ConfigError(
            f"space: expected one of {', '.join(SPECS)}, found {config.space!r}{hint}"
        )
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
        source = source_of(images, runtime)
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
