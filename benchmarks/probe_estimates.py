"""The quality of cheaper gradients of the gates: bias and scatter of estimates by probes.

The exact gradient of every gate over some batches of CIFAR-10, against the mean of estimates on
the same batches: probes on a share of the rows, where the statistics of normalization are those of
the rows at hand, which biases them, and probes on a share of the candidates, which are not biased.
The supernet trains its operations in turn for a while first.

    OMP_NUM_THREADS=1 python benchmarks/probe_estimates.py --output FILE.csv
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from sif.config import load_config
from sif.config.cnn import CNNConfig
from sif.core.exploration import probe_factors, round_robin_gates
from sif.core.gates import Gates, Probing
from sif.core.probe import gate_gradient
from sif.core.proximal import initial_alpha, project, weight_step
from sif.spaces.cnn.supernet import CNNSpace, ImageBatch
from sif.tasks.cnn import prepare
from sif.utils.device import make_runtime


def flat(gradient: Mapping[str, Tensor]) -> Tensor:
    """All gates of both cells, (n,)."""
    return torch.cat([table.flatten() for table in gradient.values()]).double()


def shuffled(batch: ImageBatch, draws: torch.Generator) -> ImageBatch:
    """The same images in another order."""
    order = torch.randperm(len(batch.labels), generator=draws)
    return ImageBatch(batch.images[order], batch.labels[order])


def compare(
    space: CNNSpace,
    gates: Gates,
    batches: list[ImageBatch],
    probing: Callable[[], Probing],
    repeats: int,
) -> dict[str, float]:
    """An estimate against the exact gradient, in shares of its norm."""
    draws = torch.Generator().manual_seed(0)
    exact = torch.stack([flat(gate_gradient(space, b, gates).gates) for b in batches])
    found = torch.stack([
        torch.stack([
            flat(gate_gradient(space, shuffled(b, draws), replace(gates, probing=probing())).gates)
            for b in batches
        ])
        for _ in range(repeats)
    ])  # fmt: skip
    norm = exact.norm(dim=1)
    single = (found - exact).norm(dim=2) / norm
    mean = found.mean(dim=0)
    # What chance leaves of the mean's error over so many repeats is taken off, in squares that may
    # turn out negative: without bias their mean over batches is 0 but for its standard error.
    noise = found.var(dim=0).sum(dim=1) / repeats
    squares = (((mean - exact) ** 2).sum(dim=1) - noise) / norm**2
    cosine = torch.cosine_similarity(mean, exact, dim=1)
    return {
        "error_of_one": float(single.mean()),
        "squared_bias": float(squares.mean()),
        "standard_error": float(squares.std() / len(squares) ** 0.5),
        "cosine_of_mean": float(cosine.mean()),
    }


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="cnn/cpu")
    parser.add_argument("--space", default="nasp-7op")
    parser.add_argument("--warmup", type=int, default=80, help="weight steps before")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=16)
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    config = cast(CNNConfig, load_config("cnn", file=values.config, sets=[f"space={values.space}"]))
    runtime = make_runtime("cpu", 0, 1)
    vision = prepare(config, runtime).problem
    space, rows = vision.space(), vision.searched[0]
    plain = vision.source.preparation(rows, config.search.augment)
    stream = vision.source.stream(rows, config.search.batch_size, plain, "estimates")
    draws = torch.Generator().manual_seed(0)
    alpha = initial_alpha(space.blocks, draws)
    optimizer = torch.optim.SGD(space.weight_parameters(), config.search.lr, 0.9)
    for step in range(values.warmup):
        gates = round_robin_gates(alpha, space.blocks, step, draws)
        weight_step(space, stream.next(), gates, optimizer, config.search.max_norm)
    gates = project(alpha, space.blocks)
    batches = [stream.next() for _ in range(values.batches)]
    ones = {b.name: torch.ones(b.shape, dtype=torch.float64) for b in space.blocks}
    estimates: dict[str, Callable[[], Probing]] = {
        f"{share:g} of the rows": lambda share=share: Probing(ones, share)  # type: ignore[misc]
        for share in (0.5, 0.25, 0.125)
    } | {
        f"{chance:g} of the others": lambda chance=chance: Probing(  # type: ignore[misc]
            probe_factors(alpha, chance, draws)
        )
        for chance in (0.5, 0.25)
    }
    rows_out = []
    for name, probing in estimates.items():
        found = compare(space, gates, batches, probing, values.repeats)
        rows_out.append({"space": values.space, "estimate": name, **found})
        print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else str(v)
                        for k, v in rows_out[-1].items()), flush=True)  # fmt: skip
    if values.output:
        with values.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows_out[0]))
            writer.writeheader()
            writer.writerows(
                {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()}
                for row in rows_out
            )


if __name__ == "__main__":
    main()
