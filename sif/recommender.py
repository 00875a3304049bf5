"""A trained interaction function with the vocabularies and the history it serves.

`Recommender.load(run / "model")` and `recommend` are what a finished run leaves behind: original
ids in, original ids out. The file is a safetensors file with JSON in its header; nothing is
unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sif import checkpoint
from sif.cold import Fallback
from sif.data import Interactions, Vocabulary
from sif.errors import ConfigError
from sif.evaluate import pair_matrix
from sif.genotype import Genotype, from_json
from sif.scoring import InteractionScorer, Scale
from sif.spaces.functions import design_of, network, served
from sif.spaces.interaction import InteractionNetwork
from sif.spaces.tables import TableShape

KIND = "recommender"
FILE = "recommender.safetensors"
_CHUNK = 1024  # users ranked at once


class Recommender:
    """Recommends items to known users.

    Args:
        genotype: The interaction function.
        net: The trained network of that genotype.
        shape: Of its tables.
        known: Interactions whose vocabularies the model was trained with; what a user has in them
            is not recommended to that user again.
        scale: Back to rating units.
        fallback: What users and items that the network was not trained on score in rankings.
    """

    def __init__(
        self,
        genotype: Genotype,
        net: InteractionNetwork,
        shape: TableShape,
        known: Interactions,
        scale: Scale,
        fallback: Fallback | None = None,
    ) -> None:
        self.genotype = genotype
        self.fields = known.fields
        self.vocabularies = known.vocabularies
        self.titles: Mapping[str, str] = known.titles
        self._network, self._shape, self._scale = net, shape, scale
        self._seen = pair_matrix(known).tocsr()
        self.scorer = InteractionScorer(net, scale, fallback)

    def recommend(
        self, users: Sequence[str], k: int = 10
    ) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """The best k items that each user has not had.

        Args:
            users: Original user ids, b of them.
            k: Items per user; at most the catalogue's size.

        Returns:
            Item ids (b, k), "" where nothing is left, and scores (b, k), best first.

        Raises:
            DataError: An unknown user.
            ConfigError: k is less than 1, or the function has further fields.
        """
        if len(self.fields) != 2:
            raise ConfigError(
                f"recommend: expected a model of user and item alone, found one of "
                f"{', '.join(self.fields)}; use predict"
            )
        if k < 1:
            raise ConfigError(f"k: expected at least 1, found {k}")
        rows = self.vocabularies[0].index(np.asarray(users, dtype=np.str_), "user")
        names = np.append(np.asarray(self.vocabularies[1].ids, dtype=np.str_), "")
        items, scores = [], []
        for start in range(0, len(rows), _CHUNK):
            found, best = self._best(rows[start : start + _CHUNK], min(k, len(names) - 1))
            items.append(names[found])
            scores.append(best)
        return np.concatenate(items), np.concatenate(scores)

    def _best(
        self, rows: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        scores = self.scorer.scores(rows)
        seen = self._seen[rows]
        scores[np.repeat(np.arange(len(rows)), np.diff(seen.indptr)), seen.indices] = -np.inf
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        top = np.take_along_axis(top, order, axis=1)
        best = np.take_along_axis(scores, top, axis=1)
        return np.where(np.isfinite(best), top, -1).astype(np.int64), best

    def predict(self, *ids: Sequence[str]) -> NDArray[np.float32]:
        """Scores in rating units: one sequence of original ids per field, all of length b.

        Raises:
            ConfigError: Another number of sequences than fields, or unequal lengths.
            DataError: An unknown id.
        """
        if len(ids) != len(self.fields) or len({len(column) for column in ids}) != 1:
            raise ConfigError(
                f"predict: expected {len(self.fields)} sequences of one length "
                f"({', '.join(self.fields)}), found lengths {[len(column) for column in ids]}"
            )
        columns = [
            vocabulary.index(np.asarray(column, dtype=np.str_), field)
            for field, vocabulary, column in zip(self.fields, self.vocabularies, ids, strict=True)
        ]
        return self.scorer.predict(np.stack(columns, axis=1))

    def save(self, folder: Path) -> Path:
        """Writes the model into a folder; returns the file."""
        state: dict[str, Any] = {
            "genotype": self.genotype.to_json(),
            "shape": vars(self._shape),
            "network": self._network.state_dict(),
            "fields": list(self.fields),
            "vocabularies": [np.asarray(v.ids, dtype=np.str_) for v in self.vocabularies],
            "titles": dict(self.titles),
            "scale": [self._scale.mean, self._scale.deviation],
            "seen": [self._seen.indptr, self._seen.indices],
        }
        if (fallback := self.scorer.fallback) is not None:
            state["fallback"] = [fallback.order, fallback.cold_users]
        checkpoint.save(folder / FILE, state, KIND)
        return folder / FILE

    @classmethod
    def load(cls, folder: Path) -> Recommender:
        """Reads what `save` wrote, onto the CPU.

        Raises:
            CheckpointError: The file is missing, damaged or foreign.
            GenotypeError: Its genotype is of another version or space.
        """
        state = checkpoint.load(Path(folder) / FILE, KIND)
        genotype = from_json(state["genotype"], str(folder))
        saved = state["shape"]
        lists = {name: tuple(saved.get(name, ())) for name in ("sizes", "encodings")}
        shape = TableShape(**{**saved, **lists})
        fields = tuple(state["fields"])
        net = network(served(design_of(genotype, fields)), shape, torch.Generator())
        net.load_state_dict(state["network"])
        vocabularies = tuple(Vocabulary(ids) for ids in state["vocabularies"])
        known = _interactions(state["seen"], fields, vocabularies, state["titles"])
        fallback = Fallback(*state["fallback"]) if "fallback" in state else None
        return cls(genotype, net, shape, known, Scale(*state["scale"]), fallback)


def _interactions(
    seen: Sequence[NDArray[np.int64]],
    fields: tuple[str, ...],
    vocabularies: tuple[Vocabulary, ...],
    titles: Mapping[str, str],
) -> Interactions:
    """Pairs of a CSR structure; fields beyond user and item are not kept."""
    indptr, indices = seen
    users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    ids = np.zeros((len(indices), len(fields)), dtype=np.int64)
    ids[:, 0], ids[:, 1] = users, indices
    return Interactions(ids, fields, vocabularies, None, None, titles)
