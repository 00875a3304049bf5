"""The recommender under its former name and with its former interface."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partialmethod
from typing import Any

from sif.config.files import parse_yaml
from sif.recommender.recommender import Recommender

_ANSWERS = ("recommend", "recommend_new", "rank", "similar_items", "similar_users", "explain")


class SIFRecommender(Recommender):
    """Deprecated: `Recommender`, but answers are arrays, and a text in settings may be YAML."""

    def __init__(
        self,
        objective: str = "ranking",
        space: str = "staged",
        seed: int = 0,
        device: str = "auto",
        threads: int | None = None,
        settings: Mapping[str, Any] | None = None,
        unknown: str = "error",
        verbose: bool = False,
    ) -> None:
        super().__init__(
            objective, space=space, baselines=(), seed=seed, device=device, threads=threads,
            settings=settings, unknown=unknown, verbose=verbose,
        )  # fmt: skip

    def _settings(self) -> Any:
        if not isinstance(self.settings, Mapping):
            return self.settings
        return {
            key: parse_yaml(value, f"settings: {key}") if isinstance(value, str) else value
            for key, value in self.settings.items()
        }


for _name in _ANSWERS:
    _method = partialmethod(getattr(Recommender, _name), as_arrays=True)
    setattr(SIFRecommender, _name, _method)
