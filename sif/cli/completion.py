"""`sif completion`: a script by which a shell completes commands, options and names."""

from __future__ import annotations

import argparse
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sif.cli.commands import Verb
from sif.config import TASKS, config_model, task_names
from sif.config.files import presets
from sif.config.sections import fields_of
from sif.data.recipe import list_datasets
from sif.methods.registry import METHODS
from sif.utils.optional import library

_PREAMBLE = {
    "bash": string.Template("""
_sif_words() { compgen -W "$$1" -- "$$2"; }
_sif_dataset() { _sif_words "$datasets" "$$1"; compgen -f -- "$$1"; }
_sif_config() { _sif_words "$presets" "$$1"; compgen -f -- "$$1"; }
_sif_set() { _sif_words "$settings" "$$1"; }
"""),
    "zsh": string.Template("""
_sif_dataset() { compadd -- $datasets; _files; }
_sif_config() { compadd -- $presets; _files; }
_sif_set() { compadd -S '' -- $settings; }
"""),
    "fish": string.Template("""
function _sif_files; __fish_complete_path (commandline -ct); end
function _sif_dataset; string split " " "$datasets"; _sif_files; end
function _sif_config; string split " " "$presets"; _sif_files; end
function _sif_set; string split " " "$settings"; end
"""),
}
_ENDS = {
    # A value follows a setting at once. shtab runs what completes an argument in a subshell, from
    # where bash takes no options.
    "bash": """
_sif() {
  _shtab_sif "$@"
  [[ ${#COMPREPLY[@]} -ne 1 || "${COMPREPLY[0]}" != *= ]] || compopt -o nospace 2>/dev/null
}
complete -o bashdefault -o default -F _sif sif
""",
}
_COMPLETED = {"dataset": "_sif_dataset", "data": "_sif_dataset", "config": "_sif_config",
              "set": "_sif_set"}  # fmt: skip
"""Names of arguments, and the functions of the scripts that complete them."""


def _export_formats() -> Sequence[str]:
    from sif.adapters.export import FORMATS  # imports torch

    return (*FORMATS, "sif")


def _table_formats() -> Sequence[str]:
    from sif.adapters.convert import FORMATS

    return tuple(FORMATS)


_CHOICES: Mapping[str, Callable[[], Sequence[str]]] = {
    "task": task_names,
    "method": METHODS.names,
    "methods": METHODS.names,
    "device": lambda: ("auto", "cpu", "cuda"),
    "to": _export_formats,
    "format": _table_formats,
}
"""Names of arguments, and their words."""


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """A script of completion.

    Args:
        shell: "bash", "zsh" or "fish".
        parser: Of all commands.

    Raises:
        ConfigError: shtab is missing.
    """
    shtab = library("shtab", where="completion")
    words = {
        "datasets": sorted(list_datasets()),
        "presets": sorted(presets()),
        "settings": [f"{name}=" for name in settings()],
    }
    for action in _actions(parser):
        _complete(action, shell, shtab)
    preamble = _PREAMBLE[shell].substitute({k: " ".join(v) for k, v in words.items()})
    made: str = shtab.complete(parser, shell=shell, preamble={shell: preamble})
    return made + _ENDS.get(shell, "")


def _complete(action: Any, shell: str, shtab: Any) -> None:
    """Says how an argument is completed."""
    kinds = set(re.findall(r"\w+", action.metavar or ""))
    if action.dest in _COMPLETED:
        function = _COMPLETED[action.dest]
        action.complete = {shell: f"({function})" if shell == "fish" else function}
    elif action.dest in _CHOICES:
        action.choices = _CHOICES[action.dest]()
    elif {"DIR", "RUN", "MODEL"} & kinds:
        action.complete = shtab.DIRECTORY
    elif "FILE" in kinds:
        action.complete = shtab.FILE


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    """All arguments, those of commands too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)
        else:
            yield action


def settings() -> list[str]:
    """The names of the settings of all tasks, such as "train.epochs"."""
    names = {name: None for task in TASKS for name, _ in fields_of(config_model(task))}
    return list(names)


def whole(top: argparse.ArgumentParser, verbs: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """A parser of all commands: that of jobs, with the others below it.

    Args:
        top: Of jobs.
        verbs: The commands by name.
    """
    top.prog = "sif"
    below = top.add_subparsers()
    for name, verb in verbs.items():
        verb.add_to(below.add_parser(name, help=verb.help, description=verb.help))
    return top
