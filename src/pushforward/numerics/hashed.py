"""Random numbers that depend only on a row and a seed, so that no row's result depends on the rest of the table."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_STEP = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(key: np.ndarray) -> np.ndarray:
    """A hash of 64-bit integers; neighbouring keys give unrelated values."""
    key = key + _STEP
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def row_keys(x: Tensor, seed: int) -> np.ndarray:
    """A 64-bit hash of each row ``(n, features)`` and the seed, ``(n,)``; NaN is a value like any other."""
    bits = x.detach().double().cpu().numpy().view(np.uint64)
    key = np.full(len(bits), np.uint64(seed % 2**64))
    with np.errstate(over="ignore"):
        for column in bits.T:
            key = splitmix64(key ^ column)
    return key


def uniforms(keys: np.ndarray, count: int, first: int = 1) -> np.ndarray:
    """Numbers in [0, 1), ``(n, count)``: from index ``first`` on in the infinite sequence of each key."""
    places = np.arange(first, first + count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        mixed = splitmix64(keys[:, None] + places * _STEP)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def row_shifts(x: Tensor, seed: int) -> Tensor:
    """A number in [0, 1) for every entry, from a hash of its whole row and the seed."""
    return torch.from_numpy(uniforms(row_keys(x, seed), x.shape[1])).to(x)
