"""Cells for text on the validation part alone; the test part judges nothing.

Trains published designs, uniformly drawn cells of the configured space, and the cell that a search
finds, with the settings of a job and equally many weights:

    export OMP_NUM_THREADS=1
    python benchmarks/gated_cells.py --dataset grammar --entrants nasp lstm gru --output FILE.csv
    python benchmarks/gated_cells.py --dataset penn-mini --entrants lstm-cell drawn-0 \
        --set train.dropout.hidden=0 --output FILE.csv
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from held_out import told

from sif.config import load_config
from sif.config.rnn import RNNConfig
from sif.data.text.load import load_corpus
from sif.methods.registry import METHODS
from sif.problems.text import EXPORTED, TextProblem
from sif.spaces.rnn.designs import PUBLISHED, TextDesign
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime


def design_of(language: TextProblem, entrant: str) -> tuple[TextDesign, dict[str, Any]]:
    """A published design, a drawn one such as drawn-3, or what a method finds; and the search."""
    if entrant in PUBLISHED:
        return PUBLISHED[entrant], {}
    if entrant.startswith("drawn-"):
        return language.drawn(int(entrant.removeprefix("drawn-"))), {}
    METHODS.named(entrant)
    found = language.search(NullTracker(), NoCheckpoint(), told, entrant)
    exported = found.history[-1]["judged"][EXPORTED]
    spent = {"search_seconds": round(found.cpu_seconds, 1), "exported": round(exported, 3)}
    return language.design(found.genotype), spent


def rows(values: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row per entrant."""
    sets = [f"dataset={values.dataset}", f"space={values.space}", *values.set]
    config = cast(RNNConfig, load_config("rnn", sets=sets))
    corpus = load_corpus(config.dataset, data_dir=config.data.dir, max_words=config.data.max_words)
    for entrant in values.entrants:
        language = TextProblem(config, corpus, make_runtime("cpu", values.seed, threads=1))
        design, spent = design_of(language, entrant)
        start = time.process_time()
        done = language.train(design, NullTracker(), NoCheckpoint(), told)
        yield {
            "dataset": corpus.name,
            "seed": values.seed,
            "entrant": entrant,
            "cell": language.expression(design),
            "width": done.network.shape.hidden,
            "parameters": done.network.counted(),
            "search_seconds": 0.0,
            "exported": "",
            "train_seconds": round(time.process_time() - start, 1),
            "best_epoch": done.result.best_epoch,
            "valid": round(done.result.valid["perplexity"], 3),
        } | spent


def main() -> None:
    """Writes a row per entrant as soon as it is trained."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="grammar")
    parser.add_argument("--space", default="gated", choices=("gated", "nasp-ptb"))
    parser.add_argument("--entrants", nargs="+", default=["nasp", "lstm", "lstm-cell", "gru"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="settings, such as search.epochs=2")
    parser.add_argument("--output", type=Path, required=True, help="CSV file that gets the rows")
    values = parser.parse_args()
    done: list[dict[str, Any]] = []
    for row in rows(values):
        done.append(row)
        with values.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            writer.writeheader()
            writer.writerows(done)


if __name__ == "__main__":
    main()
