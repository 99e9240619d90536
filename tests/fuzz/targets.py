"""What is fuzzed: everything that reads what strangers wrote. Tables, pieces of tables, saved models with a right
checksum, requests to a server, and lines of a stream.

A result is right, and so is an ``InputError``, a ``CheckpointError`` or a refusal in one line; anything else is a
finding.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import pushforward as pf
from pushforward.errors import InputError
from pushforward.saving.bundle import CheckpointError
from pushforward.tables.io.csv_rows import CsvRows
from pushforward.tables.io.format import ReadOptions
from pushforward.tables.io.parquet import ParquetRows
from pushforward.tables.io.read import read_table

PLACE = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
ENDINGS = ("csv", "tsv", "csv.gz", "jsonl", "parquet", "arrow", "npy", "npz")
RECIPES: dict[str, Callable[[], Any]] = {
    "maf": lambda: pf.maf(3, layers=1, hidden=(8,)),
    "nsf": lambda: pf.nsf(3, layers=1, hidden=(8,), bins=4),
    "made": lambda: pf.made(3, hidden=(8,), conditional="categorical", classes=4),
    "pixelcnn": lambda: pf.pixelcnn((1, 3, 3), levels=4, hidden=4, layers=2),
}
POSTS = ("score", "sample", "impute", "ask", "predict", "drift", "explain")
ROW = {"a": 0.5, "b": 1.0, "k": "u", "day": "2024-01-31"}
QUESTIONS: dict[str, Any] = {
    "score": {"rows": [ROW, {"a": None, "k": "v"}], "given": ["k"], "errors": True},
    "sample": {"n": 2, "given": {"k": "u"}, "seed": 1},
    "impute": {"rows": [{"a": 0.5, "b": None}], "draws": 2, "seed": 0},
    "ask": {"where": "a > 0.5 AND k = 'u'", "given": {"b": [0, 1]}},
    "predict": {"rows": [ROW], "column": "a", "kind": "interval", "level": 0.8},
    "drift": {"rows": [ROW] * 10, "by": "k"},
    "explain": {"rows": [ROW]},
}


def small_table(rows: int = 60) -> pl.DataFrame:
    x = np.random.default_rng(0).normal(size=(rows, 2))
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 12, 31), eager=True)[:rows]
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1].round(), "k": (["u", "v"] * rows)[:rows], "day": days})


def fitted_table() -> pf.TableDensity:
    return pf.TableDensity("maf", layers=1, hidden=(8,), steps=20).fit(small_table(200))


class Tables:
    """Files of tables, of every format; the first byte chooses it."""

    def seeds(self) -> list[bytes]:
        table, found = small_table(20), []
        for ending in ENDINGS:
            file = io.BytesIO()
            if ending in ("npy", "npz"):
                x = table.select("a", "b").to_numpy()
                np.save(file, x) if ending == "npy" else np.savez(file, train=x, val=x)
            else:
                write: Any = {"parquet": "write_parquet", "arrow": "write_ipc", "jsonl": "write_ndjson"}
                getattr(table, write.get(ending, "write_csv"))(file)
            content = file.getvalue().replace(b",", b"\t") if ending == "tsv" else file.getvalue()
            found.append(bytes([ENDINGS.index(ending)]) + content)
        return found

    def __call__(self, data: bytes) -> None:
        path = PLACE / f"t.{ENDINGS[data[0] % len(ENDINGS)]}"
        path.write_bytes(data[1:])
        read_table(path)
        if path.suffix in (".csv", ".tsv", ".parquet"):
            rows: Any = ParquetRows(path, [path]) if path.suffix == ".parquet" else CsvRows(path, path, ReadOptions())
            for piece in rows.read(0, rows.rows, rows.columns[:50]):
                assert piece.frame.height


class Models:
    """Configurations with the weights of a recipe, or of a table, under a checksum that is right: what a forger would
    write."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        for name, recipe in RECIPES.items():
            pf.save(recipe(), PLACE / name)
        fitted_table().save(PLACE / "table")
        self.names = [*RECIPES, "table"]
        self.weights = [(PLACE / name / "model.safetensors").read_bytes() for name in self.names]

    def seeds(self) -> list[bytes]:
        configs = [json.loads((PLACE / name / "config.json").read_bytes()) for name in self.names]
        plain = [{key: value for key, value in config.items() if key != "sha256"} for config in configs]
        return [bytes([j]) + json.dumps(config).encode() for j, config in enumerate(plain)]

    def __call__(self, data: bytes) -> None:
        chosen = data[0] % len(self.names)
        folder, weights, config = PLACE / "model", self.weights[chosen], data[1:]
        folder.mkdir(exist_ok=True)
        try:
            content = json.loads(config)
            content["sha256"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode() + weights).hexdigest()
            config = json.dumps(content).encode()
        except (ValueError, TypeError, RecursionError):
            pass  # no JSON object: it is written as it is
        (folder / "config.json").write_bytes(config)
        (folder / "model.safetensors").write_bytes(weights)
        (pf.TableDensity.load if self.names[chosen] == "table" else pf.load)(folder)


class Requests:
    """Bodies of requests to a server in this process, JSON or Arrow; the first byte chooses the path and which."""

    def __init__(self) -> None:
        from pushforward.serving.app import Server
        from pushforward.serving.options import ServeOptions

        self.app = Server(fitted_table(), ServeOptions(max_rows=200))
        self.loop = asyncio.new_event_loop()

    def seeds(self) -> list[bytes]:
        from pushforward.serving.limits import arrow_body

        arrow = arrow_body(small_table(12))
        told = [bytes([j]) + json.dumps(QUESTIONS[path]).encode() for j, path in enumerate(POSTS)]
        return told + [bytes([128 + j]) + arrow for j, path in enumerate(POSTS) if "rows" in QUESTIONS[path]]

    def __call__(self, data: bytes) -> None:
        from pushforward.serving.guard import ARROW, JSON

        path, messages = f"/{POSTS[data[0] % 128 % len(POSTS)]}", []
        kind = ARROW if data[0] >= 128 else JSON
        headers = [(b"host", b"localhost"), (b"content-type", kind.encode()), (b"accept", JSON.encode())]
        parts = [{"type": "http.request", "body": data[1:]}]
        query = b"column=a" if path == "/predict" else b""
        about = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": query}
        scope = {**about, "headers": headers, "client": ("127.0.0.1", 1), "root_path": "", "asgi": {"version": "3.0"}}

        async def receive() -> Any:
            return parts.pop() if parts else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            messages.append(message)

        self.loop.run_until_complete(self.app(scope, receive, send))
        status, body = messages[0]["status"], b"".join(each.get("body", b"") for each in messages[1:])
        assert status < 500 or status == 503, (status, body)
        if status != 200:
            assert "\n" not in json.loads(body)["detail"], body


class Lines:
    """Lines of JSON behind the first byte, which are scored as they come: each gets one, whatever it holds."""

    def __init__(self) -> None:
        self.model = fitted_table()

    def seeds(self) -> list[bytes]:
        return [b"\0" + small_table(2).write_ndjson().encode(), b"\0" + json.dumps(ROW).encode()]

    def __call__(self, data: bytes) -> None:
        lines, out = data[1:].splitlines(keepends=True), io.StringIO()
        self.model.run("follow", lines, out, keep=["k", "other"])
        found = [json.loads(line) for line in out.getvalue().splitlines()]
        assert [each["row"] for each in found] == [*range(1, len(lines) + 1)]


TARGETS: dict[str, Callable[[], Any]] = {"tables": Tables, "models": Models, "requests": Requests, "lines": Lines}


def one_input(target: Any, data: bytes) -> None:
    """Whatever is no result and no refusal in one line is raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target(data)
    except (InputError, CheckpointError) as error:
        if "\n" in str(error):
            raise AssertionError(f"an error of several lines: {error}") from error
