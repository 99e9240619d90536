"""Random numbers that depend only on a row and a seed, so that no row's result depends on the rest of the table."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def signed(number: int) -> int:
    """The lowest 64 bits of a whole number, as keys hold them: with a sign."""
    return (number + 2**63) % 2**64 - 2**63


STEP, FIRST, SECOND = map(signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def splitmix64(key: Any) -> Any:
    """A hash of 64-bit integers, in a tensor or an array; neighbouring keys give unrelated values."""
    key = key + STEP
    key = (key ^ ((key >> 30) & (2**34 - 1))) * FIRST
    key = (key ^ ((key >> 27) & (2**37 - 1))) * SECOND
    return key ^ ((key >> 31) & (2**33 - 1))


def row_keys(x: Tensor, seed: int) -> Tensor:
    """A 64-bit hash of each row ``(n, features)`` and the seed, ``(n,)``; NaN is a value like any other."""
    bits = x.detach().double().view(torch.int64)
    columns: Any = bits.unbind(1) if torch.compiler.is_compiling() else bits.cpu().numpy().T  # in half of the time
    key = columns[0] * 0 + signed(seed)
    for column in columns:
        key = splitmix64(key ^ column)
    return torch.as_tensor(key, device=x.device)


def unit(keys: Tensor) -> Tensor:
    """Hashes as numbers in [0, 1), float64."""
    return ((keys >> 11) & (2**53 - 1)).double() / 2.0**53


def uniforms(keys: Tensor, count: int) -> Tensor:
    """The first ``count`` numbers in [0, 1) of the infinite sequence of each key, ``(n, count)``."""
    return unit(splitmix64(keys[:, None] + torch.arange(1, count + 1, device=keys.device) * STEP))


def row_shifts(x: Tensor, seed: int) -> Tensor:
    """A number in [0, 1) for every entry, from a hash of its whole row and the seed."""
    return uniforms(row_keys(x, seed), x.shape[1]).to(x)
