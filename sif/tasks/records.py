"""The records of a job in its tracker: data, parameters, results, descriptions, the model."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sif.data.recipe import list_datasets
from sif.problems.base import Trained
from sif.tasks.base import Entry, Found, JobContext, Results
from sif.tasks.console import markdown_table
from sif.tasks.study import Study
from sif.tasks.summary import comparison_notes, comparison_rows
from sif.tracking import COMMON, Introduction, TrackedData, TrackedModel, Tracker

_FILES = ("report.html", "genotype.json", "metrics.json", "config.yaml")
"""Files of the run folder that go into the store, where they are there."""
_SEARCH = ("loss", "valid_loss", "seconds")
"""Numbers of a search that its entrant shows as curves."""


def introduction(study: Study, commit: str | None) -> Introduction:
    """The data and the parameters of a job, before its work.

    Args:
        study: The job's.
        commit: Of this program, as `sif.utils.environment` tells it.
    """
    ours, config = study.entrants.ours, study.config
    common = {"dataset": study.label, "protocol": study.split_name, "seed": config.seed}
    entrants = (*study.entrants.methods, *study.entrants.given, *study.baselines)
    return Introduction(
        _tracked_data(study),
        common,
        {name: study.facts(name) for name in (ours, *entrants)},
        None if commit is None else commit.partition("+")[0],
    )


def _tracked_data(study: Study) -> TrackedData:
    """The data set with its address, its path, or the name of what generates it."""
    name = study.config.dataset
    recipe = list_datasets().get(name)
    data = partial(TrackedData, study.label, study.data_hash, profile=study.profile)
    file = getattr(getattr(study.config, "data", None), "split_file", None)
    if file is not None:
        return data("local", str(file))
    if recipe is None:
        return data("local", name)
    return data("http", recipe.url) if recipe.url else data("code", f"sif: {name}")


class JobRecords:
    """The records of one job in its tracker.

    Args:
        study: The job's.
        context: With the tracker and the run folder.
    """

    def __init__(self, study: Study, context: JobContext) -> None:
        self._study, self._context = study, context

    @property
    def _tracker(self) -> Tracker:
        return self._context.tracker

    def announce(self, commit: str | None) -> None:
        """Settings, and tags of the data."""
        study, tracker = self._study, self._tracker
        facts = study.facts(study.entrants.ours)
        tracker.log_params({key: facts[key] for key in ("space", "method", "dimension")
                            if key in facts})  # fmt: skip
        tracker.log_params(study.config.model_dump(mode="json"))
        tracker.set_tags(
            {
                "task": study.task,
                "dataset": study.label,
                "dataset_hash": study.data_hash,
                "split_hash": study.split_hash,
                "protocol": study.split_name,
                "git_commit": str(commit),
            }
        )

    def begin(self, stage: str, name: str) -> None:
        """The work of an entrant begins, which takes one stage alone."""
        self._tracker.child(stage, name)

    def network(
        self, entry: Entry, expression: str, trained: Trained[Any], found: Found | None
    ) -> None:
        """An entrant's network once it is tested; its curves once more beside the result."""
        curves = {"training": _training_curve(trained)}
        if found is not None:
            curves["search"] = _search_curve(found)
        self._entrant(f"test-{entry.name}", entry, expression, curves)

    def baseline(self, entry: Entry) -> None:
        """A baseline once it is tested."""
        self._entrant(f"baseline-{entry.name}", entry, entry.name, {})

    def _entrant(
        self, stage: str, entry: Entry, expression: str,
        curves: Mapping[str, Sequence[Mapping[str, float]]],
    ) -> None:  # fmt: skip
        study = self._study
        child = self._tracker.child(stage, entry.name)
        child.log_params(_params(entry))
        child.set_tags({"genotype": expression, "dataset": study.label})
        child.describe(self._told(entry, expression))
        child.log({**entry.flat(), **study.further_numbers(entry.test)}, 0)
        for part, history in curves.items():
            child.log_curve(part, history)
        child.close()

    def _told(self, entry: Entry, expression: str) -> str:
        """An entrant on one line."""
        shown, problem = self._study.problem.shown, self._study.problem
        told = f"valid {shown} {entry.valid[shown]:{problem.format}}{problem.unit}"
        if entry.name in self._study.baselines:
            return f"baseline {entry.name}: {told}"
        return f"{as_markdown(expression)}: {told}"

    def end(self, document: Mapping[str, Any], results: Results, figures: Sequence[Path]) -> None:
        """Results, files and the model."""
        tracker, folder, study = self._tracker, self._context.folder, self._study
        ours = study.entrants.ours
        entry = results.entries[ours]
        further = {**study.further_numbers(entry.test), "total_seconds": results.seconds}
        tracker.log({**entry.flat(), **further}, 0)
        if ours in results.trained:
            tracker.log_curve("training", _training_curve(results.trained[ours]))
        if ours in results.found:
            tracker.log_curve("search", _search_curve(results.found[ours]))
        facts = {"entrant": document["entrant"], **study.facts(ours), **_params(entry)}
        tracker.log_params({key: facts[key] for key in ("entrant", "l2") if key in facts})
        tags = {"genotype": document["genotype"], "verdict": document["verdict"]}
        if "served" in document:
            tags["served"] = document["served"]["expression"]
        if "features" in document:
            tags |= feature_tags(document["features"])
            tracker.log(feature_numbers(document["features"]), 0)
        tracker.set_tags(tags)
        tracker.describe(description(study, results, document, folder))
        for path in figures:
            tracker.log_artifact(path, "plots")
        for name in _FILES:
            if (folder / name).exists():  # given designs leave no genotype
                tracker.log_artifact(folder / name)
        served = ours if results.choice is None else results.choice.name
        self._model(results.entries[served], results.named(served, ours), document)
        for one in results.entries.values():
            self._name_model(one, results)
        if tracker.page is not None:
            self._context.console.line(f"MLflow: {tracker.page}")

    def _model(self, entry: Entry, name: str, document: Mapping[str, Any]) -> None:
        """The model that is served, with the metrics of the entrant that it is of."""
        study, folder = self._study, self._context.folder / "model"
        tracking = study.config.tracking
        registered = tracking.register_as
        if registered is not None and (reason := study.refuses_to_register()):
            self._context.console.line(f"left out: registering {registered}: {reason}")
            registered = None
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        apart = registered is None and size > tracking.model_mb * 2**20
        if apart:
            self._context.console.line(
                f"the model stays in the run folder and is named in MLflow: {size / 2**20:.0f} MB, "
                f"and tracking.model_mb is {tracking.model_mb:g}"
            )
        expression = document.get("served", document).get("expression", document["genotype"])
        self._tracker.log_model(
            TrackedModel(
                name,
                None if apart else partial(study.write_model, folder),
                params=self._of_model(entry, name),
                metrics=entry.flat(),
                tags={"expression": expression, "folder": str(folder.absolute())},
                registered=registered,
            )
        )

    def _name_model(self, entry: Entry, results: Results) -> None:
        """The model of an entrant; a store shows that of the job in the job's run alone."""
        study, name = self._study, entry.name
        expression = study.expression(results.designs[name]) if name in results.designs else name
        self._tracker.log_model(
            TrackedModel(
                name,
                name=name,
                served=False,
                params=self._of_model(entry, name),
                metrics=entry.flat(),
                tags={"expression": expression, "kept": "only if the job serves it"},
            )
        )

    def _of_model(self, entry: Entry, name: str) -> dict[str, Any]:
        """Parameters of an entrant's model."""
        return {"entrant": name, **self._study.facts(name), **_params(entry)}


def _params(entry: Entry) -> dict[str, Any]:
    """Choices of validation and sizes of a model.

    Those that not all models have come behind `COMMON`, by the alphabet: MLflow begins a comparison
    with the first three that differ, and a line without one of them would be no line.
    """
    return {key if key in COMMON else f"own.{key}": value for key, value in entry.params.items()}


def _training_curve(trained: Trained[Any]) -> list[dict[str, float]]:
    """Loss and validation of each epoch that was judged."""
    metrics = trained.result.valid
    return [
        {f"valid.{key}" if key in metrics else key: value for key, value in entry.items()}
        for entry in trained.result.history
    ]


def _search_curve(found: Found) -> list[dict[str, float]]:
    """Losses of each epoch, or of whatever the method counts."""
    return [
        {"epoch": count, **{key: one[key] for key in _SEARCH if one.get(key) is not None}}
        for count, one in enumerate(found.history, 1)
    ]


def feature_tags(features: Mapping[str, Any]) -> dict[str, str]:
    """The trials of features, for a job's run."""
    served = "used by the served model" if features["served"]["uses"] else "not used"
    return {"features": served, "features_told": features["text"]}


def feature_numbers(features: Mapping[str, Any]) -> dict[str, float]:
    """Validation with features and without, of each kind of design that was tried with them."""
    found = {"features.used": float(features["served"]["uses"])}
    for kind, one in features["kinds"].items():
        name = f"features.{kind.replace(' ', '_')}"
        found |= {f"{name}.{key}": float(one[key]) for key in ("with", "without", "lead", "kept")
                  if key in one and "metric" in one}  # fmt: skip
    return found


def code(text: str) -> str:
    """Text from outside in markdown, where none of its characters means anything."""
    return f"`{text.replace('`', chr(39))}`"


def description(
    study: Study, results: Results, document: Mapping[str, Any], folder: Path
) -> str:  # fmt: skip
    """A finished job in markdown: its verdict first, its table, and the command that repeats it."""
    folder = folder.absolute()  # who reads this is somewhere else
    config = shlex.quote(str(folder / "config.yaml"))
    again = shlex.quote(f"{folder}-again")
    served = document.get("served")
    lines = [f"{as_markdown(results.verdict.text)}."]
    if results.searching is not None:
        lines.append(f"**Search**: {as_markdown(results.searching.text)}.")
    ours = results.found.get(study.entrants.ours)
    if ours is not None:
        design = study.problem.design(ours.genotype)
        lines.append(f"**Found**: {code(study.expression(design))} by {document['method']}.")
    if served is not None:
        lines.append(f"**Served**: {code(served['expression'])}: {as_markdown(served['rule'])}.")
    if "features" in document:
        lines.append(f"**Features**: {as_markdown(document['features']['text'])}")
    header, rows = comparison_rows(study, results)
    lines.append(markdown_table(header, [[as_markdown(cell) for cell in row] for row in rows]))
    notes = "\n".join(comparison_notes(study, results)).splitlines()
    lines.append("\n".join(f"- {as_markdown(line)}" for line in notes))
    command = f"python -m sif run --config {config} --output-dir {again}"
    lines.append(f"To repeat it:\n\n    {command}")
    return "\n\n".join(lines)


_SIGNS = re.compile(r"[\\`*<>\[\]]|(?<!\w)_|_(?!\w)|^[+#-]")
"""Characters that markdown or a browser would take for its own."""


def as_markdown(text: str) -> str:
    """Text from outside as it is, on one line."""
    html = {"<": "&lt;", ">": "&gt;"}
    line = " ".join(text.split())
    return _SIGNS.sub(lambda sign: html.get(sign[0], f"\\{sign[0]}"), line)
