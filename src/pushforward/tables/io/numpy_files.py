"""NumPy's arrays: one table, or an archive that comes divided into ``train``, ``val`` and ``test``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ...errors import InputError, listed
from .format import Format, ReadOptions
from .frames import array_columns
from .table import Table
from .values import series

SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


class Npy(Format):
    endings = (".npy",)
    starts = (b"\x93NUMPY",)

    def read(self, path: Path, options: ReadOptions) -> Table:
        with path.open("rb") as file:
            return Table(path, _frame(np.load(file, allow_pickle=False), f"{path}: the array"))


class Npz(Format):
    endings = (".npz",)

    def read(self, path: Path, options: ReadOptions) -> Table:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        names = next((list(map(str, arrays.pop(key))) for key in ("columns", "names") if key in arrays), None)
        if "train" not in arrays and len(arrays) != 1:
            what = f"holds {len(arrays)} arrays ({listed(arrays)})"
            raise InputError(f"{path}: {what}; expected one table, or 'train', 'val' and 'test'")
        frames = {key: _frame(array, f"{path}: the array {key!r}", names) for key, array in arrays.items()}
        if "train" not in frames:
            return Table(path, next(iter(frames.values())))
        splits = {SPLITS[key]: frame for key, frame in frames.items() if key in SPLITS}
        train = splits["train"]
        for name, frame in splits.items():
            if frame.columns != train.columns:
                what = f"{name!r} has {frame.width} columns, but 'train' has {train.width}"
                raise InputError(f"{path}: {what}; they must be the same")
        return Table(path, train, splits)


def _frame(array: np.ndarray, what: str, names: list[str] | None = None) -> pl.DataFrame:
    return pl.DataFrame([series(name, values, what) for name, values in array_columns(array, names, what)])
