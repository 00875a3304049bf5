"""Counts and times of a server, as Prometheus reads them."""

from __future__ import annotations

from functools import cache
from typing import Any

from sif.utils.optional import library

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one server, in a registry of their own.

    Attributes:
        batches: Requests that were answered together.
        events: Interactions that were taken in.
        reloads: Models that were loaded after the first.
        failures: Reloads that failed; the model before stays.
        refused_events: Interactions that the model refused.

    Raises:
        ConfigError: prometheus-client is missing.
    """

    def __init__(self) -> None:
        client = library(
            "prometheus_client", where="serve", package="prometheus-client", extra="serve"
        )
        self._client, self._registry = client, client.CollectorRegistry()
        client.ProcessCollector(registry=self._registry)
        to = {"registry": self._registry}
        self._requests = client.Counter(
            "sif_requests_total", "Requests that got a reply", ["path", "status"], **to
        )
        self._seconds = client.Histogram(
            "sif_request_seconds", "From the head of a request to its reply", ["path"],
            buckets=SECONDS, **to,
        )  # fmt: skip
        self.batches = client.Histogram(
            "sif_batch_requests", "Requests that were answered together", buckets=SIZES, **to
        )
        self.events = client.Counter("sif_events_total", "Interactions that were taken in", **to)
        self.refused_events = client.Counter(
            "sif_refused_events_total", "Interactions that the model refused", **to
        )
        self.reloads = client.Counter("sif_reloads_total", "Models loaded after the first", **to)
        self.failures = client.Counter(
            "sif_reload_failures_total", "Reloads that failed; the model before stays", **to
        )
        self._model = client.Gauge("sif_model", "The model that answers", ["version"], **to)
        self._sizes = client.Gauge("sif_model_size", "Users and items of it", ["field"], **to)
        self._folded = client.Gauge(
            "sif_rows_since_fit", "Interactions that the model took in since its fit", **to
        )
        self._waiting = client.Gauge("sif_waiting_requests", "Requests that wait", **to)
        self._replied = cache(self._labels)

    def _labels(self, path: str, status: int) -> tuple[Any, Any]:
        return self._requests.labels(path, str(status)), self._seconds.labels(path)

    def replied(self, path: str, status: int, seconds: float) -> None:
        """Counts a reply.

        Args:
            path: Of an endpoint; others share one name, as anybody may make some up.
            status: HTTP status.
            seconds: That it took.
        """
        count, times = self._replied(path, status)
        count.inc()
        times.observe(seconds)

    def serves(self, version: str, users: int, items: int, rows_since_fit: int) -> None:
        """Names the model that answers from now on."""
        self._folded.set(rows_since_fit)
        self._model.clear()
        self._model.labels(version).set(1)
        self._sizes.labels("user").set(users)
        self._sizes.labels("item").set(items)

    def text(self, waiting: int) -> bytes:
        """All of them in the text format."""
        self._waiting.set(waiting)
        found: bytes = self._client.generate_latest(self._registry)
        return found
