"""What every served model answers, original ids in and original ids out.

Method names are those of `implicit`. One id gives one row, several give a table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from inspect import signature
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from sif.config import CFConfig, load_config
from sif.data.interactions.vocabulary import id_strings
from sif.errors import ConfigError, DataError
from sif.recommender.extend import grown_by, grown_by_all
from sif.recommender.fit import further_interactions, learn
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel, packed, unpacked
from sif.retrieval.engine import Top

Answer = tuple[NDArray[np.str_], NDArray[np.float32]]
UNKNOWN = ("error", "popular")
MOST = 10_000
"""N may exceed a catalogue, but not without end: a table of answers has as many columns."""


class Recommending:
    """Answers of a served model.

    Attributes:
        model_: The served model, once there is one.
        unknown: What `recommend` does with a user nobody knows: "error", or "popular" items.
    """

    model_: ServedModel
    unknown: str = "error"
    _serving: IndexedRecommender | None = None

    def _check(self) -> None:
        if self.unknown not in UNKNOWN:
            raise ConfigError(
                f"unknown: expected one of {', '.join(UNKNOWN)}, found {self.unknown!r}"
            )

    def _serve(self, model: ServedModel) -> None:
        self._check()
        self.model_ = model
        self._serving = None

    def fitted_model(self) -> ServedModel:
        """The served model; ConfigError where there is none yet."""
        if not hasattr(self, "model_"):
            raise ConfigError("recommender: expected a fitted one, found one before fit")
        return self.model_

    @property
    def titles(self) -> Mapping[str, str]:
        """Item id to title, where the data have titles."""
        return self.fitted_model().titles

    def server(self) -> IndexedRecommender:
        """What answers in numbers; ConfigError before `fit` or for a model of further fields."""
        model = self.fitted_model()
        if self._serving is None:
            self._serving = IndexedRecommender(model)
        return self._serving

    def recommend(
        self,
        users: Any,
        N: int = 10,
        filter_already_liked: bool = True,
        filter_items: Iterable[Any] | None = None,
        items: Iterable[Any] | None = None,
    ) -> Answer:
        """The best N items.

        Args:
            users: One original user id, or b of them.
            N: Items per user.
            filter_already_liked: Leave out what a user has.
            filter_items: Ids that are left out for everybody.
            items: Ids to choose among; None: all.

        Returns:
            Item ids and scores, best first: (n,) with n at most N for one user; (b, n) for
            several, "" and minus infinity where nothing is left.

        Raises:
            UnknownIdError: An unknown user (unless `unknown` is "popular") or item.
            ConfigError: N is less than 1 or beyond `MOST` and the catalogue, the function ranks
                items alike for all users, or the model is of other fields.
            DataError: Scores that are not numbers.
        """
        server = self.server()
        server.refuse_unpersonalized()
        allowed = self._allowed(filter_items, items)
        names, one = _listed(users)
        return self._answer(self._top(names, self._count(N), filter_already_liked, allowed), one)

    def _top(
        self, names: NDArray[np.str_], k: int, filtered: bool, allowed: NDArray[np.bool_] | None
    ) -> Top:
        """Best items of users by their ids; unknown ones are refused, or get the popular."""
        server = self.server()
        rows = self.model_.vocabularies[0].lookup(names)
        if self.unknown == "error":
            self.model_.vocabularies[0].index(names, "user")
        known = rows >= 0
        excluded = self.model_.seen[np.where(known, rows, 0)] if filtered else None
        found = server.top(np.where(known, rows, 0), k, excluded, allowed)
        if not known.all():
            nothing = sparse.csr_array((int((~known).sum()), len(self.model_.vocabularies[1])))
            popular = server.top_of(nothing, k, None, allowed)
            found.items[~known], found.scores[~known] = popular.items, popular.scores
        return found

    def recommend_new(
        self,
        history: Any,
        N: int = 10,
        ratings: ArrayLike | None = None,
        filter_already_liked: bool = True,
        filter_items: Iterable[Any] | None = None,
        items: Iterable[Any] | None = None,
    ) -> Answer:
        """The best N items of somebody who is in no table, from what they have.

        Args:
            history: Item ids; may be empty, then the popular items are meant.
            N: As of `recommend`, as the others.
            ratings: One per item, for models of ratings; empty: none. Items rated below the
                `data.min_rating` of `fit` are left out as there.
            filter_already_liked: See there.
            filter_items: See there.
            items: See there.

        Raises:
            UnknownIdError: An unknown item.
            ConfigError: As `recommend`, or ratings that do not fit.
            DataError: As `recommend`, or ratings too large to fold in by.
        """
        server = self.server()
        server.refuse_unpersonalized()
        pairs = self.history_row(history, ratings)
        excluded = pairs if filter_already_liked else None
        allowed = self._allowed(filter_items, items)
        return self._answer(server.top_of(pairs, self._count(N), excluded, allowed), True)

    def rank(self, users: Any, items: Iterable[Any]) -> Answer:
        """The given items in each user's order, with scores.

        Args:
            users: As of `recommend`.
            items: Ids; of a repeated one the first counts. None give an answer of no columns.

        Returns:
            As of `recommend`. In rankings items that are never recommended come last, in the order
            that they were given in, with minus infinity.

        Raises:
            UnknownIdError, ConfigError, DataError: As `recommend`.
        """
        server = self.server()
        server.refuse_unpersonalized()
        names, (asked, one) = _listed(items)[0], _listed(users)
        columns = self.model_.vocabularies[1].index(names, "item")
        columns = columns[np.sort(np.unique(columns, return_index=True)[1])]
        count, allowed = len(columns), np.isin(np.arange(server.engine.n_items), columns)
        found = self._top(asked, max(count, 1), False, allowed)
        if server.cold_start is not None:
            never = columns[server.cold_start.never_recommended[columns]]
            found.items[:, count - len(never) : count] = never
        return self._answer(Top(found.items[:, :count], found.scores[:, :count]), one)

    def predict(self, users: Any, items: Any, *context: Any) -> NDArray[np.float32]:
        """Scores of pairs, in rating units for models of ratings.

        In rankings they are those of `recommend`: of a user without training minus the item's place
        among the popular, and minus infinity of an item that is never recommended.

        Args:
            users: One id, or b of them.
            items: As many.
            context: As many of each further field that the model has.

        Raises:
            UnknownIdError: An unknown id.
            ConfigError: Another number of sequences than fields, or unequal lengths.
            DataError: A score that is not a number.
        """
        model = self.fitted_model()
        columns = [_listed(ids) for ids in (users, items, *context)]
        if len(columns) != len(model.fields) or len({len(names) for names, _ in columns}) != 1:
            raise ConfigError(
                f"predict: expected {len(model.fields)} sequences of one length "
                f"({', '.join(model.fields)}), found lengths {[len(names) for names, _ in columns]}"
            )
        ids = [
            vocabulary.index(names, field)
            for field, vocabulary, (names, _) in zip(
                model.fields, model.vocabularies, columns, strict=True
            )
        ]
        scores = model.scorer.predict(np.stack(ids, axis=1))
        if model.rule is not None:
            scores = model.rule.of_pairs(scores, ids[0], ids[1])
        _refuse_nan(scores, dict(zip(model.fields, (names for names, _ in columns), strict=True)))
        return scores[0] if columns[0][1] else scores

    def similar_items(self, items: Any, N: int = 10) -> Answer:
        """The N items whose vectors point most alike, with cosines; shapes as of `recommend`.

        Items that no training saw are not among them, and have none themselves.

        Raises:
            UnknownIdError: An unknown id.
            ConfigError: N is less than 1 or beyond `MOST` and the catalogue.
            DataError: Cosines that are not numbers.
        """
        return self._similar(1, items, N)

    def similar_users(self, users: Any, N: int = 10) -> Answer:
        """The same for users."""
        return self._similar(0, users, N)

    def _similar(self, field: int, ids: Any, count: int) -> Answer:
        names, one = _listed(ids)
        vocabulary = self.fitted_model().vocabularies[field]
        rows = vocabulary.index(names, self.model_.fields[field])
        found = self.server().similar(field, rows, self._count(count))
        return self._answer(found, one, field)

    def explain(self, user: Any, item: Any, N: int = 10) -> Answer:
        """Which of a user's items carry the score of an item.

        Returns:
            Item ids and what each carries, most first: the score less that of the user without
            the item, everything else as it is.

        Raises:
            UnknownIdError: An unknown id.
            ConfigError: N is less than 1, or the model cannot fold users in.
        """
        server, model = self.server(), self.fitted_model()
        users, items = model.vocabularies[:2]
        pairs = model.seen[users.index([user], "user")]
        carried = server.explained(pairs, int(items.index([item], "item")[0]))
        order = np.argsort(-carried, kind="stable")[: self._count(N)]
        return model.vocabularies[1].ids[pairs.indices[order]], carried[order]

    def _count(self, count: int) -> int:
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise ConfigError(f"N: expected a whole number of at least 1, found {count!r}")
        most = max(MOST, *map(len, self.fitted_model().vocabularies))
        if count > most:
            raise ConfigError(f"N: expected at most {most:,}, found {count:,}")
        return int(count)

    def _allowed(
        self, filter_items: Iterable[Any] | None, items: Iterable[Any] | None
    ) -> NDArray[np.bool_] | None:
        if filter_items is None and items is None:
            return None
        vocabulary = self.model_.vocabularies[1]
        allowed = np.full(len(vocabulary), items is None)
        if items is not None:
            allowed[vocabulary.index(_listed(items)[0], "item")] = True
        if filter_items is not None:
            allowed[vocabulary.index(_listed(filter_items)[0], "item")] = False
        return allowed

    def history_row(self, history: Any, ratings: ArrayLike | None) -> sparse.csr_array:
        """What somebody has as a row (1, n_items) of targets; errors as of `recommend_new`."""
        model = self.fitted_model()
        names, _ = _listed(history)
        columns = model.vocabularies[1].index(names, "item")
        rated = model.objective == "rating"
        try:
            ratings = None if ratings is None or np.size(ratings) == 0 else ratings
            given = np.ones(len(columns)) if ratings is None else np.atleast_1d(ratings)
            values = given.astype(np.float64)
        except (TypeError, ValueError):
            raise ConfigError(f"ratings: expected numbers, found {ratings!r}") from None
        needed = rated and len(columns) > 0
        if needed == (ratings is None) or values.shape != columns.shape:
            expected = f"{len(columns)} ratings" if needed else "no ratings"
            found = "none" if ratings is None else f"{values.size}"
            raise ConfigError(f"recommend_new: expected {expected}, found {found}")
        return model.row(columns, values)

    def _answer(self, found: Top, one: bool, field: int = 1) -> Answer:
        names = self.server().padded[field]
        ids, scores = names[found.items], found.scores
        if not one:
            return ids, scores
        left = found.items[0] >= 0
        return ids[0][left], scores[0][left]


def _listed(ids: Any) -> tuple[NDArray[np.str_], bool]:
    """Ids as texts (n,), and whether it was a single one."""
    one = (
        isinstance(ids, str | bytes)
        or not isinstance(ids, Iterable)
        or getattr(ids, "ndim", 1) == 0
    )
    return id_strings([ids] if one else ids), one


def _refuse_nan(scores: NDArray[np.float32], names: Mapping[str, NDArray[np.str_]]) -> None:
    """Raises DataError where a score (n,) is no number, with its ids (n,) by field."""
    for lost in np.flatnonzero(np.isnan(scores))[:1]:
        told = ", ".join(f"{field} {str(ids[lost])!r}" for field, ids in names.items())
        raise DataError(f"predict: score of {told}: expected a number, found NaN")


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
        space: str = "staged",
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
                name, a sparse user by item matrix, or `Interactions`. Of a matrix all
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
