"""Inner products at observed pairs with gradients: sparse products against gathering rows.

python benchmarks/pair_products.py --users 943 --items 1682 --pairs 80000 --dimension 128
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from sif.spaces.interaction.pair_products import pair_graph, pair_products


def seconds(step: Callable[[], None]) -> float:
    """Wall time of one step."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> None:
    """Prints the median times in turn and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("users", 943), ("items", 1682), ("pairs", 80_000), ("dimension", 128)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    values = parser.parse_args()
    torch.set_num_threads(values.threads)
    draws = torch.Generator().manual_seed(0)
    cells = torch.randperm(values.users * values.items, generator=draws)[: values.pairs]
    ids = torch.stack([cells // values.items, cells % values.items], dim=1).to(values.device)
    graph = pair_graph(ids, (values.users, values.items))
    a = torch.randn(values.users, values.dimension, generator=draws).to(values.device)
    b = torch.randn(values.items, values.dimension, generator=draws).to(values.device)
    a.requires_grad_()
    b.requires_grad_()

    def gathered() -> None:
        (a[ids[:, 0]] * b[ids[:, 1]]).sum(1).square().sum().backward()

    def sparse() -> None:
        pair_products(a, b, graph).square().sum().backward()

    times: dict[str, list[float]] = {"gathered": [], "sparse": []}
    for _ in range(values.rounds + 2):  # the first two rounds warm up
        times["gathered"].append(seconds(gathered))
        times["sparse"].append(seconds(sparse))
    medians = {name: statistics.median(found[2:]) * 1e3 for name, found in times.items()}
    print(f"{values.pairs} pairs, d = {values.dimension}, {values.threads} thread(s)")
    for name, value in medians.items():
        print(f"{name:<9} {value:8.2f} ms")
    print(f"ratio     {medians['gathered'] / medians['sparse']:8.1f}")


if __name__ == "__main__":
    main()
