"""`sif doctor`: what this installation and this machine have, and what to install for what."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sif.data.download import on_disk, search_folders
from sif.data.recipe import list_datasets
from sif.utils.cores import usable_cores
from sif.utils.device import free_memory, make_runtime
from sif.utils.environment import environment, installed

OPTIONAL: Mapping[str, tuple[str | None, str]] = {
    "implicit": (None, "the baselines als and bpr"),
    "matplotlib": (None, "figures"),
    "mlflow": (None, "tracking by MLflow"),
    "pooch": (None, "downloads"),
    "pyarrow": (None, "Parquet, and large files by pieces"),
    "rich": (None, "the live line of jobs on a terminal"),
    "shtab": (None, "shell completion"),
    "tqdm": (None, "progress bars of readings and downloads"),
    "pillow": ("cnn", "images in JPEG and PNG"),
    "scikit-learn": ("cnn", "the data set digits"),
    "numba": ("serve", "faster answers"),
    "fastapi": ("serve", "sif serve"),
    "httptools": ("serve", "sif serve with less of the processor"),
    "prometheus-client": ("serve", "sif serve"),
    "uvicorn": ("serve", "sif serve"),
    "uvloop": ("serve", "sif serve with less of the processor"),
    "usearch": ("ann", "approximate answers from large catalogs"),
    "optuna": ("bench", "the method tpe"),
    "pymoo": ("bench", "the method nsga2"),
    "ray": ("ray", "jobs on a cluster"),
    "onnx": ("onnx", "export to ONNX"),
    "onnxscript": ("onnx", "export to ONNX"),
    "adbc-driver-postgresql": ("sql", "PostgreSQL"),
    "duckdb": ("sql", "DuckDB files"),
    "cornac": ("cornac", "the adapter for Cornac"),
    "lenskit": ("lenskit", "the adapter for LensKit"),
}
"""Optional library to the extra that brings it (None: sif itself does) and its use."""


def examined(data_dir: Path | None = None) -> dict[str, Any]:
    """The installation and the machine, as JSON-ready values.

    Args:
        data_dir: Folder of data that is searched first.

    Returns:
        Keys 'python', 'platform', 'versions', 'cpu', 'devices', 'libraries', 'data'.
    """
    runtime = make_runtime()
    found = environment(runtime)
    return {
        "python": found["python"],
        "platform": found["platform"],
        "versions": found["versions"],
        "git_commit": found["git_commit"],
        "cpu": {
            "cores": found["cpu_count"],
            "usable_cores": usable_cores(),
            "threads": found["threads"],
            "blas": _blas(),
        },
        "devices": _devices(),
        "libraries": {name: _library(name) for name in OPTIONAL},
        "data": {
            "folders": [
                {"path": str(one), "exists": one.is_dir()} for one in search_folders(data_dir)
            ],
            "known": {name: _data_set(name, data_dir) for name in list_datasets()},
        },
    }


def _blas() -> dict[str, str | None]:
    """Library of linear algebra by the library that uses it."""
    import numpy as np
    import torch

    built = np.show_config(mode="dicts")
    dependencies = {} if built is None else built.get("Build Dependencies", {})
    blas = dependencies.get("blas", {})
    told = " ".join(str(blas[key]) for key in ("name", "version") if blas.get(key))
    kinds = {
        "MKL": torch.backends.mkl.is_available(),
        "OpenMP": torch.backends.openmp.is_available(),
    }
    return {
        "numpy": told or None,
        "torch": ", ".join(name for name, there in kinds.items() if there) or None,
    }


def _devices() -> list[dict[str, Any]]:
    """The CPU, then what torch sees through CUDA, with memory in bytes."""
    import torch

    cpu = make_runtime("cpu")
    free, total = free_memory(cpu.device), _physical_memory()
    found: list[dict[str, Any]] = [
        {
            "name": "cpu",
            "model": environment(cpu)["device_name"],
            "memory": total,
            "free": round(free) if math.isfinite(free) else None,
        }
    ]
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(number)
        model = torch.cuda.get_device_name(number)
        found.append({"name": f"cuda:{number}", "model": model, "memory": total, "free": free})
    return found


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not all systems tell
        return None


def _library(name: str) -> dict[str, str | None]:
    extra, use = OPTIONAL[name]
    version = installed(name)
    remedy = f"pip install {name}" if extra is None else f"pip install 'sif[{extra}]'"
    return {"version": version, "for": use, "install": None if version else remedy}


def _data_set(name: str, data_dir: Path | None) -> dict[str, Any]:
    """Where a data set is, or that it is made or fetched when it is asked for."""
    recipe = list_datasets()[name]
    if not recipe.files and not recipe.url:
        return {"state": "made", "path": None}
    folder = on_disk(recipe, data_dir) if recipe.files else None
    if folder is not None:
        return {"state": "found", "path": str(folder)}
    packed = (base / recipe.archive for base in search_folders(data_dir) if recipe.archive)
    archive = next((path for path in packed if path.is_file()), None)
    if archive is not None:
        return {"state": "found", "path": str(archive)}
    return {"state": "download" if recipe.url else "absent", "path": None}


def told(found: Mapping[str, Any]) -> str:
    """The same in lines for people."""
    versions = [f"{name} {version}" for name, version in found["versions"].items() if version]
    cpu, libraries, data = found["cpu"], found["libraries"], found["data"]
    blas = "; ".join(f"{name} with {what}" for name, what in cpu["blas"].items() if what)
    missing = {name: one for name, one in libraries.items() if one["version"] is None}
    lines = [
        (
            f"sif {found['versions']['sif']} ({found['git_commit'] or 'no checkout'}), "
            f"Python {found['python']}, {found['platform']}"
        ),
        f"versions   {', '.join(versions[1:])}",
        (
            f"cpu        {cpu['usable_cores']} of {cpu['cores']} cores usable, "
            f"{cpu['threads']} threads; {blas}"
        ),
        *(f"device     {_device(one)}" for one in found["devices"]),
        f"optional   {len(libraries) - len(missing)} of {len(libraries)} libraries are installed",
        *(
            f"missing    {name}, for {one['for']}: {one['install']}"
            for name, one in missing.items()
        ),
        *(
            f"folder     {one['path']}{'' if one['exists'] else ' (not there)'}"
            for one in data["folders"]
        ),
    ]
    for state, words in _STATES.items():
        names = [name for name, one in data["known"].items() if one["state"] == state]
        if names:
            lines.append(f"data       {words}: {', '.join(names)}")
    return "\n".join(lines)


_STATES = {
    "found": "found", "made": "made when asked for", "download": "downloaded when asked for",
    "absent": "to be put into a folder above",
}  # fmt: skip


def _device(one: Mapping[str, Any]) -> str:
    sizes = [
        f"{one[key] / 2**30:.1f} GiB{word}"
        for key, word in (("memory", ""), ("free", " free"))
        if one[key] is not None
    ]
    return ", ".join([f"{one['name']}: {one['model']}", *sizes])


def show(as_json: bool, data_dir: Path | None = None) -> None:
    """Prints what `examined` finds, as one JSON document or in lines."""
    found = examined(data_dir)
    print(json.dumps(found, indent=1) if as_json else told(found))
