"""Latency of one-row scores under load: clients that query one server process as fast as it answers.

    python benchmarks/serve_load.py [--model MODEL] [--clients 32] [--seconds 60] [--slow 0] [--hostile 0]

Every client keeps its connection and requests one row after another; each answer is compared with the library's score
for the same row. Without a model, the default one is fitted to the diamonds that ship inside plotnine. The
server's memory is read every second. All clients share one process, and strangers another,
on the same machine.

Beside them, from other addresses of this machine, ``--slow`` sockets send a few bytes of a head or a body every half
second, and ``--hostile`` ones send endless heads, bodies of 4 MB that are no JSON or hold a million rows, requests for
other hosts, and questions whose answer they do not wait for; each begins again as soon as it is turned away.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measure import results

import pushforward as pf

ROWS = 400  # distinct requests
CLOSE = 1e-3  # nats: sums of float32 depend on how many rows are scored together


def fitted(folder: Path, steps: int) -> Path:
    """The default model of the diamonds; its training time does not affect the cost of a score."""
    from plotnine.data import diamonds

    pf.TableDensity(steps=steps, random_state=0).fit(diamonds).save(folder / "diamonds")
    return folder / "diamonds"


@contextlib.contextmanager
def served(model: Path) -> Iterator[tuple[int, int]]:
    """Serves the model, and gives the server's process and port."""
    command = [sys.executable, "-m", "pushforward", "serve", str(model), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        said = ""
        while not said.rstrip().endswith("}"):
            said += server.stdout.readline()
        try:
            yield server.pid, int(json.loads(said)["url"].rsplit(":", 1)[1])
        finally:
            server.terminate()


async def client(port: int, bodies: Sequence[bytes], truth: np.ndarray, start: int, stop: float, found: dict) -> None:
    """Sends requests until the time is up; records seconds, errors and wrong answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    place = start
    while (began := time.perf_counter()) < stop:
        body = bodies[place % ROWS]
        head = (
            f"POST /score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        )
        writer.write(f"{head}\r\n\r\n".encode() + body)
        status = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(status.split(b"content-length: ")[1].split(b"\r\n")[0])
        answer = await reader.readexactly(length)
        found["times"].append((began, time.perf_counter() - began))
        if b" 200 " not in status.split(b"\r\n")[0]:
            found["errors"] += 1
        elif not abs(json.loads(answer)["log_density"][0] - truth[place % ROWS]) < CLOSE:
            found["wrong"] += 1
        place += 1
    writer.close()


POST = b"POST /%s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
LARGE = 4 * 2**20
ATTACKS = (
    b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * LARGE,
    POST % (b"score", LARGE) + b"[" * LARGE,
    POST % (b"score", LARGE) + (b'{"rows":[' + b"{}," * LARGE)[:LARGE],
    b"GET /health HTTP/1.1\r\nhost: evil.example\r\n\r\n" * 50,
    POST % (b"sample", 11) + b'{"n": 9999}',
    bytes(range(256)) * 64,
)


async def hostile(port: int, which: int, stop: float) -> None:
    """Attacks from an address of its own, over and over."""
    while time.perf_counter() < stop:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.3", 0))
            writer.write(ATTACKS[which % len(ATTACKS)])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(writer.drain(), 5)
            await asyncio.sleep(0.2)
            writer.transport.abort()


async def slow(port: int, which: int, stop: float) -> None:
    """A head, or a body, that goes on and on, a few bytes at a time."""
    first, more = (POST % (b"score", LARGE), b" ") if which % 2 else (b"GET / HTTP/1.1\r\n", b"a: b\r\n")
    while time.perf_counter() < stop:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
            writer.write(first)
            while time.perf_counter() < stop and not writer.transport.is_closing():
                writer.write(more)
                await asyncio.sleep(0.5)
            writer.transport.abort()


async def crowd(port: int, asked: argparse.Namespace) -> None:
    stop = time.perf_counter() + asked.seconds
    each = [(what, j) for what, n in ((slow, asked.slow), (hostile, asked.hostile)) for j in range(n)]
    await asyncio.gather(*(what(port, j, stop) for what, j in each))


@contextlib.contextmanager
def strangers(port: int, asked: argparse.Namespace) -> Iterator[None]:
    """All others, in a process of their own."""
    process = multiprocessing.Process(target=lambda: asyncio.run(crowd(port, asked)))
    process.start()
    yield
    process.join()


async def memory(process: int, stop: float, sizes: list[float]) -> None:
    """The server's resident memory in megabytes, each second."""
    while time.perf_counter() < stop:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        sizes.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        await asyncio.sleep(1.0)


async def load(process: int, port: int, rows: Sequence[Any], truth: np.ndarray, asked: argparse.Namespace) -> Any:
    """Runs all clients at once; returns their results, and the server's memory."""
    clients, seconds = asked.clients, asked.seconds
    bodies = [json.dumps({"rows": [row]}).encode() for row in rows]
    stop = time.perf_counter() + seconds
    found: dict[str, Any] = {"times": [], "errors": 0, "wrong": 0}
    sizes: list[float] = []
    asking = [client(port, bodies, truth, j * ROWS // clients, stop, found) for j in range(clients)]
    await asyncio.gather(memory(process, stop, sizes), *asking)
    return found, sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--slow", type=int, default=0)
    parser.add_argument("--hostile", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or fitted(Path(folder), options.steps)
        model = pf.TableDensity.load(path)
        model.facts["frame"] = "polars"
        frame: pl.DataFrame = model.sample(ROWS, random_state=1)
        truth = model.score_samples(frame)
        with served(path) as (process, port), strangers(port, options):
            found, sizes = asyncio.run(load(process, port, frame.to_dicts(), truth, options))
    times = 1e3 * np.array([took for _, took in found["times"]])
    row = {
        "model": model.summary_["flow"],
        "columns": len(model.schema.names),
        "clients": options.clients,
        "slow": options.slow,
        "hostile": options.hostile,
        "seconds": options.seconds,
        "requests": len(times),
        **{f"p{q:g} ms": float(np.percentile(times, q)) for q in (50, 90, 99, 99.9)},
        "worst ms": float(times.max()),
        "errors": found["errors"],
        "wrong": found["wrong"],
        "MB at first": round(sizes[0], 1),
        "MB after 10 s": round(sizes[min(10, len(sizes) - 1)], 1),
        "MB at most": round(max(sizes), 1),
        "MB at the end": round(sizes[-1], 1),
    }
    print(json.dumps(row, indent=1))
    if options.seconds >= 60:
        name = f"serve-{options.clients}-clients" + ("-among-strangers" if options.hostile else "")
        results.write(name, "One-row scores under load", {"Latency and memory": results.table([row])}, [row])


if __name__ == "__main__":
    main()
