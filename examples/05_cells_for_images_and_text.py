"""Tutorial: a cell for images and a cell for text, searched and drawn."""

# %% [markdown]
# # Cells for images and text
#
# The core that searches interaction functions also searches small networks: the *cell* of a
# convolutional network and the *cell* of a recurrent one. A cell is a small graph whose edges carry
# operations. This page searches both in Python, on data that every machine has. The settings are
# tiny, so that it takes less than a minute on one core.

# %%
import pydoc_data.topics
import re
from pathlib import Path

import sif

# %% [markdown]
# ## Images: handwritten digits
#
# scikit-learn brings 1,797 digits of 8 x 8 pixels. We take 30 of each class and part, small
# networks and few epochs. `random-ws` is another search method: random cells judged with shared
# weights. Both found cells are trained from scratch alike.

# %%
config = sif.CNNConfig(
    dataset="digits",
    data={"per_class": 30},
    search={"epochs": 3, "batch_size": 32, "valid_share": 0.4, "channels": 4, "cells": 3},
    methods={"nasp": {"warmup": 0.34}},
    train={
        "epochs": 6,
        "batch_size": 16,
        "lr": 0.05,
        "valid_share": 0.2,
        "channels": 4,
        "cells": 3,
    },
    baselines=["random-ws"],
    threads=1,
    budget=None,
    output_dir="runs/digits",
    tracking={"enabled": False},
)
images = sif.run_job(config)
error = images.metrics["test"]["error"]
print(f"wrong on test digits: {error:.1f} % (a guess: 90 %)")

# %% [markdown]
# The verdict says whether the searched cell is ahead of the random one. After so short a search, do
# not expect it.
#
# A convolutional network has two cells: a *normal* one, and one that *reduces* the size of the
# picture. Each node reads two earlier nodes through an operation. As text:

# %%
print(images.metrics["genotype"])

# %% [markdown]
# And drawn, as a PNG and an SVG file:

# %%
for drawing in sorted(Path("runs/digits/plots").glob("cell*.png")):
    print("look at", drawing)

# %% [markdown]
# ## Text: the manual of Python
#
# The help texts of Python are on every machine that has Python: `help("for")` reads them. We take
# the words of some of them, in small letters, and write three files into a folder: train, valid and
# test. Any folder of this form works.

# %%
topics = pydoc_data.topics.topics
pages = [
    re.findall(r"[a-z]+|[.,;:()=]", line.lower())
    for name in sorted(topics)
    for line in re.split(r"\n\s*\n", topics[name])
]
pages = [words for words in pages if len(words) > 8][:700]
folder = Path("manual")
folder.mkdir(exist_ok=True)
parts = {"test": pages[::10], "valid": pages[1::10]}
parts["train"] = [page for number, page in enumerate(pages) if number % 10 > 1]
for name, chosen in parts.items():
    (folder / f"{name}.txt").write_text("\n".join(" ".join(words) for words in chosen) + "\n")
    print(f"{name}: {len(chosen)} paragraphs, {sum(map(len, chosen))} words")

# %% [markdown]
# A language model reads word by word and gives the chance of the next one. Its perplexity is the
# number of words among which it might as well draw by lot: the lower, the better. We keep the 500
# most frequent words; the others become `<unk>`.

# %%
config = sif.RNNConfig(
    dataset="manual",
    data={"max_words": 500},
    search={"epochs": 3, "columns": 20, "bptt": 16, "hidden": 24, "nodes": 4, "optimizer": "adam",
            "lr": 0.01, "max_norm": 1.0, "normalize": False, "valid_share": 0.2},
    methods={"nasp": {"warmup": 0.34}},
    train={"epochs": 4, "columns": 20, "bptt": 16, "hidden": 32, "optimizer": "adam", "lr": 0.01,
           "max_norm": 1.0, "vary": False, "averaging": None,
           "dropout": {"word": 0.0, "input": 0.2, "output": 0.2}},
    baselines=["lstm"],
    threads=1,
    budget=None,
    output_dir="runs/manual",
    tracking={"enabled": False},
)  # fmt: skip
text = sif.run_job(config)
print(f"perplexity on test paragraphs: {text.metrics['test']['perplexity']:.0f}")
print(text.metrics["genotype"])

# %% [markdown]
# ## Look at the cells
#
# The drawings read from left to right: each arrow is an operation, its name stands on it, and it
# goes from the node that is read to the node that reads. `report.html` in each folder shows them
# beside the curves, and what the models got wrong.

# %%
for drawing in sorted(Path("runs/manual/plots").glob("cell*.png")):
    print("look at", drawing)
for run in (images, text):
    print("page:", run.folder / "report.html")
