"""Tutorial: verdicts on two data sets, two methods, and their runs in MLflow."""

# %% [markdown]
# # Verdicts, methods and MLflow
#
# A search may find nothing, and a good library says so. Here two small data sets get a job each: in
# one of them people have tastes, in the other one they have none. We read both verdicts. Then a
# bench compares two search methods, and we look at the runs of the jobs in MLflow. It takes less
# than a minute on one core.

# %%
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient

import sif

# %% [markdown]
# ## Two data sets
#
# In the book club everyone reads one or two genres. In the canteen everyone takes what is popular:
# soup more often than spinach, whoever he is. So in the canteen there is nothing to personalize.

# %%
GENRES = {
    "crime": ["The Cellar", "Cold Harbor", "Alibi", "The Witness", "Blue Thread", "Motive"],
    "poetry": ["Leaves", "Odes", "Winter Songs", "Field Notes", "Haiku", "Sonnets"],
    "science": ["Atoms", "The Cell", "Galaxies", "Numbers", "Tides", "Evolution"],
    "history": ["Rome", "The Silk Road", "Vikings", "Venice", "Samarkand", "The Printers"],
    "travel": ["Patagonia", "Slow Trains", "The Nile", "Islands", "High Passes", "Deserts"],
}
DISHES = [
    "soup", "pasta", "pizza", "rice", "salad", "curry", "stew", "pie", "omelette", "dumplings",
    "noodles", "risotto", "lasagne", "chili", "goulash", "quiche", "falafel", "paella",
    "ratatouille", "polenta", "lentils", "gnocchi", "cabbage", "beetroot", "spinach",
]  # fmt: skip
draw = random.Random(3)  # noqa: S311


def reader() -> set[str]:
    """Nine books, of which seven are of two genres."""
    liked = [book for genre in draw.sample(list(GENRES), 2) for book in GENRES[genre]]
    others = [book for books in GENRES.values() for book in books if book not in liked]
    return {*draw.sample(liked, 7), *draw.sample(others, 2)}


def guest() -> set[str]:
    """Nine dishes, drawn by their popularity alone."""
    weights = [1 / (place + 3) for place in range(len(DISHES))]
    eaten: set[str] = set()
    while len(eaten) < 9:
        eaten.update(draw.choices(DISHES, weights))
    return eaten


for name, person in (("books", reader), ("canteen", guest)):
    rows = [(f"{name}-{number}", item) for number in range(150) for item in sorted(person())]
    pd.DataFrame(rows, columns=["user", "item"]).to_csv(f"{name}.csv", index=False)
    print(f"{name}.csv: {len(rows)} rows")

# %% [markdown]
# ## Two verdicts
#
# A job searches a function, trains it, trains tuned baselines, and tests all of them once. The
# verdict compares the searched function with the baseline that *validation* ranks best, on the test
# part. It is "ahead", "behind" or "undecided" with an interval over users: if the interval contains
# 0, the data cannot tell the two apart.

# %%
settings = {
    "space": "primitives",
    "search": {"epochs": 40, "arch_every": 2, "dimension": 4},
    "train": {"epochs": 40, "dimension": 8, "l2": [2.0], "extend_grid": 0},
    "baselines": ["popularity", "ease"],
    "controls": ["fixed-multiply"],
    "threads": 1,
    "budget": None,
    "tracking": {"experiment": "tutorial"},
}
for name in ("books", "canteen"):
    print(f"\n== {name}")
    result = sif.run_job(sif.CFConfig(dataset=f"{name}.csv", output_dir=f"runs/{name}", **settings))
    difference = result.metrics["comparison"]
    print(f"against {difference['against']}: {difference['low']:+.3f} to {difference['high']:+.3f}")

# %% [markdown]
# In the book club popularity, which knows no persons, is far behind the models of tastes. In the
# canteen nobody is clearly ahead of popularity. No search can find tastes that are not there. The
# operation `concat` says the same in another way: it adds a number of the person and a number of
# the dish, so all persons get the dishes in one order.
#
# The verdict compares the search with EASE, and both may be "undecided". That is no failure of the
# job: 150 people are too few to tell models apart that are so close. The job serves the model that
# validation prefers.
#
# ## Two methods
#
# `sif bench` asks another question: which *search method* is best under an equal budget? Each trial
# is a job in a process of its own. Here two methods get 100 steps each, with one seed, so that
# this page stays short. You would type this in a terminal:
#
#     sif bench --task cf --dataset books.csv --methods nasp random --seeds 1 \
#       --budget 100steps --no-tracking --output-dir benches/books --set space=primitives ...

# %%
command = [sys.executable, "-m", "sif", "bench", "--task", "cf", "--dataset", "books.csv"]
command += ["--methods", "nasp", "random", "--seeds", "1", "--budget", "100steps"]
command += ["--workers", "1", "--no-tracking", "--output-dir", "benches/books"]
command += ["--set", "space=primitives", "search.dimension=4", "search.arch_every=2"]
command += ["search.candidate_epochs=10", "train.epochs=40", "train.dimension=8"]
command += ["train.l2=[2.0]", "train.extend_grid=0"]
subprocess.run(command, capture_output=True, text=True, check=True)
print(Path("benches/books/report.md").read_text())

# %% [markdown]
# One seed is no evidence: the next one draws another split, and another method may be first. Take
# `--seeds 5` or more. Then the column *minus nasp* has the difference to the first method, paired
# by seed, with an interval.
#
# ## The runs in MLflow
#
# Both jobs recorded themselves in the MLflow store of this folder. `MlflowClient` reads it. A job
# is a run, and each of its entrants is a run within it. Metrics have `_at_` for `@`, which MLflow
# does not allow. A bench without `--no-tracking` records its trials alike, in an experiment that is
# named after its folder.

# %%
client = MlflowClient()
experiment = client.get_experiment_by_name("tutorial")
tested = "metrics.`test.ndcg_at_10` >= 0"
lines = []
for run in client.search_runs([experiment.experiment_id], tested, max_results=100):
    known = run.data.params
    lines.append(
        {
            "dataset": known["dataset"],
            "run": run.info.run_name,
            "method": known["method"],
            "l2": known["l2"],
            "test ndcg@10": run.data.metrics["test.ndcg_at_10"],
        }
    )
table = pd.DataFrame(lines).sort_values(["dataset", "test ndcg@10"], ascending=[True, False])
print(table.round(4).to_string(index=False))

# %% [markdown]
# ## What to click
#
# Start the pages of MLflow in this folder and open the address that it prints:
#
#     mlflow ui
#
# 1. Set the switch at the top left to **Model training**. Until then MLflow 3 opens in the mode
#    "GenAI". The browser remembers it.
# 2. Click **Experiments**, then **tutorial**. Each job is one line. The arrow in front of it
#    unfolds its entrants: the searched function, the control and the baselines.
# 3. Click a job's name. The description has the verdict and the table.
# 4. Go back, tick two jobs, and click **Compare**. Parameters and metrics stand side by side.
# 5. Click **Models**: the models of all entrants, which you sort by a metric.

# %%
print("figures:", *sorted(str(path) for path in Path("benches/books/plots").glob("*.png")))
print("pages:", Path("runs/books/report.html"), Path("runs/canteen/report.html"))
