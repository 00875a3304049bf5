"""A served recommender as an MLflow model.

    log_model(recommender, registered_model_name="shop")
    mlflow models serve -m models:/shop/1 --env-manager local -p 5001

The model is the safetensors file of the recommender, a copy of this package, and the name of this
module, which loads the one with the other. Nothing is pickled. docs/how-to/serving.md shows the
questions that it answers.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INTERNAL_ERROR
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array

from sif.adapters.questions import COLUMNS, COUNT, Answering
from sif.config import did_you_mean
from sif.errors import ConfigError, SifError
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.utils.argument_types import shown

PACKAGES = (
    "mlflow", "numba", "numpy", "pandas", "pydantic", "pyyaml", "safetensors", "scipy", "torch",
    "usearch",
)  # fmt: skip
"""Packages that serving imports, numba and usearch where they are installed."""
PARAMS = (
    ParamSpec("n", DataType.long, COUNT),
    ParamSpec("filter_already_liked", DataType.boolean, True),
)
"""Parameters of a question, by which models of this package are known."""
_LONGEST = 300  # characters of an error, which may quote what was asked
_logger = logging.getLogger(__name__)


class Refused(MlflowException):  # type: ignore[misc]
    """An error whose reply is one line; the scoring server puts the whole table before others."""

    def __init__(self, message: str, code: int = BAD_REQUEST) -> None:
        self.line = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}..."
        super().__init__(self.line, error_code=code)

    def serialize_as_json(self) -> str:
        """Body of the reply."""
        return json.dumps({"error_code": self.error_code, "message": self.line})


class PyfuncRecommender:
    """The model that MLflow calls: tables of questions in, tables of answers out.

    Args:
        model: Served; of user and item alone.
    """

    def __init__(self, model: ServedModel) -> None:
        self._answering = Answering(model)

    def predict(self, table: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answers, one row per question, under `n` and `filter_already_liked`; see `Answering`.

        Raises:
            Refused: With status 400 for whatever is wrong with the questions; with 500 for a fault
                of this package, whose traceback goes to the log alone.
        """
        given = params or {}
        try:
            return self._answering.answers(table, given.get("n"), given.get("filter_already_liked"))
        except SifError as error:
            raise Refused(str(error)) from None
        except Exception as error:
            _logger.exception("a table of questions could not be answered")
            raise Refused("the questions could not be answered", INTERNAL_ERROR) from error


def _load_pyfunc(path: str) -> PyfuncRecommender:
    """MLflow's entry: reads the recommender in a model's folder."""
    _refuse_unknown_params()
    return PyfuncRecommender(ServedModel.load(Path(path)))


def _refuse_unknown_params() -> None:
    """Has MLflow refuse parameters that no recommender has, which it would leave out silently.

    It drops them before a model is asked, and has no setting for that. So its check is replaced in
    this process by one that differs for parameters of recommenders alone. Where a version of MLflow
    has no such check, it goes on as before.
    """
    enforce = getattr(mlflow.pyfunc, "_enforce_params_schema", None)
    if enforce is None or getattr(enforce, "refuses_unknown", False):
        return

    def enforced(params: Any, schema: Any) -> Any:
        names = [spec.name for spec in PARAMS]
        if isinstance(params, dict) and isinstance(schema, ParamSchema):
            ours = [spec.name for spec in schema.params] == names
            other = next((str(name) for name in params if str(name) not in names), None)
            if ours and other is not None:
                near = did_you_mean(other.lower(), names)
                told = f"expected {' or '.join(names)}, found {shown(other)}{near}"
                raise Refused(f"params: {told}")
        return enforce(params, schema)

    enforced.refuses_unknown = True  # type: ignore[attr-defined]
    mlflow.pyfunc._enforce_params_schema = enforced


def save_model(
    recommender: Recommender | str | Path, path: str | Path, mlflow_model: Model | None = None
) -> None:
    """Writes an MLflow model into a new folder, which `Recommender.load` reads as well.

    Args:
        recommender: Fitted or loaded, or the folder that `save` or a run left.
        path: The folder; must be empty or absent.
        mlflow_model: For MLflow, which calls this to log a model.

    Raises:
        ConfigError: A recommender before `fit`, or of other fields than user and item.
        CheckpointError: The folder holds no recommender that can be read.
        MlflowException: The folder is not empty.

    Examples:
        >>> from sif.adapters.mlflow_model import save_model
        >>> save_model(model, "shop")
        >>> sif.Recommender.load("shop").recommend("c1", n=2)["rank"].tolist()
        [1, 2]
    """
    if isinstance(recommender, str | Path):
        recommender = Recommender.load(recommender)
    model = recommender.fitted_model()
    if len(model.fields) != 2:
        raise ConfigError(
            f"mlflow: expected a model of user and item alone, found one of "
            f"{', '.join(model.fields)}"
        )
    with tempfile.TemporaryDirectory() as folder:
        package = shutil.copytree(
            Path(__file__).parents[1],
            Path(folder) / "sif",
            ignore=shutil.ignore_patterns(
                "__pycache__", "*.parquet", "*.js", "*.css", "*.html"
            ),  # code alone
        )
        mlflow.pyfunc.save_model(
            path,
            loader_module=__name__,
            code_paths=[str(package)],
            mlflow_model=mlflow_model,
            signature=_signature(model),
            input_example=_example(model),
            pip_requirements=requirements(),
        )
    model.save(Path(path))


def save_logged(folder: Path, made: Path, logged: Any) -> None:
    """Writes the MLflow model of a logged model that the store has made.

    Args:
        folder: That a run left.
        made: Receives the model; must be empty or absent.
        logged: The store's record of it.

    Raises:
        CheckpointError: The folder holds no recommender that can be read.
    """
    model = Model(
        artifact_path=logged.artifact_location, run_id=logged.source_run_id,
        model_uuid=logged.model_id, model_id=logged.model_id,
    )  # fmt: skip
    save_model(folder, made, model)


def log_model(
    recommender: Recommender | str | Path,
    name: str = "model",
    registered_model_name: str | None = None,
    **options: Any,
) -> Any:
    """Logs an MLflow model in the current run.

    Args:
        recommender: Fitted or loaded, or the folder that `save` or a run left.
        name: Name of the model in the run.
        registered_model_name: A version of it is made in the registry; None: none is.
        options: Further ones of `mlflow.models.Model.log`, such as `run_id` and `tags`.

    Returns:
        MLflow's `ModelInfo`, whose `model_uri` is what `mlflow models serve -m` takes.

    Raises:
        ConfigError, CheckpointError: For the reasons of `save_model`.

    Examples:
        >>> import mlflow
        >>> from sif.adapters.mlflow_model import log_model
        >>> with mlflow.start_run():  # doctest: +SKIP
        ...     info = log_model(model, registered_model_name="shop")
    """
    return Model.log(
        artifact_path=None, name=name, flavor=sys.modules[__name__], recommender=recommender,
        registered_model_name=registered_model_name, **options,
    )  # fmt: skip


def requirements() -> list[str]:
    """The installed versions of what serving imports, e.g. 'numpy==2.4.6'."""
    pinned = []
    for name in PACKAGES:
        try:
            public = version(name).partition("+")[0]  # registries have no 2.13.0+cpu
        except PackageNotFoundError:
            continue
        pinned.append(f"{name}=={public}")
    return pinned


def _signature(model: ServedModel) -> ModelSignature:
    """Columns in and out.

    Those in are of any type to MLflow, and checked here. It refuses a typed list beside the empty
    cell of a row that asks for something else, and ids that are numbers in a column of texts; and
    its words for a wrong type begin with the whole table.
    """
    texts = Array(DataType.string)
    outputs: list[tuple[str, Any]] = [("items", texts), ("scores", Array(DataType.double))]
    outputs += [("titles", texts)] if model.titles else []
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), name, required=False) for name in COLUMNS]),
        outputs=Schema([ColSpec(kind, name) for name, kind in outputs]),
        params=ParamSchema(list(PARAMS)),
    )


def _example(model: ServedModel) -> pd.DataFrame:
    """One question of each kind."""
    users, items = (vocabulary.ids[:2].tolist() for vocabulary in model.vocabularies)
    rows = [{"user": users[0]}, {"history": items}, {"item": items[0]}]
    if model.objective == "rating":
        rows[1] |= {"ratings": [model.scale.mean] * len(items)}
    names = ["user", "history", "item", *(["ratings"] if model.objective == "rating" else [])]
    cells = [[row.get(name) for name in names] for row in rows]
    return pd.DataFrame(cells, columns=names, dtype=object)
