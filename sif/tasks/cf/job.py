"""The main job: interactions in, a searched function, its rivals, a verdict and a model out.

Stages: training of fixed multiply, whose L2 strength tells the search how much the data want;
search; training of the searched function and of its rivals, by default fixed multiply and a random
function, each over the same L2 grid, after which validation may prefer fixed multiply to
what was found; one per classical baseline. Only `evaluate` sees the test part, and it sees only
models that are finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sif.baselines import BASELINES, fit_best
from sif.config import CFConfig
from sif.core.genotype import Genotype, from_json
from sif.errors import ConfigError, DataError
from sif.evaluation.comparison import Verdict, verdict
from sif.evaluation.evaluate import Evaluation, evaluate
from sif.problems.controls import (
    FIXED,
    SEARCHED,
    fixed_multiply,
    restored,
    trained_alike,
    trained_network,
)
from sif.problems.l2_grid import GridTraining, follows, search_strength
from sif.recommender.model import ServedModel
from sif.spaces.interaction.design import expression
from sif.tasks.base import JobContext, RunResult
from sif.tasks.cf.figures import draw_all
from sif.tasks.cf.inputs import Inputs, load_data
from sif.tasks.cf.splits import flat_groups, group_documents, group_table, with_groups
from sif.tasks.checkpoint import LoopCheckpointer, State
from sif.tasks.report import Entry, comparison_table, metrics_document
from sif.utils.checkpoint import write_json_atomic, write_text_atomic
from sif.utils.device import Runtime, peak_memory_mb
from sif.utils.environment import environment
from sif.utils.random import derive_seed

NO_DOWNLOAD = (
    "dataset planted: generated here with a known interaction function; for real data: "
    "--dataset ml-100k (downloads), or a CSV, TSV, Parquet or .inter file; "
    "the paper's setting: --dataset ml-100k --config cf/sif-paper"
)


class CFJob:
    """One run of the main job over its run folder."""

    def __init__(self, config: CFConfig, inputs: Inputs, context: JobContext) -> None:
        self.config, self.folder, self.runtime = config, context.folder, context.runtime
        self.console, self.tracker, self.stages = context.console, context.tracker, context.stages
        self.inputs, self.problem = inputs, inputs.problem
        self.metric = self.problem.metric

    def run(self) -> RunResult:
        """All stages, then the verdict and everything that is left behind."""
        self._announce()
        grid = GridTraining(
            self.config.train, self.problem, self.stages, self.console, self.tracker
        )
        known = self._fixed(grid)
        l2 = self._strength(known)
        found = self.stages.run("search", partial(self._search, l2))
        found["summary"] |= {"l2": l2, "l2_seconds": sum(s["seconds"] for s in known.values())}
        genotypes = trained_alike(self.problem, from_json(found["genotype"]), self.config.controls)
        ours = {
            name: known.get(name) or grid.train(name, genotype)
            for name, genotype in genotypes.items()
        }
        if FIXED in ours and grid.better(ours[FIXED], ours[SEARCHED]):
            self._keep_fixed(genotypes, ours)
        entries = {name: self._tested(name, genotypes[name], ours[name]) for name in genotypes}
        entries |= self._baselines()
        return self._finish(found, genotypes[SEARCHED], ours, entries)

    def _fixed(self, grid: GridTraining) -> dict[str, State]:
        """Fixed multiply, trained where the search follows its L2 strength; else nothing."""
        if not follows(self.config, self.problem.spec):
            return {}
        return {FIXED: grid.train(FIXED, fixed_multiply(self.problem))}

    def _strength(self, known: Mapping[str, State]) -> float:
        """What to search with."""
        l2 = self.config.search.l2
        if FIXED in known:
            l2 = search_strength(self.config, known[FIXED]["prefers"])
        if l2 != self.config.search.l2:
            self.console.line(f"note: search.l2 {self.config.search.l2:g} becomes {l2:g}")
        return l2

    def _keep_fixed(self, genotypes: dict[str, Genotype], ours: dict[str, State]) -> None:
        """Validation has the last word: nobody is served a function that it likes less."""
        fixed, found = (
            f"{expression(genotypes[name], self.problem.fields)} "
            f"({ours[name]['valid'][self.metric]:.4f})"
            for name in (FIXED, SEARCHED)
        )
        self.console.line(f"kept: {fixed}, which validation prefers to the found {found}")
        spent = {"seconds": ours[SEARCHED]["seconds"]}  # what the found function cost stays told
        genotypes[SEARCHED], ours[SEARCHED] = genotypes[FIXED], ours[FIXED] | spent

    def _announce(self) -> None:
        split, config = self.inputs.split, self.config
        if config.dataset == "planted" and config.data.split_file is None:
            self.console.line(NO_DOWNLOAD)
        sizes = ", ".join(
            f"{size:,} {f}s"
            for f, size in zip(split.interactions.fields, split.interactions.sizes, strict=True)
        )
        parts = f"{len(split.train):,} / {len(split.valid):,} / {len(split.test):,}"
        self.console.line(
            f"{self.inputs.label}: {len(split.interactions):,} interactions, {sizes}; "
            f"{split.protocol}, train / valid / test {parts}, split {split.hash}"
        )
        for note in self.inputs.notes:
            self.console.line(f"note: {note}")
        if self.problem.spec.stages and self.problem.stages != config.search.stages:
            self.console.line(
                f"note: large train part: searched are {', '.join(self.problem.stages)}, "
                f"not {', '.join(config.search.stages)}"
            )
        self.tracker.log_params(config.model_dump(mode="json"))
        self.tracker.set_tags(
            {
                "task": "cf",
                "dataset": self.inputs.label,
                "dataset_hash": self.inputs.data_hash,
                "split_hash": split.hash,
                "protocol": split.protocol,
                "git_commit": str(environment(self.runtime)["git_commit"]),
            }
        )

    def _search(self, l2: float, checkpointer: LoopCheckpointer) -> State:
        total = self.config.search.epochs

        def show(epoch: int, entry: Mapping[str, Any]) -> None:
            leaders = [
                operations[block][k] for block, chosen in entry["selection"].items() for k in chosen
            ]
            told = f"loss {entry['loss']:.4f} {' '.join(leaders)}"
            self.console.progress("search", epoch, max(epoch, total), told)

        operations = {b.name: b.operations for b in self.problem.searched.space().blocks}
        child = self.tracker.child("search")
        result = self.problem.search(child, checkpointer, show, l2)
        text = expression(result.genotype, self.problem.fields)
        diagnostics = result.diagnostics
        self.console.line(
            f"search: {text} after {result.epochs} epochs in {result.seconds:.1f} s "
            f"({diagnostics['flips']:.0f} changes of mind, margin {diagnostics['margin']:.2f})"
        )
        child.log({**diagnostics, "found_valid_loss": result.valid_loss}, 0)
        child.set_tags({"genotype": text})
        child.close()
        return {
            "genotype": result.genotype.to_json(),
            "valid_loss": result.valid_loss,
            "diagnostics": diagnostics,
            "trained": result.trained,
            "history": result.history,
            "operations": {name: list(ops) for name, ops in operations.items()},
            "summary": {
                "seconds": result.seconds, "cpu_seconds": result.cpu_seconds,
                "epochs": result.epochs, "steps": result.steps,
                "peak_memory_mb": peak_memory_mb(self.runtime),
            },
        }  # fmt: skip

    def _tested(self, name: str, genotype: Genotype, state: State) -> Entry:
        def test(_: LoopCheckpointer) -> State:
            scorer = restored(self.problem, genotype, state["network"])
            found = evaluate(scorer, self.inputs.split, "test", self.config.objective)
            entry = self._entry_of(name, state, vars(found), {"l2": state["l2"]})
            self._track_result(f"test-{name}", entry, expression(genotype, self.problem.fields))
            return vars(found)

        found = self.stages.run(f"test-{name}", test)
        return self._entry_of(name, state, found, {"l2": state["l2"]})

    @staticmethod
    def _entry_of(name: str, state: State, test: State, params: State) -> Entry:
        return Entry(name, state["valid"], Evaluation(**test), state["seconds"], params)

    def _baselines(self) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        left_out: dict[str, list[str]] = {}
        for name in self.inputs.baselines:
            try:
                entries[name] = self._baseline(name)
            except (ConfigError, DataError) as error:
                left_out.setdefault(str(error), []).append(name)
        for reason, names in left_out.items():
            self.console.line(f"left out: baselines {', '.join(names)}: {reason}")
        return entries

    def _baseline(self, name: str) -> Entry:
        state = self.stages.run(f"baseline-{name}", lambda _: self._fit_baseline(name))
        entry = self._entry_of(name, state, state["test"], state["params"])
        self.console.line(
            f"baseline {name}: valid {self.metric} {entry.valid[self.metric]:.4f} "
            f"({entry.seconds:.1f} s for its grid)"
        )
        return entry

    def _fit_baseline(self, name: str) -> State:
        split = self.inputs.split
        fitted = fit_best(
            BASELINES[name], split.train, split.valid, self.config.objective,
            seed=derive_seed(self.config.seed, "baseline", name), threads=self.runtime.threads,
        )  # fmt: skip
        found = evaluate(fitted.scorer, split, "test", self.config.objective)
        entry = Entry(name, fitted.valid.metrics, found, fitted.seconds, dict(fitted.params))
        self._track_result(f"baseline-{name}", entry, name)
        return {
            "valid": entry.valid,
            "test": vars(found),
            "seconds": entry.seconds,
            "params": entry.params,
        }

    def _track_result(self, child_name: str, entry: Entry, function: str) -> None:
        child = self.tracker.child(child_name)
        child.log_params(entry.params)
        child.set_tags({"genotype": function, "dataset": self.inputs.label})
        groups = flat_groups(group_documents(entry.test, self.inputs.split))
        child.log({**entry.flat(), **groups}, 0)
        child.close()

    def _finish(
        self, found: State, genotype: Genotype, ours: Mapping[str, State],
        entries: dict[str, Entry],
    ) -> RunResult:  # fmt: skip
        controls = {n: e for n, e in entries.items() if n != SEARCHED}
        text = expression(genotype, self.problem.fields)
        decision = verdict(
            text,
            entries[SEARCHED].test,
            {name: entry.test for name, entry in controls.items()},
            {name: entry.valid[self.metric] for name, entry in controls.items()},
            self.metric,
            seed=derive_seed(self.config.seed, "verdict"),
        )
        seconds = self.stages.seconds()
        document = metrics_document(
            self.config, self.inputs.label, self.inputs.split, text, entries, decision, found,
            ours[SEARCHED], seconds,
        )  # fmt: skip
        document = with_groups(document, entries, self.inputs.split)
        write_text_atomic(self.folder / "genotype.json", genotype.to_json())
        write_json_atomic(self.folder / "metrics.json", document)
        self._save_model(genotype, ours[SEARCHED])
        figures = self._figures(found, genotype, ours, entries, decision)
        self.console.result("")
        self.console.result(comparison_table(entries, self.config.objective, decision))
        if groups := group_table(entries, self.inputs.split, decision, self.metric):
            self.console.result(f"\n{groups}")
        self.console.result(f"\nverdict: {decision.text}")
        self.console.line(f"{seconds:.1f} s; everything is in {self.folder}")
        self._track_end(document, figures)
        return RunResult(self.folder, document, decision)

    def _save_model(self, genotype: Genotype, state: State) -> None:
        trained = trained_network(self.problem, genotype, state["network"])
        known = self.inputs.split.interactions
        model = ServedModel.of(self.problem, genotype, trained, state["l2"], known)
        model.save(self.folder / "model")
        if not model.is_personalized:
            self.console.line(
                f"note: {model.expression} ranks items alike for all users; its recommendations "
                "are refused"
            )

    def _figures(
        self, found: State, genotype: Genotype, ours: Mapping[str, State],
        entries: dict[str, Entry], decision: Verdict,
    ) -> list[Path]:  # fmt: skip
        folder = self.folder / "plots"
        try:
            return draw_all(
                folder, self.problem, found, genotype, ours, entries, decision, self.inputs.split
            )
        except ConfigError as error:
            self.console.line(f"left out: {error}")
            return []

    def _track_end(self, document: Mapping[str, Any], figures: list[Path]) -> None:
        valid = {f"valid.{name}": value for name, value in document["valid"].items()}
        groups = flat_groups(document["groups"])
        self.tracker.log({**document["test"], **valid, **groups}, 0)
        self.tracker.set_tags({"genotype": document["genotype"], "verdict": document["verdict"]})
        for path in figures:
            self.tracker.log_artifact(path, "plots")
        for name in ("genotype.json", "metrics.json", "config.yaml"):
            self.tracker.log_artifact(self.folder / name)
        self._track_model()

    def _track_model(self) -> None:
        """The recommender, in a form that MLflow serves where it can."""
        name, folder = self.config.tracking.register_as, self.folder / "model"
        if len(self.problem.fields) == 2:
            self.tracker.log_model(lambda made: _save_servable(folder, made), "model", name)
            return
        self.tracker.log_artifact(folder, "model")
        if name is not None:
            told = ", ".join(self.problem.fields)
            self.console.line(f"left out: registering {name}: MLflow serves no model of {told}")


def _save_servable(model: Path, made: Path) -> None:
    from sif.adapters.mlflow_model import save_model

    save_model(model, made)


def evaluate_again(config: CFConfig, runtime: Runtime, folder: Path) -> dict[str, float]:
    """Test metrics of the recommender that a finished run saved.

    Raises:
        CheckpointError, DataError: The recommender or the interactions cannot be read.
    """
    _, split = load_data(config)
    model = ServedModel.load(folder / "model")
    return dict(evaluate(model.scorer, split, "test", config.objective).metrics)
