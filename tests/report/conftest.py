"""Run folders written by hand, and a browser to look at their pages."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Folder = Callable[..., Path]
NASTY = '<script>alert("x")</script> & "Nikita" \'La Femme\''
"""A title that would run if it were not escaped."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def model(name: str, value: float, **further: Any) -> dict[str, Any]:
    """A model as report.json has it."""
    known = {
        "name": name, "kind": "baseline", "expression": "", "stands_for": None, "served": False,
        "reference": False, "alike": False, "row": {"valid": f"{value:.4f}", "fit s": "1.0"},
        "valid": {"ndcg@10": value}, "test": {"ndcg@10": value, "recall@10": value / 2},
        "interval": [value - 0.01, value + 0.01], "seconds": 1.0, "refit_seconds": 0.5,
        "edge": [],
        "compared": {"difference": 0.3 - value, "low": 0.29 - value, "high": 0.31 - value,
                     "outcome": "better", "p": 0.001, "corrected_p": 0.004},
    }  # fmt: skip
    return known | further


def epoch(number: int, selection: dict[str, list[int]], error: float) -> dict[str, Any]:
    """An epoch of a search."""
    return {
        "seconds": float(number), "steps": 10 * number, "loss": 1.0 / number,
        "selected_loss": None, "valid_loss": 0.9, "selection": selection,
        "judged": {"exported_error": error},
        "alpha": {"encoding": [[0.5, 0.4, 0.1], [0.5, 0.2, 0.3]], "operation": [[0.6, 0.4]]},
    }  # fmt: skip


def run_documents() -> dict[str, Any]:
    """The files of a finished ranking, by name."""
    user = {"id": "1", "title": NASTY, "hit": True}
    operations = {"encoding": ["id", "history", "both"], "operation": ["multiply", "plus"]}
    history = [
        epoch(1, {"encoding": [0, 0], "operation": [0]}, 0.8),
        epoch(2, {"encoding": [1, 0], "operation": [0]}, 0.7),
        epoch(3, {"encoding": [1, 2], "operation": [1]}, 0.75),
    ]
    x = np.linspace(-1, 1, 5).tolist()
    return {
        "config.yaml": "task: cf\nobjective: ranking\ndataset: shop\n"
        "search:\n  epochs: 7\nseed: 3\n",
        "environment.json": {"python": "3.11", "versions": {"torch": "2"}, "git_commit": None},
        "genotype.json": {
            "format": "sif-genotype", "version": 1, "space": "staged", "parameters": {},
            "blocks": {"encoding": [[0, "history"], [1, "id"]], "embedding": [[0, "identity"]],
                       "operation": [[0, "multiply"]], "weighting": [[0, "even"]]},
        },
        "metrics.json": {
            "task": "cf", "dataset": "shop", "metric": "ndcg@10", "total_seconds": 90.0,
            "genotype": "multiply(history(user), item)", "entrant": "searched",
            "verdict": "multiply(history(user), item) is better than ease",
            "comparison": {"against": "ease", "difference": 0.02, "low": 0.01, "high": 0.03,
                           "outcome": "better", "p": 0.001},
            "test": {"ndcg@10": 0.3}, "baselines": {"ease": {"ndcg@10": 0.28}},
            "search": {"found": "multiply(history(user), item)", "flips": 2},
            "protocol": {"name": "ranking-per-user", "split_hash": "abc"},
        },
        "plots/figures.json": {
            "function": {"expression": "e", "x": x,
                         "curves": {"user": [a * a for a in x], "item": x},
                         "surface": [[a * b for a in x] for b in x]},
        },
        "report.json": {
            "format": "sif-report", "version": 1, "metric": "ndcg@10", "shown": "ndcg@10",
            "units": "users", "higher_is_better": True, "judged": "exported_error",
            "ours": "searched", "opening": ["shop: 9 rows", "note: two rows were dropped"],
            "models": [
                model("searched", 0.3, kind="searched", served=True, compared=False),
                model("ease", 0.28, reference=True), model("popularity", 0.1),
            ],
            "search": {"searched": {
                "operations": operations, "resting": 1, "at_rest": "", "seconds": 3.0,
                "trained": {"encoding": [[3, 2, 1], [4, 1, 1]], "operation": [[4, 2]]},
                "epochs": 3, "steps": 30, "history": history,
            }},
            "curves": {"searched": [{"epoch": 1.0, "seconds": 1.0, "loss": 2.0, "ndcg@10": 0.2},
                                    {"epoch": 2.0, "seconds": 2.0, "loss": 1.0, "ndcg@10": 0.3}]},
            "memory": {"process": 512.0},
            "data": {
                "rows": 9, "sizes": {"user": 3, "item": 4}, "density": 0.75, "tested_on": 7,
                "parts": {"train": 5, "valid": 2, "test": 2},
                "counts": {"user": {"labels": ["2\N{EN DASH}3"], "counts": [3], "most": 3,
                                    "median": 3.0},
                           "item": {"labels": ["1", "2\N{EN DASH}3"], "counts": [1, 3], "most": 3,
                                    "median": 2.0}},
                "timeline": {"start": 1_500_000_000, "days": 7, "cuts": [1, 2], "users": {},
                             "counts": {"train": [3, 2], "valid": [0, 2], "test": [0, 2]}},
            },
            "groups": {"models": ["searched", "ease"], "groups": [
                {"name": "history-1-9", "users": 3, "rows": 4,
                 "bars": [[0.3, 0.2, 0.4], [0.28, 0.2, 0.3]]}]},
            "items": {
                "groups": [{"name": "1\N{EN DASH}2", "items": 2, "rows": 1}], "users": 3, "cut": 10,
                "recall": {"searched": [0.5], "ease": [0.4]},
                "lists": {"searched": [1.0], "ease": [1.0]},
            },
            "recommendations": [
                {"user": NASTY, "why": "a short history", "history": [user], "known": 3,
                 "held_out": 1, "lists": {"searched": [user], "ease": [user | {"hit": False}]}},
                {"user": "u2", "why": "drawn", "history": [], "known": 0, "held_out": 1,
                 "lists": {"searched": [], "ease": []}},
            ],
            "recommenders": {"searched": "multiply(history(user), item)", "ease": ""},
        },
        "log.txt": "shop: 9 rows\nnote: two rows were dropped\n",
        "metrics.jsonl": "",
    }  # fmt: skip


def order_documents() -> dict[str, Any]:
    """The files of a run that serves a model in order in place of the found function."""
    documents = copy.deepcopy(run_documents())
    scales = {"decays": {"shape": [1, 2], "numbers": [0.5, 6.0]}}
    documents["plots/figures.json"]["served"] = {
        "name": "decayed-ridge", "expression": "next item from history(0.5, last 6)",
        "surface": None, "decays": {"0.5, last 6": [0.5**k for k in range(6)]},
        "genotype": {"space": "history", "blocks": {"target": [[0, "next"]]},
                     "parameters": scales},
    }  # fmt: skip
    return documents


def rolling_documents() -> dict[str, Any]:
    """The files of the parent of two moments."""
    documents = run_documents()
    means = {"mean": {"ndcg@10": 0.31}, "spread": {"ndcg@10": 0.02}, "valid": {"ndcg@10": 0.33},
             "moments": 2}  # fmt: skip
    moment = {
        "genotype": f"found {NASTY}", "verdict": "v", "total_seconds": 40.0,
        "protocol": {"name": "rolling", "counts": {"train": 1000, "valid": 20, "test": 30}},
        "comparison": {"against": "ease", "difference": 0.02, "low": 0.01, "high": 0.03,
                       "outcome": "better"},
    }  # fmt: skip
    metrics = documents["metrics.json"] | {
        "protocol": {"name": "rolling", "moments": 2}, "test": means["mean"],
        "spread": means["spread"], "valid": means["valid"], "baselines": {"ease": means},
        "comparison": {"difference": 0.02, "low": -0.01, "high": 0.05, "outcome": "undecided",
                       "won": 1},
        "moments": [{"folder": f"moment-{k}", **moment} for k in (1, 2)],
    }  # fmt: skip
    return {"config.yaml": documents["config.yaml"], "metrics.json": metrics, "log.txt": "x\n"}


def cell_documents() -> dict[str, Any]:
    """The files of a finished search of cells of images."""
    documents = copy.deepcopy(run_documents())
    cell = {"nodes": [[["conv", 0], ["skip", 1]], [["conv", 2], ["conv", 1]]], "concat": [2, 3]}
    documents["config.yaml"] = "task: cnn\ndataset: digits\n"
    documents["plots/figures.json"] = {"cells": {"searched": {"normal": cell, "reduce": cell}}}
    documents["metrics.json"] |= {"task": "cnn", "metric": "error", "cells": "Genotype(...)"}
    documents["report.json"] |= {
        "groups": {}, "items": None, "recommendations": [],
        "confusion": {
            "classes": ["cat", "<dog>"], "matrix": [[3.0, 1.0], [0.0, 4.0]], "asked": 1,
            "misread": 1, "tested": 8,
            "samples": [{"is": "cat", "read": "<dog>", "share": 0.9, "picture": "iVBORw0KGgo="}],
        },
    }  # fmt: skip
    return documents


def written(folder: Path, documents: dict[str, Any]) -> Path:
    """A folder with files of these contents."""
    for name, content in documents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def documents() -> dict[str, Any]:
    """The files of a finished run."""
    return copy.deepcopy(run_documents())


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium of this machine."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: expected one of {', '.join(BROWSERS)} on the path")
    with driver.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()
