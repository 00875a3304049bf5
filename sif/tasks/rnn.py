"""Recurrent cells on text: checks before a run, the report of a job, and its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from sif import plots
from sif.baselines.ngram import NGram, tuned
from sif.config.rnn import RNNConfig
from sif.data.text.corpus import Corpus
from sif.data.text.load import load_corpus
from sif.evaluation.evaluate import Evaluation
from sif.problems.base import Reporter
from sif.problems.text import TextProblem
from sif.problems.text_model import TextModel
from sif.spaces.rnn import designs, gated_cells
from sif.spaces.rnn.cells import ACTIVATIONS, RecurrentCell, edge_nodes, edge_sources
from sif.spaces.rnn.designs import TextDesign
from sif.spaces.rnn.gated_cells import GatedCell
from sif.spaces.rnn.gated_supernet import GatedSpace
from sif.spaces.rnn.supercell import BLOCK
from sif.tasks.base import Entrants, Results
from sif.tasks.entrants import entrants
from sif.tasks.figures import draw_curves
from sif.tasks.readings import readings
from sif.tasks.report_data import histogram
from sif.tasks.study import Study
from sif.utils.device import Runtime

NO_DOWNLOAD = (
    "dataset grammar: generated sentences; the paper's setting: dataset ptb (downloads), or a "
    "folder with train.txt, valid.txt and test.txt"
)


@dataclass(eq=False)
class TextStudy(Study):
    """Recurrent cells on a text.

    Attributes:
        config: Of the job.
        corpus: The text, which comes in its parts.
        problem: At work on its train and validation part.
        entrants: Models and methods to compare.
    """

    task, split_name = "rnn", "given parts"
    config: RNNConfig
    corpus: Corpus
    problem: TextProblem
    entrants: Entrants

    def __post_init__(self) -> None:
        self.label, self.test_part = self.corpus.name, self.corpus.test
        self.data_hash = self.split_hash = self.corpus.content_hash

    @cached_property
    def ngram(self) -> NGram:
        """Tuned on validation."""
        return tuned(self.corpus)

    def opening(self) -> list[str]:
        """The text, its parts, and what there is to reach."""
        corpus, model = self.corpus, self.ngram
        counts = " / ".join(f"{len(ids):,}" for ids in corpus.parts.values())
        lines = [NO_DOWNLOAD] if self.config.dataset == "grammar" else []
        lines.append(
            f"{corpus.name}: {len(corpus.words):,} different words, train / valid / test {counts} "
            f"words, content {corpus.content_hash}"
        )
        if corpus.entropy is not None:
            lines.append(f"best possible perplexity {math.exp(corpus.entropy):.3f}")
        lines.append(
            f"n-grams (Kneser-Ney, order {model.order} chosen on validation): perplexity, valid "
            f"{model.perplexity(corpus.valid):.2f}"
        )
        return lines + [f"note: {note}" for note in corpus.notes]

    def protocol(self) -> dict[str, Any]:
        """The text, the best there can be, and n-grams on the test part."""
        corpus, model = self.corpus, self.ngram
        return corpus.description() | {
            "best_perplexity": None if corpus.entropy is None else math.exp(corpus.entropy),
            "ngram": {"order": model.order, "perplexity": model.perplexity(corpus.test)},
        }

    @property
    def space(self) -> str:
        """Its cells, for people."""
        return "gated cells" if self.config.space == GatedSpace.name else "recurrent cells"

    @property
    def profile(self) -> dict[str, int]:
        """Words of the text and of its vocabulary."""
        tokens = {part: len(ids) for part, ids in self.corpus.parts.items()}
        return {"num_rows": sum(tokens.values()), "vocabulary": len(self.corpus.words), **tokens}

    def facts(self, name: str) -> dict[str, Any]:
        """Width of the states, and weight decay."""
        train = self.config.train
        return {**super().facts(name), "dimension": train.hidden, "l2": train.weight_decay}

    def watched(self, design: TextDesign) -> dict[str, float]:
        """Share of nodes that pass on what they read; a gated cell has no nodes."""
        if not isinstance(design, RecurrentCell):
            return {}
        names = [name for name, _ in design.nodes]
        return {"identity_share": names.count("identity") / len(names)}

    def save(self, folder: Path, results: Results, console: Reporter) -> None:
        """The language model."""
        ours = self.entrants.ours
        self.problem.model(results.designs[ours], results.trained[ours].network).save(folder)

    def test_saved(self, folder: Path) -> Evaluation:
        """The language model's perplexity again."""
        return self.problem.test(TextModel.load(folder).network, self.test_part)

    def in_document(self, results: Results) -> dict[str, Any]:
        """Our cell as in the published code."""
        return {"cells": designs.format_design(results.designs[self.entrants.ours])}

    def figure_data(self, results: Results) -> dict[str, Any]:
        """Cells, trainings and searches."""
        found, nodes = results.designs, self.config.search.nodes
        cells = {n: _figure(design) for n, design in found.items() if not isinstance(design, str)}
        about = {"cells": cells, "nodes": nodes, "space": self.config.space}
        return {**super().figure_data(results), **about}

    def page_data(self, results: Results) -> dict[str, Any]:
        """The text, and what ours expects of some of it."""
        ours, corpus = self.entrants.ours, self.corpus
        counts = np.bincount(corpus.train, minlength=len(corpus.words))
        network = results.trained[ours].network
        return {
            "data": {
                "words": len(corpus.words),
                "parts": {name: len(ids) for name, ids in corpus.parts.items()},
                "counts": {"word": histogram(counts)},
            },
            "readings": readings(self.problem, network, corpus.test),
        }


def prepare(config: RNNConfig, runtime: Runtime) -> TextStudy:
    """Reads and checks what the configuration names.

    Raises:
        DataError, ConfigError, GenotypeError: One line each.
    """
    known, read = designs.PUBLISHED, designs.of_genotype
    taking_part = entrants(config.method, config.baselines, config.cells, known, read)
    corpus = load_corpus(config.dataset, data_dir=config.data.dir, max_words=config.data.max_words)
    ours = taking_part.given.get(taking_part.ours)
    nodes = len(ours.nodes) if isinstance(ours, RecurrentCell) else None
    problem = TextProblem(config, corpus, runtime, nodes)
    problem.check()
    for method in taking_part.methods.values():
        problem.check_method(method)
    return TextStudy(config, corpus, problem, taking_part)


def _figure(design: RecurrentCell | GatedCell) -> dict[str, Any]:
    """A cell as figures take it; that of a gated cell has its equations."""
    if isinstance(design, GatedCell):
        nodes, output = gated_cells.graph(design)
        return {"equations": gated_cells.equations(design), "nodes": nodes, "output": output}
    return {"nodes": design.nodes, "output": design.output}


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws cells, gates, and validation of searches and trainings; returns the paths."""
    paths: list[Path] = []
    for name, cell in document["cells"].items():
        path = folder / f"cell-{name}.png"
        if "equations" in cell:
            shown = [(f"{name}: gated cell", cell["nodes"], cell["output"])]
            paths += plots.cell_graphs(path, shown, inputs=gated_cells.INPUTS, output="h'")
            continue
        nodes = [[(activation, state)] for activation, state in cell["nodes"]]
        shown = [(f"{name}: recurrent cell", nodes, cell["output"])]
        paths += plots.cell_graphs(path, shown, inputs=("x, h",), output="mean")
    gated = document.get("space") == GatedSpace.name  # runs of earlier versions have no space
    strips = _gated_strips if gated else partial(_node_strips, _searched_nodes(document))
    return [*paths, *draw_curves(document, TextProblem.shown, strips, folder)]


def _searched_nodes(document: Mapping[str, Any]) -> int:
    """Nodes of searched cells."""
    # A searched cell has that many nodes; a damaged number would ask for any amount of memory.
    counts = [len(cell["nodes"]) for cell in document["cells"].values()]
    return int(min(document["nodes"], max(counts)))


def _node_strips(count: int, trained: Mapping[str, Sequence[int]]) -> list[plots.Strips]:
    edges = list(zip(edge_sources(count), (n + 1 for n in edge_nodes(count)), strict=True))
    return [plots.Strips(BLOCK, tuple(ACTIVATIONS), edges, trained[BLOCK])]


def _gated_strips(trained: Mapping[str, Sequence[int]]) -> list[plots.Strips]:
    return [
        plots.Strips(name, operations, [(0, 1)], trained[name])
        for name, operations in gated_cells.CHOICES.items()
    ]
