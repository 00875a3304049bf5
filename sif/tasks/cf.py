"""The main job: interactions in, a searched function, its rivals, a verdict and a model out.

Stages: search; training of the searched function, of fixed multiply and of a random function, each
over the same L2 grid; one per classical baseline. Only `evaluate` sees the test part, and it sees
only models that are finished.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sif.baselines import BASELINES, fit_best
from sif.checkpoint import write_json_atomic, write_text_atomic
from sif.config import CFConfig, did_you_mean
from sif.data import Columns, Dataset, Split, load_dataset, load_split_file, make_split
from sif.errors import ConfigError, SifError
from sif.evaluate import Evaluation, evaluate
from sif.fitting import Fitted, Problem
from sif.genotype import Genotype, from_json
from sif.metrics import higher_is_better
from sif.prox import explore, initial_alpha
from sif.recommender import Recommender
from sif.runtime import Runtime, derive_seed, environment, generator
from sif.scoring import InteractionScorer
from sif.spaces.elementwise import IDENTITY
from sif.spaces.function_search import expression, network
from sif.tasks.console import Console
from sif.tasks.figures import draw_all
from sif.tasks.report import Entry, comparison_table, metrics_document
from sif.tasks.stages import LoopCheckpointer, Stages, State
from sif.tracking import Tracker
from sif.verdict import Verdict, verdict

SEARCHED, FIXED, RANDOM = "searched", "fixed-multiply", "random-function"
PROTOCOL = {"ranking": "ranking-per-user", "rating": "rating-80/10/10"}
NO_DOWNLOAD = (
    "dataset planted: generated here with a known interaction function; for real data: "
    "--dataset ml-100k (downloads), or a CSV, TSV, Parquet or .inter file; "
    "the paper's setting: --dataset ml-100k --config cf/sif-paper"
)


@dataclass(frozen=True)
class RunResult:
    """What a finished job says.

    Attributes:
        folder: The run folder.
        metrics: The content of metrics.json.
        verdict: In words and figures.
    """

    folder: Path
    metrics: dict[str, Any]
    verdict: Verdict


def load_data(config: CFConfig) -> tuple[Dataset | None, Split]:
    """The data set (None where a split file says it all) and its split.

    Raises:
        DataError, ConfigError: See `sif.data`.
    """
    data = config.data
    columns = Columns(
        user=data.user, item=data.item, rating=data.rating,
        timestamp=data.timestamp, separator=data.separator,
    )  # fmt: skip
    if data.split_file is not None and config.dataset == "planted":
        return None, load_split_file(data.split_file, columns=columns)
    kind = "clicks" if config.objective == "ranking" else "ratings"
    dataset = load_dataset(
        config.dataset,
        data_dir=data.dir,
        columns=columns,
        min_rating=data.min_rating,
        min_user=data.min_user,
        min_item=data.min_item,
        duplicates=data.duplicates,
        planted={**data.planted.model_dump(), "seed": config.seed, "kind": kind},
    )
    if data.split_file is not None:
        titles = dataset.interactions.titles
        return dataset, load_split_file(data.split_file, titles, columns)
    protocol = data.protocol or PROTOCOL[config.objective]
    return dataset, make_split(dataset, protocol, config.seed)


def chosen_baselines(config: CFConfig) -> list[str]:
    """Names of the classical baselines to train; ConfigError for an unknown or unfit one."""
    fit = [n for n, b in BASELINES.items() if config.objective in b.objectives]
    if config.baselines == ("all",):
        return fit
    for name in config.baselines:
        if name not in BASELINES:
            raise ConfigError(
                f"baselines: unknown {name!r}{did_you_mean(name, BASELINES)}; "
                f"expected all or some of {', '.join(fit)}"
            )
        if name not in fit:
            raise ConfigError(
                f"baselines: {name!r} does not serve objective {config.objective!r}; "
                f"expected some of {', '.join(fit)}"
            )
    return list(config.baselines)


class Job:
    """One run of the main job over its run folder."""

    def __init__(
        self, config: CFConfig, folder: Path, runtime: Runtime, console: Console, tracker: Tracker,
        stages: Stages, loaded: tuple[Dataset | None, Split],
    ) -> None:  # fmt: skip
        self.config, self.folder, self.runtime = config, folder, runtime
        self.console, self.tracker, self.stages = console, tracker, stages
        self.dataset, self.split = loaded
        self.problem = Problem(self.split.train, self.split.valid, config, runtime)
        self.metric = self.problem.metric

    @property
    def label(self) -> str:
        """What the data are called."""
        return self.dataset.name if self.dataset else Path(str(self.config.data.split_file)).stem

    def run(self) -> RunResult:
        """All stages, then the verdict and everything that is left behind."""
        start = time.perf_counter()
        self._announce()
        found = self.stages.run("search", self._search)
        genotypes = {
            SEARCHED: from_json(found["genotype"]),
            FIXED: fixed_multiply(self.problem),
            RANDOM: random_function(self.problem),
        }
        ours = {name: self._train_grid(name, genotype) for name, genotype in genotypes.items()}
        entries = {name: self._entry(name, genotypes[name], ours[name]) for name in genotypes}
        for name in chosen_baselines(self.config):
            entry = self._baseline(name)
            if entry is not None:
                entries[name] = entry
        seconds = time.perf_counter() - start
        return self._finish(found, genotypes[SEARCHED], ours, entries, seconds)

    def _announce(self) -> None:
        split, config = self.split, self.config
        if config.dataset == "planted" and config.data.split_file is None:
            self.console.line(NO_DOWNLOAD)
        sizes = ", ".join(
            f"{size:,} {f}s"
            for f, size in zip(split.interactions.fields, split.interactions.sizes, strict=True)
        )
        parts = f"{len(split.train):,} / {len(split.valid):,} / {len(split.test):,}"
        self.console.line(
            f"{self.label}: {len(split.interactions):,} interactions, {sizes}; "
            f"{split.protocol}, train / valid / test {parts}, split {split.hash}"
        )
        for note in [*(self.dataset.notes if self.dataset else []), *split.notes]:
            self.console.line(f"note: {note}")
        self.tracker.log_params(config.model_dump(mode="json"))
        self.tracker.set_tags(
            {
                "task": "cf",
                "dataset": self.label,
                "dataset_hash": self.dataset.hash if self.dataset else split.hash,
                "split_hash": split.hash,
                "protocol": split.protocol,
                "git_commit": str(environment(self.runtime)["git_commit"]),
            }
        )

    def _search(self, checkpointer: LoopCheckpointer) -> State:
        total = self.config.search.epochs

        def show(epoch: int, entry: Mapping[str, Any]) -> None:
            block, chosen = next(iter(entry["selection"].items()))
            leader = operations[block][chosen[0]]
            self.console.progress("search", epoch, total, f"loss {entry['loss']:.4f} {leader}")

        operations = {b.name: b.operations for b in self.problem.space().blocks}
        child = self.tracker.child("search")
        result = self.problem.search(child, checkpointer, show)
        text = expression(result.genotype, self.problem.fields)
        diagnostics = result.diagnostics
        self.console.line(
            f"search: {text} after {result.epochs} epochs in {result.seconds:.1f} s "
            f"({diagnostics['flips']:.0f} changes of mind, margin {diagnostics['margin']:.2f})"
        )
        child.log({**diagnostics, "valid_loss": result.valid_loss}, result.epochs)
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
                "seconds": result.seconds, "epochs": result.epochs, "steps": result.steps,
                "peak_memory_mb": peak_memory_mb(self.runtime),
            },
        }  # fmt: skip

    def _train_grid(self, name: str, genotype: Genotype) -> State:
        """Trains with every L2 strength; the state of the best by validation."""
        states = []
        for place, l2 in enumerate(self.config.train.l2):
            work = partial(self._train, name, place, l2, genotype)
            states.append(self.stages.run(f"{name}-{place}", work))
        sign = 1 if higher_is_better(self.metric) else -1
        best = max(states, key=lambda s: sign * s["valid"][self.metric])
        self.console.line(
            f"{name}: {expression(genotype, self.problem.fields)}, valid {self.metric} "
            f"{best['valid'][self.metric]:.4f} with L2 {best['l2']:g} "
            f"({sum(s['seconds'] for s in states):.1f} s for {len(states)} strengths)"
        )
        return best

    def _train(
        self, name: str, place: int, l2: float, genotype: Genotype, checkpointer: LoopCheckpointer
    ) -> State:
        total = self.config.train.epochs

        def show(epoch: int, metrics: Mapping[str, float]) -> None:
            best = f"best valid {self.metric} {metrics[self.metric]:.4f}"
            self.console.progress(f"{name} L2 {l2:g}", epoch, total, best)

        child = self.tracker.child(f"retrain-{name}-{place}")
        child.log_params({"l2": l2, "function": name})
        fitted: Fitted = self.problem.train(genotype, l2, child, checkpointer, show)
        child.close()
        result = fitted.result
        return {
            "network": fitted.network.state_dict(),
            "l2": l2,
            "valid": result.valid,
            "history": result.history,
            "seconds": result.seconds,
            "epochs": result.epochs,
            "best_epoch": result.best_epoch,
        }

    def restored(self, genotype: Genotype, state: State) -> InteractionScorer:
        """The scorer of a finished training."""
        shape = self.problem.shape(self.config.train.dimension)
        net = network(genotype, shape, self.problem.fields, torch.Generator())
        net.load_state_dict(state["network"])
        net.to(self.runtime.device, self.runtime.dtype)
        return InteractionScorer(net, self.problem.scale)

    def _entry(self, name: str, genotype: Genotype, state: State) -> Entry:
        found = evaluate(self.restored(genotype, state), self.split, "test", self.config.objective)
        entry = Entry(name, state["valid"], found, state["seconds"], {"l2": state["l2"]})
        self._track_result(f"test-{name}", entry, expression(genotype, self.problem.fields))
        return entry

    def _baseline(self, name: str) -> Entry | None:
        try:
            state = self.stages.run(f"baseline-{name}", lambda _: self._fit_baseline(name))
        except SifError as error:
            self.console.line(f"baseline {name} left out: {error}")
            return None
        entry = Entry(
            name, state["valid"], Evaluation(**state["test"]), state["seconds"], state["params"]
        )
        self.console.line(
            f"baseline {name}: valid {self.metric} {entry.valid[self.metric]:.4f} "
            f"({entry.seconds:.1f} s for its grid)"
        )
        return entry

    def _fit_baseline(self, name: str) -> State:
        fitted = fit_best(
            BASELINES[name], self.split.train, self.split.valid, self.config.objective,
            seed=derive_seed(self.config.seed, "baseline", name), threads=self.runtime.threads,
        )  # fmt: skip
        found = evaluate(fitted.scorer, self.split, "test", self.config.objective)
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
        child.set_tags({"genotype": function, "dataset": self.label})
        child.log(entry.flat(), 0)
        child.close()

    def _finish(
        self, found: State, genotype: Genotype, ours: Mapping[str, State],
        entries: dict[str, Entry], seconds: float,
    ) -> RunResult:  # fmt: skip
        rivals = {n: e for n, e in entries.items() if n != SEARCHED}
        text = expression(genotype, self.problem.fields)
        decision = verdict(
            text,
            entries[SEARCHED].test,
            {name: entry.test for name, entry in rivals.items()},
            {name: entry.valid[self.metric] for name, entry in rivals.items()},
            self.metric,
            seed=derive_seed(self.config.seed, "verdict"),
        )
        document = metrics_document(
            self.config, self.label, self.split, text, entries, decision, found, ours[SEARCHED],
            seconds,
        )  # fmt: skip
        write_text_atomic(self.folder / "genotype.json", genotype.to_json())
        write_json_atomic(self.folder / "metrics.json", document)
        self._save_model(genotype, ours[SEARCHED])
        figures = draw_all(self.folder / "plots", self.problem, found, genotype, ours, entries,
                           decision)  # fmt: skip
        self.console.result("")
        self.console.result(comparison_table(entries, self.config.objective, decision))
        self.console.result(f"\nverdict: {decision.text}")
        self.console.line(f"{seconds:.1f} s; everything is in {self.folder}")
        self._track_end(document, figures)
        return RunResult(self.folder, document, decision)

    def _save_model(self, genotype: Genotype, state: State) -> None:
        scorer = self.restored(genotype, state)
        shape = self.problem.shape(self.config.train.dimension)
        Recommender(
            genotype, scorer.network, shape, self.split.interactions, self.problem.scale
        ).save(self.folder / "model")

    def _track_end(self, document: Mapping[str, Any], figures: list[Path]) -> None:
        valid = {f"valid.{name}": value for name, value in document["valid"].items()}
        self.tracker.log({**document["test"], **valid}, 0)
        self.tracker.set_tags({"genotype": document["genotype"], "verdict": document["verdict"]})
        for path in figures:
            self.tracker.log_artifact(path, "plots")
        for name in ("genotype.json", "metrics.json", "config.yaml"):
            self.tracker.log_artifact(self.folder / name)
        self.tracker.log_artifact(self.folder / "model")


def fixed_multiply(problem: Problem) -> Genotype:
    """The function that nobody has to search for: the product of the embeddings."""
    names = dict.fromkeys(problem.fields, ((0, IDENTITY),))
    return Genotype("primitives", {"operation": ((0, "multiply"),), **names})


def random_function(problem: Problem) -> Genotype:
    """A uniform draw from the searched space, with its transforms as they start."""
    space = problem.space()
    draws = generator(problem.runtime, "random function", device=torch.device("cpu"))
    return space.genotype(explore(initial_alpha(space.blocks, draws), space.blocks, 1.0, draws))


def peak_memory_mb(runtime: Runtime) -> float:
    """Peak memory so far: of the device, or of the process on the CPU (MB)."""
    if runtime.device.type == "cuda":
        return torch.cuda.max_memory_allocated(runtime.device) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
