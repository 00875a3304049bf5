"""The published setting, whole: a search on all of CIFAR-10, its cost, and a short training after.

Searches as configs/cnn/cifar-10.yaml says (50 epochs, 16 channels, 8 cells, batches of 64) on nine
tenths of the train images, trains the found network and that of DARTS' second order equally long
on the same images, judges both once on the last tenth, which neither search nor training has seen,
and runs step_cost.py on the same device. The test part is not read. For a GPU; on a CPU --config
cnn/smoke shows that it works.

    python benchmarks/full_search.py --dataset cifar-10 --output benchmarks/results/MACHINE
"""

from __future__ import annotations

from typing import Any, cast

from full import REFERENCE, configured, flags, run, spent, step_costs
from held_out import parts_of, told, vision_of

from sif.config.cnn import CNNConfig
from sif.data.images.load import load_images
from sif.problems.images import EXPORTED, ImageProblem
from sif.spaces.cnn.cells import PUBLISHED, Cells
from sif.spaces.cnn.operations import multiply_adds
from sif.spaces.cnn.supernet import SPECS, cells_of, expression, skip_share
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

UNSEEN = 0.1
"""Share of the train images that judges."""


def searched(vision: ImageProblem) -> tuple[Cells, dict[str, Any]]:
    """The search and what it took."""
    found = vision.search(NullTracker(), NoCheckpoint(), told, "nasp")
    cells = cells_of(found.genotype)
    took = spent(found, EXPORTED, vision.runtime)
    return cells, took | {"cells": expression(cells), "skip_share": skip_share(cells)}


def trained(vision: ImageProblem, cells: Cells) -> dict[str, Any]:
    """A training from scratch and its size."""
    done = vision.train(cells, NullTracker(), NoCheckpoint(), told)
    height, width, channels = vision.shape
    return {
        "unseen_error": done.result.valid["error"],
        "epochs": done.result.epochs,
        "seconds": done.result.seconds,
        "parameters": done.network.counted(),
        "multiply_adds": multiply_adds(done.network, (channels, height, width)),
    }


def main() -> None:
    """Runs everything and writes it."""
    parser = flags(__doc__, "cifar-10", train_epochs=50)
    parser.add_argument("--space", choices=tuple(SPECS), default="nasp-7op")
    values = parser.parse_args()
    config = cast(CNNConfig, configured("cnn", values, f"space={values.space}"))
    runtime = make_runtime(values.device, values.seed)
    images = load_images(config.dataset, data_dir=config.data.dir, per_class=config.data.per_class)
    parts = parts_of(images, config, UNSEEN)
    vision = vision_of(config, images, parts, runtime)
    about = {"config": config.model_dump(mode="json"), "images": [len(part) for part in parts]}
    run(
        f"full-search-{values.space}", values, runtime, about,
        lambda: searched(vision), lambda cells: trained(vision, cells), PUBLISHED[REFERENCE],
    )  # fmt: skip
    step_costs(values, SPECS)


if __name__ == "__main__":
    main()
