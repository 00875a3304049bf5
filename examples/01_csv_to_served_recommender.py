"""Tutorial: from a CSV file to a recommender that answers over HTTP."""

# %% [markdown]
# # From a CSV file to a served recommender
#
# You have a file with one purchase per line. At the end of this page a web server answers the
# question "what may Ada like next?". Everything runs on your machine, in less than a minute on one
# core. The script writes into the folder in which you start it.

# %%
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd

import sif
from sif.adapters.mlflow_model import save_model

# %% [markdown]
# ## The file
#
# Our shop sells goods for three hobbies. Each customer has one hobby. He buys most things for it,
# and now and then something else. The recommender sees the purchases alone: it does not know the
# hobbies.

# %%
HOBBIES = {
    "baking": ["flour", "yeast", "rolling pin", "cake tin", "vanilla", "icing bag",
               "oven gloves", "dough scraper"],
    "garden": ["spade", "rose bush", "watering can", "tulip bulbs", "compost", "pruning shears",
               "flower pot", "garden hose"],
    "photography": ["camera", "tripod", "zoom lens", "flash", "memory card", "camera bag",
                    "lens cap", "photo album"],
}  # fmt: skip
CUSTOMERS = [
    "Ada", "Alan", "Barbara", "Bertha", "Carl", "Clara", "Dennis", "Dorothy", "Edsger", "Emmy",
    "Evelyn", "Felix", "Frances", "Grace", "Hedy", "Ida", "Isaac", "James", "Jean", "John",
    "Katherine", "Kurt", "Leonhard", "Lise", "Lotfi", "Margaret", "Maria", "Mary", "Max",
    "Niels", "Norbert", "Olga", "Paul", "Peter", "Rosalind", "Ruth", "Sofia", "Srinivasa",
    "Stanislaw", "Tim", "Tu", "Ursula", "Vera", "Wanda", "Werner", "Xavier", "Yuri", "Zaha",
]  # fmt: skip

draw = random.Random(7)  # noqa: S311
hobby_of = {name: list(HOBBIES)[number % 3] for number, name in enumerate(CUSTOMERS)}
purchases = []
for customer, hobby in hobby_of.items():
    others = [one for name, goods in HOBBIES.items() if name != hobby for one in goods]
    bought = draw.sample(HOBBIES[hobby], 6) + draw.sample(others, 1)
    purchases += [(customer, one) for one in bought]

table = pd.DataFrame(purchases, columns=["customer", "product"])
table.to_csv("purchases.csv", index=False)
print(table.head(7).to_string(index=False))
print(f"{len(table)} purchases of {table['customer'].nunique()} customers")

# %% [markdown]
# ## Fit
#
# `fit` reads the file. It holds back a tenth of each customer's purchases for validation, searches
# a function of customer and product, trains it, and trains simpler models for comparison. Our
# columns are called `customer` and `product`, so we say so. `threads=1` makes the result repeat on
# every machine of a kind.

# %%
settings = {
    "data.user": "customer",
    "data.item": "product",
    "train.epochs": 60,
    "train.dimension": 16,
    "search.epochs": 20,
}
model = sif.Recommender(seed=0, threads=1, settings=settings).fit("purchases.csv")
print(model.report())

# %% [markdown]
# The report has one row per model, and the served one is marked. Its last lines are the verdict:
# does the searched function beat the simpler models on validation? With 48 customers the interval
# is wide, so do not read much into one table. A job (`sif.run_job`) also keeps a test part that no
# choice has seen.
#
# ## Save, load, ask
#
# `save` writes one safetensors file. `load` needs neither the CSV file nor a second fit.

# %%
model.save("shop")
shop = sif.Recommender.load("shop")
print(f"Ada's hobby is {hobby_of['Ada']}. She may like:")
print(shop.recommend("Ada", n=3).to_string(index=False))
print("A new customer has bought a spade and compost. He may like:")
print(shop.recommend_new(["spade", "compost"], n=3).to_string(index=False))

# %% [markdown]
# Answers are data frames. Products that a customer has already are left out. How often are the best
# two recommendations of the customer's hobby? A guess would be right for about one in ten, since
# six of eight goods of the hobby are in his cupboard already.

# %%
answers = shop.recommend(CUSTOMERS, n=2)
suits = [
    item in HOBBIES[hobby_of[user]]
    for user, item in zip(answers["user"], answers["item"], strict=True)
]
print(f"of the customer's hobby: {sum(suits)} of {len(suits)} recommendations")

# %% [markdown]
# ## Serve
#
# `save_model` packs the recommender for MLflow, with a copy of this package's code. Nothing in it
# is pickled. Then one command starts the server. You would type it in a terminal:
#
#     mlflow models serve -m served-shop --env-manager local -h 127.0.0.1 -p 5001
#
# Here Python starts it on a free port of this machine and waits until it is ready. MLflow looks for
# its server program in `PATH`, so we put the folder of this Python there, which an activated
# environment has there already.

# %%
save_model(shop, "served-shop")
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
address = f"http://127.0.0.1:{port}"
command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "served-shop"]
command += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
environment = os.environ | {"PATH": path, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
with Path("server.log").open("w") as log:
    server = subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, start_new_session=True
    )


def ask(questions: list[dict[str, object]]) -> list[dict[str, object]]:
    """Sends questions, one per row, and returns one answer each."""
    body = json.dumps({"dataframe_records": questions, "params": {"n": 3}}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/invocations", body, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
        return json.load(reply)["predictions"]


def wait_until_ready(seconds: float) -> None:
    """Returns once the server answers; a server that ends or takes longer is an error."""
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(f"{address}/ping", timeout=5).close()  # noqa: S310
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.3)
    raise RuntimeError(f"the server did not start; {Path('server.log').resolve()} says why")


# %% [markdown]
# One request may hold several questions: about a known customer, about a new one by what he has
# bought, and about products that are like a product. The server is stopped in any case.

# %%
questions = [{"user": "Ada"}, {"history": ["camera", "tripod"]}, {"item": "flour"}]
try:
    wait_until_ready(300)
    for question, answer in zip(questions, ask(questions), strict=True):
        print(json.dumps(question), "->", ", ".join(answer["items"]))
finally:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)  # the server and the process that started it
    server.wait(60)
print("the server has stopped")

# %% [markdown]
# ## Where to go from here
#
# - Your own file: change the name in `fit` and the two names of columns.
# - A limit of time: `sif.Recommender(budget="2min")`.
# - New purchases: `model.partial_fit(new_rows)` takes them in without a new fit.
