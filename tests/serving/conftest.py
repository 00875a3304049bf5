"""A saved model, and servers of it: processes on free ports, which a client asks."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pytest

from sif import Recommender

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")

ROOT = Path(__file__).parents[2]
T = TypeVar("T")
QUICK = {
    "train.epochs": 30, "train.dimension": 4, "train.l2": [0.003], "search.epochs": 3,
    "search.dimension": 4, "train.lr": 0.05,
}  # fmt: skip


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, in a thread: a browser of other tests has a loop in this one."""
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(asyncio.run, work).result()


@dataclass
class Reply:
    """A reply: status, headers by lower-case name, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one line of a refusal, which is all that its body has."""
        (key, line), *others = self.json.items()
        assert (key, others) == ("error", []) and "\n" not in line
        return str(line)


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    port: int
    line: str
    connection: http.client.HTTPConnection | None = None
    errors: list[str] = field(default_factory=list)

    def ask(
        self, path: str, body: Any = None, method: str = "", kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:  # fmt: skip
        """The reply to a body: bytes as they are, anything else as JSON; None: to a GET."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {"Content-Type": kind} if kind and sent is not None else {}
        method = method or ("GET" if sent is None else "POST")
        self.connection.request(method, path, sent, {**named, **(headers or {})})
        reply = self.connection.getresponse()
        names = {name.lower(): value for name, value in reply.getheaders()}
        return Reply(reply.status, names, reply.read())

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = 30) -> int:
        """The exit code; standard error is then in `errors`."""
        code = self.process.wait(seconds)
        assert self.process.stderr is not None
        self.errors += self.process.stderr.read().splitlines()
        return code


Start = Callable[..., contextlib.AbstractContextManager[Server]]


@contextlib.contextmanager
def running(folder: Path, *options: str | Path) -> Iterator[Server]:
    """A server on a free port; it has to be there still at the end, unless it was ended."""
    words = [sys.executable, "-m", "sif", "serve", folder, "--port", "0", *options]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found is not None, process.stderr.read()
        server = Server(process, int(found[1]), line)
        yield server
        if process.poll() is None:
            server.signal(signal.SIGTERM)
        assert server.ended() == 0, server.errors
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="session")
def start() -> Start:
    """Starts a server of a folder; see `running`."""
    return running


@pytest.fixture(scope="session")
def orders() -> pd.DataFrame:
    """Users and items that are both even or both odd, with titles."""
    rows = [
        (f"u{u}", f"i{i}", f"Thing {i}")
        for u in range(30)
        for i in range(16)
        if (u + i) % 2 == 0 and (u * 7 + i * 3) % 5
    ]
    return pd.DataFrame(rows, columns=["user", "item", "title"])


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, orders: pd.DataFrame) -> Path:
    """The folder of a small model of rankings."""
    folder = tmp_path_factory.mktemp("shop") / "model"
    Recommender(threads=1, settings=QUICK).fit(orders).save(folder)
    return folder


@pytest.fixture(scope="session")
def other_shop(tmp_path_factory: pytest.TempPathFactory, orders: pd.DataFrame) -> Path:
    """The folder of another model, which has no user u0."""
    folder = tmp_path_factory.mktemp("other") / "model"
    Recommender(threads=1, settings=QUICK, seed=1).fit(orders[orders.user != "u0"]).save(folder)
    return folder


@pytest.fixture(scope="session")
def stars(tmp_path_factory: pytest.TempPathFactory, orders: pd.DataFrame) -> Path:
    """The folder of a small model of ratings."""
    folder = tmp_path_factory.mktemp("stars") / "model"
    rated = orders.assign(rating=[1.0 + (len(i) + int(u[1:])) % 5 for u, i in orders.values[:, :2]])
    Recommender("rating", threads=1, settings=QUICK).fit(rated).save(folder)
    return folder
