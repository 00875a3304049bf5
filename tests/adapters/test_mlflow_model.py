"""The MLflow model of a recommender: saved, loaded in a process of its own, and served."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.types import DataType, ParamSchema, ParamSpec

from sif.adapters.mlflow_model import (
    PyfuncRecommender,
    Refused,
    log_model,
    requirements,
    save_model,
)
from sif.adapters.questions import COLUMNS, MOST_ITEMS, MOST_ROWS
from sif.errors import ConfigError
from sif.recommender.recommender import Recommender

Board = Callable[..., pd.DataFrame]
USERS, ITEMS = 30, 16
QUICK = {
    "train.epochs": 30, "train.patience": 30, "train.dimension": 8, "train.l2": [0.003],
    "search.epochs": 2, "search.dimension": 4, "train.lr": 0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def board(checkerboard: Board) -> Board:
    return partial(checkerboard, USERS, ITEMS)


@pytest.fixture(scope="module")
def liked(board: Board) -> Recommender:
    frame = board().assign(title=lambda f: "Item " + f.item.str[1:])
    frame.loc[frame.item == f"i{ITEMS - 1}", "title"] = None  # one has none
    return Recommender(threads=1, settings=QUICK).fit(frame)


@pytest.fixture(scope="module")
def rated(board: Board) -> Recommender:
    return Recommender("rating", threads=1, settings=QUICK).fit(board(rated=True))


@pytest.fixture(scope="module")
def saved(liked: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow") / "model"
    save_model(liked, folder)
    return folder


def asked(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def same(row: Any, expected: pd.DataFrame) -> None:
    """One answer is what the recommender gives."""
    assert list(row["items"]) == expected["item"].tolist()
    np.testing.assert_allclose(row["scores"], expected["score"], rtol=1e-4, atol=1e-5)


# In this process


def test_answers_are_those_of_the_recommender(liked: Recommender, saved: Path) -> None:
    model = mlflow.pyfunc.load_model(str(saved))
    table = asked(
        {"user": "u3"}, {"history": ["i1", "i5"]}, {"item": "i4"}, {"user": "u8", "n": 2},
        {"history": [], "n": 3},
    )  # fmt: skip
    found = model.predict(table, params={"n": 4})
    assert list(found.columns) == ["items", "scores", "titles"]
    expected = [
        liked.recommend("u3", n=4), liked.recommend_new(["i1", "i5"], n=4),
        liked.similar_items("i4", n=4), liked.recommend("u8", n=2), liked.recommend_new([], n=3),
    ]  # fmt: skip
    for (_, row), answer in zip(found.iterrows(), expected, strict=True):
        same(row, answer)
        assert row["titles"] == [liked.titles.get(i, "") for i in row["items"]]
    everything = {"n": 50, "filter_already_liked": False}
    (row,) = model.predict(asked({"user": "u3"}), params=everything).to_dict("records")
    same(row, liked.recommend("u3", n=ITEMS, exclude_seen=False))
    assert "" in row["titles"] and "Item 3" in row["titles"]
    (row,) = model.predict(asked({"user": "u3"}), params={"n": 50}).to_dict("records")
    assert len(row["items"]) == len(row["scores"]) < ITEMS  # nothing pads an answer


def test_ratings_come_with_a_history(rated: Recommender, tmp_path: Path) -> None:
    rated.save(tmp_path / "plain")
    save_model(tmp_path / "plain", tmp_path / "model")
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    stars = [5, 1, 4.5]
    row = {"history": ["i0", "i1", "i2"], "ratings": stars}
    found = model.predict(asked(row, {"user": "u1"}), params={"n": 3})
    same(found.iloc[0], rated.recommend_new(["i0", "i1", "i2"], ratings=stars, n=3))
    same(found.iloc[1], rated.recommend("u1", n=3))
    for wrong, told in (
        ({"history": ["i0"]}, "ratings: expected one per item of a history, found none"),
        ({"history": ["i0"], "ratings": [1, 2]}, "ratings: expected 1, one per item, found 2"),
        ({"history": ["i0"], "ratings": ["x"]}, "ratings: expected a number, found 'x'"),
        ({"user": "u1", "ratings": [1]}, "ratings: expected with a history, found with user"),
    ):
        with pytest.raises(Refused, match=told):
            model.predict(asked(wrong))


DIGITS, MORE_DIGITS = 10**399, 10**5000


@pytest.mark.parametrize(
    ("question", "told"),
    [
        (
            {"history": ["i0"], "ratings": [DIGITS]},
            "row 1: ratings: expected finite numbers, found 1",
        ),
        ({"history": ["i0"], "ratings": [MORE_DIGITS]}, "found a int of too many digits"),
        ({"history": ["i0"], "ratings": [1e300]}, "ratings: expected finite numbers, found 1e.300"),
        ({"history": ["i0"], "ratings": [1j]}, "ratings: expected a number, found '1j'"),
        ({"user": DIGITS}, "row 1: user: expected an id in int64 or as text, found '1000"),
        (
            {"user": MORE_DIGITS},
            "row 1: user: expected an id .*, found 'a number of too many digits'",
        ),
        ({"user": "u1", "n": MORE_DIGITS}, "row 1: n: expected a whole number from 1"),
    ],
)
def test_numbers_beyond_all_measure_are_bad_questions(
    rated: Recommender, question: dict[str, Any], told: str
) -> None:
    with pytest.raises(Refused, match=told) as caught:
        PyfuncRecommender(rated.model_).predict(pd.DataFrame([question], dtype=object))
    assert caught.value.get_http_status_code() == 400


def test_a_column_twice_is_a_bad_question(liked: Recommender) -> None:
    table = pd.DataFrame([["u1", "u2"]], columns=["user", "user"])
    with pytest.raises(Refused, match="expected every column once, found 'user' again") as caught:
        PyfuncRecommender(liked.model_).predict(table)
    assert caught.value.get_http_status_code() == 400
    odd = pd.DataFrame([["u1", 1, 2]], columns=["user", "x", "x"])
    assert len(PyfuncRecommender(liked.model_).predict(odd)) == 1  # what nobody reads may


def test_empty_ratings_are_none(liked: Recommender, rated: Recommender) -> None:
    for recommender in (liked, rated):
        model = PyfuncRecommender(recommender.model_)
        found = model.predict(asked({"history": [], "ratings": []}), {"n": 3})
        same(found.iloc[0], recommender.recommend_new([], n=3))


def test_numbers_are_ids_whatever_pandas_makes_of_them(board: Board, tmp_path: Path) -> None:
    frame = board().apply(lambda column: column.str[1:].astype(int))
    recommender = Recommender(threads=1, settings=QUICK).fit(frame)
    save_model(recommender, tmp_path / "model")
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    table = asked({"user": 3}, {"item": 4}, {"history": [1, 5]})
    assert table.user.dtype == float  # with a hole
    found = model.predict(table, params={"n": 3})
    same(found.iloc[0], recommender.recommend(3, n=3))
    same(found.iloc[1], recommender.similar_items(4, n=3))
    same(found.iloc[2], recommender.recommend_new([1, 5], n=3))


def test_the_folder_is_safetensors_text_and_code(saved: Path, liked: Recommender) -> None:
    kinds = {path.suffix for path in saved.rglob("*") if path.is_file()}
    assert kinds <= {".py", ".typed", ".yaml", ".txt", ".json", ".safetensors", ""}
    assert [p.name for p in saved.rglob("*") if p.is_file() and not p.suffix] == ["MLmodel"]
    np.testing.assert_array_equal(
        Recommender.load(saved).recommend("u1")["item"],
        liked.recommend("u1")["item"],
    )
    pinned = (saved / "requirements.txt").read_text().split()
    assert pinned == requirements()
    assert all("==" in line and "+" not in line for line in pinned)
    assert {"torch", "mlflow", "safetensors"} <= {line.split("==")[0] for line in pinned}
    model = mlflow.pyfunc.load_model(str(saved))
    example = model.input_example
    assert model.predict(example).shape == (3, 3)
    assert model.metadata.get_input_schema().input_names() == [*COLUMNS]


def test_what_cannot_be_served_is_refused_at_once(liked: Recommender, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a fitted one"):
        save_model(Recommender(), tmp_path / "a")
    wide = Recommender(threads=1)
    wide.model_ = replace(liked.model_, fields=("user", "item", "hour"))
    with pytest.raises(ConfigError, match="user and item alone, found one of user, item, hour"):
        save_model(wide, tmp_path / "b")


def test_what_a_filter_dropped_is_not_answered(board: Board, tmp_path: Path) -> None:
    frame = board(rated=True)  # 5 where tastes agree, else 1
    frame = pd.concat([frame, pd.DataFrame({"user": ["grump"], "item": ["i0"], "rating": [1]})])
    settings = {**QUICK, "data.min_rating": 3}
    save_model(Recommender(threads=1, settings=settings).fit(frame), tmp_path / "model")
    served = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    for user in ("u0", "u7", "grump"):
        had = frame.item[frame.user == user].tolist()
        for question in ({"user": user}, {"history": had}):
            answer = served.predict(asked(question), params={"n": ITEMS})
            assert len(answer["items"][0]) == ITEMS - len(had)
            assert not set(answer["items"][0]) & set(had)
        whole = {"n": ITEMS, "filter_already_liked": False}
        assert len(served.predict(asked({"user": user}), params=whole)["items"][0]) == ITEMS


def test_a_fault_of_ours_tells_no_secrets(
    liked: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PyfuncRecommender(liked.model_)
    monkeypatch.setattr(model._answering, "answers", lambda *_: 1 / 0)
    with pytest.raises(Refused) as caught:
        model.predict(asked({"user": "u1"}))
    assert caught.value.get_http_status_code() == 500
    assert "division" not in caught.value.serialize_as_json()


FRESH = """
import json, sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
found = model.predict(pd.DataFrame([{"user": "u3"}, {"history": ["i1", "i5"]}]), params={"n": 4})
import sif
print(json.dumps([sif.__file__, found.to_dict("records")]))
"""


def bare_environment() -> dict[str, str]:
    """Without this checkout on the path, so that a model has to bring its own code."""
    left_out = ("PYTHONPATH", "MLFLOW", "COVERAGE")
    kept = {k: v for k, v in os.environ.items() if not any(name in k for name in left_out)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return kept | {"PATH": path, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_fresh_process_needs_the_folder_alone(
    liked: Recommender, saved: Path, tmp_path: Path
) -> None:
    """Slow: a new process imports MLflow and torch."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(saved)],
        cwd=tmp_path, env=bare_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    source, (user, history) = json.loads(done.stdout.splitlines()[-1])
    assert Path(source).is_relative_to(saved)
    same(user, liked.recommend("u3", n=4))
    same(history, liked.recommend_new(["i1", "i5"], n=4))


@pytest.mark.slow
def test_a_logged_model_is_found_by_run_and_by_name(
    liked: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow: making a store takes MLflow seconds."""
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/store.db")
    try:
        with mlflow.start_run() as run:
            info = log_model(liked, registered_model_name="shop")
        for uri in (info.model_uri, f"runs:/{run.info.run_id}/model", "models:/shop/1"):
            found = mlflow.pyfunc.load_model(uri).predict(asked({"user": "u3"}))
            same(found.iloc[0], liked.recommend("u3"))
    finally:
        mlflow.set_tracking_uri(None)


# Served


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def served(command: list[str], port: int, folder: Path, env: dict[str, str]) -> Iterator[int]:
    """A server that answers on the port; ended with all that it started."""
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until = time.monotonic() + 240
        while not answers(port):
            tail = (folder / "server.log").read_text()[-2000:]
            assert process.poll() is None, f"the server ended:\n{tail}"
            assert time.monotonic() < until, f"the server did not come up in four minutes:\n{tail}"
            time.sleep(0.2)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def answers(port: int) -> bool:
    try:
        return get(port, "/ping") == 200
    except OSError:
        return False


def get(port: int, path: str) -> int:
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


JSON = "application/json"


def post(connection: HTTPConnection, body: bytes, kind: str = JSON) -> tuple[int, str]:
    connection.request("POST", "/invocations", body=body, headers={"Content-Type": kind})
    reply = connection.getresponse()
    return reply.status, reply.read().decode()


def rows(*given: dict[str, Any], **params: Any) -> bytes:
    document: dict[str, Any] = {"dataframe_records": list(given)}
    return json.dumps(document | ({"params": params} if params else {})).encode()


@pytest.fixture(scope="module")
def port(saved: Path) -> Iterator[int]:
    """A scoring server in a thread of this process: one of its own takes seconds to come up."""
    import uvicorn
    from mlflow.pyfunc import scoring_server

    app = scoring_server.init(mlflow.pyfunc.load_model(str(saved)))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        number = int(listening.getsockname()[1])
        until = time.monotonic() + 240
        while not server.started:
            assert thread.is_alive() and time.monotonic() < until, "the server did not come up"
            time.sleep(0.01)
        yield number
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def served_port(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of `mlflow models serve`, which brings the code that was saved with the model."""
    number, folder = free_port(), tmp_path_factory.mktemp("server")
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", str(saved), "--env-manager",
        "local", "-h", "127.0.0.1", "-p", str(number),
    ]  # fmt: skip
    with served(command, number, folder, bare_environment()) as up:
        yield up


@pytest.fixture
def connection(port: int) -> Iterator[HTTPConnection]:
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=60)) as opened:
        yield opened


GOOD = {
    "a user": rows({"user": "u3"}),
    "a history": rows({"history": ["i1", "i5"]}),
    "an item": rows({"item": "i4"}),
    "all three": rows({"user": "u3"}, {"history": ["i1", "i5"]}, {"item": "i4"}, n=3),
    "as columns": json.dumps({"dataframe_split": {"columns": ["user"], "data": [["u3"]]}}).encode(),
    "with nulls": rows({"user": "u3", "history": None, "item": None, "n": None}, n=None),
    "everything": rows({"user": "u3"}, n=MOST_ITEMS, filter_already_liked=False),
    "the most": rows(*[{"user": "u3"}] * MOST_ROWS, n=1),
}


def test_the_server_answers_as_the_recommender(
    connection: HTTPConnection, liked: Recommender
) -> None:
    replies = {}
    for name, body in GOOD.items():
        status, text = post(connection, body)
        assert status == 200, f"{name}: {text[:500]}"
        replies[name] = json.loads(text)["predictions"]
    same(replies["a user"][0], liked.recommend("u3"))
    same(replies["a history"][0], liked.recommend_new(["i1", "i5"]))
    same(replies["an item"][0], liked.similar_items("i4"))
    for row, answer in zip(
        replies["all three"],
        (liked.recommend("u3", n=3), liked.recommend_new(["i1", "i5"], n=3),
         liked.similar_items("i4", n=3)), strict=True,
    ):  # fmt: skip
        same(row, answer)
    assert replies["as columns"] == replies["with nulls"] == replies["a user"]
    assert len(replies["everything"][0]["items"]) == ITEMS
    assert len(replies["the most"]) == MOST_ROWS


def test_a_table_may_come_as_parquet(connection: HTTPConnection) -> None:
    table = asked({"user": "u3"}, {"history": ["i1", "i5"]}, {"item": "i4", "n": 10})
    status, text = post(connection, table.to_parquet(), "application/vnd.apache.parquet")
    assert status == 200, text[:500]
    expected = [post(connection, GOOD[name])[1] for name in ("a user", "a history", "an item")]
    assert [json.loads(reply)["predictions"][0]["items"] for reply in expected] == [
        row["items"] for row in json.loads(text)["predictions"]
    ]


OURS = {
    "nobody": (rows({"user": "nobody"}), "user: expected one of 30 known ids"),
    "nothing": (rows({"item": "nothing"}), "item: expected one of 16 known ids"),
    "strange history": (rows({"history": ["i1", "x"]}), "item: expected one of .* found 'x'"),
    "endless id": (rows({"user": "x" * 100_000}), "expected an id of at most 512 characters"),
    "two questions": (rows({"user": "u1", "item": "i1"}), "row 1: .* found user and item"),
    "no question": (rows({"user": "u1"}, {"n": 2}), "row 2: expected exactly one .* found none"),
    "other columns": (rows({"customer": "u1"}), "questions: expected 1 to 10,000 rows"),
    "no rows": (rows(), "questions: expected 1 to 10,000 rows .* found 0"),
    "an object for a user": (rows({"user": {"a": 1}}), "row 1: user: expected an id"),
    "a list for a user": (rows({"user": ["u1"]}), "row 1: user: expected an id"),
    "truth for a user": (rows({"user": True}), "user: expected one of 30 known ids"),
    "half a user": (rows({"user": 0.5}), "user: expected one of 30 known ids"),
    "text for a history": (rows({"history": "i1"}), "row 1: history: expected a list"),
    "a number for a history": (rows({"history": 7}), "row 1: history: expected a list"),
    "lists in a history": (rows({"history": [["i1"]]}), "row 1: history: expected an id"),
    "null in a history": (rows({"history": [None]}), "row 1: history: expected an id"),
    "ratings of rankings": (rows({"history": ["i1"], "ratings": [5]}), "ratings: expected none"),
    "n of 0": (rows({"user": "u1", "n": 0}), "row 1: n: expected a whole number from 1"),
    "text for n": (rows({"user": "u1", "n": "x"}), "row 1: n: expected a whole number"),
    "infinite n": (b'{"dataframe_records": [{"user": "u1", "n": 1e999}]}', "row 1: n: expected"),
    "big n": (rows({"user": "u1"}, n=MOST_ITEMS + 1), "n: expected a whole .* found 10001"),
    "huge n": (rows({"user": "u1"}, n=10**30), "n: expected a whole number from 1 to 10,000"),
    "too many rows": (rows(*[{"user": "u1"}] * (MOST_ROWS + 1)), "questions: .* found 10,001"),
    "long history": (rows({"history": ["i1"] * (MOST_ITEMS + 1)}), "at most 10,000 items, found"),
    "a parameter of implicit": (
        rows({"user": "u1"}, N=3),
        "^params: expected n or filter_already_liked, found 'N'; did you mean 'n'",
    ),
    "another parameter": (rows({"user": "u1"}, n=3, seed=1), "^params: expected .* found 'seed'"),
    "records of numbers": (b'{"dataframe_records": [1, 2]}', "questions: expected 1 to 10,000"),
    "a number": (b'{"inputs": 3}', "questions: expected 1 to 10,000 rows"),
    "another model's": (b'{"messages": []}', "questions: expected 1 to 10,000 rows"),
}
MLFLOWS = {  # refused by the scoring server before the model is asked
    "malformed": b'{"dataframe_records": [{"user": "u1"}',
    "empty": b"",
    "not utf-8": b"\xff\xfe{",
    "a list": b"[1]",
    "an empty object": b"{}",
    "two tables": b'{"dataframe_records": [], "inputs": []}',
    "a record alone": b'{"dataframe_records": {"user": "u1"}}',
    "ragged": b'{"dataframe_split": {"columns": ["user"], "data": [["u1", "u2"]]}}',
    "a column twice": b'{"dataframe_split": {"columns": ["user", "user"], "data": [[1, 2]]}}',
    "half a character": b'{"dataframe_records": [{"user": "\\ud800"}]}',
    "params in a list": b'{"dataframe_records": [{"user": "u1"}], "params": [1]}',
    "text for n": rows({"user": "u1"}, n="x"),
    "text for a truth": rows({"user": "u1"}, filter_already_liked="x"),
}


@pytest.mark.parametrize("name", OURS)
def test_a_bad_question_gets_one_line(name: str, connection: HTTPConnection) -> None:
    body, told = OURS[name]
    status, text = post(connection, body)
    assert status == 400, text[:500]
    reply = json.loads(text)
    assert set(reply) == {"error_code", "message"} and len(text) < 500
    assert re.search(told, reply["message"]), reply
    assert "\n" not in reply["message"]


@pytest.mark.parametrize("name", MLFLOWS)
def test_a_body_that_is_no_table_is_refused(name: str, connection: HTTPConnection) -> None:
    status, text = post(connection, MLFLOWS[name])
    assert status == 400, text[:500]
    assert json.loads(text)["message"] and "Traceback" not in text


def test_parameters_of_other_models_stay_theirs(saved: Path) -> None:
    mlflow.pyfunc.load_model(str(saved))
    again = mlflow.pyfunc.load_model(str(saved))
    with pytest.raises(MlflowException, match=r"^params: expected n or .* found 'N'"):
        again.predict(asked({"user": "u3"}), params={"N": 3})

    others = ParamSchema([ParamSpec("n", DataType.long, 1)])  # left as MLflow has them
    assert mlflow.pyfunc._enforce_params_schema({"N": 3, "n": 2}, others) == {"n": 2}


def test_other_types_and_paths_are_refused(connection: HTTPConnection, port: int) -> None:
    assert post(connection, b"user\nu1\n", "text/plain")[0] == 415
    assert post(connection, b"user\nu1\n", "text/csv")[0] == 400  # lists do not fit into CSV
    assert (get(port, "/invocations"), get(port, "/nothing")) == (405, 404)


BURST, CLIENTS = 2000, 8


@pytest.mark.slow
def test_a_burst_of_good_and_bad_questions_leaves_the_server_well(
    served_port: int, liked: Recommender, record_property: Any
) -> None:
    """Slow: a server of its own, and requests enough to fill its threads for some time."""
    port = served_port
    good = [GOOD[name] for name in ("a user", "a history", "an item", "all three")]
    bad = [body for body, _ in OURS.values() if len(body) < 1000] + list(MLFLOWS.values())
    draws = np.random.default_rng(0)
    burst = [
        (True, good[i % len(good)]) if fair else (False, bad[i % len(bad)])
        for i, fair in enumerate(draws.random(BURST) < 0.6)
    ]
    results: list[tuple[bool, int, float]] = []

    def ask(part: list[tuple[bool, bytes]]) -> None:
        with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            for fair, body in part:
                start = time.perf_counter()
                status, _ = post(connection, body)
                results.append((fair, status, time.perf_counter() - start))

    threads = [threading.Thread(target=ask, args=(burst[i::CLIENTS],)) for i in range(CLIENTS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    times = np.array([taken for *_, taken in results])
    counts = Counter(status for _, status, _ in results)
    figures = {
        "requests_per_second": BURST / seconds,
        "p50_ms": 1000 * float(np.quantile(times, 0.5)),
        "p99_ms": 1000 * float(np.quantile(times, 0.99)),
        "by_status": dict(counts),
    }
    for name, value in figures.items():
        record_property(name, value)
    print(figures)
    assert len(results) == BURST and set(counts) == {200, 400}
    assert all(status == (200 if fair else 400) for fair, status, _ in results)
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        _, text = post(connection, GOOD["a user"])
    same(json.loads(text)["predictions"][0], liked.recommend("u3"))


# The tutorial

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|python|json)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHORTER = ["train.epochs=20", "train.l2=[0.003]", "search.epochs=2", "baselines=[]"]


def blocks() -> list[tuple[str, str]]:
    text = (ROOT / "docs" / "how-to" / "serving.md").read_text(encoding="utf-8")
    return [(kind, code.replace("\\\n", " ").strip()) for kind, code in BLOCK.findall(text)]


def curl(connection: HTTPConnection, command: str) -> tuple[int, Any]:
    """Sends the command's request, without the program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    for flag in ("-H", "-d"):
        parser.add_argument(flag, required=True)
    parser.add_argument("-s", action="store_true", required=True)
    program, *words = shlex.split(command)
    given = parser.parse_args(words)
    assert (program, given.url) == ("curl", "http://127.0.0.1:5001/invocations")
    kind = given.H
    assert kind == "Content-Type: application/json"
    status, text = post(connection, given.d.encode())
    return status, json.loads(text)


def run(command: list[str], folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
def test_the_tutorial_is_true(tmp_path: Path) -> None:
    """Slow: a job, a process and a server that import MLflow, one after the other."""
    wide = [
        (f"u{u}", f"i{i}") for u in range(40) for i in range(u % 2, 20, 2) if (u + 3 * i) % 5 != 4
    ]
    pd.DataFrame(wide, columns=["user", "item"]).to_csv(tmp_path / "orders.csv", index=False)
    told = blocks()
    env = bare_environment() | {"PYTHONPATH": str(ROOT)}
    shell = [shlex.split(code) for kind, code in told if kind == "sh" and "curl" not in code]
    (job, serve), snippets = shell, [code for kind, code in told if kind == "python"]
    assert job[:2] == ["python", "run.py"] and serve[0] == "mlflow"

    job = [sys.executable, str(ROOT / "run.py"), *job[2:], *SHORTER]
    run(job, tmp_path, env)
    recommender = Recommender.load(tmp_path / "runs" / "shop" / "model")
    uris = ('f"runs:/{job.info.run_id}/model"', '"models:/shop/2"')
    loading = [f"{s}\nmlflow.pyfunc.load_model({u})" for s, u in zip(snippets, uris, strict=True)]
    code = "\n".join(f"exec({snippet!r}, {{}})" for snippet in loading)
    printed = run([sys.executable, "-c", code], tmp_path, env)
    assert len(re.findall("^(?:runs:/|models:/)", printed, re.MULTILINE)) == 2

    number = free_port()
    served_there = [str(number) if word == "5001" else word for word in serve]
    with (
        served(served_there, number, tmp_path, bare_environment()) as port,
        contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection,
    ):
        replies = [curl(connection, code) for kind, code in told if "curl" in code]
    good = [body["predictions"] for status, body in replies if status == 200]
    bad = [body for status, body in replies if status == 400]
    assert [len(rows) for rows in good] == [1, 1, 1, 3] and len(good) + len(bad) == len(replies)
    same(good[0][0], recommender.recommend("u3", n=3))
    same(good[1][0], recommender.recommend_new(["i1", "i5"], n=3))
    same(good[2][0], recommender.similar_items("i4", n=3))
    same(good[3][0], recommender.recommend("u3", n=2))
    same(good[3][1], recommender.recommend("u8"))
    assert bad == [json.loads(code) for kind, code in told if kind == "json"]
