"""The published setting on text, whole: a search, its cost, and a short training after.

Searches as configs/rnn/default.yaml says (50 epochs, width 300, 256 columns, windows of 35), trains
language models with the found cell and that of DARTS' second order equally many epochs, and runs
step_cost.py on the same device. Validation text judges the search, chooses the epoch of both
trainings and judges them there; the test part judges nothing. For a GPU; on a CPU --config
rnn/smoke --dataset grammar shows that it works. A tenth of penn-mini, what alpha sees, is less than
one window of 256 columns, a fifth is enough:

    python benchmarks/full_text.py --dataset ptb --output benchmarks/results/MACHINE
    python benchmarks/full_text.py --dataset penn-mini --set search.valid_share=0.2 --output FOLDER
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, cast

from full import REFERENCE, configured, flags, run, spent, step_costs
from held_out import told

from sif.config.rnn import RNNConfig
from sif.data.text.load import load_corpus
from sif.problems.text import EVALUATED, EXPORTED, Ids, TextProblem
from sif.spaces.rnn.cells import PUBLISHED, RecurrentCell, expression
from sif.spaces.rnn.supercell import SPACE
from sif.spaces.rnn.supernet import TextBatch, recurrent_cell
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime


class Clocked(TextProblem):
    """Knows how long its evaluations took, which end with a copy to the CPU.

    Attributes:
        evaluating: Wall seconds.
    """

    evaluating = 0.0

    def windows(self, ids: Ids, columns: int = EVALUATED) -> Iterator[TextBatch]:
        """One pass over some words."""
        start = time.perf_counter()
        yield from super().windows(ids, columns)
        self.evaluating += time.perf_counter() - start


def searched(language: TextProblem) -> tuple[RecurrentCell, dict[str, Any]]:
    """The search and what it took."""
    found = language.search(NullTracker(), NoCheckpoint(), told, "nasp")
    cell = recurrent_cell(found.genotype)
    return cell, spent(found, EXPORTED, language.runtime) | {"cell": expression(cell)}


def trained(language: Clocked, cell: RecurrentCell) -> dict[str, Any]:
    """A training from scratch, its speed without validation, and its size."""
    language.evaluating = 0.0
    done = language.train(cell, NullTracker(), NoCheckpoint(), told)
    result = done.result
    columns = language.config.train.columns
    words = (len(language.text) // columns - 1) * columns * result.epochs
    return {
        "valid_perplexity": result.valid["perplexity"],
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "seconds": result.seconds,
        "tokens_per_second": words / (result.seconds - language.evaluating),
        "parameters": done.network.counted(),
    }


def main() -> None:
    """Runs everything and writes it."""
    values = flags(__doc__, "ptb", train_epochs=20).parse_args()
    patience = f"train.patience={values.train_epochs}"  # equally many epochs for both
    config = cast(RNNConfig, configured("rnn", values, patience))
    runtime = make_runtime(values.device, values.seed)
    corpus = load_corpus(config.dataset, data_dir=config.data.dir, max_words=config.data.max_words)
    language = Clocked(config, corpus, runtime)
    language.check()
    about = {"config": config.model_dump(mode="json"), "text": corpus.description()}
    about["searched"] = [len(ids) for ids in language.searched]
    run(
        f"full-text-{corpus.name}", values, runtime, about,
        lambda: searched(language), lambda cell: trained(language, cell), PUBLISHED[REFERENCE],
    )  # fmt: skip
    step_costs(values, [SPACE])


if __name__ == "__main__":
    main()
