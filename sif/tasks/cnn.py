"""The job on images: cells searched by a method and its rivals, trained alike, and a verdict.

Stages: per method a search and a training from scratch of what it found; then one evaluation each
on the test part, which nothing before has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sif.cell_methods import METHODS
from sif.checkpoint import write_json_atomic, write_text_atomic
from sif.classifier import ImageClassifier
from sif.config.cnn import CNNConfig
from sif.errors import ConfigError
from sif.evaluate import Evaluation
from sif.genotype import from_json
from sif.runtime import Runtime, derive_seed, environment, peak_memory_mb
from sif.spaces.cells import Cells
from sif.spaces.cnn import cells_of, expression, skip_share
from sif.spaces.cnn_ops import multiply_adds
from sif.tasks.base import Desk, RunResult
from sif.tasks.cnn_figures import draw, figure_data
from sif.tasks.cnn_inputs import GIVEN, ImageInputs, prepare
from sif.tasks.cnn_report import METRIC, comparison, document_of, trained_steps
from sif.tasks.figure_files import save_and_draw
from sif.tasks.report import Entry
from sif.tasks.stages import LoopCheckpointer, State
from sif.verdict import Verdict, verdict
from sif.vision import EXPORTED

NO_DOWNLOAD = (
    "dataset digits: 1,797 images of scikit-learn; the paper's setting: --dataset cifar-10 "
    "(downloads), or a folder train/<class>/*.jpg"
)


class CNNJob:
    """One run over its run folder."""

    def __init__(self, config: CNNConfig, inputs: ImageInputs, desk: Desk) -> None:
        self.config, self.inputs, self.desk = config, inputs, desk
        self.vision = inputs.vision

    def run(self) -> RunResult:
        """All stages, then the verdict and everything that is left behind."""
        self._announce()
        stages = self.desk.stages
        found = {
            name: stages.run(f"search-{name}", partial(self._search, name, method))
            for name, method in self.inputs.methods.items()
        }
        cells = {name: cells_of(from_json(state["genotype"])) for name, state in found.items()}
        cells |= self.inputs.given
        trained = {
            name: stages.run(f"train-{name}", partial(self._train, name, one))
            for name, one in cells.items()
        }
        entries = {
            name: self._tested(name, one, found.get(name), trained[name])
            for name, one in cells.items()
        }
        return self._finish(found, cells, trained, entries)

    def _announce(self) -> None:
        images, split, desk = self.inputs.images, self.inputs.split, self.desk
        if self.config.dataset == "digits":
            desk.console.line(NO_DOWNLOAD)
        height, width, channels = images.shape
        counts = " / ".join(f"{n:,}" for n in split.description()["counts"].values())
        desk.console.line(
            f"{images.name}: {len(images.labels):,} images of {height} x {width} x {channels}, "
            f"{len(images.classes)} classes; {split.protocol}, train / valid / test {counts}, "
            f"split {split.hash}"
        )
        for note in images.notes:
            desk.console.line(f"note: {note}")
        desk.tracker.log_params(self.config.model_dump(mode="json"))
        desk.tracker.set_tags(
            {
                "task": "cnn",
                "dataset": images.name,
                "dataset_hash": self.inputs.data_hash,
                "split_hash": split.hash,
                "protocol": split.protocol,
                "git_commit": str(environment(desk.runtime)["git_commit"]),
            }
        )

    def _search(self, name: str, method: str, checkpointer: LoopCheckpointer) -> State:
        total = self.config.search.epochs

        def show(epoch: int, entry: Mapping[str, Any]) -> None:
            self.desk.console.progress(
                f"search {method}", epoch, total, f"loss {entry['loss']:.4f}"
            )

        child = self.desk.tracker.child(f"search-{name}")
        result, error = self.vision.search(method, child, checkpointer, show)
        cells = cells_of(result.genotype)
        text, skips = expression(cells), skip_share(cells)
        self.desk.console.line(
            f"{name}: {method} found {text} in {result.seconds:.1f} s; error of exactly that "
            f"selection with the search's weights, valid {error:.2f} %"
        )
        counts = result.diagnostics
        told = ", ".join(f"{100 * share:.0f} % of the {kind}" for kind, share in skips.items())
        self.desk.console.line(
            f"{name}: skip connections {told} cell; the selection changed in {counts['flips']:,} "
            f"of {counts['arch_steps']:,} architecture steps, {counts['ties']:,} ties"
        )
        watched = {f"skip_share.{kind}": share for kind, share in skips.items()}
        for kind, table in trained_steps(self.config.space, result.trained).items():
            self.desk.console.line(
                f"{name}: {kind} cell, weight steps per operation: "
                + ", ".join(f"{operation} {steps:,}" for operation, steps in table.items())
            )
            watched |= {f"trained.{kind}.{o}": float(steps) for o, steps in table.items()}
        child.log({**counts, **watched, EXPORTED: error}, 0)
        child.set_tags({"genotype": text, "method": method})
        child.close()
        return {
            "genotype": result.genotype.to_json(),
            EXPORTED: error,
            "valid_loss": result.valid_loss,
            "diagnostics": result.diagnostics,
            "trained": result.trained,
            "warms_up": METHODS[method].warms_up,
            "history": result.history,
            "summary": {
                "seconds": result.seconds, "epochs": result.epochs, "steps": result.steps,
                "peak_memory_mb": peak_memory_mb(self.desk.runtime),
            },
        }  # fmt: skip

    def _train(self, name: str, cells: Cells, checkpointer: LoopCheckpointer) -> State:
        total = self.config.train.epochs

        def show(epoch: int, metrics: Mapping[str, float]) -> None:
            best = f"best valid error {metrics[METRIC]:.2f} %"
            self.desk.console.progress(f"train {name}", epoch, total, best)

        child = self.desk.tracker.child(f"train-{name}")
        trained = self.vision.train(cells, child, checkpointer, show)
        child.close()
        result, network = trained.result, trained.network
        height, width, channels = self.vision.shape
        counted = {
            "parameters": network.counted(),
            "multiply_adds": multiply_adds(network, (channels, height, width)),
        }
        self.desk.console.line(
            f"{name}: {counted['parameters']:,} parameters, valid error "
            f"{result.valid[METRIC]:.2f} % after {result.best_epoch} epochs "
            f"({result.seconds:.1f} s)"
        )
        return {
            "valid": result.valid, "history": result.history, "seconds": result.seconds,
            "epochs": result.epochs, "network": network.state_dict(), **counted,
        }  # fmt: skip

    def _tested(self, name: str, cells: Cells, found: State | None, trained: State) -> Entry:
        def test(_: LoopCheckpointer) -> State:
            network = self.vision.network(cells)
            network.load_state_dict(trained["network"])
            per_image = self.vision.test_error(network, self.inputs.split.test)
            metrics = {METRIC: float(per_image.mean())}
            child = self.desk.tracker.child(f"test-{name}")
            child.log({**metrics, f"valid.{METRIC}": trained["valid"][METRIC]}, 0)
            child.close()
            return {"per_image": per_image}

        per_image = self.desk.stages.run(f"test-{name}", test)["per_image"]
        evaluation = Evaluation(
            {METRIC: float(per_image.mean())}, np.arange(len(per_image)), {METRIC: per_image}, 0,
            "images",
        )  # fmt: skip
        params = {key: trained[key] for key in ("parameters", "multiply_adds")}
        params["search_seconds"] = found["summary"]["seconds"] if found else 0.0
        return Entry(name, trained["valid"], evaluation, trained["seconds"], params)

    def _finish(
        self, found: Mapping[str, State], cells: Mapping[str, Cells],
        trained: Mapping[str, State], entries: Mapping[str, Entry],
    ) -> RunResult:  # fmt: skip
        desk, ours = self.desk, self.inputs.ours
        rivals = {n: e for n, e in entries.items() if n != ours}
        origin = f"of {self.config.cells}" if ours == GIVEN else f"found by {self.config.method}"
        decision = verdict(
            f"the network of the cells {origin}",
            entries[ours].test,
            {name: entry.test for name, entry in rivals.items()},
            {name: entry.valid[METRIC] for name, entry in rivals.items()},
            METRIC,
            seed=derive_seed(self.config.seed, "verdict"),
        )
        document = document_of(
            self.config, self.inputs, found, cells[ours], entries, decision,
            desk.stages.seconds(),
        )  # fmt: skip
        if ours in found:
            write_text_atomic(desk.folder / "genotype.json", found[ours]["genotype"])
        write_json_atomic(desk.folder / "metrics.json", document)
        self._save_model(cells[ours], trained[ours])
        figures = self._figures(found, cells, trained, entries, decision)
        desk.console.result(f"\n{comparison(entries, decision)}")
        desk.console.result(f"\nverdict: {decision.text}")
        desk.console.line(f"{document['total_seconds']:.1f} s; everything is in {desk.folder}")
        valid = {f"valid.{name}": value for name, value in document["valid"].items()}
        desk.tracker.log({**document["test"], **valid}, 0)
        desk.tracker.set_tags({"genotype": document["genotype"], "verdict": decision.text})
        for path in figures:
            desk.tracker.log_artifact(path, "plots")
        for name in ("genotype.json", "metrics.json", "config.yaml"):
            if (desk.folder / name).exists():  # given cells leave no genotype
                desk.tracker.log_artifact(desk.folder / name)
        return RunResult(desk.folder, document, decision)

    def _save_model(self, cells: Cells, state: State) -> None:
        network = self.vision.network(cells)
        network.load_state_dict(state["network"])
        statistics = self.vision.test_preparation().statistics
        classes = self.inputs.images.classes
        model = ImageClassifier(network, cells, statistics, classes, self.vision.shape)
        model.save(self.desk.folder / "model")

    def _figures(
        self, found: Mapping[str, State], cells: Mapping[str, Cells],
        trained: Mapping[str, State], entries: Mapping[str, Entry], decision: Verdict,
    ) -> list[Path]:  # fmt: skip
        document = figure_data(self.config, found, cells, trained, entries, decision)
        try:
            return save_and_draw(self.desk.folder / "plots", document, draw)
        except ConfigError as error:
            self.desk.console.line(f"left out: {error}")
            return []


def evaluate_again(config: CNNConfig, runtime: Runtime, folder: Path) -> dict[str, float]:
    """Test error of the classifier that a finished run saved.

    Raises:
        CheckpointError, DataError: The classifier or the images cannot be read.
    """
    model = ImageClassifier.load(folder / "model")
    inputs = prepare(config, runtime)
    return {METRIC: float(inputs.vision.test_error(model.network, inputs.split.test).mean())}
