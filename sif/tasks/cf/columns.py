"""The columns of the table of a job on interactions."""

from __future__ import annotations

from sif.config import CFConfig

MORE = ("ndcg", "recall")
"""Metrics that the table also shows at a second cut-off: more would not fit its width."""


def columns(config: CFConfig) -> tuple[str, ...]:
    """Metrics in the table: those at 10, two of them also at the longest other list."""
    if config.objective == "rating":
        return ("rmse", "rmse_std", "mae")
    others = [k for k in config.metrics_at if k != 10][-1:]
    further = [f"{name}@{k}" for k in others for name in MORE]
    return ("ndcg@10", "recall@10", *further, "map@10", "mrr@10", "hit@10")
