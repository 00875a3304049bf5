"""Methods by name: this package's, and those of others by entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from sif.errors import ConfigError
from sif.methods import outside as table
from sif.methods.registry import GROUP, METHODS, MethodKind, method_named, method_names

KIND = MethodKind(lambda space, settings, plan, draws: None)
BROKEN = object()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three methods of other packages: a good one, one that is none, one that cannot be loaded."""
    here = __name__

    def found(group: str, name: str | None = None) -> list[EntryPoint]:
        assert group == GROUP == "sif.methods"
        values = {"theirs": f"{here}:KIND", "broken": f"{here}:BROKEN", "gone": "absent_pkg:KIND"}
        return [EntryPoint(n, v, group) for n, v in values.items() if name in (None, n)]

    monkeypatch.setattr(table, "entry_points", found)
    monkeypatch.setattr(EntryPoint, "load", _load)


def _load(point: EntryPoint) -> object:
    if point.module == "absent_pkg":
        raise ModuleNotFoundError("No module named 'absent_pkg'")
    return globals()[point.attr]


def test_names_of_this_package_lead_to_its_methods() -> None:
    assert method_names()[: len(METHODS)] == tuple(METHODS)
    assert method_named("gdas") is METHODS["gdas"]
    assert not any(kind.mixes for kind in METHODS.values() if kind.samples)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"method: expected one of nasp, .*found 'random-sw'; "
                       "did you mean 'random-ws'"):  # fmt: skip
        method_named("random-sw")


@pytest.mark.usefixtures("registered")
def test_a_registered_method_is_loaded_by_its_name() -> None:
    assert method_names()[-3:] == ("theirs", "broken", "gone")
    assert method_named("theirs") is KIND
    with pytest.raises(ConfigError, match="did you mean 'theirs'"):
        method_named("their")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("name", "told"),
    [("broken", "BROKEN: expected a MethodKind, found object"),
     ("gone", "absent_pkg:KIND cannot be loaded: ModuleNotFoundError: No module named")],
)  # fmt: skip
def test_what_is_no_method_is_refused_in_one_line(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as e:
        method_named(name)
    assert "\n" not in str(e.value)
