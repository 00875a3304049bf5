"""A recommender for the experiments of Cornac.

cornac.Experiment(eval_method=split, models=[SIFCornac()], metrics=[NDCG(k=10)]).run()
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sif.data.interactions.ids import id_strings
from sif.errors import DataError
from sif.recommender.recommender import Recommender

try:
    from cornac.exception import ScoreException
    from cornac.models import Recommender as CornacModel
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "sif.adapters.cornac needs Cornac: pip install 'sif[cornac]'", name=error.name
    ) from error


class SIFCornac(CornacModel):  # type: ignore[misc, unused-ignore]
    """A searched interaction function as a model of Cornac.

    Args:
        name: In Cornac's tables.
        objective: The argument of `Recommender`, as the next five are.
        space: Search space.
        seed: Root of all randomness.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; None: torch's own choice.
        settings: Settings of a job but those of splits, nested or dotted.
        recommender: A fitted one, which `fit` leaves as it is; None: `fit` fits one.
        trainable: Cornac's own; False leaves a model that was fitted before as it is.
        verbose: True to have `fit` tell its progress.

    Examples:
        >>> from sif.adapters.cornac import SIFCornac
        >>> SIFCornac(recommender=model).name
        'SIF'
    """

    def __init__(
        self,
        name: str = "SIF",
        objective: str = "ranking",
        space: str = "staged",
        seed: int = 0,
        device: str = "auto",
        threads: int | None = None,
        settings: Mapping[str, Any] | None = None,
        recommender: Recommender | None = None,
        trainable: bool = True,
        verbose: bool = False,
    ) -> None:
        super().__init__(name=name, trainable=trainable, verbose=verbose)
        self.objective, self.space, self.seed = objective, space, seed
        self.device, self.threads, self.settings = device, threads, settings
        self.recommender = recommender
        self.fitted_: Recommender | None = recommender

    def fit(self, train_set: Any, val_set: Any = None) -> SIFCornac:
        """Searches and trains on Cornac's data sets, or takes over their numbers alone.

        Args:
            train_set: `cornac.data.Dataset`.
            val_set: Its interactions make the choices and are never trained on, as in Cornac's own
                models; None: a tenth of every user's interactions, which are trained on in the end.

        Raises:
            DataError, ConfigError: Data or settings that cannot be used.
        """
        super().fit(train_set, val_set)
        if self.recommender is not None:
            self.fitted_ = self.recommender
        elif self.trainable or self.fitted_ is None:
            fresh = Recommender(
                self.objective, space=self.space, baselines=(), seed=self.seed, device=self.device,
                threads=self.threads, settings=self.settings, verbose=self.verbose,
            )  # fmt: skip
            valid = None if val_set is None else self._frame(val_set)
            refit = "all" if val_set is None else "none"
            self.fitted_ = fresh.fit(self._frame(train_set), valid, refit=refit)
        model = self._fitted().fitted_model()
        self._rows, self._columns = (
            vocabulary.lookup(id_strings(list(ids)[:count]))
            for vocabulary, ids, count in zip(
                model.vocabularies, (self.uid_map, self.iid_map),
                (self.num_users, self.num_items), strict=True,
            )
        )  # fmt: skip
        return self

    def score(self, user_idx: int, item_idx: int | None = None) -> Any:
        """Scores of all of Cornac's train items (num_items,), or of one of them.

        In rating units for models of ratings. What the model does not know, or never recommends,
        gets the lowest score, as Cornac gives it to items that no train part has.

        Raises:
            ScoreException: An unknown user, or an unknown item alone.
        """
        if self.is_unknown_user(user_idx) or self._rows[user_idx] < 0:
            raise ScoreException(f"Can't make score prediction for user {user_idx}")
        if item_idx is not None and (self.is_unknown_item(item_idx) or self._columns[item_idx] < 0):
            raise ScoreException(f"Can't make score prediction for item {item_idx}")
        whole = self._fitted().server().scores(self._rows[user_idx : user_idx + 1])[0]
        scores = self._known(whole)
        return scores if item_idx is None else scores[item_idx]

    def _known(self, whole: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of the model's items as those of Cornac's, all of them finite."""
        scores = np.where(self._columns >= 0, whole[self._columns], -np.inf)
        finite = np.isfinite(scores)
        if not finite.all():
            scores[~finite] = scores[finite].min() if finite.any() else 0.0
        return scores.astype(np.float32)

    def _frame(self, data: Any) -> pd.DataFrame:
        users, items, ratings = data.uir_tuple
        named = [
            id_strings(list(ids))[numbers]
            for ids, numbers in ((data.uid_map, users), (data.iid_map, items))
        ]
        return pd.DataFrame({"user": named[0], "item": named[1], "rating": ratings})

    def _fitted(self) -> Recommender:
        if self.fitted_ is None:
            raise DataError("SIFCornac: expected a fitted one, found one before fit")
        return self.fitted_

    def __deepcopy__(self, memo: dict[int, Any]) -> SIFCornac:
        # Answers do not change a fitted recommender, so that copies may share it.
        for shared in (self.recommender, self.fitted_):
            if shared is not None:
                memo[id(shared)] = shared
        copied: SIFCornac = super().__deepcopy__(memo)
        return copied
