"""A recommender whose interaction function was searched on the user's own data.

    recommender = SIFRecommender().fit(frame)
    items, scores = recommender.recommend("u7")

Method names are those of `implicit`, habits those of scikit-learn: the constructor stores, `fit`
learns, what was learned ends in an underscore, a second `fit` forgets the first. Original ids in,
original ids out; one id gives one row, several give a table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from inspect import signature
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from sif.config import CFConfig, load_config
from sif.errors import ConfigError
from sif.grow import grown_by, grown_by_all
from sif.learn import further_interactions, learn
from sif.packed import packed, unpacked
from sif.recommending import Recommending
from sif.served import ServedModel


class SIFRecommender(Recommending):
    """Searches an interaction function, trains it, and recommends with it.

    Args:
        objective: "ranking" or "rating".
        space: Of the search; see README.
        seed: Root of all randomness.
        device: "auto", "cpu", "cuda"; of the search and the training.
        threads: Of the CPU, of the search and the training; None: torch's default.
        settings: Further settings by their names, such as {"train.epochs": 50}.
        unknown: What `recommend` does with a user nobody knows: "error", or "popular" items.
        verbose: Whether `fit` tells what it does.

    Attributes:
        model_: The served model, once there is one.
        valid_: Validation metrics of its function, after `fit`.
        found_: What the search found, on one line, after `fit`.
    """

    valid_: Mapping[str, float]
    found_: str

    def __init__(
        self,
        objective: str = "ranking",
        space: str = "rich",
        seed: int = 0,
        device: str = "auto",
        threads: int | None = None,
        settings: Mapping[str, Any] | None = None,
        unknown: str = "error",
        verbose: bool = False,
    ) -> None:
        self.objective, self.space, self.seed = objective, space, seed
        self.device, self.threads, self.settings = device, threads, settings
        self.unknown, self.verbose = unknown, verbose

    # Learning

    def fit(self, interactions: Any, valid: Any = None) -> SIFRecommender:
        """Searches and trains on interactions.

        Args:
            interactions: A pandas data frame whose columns have usual names (user, item, and
                perhaps rating, timestamp, title), the path of a file of one, a known data set's
                name, a sparse user by item matrix, or `sif.data.interactions.Interactions`. Of a matrix all
                rows and columns are ids, the empty ones too: users and items without training; in
                rankings its values above zero are the positives. Of the others every row is one,
                whatever its rating, unless `data.min_rating` is set.
            valid: The same, for the choices; None: a tenth of every user's interactions.

        Raises:
            DataError, ConfigError: Data or settings that cannot be used.
        """
        self._check()
        sets = [f"objective={self.objective}", f"space={self.space}"]
        sets += _settings(self.settings)
        flags = {"seed": self.seed, "device": self.device, "threads": self.threads}
        config = load_config(
            "cf", sets=sets, flags={k: v for k, v in flags.items() if v is not None}
        )
        assert isinstance(config, CFConfig)  # noqa: S101
        learned = learn(interactions, valid, config, self.verbose)
        self._serve(learned.model)
        self.valid_, self.found_ = learned.valid, learned.found
        return self

    @classmethod
    def load(cls, folder: str | Path, unknown: str = "error") -> SIFRecommender:
        """Reads what `save` or a run left in a folder; needs no interactions.

        Raises:
            CheckpointError: The model is missing, damaged or foreign.
        """
        model = ServedModel.load(Path(folder))
        made = cls(objective=model.objective, space=model.genotype.space, unknown=unknown)
        made._serve(model)
        return made

    def save(self, folder: str | Path) -> Path:
        """Writes the model into a folder; returns the file."""
        return self.fitted_model().save(Path(folder))

    # Changing without training

    def fold_in(self, interactions: Any) -> SIFRecommender:
        """Takes in users with what they have, new ones and known ones with more; items stay.

        Args:
            interactions: As of `fit`, whose settings `data.*` hold: columns have the same names,
                and ratings below `data.min_rating` are left out, with users who have no other.

        Raises:
            UnknownIdError: An unknown item; `partial_fit` takes in items as well.
            DataError: Data that cannot be used, or no ratings for a model of ratings.
            ConfigError: The model cannot fold rows in.
        """
        model = self.fitted_model()
        data = further_interactions(interactions, model.reading, model.objective)
        self._serve(grown_by(model, 0, data))
        return self

    def partial_fit(self, interactions: Any) -> SIFRecommender:
        """Takes in new items, then users, by folding; `fit` again once there are many.

        Args:
            interactions: As of `fold_in`.

        Raises:
            DataError, ConfigError: As `fold_in`.
        """
        model = self.fitted_model()
        data = further_interactions(interactions, model.reading, model.objective)
        self._serve(grown_by_all(model, data))
        return self

    # Copies, and scikit-learn's manners

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What the constructor was given, by name; `deep` is scikit-learn's and changes nothing."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def set_params(self, **parameters: Any) -> SIFRecommender:
        """Changes what the constructor was given, for the next `fit`.

        Raises:
            ConfigError: An unknown name.
        """
        known = self.get_params()
        for name in parameters:
            if name not in known:
                raise ConfigError(f"set_params: expected some of {', '.join(known)}, found {name}")
        for name, value in parameters.items():
            setattr(self, name, value)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """The model as the bytes of its file, so that unpickling reads it as `load` does."""
        state = {name: value for name, value in vars(self).items() if name != "_serving"}
        if "model_" in state:
            state["model_"] = packed(state["model_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Raises CheckpointError: The bytes are damaged or foreign."""
        if "model_" in state:
            state = {**state, "model_": unpacked(state["model_"])}
        vars(self).update(state)


Recommender = SIFRecommender
"""The same class, by the name under which runs leave it."""


def _settings(settings: Any) -> list[str]:
    """Settings as `key=value`, the values as YAML; texts may be YAML already.

    Raises:
        ConfigError: No mapping of names, or a value that is none of YAML's.
    """
    if settings is None:
        return []
    if not isinstance(settings, Mapping):
        raise ConfigError(
            'settings: expected names and values such as {"train.epochs": 50}, found '
            f"{type(settings).__name__}"
        )
    found = []
    for key, value in settings.items():
        if not isinstance(key, str):
            raise ConfigError(f"settings: expected names such as 'train.epochs', found {key!r}")
        try:
            text = value if isinstance(value, str) else json.dumps(value, default=_plain)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"settings: {key}: {error}") from None
        found.append(f"{key}={text}")
    return found


def _plain(value: Any) -> Any:
    """A number of numpy, an array or a path as JSON has it."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"expected texts, numbers or lists of them, found {type(value).__name__}")
