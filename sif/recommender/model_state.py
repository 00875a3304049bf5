"""The state of a served model, as its file holds it: plain values, arrays and tensors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy import sparse

from sif.config.cf import DataConfig
from sif.core.genotype import Genotype
from sif.data.features.table import Features
from sif.data.interactions import Vocabulary
from sif.evaluation.cold_start import ColdStartRule
from sif.evaluation.item_orders import POPULARITY_ORDER
from sif.evaluation.scorers import Scale
from sif.recommender import fold_in_terms as terms
from sif.recommender.feature_factors import FeatureFactors
from sif.recommender.folding import Folding
from sif.recommender.item_precision import ItemPrecision
from sif.recommender.owned import Owned
from sif.recommender.report import Report
from sif.spaces.closed.network import item_item_network
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.registry import design_of
from sif.spaces.linear.features import Alikeness
from sif.spaces.linear.network import OrderNetwork

if TYPE_CHECKING:
    from sif.recommender.model import ServedModel

FEATURES = ("item_features", "user_features")
"""Tables of features in a file."""
USUAL = {
    "exclude_seen": "all", "retrieval": "auto", "fitted_on": "train", "baseline": "",
    "constants": {},
}  # fmt: skip
"""Entries that a file has where they differ from these."""
_FORMER_NAMES = {"neighbours": "neighbors"}
"""Keys in files of earlier versions, and today's."""


def state_of(model: ServedModel) -> dict[str, Any]:
    """The state of a model."""
    state: dict[str, Any] = {
        "genotype": model.genotype.to_json(),
        "shape": None if model.reads_order else vars(model.network.shape),
        "network": model.trained.state_dict(),
        "fields": list(model.fields),
        "vocabularies": [np.asarray(v.ids, dtype=np.str_) for v in model.vocabularies],
        "titles": [_packed(model.titles), _packed(model.titles.values())],
        "scale": [model.scale.mean, model.scale.deviation],
        "objective": model.objective,
        "seen": [model.seen.indptr, model.seen.indices, model.seen.data],
        "folds": [[vars(encoding), vars(objective)] for encoding, objective in model.folds],
        "untrained": list(model.untrained),
        "reading": model.reading.model_dump(mode="json", exclude_defaults=True),
    }
    further = {name: getattr(model, name) for name in USUAL}
    state |= {name: value for name, value in further.items() if value != USUAL[name]}
    if len(model.owned.items):
        state["owned"] = [model.owned.items.ids, *model.owned.pairs.T.astype(np.int32, order="C")]
    if model.folding.rows:
        state["folding"] = model.folding.state()
    if model.item_precision is not None:
        state["item_precision"] = dataclasses.asdict(model.item_precision)
    if model.cold_start is not None:
        state["fallback"] = [model.cold_start.order, model.cold_start.cold_users]
        state["cold_order"] = model.cold_start.name
    if model.report is not None:
        state["report"] = dataclasses.asdict(model.report)
    return state | _state_of_features(model)


def _state_of_features(model: ServedModel) -> dict[str, Any]:
    """The part of the state that is of features."""
    tables = {name: getattr(model, name) for name in FEATURES}
    state: dict[str, Any] = {n: one.state() for n, one in tables.items() if one is not None}
    if model.item_features is not None:
        state["alikeness"] = dataclasses.asdict(model.alikeness)
    if model.user_alikeness is not None:
        state["user_alikeness"] = dataclasses.asdict(model.user_alikeness)
    if model.feature_factors is not None:
        state["feature_factors"] = model.feature_factors.state()
        state["alike_scales"] = list(model.alike_scales)
    return state


def fields_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model of a state, which has been checked.

    Raises:
        ValueError, TypeError, LookupError, GenotypeError: It contradicts itself.
    """
    genotype, fields = Genotype.from_json(state["genotype"]), tuple(state["fields"])
    vocabularies = tuple(Vocabulary(ids) for ids in state["vocabularies"])
    sizes = tuple(len(v) for v in vocabularies)
    folds = ((terms.Encoding(**one), terms.Objective(**other)) for one, other in state["folds"])
    numbers = TypeAdapter(dict[str, float])
    return {
        "genotype": genotype,
        "trained": _network(genotype, state, fields),
        "fields": fields,
        "vocabularies": vocabularies,
        "seen": _seen(state["seen"], sizes),
        "titles": _titles(state["titles"]),
        "scale": Scale(*state["scale"]),
        "objective": state["objective"],
        "cold_start": _rule(state),
        "folds": tuple(folds),
        "reading": DataConfig(**state.get("reading", {})),
        "untrained": _untrained(state, sizes),
        "report": TypeAdapter(Report | None).validate_python(state.get("report")),
        "owned": _owned(state.get("owned"), sizes[0]),
        **{name: state.get(name, usual) for name, usual in USUAL.items()},
        "constants": numbers.validate_python(state.get("constants", {})),
        "item_precision": TypeAdapter(ItemPrecision | None).validate_python(
            state.get("item_precision")
        ),
        "folding": Folding.restored(state.get("folding"), sizes),
        "item_features": _features(state, "item_features"),
        "user_features": _features(state, "user_features"),
        "alikeness": Alikeness(**state.get("alikeness", {})),
        "user_alikeness": _constants(state.get("user_alikeness")),
        "feature_factors": _factors(state.get("feature_factors")),
        "alike_scales": tuple(state.get("alike_scales", (1.0, 1.0))),
    }


def _rule(state: Mapping[str, Any]) -> ColdStartRule | None:
    if "fallback" not in state:
        return None
    order, cold_users = state["fallback"]
    # Files of earlier versions have -0 for the first place.
    return ColdStartRule(order + 0, cold_users, state.get("cold_order", POPULARITY_ORDER.name))


def _network(
    genotype: Genotype, state: Mapping[str, Any], fields: tuple[str, ...]
) -> InteractionNetwork | OrderNetwork:
    """The weights of a file's state, which has been checked."""
    net: InteractionNetwork | OrderNetwork
    if state["shape"] is None:
        net = item_item_network(genotype, len(state["vocabularies"][1]))
        net.load_state_dict(state["network"])
        return net
    saved = state["shape"]
    lists = {name: tuple(saved.get(name, ())) for name in ("sizes", "encodings")}
    shape = TableShape(**{**saved, **lists})
    net = InteractionNetwork(design_of(genotype, fields).served(), shape, torch.Generator())
    return net.take(state["network"])


def with_todays_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a model that an earlier version may have saved."""
    folds = [
        [{_FORMER_NAMES.get(key, key): value for key, value in one.items()}, _todays(other)]
        for one, other in state["folds"]
    ]
    return {**state, "folds": folds}


def _todays(objective: Mapping[str, Any]) -> dict[str, Any]:
    """Terms of a loss that had no settings when it was saved: softmax, without a temperature."""
    if objective["loss"] == "softmax" and not objective.get("own"):
        return {**objective, "own": {"temperature": 1.0}}
    return dict(objective)


def _packed(texts: Iterable[str]) -> NDArray[np.uint8]:
    """Texts as bytes: the header of a file is too small for many texts."""
    return np.frombuffer(json.dumps(list(texts)).encode(), dtype=np.uint8).copy()


def _titles(packed: Sequence[NDArray[np.uint8]]) -> dict[str, str]:
    names, titles = (json.loads(part.tobytes()) for part in packed)
    if not all(isinstance(text, str) for text in (*names, *titles)):
        raise ValueError("expected titles to be texts")
    return dict(zip(names, titles, strict=True))


def _seen(parts: Sequence[NDArray[np.int64]], sizes: tuple[int, ...]) -> sparse.csr_array:
    """The matrix of a CSR structure, checked."""
    indptr, indices, data = parts
    matrix = sparse.csr_array((data, indices, indptr), shape=sizes[:2])
    matrix.check_format(full_check=True)
    return matrix


def _owned(parts: Sequence[Any] | None, n_users: int) -> Owned:
    """Dropped pairs, checked; files of earlier versions have none."""
    if parts is None:
        return Owned()
    names, *columns = parts
    pairs = np.stack([column.astype(np.int64) for column in columns], axis=1)
    sizes = (n_users, len(names))
    if ((pairs < 0) | (pairs >= sizes)).any():
        raise ValueError(f"expected dropped pairs below {sizes}, found {pairs.max(axis=0)}")
    return Owned(Vocabulary(names), pairs[np.argsort(pairs[:, 0], kind="stable")])


def _factors(state: Any) -> FeatureFactors | None:
    return None if state is None else FeatureFactors.restored(state)


def _constants(state: Any) -> Alikeness | None:
    return None if state is None else Alikeness(**state)


def _features(state: Mapping[str, Any], name: str) -> Features | None:
    return Features.restored(state[name]) if name in state else None


def _untrained(state: Mapping[str, Any], sizes: tuple[int, ...]) -> tuple[NDArray[np.int64], ...]:
    """Rows that no training saw; files that do not store them give the cold ones."""
    untrained = state.get("untrained")
    if untrained is None:
        order, cold = state.get("fallback", ((), ()))
        untrained = [np.flatnonzero(cold), np.flatnonzero(np.isneginf(order))]
    for rows, size in zip(untrained, sizes[:2], strict=True):
        if len(rows) and not 0 <= rows.min() <= rows.max() < size:
            raise ValueError(f"expected untrained rows from 0 to {size - 1}, found {rows}")
    return tuple(untrained)
