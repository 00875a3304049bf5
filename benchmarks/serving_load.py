"""Loads `sif serve` as a process and prints latencies, throughput, statuses and memory.

    python benchmarks/serving_load.py runs/shop --requests 10000 --rate 500 1000 2000 --reload

Clients keep their connections and send mixed questions, a tenth of them malformed. First in a
closed loop: each asks again once it has its answer. Then in an open loop at each rate: requests are
due at fixed moments, and latency counts from there, however late the client gets to send it.
`--alone` repeats the closed loop against a server that answers one request at a time, which tells
what answering together is worth. Without a folder a model of generated interactions is fitted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


@dataclass
class Load:
    """What came of some requests."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0

    def line(self, name: str) -> str:
        times = 1000 * np.quantile(self.latencies, [0.5, 0.95, 0.99, 1.0])
        done = ", ".join(f"{status}: {n}" for status, n in sorted(self.statuses.items()))
        return (
            f"{name:<14}{len(self.latencies) / self.seconds:8.0f}/s   p50 {times[0]:6.2f} ms   "
            f"p95 {times[1]:6.2f}   p99 {times[2]:6.2f}   max {times[3]:7.2f}   lost {self.lost}   "
            f"statuses {done}"
        )


def request(path: str, body: bytes, kind: str = "application/json") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def malformed(draws: random.Random) -> bytes:
    """One of the ways to get a question wrong; the server answers each with a 4xx."""
    bodies = (
        b"", b"{", b"[" * 5000, b'{"user": "\xff"}', b'{"user": "nobody-of-that-name"}',
        b'{"usr": "u1"}', b'{"history": [NaN]}', b'{"user": 1.5}', b'{"user": "u1", "n": 1e9}',
        b'{"history": "i1"}', b'{"questions": []}', b"null",
        b'{"history": [' + b"1," * 20_000 + b"1]}",
    )  # fmt: skip
    choice = draws.randrange(len(bodies) + 2)
    if choice < len(bodies):
        return request("/recommend", bodies[choice])
    return (request("/nothing", b"{}"), request("/recommend", b"{}", "text/plain"))[
        choice - len(bodies)
    ]


def questions(
    users: list[str], items: list[str], count: int, share: float, seed: int
) -> list[bytes]:
    """Requests of mixed kinds: most of known users, some of histories, neighbors and reasons."""
    draws, found = random.Random(seed), []
    for _ in range(count):
        if draws.random() < share:
            found.append(malformed(draws))
            continue
        kind = draws.random()
        if kind < 0.7:
            asked = {"user": draws.choice(users), "n": 10}
            path = "/recommend"
        elif kind < 0.85:
            asked = {"history": draws.sample(items, min(20, len(items))), "n": 10}
            path = "/recommend"
        elif kind < 0.95:
            asked, path = {"item": draws.choice(items), "n": 10}, "/similar"
        else:
            asked = {"questions": [{"user": user} for user in draws.choices(users, k=4)]}
            path = "/recommend"
        found.append(request(path, json.dumps(asked).encode()))
    return found


class Client(asyncio.Protocol):
    """One connection that is kept, with one request at a time."""

    def __init__(self) -> None:
        self._parts, self._done = b"", None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    async def ask(self, message: bytes) -> int:
        """The status of the reply."""
        self._parts = b""
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._done

    def data_received(self, data: bytes) -> None:
        self._parts += data
        head, found, body = self._parts.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        if len(body) >= length and self._done is not None and not self._done.done():
            self._done.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionResetError())


async def load(port: int, messages: list[bytes], clients: int, rate: float | None) -> Load:
    """Sends all messages; None: each client as soon as it has its answer."""
    loop, result, left = asyncio.get_running_loop(), Load(), iter(enumerate(messages))
    start = time.perf_counter() + 0.1

    async def work() -> None:
        _, client = await loop.create_connection(Client, "127.0.0.1", port)
        for number, message in left:
            due = time.perf_counter() if rate is None else start + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            try:
                result.statuses[await client.ask(message)] += 1
            except ConnectionError:
                result.lost += 1
                _, client = await loop.create_connection(Client, "127.0.0.1", port)
            result.latencies.append(time.perf_counter() - due)

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    result.seconds = time.perf_counter() - begun
    return result


@contextmanager
def server(folder: Path, *options: str) -> Iterator[tuple[int, int]]:
    """A server on a free port: its port and its process."""
    command = [sys.executable, "-m", "sif", "serve", str(folder), "--port", "0", *options]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    try:
        line = process.stdout.readline()
        yield int(re.search(r":(\d+) ", line)[1]), process.pid
        begun = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
        print(f"ended with {code} after {time.perf_counter() - begun:.2f} s")
    finally:
        process.kill()


def processor(pid: int) -> float:
    """Seconds of the processor that a process has taken, which other work does not lengthen."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        lines = reply.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def reloaded(port: int, folder: Path, run: object) -> Load:
    """A load in whose middle the model's file is replaced by a copy."""
    task = asyncio.ensure_future(run)
    await asyncio.sleep(1)
    path = next(folder.rglob("recommender.safetensors"))
    copy = path.with_suffix(".next")
    shutil.copyfile(path, copy)
    os.replace(copy, path)
    result = await task
    for _ in range(50):  # a short load may end before the folder is looked at
        if metrics(port)["sif_reloads_total"]:
            break
        await asyncio.sleep(0.1)
    print(f"reloads during it: {metrics(port)['sif_reloads_total']:.0f}")
    return result


def generated(folder: Path, n_users: int, n_items: int) -> Path:
    """A model of generated interactions, fitted in seconds."""
    import pandas as pd

    import sif

    draws = np.random.default_rng(0)
    users = np.repeat(np.arange(n_users), 40)
    items = np.minimum((n_items * draws.random(len(users)) ** 2).astype(int), n_items - 1)
    frame = pd.DataFrame({"user": users, "item": items}).drop_duplicates()
    model = sif.Recommender(threads=1, budget="20s", dimension=64, settings={"serve": "searched"})
    model.fit(frame).save(folder)
    return folder


def measure(folder: Path, options: argparse.Namespace) -> None:
    from sif.recommender.model import ServedModel

    model = ServedModel.load(folder)
    users, items = (names.ids.tolist() for names in model.vocabularies[:2])
    print(f"{model.expression}: {len(users):,} users, {len(items):,} items")
    messages = questions(users, items, options.requests, options.malformed, 0)
    warm = questions(users, items, 500, options.malformed, 1)
    with server(folder, *options.serve) as (port, pid):
        print(asyncio.run(load(port, warm, options.clients, None)).line("warm up"))
        before, taken, own = memory(pid), processor(pid), time.process_time()
        print(asyncio.run(load(port, messages, options.clients, None)).line("closed loop"))
        taken, own = processor(pid) - taken, time.process_time() - own
        each = (1e6 * seconds / len(messages) for seconds in (taken, own))
        print("processor per request: {:.0f} us of the server, {:.0f} of clients".format(*each))
        told = metrics(port)
        size = told["sif_batch_requests_sum"] / told["sif_batch_requests_count"]
        print(f"requests answered together: {size:.2f} in the mean")
        for rate in options.rate:
            run = load(port, messages, options.clients, rate)
            run = reloaded(port, folder, run) if options.reload and rate == options.rate[0] else run
            print(asyncio.run(run).line(f"open {rate:.0f}/s"))
        print(f"memory: {before:.0f} MB at begin, {memory(pid):.0f} MB at end")
    if options.alone:
        with server(folder, *options.serve, "--batch", "1") as (port, _):
            asyncio.run(load(port, warm, options.clients, None))
            print(asyncio.run(load(port, messages, options.clients, None)).line("one by one"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="run or model; none: a generated one")
    parser.add_argument("--requests", type=int, default=10_000, help="of each load")
    parser.add_argument("--clients", type=int, default=8, help="connections")
    parser.add_argument("--rate", type=float, nargs="*", default=[500, 1000], help="per second")
    parser.add_argument("--malformed", type=float, default=0.1, help="share of requests")
    parser.add_argument("--reload", action="store_true", help="replace the model in the first")
    parser.add_argument("--alone", action="store_true", help="also without answering together")
    parser.add_argument("--users", type=int, default=6_000, help="of a generated model")
    parser.add_argument("--items", type=int, default=3_700, help="of a generated model")
    parser.add_argument("--serve", nargs="*", default=[], help="options of sif serve, without --")
    options = parser.parse_args()
    options.serve = [f"--{word}" if i % 2 == 0 else word for i, word in enumerate(options.serve)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        if options.folder is None:
            generated(folder, options.users, options.items)
        else:
            shutil.copytree(options.folder, folder)  # the reload replaces a file
        measure(folder, options)


if __name__ == "__main__":
    main()
