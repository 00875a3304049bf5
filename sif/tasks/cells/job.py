"""A job that searches cells: methods and rivals on equal terms, trainings alike, and a verdict.

Stages: per method a search and a training from scratch of what it found; given cells are trained
without a search; then one evaluation each on the test part, which nothing before has seen. What the
data are and what is trained on them is a `CellProblem`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sif.config import CommonConfig
from sif.core.genotype import from_json
from sif.errors import ConfigError, DivergedError
from sif.evaluation.comparison import verdict
from sif.evaluation.evaluate import Evaluation
from sif.tasks.base import JobContext, RunResult
from sif.tasks.cells.report import comparison, document_of, trained_steps
from sif.tasks.cells.work import CellProblem, Results
from sif.tasks.checkpoint import LoopCheckpointer, State
from sif.tasks.figure_files import save_and_draw
from sif.tasks.report import Entry
from sif.utils.checkpoint import write_json_atomic, write_text_atomic
from sif.utils.device import peak_memory_mb
from sif.utils.environment import environment
from sif.utils.random import derive_seed


class CellJob:
    """One run over its run folder."""

    def __init__(self, config: CommonConfig, work: CellProblem, context: JobContext) -> None:
        self.config, self.work, self.context = config, work, context

    def run(self) -> RunResult:
        """All stages, then the verdict and everything that is left behind."""
        self._announce()
        work = self.work
        found = self._all("search", work.entrants.methods, self._search)
        designs = {n: work.design(from_json(state["genotype"])) for n, state in found.items()}
        designs |= work.entrants.given
        trained = self._all("train", designs, self._train)
        entries = {
            name: self._tested(name, design, found.get(name), trained[name])
            for name, design in designs.items()
            if name in trained
        }
        return self._finish(found, designs, trained, entries)

    def _all(
        self, kind: str, entrants: Mapping[str, Any],
        work: Callable[[str, Any, LoopCheckpointer], State],
    ) -> dict[str, State]:  # fmt: skip
        """The stages of a kind by entrant; a rival that diverges is named and left out."""
        states = {}
        for name, what in entrants.items():
            try:
                states[name] = self.context.stages.run(f"{kind}-{name}", partial(work, name, what))
            except DivergedError as error:
                if name == self.work.entrants.ours:
                    raise
                self.context.console.line(f"left out: {name}: {error}")
        return states

    def _announce(self) -> None:
        context = self.context
        for line in self.work.opening():
            context.console.line(line)
        context.tracker.log_params(self.config.model_dump(mode="json"))
        commit = str(environment(context.runtime)["git_commit"])
        context.tracker.set_tags({"task": self.work.task, **self.work.tags(), "git_commit": commit})

    def _search(self, name: str, method: str, checkpointer: LoopCheckpointer) -> State:
        work, console = self.work, self.context.console

        def show(epoch: int, entry: Mapping[str, Any]) -> None:
            total, told = max(epoch, work.epochs[0]), f"loss {entry['loss']:.4f}"
            console.progress(f"search {method}", epoch, total, told)

        child = self.context.tracker.child(f"search-{name}")
        result, judged = work.search(method, child, checkpointer, show)
        design = work.design(result.genotype)
        text, counts = work.spelled(design)[0], result.diagnostics
        console.line(
            f"{name}: {method} found {text} in {result.seconds:.1f} s; {work.shown} of exactly "
            f"that selection with the search's weights, valid {judged:.2f}{work.unit}"
        )
        watched = work.watched(design)
        console.line(
            f"{name}: the selection changed in {counts['flips']:,} of {counts['arch_steps']:,} "
            f"architecture steps, {counts['ties']:,} ties"
            + "".join(f"; {what} {100 * share:.0f} %" for what, share in watched.items())
        )
        for block, steps in trained_steps(work.operations, result.trained).items():
            told = ", ".join(f"{operation} {n:,}" for operation, n in steps.items())
            console.line(f"{name}: {block}, weight steps per operation: {told}")
            watched |= {f"trained.{block}.{o}": float(n) for o, n in steps.items()}
        child.log({**counts, **watched, work.judged: judged}, 0)
        child.set_tags({"genotype": text, "method": method})
        child.close()
        return {
            "genotype": result.genotype.to_json(),
            work.judged: judged,
            "valid_loss": result.valid_loss,
            "diagnostics": result.diagnostics,
            "trained": result.trained,
            "history": result.history,
            "summary": {
                "seconds": result.seconds, "cpu_seconds": result.cpu_seconds,
                "epochs": result.epochs, "steps": result.steps,
                "peak_memory_mb": peak_memory_mb(self.context.runtime),
            },
        }  # fmt: skip

    def _train(self, name: str, design: Any, checkpointer: LoopCheckpointer) -> State:
        work = self.work

        def show(epoch: int, metrics: Mapping[str, float]) -> None:
            best = f"best valid {work.shown} {metrics[work.shown]:.2f}{work.unit}"
            self.context.console.progress(f"train {name}", epoch, work.epochs[1], best)

        child = self.context.tracker.child(f"train-{name}")
        result, network = work.train(design, child, checkpointer, show)
        child.close()
        sizes = work.sizes(network)
        self.context.console.line(
            f"{name}: {sizes['parameters']:,} parameters, valid {work.shown} "
            f"{result.valid[work.shown]:.2f}{work.unit} after {result.best_epoch} epochs "
            f"({result.seconds:.1f} s)"
        )
        return {
            "valid": result.valid, "history": result.history, "seconds": result.seconds,
            "epochs": result.epochs, "network": network.state_dict(), "sizes": sizes,
        }  # fmt: skip

    def _restored(self, design: Any, trained: State) -> nn.Module:
        network = self.work.network(design)
        network.load_state_dict(trained["network"])
        return network

    def _tested(self, name: str, design: Any, found: State | None, trained: State) -> Entry:
        work = self.work

        def test(_: LoopCheckpointer) -> State:
            made = work.test(self._restored(design, trained))
            child = self.context.tracker.child(f"test-{name}")
            valid = {f"valid.{metric}": value for metric, value in trained["valid"].items()}
            child.log({**made.metrics, **valid}, 0)
            child.close()
            return {"metrics": made.metrics, "per_unit": made.per_user[work.metric],
                    "unit": made.unit}  # fmt: skip

        state = self.context.stages.run(f"test-{name}", test)
        units = np.arange(len(state["per_unit"]))
        evaluation = Evaluation(
            state["metrics"], units, {work.metric: state["per_unit"]}, 0, state["unit"]
        )
        params = {**trained["sizes"]}
        params["search_seconds"] = found["summary"]["seconds"] if found else 0.0
        return Entry(name, trained["valid"], evaluation, trained["seconds"], params)

    def _finish(
        self, found: Mapping[str, State], designs: Mapping[str, Any],
        trained: Mapping[str, State], entries: Mapping[str, Entry],
    ) -> RunResult:  # fmt: skip
        context, work, ours = self.context, self.work, self.work.entrants.ours
        controls = {n: e for n, e in entries.items() if n != ours}
        decision = verdict(
            f"the network of the cells {work.origin}",
            entries[ours].test,
            {name: entry.test for name, entry in controls.items()},
            {name: entry.valid[work.metric] for name, entry in controls.items()},
            work.metric,
            seed=derive_seed(self.config.seed, "verdict"),
        )
        results = Results(found, designs, trained, entries, decision, context.stages.seconds())
        document = document_of(self.config, work, results)
        if ours in found:
            write_text_atomic(context.folder / "genotype.json", found[ours]["genotype"])
        write_json_atomic(context.folder / "metrics.json", document)
        work.save(
            context.folder / "model", designs[ours], self._restored(designs[ours], trained[ours])
        )
        figures = self._figures(results)
        context.console.result(f"\n{comparison(work.metric, entries, decision)}")
        context.console.result(f"\nverdict: {decision.text}")
        context.console.line(
            f"{document['total_seconds']:.1f} s; everything is in {context.folder}"
        )
        self._record(document, figures)
        return RunResult(context.folder, document, decision)

    def _record(self, document: Mapping[str, Any], figures: Sequence[Path]) -> None:
        context = self.context
        valid = {f"valid.{name}": value for name, value in document["valid"].items()}
        context.tracker.log({**document["test"], **valid}, 0)
        context.tracker.set_tags({"genotype": document["genotype"], "verdict": document["verdict"]})
        for path in figures:
            context.tracker.log_artifact(path, "plots")
        for name in ("genotype.json", "metrics.json", "config.yaml"):
            if (context.folder / name).exists():  # given cells leave no genotype
                context.tracker.log_artifact(context.folder / name)

    def _figures(self, results: Results) -> list[Path]:
        document = self.work.figure_data(results)
        try:
            return save_and_draw(self.context.folder / "plots", document, self.work.draw)
        except ConfigError as error:
            self.context.console.line(f"left out: {error}")
            return []
