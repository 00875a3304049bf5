"""The command line: a table of verbs over ordinary functions; `run` is the verb when none is given.

What the user got wrong becomes one line on stderr and exit code 2 (`--debug` adds the traceback);
an interrupted job exits with 130 and says how to go on, a panel in which jobs failed with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from sif.cli.arguments import (
    JOB_ARGUMENTS,
    JOB_FLAGS,
    PLACE_ARGUMENTS,
    argument,
    check_resumed,
    executor,
    given,
    hidden,
    program,
)
from sif.cli.commands import OTHERS, Verb, run_folder
from sif.cli.interruption import EXIT_INTERRUPTED, going_on
from sif.config import (
    CommonConfig,
    RenamedSetting,
    did_you_mean,
    differences,
    new_run_folder,
)
from sif.errors import LONGEST, ConfigError, FailedJobsError, SifError, one_line
from sif.utils.ranks import leave, several, tells
from sif.utils.registry import NameTaken

EXIT_FAILED_JOBS = 1
EXIT_BAD_INPUT = 2
SHELLS = ("bash", "zsh", "fish")
"""Shells for which `sif completion` has a script."""

_DESCRIPTION = """\
Finds the interaction function for your data, and compares it with tuned baselines.
other commands (sif COMMAND --help; sif --version; sif completion SHELL):
"""
_EXAMPLES = """\
examples:
  {run} --task cf                       generated data, no download
  {run} --task cf --dataset my.csv --seed 1 --set data.user=customer
  {run} --resume runs/cf-ml-100k-...    go on after an interruption
"""
_NOTES = (RenamedSetting, NameTaken)
"""Warnings that are for whoever typed the command."""
_FLAGS = {**JOB_FLAGS, "method": "method", "seed": "seed", "output_dir": "output_dir"}


_OPTIONS = (
    (r"(^|; )settings: ", r"\1--set: "),
    (r"(^|; )arguments: ", r"\1command line: "),
    (r"^to: ", "--to: "),
    (r"\bto=(?=\w+$)", "--to "),
    (r"\btracking\.enabled=false$", "--no-tracking"),
    (r"\banother output_dir, or resume ", "another --output-dir, or continue it with --resume "),
    (r"^ray_address: ", "--ray-address: "),
    (r"\bgive a budget$", "give --budget"),
    (r"\breplace=True$", "--replace"),
    (r"\bgive another output_dir$", "give another --output-dir"),
)
"""Words in messages of the library, and the options of the command line for them."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing usage and exiting; abbreviations are not guessed."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_formatter, **settings)

    def error(self, message: str) -> NoReturn:
        hint = f"; see {self.prog} --help" if "are required" in message else ""
        raise ConfigError(message.removeprefix("argument ") + hint)

    def parse_strictly(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parses, and refuses what is left over with the nearest known option."""
        values, extra = self.parse_known_args(arguments)
        if extra:
            unknown = extra[0].split("=")[0]
            if unknown.startswith("-"):
                options = [option for action in self._actions for option in action.option_strings]
                hint = did_you_mean(unknown, options)
                raise ConfigError(
                    f"unknown option {unknown}{hint or '; settings are given as --set key=value'}"
                )
            raise ConfigError(f"unexpected argument {unknown!r}")
        return values


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=88)


def _run(values: argparse.Namespace) -> None:
    if values.finish and not values.resume:
        raise ConfigError("--finish ends an interrupted run: expected --resume DIR, found none")
    place = executor(values)
    config = _resumed_config(values) if values.resume else _new_config(values)
    from sif import tasks

    folder = config.output_dir

    def again() -> str:
        begun = folder is not None and (folder / "checkpoint").is_dir()
        return f"go on with: {program('run')} --resume {folder}" if begun else ""

    with going_on(again):
        resume, finish = values.resume is not None, values.finish
        # Whatever is printed on the way, by libraries too, stays out of the document.
        away = contextlib.redirect_stdout(sys.stderr) if values.json else contextlib.nullcontext()
        with away:
            result = tasks.run(
                config, resume=resume, quiet=values.quiet, finish=finish, executor=place
            )
    if values.json and tells():
        print(json.dumps(result.document(), indent=1))


def _asked_config(values: argparse.Namespace, file: str | Path | None) -> CommonConfig:
    from sif.problems.configuration import load_job_config

    flags = given(values, _FLAGS)
    return load_job_config(values.task, file=file, sets=values.set, flags=flags, job=True)


def _new_config(values: argparse.Namespace) -> CommonConfig:
    config = _asked_config(values, values.config)
    return config.model_copy(update={"output_dir": new_run_folder(config, datetime.now())})


def _resumed_config(values: argparse.Namespace) -> CommonConfig:
    """The interrupted run's own configuration; repeated options must agree with it."""
    folder = run_folder(values.resume)
    check_resumed(folder, values.output_dir, ())
    from sif.problems.configuration import load_job_config

    saved = load_job_config(None, file=folder / "config.yaml")
    asked = _asked_config(values, values.config or folder / "config.yaml")
    check_resumed(folder, None, differences(asked, saved))
    return asked.model_copy(update={"output_dir": folder})


def _completion(values: argparse.Namespace) -> None:
    from sif.cli import completion

    print(completion.script(values.shell, completion.whole(_parser("run"), VERBS)))


VERBS: dict[str, Verb] = {
    "run": Verb("search, retrain, compare, report", _run, (
        *JOB_ARGUMENTS,
        argument("--method", help="search method (default: nasp)"),
        argument("--seed", type=int, metavar="N", help="root of all randomness (default: 0)"),
        argument("--output-dir", metavar="DIR", type=Path,
                 help="run folder (default: a new one in runs/)"),
        argument("--resume", metavar="DIR", type=Path,
                 help="go on with an interrupted run (--finish: end with the best)"),
        hidden(argument("--finish", action="store_true")),
        argument("--quiet", action="store_true", help="only the table and the verdict"),
        argument("--json", action="store_true", help="one JSON document; the rest to stderr"),
        argument("--executor", choices=("local", "ray"), metavar="local|ray",
                 help="ray: parts of it on a cluster, options as of bench"),
        hidden(*PLACE_ARGUMENTS),
    )),
    **OTHERS,
    "completion": Verb("print a script by which a shell completes", _completion, (
        argument("shell", choices=SHELLS, metavar="SHELL",
                 help="bash, zsh or fish"),
    )),
}  # fmt: skip


def _parser(name: str) -> _Parser:
    verb = VERBS[name]
    if name == "run":
        others = [_summary(other, VERBS[other]) for other in VERBS if other not in _UNLISTED]
        description, epilog = _DESCRIPTION + "\n".join(others), _EXAMPLES.format(run=program("run"))
        parser = _Parser(
            prog=program("run"), description=description, epilog=epilog, usage=_USAGE,
            add_help=False,
        )  # fmt: skip
        hidden(argument("-h", "--help", action="help"))(parser)
    else:
        parser = _Parser(prog=f"sif {name}", description=verb.help)
    verb.add_to(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _summary(name: str, verb: Verb) -> str:
    """A command in the help of all."""
    text = verb.help if verb.lists is None else ", ".join(verb.lists.names())
    return f"  {name:<12}{textwrap.shorten(text, 74, placeholder=' ...')}"


_UNLISTED = ("run", "version", "completion")
"""Commands that the list of the others leaves out, as it has to fit a screen."""
_USAGE = "%(prog)s --task TASK [--dataset NAME|FILE] [options]"


def _dispatch(arguments: list[str]) -> None:
    if not arguments:
        _parser("run").print_help()
        return
    name = "run"
    if arguments == ["--version"]:
        arguments = ["version"]
    if not arguments[0].startswith("-"):
        name = arguments.pop(0)
        if name not in VERBS:
            raise ConfigError(f"unknown command {name!r}{did_you_mean(name, VERBS)}")
    if several() and name != "run":
        raise ConfigError(f"torchrun: expected a job, found the command {name}")
    VERBS[name].call(_parser(name).parse_strictly(arguments))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        The exit code: 0, 1 for a panel in which jobs failed, 2 for what the user can mend, 130
        when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with _notes_told_once():
            _dispatch(list(arguments))
        sys.stdout.flush()
        return leave(0)
    except KeyboardInterrupt as interruption:
        if not tells():
            return leave(EXIT_INTERRUPTED)
        return _report(": ".join(["interrupted", *map(str, interruption.args)]), EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`| head`); nothing is left to say, and Python must not try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SifError, OSError) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        code = EXIT_FAILED_JOBS if isinstance(error, FailedJobsError) else EXIT_BAD_INPUT
        if not tells():
            return leave(code)
        return _report(f"error: {_one_line(error)}", code)


@contextlib.contextmanager
def _notes_told_once() -> Iterator[None]:
    """Former names and names that are taken become a line on stderr, told once each."""
    told: set[str] = set()
    with warnings.catch_warnings():
        for note in _NOTES:
            warnings.simplefilter("always", note)
        shown = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], *place: Any, **where: Any
        ) -> None:
            if not issubclass(category, _NOTES):
                shown(message, category, *place, **where)
            elif str(message) not in told:
                told.add(str(message))
                print(f"note: {message}", file=sys.stderr, flush=True)

        warnings.showwarning = show
        yield


def _one_line(error: SifError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        told = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        return one_line(told, LONGEST - len("error: "))
    line = " ".join(str(error).split())
    for named, option in _OPTIONS:
        line = re.sub(named, option, line)
    return one_line(line, LONGEST - len("error: "))


def _report(line: str, code: int) -> int:
    print(line, file=sys.stderr, flush=True)
    return leave(code)


if __name__ == "__main__":
    raise SystemExit(main())
