"""An interaction function applied to vectors: f(u, v) = c + b_u + b_v + w^T O(P(u), Q(v)).

A `Design` says which function it is. `Interaction` puts it on top of tables, whose rows may first
be encoded, and scores pairs; `InteractionNetwork` is the module that a design describes. All are
written for k fields; only whole-catalogue products (`factors`) and encoders ask for two.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sif.errors import ShapeError
from sif.spaces.interaction.compact_embeddings import ITEMS, SCALES, CompactEmbeddings
from sif.spaces.interaction.embeddings import (
    UNIT_INIT,
    TableRows,
    Tables,
    TableShape,
    clip_readout,
)
from sif.spaces.interaction.encoders import Encoder, Histories, Vectors, encoded_fields
from sif.spaces.interaction.feature_vectors import FeatureSums
from sif.spaces.interaction.operations import Factors, Operation
from sif.spaces.interaction.pair_products import PairGraph, pair_products
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES, Elementwise, is_identity
from sif.utils.compact_rows import CompactRows, Precision


@dataclass(frozen=True, eq=False)
class Design:
    """The function that a genotype describes, ready to be made a network.

    Attributes:
        transforms: Element-wise function of each field.
        operation: The vector-wise operation.
        encodings: Of each field, in `ENCODINGS`; empty: all by id.
        graph: Whether vectors are propagated along the train part.
        weighting: Key of `WEIGHTINGS`, for the training loss.
        trained_readout: See `TableShape`.
        unit: Whether vectors are scaled to length 1 before they meet: products are then cosines.
        loss: Name of the training loss; empty: the job's.
        features: Whether vectors have a part that their features say.
    """

    transforms: tuple[Elementwise, ...]
    operation: Operation
    encodings: tuple[str, ...] = ()
    graph: bool = False
    weighting: str = "even"
    trained_readout: bool = True
    unit: bool = False
    loss: str = ""
    features: bool = False

    @property
    def looks_up(self) -> bool:
        """True if the vectors are rows of tables, neither encoded nor propagated nor described."""
        return not self.reads_pairs and not self.features

    @property
    def reads_pairs(self) -> bool:
        """True if vectors are made of the train part's pairs."""
        return bool(self.encodings) or self.graph

    @property
    def separates_users(self) -> bool:
        """True if a user's scores depend on no other user's pairs or rows."""
        return not self.graph and all(encoding == "id" for encoding in self.encodings[1:])

    @property
    def factorizes(self) -> bool:
        """True if all scores, and what pairs contribute to their own, are products."""
        history = self.graph or any(encoding != "id" for encoding in self.encodings)
        return factorizes(self.operation, self.transforms, self.unit, history)

    def served(self) -> Design:
        """The same function of encoded vectors, as of `InteractionNetwork.precomputed`."""
        served = replace(self, encodings=(), graph=False, features=False)
        if not self.unit:
            return served
        plain = (PRIMITIVES[IDENTITY],) * len(self.transforms)
        return replace(served, transforms=plain, unit=False)


class Interaction:
    """A function over tables: scores pairs, and factors the whole catalogue where it can.

    Made anew for every loss: it keeps the transformed tables, which the next step outdates.

    Args:
        tables: Embeddings and biases.
        transforms: Element-wise function of each field.
        operation: The vector-wise operation.
        readout: (width * d,) weights w, used as `clip_readout(readout)`.
        vectors: Encoded tables of the fields; None: the embeddings as they are.
        unit: Whether transformed vectors are scaled to length 1; a zero vector stays.
    """

    def __init__(
        self,
        tables: Tables,
        transforms: Sequence[Elementwise],
        operation: Operation,
        readout: Tensor,
        vectors: Sequence[Vectors] | None = None,
        unit: bool = False,
    ) -> None:
        self.unit = unit
        self.vectors = tuple(vectors or (Vectors(e) for e in tables.embeddings))
        self.tables = tables
        self.transforms = tuple(transforms)
        self.operation = operation
        self.readout = readout
        self._tables: dict[int, Tensor] = {}
        self._factors: Factors | None = None

    def table(self, field: int) -> Tensor:
        """A field's whole transformed table (n_f, d), computed once per interaction."""
        if field not in self._tables:
            self._tables[field] = self._transformed(field, self.vectors[field].table)
        return self._tables[field]

    def _transformed(self, field: int, vectors: Tensor) -> Tensor:
        """A field's vectors (..., d) as they meet the other's."""
        transformed = self.transforms[field](vectors)
        return F.normalize(transformed, dim=-1) if self.unit else transformed

    def fields(self, ids: Tensor, observed: bool = False) -> list[Tensor]:
        """Transformed vectors (n, d) of each field at ids (n, k); `observed` as in `pairs`."""
        result = []
        for field, vectors in enumerate(self.vectors):
            rows = ids[:, field]
            if observed and vectors.own:
                raw = vectors.leave_one_out(rows, ids[:, 1 - field])
                result.append(self._transformed(field, raw))
                continue
            # A field with fewer rows than pairs is cheaper to transform before the look-up.
            few = len(vectors.table) <= len(rows)
            result.append(
                self.table(field)[rows] if few else self._transformed(field, vectors.table[rows])
            )
        return result

    def features(self, ids: Tensor, observed: bool = False) -> Tensor:
        """O(P(u), Q(v)) at ids (n, k): (n, width * d)."""
        return self.operation.combine(self.fields(ids, observed))

    def interact(self, ids: Tensor, observed: bool = False) -> Tensor:
        """w^T O(P(u), Q(v)) at ids (n, k): (n,)."""
        return self.features(ids, observed) @ clip_readout(self.readout)

    def combine_broadcast(self, *fields: Tensor) -> Tensor:
        """w^T O(...) of already transformed vectors (..., d) that broadcast: (...)."""
        return self.operation.combine(fields) @ clip_readout(self.readout)

    def pairs(self, ids: Tensor, observed: bool = False) -> Tensor:
        """Scores (n,) at ids (n, k).

        Args:
            ids: Combinations.
            observed: They are pairs of the train part, each to be scored without what it
                contributed to its own vectors.
        """
        return self.interact(ids, observed) + self.tables.offset(ids)

    def factors(self) -> Factors | None:
        """A (n, r), B (m, r) with scores A @ B.T, offsets included; None where there is no form."""
        if self._factors is None:
            self._factors = self._made_factors()
        return self._factors

    def _made_factors(self) -> Factors | None:
        if self.operation.factors is None or len(self.transforms) != 2:
            return None
        p, q = self.table(0), self.table(1)
        a, b = self.operation.factors(p, q, clip_readout(self.readout))
        if not self.tables.biases and not self.tables.has_intercept:
            return a, b
        user = self.tables.intercept.expand(len(p))
        item = torch.zeros_like(q[:, 0])
        if self.tables.biases:
            user, item = user + self.tables.biases[0], item + self.tables.biases[1]
        ones_p, ones_q = torch.ones_like(user), torch.ones_like(item)
        left = torch.cat([a, torch.stack([user, ones_p], dim=1)], dim=1)
        return left, torch.cat([b, torch.stack([ones_q, item], dim=1)], dim=1)

    def on_graph(self, graph: PairGraph) -> Tensor:
        """Scores (n,) at a graph's pairs, in its row order, by factors where there are any."""
        factors = self.factors()
        if factors is None:
            return self.pairs(graph.ids())
        return pair_products(*factors, graph)

    @property
    def uses_history(self) -> bool:
        """True if a pair of the train part contributes to its own vectors."""
        return any(v.own for v in self.vectors)

    @property
    def is_factorized(self) -> bool:
        """True if scores are a product, and so is the part that pairs contribute to themselves."""
        parts = self.operation, self.transforms, self.unit, self.uses_history
        return factorizes(*parts) and self.factors() is not None

    def own_on_graph(self, graph: PairGraph) -> Tensor | None:
        """The part of a graph's scores (n,) that its pairs contributed, in its row order.

        None where nothing did. By factors A B^T, with (A - a) (B - b)^T for the score without it,
        the part is A b^T + a B^T - a b^T; a and b are sparse in the same pairs.
        """
        if not self.uses_history:
            return None
        if not self.is_factorized:
            ids = graph.ids()
            return self.interact(ids) - self.interact(ids, observed=True)
        return own_products(self.operation, clip_readout(self.readout), self.vectors, graph)


def factorizes(
    operation: Operation, transforms: Sequence[Elementwise], unit: bool, uses_history: bool
) -> bool:
    """True if all scores, and what pairs contribute to their own, are a few matrix products."""
    plain = all(map(is_identity, transforms)) and not unit
    return operation.factors is not None and (plain or not uses_history)


def own_products(
    operation: Operation, readout: Tensor, vectors: Sequence[Vectors], graph: PairGraph
) -> Tensor:
    """`Interaction.own_on_graph` for functions whose factors are affine in the vectors."""
    assert operation.factors is not None  # noqa: S101
    user, item = vectors
    a, b = operation.factors(user.table, item.table, readout)
    rows, columns = graph.rows, graph.columns
    left, right = (_linear(operation, readout, side) for side in (0, 1))
    users = [(own.scale, left(own.table)) for own in user.own]
    items = [(own.scale, right(own.table)) for own in item.own]
    total = torch.zeros(len(graph), dtype=a.dtype, device=a.device)
    for scale, of_item in users:
        total = total + scale[rows] * (of_item * b).sum(dim=1)[columns]
    for scale, of_user in items:
        total = total + scale[columns] * (of_user * a).sum(dim=1)[rows]
    for (scale, of_item), (other, of_user) in itertools.product(users, items):
        crossed = pair_products(of_user, of_item, graph)
        total = total - scale[rows] * other[columns] * crossed
    return total


def _linear(operation: Operation, readout: Tensor, side: int) -> Elementwise:
    """The linear part of a factor, as a function of its field's vectors."""

    def apply(table: Tensor) -> Tensor:
        assert operation.factors is not None  # noqa: S101
        zero = torch.zeros_like(table)
        return (
            operation.factors(table, table, readout)[side]
            - operation.factors(zero, zero, readout)[side]
        )

    return apply


class InteractionNetwork(nn.Module):
    """The network of a design with fresh weights, to be trained from scratch.

    Args:
        design: Of a genotype; modules among its transforms must be frozen.
        shape: Of the tables; the design says how they are encoded, and what is trained.
        generator: Draws the embeddings.
        histories: Of the train part, for designs that encode or propagate.
        described: Features of each field, for designs that have a part of them.

    Raises:
        ShapeError: The design has features, and no field does.
    """

    def __init__(
        self,
        design: Design,
        shape: TableShape,
        generator: torch.Generator,
        histories: Histories | None = None,
        described: Sequence[FeatureSums | None] = (),
    ) -> None:
        super().__init__()
        if design.features and not any(described):
            raise ShapeError("function: expected features of users or items, found none")
        self.design = design
        self.histories: Histories | None = histories
        self.shape = replace(
            shape, encodings=design.encodings, trained_readout=design.trained_readout,
            init=shape.init * (UNIT_INIT if design.unit else 1.0),
        )  # fmt: skip
        self.tables = Tables(self.shape, generator, described if design.features else ())
        self.readout = self.shape.readout(design.operation)
        self.frozen = nn.ModuleList(t for t in design.transforms if isinstance(t, nn.Module))

    def interaction(
        self, rows: Tensor | None = None, graph: PairGraph | None = None
    ) -> Interaction:
        """The function over this network's tables, or over some rows of the first field's.

        Args:
            rows: (b,) int64, ascending; None: all.
            graph: All pairs of these rows, which are their histories.
        """
        tables: Tables = self.tables
        histories: Encoder | None = self.histories
        if rows is not None:
            tables = TableRows(tables, rows)
            if self.histories is not None and graph is not None:
                histories = self.histories.within(rows, graph)
        return self.over(tables, histories)

    def over(self, tables: Tables, histories: Encoder | None) -> Interaction:
        """The function over other tables, and histories of their rows."""
        design, vectors = self.design, None
        if not design.looks_up:
            encodings = [self.shape.encoding(f) for f in range(len(tables.embeddings))]
            vectors = encoded_fields(tables, histories, encodings, design.graph)
        return Interaction(
            tables, design.transforms, design.operation, self.readout, vectors, design.unit
        )

    @torch.no_grad()
    def precomputed(self) -> InteractionNetwork:
        """A network with the same scores whose vectors are looked up by id, for serving.

        A copy, or the network itself where it does that already. Vectors of length 1 are stored
        so: the served function is a product of them.
        """
        if self.design.looks_up and not self.design.unit:
            return self
        interaction, unit = self.interaction(), self.design.unit
        tables = [
            interaction.table(f) if unit else vectors.table
            for f, vectors in enumerate(interaction.vectors)
        ]
        result = copy.copy(self)
        result._modules = dict(self._modules)
        result.design, result.histories = self.design.served(), None
        result.shape = replace(self.shape, encodings=())
        result.tables = copy.deepcopy(self.tables.without_features())
        result.tables.embeddings = nn.ParameterList(nn.Parameter(table.clone()) for table in tables)
        if unit:
            result.frozen = nn.ModuleList()
        result.tables.histories = nn.ParameterList()
        return result

    def with_embeddings(self, embeddings: nn.Module) -> InteractionNetwork:
        """The network with other embeddings; it shares all else with this one."""
        result, tables = copy.copy(self), copy.copy(self.tables)
        result._modules = dict(self._modules) | {"tables": tables}
        tables._modules = dict(tables._modules) | {"embeddings": embeddings}
        return result

    def compact(self, precision: Precision) -> InteractionNetwork:
        """The network with rounded embeddings of the items; itself where these are so.

        Raises:
            ValueError: Numbers that are not finite.
        """
        if precision == self.tables.precision:
            return self
        return self.with_embeddings(CompactEmbeddings.of(list(self.tables.embeddings), precision))

    def take(self, state: Mapping[str, Tensor]) -> InteractionNetwork:
        """The network with the tensors of a state, whose items may be rounded."""
        prefix, network = "tables.embeddings.", self
        scales = state.get(prefix + SCALES)
        if scales is not None:
            items = CompactRows(state[f"{prefix}{ITEMS}"], scales)
            tables = [None if f == ITEMS else t for f, t in enumerate(self.tables.embeddings)]
            network = self.with_embeddings(CompactEmbeddings(tables, items))
        network.load_state_dict(dict(state))
        return network

    def forward(self, ids: Tensor) -> Tensor:
        """Scores (n,) at ids (n, k)."""
        return self.interaction().pairs(ids)
