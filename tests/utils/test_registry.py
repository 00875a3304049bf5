"""Things by name: this package's, and those that other packages register by entry points."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from sif.errors import ConfigError, DataError
from sif.methods.kind import MethodKind
from sif.methods.registry import METHODS
from sif.spaces.interaction.losses import LossKind
from sif.spaces.interaction.registry import LOSSES, SPACES
from sif.spaces.interaction.space_kind import SpaceKind
from sif.utils import registry as module
from sif.utils.registry import Registry

REGISTRIES: list[tuple[Registry[Any], type]] = [
    (METHODS, MethodKind), (SPACES, SpaceKind), (LOSSES, LossKind),
]  # fmt: skip
THEIRS = METHODS["gdas"]
BROKEN = object()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of other packages: a good method, something else, one that cannot be loaded."""
    here = __name__
    points = [
        ("theirs", f"{here}:THEIRS"), ("broken", f"{here}:BROKEN"), ("gone", "absent_pkg:KIND"),
        ("twice", f"{here}:THEIRS"), ("twice", f"{here}:BROKEN"), ("nasp", f"{here}:BROKEN"),
    ]  # fmt: skip

    def found(group: str, name: str | None = None) -> list[EntryPoint]:
        ours = group == "sif.methods"
        return [EntryPoint(n, v, group) for n, v in points if ours and name in (None, n)]

    def load(point: EntryPoint) -> object:
        if point.module == "absent_pkg":
            raise ModuleNotFoundError("No module named 'absent_pkg'")
        return globals()[point.attr]

    monkeypatch.setattr(module, "entry_points", found)
    monkeypatch.setattr(EntryPoint, "load", load)


@pytest.mark.parametrize(("registry", "kind"), REGISTRIES, ids=lambda r: getattr(r, "what", ""))
def test_every_name_of_this_package_leads_to_its_kind(registry: Registry[Any], kind: type) -> None:
    assert registry.names()[: len(registry)] == tuple(registry)
    for name, found in registry.items():
        assert isinstance(found, kind)
        assert registry.named(name) is found


def test_names_are_told_without_loading_anything() -> None:
    code = (
        "import sys; from sif.methods.registry import METHODS; "
        "from sif.spaces.interaction.registry import LOSSES, SPACES; "
        "[r.names() for r in (METHODS, LOSSES, SPACES)]; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^method: expected one of nasp, .*found 'random-sw'; "
                       "did you mean 'random-ws'"):  # fmt: skip
        METHODS.named("random-sw")


@pytest.mark.usefixtures("registered")
def test_what_is_registered_is_loaded_by_its_name() -> None:
    assert METHODS.outside() == ("theirs", "broken", "gone", "twice")
    assert METHODS.named("theirs") is THEIRS
    assert METHODS.named("nasp") is METHODS["nasp"]  # nobody takes the place of this package's
    assert "theirs" not in METHODS
    with pytest.raises(ConfigError, match="did you mean 'theirs'"):
        METHODS.named("their")
    assert SPACES.outside() == LOSSES.outside() == ()


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("name", "told"),
    [("broken", "here: broken: .*:BROKEN: expected a MethodKind, found object"),
     ("gone", "absent_pkg:KIND cannot be loaded: ModuleNotFoundError: No module named"),
     ("twice", "here: twice is registered by several packages: .*:BROKEN, .*:THEIRS")],
)  # fmt: skip
def test_what_is_none_of_the_kind_is_refused_in_one_line(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as e:
        METHODS.named(name, "here")
    assert "\n" not in str(e.value)


def five(space: Any, settings: Any, plan: Any, draws: Any, more: Any) -> None: ...


@pytest.mark.parametrize(
    ("fields", "told"),
    [((five,), r"MethodKind\.make: expected a function of \(space, .*\), found missing .* 'more'"),
     ((3,), "MethodKind.make: expected a function of .*, found 3 is not a callable object"),
     ((five, None), "found missing a required"), ((print, None), "MethodSettings, found None"),
     ((print, dict), "MethodKind.settings: .* derived from MethodSettings, found <class 'dict'>")],
)  # fmt: skip
def test_a_value_to_register_checks_its_fields(fields: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        MethodKind(*fields)


def raising(error: BaseException) -> None:
    raise error


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("name", "error", "raised"),
    [("theirs", KeyError("x"), ConfigError), ("nasp", KeyError("x"), KeyError),
     ("unregistered", KeyError("x"), KeyError), ("theirs", MemoryError(), MemoryError),
     ("theirs", DataError("no rows"), DataError), ("theirs", SystemExit(3), ConfigError)],
)  # fmt: skip
def test_what_is_called_fails_as_its_owner_can_use_it(
    name: str, error: BaseException, raised: type[BaseException]
) -> None:
    with pytest.raises(raised) as e:
        METHODS.call(name, int, raising, error)
    if raised is ConfigError:
        told = f"expected a result of type int, found {type(error).__name__}: {error}"
        assert str(e.value) == f"method: theirs: {__name__}:THEIRS: {told}"
    assert METHODS.call(name, int, lambda: 3) == 3
