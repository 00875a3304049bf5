"""MLflow: one run per job, nested runs of entrants and stages, sent in batches by the client.

Without a URI it uses the store that a bare `mlflow ui` in the same working directory shows. Any
failure of the store (server down, full, refused) is reported once on stderr; after it nothing more
is sent.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sif.config.loading import dotted
from sif.errors import TrackingError
from sif.tracking.base import COMMON, Introduction, Status, TrackedModel, Tracker, TrackerState
from sif.tracking.mlflow_entities import (
    COMMIT,
    EXTERNAL,
    KIND,
    NOTE,
    PARENT,
    TRAINING,
    VERSIONS,
    dataset_input,
    metric_name,
    model_name,
    note,
    source_tags,
)
from sif.utils.addresses import revealed
from sif.utils.locks import locked

_RUN_ID = "mlflow_run_id"
_BATCH = 1000  # metrics per request, MLflow's limit
_PARAMS = 100  # parameters per request, MLflow's limit
_REACHED = 1.5  # seconds in which a store must answer before the job
_MADE = 120.0  # seconds in which another process makes the tables of a store, on a machine at work
_SECONDS = 5.0  # longest time a metric waits for its batch
# Environment variables of MLflow, unless the user has set them. A server that is down refuses at
# once, and MLflow's own retries would wait minutes for it. One that answers late has many jobs.
_QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "GIT_PYTHON_REFRESH": "quiet"}
_RETRIES, _TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
_FIRST_REQUEST = {_RETRIES: "0", _TIMEOUT: "30"}
_LATER_REQUESTS = {_RETRIES: "1", _TIMEOUT: "90"}
NOT_INSTALLED = "tracking: mlflow is not installed; install it or use tracking.enabled=false"
T = TypeVar("T")


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
        self.client: Any = None
        self.experiment_id: str | None = None
        self.attempt(lambda: self._connect(mlflow, experiment))
        os.environ |= limits
        self.tags: dict[str, str] = self.attempt(source_tags) or {}
        self.introduction: Introduction | None = None

    def _connect(self, mlflow: Any, experiment: str) -> None:
        with _first_use(self.uri):
            self.client = mlflow.MlflowClient(tracking_uri=self.uri)
            self.experiment_id = _experiment_id(self.client, experiment)

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
    return locked(database.parent, "another process makes the MLflow store", wait=_MADE)


def _reason(error: Exception) -> str:
    """First line of the system's own error beneath the libraries', where there is one."""
    message, current = str(error), error.__cause__ or error.__context__
    while current is not None:
        if isinstance(current, OSError) and str(current):
            message = str(current)
        current = current.__cause__ or current.__context__
    return (message or type(error).__name__).splitlines()[0][:200]


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class MlflowTracker(Tracker):
    """One MLflow run; `child` opens runs nested in it.

    A run begins when it is asked for. It ends when it is closed; one that only holds others, or
    that nobody closed, ended with its last record. One that ended and is asked for again goes on
    with the next record, so the time of a run is that from its first work to its last.
    """

    def __init__(
        self,
        experiment: str,
        run_name: str,
        uri: str | None = None,
        state: TrackerState | None = None,
        parent: str | None = None,
        store: _Store | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Opens a run, or reopens that of the job that is resumed.

        Args:
            experiment: Made if it does not exist.
            run_name: Shown in the list of runs.
            uri: Tracking URI; None: MLFLOW_TRACKING_URI, else the working directory's own store.
            state: From `state()` of the job that is resumed; None starts a run.
            parent: Id of the run in which a new one is nested.
            store: The parent's store; None opens one.
            facts: Parameters of this run and of those that are nested in it.

        Raises:
            TrackingError: mlflow is not installed.
        """
        self._store = store = store or _Store(uri, experiment)
        self._children: dict[str, MlflowTracker] = {}
        self._metrics: list[Any] = []
        self._queued: dict[str, list[Any]] = {"params": [], "tags": []}
        self._flushed = time.monotonic()
        self._last_step: dict[str, int] = {}
        self._results: dict[str, int] = {}  # time of each metric of step 0
        self._closed = False
        self._params: set[str] = set()
        self._facts = dict(facts or {})
        self._ended = _now()  # last record
        self.run_id: str | None = (state or {}).get(_RUN_ID)
        self._resumed = self.run_id is not None
        if self._resumed:
            store.attempt(self._reopen)
        else:
            self._begin(run_name, parent)

    def _begin(self, run_name: str, parent: str | None) -> None:
        store = self._store
        tags = store.tags | ({PARENT: parent} if parent else {})
        run = store.attempt(
            lambda: store.client.create_run(store.experiment_id, run_name=run_name, tags=tags)
        )
        self.run_id = run.info.run_id if run else None
        self.log_params(self._facts)
        self._log_data()

    def _reopen(self) -> None:
        """Reads the entries that the run already has, so that repeated steps are not sent twice."""
        client = self._store.client
        run = client.get_run(self.run_id)
        self._params = set(run.data.params)
        for key in run.data.metrics:
            self._last_step[key] = max(
                point.step for point in client.get_metric_history(self.run_id, key)
            )
        self._ended = run.info.end_time or self._ended
        self._closed = run.info.status == "FINISHED"
        if not self._closed:
            client.update_run(self.run_id, status="RUNNING")

    def _record(self) -> None:
        """Notes that the run is at work."""
        self._ended = _now()
        if self._closed:
            self._closed = False
            self._call("update_run", status="RUNNING")

    @property
    def page(self) -> str | None:
        """Address of the run on an MLflow server, as model training."""
        store, server = self._store, urlsplit(self._store.uri).scheme in ("http", "https")
        if not server or not store.usable or self.run_id is None:
            return None
        place = f"experiments/{store.experiment_id}/runs/{self.run_id}"
        return f"{_address(store.uri).rstrip('/')}/#/{place}?{TRAINING}"

    def introduce(self, introduction: Introduction) -> None:
        """Gives this run and those that will be nested in it data and parameters."""
        self._store.introduction = introduction
        self._facts = dict(introduction.common)
        if introduction.commit and COMMIT not in self._store.tags:
            self._store.tags[COMMIT] = introduction.commit
            self.set_tags({COMMIT: introduction.commit})
        self.log_params(self._facts)
        self._log_data()

    def _log_data(self) -> None:
        introduction = self._store.introduction
        if introduction is not None and not self._resumed:
            data = introduction.data
            self._call_with(lambda: {"datasets": [dataset_input(data)]}, "log_inputs")

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Queues settings, nested ones under dotted names; a resumed run keeps those it has."""
        from mlflow.entities import Param

        flat = {k: str(v) for k, v in dotted(params).items() if k not in self._params}
        self._params |= set(flat)
        if flat:
            self._record()
            self._queued["params"] += [Param(key, value) for key, value in flat.items()]

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Queues metrics; they are sent every few seconds or 1000 values, and on close."""
        from mlflow.entities import Metric

        self._record()
        for name, value in metrics.items():
            key = metric_name(name)
            if step > self._last_step.get(key, -1):
                self._metrics.append(Metric(key, float(value), self._ended, step))
                if step == 0:
                    self._results[key] = self._ended
        if len(self._metrics) >= _BATCH or time.monotonic() - self._flushed > _SECONDS:
            self.flush()

    def log_curve(self, part: str, history: Sequence[Mapping[str, float]]) -> None:
        """Queues a curve."""
        for entry in history:
            named = {f"{part}/{key}": value for key, value in entry.items() if key != "epoch"}
            self.log(named, int(entry["epoch"]))

    def flush(self) -> None:
        """Sends what is queued."""
        metrics, self._metrics = self._metrics, []
        queued, self._queued = self._queued, {"params": [], "tags": []}
        self._flushed = time.monotonic()
        params, tags = queued["params"], queued["tags"]
        rounds = max(-(-len(metrics) // _BATCH), -(-len(params) // _PARAMS), bool(tags))
        for number in range(rounds):
            self._call(
                "log_batch",
                metrics=metrics[number * _BATCH : (number + 1) * _BATCH],
                params=params[number * _PARAMS : (number + 1) * _PARAMS],
                tags=tags if number == 0 else [],
            )

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Queues tags."""
        from mlflow.entities import RunTag

        self._record()
        self._queued["tags"] += [RunTag(key, str(value)) for key, value in tags.items()]

    def describe(self, text: str) -> None:
        """Sends the description that MLflow shows above all else of a run."""
        self.set_tags({NOTE: note(text)})

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Uploads a file, or a folder with all it holds."""
        self._record()
        method = "log_artifacts" if Path(path).is_dir() else "log_artifact"
        self._call(method, str(path), folder)

    def log_model(self, model: TrackedModel) -> None:
        """Makes a logged model of this run, if it is served, else of its entrant's.

        Its files are uploaded if it has some, and it is registered if that is asked for.
        """
        self._record()
        owner = self._entrant(model.entrant)
        for tracker in (self, owner):
            tracker.flush()
        if self.run_id is not None and (model.served or owner is not self):
            self._store.attempt(lambda: self._log_model(model, owner))

    def _entrant(self, name: str) -> MlflowTracker:
        """The run of an entrant, where there are such."""
        introduction = self._store.introduction
        known = introduction is not None and name in introduction.entrants
        return self._nested(name, name) if known else self

    def _log_model(self, model: TrackedModel, owner: MlflowTracker) -> None:
        from mlflow.entities import LoggedModelOutput

        client, main = self._store.client, self if model.served else owner
        if self._resumed and _has_model(client.get_run(main.run_id)):
            return
        tags = dict(model.tags) | ({EXTERNAL: "true"} if model.write is None else {})
        params = {key: str(value) for key, value in (self._facts | dict(model.params)).items()}
        logged = client.create_logged_model(
            self._store.experiment_id, model_name(model.name), main.run_id, tags, params
        )
        try:
            if model.write is not None:
                with tempfile.TemporaryDirectory() as temporary:
                    model.write(Path(temporary), logged)
                    client.log_model_artifacts(logged.model_id, temporary)
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(main.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        owner._link(model.metrics, logged.model_id)
        if model.registered is not None:
            self._register(logged, model.registered)

    def _link(self, metrics: Mapping[str, float], model_id: str) -> None:
        """Records metrics of a model, which this run has as well.

        They have the time that they have in the run, so that the store sees no second point there.
        """
        from mlflow.entities import Metric

        introduction = self._store.introduction
        data = None if introduction is None else introduction.data
        about = {} if data is None else {"dataset_name": data.name, "dataset_digest": data.digest}
        named = {metric_name(name): float(value) for name, value in metrics.items()}
        points = [
            Metric(key, value, self._results.get(key, _now()), 0, model_id=model_id, **about)
            for key, value in named.items()
        ]
        self._store.client.log_batch(self.run_id, metrics=points)

    def _register(self, logged: Any, name: str) -> None:
        client = self._store.client
        if not client.search_registered_models(f"name = '{name}'", max_results=1):
            client.create_registered_model(name)
        # By its place: MLflow looks for models:/ in the store of the process, which may be another.
        found = client.create_model_version(
            name, logged.artifact_location, self.run_id, model_id=logged.model_id
        )
        versions = json.dumps([{"name": name, "version": str(found.version)}])
        client.set_logged_model_tags(logged.model_id, {VERSIONS: versions})

    def child(self, name: str, *path: str) -> Tracker:
        """The nested run of a path; a resumed job finds the one it had."""
        run = self
        for depth, one in enumerate(path or (name,)):
            run = run._nested(one, f"{one} · {path[0]}" if depth else one)
        return run

    def _nested(self, key: str, name: str) -> MlflowTracker:
        if key not in self._children:
            known = self._store.attempt(lambda: self._find_child(name)) if self._resumed else None
            state = {_RUN_ID: known} if known else None
            introduction = self._store.introduction
            entrants = {} if introduction is None else introduction.entrants
            facts = self._facts | ({"entrant": key, **entrants[key]} if key in entrants else {})
            self._children[key] = MlflowTracker(
                "", name, None, state, self.run_id, self._store, facts
            )
        return self._children[key]

    def _find_child(self, name: str) -> str | None:
        runs = self._store.client.search_runs(
            [self._store.experiment_id],
            f"tags.`{PARENT}` = '{self.run_id}' and attributes.run_name = '{name}'",
            max_results=1,
        )
        return runs[0].info.run_id if runs else None

    def state(self) -> TrackerState:
        """The run's id; what is queued is sent first, so that the run holds all steps so far."""
        for tracker in self._family():
            tracker.flush()
        return {_RUN_ID: self.run_id} if self.run_id else {}

    def _family(self) -> Iterator[MlflowTracker]:
        yield self
        for tracker in self._children.values():
            yield from tracker._family()

    def close(self, status: Status = "FINISHED") -> None:
        """Sends what is queued and ends the run and its children; an ended run stays as it is."""
        self._end(status, _now())

    def _end(self, status: Status, now: int) -> None:
        for tracker in self._children.values():
            # One that nobody closed was at work until now if the job broke off.
            tracker._end(status, tracker._last() if status == "FINISHED" else now)
        if self._closed:
            return
        if status == "FINISHED" and self._store.introduction is not None:
            self.log_params({key: "none" for key in COMMON if key not in self._params})
        self._closed, self._ended = True, now
        self.flush()
        self._call("set_terminated", status, now)

    def _last(self) -> int:
        """Time of the last record of this run and of those that are nested in it."""
        return max(tracker._ended for tracker in self._family())

    def _call(self, method: str, *arguments: Any, **keywords: Any) -> None:
        """Calls a client method on this run, if there is one and the store still works."""
        self._call_with(lambda: keywords, method, *arguments)

    def _call_with(
        self, keywords: Callable[[], Mapping[str, Any]], method: str, *arguments: Any
    ) -> None:
        """The same with arguments that are made only if there is a run."""
        if self.run_id is not None:
            self._store.attempt(
                lambda: getattr(self._store.client, method)(self.run_id, *arguments, **keywords())
            )


def _has_model(run: Any) -> bool:
    return bool(run.outputs and run.outputs.model_outputs)


def _experiment_id(client: Any, name: str) -> str:
    """The experiment of that name, which is made if it is not there."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, tags=KIND))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
            # Another job made it in the meantime.
    for key, value in KIND.items():
        if key not in experiment.tags:  # somebody else's choice stays
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return str(experiment.experiment_id)
