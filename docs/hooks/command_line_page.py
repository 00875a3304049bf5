"""The page of the command line, from the parsers of the commands."""

from __future__ import annotations

import argparse

from sif.cli.main import VERBS, _parser

_HEAD = """\
# The command line

`sif COMMAND` and `python run.py COMMAND` are the same. Without a command both mean `run`.
Every command takes `--help`, and `--debug`, which shows tracebacks.

| exit code | meaning |
|---|---|
| 0 | the command has done its work |
| 1 | a panel has finished, but some of its jobs failed |
| 2 | something in the input has to change; one line on standard error says what |
| 130 | the command was interrupted; one line says how to go on |
"""


def command_line_page() -> str:
    """The page in Markdown: a section for each command."""
    return "\n".join([_HEAD, *(_section(name) for name in VERBS)])


def _section(name: str) -> str:
    verb, parser = VERBS[name], _parser(name)
    rows = [_row(action) for action in parser._actions if action.dest not in ("help", "debug")]
    lines = [f"## sif {name}", "", f"{verb.help[:1].upper()}{verb.help[1:]}."]
    if rows:
        lines += ["", "| argument | meaning |", "|---|---|", *rows]
    return "\n".join([*lines, ""])


def _row(action: argparse.Action) -> str:
    value = action.metavar or ("{" + ",".join(action.choices) + "}" if action.choices else None)
    takes = action.nargs != 0 and (value or not action.option_strings)
    shown = str(value or action.dest.upper()) if takes else ""
    names = [f"`{option} {shown}`".replace(" `", "`") for option in action.option_strings]
    if not action.option_strings:
        names = [f"`{shown}`"]
    many = ", one or more values" if action.nargs == "+" else ""
    return f"| {', '.join(names)}{many} | {(action.help or '').replace('|', chr(92) + '|')} |"
