"""MLflow: one run per job, a nested run per stage, written in batches through the client.

Without a URI it uses the store that a bare `mlflow ui` in the same working directory shows. Any
failure of the store (server down, full, refused) is reported once on stderr; after it nothing more
is sent.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sif.config.loading import dotted
from sif.errors import TrackingError
from sif.tracking.base import Status, Tracker, TrackerState
from sif.utils.addresses import revealed
from sif.utils.locks import locked

_RUN_ID = "mlflow_run_id"
_BATCH = 1000  # metrics per request, MLflow's limit
_PARAMS = 100  # parameters per request, MLflow's limit
_REACHED = 1.5  # seconds in which a store must answer before the job
_SECONDS = 5.0  # longest time a metric waits for its batch
# Environment variables of MLflow, unless the user has set them. Its own retries wait minutes for a
# server that is down; the first request finds out within seconds, later ones may take longer.
_QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "GIT_PYTHON_REFRESH": "quiet"}
_RETRIES, _TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
_FIRST_REQUEST = {_RETRIES: "0", _TIMEOUT: "4"}
_LATER_REQUESTS = {_RETRIES: "1", _TIMEOUT: "10"}
NOT_INSTALLED = "tracking: mlflow is not installed; install it or use tracking.enabled=false"
T = TypeVar("T")


def metric_name(name: str) -> str:
    """The name under which MLflow keeps a metric, e.g. 'ndcg_at_10' for 'ndcg@10'."""
    return re.sub(r"[^\w\-. /]", "_", name.replace("@", "_at_"))


class _Store:
    """The client shared by a run and its children; after the first failure it does nothing more."""

    def __init__(self, uri: str | None, experiment: str) -> None:
        os.environ |= {name: value for name, value in _QUIET.items() if name not in os.environ}
        try:
            import mlflow
        except ImportError as error:
            raise TrackingError(NOT_INSTALLED) from error
        # After the import, which sets levels of its own.
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)
        limits = {k: v for k, v in _LATER_REQUESTS.items() if os.environ.get(k, v) == v}
        os.environ |= {name: _FIRST_REQUEST[name] for name in limits}
        self.uri: str = revealed(uri or mlflow.get_tracking_uri())
        self.usable = True
        self.attempt(lambda: _check(self.uri))
        with _first_use(self.uri):
            self.client: Any = self.attempt(lambda: mlflow.MlflowClient(tracking_uri=self.uri))
            self.experiment_id = self.attempt(lambda: _experiment_id(self.client, experiment))
        os.environ |= limits

    def attempt(self, action: Callable[[], T]) -> T | None:
        """Result of the action, or None when the store has failed, now or before."""
        if not self.usable:
            return None
        try:
            return action()
        except Exception as error:  # no error of a store may end the job
            self.usable = False
            print(
                f"warning: MLflow store {_address(self.uri)} failed and receives nothing more of "
                f"this job; the run folder has everything ({_reason(error)})",
                file=sys.stderr,
                flush=True,
            )
            return None


def check_store(uri: str | None) -> None:
    """Raises TrackingError within two seconds for a store that cannot be used."""
    import mlflow

    uri = revealed(uri or mlflow.get_tracking_uri())
    try:
        _check(uri)
    except Exception as error:
        raise TrackingError(
            f"tracking: expected an MLflow store that can be used at {_address(uri)}, found "
            f"{_reason(error)}"
        ) from None


def _address(uri: str) -> str:
    """The URI without a password."""
    return re.sub("//[^/@]*@", "//", uri)


def _check(uri: str) -> None:
    """Raises what makes a store unusable: MLflow itself tries again for minutes."""
    place = urlsplit(uri)
    if place.scheme in ("http", "https"):
        port = place.port or (443 if place.scheme == "https" else 80)
        socket.create_connection((place.hostname, port), timeout=_REACHED).close()
    elif (database := _database(uri)) is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database, timeout=_REACHED, isolation_level=None)) as store:
            store.execute("BEGIN IMMEDIATE")  # as every write begins
            store.execute("ROLLBACK")


def _database(uri: str) -> Path | None:
    """File of a local database, if that is what the URI names."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix)) if uri.startswith(prefix) else None


def _first_use(uri: str) -> AbstractContextManager[Any]:
    """Lets one process at a time make the tables of a local database."""
    database = _database(uri)
    if database is None or not database.parent.is_dir():
        return nullcontext()
    return locked(database.parent, "another process makes the MLflow store", wait=30.0)


def _reason(error: Exception) -> str:
    """First line of the system's own error beneath the libraries', where there is one."""
    message, current = str(error), error.__cause__ or error.__context__
    while current is not None:
        if isinstance(current, OSError) and str(current):
            message = str(current)
        current = current.__cause__ or current.__context__
    return (message or type(error).__name__).splitlines()[0][:200]


class MlflowTracker(Tracker):
    """One MLflow run; `child` opens runs nested in it."""

    def __init__(
        self,
        experiment: str,
        run_name: str,
        uri: str | None = None,
        state: TrackerState | None = None,
        parent: str | None = None,
        store: _Store | None = None,
    ) -> None:
        """Opens a run, or reopens that of the job that is resumed.

        Args:
            experiment: Made if it does not exist.
            run_name: Shown in the list of runs.
            uri: Tracking URI; None: MLFLOW_TRACKING_URI, else the working directory's own store.
            state: From `state()` of the job that is resumed; None starts a run.
            parent: Id of the run in which a new one is nested.
            store: The parent's store; None opens one.

        Raises:
            TrackingError: mlflow is not installed.
        """
        self._store = store = store or _Store(uri, experiment)
        self._children: dict[str, MlflowTracker] = {}
        self._pending: list[Any] = []
        self._flushed = time.monotonic()
        self._last_step: dict[str, int] = {}
        self._closed = False
        self._params: set[str] = set()
        self.run_id: str | None = (state or {}).get(_RUN_ID)
        self._resumed = self.run_id is not None
        if self._resumed:
            store.attempt(self._reopen)
        else:
            tags = {"mlflow.parentRunId": parent} if parent else {}
            run = store.attempt(
                lambda: store.client.create_run(store.experiment_id, run_name=run_name, tags=tags)
            )
            self.run_id = run.info.run_id if run else None

    def _reopen(self) -> None:
        """Reads the entries that the run already has, so that repeated steps are not sent twice."""
        client = self._store.client
        client.update_run(self.run_id, status="RUNNING")
        data = client.get_run(self.run_id).data
        self._params = set(data.params)
        for key in data.metrics:
            self._last_step[key] = max(
                point.step for point in client.get_metric_history(self.run_id, key)
            )

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Sends settings, nested ones under dotted names; a resumed run keeps those it has."""
        from mlflow.entities import Param

        flat = {k: str(v) for k, v in dotted(params).items() if k not in self._params}
        self._params |= set(flat)
        entities = [Param(key, value) for key, value in flat.items()]
        for start in range(0, len(entities), _PARAMS):
            chunk = entities[start : start + _PARAMS]
            self._call("log_batch", params=chunk)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Queues metrics; they are sent every few seconds or 1000 values, and on close."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for name, value in metrics.items():
            key = metric_name(name)
            if step > self._last_step.get(key, -1):
                self._pending.append(Metric(key, float(value), now, step))
        if len(self._pending) >= _BATCH or time.monotonic() - self._flushed > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Sends the queued metrics."""
        pending, self._pending = self._pending, []
        self._flushed = time.monotonic()
        for start in range(0, len(pending), _BATCH):
            chunk = pending[start : start + _BATCH]
            self._call("log_batch", metrics=chunk)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sends tags."""
        from mlflow.entities import RunTag

        self._call("log_batch", tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Uploads a file, or a folder with all it holds."""
        method = "log_artifacts" if Path(path).is_dir() else "log_artifact"
        self._call(method, str(path), folder)

    def log_model(
        self, write: Callable[[Path], None], folder: str, registered: str | None = None
    ) -> None:
        """Uploads what `write` makes, then registers it, if asked."""
        if self.run_id is not None:
            self._store.attempt(lambda: self._log_model(write, folder))
        if self.run_id is not None and registered is not None:
            self._store.attempt(lambda: self._register(folder, registered))

    def _log_model(self, write: Callable[[Path], None], folder: str) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            write(Path(temporary))
            self._store.client.log_artifacts(self.run_id, temporary, folder)

    def _register(self, folder: str, name: str) -> None:
        client = self._store.client
        if not client.search_registered_models(f"name = '{name}'", max_results=1):
            client.create_registered_model(name)
        place = client.get_run(self.run_id).info.artifact_uri
        client.create_model_version(name, f"{place}/{folder}", self.run_id)

    def child(self, name: str) -> Tracker:
        """The nested run of that name; a resumed job finds the one it had."""
        if name not in self._children:
            known = self._store.attempt(lambda: self._find_child(name)) if self._resumed else None
            state = {_RUN_ID: known} if known else None
            self._children[name] = MlflowTracker("", name, None, state, self.run_id, self._store)
        return self._children[name]

    def _find_child(self, name: str) -> str | None:
        runs = self._store.client.search_runs(
            [self._store.experiment_id],
            f"tags.`mlflow.parentRunId` = '{self.run_id}' and attributes.run_name = '{name}'",
            max_results=1,
        )
        return runs[0].info.run_id if runs else None

    def state(self) -> TrackerState:
        """The run's id; what is queued is sent first, so that the run holds all steps so far."""
        for tracker in (self, *self._children.values()):
            tracker.flush()
        return {_RUN_ID: self.run_id} if self.run_id else {}

    def close(self, status: Status = "FINISHED") -> None:
        """Sends what is queued and ends the run and its children; an ended run stays as it is."""
        for tracker in self._children.values():
            tracker.close(status)
        if not self._closed:
            self._closed = True
            self.flush()
            self._call("set_terminated", status)

    def _call(self, method: str, *arguments: Any, **keywords: Any) -> None:
        """Calls a client method on this run, if there is one and the store still works."""
        if self.run_id is not None:
            self._store.attempt(
                lambda: getattr(self._store.client, method)(self.run_id, *arguments, **keywords)
            )


def _experiment_id(client: Any, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return str(client.create_experiment(name))
    return str(experiment.experiment_id)
