"""Fuzzes everything that reads files with atheris: tables, pieces of tables, and saved models with a right checksum.

    pip install atheris
    python tests/fuzz/loaders.py FOLDER -max_total_time=600

FOLDER gets seeds on the first run and keeps what the fuzzer finds interesting. Whatever is not a result, an
``InputError`` or a ``CheckpointError`` of one line is a finding: libFuzzer stops and writes the input to ``crash-...``;
so is what takes more than 30 seconds or 3 GiB.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pushforward"]):
    import pushforward as pf
    from pushforward.errors import InputError
    from pushforward.saving.bundle import CheckpointError
    from pushforward.tables.io.format import ReadOptions
    from pushforward.tables.io.formats import BY_ENDING
    from pushforward.tables.io.read import read_table

import numpy as np
import polars as pl
import torch

LIMITS = ("-max_len=16384", "-timeout=30", "-rss_limit_mb=3072", "-print_final_stats=1")
ENDINGS = ("csv", "tsv", "csv.gz", "parquet", "arrow", "npy", "npz")
PLACE = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
RECIPES = {
    "maf": lambda: pf.maf(3, layers=1, hidden=(8,)),
    "nsf": lambda: pf.nsf(3, layers=1, hidden=(8,), bins=4),
    "made": lambda: pf.made(3, hidden=(8,), conditional="categorical", classes=4),
    "pixelcnn": lambda: pf.pixelcnn((1, 3, 3), levels=4, hidden=4, layers=2),
}
WEIGHTS: dict[str, bytes] = {}


def pieces(path: Path) -> None:
    rows = BY_ENDING[path.suffix].pieces(path, [path], ReadOptions())
    for piece in rows.read(0, rows.rows, rows.columns[:50]):
        assert piece.frame.height


def model(name: str, config: bytes) -> None:
    """A config with the weights of a recipe, under a checksum that is right: what a forger would write."""
    folder = PLACE / "model"
    folder.mkdir(exist_ok=True)
    try:
        content = json.loads(config)
        content["sha256"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode() + WEIGHTS[name]).hexdigest()
        config = json.dumps(content).encode()
    except (ValueError, TypeError, RecursionError):
        pass  # no JSON object: it is written as it is
    (folder / "config.json").write_bytes(config)
    (folder / "model.safetensors").write_bytes(WEIGHTS[name])
    pf.load(folder)


def one_input(data: bytes) -> None:
    kind, content = data[0] if data else 0, data[1:]
    try:
        if kind % 2:
            names = list(RECIPES)
            model(names[kind // 2 % len(names)], content)
            return
        path = PLACE / f"t.{ENDINGS[kind // 2 % len(ENDINGS)]}"
        path.write_bytes(content)
        read_table(path)
        if path.suffix in (".csv", ".tsv", ".parquet"):
            pieces(path)
    except (InputError, CheckpointError) as error:
        if "\n" in str(error):
            raise AssertionError(f"an error of several lines: {error}") from error


def write_seeds(folder: Path) -> None:
    """A sound file of every kind."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 2))
    table = pl.DataFrame({"a": x[:, 0], "b": x[:, 1].round(), "k": ["u", "v"] * 10})
    contents = {}
    for ending, write in (("parquet", table.write_parquet), ("arrow", table.write_ipc), ("csv", table.write_csv)):
        file = io.BytesIO()
        write(file)
        contents[ending] = file.getvalue()
    contents["tsv"] = contents["csv"].replace(b",", b"\t")
    for ending, save in (("npy", np.save), ("npz", lambda file, x: np.savez(file, train=x, val=x))):
        file = io.BytesIO()
        save(file, x)
        contents[ending] = file.getvalue()
    for ending, content in contents.items():
        (folder / f"seed-{ending}").write_bytes(bytes([2 * ENDINGS.index(ending)]) + content)
    for i, name in enumerate(RECIPES):
        config = (PLACE / name / "config.json").read_bytes()
        compact = json.dumps({k: v for k, v in json.loads(config).items() if k != "sha256"}).encode()
        (folder / f"seed-{name}").write_bytes(bytes([2 * i + 1]) + compact)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name, recipe in RECIPES.items():
        pf.save(recipe(), PLACE / name)
        WEIGHTS[name] = (PLACE / name / "model.safetensors").read_bytes()
    write_seeds(folder)
    warnings.simplefilter("ignore")
    atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:]], one_input)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)


if __name__ == "__main__":
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    main()
