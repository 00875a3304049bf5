"""Commands beside `run`: their arguments and the functions behind them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sif.cli.arguments import (
    EXECUTOR_ARGUMENTS,
    JOB_ARGUMENTS,
    SHARED_ARGUMENTS,
    Argument,
    argument,
    either,
    program,
)
from sif.config import TASKS, CFConfig, load_config
from sif.errors import ConfigError, without_passwords
from sif.methods.registry import METHODS
from sif.search.registry import OBJECTIVES
from sif.spaces.interaction.registry import LOSSES, SPACES
from sif.utils.paths import nearest
from sif.utils.registry import Registry, summary
from sif.utils.sizes import bytes_of
from sif.utils.version import __version__

if TYPE_CHECKING:
    from sif.recommender.recommender import Recommender


@dataclass(frozen=True)
class Verb:
    """One command: its purpose, its arguments and its function.

    Attributes:
        help: Its purpose, on one line.
        call: The function.
        arguments: The arguments that it takes.
        lists: Registry whose names it lists; they stand for its help in that of all commands.
    """

    help: str
    call: Callable[[argparse.Namespace], None]
    arguments: tuple[Argument, ...] = ()
    lists: Registry[Any] | None = None

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Adds the arguments to a parser."""
        for add in self.arguments:
            add(parser)


def run_folder(path: Path) -> Path:
    """The folder, if a run made it; ConfigError otherwise."""
    if not (path / "config.yaml").is_file():
        hint = nearest(path, lambda one: (one / "config.yaml").is_file())
        raise ConfigError(f"{path}: expected a run folder, found no config.yaml there{hint}")
    return path


def finished_run(path: Path, left: str = "model") -> Path:
    """The folder, if a run made it and has left something there; ConfigError otherwise."""
    folder = run_folder(path)
    moments = sorted(folder.glob("moment-*"))
    if moments and not (folder / left).exists():
        raise ConfigError(
            f"{folder}: expected a run of one moment, found {len(moments)}; name one of them, such "
            f"as {moments[-1]}"
        )
    if not (folder / left).exists() and not (folder / "metrics.json").exists():
        raise ConfigError(
            f"{folder}: expected a finished run, found one without {left}; "
            f"go on with: {program('run')} --resume {folder}"
        )
    return folder


def _ids(what: str, many: str) -> tuple[Argument, ...]:
    """A run or model, ids, and how many answers."""
    return (
        argument(
            "words", nargs="*", metavar=f"[RUN] {what}", help=f"run folder or saved model, {many}"
        ),
        argument("--model", type=Path, metavar="DIR", help="a run's model/, or a saved one"),
        argument("-n", "-k", type=int, default=10, metavar="N", help="each (default: 10)"),
    )


def _model_of(values: argparse.Namespace, unknown: str = "error") -> tuple[Recommender, list[str]]:
    """The model that the arguments name, and the ids."""
    if values.n < 1:
        raise ConfigError(f"-n: expected at least 1, found {values.n}")
    ids, folder = list(values.words), values.model
    if folder is None:
        if not ids:
            raise ConfigError("expected a run folder or --model, found neither")
        folder = Path(ids.pop(0))
        if not holds_model(folder):
            run_folder(folder)
    _refuse_unfinished(folder)
    from sif.recommender.recommender import Recommender

    return Recommender.load(folder, unknown), ids


def holds_model(folder: Path) -> bool:
    """True for a folder that `Recommender.save` or `publish` made."""
    from sif.recommender.model import FILE
    from sif.recommender.versions import CURRENT

    return (folder / FILE).is_file() or (folder / CURRENT).is_file()


def _refuse_unfinished(folder: Path) -> None:
    if (folder / "config.yaml").is_file():  # no folder of a model alone
        finished_run(folder)


def recommend(values: argparse.Namespace) -> None:
    """Prints user, rank, item, score and title, separated by tabs; or writes a file of them."""
    model, users = _model_of(values, values.unknown)
    from sif.cli import recommendations as listing
    from sif.data.interactions.readers import Columns

    users += values.user
    if values.users is not None:
        columns = Columns.of(model.model_.reading)
        users += listing.read_ids(values.users, "user", columns)
    if not users:
        raise ConfigError("recommend: expected user ids or --users, found neither")
    if values.memory is not None and values.output is None:
        raise ConfigError("memory: expected it with --output, found it without")
    if values.form is not None and values.output is None:
        raise ConfigError("to: expected it with --output, found it without")
    if values.output is not None:
        is_terminal = sys.stderr.isatty()
        memory = None if values.memory is None else bytes_of(values.memory)
        listing.write_recommendations(
            model, users, values.n, values.output, is_terminal, values.replace, memory,
            listing.OWN if values.form is None else listing.FORMS[values.form],
        )  # fmt: skip
        print(without_passwords(values.output))
        return
    for rows in listing.recommendations(model, users, values.n):
        _print_rows(rows)


def similar(values: argparse.Namespace) -> None:
    """Prints item, rank, neighbor, cosine and title, separated by tabs."""
    model, items = _model_of(values)
    if not items:
        raise ConfigError("similar: expected item ids, found none")
    from sif.cli import recommendations as listing

    ids, cosines = model.similar_items(items, values.n, as_arrays=True)
    _print_rows(listing.rows(items, ids, cosines, model.titles))


def _print_rows(rows: Iterable[tuple[str, int, str, float, str]]) -> None:
    for query, rank, item, score, title in rows:
        print(query, rank, item, f"{score:.4f}", title, sep="\t")


def serve(values: argparse.Namespace) -> None:
    """Answers questions over HTTP until a signal ends it."""
    if not values.folder.is_dir():
        hint = nearest(values.folder, Path.is_dir)
        raise ConfigError(
            f"{values.folder}: expected the folder of a run or a model, found none{hint}"
        )
    _refuse_unfinished(values.folder)
    from sif.cli import serve as command

    command.run(values)


def export(values: argparse.Namespace) -> None:
    """A model as a file for another program."""
    from sif.adapters.export import export as written
    from sif.recommender.recommender import Recommender

    _refuse_unfinished(values.model)
    if values.to != SMALLER:
        if values.precision is not None:
            raise ConfigError(f"precision: expected it with --to {SMALLER}, found it without")
        print(written(Recommender.load(values.model), values.to, values.output))
        return
    if values.precision is None:
        raise ConfigError(f"--to {SMALLER}: expected --precision, found none")
    if values.output.exists():
        raise ConfigError(f"{values.output}: expected a new folder, found one that is there")
    path = Recommender.load(values.model).save(values.output, precision=values.precision)
    print(Recommender.load(values.output).model_.item_precision or "float32 items, as before")
    print(path)


def convert(values: argparse.Namespace) -> None:
    """Interactions in the format of another program."""
    from sif.adapters.convert import convert as written

    flags = {
        "data.dir": values.data_dir, "data.item_features": values.item_features,
        "data.user_features": values.user_features,
    }  # fmt: skip
    config = load_config("cf", sets=values.set, flags=flags)
    assert isinstance(config, CFConfig)  # noqa: S101
    print(
        written(
            values.data, values.format, values.output, is_split=values.split, settings=config.data
        )
    )


def evaluate(values: argparse.Namespace) -> None:
    """Test metrics of a run's model again."""
    folder = finished_run(values.run)
    from sif import tasks

    tasks.evaluate(folder)


def plot(values: argparse.Namespace) -> None:
    """A run's figures again."""
    folder = finished_run(values.run, "plots/figures.json")
    from sif import tasks

    for path in tasks.plot(folder):
        print(path)


def report(values: argparse.Namespace) -> None:
    """A run's page again, or one page that compares runs."""
    from sif import report as pages

    folders = [run_folder(run) for run in values.runs]
    if values.output is None and len(folders) == 1:
        print(pages.write_page(folders[0]))
        return
    path = values.output or Path(COMPARISON)
    if path.is_dir():
        raise ConfigError(f"output: expected a file to write, found the folder {path}")
    print(pages.compare_page(folders, path))


def datasets(_: argparse.Namespace) -> None:
    """The known data sets."""
    from sif.data.recipe import list_datasets

    for recipe in list_datasets().values():
        print(f"{recipe.name:<20} {recipe.title}")


def _listing(registry: Registry[Any], section: str, function: str) -> Verb:
    """The command that lists things by name, those of other packages too, with their settings.

    The docstring of their function of the given name describes them.
    """

    def show(values: argparse.Namespace) -> None:
        jobs = {task: load_config(task).method_values() for task in TASKS}
        for name in values.names or registry.names():
            try:
                kind = registry.named(name)
            except ConfigError as error:
                if values.names:
                    raise
                print(f"{name:<12} {error}")  # the others are listed all the same
                continue
            print(f"{name:<12} {summary(getattr(kind, function))}".rstrip())
            for key, field in {} if kind.settings is None else kind.settings.model_fields.items():
                told = {} if field.is_required() else {"default": field.default}
                if section == "methods":
                    starts = {task: jobs[task].get(name, {}).get(key) for task in jobs}
                    told |= {t: v for t, v in starts.items() if v not in (None, field.default)}
                shown = ", ".join(f"{where}: {value}" for where, value in told.items())
                shown = f" ({shown})" if shown else ""
                print(f"  {section}.{name}.{key:<20} {field.description}{shown}")

    names = argument("names", nargs="*", metavar="NAME", help="of them (default: all)")
    return Verb(f"list {section} and their settings", show, (names,), registry)


def version(_: argparse.Namespace) -> None:
    """The version."""
    print(f"sif {__version__}")


def doctor(values: argparse.Namespace) -> None:
    """The state of this installation, and what to install for what."""
    from sif.cli import doctor as command

    command.show(values.json, values.data_dir)


def bench(values: argparse.Namespace) -> None:
    """Compares search methods; reports everything before it raises an error for failed trials."""
    from sif.cli import bench as command

    command.run(values)


def panel(values: argparse.Namespace) -> None:
    """Runs the default job over data sets; reports everything before it raises for failed jobs."""
    from sif.cli import panel as command

    command.run(values)


SMALLER = "sif"
"""Format of a model for this program, whose items are rounded."""
PRECISIONS = ("float32", "float16", "int8")
COMPARISON = "comparison.html"
"""File of a page that compares runs, in the working directory."""
_RUN = (argument("run", type=Path, metavar="RUN", help="run folder"),)

OTHERS: dict[str, Verb] = {
    "recommend": Verb("items for users, from a run's model", recommend, (
        *_ids("USER...", "then user ids"),
        argument("--user", nargs="+", default=[], metavar="USER", help="user ids"),
        argument("--users", type=Path, metavar="FILE", help="CSV or Parquet of user ids"),
        argument("--output", metavar="FILE|TABLE",
                 help="to write: CSV, Parquet, or postgresql://host/database/table"),
        argument("--replace", action="store_true", help="rows of a table that is there"),
        argument("--to", dest="form", choices=("rectools",),
                 help="columns of another program, with --output"),
        argument("--unknown", choices=("error", "popular"), default="error",
                 help="answer to unknown users"),
        argument("--memory", metavar="SIZE",
                 help="that answers take at a time, with --output: 64MiB (default: 256MiB)"),
    )),
    "similar": Verb(
        "items like items, from a run's model", similar, _ids("ITEM...", "then item ids")
    ),
    "serve": Verb("answer over HTTP, from a run's model", serve, (
        argument("folder", type=Path, metavar="RUN|MODEL",
                 help="run folder, a saved model's, or one of versions"),
        argument("--host", default="127.0.0.1", metavar="ADDRESS",
                 help="address to listen on (default: 127.0.0.1, this machine alone)"),
        argument("--port", type=int, default=8000, metavar="N",
                 help="port (default: 8000; 0: a free one, which is printed)"),
        argument("--unknown", choices=("error", "popular"), default="error",
                 help="answer to unknown users"),
        argument("--journal", type=Path, metavar="FILE",
                 help="keep the interactions of /events there, and read them at start"),
        argument("--watch", type=float, default=1.0, metavar="SECONDS",
                 help="between two looks for a new model (default: 1; 0: none)"),
        argument("--allow-reload", action="store_true",
                 help="POST /reload also from other machines"),
        argument("--max-body", type=int, default=2**21, metavar="BYTES",
                 help="of a request (default: 2097152)"),
        argument("--queue", type=int, default=1024, metavar="N",
                 help="requests that may wait; more get 503 (default: 1024)"),
        argument("--batch", type=int, default=256, metavar="N",
                 help="questions that are answered together, at most (default: 256)"),
        argument("--grace", type=float, default=10.0, metavar="SECONDS",
                 help="to end in after a signal (default: 10)"),
        argument("--threads", type=int, default=1, metavar="N",
                 help="CPU threads of an answer (default: 1)"),
        argument("--precision", choices=PRECISIONS,
                 help="of the items in memory (default: as in the file)"),
    )),
    "export": Verb("write a model for implicit, ONNX or torch, or a smaller one", export, (
        argument("model", type=Path, metavar="MODEL", help="run folder, or a saved model's"),
        argument("--to", required=True, metavar="FORMAT", help="implicit, onnx, torch or sif"),
        argument("--output", type=Path, required=True, metavar="FILE",
                 help="to write: .npz, .onnx or .pt2; a new folder for sif"),
        argument("--precision", choices=PRECISIONS, help="of the items, with --to sif"),
    )),
    "convert": Verb("write interactions for RecBole, RecTools, or as CSV or Parquet", convert, (
        argument("data", metavar="DATA", help="file, folder, known name, or postgresql://..."),
        argument("--to", dest="format", required=True, metavar="FORMAT",
                 help="recbole, rectools, csv or parquet"),
        argument("--output", type=Path, required=True, metavar="FILE|DIR",
                 help="to write: a file, or a new folder"),
        argument("--split", action="store_true", help="DATA has parts, which stay apart"),
        argument("--item-features", metavar="FILE", help="table to write as well"),
        argument("--user-features", metavar="FILE", help="as of items"),
        argument("--set", metavar="K=V", nargs="+", action="extend", default=[],
                 help="e.g. data.user=customer"),
        argument("--data-dir", metavar="DIR", help="folder of data files and downloads"),
    )),
    "bench": Verb("compare search methods under an equal budget", bench, (
        *JOB_ARGUMENTS,
        argument("--methods", metavar="NAME", nargs="+", default=[], help="search methods"),
        argument("--variant", metavar="WORD", nargs="+", action="append", default=[],
                 help="NAME METHOD methods.METHOD.key=value ...: one with its own settings"),
        argument("--seeds", type=int, metavar="N", help="number of seeds (default: 5)"),
        argument("--seed", type=int, metavar="N", help="the first of them (default: 0)"),
        argument("--budget", metavar="AMOUNT",
                 help="of a search: 30s, 5min (CPU), 500steps, 20epochs"),
        argument("--against", metavar="NAME",
                 help="reference of differences (default: the first)"),
        argument("--workers", type=int, metavar="N",
                 help="trials at a time (default: one per core, or all that Ray has place for)"),
        *EXECUTOR_ARGUMENTS,
        argument("--output-dir", metavar="DIR", type=Path, help="default: a new one in benches/"),
        either(
            argument("--resume", metavar="DIR", type=Path, help="continue a bench"),
            argument("--report", metavar="DIR", type=Path, help="table and figures again"),
        ),
        argument("--quiet", action="store_true", help="only the report"),
    )),
    "panel": Verb("run the default job over a list of data sets", panel, (
        argument("--data", metavar="DATA", nargs="+", default=[],
                 help="known names, files, or YAML lists of them, such as panel/public"),
        *SHARED_ARGUMENTS,
        argument("--seeds", type=int, metavar="N", help="number of seeds (default: 1)"),
        argument("--seed", type=int, metavar="N", help="the first of them (default: 0)"),
        argument("--budget", metavar="TIME", help="of each job: 90, 10min, 1h"),
        argument("--jobs", type=int, metavar="N",
                 help="jobs at a time (default: 1, or all that Ray has place for)"),
        *EXECUTOR_ARGUMENTS,
        either(
            argument("--output-dir", metavar="DIR", type=Path,
                     help="default: a new one in panels/; one that is there goes on"),
            argument("--report", metavar="DIR", type=Path, help="table and figure again"),
        ),
        argument("--quiet", action="store_true", help="only the report"),
    )),
    "evaluate": Verb("evaluate a run's model on the test part again", evaluate, _RUN),
    "plot": Verb("draw a run's figures again", plot, _RUN),
    "report": Verb("make a run's page again, or one that compares runs", report, (
        argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders"),
        argument("--output", type=Path, metavar="FILE",
                 help=f"page that compares runs (default: {COMPARISON})"),
    )),
    "methods": _listing(METHODS, "methods", "make"),
    "objectives": _listing(OBJECTIVES, "objectives", "measure"),
    "spaces": _listing(SPACES, "spaces", "make"),
    "losses": _listing(LOSSES, "losses", "function"),
    "datasets": Verb("list the known datasets", datasets),
    "doctor": Verb("tell what this installation has, and what to install for what", doctor, (
        argument("--json", action="store_true", help="one JSON document"),
        argument("--data-dir", metavar="DIR", type=Path, help="folder of data files"),
    )),
    "version": Verb("print the version", version),
}  # fmt: skip
