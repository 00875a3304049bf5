"""The documents are true: commands parse, links lead somewhere, named things exist."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import shlex
import tomllib
import warnings
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from sif.bench.request import Entrant
from sif.cli import main as cli
from sif.config import TASKS
from sif.config.files import presets
from sif.config.renamed import RENAMED
from sif.methods.registry import METHODS
from sif.problems.configuration import load_job_config
from sif.search.registry import OBJECTIVES
from sif.spaces.interaction.registry import LOSSES, SPACES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "*/**/*.md")
    for path in ROOT.glob(pattern)
    if not path.relative_to(ROOT).parts[0].startswith(".")
)
CHANGELOG = ROOT / "CHANGELOG.md"
PLUGIN = ROOT / "examples" / "plugin" / "README.md"  # tests/test_plugin.py runs its commands
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PROGRAM = re.compile(r"\s*(?:[A-Z_]+=\S+ )*(?:python3? run\.py|sif) (?=\S)")

each_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def today(path: Path) -> str:
    """A document without the former names of the changelog: "`former` →", and first cells."""
    text = path.read_text(encoding="utf-8")
    if path != CHANGELOG:
        return text
    text = re.sub(r"`[^`]*` → ", "", text)
    tables = re.compile(r"^\| former \|.*\n(?:\|.*\n)+", re.MULTILINE)
    return tables.sub(lambda table: re.sub(r"^\|[^|]*\|", "|", table[0], flags=re.MULTILINE), text)


def shell_lines(text: str) -> list[str]:
    """Lines of the shell blocks, and of blocks that are indented or of no language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks = [block for language, block in fenced if language in ("", "sh")]
    indented = re.findall(
        r"(?:^ {4,}\S.*\n)+", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M
    )
    return "".join([*blocks, *indented]).replace("\\\n", " ").splitlines()


def commands(text: str) -> Iterator[str]:
    """Arguments of every sif command in a document's blocks."""
    for line in shell_lines(text):
        for part in line.split("&&"):
            if program := PROGRAM.match(part):
                words = part[program.end() :].split(" > ")[0]
                yield shlex.join(shlex.split(words, comments=True))


COMMANDS = sorted({c for path in DOCUMENTS if path != PLUGIN for c in commands(today(path))})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parsed: list[Namespace] = []
    for name, verb in cli.VERBS.items():
        monkeypatch.setitem(cli.VERBS, name, replace(verb, call=parsed.append))
    words = shlex.split(command.replace("--seed S", "--seed 0"))
    assert cli.main(words) == 0, capsys.readouterr().err
    (values,) = parsed
    resumed = getattr(values, "resume", None) is not None
    of_a_job = "set" in values and "report" not in values and not resumed
    if of_a_job or "data" in values:
        check_settings(values, values.set)
    if getattr(values, "budget", None) and "variant" in values:
        for name, method, *sets in values.variant:
            Entrant(name, method, tuple(sets))
            check_settings(values, [*values.set, *sets])


def check_settings(values: Namespace, sets: list[str]) -> None:
    config = getattr(values, "config", None)
    preset = config if config in presets() else None
    assert preset is not None or config is None or config.endswith(".yaml")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no former name of a setting
        load_job_config(getattr(values, "task", "cf"), file=preset, sets=sets)


@each_document
def test_benchmarks_have_the_options_that_commands_give(path: Path) -> None:
    for line in shell_lines(today(path)):
        if script := re.search(r"python (benchmarks/\w+\.py)", line):
            code = (ROOT / script[1]).read_text(encoding="utf-8")
            # What stands behind "--" alone is for run.py.
            for option in re.findall(r" (--\w[\w-]*)", line.split(" -- ")[0]):
                known = f'"{option}"' in code or f'("{option[2:]}", ' in code
                assert known, f"{path.name}: {script[1]} {option}"


def test_there_are_commands_to_check() -> None:
    readme = set(commands(README))
    assert len(readme) >= 3
    assert len(COMMANDS) > len(readme) + 20
    lines = [line for path in DOCUMENTS for line in shell_lines(today(path))]
    assert sum("python benchmarks/" in line for line in lines) > 20


def test_the_second_set_up_command_is_what_ci_runs() -> None:
    (command,) = [line for line in shell_lines(README) if line.endswith("pytest")]
    steps = [step.strip() for step in command.split("&&")]
    assert steps[:2] == ["python3 -m venv .venv", ". .venv/bin/activate"]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(" --quiet", "")
    lines = [line for line in script.splitlines() if not line.startswith("mkdocs ")]
    assert len(lines) == len(script.splitlines()) - 1  # the site is built as well
    *installed, tests = lines[-len(steps[2:]) :]
    program, options = tests.split(maxsplit=1)
    assert [*installed, program] == steps[2:]
    # The whole suite; where asked for, with its coverage and a floor under it.
    assert re.fullmatch(r"\$\{coverage:\+(--cov\S* )+--cov-fail-under=\d+\}", options)


def snippets(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_readme_shows_python() -> None:
    assert len(snippets(ROOT / "README.md")) == 1
    assert README[: README.index("```python")].count("\n") < 40


def test_readme_is_short() -> None:
    """Tables and code apart."""
    prose = re.sub(r"^```.*?^```|^\|.*?$", "", README, flags=re.MULTILINE | re.DOTALL)
    assert len(prose.split()) <= 550


@each_document
def test_python_snippets_compile_and_import_what_exists(path: Path) -> None:
    for snippet in snippets(path):
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "sif":
                for alias in node.names:
                    assert exists(f"{node.module}.{alias.name}"), f"{path.name}: {alias.name}"


def exists(name: str) -> bool:
    """True if a dotted name leads to a module or to something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("sif"):
                return True  # a library that is not installed
            continue
        for part in parts[length:]:
            fields = getattr(found, "__dataclass_fields__", {})
            if part in fields:
                return True
            found = getattr(found, part, None)
            if found is None:
                return False
        return True
    return False


@each_document
def test_dotted_names_lead_somewhere(path: Path) -> None:
    groups = {registry.group for registry in (METHODS, SPACES, LOSSES, OBJECTIVES)}
    named = set(re.findall(r"(?<![\w/.-])sif(?:\.\w+)+", today(path))) - groups
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # names that are said to be former
        assert not [name for name in sorted(named) if not exists(name)]


@functools.cache
def words_of_the_project() -> frozenset[str]:
    """Every word of the code, its configuration and the tables of results."""
    here = Path(__file__).resolve()
    files = [
        path
        for pattern in ("*.py", "*.yaml", "*.toml", "*.txt", "*.csv")
        for path in ROOT.rglob(pattern)
        if path.resolve() != here and not path.relative_to(ROOT).parts[0].startswith(".")
    ]
    return frozenset(
        re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in files))
    )


ELSEWHERE = {"AlternatingLeastSquares", "RecommenderBase", "NAME_ids", "KeyError"}
ELSEWHERE |= {"rating_threshold", "Untar", "Unzip"}
"""Names of other libraries, and patterns of names."""


@each_document
def test_names_of_code_are_those_of_the_code(path: Path) -> None:
    known, text = words_of_the_project() | ELSEWHERE, today(path)
    for quoted in re.findall(
        r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    ):
        if quoted.endswith((".md", ".py", ".yaml")):
            continue
        unknown = [word for word in quoted.split(".") if word not in known]
        assert not unknown, f"{path.name}: {quoted}"


def test_the_changelog_names_every_renamed_setting() -> None:
    text = CHANGELOG.read_text(encoding="utf-8")
    for old, new in RENAMED.items():
        rows = [line for line in text.splitlines() if line.startswith(f"| `{old}`")]
        assert len(rows) == 1, old
        assert all(key in rows[0] for key in new.keys if not key.startswith("methods.snas")), old


def test_the_changelog_says_where_modules_are() -> None:
    text = CHANGELOG.read_text(encoding="utf-8").split("### Modules")[1]
    rows = re.findall(r"^\| `(sif\.[\w.]+)` \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) > 20
    for package, modules in rows:
        for module in modules.split(", "):
            assert exists(f"{package}.{module.split(' → ')[-1].strip('`')}"), module


def test_the_architecture_shows_the_packages_in_their_order() -> None:
    text = (ROOT / "docs" / "concepts" / "architecture.md").read_text(encoding="utf-8")
    assert len(text.split()) < 900
    (picture,) = re.findall(r"^```\n(cli .*?)^```", text, re.MULTILINE | re.DOTALL)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert re.findall(r"^(\w+)", picture, re.MULTILINE) == layers
    assert set(layers) == {
        path.stem for path in (ROOT / "sif").iterdir() if not path.stem.startswith("_")
    } - {"py"}


GENERATED = {
    ROOT / "docs" / name
    for name in (
        "reference/command-line.md",
        "reference/renamed-settings.md",
        *(f"reference/settings/{page}.md" for page in ("index", "cf", "cnn", "rnn", "methods")),
    )
}
"""Pages that only the site has, whose build checks links to them (`tests/test_site.py`)."""


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@each_document
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if target in GENERATED:
            continue
        assert target.exists(), f"{path.name}: {link}"
        assert target.is_relative_to(ROOT), f"{path.name}: {link} leaves the project"
        assert not anchor or anchor in anchors(target), f"{path.name}: {link}"


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        yield prefix + name
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from known_keys(kind, f"{prefix}{name}.")


def every_key() -> set[str]:
    """Settings of all tasks, and of all methods of this package."""
    found = {key for model in TASKS.values() for key in known_keys(model)}
    for name, kind in METHODS.items():
        found |= set(known_keys(kind.settings, f"methods.{name}."))
    return found


@each_document
def test_settings_tests_and_files_named_in_documents_exist(path: Path) -> None:
    text = today(path)
    known = every_key()
    sections = {key.split(".")[0] for key in known if "." in key}
    for key in re.findall(r"`(\w+\.[\w.-]+)(?:=[^`]*)?`", text):
        section, name = key.split(".")[:2]
        if section == "methods" and name not in METHODS:
            continue  # an example, or any method's
        if section in sections and not key.endswith((".py", ".yaml", ".md", ".txt")):
            assert key in known, f"{path.name}: {key}"
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"
    files = re.findall(r"`([\w./-]+\.py|[\w.-]+/[\w./-]+\.(?:ya?ml|md|csv|parquet|toml))`", text)
    files += re.findall(r"(?:^| )(benchmarks/[\w/]+\.py)", text, re.MULTILINE)
    # A module may go by its name alone where its package, or another module of it, is named.
    packages = {ROOT / name for name in re.findall(r"`(sif/[\w/]*)(?=/(?:\w+\.py)?`)", text)}
    places = [ROOT, path.parent, *packages]
    for file in files:
        assert any((place / file).exists() for place in places), f"{path.name}: {file}"
