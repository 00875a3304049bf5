"""Bad input gives one line and exit code 2, and leaves the disk unchanged."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sif.cli import main as cli
from sif.utils import checkpoint

Command = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("without_figures")

HEADER = "user_id,item_id,rating,timestamp"


def rows(users: int = 12, items: int = 8) -> list[str]:
    """Ratings 1 to 5 of every second pair, in time order."""
    pairs = [(u, i) for u in range(users) for i in range(items) if (u + i) % 2 == 0]
    return [f"u{u},i{i},{(u * i) % 5 + 1},{n}" for n, (u, i) in enumerate(pairs)]


def write(path: str, lines: list[str], header: str = HEADER) -> None:
    Path(path).write_text("\n".join([header, *lines]) + "\n")


def with_cell(column: int, text: str, row: int = 15) -> list[str]:
    """All rows, one cell of data row `row` (line `row + 2`) replaced."""
    lines = rows()
    cells = lines[row].split(",")
    cells[column] = text
    lines[row] = ",".join(cells)
    return lines


def tree(folder: Path) -> dict[Path, bytes]:
    """Every path below the folder, with content."""
    return {p: p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


@pytest.fixture
def refused(sif: Command, tiny: list[str], tmp_path: Path) -> Callable[..., str]:
    """Runs a command that must be refused without a trace; gives its one line."""

    def call(*arguments: str | Path) -> str:
        before = tree(tmp_path)
        done = sif(*arguments)
        assert done.code == 2
        assert done.out == ""
        (line,) = done.err
        assert line.startswith("error: ")
        assert tree(tmp_path) == before
        return str(line.removeprefix("error: "))

    return call


@pytest.fixture
def refused_job(refused: Callable[..., str], tiny: list[str]) -> Callable[..., str]:
    """The same for a job with further arguments, or `--set` items last."""

    def call(*arguments: str | Path) -> str:
        return refused("--task", "cf", "--no-tracking", *tiny, *arguments)

    return call


DATA: dict[str, tuple[list[str], list[str]]] = {
    # name: rows, what the line must say
    "text for a rating": (
        with_cell(2, "five"),
        ["orders.csv line 17: rating: expected a number, found 'five'"],
    ),
    "NaN": (with_cell(2, "nan"), ["orders.csv line 17: rating: expected a finite number", "'nan'"]),
    "infinite": (
        with_cell(2, "-inf"),
        ["orders.csv line 17: rating: expected a finite number", "'-inf'"],
    ),
    "no rating": (
        with_cell(2, ""),
        ["orders.csv line 17: rating: expected a number, found nothing"],
    ),
    "no id": (with_cell(0, " "), ["orders.csv line 17: user: expected an id, found nothing"]),
    "a word for a time": (
        with_cell(3, "noon"),
        ["orders.csv line 17: timestamp: expected seconds since 1970", "found 'noon'"],
    ),
    "milliseconds among seconds": (
        with_cell(3, "1700000000000"),
        ["orders.csv line 17: timestamp: expected seconds since 1970 as in most rows, found '1700"],
    ),
    "a date among numbers": (
        with_cell(3, "2020-01-31"),
        ["orders.csv line 17: timestamp: expected a number as in most rows, found '2020-01-31'"],
    ),
    "a date that is none": (
        with_cell(3, "2020-02-30"),
        ["orders.csv line 17: timestamp: expected", "found '2020-02-30'"],
    ),
    "a cell too many": (
        [*rows()[:15], rows()[15] + ",7", *rows()[16:]],
        ["orders.csv line 17: expected 4 columns, found 5"],
    ),
    "only a header": ([], ["orders.csv: expected rows, found none after the header"]),
    "a single user": (
        [f"u1,i{i},{i % 5 + 1},{i}" for i in range(20)],
        ["orders.csv: expected at least 2 users, found 1: user 'u1'"],
    ),
    "a single item": (
        [f"u{u},i1,{u % 5 + 1},{u}" for u in range(20)],
        ["orders.csv: expected at least 2 items, found 1"],
    ),
    "nothing to validate or test on": (
        [f"u{u},i{u},3,{u}" for u in range(20)],
        ["orders under protocol ranking-per-user", "found train 20, valid 0, test 0"],
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_a_file_that_cannot_be_used(case: str, refused_job: Callable[..., str]) -> None:
    lines, expected = DATA[case]
    write("orders.csv", lines)
    said = refused_job("--dataset", "orders.csv")
    for words in expected:
        assert words in said


def test_one_row_ties_and_short_histories_are_no_errors(sif: Command, tiny: list[str]) -> None:
    """Half of the users have one row, and no history is as long as a window."""
    single = [f"single{n},i{n % 8},3,{n}" for n in range(12)]
    write("orders.csv", [*rows(), "u0,i1,3,0", *single])
    settings = (
        "data.protocol=last-item", "baselines=[markov,decayed-ridge]",
        "search.stages=[encoding,operation,weighting,order]",
    )  # fmt: skip
    job = ["--task", "cf", "--no-tracking", "--dataset", "orders.csv", "--output-dir", "run"]
    done = sif(*job, *tiny, *settings)
    assert done.code == 0 and "left out" not in "".join(done.err)
    told = "note: 2 rows share their time with others of their user: the order of rows decides"
    assert done.err.count(told) == 1
    found = json.loads(Path("run/metrics.json").read_text())
    for name in ("markov", "decayed-ridge", "order"):
        assert found["baselines"][name]["ndcg@10"] > 0


def test_no_file_at_all(refused_job: Callable[..., str]) -> None:
    said = refused_job("--dataset", "orders.csv")
    assert said.endswith("orders.csv: expected a file, found no such file")
    Path("orders.csv").touch()
    said = refused_job("--dataset", "orders.csv")
    assert said.endswith("orders.csv: expected interactions, found an empty file")
    Path("orders.csv").write_bytes(b"\x80\x81\xff\x00" * 40)
    assert "expected UTF-8 text, found byte 0x80" in refused_job("--dataset", "orders.csv")
    Path("folder").mkdir()
    said = refused_job("--dataset", "./folder")
    assert said.endswith("folder: expected a folder of Parquet or text files, found no file")


def test_the_wrong_separator_or_column(refused_job: Callable[..., str]) -> None:
    write("orders.csv", rows())
    said = refused_job("--dataset", "orders.csv", "--set", "data.separator=;")
    assert "orders.csv line 1" in said
    assert "separator ';'" in said
    assert f"found columns '{HEADER}'" in said
    said = refused_job("--dataset", "orders.csv", "--set", "data.user=customer")
    assert "data.user: expected a column 'customer', found columns 'user_id', 'item_id'" in said


def test_repeated_pairs_are_merged_by_a_stated_rule_or_refused(
    refused_job: Callable[..., str], sif: Command, tiny: list[str]
) -> None:
    write("orders.csv", [*rows(), "u0,i0,5,999", "u3,i1,1,1000"])
    said = refused_job("--dataset", "orders.csv", "--set", "data.duplicates=error")
    assert said.startswith("duplicate pair: ") and "user 'u0', item 'i0' again" in said
    job = ["--task", "cf", "--no-tracking", *tiny, "--dataset", "orders.csv"]
    done = sif(*job, "--output-dir", "merged")
    assert done.code == 0
    rule = "2 duplicate rows of the same pair: the last by time kept, else the last in the file"
    assert f"note: {rule}" in done.err
    assert rule in Path("merged/log.txt").read_text()


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("data.min_rating=6", "expected interactions, found none left after filtering (min_rating"),
        ("data.min_user=50", "expected interactions, found none left after filtering (min_user 50"),
        ("data.min_item=50", "expected interactions, found none left after filtering (min_item 50"),
        ("data.protocol=ranking", "found 'ranking'; did you mean 'ranking-per-user'?"),
        ("data.protocol=u1", "u1"),
        (
            "space=primitive",
            "space: expected one of sif, primitives, staged, found 'primitive'; did you",
        ),
        ("method=dartz", "exhaustive, found 'dartz'; did you mean 'darts-2'?"),
        ("method=nspa", "method: expected one of nasp, darts-1, "),
        ("method=nspa", "found 'nspa'; did you mean 'nasp'?"),
        ("baselines=[popularity,ese]", "baselines: unknown 'ese'; did you mean 'ease'?"),
        ("baselines=bias-only", "baselines: 'bias-only' does not serve objective 'ranking'"),
        ("search.epoch=3", "--set: search.epoch: unknown key; did you mean 'epochs'?"),
        ("serach.epochs=3", "--set: serach: unknown key; did you mean 'search'?"),
        ("search.epochs=many", "--set: search.epochs: expected an integer, found 'many'"),
        ("search.epochs=0", "--set: search.epochs: expected a number greater than or equal to 1"),
        ("train.lr=.nan", "train.lr: expected a finite number"),
        ("train.l2=[]", "train.l2: expected at least 1 item(s), found []"),
        ("train=3", "--set: train: expected a group of keys, found 3"),
        ("seed=4294967296", "seed: expected a number less than or equal to 4294967295"),
        ("seed=-1", "seed: expected a number greater than or equal to 0, found -1"),
        ("device=tpu", "device: expected auto, cpu, cuda or cuda:N, found 'tpu'"),
        ("objective=rank", "objective: expected 'ranking' or 'rating', found 'rank'; did you"),
        ("loss.name=squared", "loss.name 'squared' contradicts objective 'ranking', which takes"),
        (
            "loss.name=bpt",
            "loss.name: expected one of whole-data, bpr, softmax, bsl, softmax-at-k, cosine",
        ),
        ("losses.bprr.x=1", "losses: expected one of whole-data"),
        ("data.protocol=file", "data.protocol 'file' needs data.split_file"),
        ("data.moment=1", "data.moment needs data.protocol 'rolling'"),
        ("data.order=file", "data.order: expected 'time' or 'rows', found 'file'"),
        ("data.moments=1", "data.moments: expected a number greater than or equal to 2, found 1"),
        ("metrics_at=[0]", "metrics_at.0: expected a number greater than or equal to 1, found 0"),
        ("nonsense", "--set: nonsense: expected key=value"),
        ("task=cnn", "task: 'cnn' contradicts the requested 'cf'"),
    ],
)
def test_a_setting_that_cannot_be_run(
    setting: str, expected: str, refused_job: Callable[..., str]
) -> None:
    write("orders.csv", rows())
    said = refused_job("--dataset", "orders.csv", "--output-dir", "run", "--set", setting)
    assert expected in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--task cff", "task: expected one of cf, cnn, rnn, found 'cff'; did you mean 'cf'?"),
        ("--task cf --dataset ml-100", "found 'ml-100'; did you mean 'ml-100k'?"),
        ("--task cf --dataset nothing-like-it", "dataset: expected a file or one of ml-100k"),
        ("--task cf --seed 4294967296", "command line: seed: expected a number less than"),
        ("--task cf --split-file absent.npz", "absent.npz: expected a split file or folder"),
        ("--task cf --split-file x --set data.protocol=u1", "contradicts data.split_file"),
        ("--task cf --config absent.yaml", "absent.yaml: no such file, and no preset"),
        ("--task cf --config cf/defualt", "did you mean 'cf/default'?"),
        ("--task cf --set data.planted.operation=power", "found 'power'"),
        ("--task cf --set data.planted.transforms=[abs]", "transforms"),
        ("--resume absent", "absent: expected a run folder, found no config.yaml there"),
        ("evaluate absent", "absent: expected a run folder"),
        ("plot absent", "absent: expected a run folder"),
    ],
)
def test_a_command_that_names_nothing(
    arguments: str, expected: str, refused: Callable[..., str]
) -> None:
    assert expected in refused(*arguments.split())


def test_a_configuration_file_that_cannot_be_read(refused: Callable[..., str]) -> None:
    Path("my.yaml").write_text("seed: 1\nseed: 2\n")
    assert "my.yaml line 2: expected YAML: key 'seed' is given twice" in refused(
        "--task", "cf", "--config", "my.yaml"
    )
    Path("my.yaml").write_text("methods: {nasp: {warmup: 2}}\n")
    assert "my.yaml: methods.nasp.warmup: expected a number less than 1, found 2" in refused(
        "--task", "cf", "--config", "my.yaml"
    )


def test_ratings_that_cannot_be_predicted(refused_job: Callable[..., str]) -> None:
    clicks = [",".join(line.split(",")[:2]) for line in rows()]
    write("clicks.csv", clicks, "user_id,item_id")
    rating = "objective=rating", "baselines=[bias-only]"
    said = refused_job("--dataset", "clicks.csv", "--set", *rating)
    assert "rating" in said
    assert "found none" in said
    constant = [",".join([*line.split(",")[:2], "3", "0"]) for line in rows()]
    write("constant.csv", constant)
    said = refused_job("--dataset", "constant.csv", "--output-dir", "run", "--set", *rating)
    assert said.startswith("train part: rating: ") and "only one" in said
    # Without any rating a split file is only found out when the objective asks for ratings.
    user, item = np.divmod(np.arange(40), 8)
    np.savez("split.npz", user=user, item=item, part=np.arange(40) % 3)
    said = refused_job("--split-file", "split.npz", "--output-dir", "run", "--set", *rating)
    assert said.startswith("objective rating: ") and "rating column" in said


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"part": np.arange(40) % 2}, "expected interactions in every part, found train 20, valid"),
        ({"part": np.arange(40) % 2 + 1}, "train 0, valid 20, test 20"),
        (
            {"part": np.zeros(40, dtype=int)},
            "found 0 (train) in all 40 rows; give the file as data",
        ),
        ({"part": np.arange(40) % 4}, "row 4: part: expected 0 (train), 1 (valid) or 2 (test)"),
        ({"user": np.zeros(40, dtype=int)}, "expected at least 2 users, found 1"),
        ({"item": np.zeros(40, dtype=int)}, "expected at least 2 items, found 1"),
        ({"rating": np.full(40, np.nan)}, "row 1: rating: expected a finite number, found nan"),
        ({"item": np.zeros(39, dtype=int)}, "item: expected shape (40,), found (39,)"),
        ({"user_ids": np.array(["a", "b"])}, "user: expected a number in 0..1, found 2"),
        ({"user": np.arange(40) % 5, "item": np.arange(40) % 5}, "expected every pair once"),
    ],
)
def test_a_split_that_cannot_be_used(
    change: dict[str, Any], expected: str, refused_job: Callable[..., str]
) -> None:
    user, item = np.divmod(np.arange(40), 8)
    np.savez("split.npz", **{"user": user, "item": item, "part": np.arange(40) % 3, **change})
    assert expected in refused_job("--split-file", "split.npz", "--output-dir", "run")


def test_a_run_folder_that_exists(refused_job: Callable[..., str]) -> None:
    Path("run").mkdir()
    Path("run/notes.txt").touch()
    said = refused_job("--output-dir", "run")
    assert said.startswith("run: the run folder exists; give another --output-dir, or continue it")
    Path("file").touch()
    assert "file" in refused_job("--output-dir", "file")
    assert "file" in refused_job("--output-dir", "file/run")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("train.lr=1e30", "training diverged in epoch "),
        ("loss.positive_weight=1e38", "search diverged in epoch "),
    ],
)
def test_numbers_that_run_away_end_the_job_in_one_line(
    setting: str, expected: str, sif: Command, tiny: list[str]
) -> None:
    done = sif("--task", "cf", "--no-tracking", "--quiet", "--output-dir", "run", *tiny, setting)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err
    assert line.startswith(f"error: {expected}")


# What a run leaves, damaged


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: list[str]) -> Path:
    """A run folder; do not change it."""
    run = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sif.tasks.ending.save_and_draw", lambda *_: [])
        job = ["--task", "cf", "--no-tracking", "--quiet", "--output-dir", str(run)]
        assert cli.main([*job, *tiny]) == 0
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a run folder."""
    shutil.copytree(finished, tmp_path / "run")
    return Path("run")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def beheaded(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("This is a letter, not a checkpoint. " * 20)


def anothers(path: Path) -> None:
    """A valid safetensors file of another program."""
    import safetensors.numpy

    safetensors.numpy.save_file({"weight": np.zeros(3, np.float32)}, path)


def of_another_kind(path: Path) -> None:
    checkpoint.save(path, {"a": 1}, "holiday")


@pytest.mark.parametrize("damage", [truncated, beheaded, emptied, text, anothers])
def test_a_checkpoint_that_is_damaged_is_named_and_made_again(
    damage: Callable[[Path], None], run: Path, caplog: pytest.LogCaptureFixture, sif: Command
) -> None:
    path = run / "checkpoint" / "baseline-ease.safetensors"
    whole = checkpoint.load(path, "stage")["state"]["params"]
    damage(path)
    assert sif("--resume", str(run), "--quiet").code == 0
    assert f"{path}: " in caplog.text and "its stage is done again" in caplog.text
    assert checkpoint.load(path, "stage")["state"]["params"] == whole


def test_a_checkpoint_of_another_kind(run: Path, refused: Callable[..., str]) -> None:
    path = run / "checkpoint" / "search.safetensors"
    of_another_kind(path)
    said = refused("--resume", run, "--quiet")
    assert said == f"{path}: expected a 'stage' file, found 'holiday'"


def test_a_log_that_was_cut(run: Path, refused: Callable[..., str]) -> None:
    (run / "metrics.jsonl").write_text("")
    said = refused("--resume", run, "--quiet")
    assert said.startswith("run/metrics.jsonl: expected at least ")


@pytest.mark.parametrize("damage", [truncated, text, anothers, of_another_kind])
def test_a_model_that_is_damaged_or_foreign(
    damage: Callable[[Path], None], run: Path, refused: Callable[..., str]
) -> None:
    path = run / "model" / "recommender.safetensors"
    damage(path)
    assert refused("recommend", run, "u0001").startswith(f"{path}: ")
    assert refused("evaluate", run).startswith(f"{path}: ")


def test_a_genotype_of_another_version(run: Path, refused: Callable[..., str]) -> None:
    path = run / "model" / "recommender.safetensors"
    state = checkpoint.load(path, "recommender")
    genotype = json.loads(state["genotype"])
    for change, expected in (
        ({"version": 99}, "genotype: expected genotype version 1, found 99"),
        ({"space": "cnn"}, "genotype: space: expected one of sif, primitives, staged, found 'cnn'"),
        ({"blocks": {**genotype["blocks"], "operation": [[0, "power"]]}}, "found 'power'"),
    ):
        changed = json.dumps({**genotype, **change})
        checkpoint.save(path, {**state, "genotype": changed}, "recommender")
        said = refused("recommend", run, "u0001")
        assert said.startswith("run/model/recommender.safetensors: ") and expected in said


def test_a_run_without_its_model_or_with_unknown_users(
    run: Path, refused: Callable[..., str]
) -> None:
    said = refused("recommend", run, "u0001", "nobody")
    assert "user" in said
    assert "'nobody'" in said
    assert refused("recommend", run, "u0001", "-k", "0") == "-n: expected at least 1, found 0"
    (run / "model" / "recommender.safetensors").unlink()
    said = refused("recommend", run, "u0001")
    assert (
        said.startswith("run/model/recommender.safetensors: ") and os.strerror(errno.ENOENT) in said
    )


# A full disk


class FullDisk:
    """Lets some files be written to disk, then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
        self.left = left
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._fsync(descriptor)


def test_a_disk_that_is_full_at_the_start(
    refused_job: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        FullDisk(patch, 0)
        said = refused_job("--output-dir", "run")
    assert said.endswith("config.yaml: cannot be written: No space left on device")


@pytest.mark.parametrize("files", [3, 7, 12, 18, 25])
def test_a_disk_that_fills_up_costs_one_line_and_no_work(
    files: int, sif: Command, tiny: list[str], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ["--task", "cf", "--no-tracking", "--quiet", "--output-dir", "run", *tiny]
    with monkeypatch.context() as patch:
        FullDisk(patch, files)
        done = sif(*job)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err
    assert line.endswith(": cannot be written: No space left on device")
    assert line.startswith("error: run/")
    assert sif("--resume", "run", "--quiet").code == 0
    ours, theirs = (json.loads((r / "metrics.json").read_text()) for r in (Path("run"), finished))
    assert ours["test"] == theirs["test"]
    assert ours["genotype"] == theirs["genotype"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_on_a_full_disk(run: Path, sif: Command) -> None:
    (run / "log.txt").unlink()
    (run / "log.txt").symlink_to("/dev/full")
    done = sif("--resume", run, "--quiet")
    assert done.code == 2
    (said,) = done.err
    assert said.startswith("error: run/log.txt: ") and os.strerror(errno.ENOSPC) in said


def test_scores_that_a_space_does_not_offer(refused: Callable[..., str]) -> None:
    said = refused("--task", "cnn", "--set", "methods.nasp.score=replacement_loss")
    assert said.startswith("methods.nasp.score: space 'nasp-7op' offers no 'replacement_loss'")


def test_no_stage_to_search(refused: Callable[..., str]) -> None:
    said = refused("--task", "cf", "--set", "search.stages=[]")
    assert said == "--set: search.stages: expected at least 1 item(s), found []"
