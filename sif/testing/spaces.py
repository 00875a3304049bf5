"""Promises of every search space to the core, the methods and the loops."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates
from sif.core.genotype import Genotype
from sif.core.method import Plan
from sif.core.probe import gate_gradient
from sif.core.proximal import project, weight_step
from sif.core.space import ReplacementScored
from sif.errors import GenotypeError, ShapeError
from sif.methods.nasp import Nasp, NaspSettings
from sif.testing.promises import ContractError, promise, promise_close

F64 = torch.float64
FEW = 9
"""A space with more points than that is compared at some of them only where comparing is dear."""
FOREIGN = (
    "sif", "primitives", "staged", "nasp-7op", "nasp-12op", "nasp-ptb", "gated", "scales",
    "unheard",
)  # fmt: skip
"""Spaces whose genotypes another one refuses."""


class SpaceCase(Protocol):
    """A space in float64 and small, and what only its author can say about it.

    Derive from it: `relaxed` and `carried` are right as they are for most spaces. For a space of
    interaction functions there is `sif.testing.InteractionCase`, with all of it.

    Examples:
        >>> from sif.testing import InteractionCase, SpaceCase
        >>> SpaceCase in InteractionCase.__bases__
        True
    """

    name: str
    """Unique among the cases."""

    def space(self, seed: int = 0) -> Any:
        """The supernet, with numbers far enough apart for every candidate to differ."""
        ...

    def batch(self, part: str, seed: int = 0) -> Any:
        """A new batch of the part "train" or "valid"; equal for equal arguments."""
        ...

    def read(self, genotype: Genotype) -> Any:
        """The architecture that networks are built of; GenotypeError for a foreign genotype."""
        ...

    def relaxed(self, space: Any, gates: Gates) -> Any:
        """A space whose relaxed loss has the weights of the discrete point: most often itself."""
        return space

    def moved(self, space: Any, gates: Gates) -> set[str]:
        """Names of all parameters that a weight step at the gates moves."""
        ...

    def extracted(
        self, space: Any, gates: Gates, genotype: Genotype, batch: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of the supernet and of the genotype's network with its weights, whose loss."""
        ...

    def carried(self, batch: Any) -> Tensor | None:
        """The state that a pass leaves behind in its batch."""
        return None


def scatter(module: nn.Module) -> None:
    """Moves every number by another one, so that no two candidates are alike."""
    with torch.no_grad():
        for place, parameter in enumerate(module.parameters()):
            steps = torch.arange(parameter.numel(), dtype=F64).view_as(parameter)
            parameter.add_((0.6 * torch.sin(1.7 * steps + 0.9 * place + 0.5)).to(parameter))


def check_space(case: SpaceCase) -> None:
    """Runs all `SPACE_CHECKS`; raises ContractError with the first promise that is not kept.

    Examples:
        >>> from sif.testing import InteractionCase, check_space
        >>> check_space(InteractionCase("sif"))
    """
    for check in SPACE_CHECKS:
        check(case)


# Points of a space


def drops(block: Block) -> bool:
    """True if a node has more edges than it keeps."""
    return max(map(block.nodes.count, block.nodes)) > block.edges_per_node


def _points(space: Any) -> int:
    whole: list[int] = [b.shape[1] ** b.shape[0] for b in space.blocks if not drops(b)]
    return max(3, *whole) if whole else 3


def selections(space: Any) -> Iterator[Gates]:
    """Random ones; of a block that keeps all of its edges, every combination occurs."""
    draws = torch.Generator().manual_seed(4)
    rows: dict[str, list[tuple[int, ...]]] = {}
    for block in space.blocks:
        edges, operations = block.shape
        if drops(block):
            found = torch.randint(operations, (_points(space), edges), generator=draws).tolist()
        else:
            found = list(itertools.product(range(operations), repeat=edges))
            found = [found[i] for i in torch.randperm(len(found), generator=draws)]
        rows[block.name] = list(map(tuple, found))
    for turn in range(_points(space)):
        alpha = {}
        for block in space.blocks:
            chosen = torch.tensor(rows[block.name][turn % len(rows[block.name])])[:, None]
            strength = 1 + torch.rand(chosen.shape, generator=draws, dtype=F64)
            alpha[block.name] = torch.zeros(block.shape, dtype=F64).scatter(1, chosen, strength)
        yield project(alpha, space.blocks)


def _few(space: Any) -> Iterator[Gates]:
    """The selections; of very many, some."""
    step = 1 if _points(space) <= FEW else _points(space) // 3
    return itertools.islice(selections(space), 0, None, step)


def _numbers(space: Any) -> dict[str, Tensor]:
    """Parameters and buffers, copied."""
    return {name: value.clone() for name, value in space.state_dict().items()}


def _changed(space: Any, before: Mapping[str, Tensor]) -> set[str]:
    after = space.state_dict()
    promise(after.keys() == before.keys(), f"a state of {sorted(before)}", sorted(after))
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def _named(space: nn.Module, parameters: Iterable[nn.Parameter]) -> set[str]:
    wanted = {id(p) for p in parameters}
    return {name for name, p in space.named_parameters() if id(p) in wanted}


def promise_legal(space: Any, gates: Gates) -> None:
    """One operation of each block on every kept edge, and as many edges per node as it keeps."""
    selection, names = gates.choices(), [block.name for block in space.blocks]
    promise(list(selection) == names, f"a selection of the blocks {names}", list(selection))
    try:
        expected = selection.to_gates(space.blocks).weights
    except ShapeError as error:
        raise ContractError(f"expected a legal selection: {error}") from error
    for name, weights in gates.weights.items():
        same = torch.equal(weights, expected[name].to(weights))
        promise(same, f"gates of block {name!r} that are its selection, 0 or 1", weights.tolist())


# Promises


def blocks_are_legal(case: SpaceCase) -> None:
    """Block names differ; every operation can be chosen, and edges are dropped where they must."""
    space = case.space()
    names = [block.name for block in space.blocks]
    fits = len(set(names)) == len(names) > 0
    promise(fits, "blocks, at least one, of different names", names)
    for block in space.blocks:
        met = [gates.choices()[block.name] for gates in selections(space)]
        chosen = {k for active in met for k in active if k >= 0}
        every = set(range(block.shape[1]))
        promise(chosen == every, f"selections of all operations of {block.name!r}", chosen)
        lost = any(-1 in active for active in met)
        promise(lost == drops(block), f"block {block.name!r} to drop edges: {drops(block)}", lost)
    for gates in selections(space):
        promise_legal(space, gates)


def parameters_are_divided(case: SpaceCase) -> None:
    """Architecture and weight parameters are disjoint and together all that is trained."""
    space = case.space()
    for _ in range(2):
        weights = _named(space, space.weight_parameters())
        arch = _named(space, space.arch_parameters())
        both = weights & arch
        promise(not both, "no parameter of both architecture and weights", sorted(both))
        trained = {name for name, p in space.named_parameters() if p.requires_grad}
        other = sorted((weights | arch) ^ trained)
        promise(not other, "architecture and weights to be all that requires a gradient", other)
        space.float()  # and a space that was moved knows its own parameters


def it_computes_where_it_is(case: SpaceCase) -> None:
    """A space computes in the dtype and on the device that it was moved to."""
    space = case.space()
    like = space.reference_tensor()
    promise(like.dtype == F64 and like.device.type == "cpu", "float64 on the CPU", like.dtype)
    gates, batch = next(selections(space)), case.batch("valid")
    for name, value in (("loss", space.loss(batch, gates)), ("L2", space.regularizer(gates))):
        promise(value.dtype == F64, f"a {name} in the dtype of the space, float64", value.dtype)
    space.float()
    found = space.reference_tensor().dtype
    promise(found == torch.float32, "a reference tensor in float32 after float()", found)
    space.to("meta")
    device = space.reference_tensor().device.type
    promise(device == "meta", "a reference tensor on the device that the space is on", device)


def _full_gradient(
    case: SpaceCase, space: Any, batch: Any, gates: Gates
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """By autograd through every operation of every edge: of the gates, of what is continuous."""
    relaxed = case.relaxed(space, gates)
    leaves = {n: w.to(F64, copy=True).requires_grad_() for n, w in gates.weights.items()}
    wanted = [*leaves.values(), *relaxed.arch_parameters()]
    loss = relaxed.loss(batch, Gates(leaves, None))
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=False)), list(found[len(leaves) :])


def probes_are_exact(case: SpaceCase) -> None:
    """The gradient of gates by probes is that of autograd through every operation."""
    space, heard = case.space(), set()
    names = [block.name for block in space.blocks]
    for turn, gates in enumerate(_few(space)):
        found = gate_gradient(space, case.batch("valid", turn), gates)
        expected, arch = _full_gradient(case, space, case.batch("valid", turn), gates)
        promise(list(found.gates) == names, f"gradients of the blocks {names}", list(found.gates))
        for name, slopes in expected.items():
            dropped = [e for e, k in enumerate(gates.choices()[name]) if k < 0]
            told = f"dropped edges of {name!r} that matter"
            promise(bool(slopes[dropped].all()), told, slopes[dropped].tolist())
            heard |= {name} if slopes.any() else set()  # max may pass over a field
            told = f"the probed gradient of block {name!r} to be that of autograd"
            promise_close(found.gates[name], slopes, told, 1e-8, 1e-11)
        for ours, theirs in zip(found.arch, arch, strict=True):
            told = "the gradient of continuous parameters to be that of autograd"
            promise_close(ours, theirs, told, 1e-8, 1e-11)
        loss = space.loss(case.batch("valid", turn), gates)
        promise_close(found.loss, loss.detach(), "probes to leave the loss as it is", 1e-12, 0)
    promise(heard == set(names), f"a gradient of every block of {names}", sorted(heard))


def one_hot_mixtures_are_discrete(case: SpaceCase) -> None:
    """Relaxed gates of 0 and 1 have the loss of the discrete point."""
    space = case.space()
    for gates in _few(space):
        relaxed = Gates({n: w.to(F64) for n, w in gates.weights.items()}, None)
        with torch.no_grad():
            discrete = space.loss(case.batch("valid"), gates)
            mixed = case.relaxed(space, gates).loss(case.batch("valid"), relaxed)
        promise_close(mixed, discrete, "relaxed gates of 0 and 1 to be the discrete point", atol=0)


def probes_spare_the_weights(case: SpaceCase) -> None:
    """An architecture step computes no gradient of the weights."""
    space, asked = case.space(), list[str]()
    for name, parameter in space.named_parameters():
        if name in _named(space, space.weight_parameters()):
            parameter.register_hook(lambda grad, name=name: asked.append(name))
    for gates in _few(space):
        gate_gradient(space, case.batch("valid"), gates)
    promise(not asked, "no gradient of the weights in an architecture step", sorted(set(asked)))
    kept = [name for name, p in space.named_parameters() if p.grad is not None]
    promise(not kept, "an architecture step to leave no gradient behind", kept)


def weight_steps_touch_what_is_chosen(case: SpaceCase) -> None:
    """A weight step moves the chosen weights and nothing else."""
    space = case.space()
    # Momentum and decay would move whatever has a gradient, even of zeros.
    optimizer = torch.optim.Adam(space.weight_parameters(), lr=0.01, weight_decay=0.1)
    for turn, gates in enumerate(selections(space)):
        space.loss(case.batch("valid"), gates)  # some spaces make a place for a new combination
        before = {n: p.detach().clone() for n, p in space.named_parameters()}
        loss = weight_step(space, case.batch("train", turn), gates, optimizer, 5.0)
        promise(bool(loss.isfinite()) and not loss.requires_grad, "a finite loss", loss)
        expected, after = case.moved(space, gates), dict(space.named_parameters())
        for what, found in (
            ("a gradient", {n for n, p in after.items() if p.grad is not None}),
            ("another value", {n for n, p in after.items() if not torch.equal(p, before[n])}),
        ):
            told = f"{what} of {sorted(expected)} after a weight step at {dict(gates.choices())}"
            promise(found == expected, told, sorted(found))


def probes_leave_no_trace(case: SpaceCase) -> None:
    """Probes change no number, no random state and nothing that a batch carries on."""
    space = case.space()
    for gates in _few(space):
        plain, probed = case.batch("valid"), case.batch("valid")
        with torch.no_grad():
            loss = space.loss(plain, gates)
        before, random = _numbers(space), torch.get_rng_state()
        gate_gradient(space, probed, gates)
        moved = _changed(space, before)
        promise(not moved, "probes to change no parameter and no buffer", sorted(moved))
        same = torch.equal(torch.get_rng_state(), random)
        promise(same, "probes to leave the global generator alone", "one that has moved")
        ours, theirs = case.carried(probed), case.carried(plain)
        promise((ours is None) == (theirs is None), "probes to carry on what a pass does", ours)
        if ours is not None and theirs is not None:
            promise_close(ours, theirs, "probes to carry on what a pass does", 1e-12, 1e-15)
            promise(not ours.requires_grad, "what is carried on to need no gradient", ours)
        with torch.no_grad():
            again = space.loss(plain, gates)
        promise(torch.equal(again, loss), f"the loss {loss} after probes as before", again)


def losses_depend_on_batch_and_gates(case: SpaceCase) -> None:
    """Equal batches and gates have equal losses, others other ones, whatever the random state."""
    space, batch = case.space(), case.batch("train")
    first, *others = itertools.islice(selections(space), 3)
    with torch.no_grad():
        loss = space.loss(batch, first)
        random = torch.get_rng_state()
        for other in others:
            found = space.loss(case.batch("train"), other)
            promise(not torch.equal(found, loss), "other gates to have another loss", found)
        found = space.loss(case.batch("valid"), first)
        promise(not torch.equal(found, loss), "another batch to have another loss", found)
        same = torch.equal(torch.get_rng_state(), random)
        promise(same, "a loss to leave the global generator alone", "one that has moved")
        torch.manual_seed(17)
        for again in (batch, case.batch("train")):
            found = space.loss(again, first)
            promise(torch.equal(found, loss), f"equal batches to have the loss {loss}", found)


def losses_change_nothing(case: SpaceCase) -> None:
    """A loss and its backward pass change no parameter and no buffer."""
    space = case.space()
    for gates in _few(space):
        space.loss(case.batch("train"), gates)  # some spaces make a place for a new combination
        before = _numbers(space)
        space.loss(case.batch("train"), gates).backward()
        space.regularizer(gates)
        moved = _changed(space, before)
        promise(not moved, "a loss to change no parameter and no buffer", sorted(moved))


def genotypes_are_what_was_searched(case: SpaceCase) -> None:
    """The network of the genotype, with the supernet's weights, is the supernet at the gates."""
    space = case.space()
    for turn, gates in enumerate(selections(space)):
        genotype = Genotype.from_json(space.genotype(gates).to_json())
        for part in ("train", "valid"):
            ours, theirs, loss = case.extracted(space, gates, genotype, case.batch(part, turn))
            told = f"the network of {genotype.expression} to be the supernet at its gates"
            promise_close(theirs, ours, told)
            found = space.loss(case.batch(part, turn), gates)
            promise_close(loss.detach(), found.detach(), f"{told}, by its loss")


def genotypes_name_what_was_chosen(case: SpaceCase) -> None:
    """Genotypes have the selection by names, survive JSON, and are told on one line each.

    A block may be left out where its default is chosen.
    """
    space, told = case.space(), dict[str, Any]()
    for gates in selections(space):
        genotype = space.genotype(gates)
        promise(genotype.space == space.name, f"space {space.name!r}", genotype.space)
        usual = {b.name: tuple((e, b.default_op) for e in range(b.shape[0])) for b in space.blocks}
        for name, kept in gates.choices().named(space.blocks).items():
            found = genotype.blocks.get(name, usual[name])
            promise(found == kept, f"block {name!r} of the genotype to be {kept}", found)
        again = Genotype.from_json(genotype.to_json())
        promise(again == genotype, "a genotype that comes back from JSON", again)
        text = again.expression
        one = bool(text.strip()) and len(text.splitlines()) == 1
        promise(one, "an expression on one line", repr(text))
        same = genotype.expression
        promise(same == text, f"the expression {text!r} of an equal genotype", same)
        told[text] = genotype.blocks
    different = len({tuple(sorted(blocks.items())) for blocks in told.values()})
    promise(len(told) == different, f"an expression of its own for each of {different}", told)


def foreign_genotypes_are_refused(case: SpaceCase) -> None:
    """A genotype of another space is a GenotypeError of one line."""
    space = case.space()
    genotype = space.genotype(next(selections(space)))
    case.read(genotype)
    for name in FOREIGN:
        if name == space.name:
            continue
        try:
            case.read(replace(genotype, space=name))
        except GenotypeError as error:
            promise("\n" not in str(error), "an error of one line", repr(str(error)))
        else:
            raise ContractError(f"expected a GenotypeError for space {name!r}, found none")


def states_bring_everything_back(case: SpaceCase) -> None:
    """A state dict brings back every weight: the same losses and genotypes."""
    space, other = case.space(), case.space(seed=5)
    for one, gates in ((space, _few(space)), (other, reversed(list(_few(other))))):
        optimizer = torch.optim.SGD(one.weight_parameters(), 0.01)
        for turn, at in enumerate(gates):
            weight_step(one, case.batch("train", turn), at, optimizer, 1.0)
    different = _numbers(space)
    promise(bool(_changed(other, different)), "other seeds to have other weights", "the same")
    other.load_state_dict(copy.deepcopy(space.state_dict()))
    moved = _changed(other, different)
    promise(not moved, "a loaded state to be the saved one", sorted(moved))
    with torch.no_grad():
        for point in selections(space):
            ours, theirs = (s.loss(case.batch("valid"), point) for s in (space, other))
            promise(torch.equal(ours, theirs), f"the loss {ours} after loading", theirs)
            mine, others = (s.genotype(point) for s in (space, other))
            promise(mine == others, f"the genotype {mine} after loading", others)


def searches_take_it(case: SpaceCase) -> None:
    """Steps of a search run: weights, probes, scores, the projection and the genotype."""
    space = case.space()
    settings = NaspSettings(
        explore=0.5, arch_optimizer="plain", arch_lr=0.1, complexity_penalty=1e-3
    )
    method = Nasp(space, settings, Plan(4, 2, continuous_lr=0.01), torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(space.weight_parameters(), 0.05, momentum=0.9)
    arch, moved = _named(space, space.arch_parameters()), set[str]()
    names = {block.name for block in space.blocks}
    further = {"replacement_loss"} if isinstance(space, ReplacementScored) else set()
    for step in range(4):
        gates = method.weight_gates(step)
        promise_legal(space, gates)
        loss = weight_step(space, case.batch("train", step), gates, optimizer, 5.0)
        promise(bool(loss.isfinite()), "a finite loss", loss)
        space.loss(case.batch("valid"), method.best_gates())
        alpha, before = method.alpha(), _numbers(space)
        for parameter in space.weight_parameters():
            parameter.grad = None
        report = method.arch_step(space, case.batch("train", step), case.batch("valid", step))
        # Alphas are the method's; of the space only what is continuous moves.
        other = _changed(space, before) - arch
        promise(not other, "an architecture step to move no weight", sorted(other))
        kept = [name for name, p in space.named_parameters() if p.grad is not None]
        promise(not kept, "an architecture step to leave no gradient behind", kept)
        moved |= {name for name, a in method.alpha().items() if not torch.equal(a, alpha[name])}
        expected = {"gradient"} | further
        promise(report.scores.keys() == expected, f"scores {expected}", set(report.scores))
        for block in space.blocks:
            for kind, score in report.scores.items():
                shape = tuple(score[block.name].shape)
                told = f"{kind} scores of block {block.name!r} of shape {block.shape}"
                promise(shape == block.shape, told, shape)
        promise_legal(space, method.best_gates())
    promise(moved == names, f"a search to move alpha of {sorted(names)}", sorted(moved))
    found = Genotype.from_json(space.genotype(method.best_gates()).to_json()).space
    promise(found == space.name, f"a genotype of space {space.name!r}", found)


SPACE_CHECKS: tuple[Callable[[SpaceCase], None], ...] = (
    blocks_are_legal, parameters_are_divided, it_computes_where_it_is, probes_are_exact,
    one_hot_mixtures_are_discrete, probes_spare_the_weights, weight_steps_touch_what_is_chosen,
    probes_leave_no_trace, losses_depend_on_batch_and_gates, losses_change_nothing,
    genotypes_are_what_was_searched, genotypes_name_what_was_chosen, foreign_genotypes_are_refused,
    states_bring_everything_back, searches_take_it,
)  # fmt: skip
"""Every promise of a space by itself, for a test of each."""
