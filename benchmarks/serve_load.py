"""Latency of one-row scores under load: clients that query one server process as fast as it answers.

    python benchmarks/serve_load.py [--model MODEL] [--clients 32] [--seconds 60]

Every client keeps its connection and requests one row after another; each answer is compared with the library's score
for the same row. Without a model, the default one is fitted to the diamonds that ship inside plotnine. The
server's memory is read every second. All clients share one process, on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
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


async def memory(process: int, stop: float, sizes: list[float]) -> None:
    """The server's resident memory in megabytes, each second."""
    while time.perf_counter() < stop:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        sizes.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        await asyncio.sleep(1.0)


async def load(process: int, port: int, rows: Sequence[Any], truth: np.ndarray, clients: int, seconds: float) -> Any:
    """Runs all clients at once; returns their results, and the server's memory."""
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
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or fitted(Path(folder), options.steps)
        model = pf.TableDensity.load(path)
        model.facts["frame"] = "polars"
        frame: pl.DataFrame = model.sample(ROWS, random_state=1)
        truth = model.score_samples(frame)
        with served(path) as (process, port):
            asked = load(process, port, frame.to_dicts(), truth, options.clients, options.seconds)
            found, sizes = asyncio.run(asked)
    times = 1e3 * np.array([took for _, took in found["times"]])
    row = {
        "model": model.summary_["flow"],
        "columns": len(model.schema.names),
        "clients": options.clients,
        "seconds": options.seconds,
        "requests": len(times),
        **{f"p{q:g} ms": float(np.percentile(times, q)) for q in (50, 90, 99, 99.9)},
        "worst ms": float(times.max()),
        "errors": found["errors"],
        "wrong": found["wrong"],
        "MB after 10 s": round(sizes[min(10, len(sizes) - 1)], 1),
        "MB at the end": round(sizes[-1], 1),
    }
    print(json.dumps(row, indent=1))
    if options.seconds >= 60:
        name = f"serve-{options.clients}-clients"
        results.write(name, "One-row scores under load", {"Latency and memory": results.table([row])}, [row])


if __name__ == "__main__":
    main()
