"""A fit that starts from an earlier model: its function, constants and vectors.

Validation judges only pairs that the earlier model has not seen: of others its vectors know the
answer. Nothing is searched. Functions of vectors are trained on from the vectors of known ids, with
the strength that validation chose before; new ids are folded in first. Closed forms are solved
again at the known constants and around them, models in order around the known penalty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from sif.config import CFConfig
from sif.core.genotype import Genotype
from sif.data.interactions import Interactions
from sif.data.interactions.interactions import row_keys
from sif.errors import ConfigError, DataError
from sif.problems.interactions import InteractionProblem
from sif.recommender.extend import grown_by_all
from sif.recommender.model import ServedModel
from sif.recommender.versions import load_version
from sif.spaces.interaction.registry import LOSSES, SPACES, design_of

EPOCHS = 1 / 2
"""Share of `train.epochs` that a warm training gets at most."""
PATIENCE = 3
"""Its validations without a better metric, at most."""
RATE = 0.3
"""Its step size over `train.lr`: the first steps of Adam are as long as that, wherever it starts,
and long ones lead away from vectors that are nearly right."""


@dataclass(frozen=True, eq=False)
class WarmStart:
    """The contribution of an earlier model to a fit.

    Attributes:
        model: The earlier model.
    """

    model: ServedModel

    @classmethod
    def of(cls, given: Any, config: CFConfig) -> WarmStart:
        """The start from a path, a recommender or its model.

        Raises:
            ConfigError: None of these, or a model that no fit makes under these settings.
            CheckpointError: The path holds no model.
            NotFittedError: The recommender has no model.
        """
        if isinstance(given, str | Path):
            given = load_version(given)
        elif hasattr(given, "fitted_model"):
            given = given.fitted_model()
        if not isinstance(given, ServedModel):
            raise ConfigError(
                f"warm_start: expected a recommender or the folder of one, found "
                f"{type(given).__name__}"
            )
        if given.objective != config.objective:
            raise ConfigError(
                f"warm_start: expected a model of the objective {config.objective}, found one of "
                f"{given.objective}"
            )
        if given.baseline:
            raise ConfigError(
                f"warm_start: expected a model that was searched for, found the baseline "
                f"{given.expression}, which takes no longer to fit afresh"
            )
        return cls(given)

    @property
    def genotype(self) -> Genotype:
        """Of the earlier model."""
        return self.model.genotype

    @property
    def is_function(self) -> bool:
        """True of a function of vectors, not of an item-item model."""
        return not self.model.reads_order

    @cached_property
    def l2(self) -> float | None:
        """The strength that validation chose; None: the file does not say."""
        if "l2" in self.model.constants:
            return self.model.constants["l2"]
        if not self.model.folds:
            return None
        objective = self.model.folds[0][1]
        unit = LOSSES.named(objective.loss, "loss").l2
        return objective.l2 / unit

    def configured(self, config: CFConfig) -> CFConfig:
        """The settings of the fit: the earlier model's space and dimension, and few epochs."""
        train = config.train
        changed: dict[str, Any] = {
            "epochs": max(1, math.ceil(EPOCHS * train.epochs)), "lr": RATE * train.lr,
            "patience": min(train.patience, PATIENCE), "extend_grid": 0,
            "halving_fraction": 1.0,
        }  # fmt: skip
        if self.is_function:
            changed["dimension"] = self.model.network.shape.dimension
            changed["l2"] = train.l2 if self.l2 is None else (self.l2,)
        update: dict[str, Any] = {"train": train.model_copy(update=changed)}
        if self.genotype.space in SPACES.names():
            update["space"] = self.genotype.space
        return config.model_copy(update=update)

    def parts(
        self, known: Interactions, train: Interactions, held: Interactions
    ) -> tuple[Interactions, Interactions]:
        """Train and validation part: only rows that the earlier model has not seen judge.

        Args:
            known: All rows.
            train: Its train part as a fit without an earlier model has it.
            held: Its validation part likewise.

        Raises:
            DataError: The earlier model has seen all that were held out.
            ConfigError: Other fields.
        """
        if train.fields != self.model.fields:
            raise ConfigError(
                f"warm_start: expected a model of the fields {', '.join(train.fields)}, found one "
                f"of {', '.join(self.model.fields)}"
            )
        numbers = np.stack([
            self.model.vocabularies[f].lookup(held.vocabularies[f].ids)[held.ids[:, f]]
            for f in (0, 1)
        ], axis=1)  # fmt: skip
        sizes, seen = self.model.seen.shape, self.model.seen
        has_both = (numbers >= 0).all(axis=1)
        rows = np.repeat(np.arange(sizes[0]), np.diff(seen.indptr))
        keys = row_keys(np.stack([rows, seen.indices.astype(np.int64)], axis=1), sizes)
        unseen = np.ones(len(held), dtype=np.bool_)
        unseen[has_both] = ~np.isin(row_keys(numbers[has_both], sizes), keys)
        if not unseen.any():
            raise DataError(
                "warm_start: expected rows to validate on that the earlier model has not seen, "
                f"found it fitted on all {len(held):,}; add newer rows, or fit afresh"
            )
        judges = held.select(unseen)
        if unseen.all():
            return train, judges
        judging = np.isin(row_keys(known.ids, known.sizes), row_keys(judges.ids, known.sizes))
        return known.select(~judging), judges

    def initial(self, problem: InteractionProblem) -> Mapping[str, Tensor] | None:
        """The first weights of a training on a problem's ids; None: they cannot be told.

        Fresh weights stay where an id has no train row.
        """
        design = design_of(self.genotype, problem.fields)
        if design.graph or (design.unit and any(e != "id" for e in design.encodings)):
            return None
        model = self._with_new_ids(problem.train_part)
        fresh = problem.network(self.genotype).state_dict()
        state = {name: value.clone() for name, value in fresh.items()}
        served = model.trained.state_dict()
        for name in state.keys() & served.keys():
            is_shared = not name.startswith("tables.") or name == "tables.intercept"
            if is_shared and state[name].shape == served[name].shape:
                state[name] = served[name].to(state[name])
        ids = [vocabulary.ids for vocabulary in problem.train_part.vocabularies]
        numbers = [v.lookup(some) for v, some in zip(model.vocabularies, ids, strict=True)]
        for f in range(len(ids)):
            # A history's table has a row for each of the other field's.
            for kind, rows in (("embeddings", f), ("biases", f), ("histories", 1 - f)):
                name, table = f"tables.{kind}.{f}", self._table(model, kind, f)
                if table is None or name not in state or not state[name].shape[-1]:
                    continue
                known = torch.from_numpy(numbers[rows] >= 0)
                values = table[torch.from_numpy(numbers[rows])[known]].to(state[name])
                if kind == "embeddings" and design.unit:  # served at length 1
                    values = values * state[name].norm(dim=1).mean()
                state[name][known] = values
        return state

    def _with_new_ids(self, train: Interactions) -> ServedModel:
        """The earlier model with the ids of a train part that it has not, folded in."""
        if not self.model.folds:
            return self.model
        is_new = np.zeros(len(train), dtype=np.bool_)
        for f in (0, 1):
            unknown = self.model.vocabularies[f].lookup(train.vocabularies[f].ids) < 0
            is_new |= unknown[train.ids[:, f]]
        rows = replace(train, dropped=None).select(is_new)
        return grown_by_all(self.model, rows) if len(rows) else self.model

    def _table(self, model: ServedModel, kind: str, field: int) -> Tensor | None:
        """A table of the earlier model as it was trained; None: it has none of this kind."""
        tables = model.network.tables
        if kind == "biases":
            bias: Tensor | None = tables.biases[field].detach() if tables.biases else None
            return bias
        encoding = model.folds[field][0] if model.folds else None
        if kind == "histories":
            return None if encoding is None else encoding.history
        served: Tensor = tables.embeddings[field].detach()
        if encoding is None or encoding.history is None:
            return served
        pairs = model.seen if field == 0 else model.seen.T.tocsr()
        counts = np.maximum(np.diff(pairs.indptr), 1).astype(np.float32)
        ones = sparse.csr_array(
            (np.ones(pairs.nnz, np.float32), pairs.indices, pairs.indptr), shape=pairs.shape
        )
        sums = ones @ encoding.history.numpy()
        return served - torch.from_numpy(counts[:, None] ** -encoding.power * sums)
