from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from sif.config import (
    TASKS,
    CFConfig,
    CommonConfig,
    differences,
    dump_config,
    files,
    load_config,
    new_run_folder,
    shipped,
)
from sif.config.files import find_config
from sif.config.loading import config_hash
from sif.errors import LONGEST, ConfigError

ROOT = Path(__file__).parents[2]


def load(*sets: str, file: Path | None = None, **flags: object) -> CFConfig:
    config = load_config("cf", file=file, sets=sets, flags=flags)
    assert isinstance(config, CFConfig)
    return config


def refused(*sets: str, file: Path | None = None, **flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*sets, file=file, **flags)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def own_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the shipped presets."""
    folder = tmp_path / "presets"
    (folder / "cf").mkdir(parents=True)
    monkeypatch.setattr(files, "shipped", lambda kind: folder)
    monkeypatch.setattr("sif.config.loading.shipped", lambda kind: folder)
    return folder


def test_precedence_is_flag_over_set_over_file_over_overlay_over_preset(
    own_presets: Path, tmp_path: Path
) -> None:
    (own_presets / "cf" / "default.yaml").write_text(
        "{seed: 1, method: a, space: a, objective: rating, train: {epochs: 1, patience: 1}}"
    )
    (own_presets / "cf" / "rating.yaml").write_text("{seed: 2, method: b, train: {epochs: 2}}")
    (own_presets / "cf" / "ranking.yaml").write_text("{space: never}")
    file = tmp_path / "my.yaml"
    file.write_text("seed: 3\ntrain: {batch_size: 3}\n")
    assert (load().seed, load().method, load().space) == (2, "b", "a")
    assert load(file=file).seed == 3
    assert load("seed=4", "seed=5", file=file).seed == 5
    config = load("seed=4", file=file, seed=6, dataset=None)
    assert config.seed == 6
    assert config.dataset == "planted"
    assert (config.train.epochs, config.train.patience, config.train.batch_size) == (2, 1, 3)


def test_the_overlay_follows_the_objective_wherever_it_is_given(own_presets: Path) -> None:
    (own_presets / "cf" / "rating.yaml").write_text("method: for-rating")
    (own_presets / "cf" / "ranking.yaml").write_text("method: for-ranking")
    assert load().method == "for-ranking"
    assert load("objective=rating").method == "for-rating"
    assert "objective: expected 'ranking' or 'rating', found 'ratings'" in refused(
        "objective=ratings"
    )


def test_every_problem_is_reported_at_once_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("my.yaml")
    file.write_text("train: {epoch: 5}\nsearch: {lr: fast}\n")
    message = refused("loss.nme=bpr", file=file, seed=-1)
    assert f"{file}: train.epoch: unknown key; did you mean 'epochs'?" in message
    assert f"{file}: search.lr: expected a number, found 'fast'" in message
    assert "settings: loss.nme: unknown key; did you mean 'name'?" in message
    assert "arguments: seed: expected a number greater than or equal to 0, found -1" in message


def test_problems_beyond_the_length_of_a_line_are_counted() -> None:
    message = refused(*(f"train.epoch{i}=1" for i in range(40)))
    assert message.count("unknown key") >= 3 and len(message) <= LONGEST
    shown = message.count("; ") - message.count("; did")
    assert message.endswith(f"; and {40 - shown} more")


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("seed=true", "seed: expected an integer, found True"),
        ("seed=4294967296", "seed: expected a number less than or equal to 4294967295"),
        ("seed='1'", "seed: expected an integer, found '1'"),
        ("train.lr=.nan", "train.lr: expected a finite number, found nan"),
        ("train.lr=0", "train.lr: expected a number greater than 0, found 0"),
        ("train.l2=[]", "train.l2: expected at least 1 item(s)"),
        ("train.l2=[1, x]", "train.l2.1: expected a number, found 'x'"),
        ("train=5", "train: expected a group of keys, found 5"),
        ("device=gpu", "device: expected auto, cpu, cuda or cuda:N, found 'gpu'"),
        ("data.planted.density=2", "less than or equal to 1, found 2"),
        ("sede=1", "settings: sede: unknown key; did you mean 'seed'?"),
        ("seed", "settings: seed: expected key=value"),
        ("a..b=1", "settings: a..b=1: expected key=value"),
        ("seed=[1", "settings: seed=[1 line 1: expected YAML"),
        ("data={1: 2}", "settings: data: expected a name, found 1"),
    ],
)
def test_a_wrong_item_is_named_with_what_was_expected_and_found(item: str, expected: str) -> None:
    assert expected in refused(item)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["data.protocol=u1", "data.split_file=s.npz"], "contradicts data.split_file"),
        (["data.protocol=file"], "needs data.split_file"),
    ],
)
def test_contradictions_are_refused(items: list[str], expected: str) -> None:
    assert expected in refused(*items)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"seed: 1\nseed: 2\n", "line 2: expected YAML: key 'seed' is given twice"),
        (b"seed: 1\n  x: [\n", "line 2: expected YAML"),
        (b"- 1\n", "expected keys and values, found a list"),
        (b"\xff\xfe", "expected UTF-8"),
        (b"task: rnn\n", "task: 'rnn' contradicts the requested 'cf'"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_bytes(content)
    message = refused(file=file)
    assert message.startswith(str(file))
    assert expected in message


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").touch()
    assert load(file=tmp_path / "empty.yaml") == load()


def test_an_unknown_task_or_preset_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="found 'fc'"):
        load_config("fc")
    with pytest.raises(ConfigError, match="found none"):
        load_config(None)
    with pytest.raises(ConfigError, match=r"no such file, and no preset .*did you mean 'cf/def"):
        find_config("cf/defualt")


def test_a_preset_is_found_by_name_and_a_task_by_its_file(tmp_path: Path) -> None:
    assert find_config("cf/default") == shipped("configs") / "cf" / "default.yaml"
    file = tmp_path / "my.yaml"
    file.write_text("task: cf")
    assert load_config(None, file=file).task == "cf"


leaves = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12),
    st.sampled_from(["1e-3", "1E5", "null", "no", "0x1f", "1_0", "12:30:00", "2020-01-01", "~"]),
)


@given(
    user=leaves,
    lr=st.floats(min_value=1e-300, max_value=1e36),
    l2=st.lists(st.floats(min_value=0, max_value=1e300), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_dump_read_again_is_the_same_configuration(
    user: str | None, lr: float, l2: list[float], seed: int
) -> None:
    config = load(**{"data.user": user, "train.lr": lr, "train.l2": l2, "seed": seed})
    again = CFConfig.model_validate(files.parse_yaml(dump_config(config), "dump"))
    assert again == config
    assert config_hash(again) == config_hash(config)


def test_a_dump_wins_over_every_preset(own_presets: Path, tmp_path: Path) -> None:
    config = load("objective=rating", "output_dir=elsewhere", "baselines=[]")
    dump = tmp_path / "config.yaml"
    dump.write_text(dump_config(config))
    (own_presets / "cf" / "default.yaml").write_text("{method: other, seed: 9}")
    again = load(file=dump)
    assert again == config.model_copy(update={"output_dir": None})


def test_numbers_in_scientific_notation_are_numbers() -> None:
    assert load("train.lr=1e-3").train.lr == 0.001
    assert load("train.l2=[1e2, .5e-1, 3]").train.l2 == (100.0, 0.05, 3.0)
    assert load("method=1e-3x").method == "1e-3x"


def test_one_name_is_a_list_of_one_and_backslash_t_is_a_tab() -> None:
    assert load("baselines=ease").baselines == ("ease",)
    assert load(r"data.separator=\t").data.separator == "\t"


def test_paths_survive_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.csv").touch()
    config = load("data.split_file=s.npz", dataset="r.csv")
    assert config.data.split_file == tmp_path / "s.npz"
    assert config.dataset == str(tmp_path / "r.csv")
    assert load(dataset="ml-100k").dataset == "ml-100k"
    assert load(dataset="absent.csv").dataset == "absent.csv"


def test_the_hash_covers_results_only() -> None:
    config = load()
    assert config_hash(load("seed=1")) != config_hash(config)
    assert config_hash(load("data.planted.noise=0.2")) != config_hash(config)
    same = load("output_dir=x", "tracking.uri=sqlite:///y", "checkpoint_seconds=1")
    assert config_hash(same) == config_hash(config)
    assert differences(same, config) == []
    assert differences(load("train.epochs=7"), config) == [
        f"train.epochs: 7 or {config.train.epochs}"
    ]


def test_the_run_folder_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    now = datetime(2026, 1, 2, 3, 4, 5)
    config = load(dataset="my data/ratings of 2026.csv")
    folder = new_run_folder(config, now)
    assert folder == Path(f"runs/cf-ratings-of-2026-20260102-030405-{config_hash(config)}")
    assert not folder.exists()
    folder.mkdir(parents=True)
    assert new_run_folder(config, now) == Path(f"{folder}-2")
    taken = load(output_dir=tmp_path / "taken")
    assert new_run_folder(taken, now) == tmp_path / "taken"
    (tmp_path / "taken").mkdir()
    assert new_run_folder(taken, now) == tmp_path / "taken"
    (tmp_path / "taken" / "log.txt").touch()
    with pytest.raises(ConfigError, match="the run folder exists"):
        new_run_folder(taken, now)


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    inner = [f.annotation for f in model.model_fields.values()]
    sections = [s for s in inner if isinstance(s, type) and issubclass(s, BaseModel)]
    return [model, *(deeper for section in sections for deeper in _sections(section))]


@pytest.mark.parametrize("task", TASKS)
def test_every_field_says_what_it_is_and_every_default_is_valid(task: str) -> None:
    for section in _sections(TASKS[task]):
        for name, field in section.model_fields.items():
            grouped = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
            assert grouped or name == "task" or field.description, f"{section.__name__}.{name}"
    config = TASKS[task]()  # type: ignore[call-arg]
    assert isinstance(config, CommonConfig)
    assert TASKS[task].model_validate(config.model_dump()) == config


def test_installed_copies_receive_every_shipped_file() -> None:
    """pyproject lists the folders one by one; a new one must not be forgotten there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = project["tool"]["setuptools"]["data-files"]
    received = {
        (Path(target) / file.name).relative_to("share/sif")
        for target, patterns in listed.items()
        for pattern in patterns
        for file in ROOT.glob(pattern)
    }
    present = {
        file.relative_to(ROOT)
        for kind in ("configs", "datasets")
        for file in (ROOT / kind).rglob("*")
        if file.is_file() and "raw" not in file.relative_to(ROOT).parts
    }
    assert {file.suffix for file in present} == {".yaml"}
    assert received == present


def test_shipped_files_are_found_from_every_installation_scheme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "env" / "lib" / "python3.12" / "site-packages" / "sif" / "config"
    monkeypatch.setattr(files, "__file__", str(package / "files.py"))
    with pytest.raises(ConfigError, match="install sif again"):
        shipped("configs")
    installed = tmp_path / "env" / "share" / "sif" / "configs"
    installed.mkdir(parents=True)
    assert shipped("configs") == installed
    # A library of the name `datasets` beside the package is not taken for ours.
    (package.parents[1] / "datasets").mkdir(parents=True)
    with pytest.raises(ConfigError, match="datasets: not found"):
        shipped("datasets")


def test_the_yaml_dialect_stays_apart_from_the_library() -> None:
    assert yaml.safe_load("1e-3") == "1e-3"


def test_a_job_that_says_nothing_of_its_data_has_the_first_preset() -> None:
    def job(*sets: str) -> CFConfig:
        config = load_config("cf", sets=sets, job=True)
        assert isinstance(config, CFConfig)
        return config

    first = job("seed=3", "data.planted.users=50")
    assert (first.dataset, first.data.protocol, first.seed) == ("planted", "last-item", 3)
    assert (first.data.planted.kind, first.data.planted.users) == ("two-scales", 50)
    assert job("data.planted.kind=set").data.protocol == "last-item"
    usual = load_config("cf")
    for said in (
        "dataset=planted", "data.planted.kind=product", "data.planted.noise=0.2",
        "data.planted.operation=max", "objective=rating", "data.split_file=s.npz",
    ):  # fmt: skip
        config = job(said)
        assert (config.data.planted.kind, config.data.protocol) == ("product", None), said
        assert config.budget == usual.budget
    assert load_config("cnn", job=True) == load_config("cnn")


def test_kinds_of_generated_data_have_arguments_of_their_own() -> None:
    product = load("data.planted.operation=max").data.planted.arguments()
    assert product["operation"] == "max" and "length" not in product and "truth" not in product
    films = load("data.planted.kind=set", "data.planted.users=9").data.planted.arguments()
    assert films == {"truth": "set", "users": 9, "items": 400, "length": 50}
    message = refused("data.planted.kind=set", "objective=rating")
    assert "data.planted.kind 'set' has no ratings, which contradicts objective 'rating'" in message
