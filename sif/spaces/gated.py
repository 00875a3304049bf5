"""The supernet of the space `rich` at its gates, as something that scores pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from sif.core.gates import Gates
from sif.core.probe import mix
from sif.pairs import PairGraph
from sif.spaces.elementwise import IDENTITY, PRIMITIVES, Elementwise, Mlp
from sif.spaces.encoders import ENCODINGS, Vectors, encoded, needed
from sif.spaces.functions import EMBEDDING_BLOCK, EMBEDDINGS, ENCODING_BLOCK, OPERATION_BLOCK
from sif.spaces.interaction import Interaction
from sif.spaces.members import Member
from sif.spaces.operations import Factors
from sif.spaces.stages import NEUTRAL

if TYPE_CHECKING:
    from sif.spaces.rich import RichSpace


class GatedRich:
    """The supernet at its gates, as something that scores pairs.

    At a discrete point it is one `Interaction` over the combination's own weights. With gates that
    require a gradient, or relaxed ones, every stage mixes its candidates over the same weights; a
    pair's own part is then left in, since gates are judged on pairs that no history holds.
    """

    def __init__(self, space: RichSpace, gates: Gates) -> None:
        self._space, self._gates = space, gates
        self.probed = any(w.requires_grad for w in gates.weights.values())
        discrete = gates.active is not None
        self.member = (
            space.members.of(space.point(gates))
            if discrete
            else cast(Member, space.members.sets[0])
        )
        self._chosen = self._at_point() if discrete and not self.probed else None
        self._candidates = [] if self._chosen else self._mixed()

    def chosen(self) -> Interaction:
        """The function of the active combination."""
        return self._chosen or self._at_point()

    def _at_point(self) -> Interaction:
        space, member = self._space, self.member
        point = space.point(self._gates)
        k = len(space.settings.fields)
        vectors = [self._encoded(f, ENCODINGS[point[f]]) for f in range(k)]
        embedding = EMBEDDINGS[point[k]]
        if embedding == "graph":
            vectors = self._propagated(vectors)
        transforms = self._transforms(embedding)
        return Interaction(
            member.tables, transforms, space.operations[point[k + 1]],
            member.readouts[point[k + 1]], vectors,
        )  # fmt: skip

    def _transforms(self, embedding: str) -> Sequence[Elementwise]:
        if embedding == "elementwise":
            return [cast(Mlp, t) for t in self._space.transforms]
        return [PRIMITIVES[IDENTITY]] * len(self._space.settings.fields)

    def _encoded(self, field: int, encoding: str) -> Vectors:
        return encoded(self.member.tables, self._space.settings.histories, field, encoding)

    def _mix(self, block: str, edge: int, candidates: Mapping[str, Callable[[], Tensor]]) -> Tensor:
        """One edge of a stage; its neutral candidate where the stage is not searched."""
        weights = self._gates.weights.get(block)
        if weights is None:
            return candidates[NEUTRAL[block]]()
        active = None if self._gates.active is None else self._gates.active[block][edge]
        return mix(weights[edge], active, list(candidates.values()))

    def _mixed(self) -> list[Interaction]:
        space, member = self._space, self.member
        encoded = [
            Vectors(
                self._mix(
                    ENCODING_BLOCK, f,
                    {e: partial(lambda f, e: self._encoded(f, e).table, f, e) for e in ENCODINGS},
                )
            )
            for f in range(len(space.settings.fields))
        ]  # fmt: skip
        vectors = [Vectors(self._embedded(encoded, f)) for f in range(len(encoded))]
        identity = self._transforms("identity")
        return [
            Interaction(member.tables, identity, operation, readout, vectors)
            for operation, readout in zip(space.operations, member.readouts, strict=True)
        ]

    def _embedded(self, encoded: Sequence[Vectors], field: int) -> Tensor:
        table = encoded[field].table
        return self._mix(
            EMBEDDING_BLOCK, 0,
            {
                "identity": lambda: table,
                "elementwise": lambda: self._space.transforms[field](table),
                "graph": lambda: self._propagated(encoded)[field].table,
            },
        )  # fmt: skip

    def _propagated(self, vectors: Sequence[Vectors]) -> list[Vectors]:
        return needed(self._space.settings.histories).propagate(vectors)

    def pairs(self, ids: Tensor, observed: bool = False) -> Tensor:
        """Scores (n,) at ids (n, 2); `observed` as in `Interaction.pairs`."""
        if self._chosen:
            return self._chosen.pairs(ids, observed)
        by_name = {i.operation.name: partial(i.pairs, ids) for i in self._candidates}
        return self._mix(OPERATION_BLOCK, 0, by_name)

    @property
    def exact(self) -> bool:
        """As of the chosen function; never for mixtures."""
        return self._chosen is not None and self._chosen.exact

    @property
    def uses_history(self) -> bool:
        """As of the chosen function; mixtures leave nothing out."""
        return self._chosen is not None and self._chosen.uses_history

    def factors(self) -> Factors | None:
        """Factors of the chosen function; None for mixtures."""
        return self._chosen.factors() if self._chosen else None

    def on_graph(self, graph: PairGraph) -> Tensor:
        """Scores (n,) at a graph's pairs."""
        if self._chosen:
            return self._chosen.on_graph(graph)
        return self.pairs(torch.stack([graph.rows, graph.columns], dim=1))

    def own_on_graph(self, graph: PairGraph) -> Tensor | None:
        """What a graph's pairs contributed to their own scores."""
        return self._chosen.own_on_graph(graph) if self._chosen else None
