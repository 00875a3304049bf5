"""Tutorial: a search method, a space and a loss of your own, checked and used by name."""

# %% [markdown]
# # Your own method, space and loss
#
# You have an idea for a search method, a loss or a space. Each is one file and one line of
# registration, in a package of your own: you change nothing in sif. Here we write all three, let
# `sif.testing` check them, install the package, and use them by name. It takes less than a minute
# on one core.

# %%
import importlib
import subprocess
import sys
from pathlib import Path

import sif

package = Path("ideas")
(package / "sif_ideas").mkdir(parents=True, exist_ok=True)
(package / "sif_ideas" / "__init__.py").write_text('"""Ideas for sif."""\n')

# %% [markdown]
# ## A method
#
# A *selection* is one choice per block of a space, such as an operation and a transform. A method
# that trains every selection from scratch derives from `Sampler`: `_next` says which selection to
# train next, and `_learn` gets its validation error. Ours is simulated annealing. It changes one
# choice at a time. A worse neighbor is accepted now and then, and ever more rarely.

# %%
METHOD = '''
"""The method `annealing`: one choice changes at a time, maybe for the worse."""

from __future__ import annotations

import math

import torch

from sif.config.sections import Rate
from sif.core.gates import Selection
from sif.core.space import Space
from sif.methods.kind import MethodKind, seeded
from sif.methods.sampler import Evaluated, Sampler
from sif.methods.settings import MethodSettings


class AnnealingSettings(MethodSettings):
    """Settings of the method."""

    heat: Rate = 0.05  # error that a worse neighbor may cost at first
    cooling: Rate = 0.9  # factor of the heat per trained selection


class Annealing(Sampler):
    """Simulated annealing over selections, each trained from scratch."""

    def __init__(self, space: Space, seed: int, settings: AnnealingSettings) -> None:
        self._settings = settings
        super().__init__(space, seed)

    def _restart(self) -> None:
        self._draws = torch.Generator().manual_seed(self.seed)
        self._heat = self._settings.heat
        self._had: set[Selection] = set()
        self._here: Evaluated | None = None

    def _next(self) -> Selection | None:
        for attempt in range(400):  # neighbors first, then anywhere
            near = self._here is not None and attempt < 200
            selection = self._neighbor() if near else self.selections.drawn(self._draws)
            if selection not in self._had:
                return selection
        return None  # everything was trained

    def _neighbor(self) -> Selection:
        here, blocks = self._here.selection, self.selections.blocks
        block = blocks[self._number(len(blocks))]
        kept = [edge for edge, operation in enumerate(here[block.name]) if operation >= 0]
        edge = kept[self._number(len(kept))]
        return here.switched(block.name, edge, self._number(len(block.operations)))

    def _number(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._draws))

    def _learn(self, result: Evaluated) -> None:
        self._had.add(result.selection)
        luck = float(torch.rand((), generator=self._draws))
        worse = 0.0 if self._here is None else result.error - self._here.error
        if worse <= 0 or luck < math.exp(-worse / self._heat):
            self._here = result
        self._heat *= self._settings.cooling


ANNEALING = MethodKind(seeded(Annealing), AnnealingSettings, samples=True)
'''
(package / "sif_ideas" / "annealing.py").write_text(METHOD.lstrip())

# %% [markdown]
# ## A loss
#
# A loss is a function of scores, a batch and numbers. `against` gives the scores of observed items
# and of drawn ones that the user does not have. Ours is the hinge: an observed item has to be ahead
# of each drawn one by a margin. `LossKind` says that it is for rankings and that batches must hold
# drawn items.

# %%
LOSS = '''
"""The loss `margin`: an observed item has to be ahead of each drawn one by a margin."""

from __future__ import annotations

import torch
from torch import Tensor

from sif.config.sections import Rate, Section
from sif.spaces.interaction.losses import (
    Batch,
    LossKind,
    LossSettings,
    Scored,
    against,
    weighted_mean,
)


class MarginSettings(Section):
    """Settings of the loss."""

    width: Rate = 1.0  # of the margin, in units of scores


def margin(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Mean of what is missing to the margin, over drawn items."""
    observed, drawn = against(interaction, batch)
    missing = torch.relu(settings.own.width - (observed[:, None] - drawn))
    return weighted_mean(missing.mean(dim=1), batch.ids, settings)


MARGIN = LossKind(margin, ("ranking",), negatives=True, settings=MarginSettings)
'''
(package / "sif_ideas" / "margin.py").write_text(LOSS.lstrip())

# %% [markdown]
# ## A space
#
# A space of the operations and transforms that sif has needs no class. Ours has three operations
# and two transforms for each of the two vectors: `~abs` leaves a number as it is, `~sqrt` takes the
# root and keeps the sign. That makes twelve functions.

# %%
SPACE = '''
"""The space `dozen`: three operations of plain vectors or of their roots."""

from sif.spaces.interaction.design import FunctionSpec
from sif.spaces.interaction.supernet import space_of

DOZEN = space_of(
    FunctionSpec(
        "dozen", operations=("multiply", "plus", "max"), transforms=("~abs", "~sqrt")
    )
)
'''
(package / "sif_ideas" / "dozen.py").write_text(SPACE.lstrip())

# %% [markdown]
# ## Checks
#
# `sif.testing` knows the promises of methods, spaces and losses. A method keeps to its budget. It
# finds the same with the same seed, also when it is killed and resumed. The gradients of a loss are
# exact. A function that was cut out of a space scores as the space did. The checks need no
# registration and no test library.

# %%
from sif.testing import (  # noqa: E402
    ContractError,
    InteractionCase,
    Trial,
    check_loss,
    check_method,
    check_space,
    toy_run,
)

sys.path.insert(0, str(package.resolve()))
annealing = importlib.import_module("sif_ideas.annealing")
margin = importlib.import_module("sif_ideas.margin")
dozen = importlib.import_module("sif_ideas.dozen")

check_method(Trial("annealing", toy_run("space=primitives"), annealing.ANNEALING))
print("annealing keeps the promises of a method")
check_loss(margin.MARGIN, name="margin")
print("margin keeps the promises of a loss")
check_space(InteractionCase(dozen.DOZEN, name="dozen"))
print("dozen keeps the promises of a space")

# %% [markdown]
# A broken promise is one line. Suppose that we forget to say that our loss needs drawn items:

# %%
forgetful = margin.LossKind(margin.margin, ("ranking",), settings=margin.MarginSettings)
try:
    check_loss(forgetful, name="forgetful")
except ContractError as error:
    print(f"ContractError: {error}")

# %% [markdown]
# ## Registration
#
# Each takes one line in the package's `pyproject.toml`. You would type `pip install -e ./ideas
# --no-deps`. Here pip installs it into a folder of its own, so that your environment stays as it
# is. It asks no index for anything.

# %%
PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "sif-ideas"
version = "0.1.0"

[project.entry-points."sif.methods"]
annealing = "sif_ideas.annealing:ANNEALING"

[project.entry-points."sif.losses"]
margin = "sif_ideas.margin:MARGIN"

[project.entry-points."sif.spaces"]
dozen = "sif_ideas.dozen:DOZEN"

[tool.setuptools]
packages = ["sif_ideas"]
"""
(package / "pyproject.toml").write_text(PROJECT.lstrip())
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
pip += ["--no-build-isolation", "--target", "installed", str(package.resolve())]
subprocess.run(pip, check=True)
sys.path.insert(0, str(Path("installed").resolve()))
importlib.invalidate_caches()

# %% [markdown]
# ## Use
#
# From now on the three have names, on the command line (`sif methods annealing`, `sif run --method
# annealing`) and in Python. We search the space `dozen` by annealing, and train with the margin.

# %%
from importlib.metadata import entry_points  # noqa: E402

for kind in ("methods", "spaces", "losses"):
    print(f"{kind}:", *(point.name for point in entry_points(group=f"sif.{kind}")))

config = sif.CFConfig(
    method="annealing",
    space="dozen",
    loss={"name": "margin"},
    losses={"margin": {"width": 0.5}},
    data={"planted": {"kind": "product", "users": 80, "items": 50, "density": 0.2}},
    search={"epochs": 60, "candidate_epochs": 10, "dimension": 4, "l2": 0.01},
    train={"epochs": 40, "dimension": 8, "l2": [0.01, 0.1], "extend_grid": 0},
    baselines=["popularity", "ease"],
    controls=["fixed-multiply"],
    threads=1,
    budget=None,
    output_dir="runs/ideas",
    tracking={"enabled": False},
)
result = sif.run_job(config)
print("found:", result.metrics["genotype"])

# %% [markdown]
# The table above treats the new function as any other. It has a verdict, a saved model and a page
# to look at, which draws the function and the search. This search trained only a few of the twelve
# functions. So validation may prefer fixed multiply, which then stands for the searched function.
# The verdict says so.

# %%
print("candidates trained from scratch:", result.metrics["search"]["arch_steps"])
print("page:", Path("runs/ideas/report.html"))
