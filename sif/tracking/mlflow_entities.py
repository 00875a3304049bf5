"""Values of a job in the form in which MLflow keeps them: source, data sets, names of metrics."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sif.tracking.base import TrackedData

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of an experiment that MLflow shows as model training; without it, it guesses.

The pages of MLflow 3.17 do not read it. They show what `TRAINING` in the address says, else what
the reader's browser remembers of the switch at their top left, else "GenAI".
"""
TRAINING = "workflowType=machine_learning"
"""Part of the address of a page that shows model training."""
COMMIT = "mlflow.source.git.commit"
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
VERSIONS = "mlflow.modelVersions"
EXTERNAL = "mlflow.model.isExternal"
_CONTEXT = "mlflow.data.context"
_LONGEST_DIGEST = 36  # characters
_LONGEST_NOTE = 8000  # characters of a tag that every store takes


def metric_name(name: str) -> str:
    """The name under which MLflow keeps a metric, e.g. 'test.ndcg_at_10' for 'test.ndcg@10'."""
    return re.sub(r"[^\w\-. /]", "_", name.replace("@", "_at_"))


def model_name(name: str) -> str:
    """The name under which MLflow keeps a model, where some signs mean something."""
    return re.sub(r"[/:.%\"']", "_", name)


def source_tags() -> dict[str, str]:
    """User, program and commit, as `mlflow.start_run` finds them."""
    from mlflow.tracking.context.registry import resolve_tags

    tags = {key: str(value) for key, value in resolve_tags().items()}
    if Path(sys.argv[0]).name == "__main__.py":
        tags["mlflow.source.name"] = Path(sys.argv[0]).parent.name  # python -m sif
    return tags


def note(text: str) -> str:
    """A description, cut to what a tag holds."""
    return text if len(text) <= _LONGEST_NOTE else f"{text[: _LONGEST_NOTE - 4]}\n..."


def dataset_input(data: TrackedData) -> Any:
    """A data set as an input of a run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    sources: Mapping[str, Mapping[str, Any]] = {
        "http": {"url": data.source}, "local": {"uri": data.source},
        "code": {"tags": {"mlflow.source.name": data.source}},
    }  # fmt: skip
    entity = Dataset(
        name=data.name,
        digest=data.digest[:_LONGEST_DIGEST],
        source_type=data.kind,
        source=json.dumps(sources[data.kind]),
        profile=json.dumps(dict(data.profile)),
    )
    return DatasetInput(entity, [InputTag(_CONTEXT, "train, valid, test")])
