"""The machine on which a command runs: its devices, and what its memory can hold."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..errors import InputError

TRAINED = 16  # bytes of a weight in training: itself, its gradient and Adam's two moments, in float32


def device_named(name: str) -> str:
    """The device for a name: ``auto`` is the GPU if there is one; under torchrun, each process gets its own."""
    import torch  # which takes longer than all that the help of a command needs

    if name == "auto":
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):  # PyTorch raises an AssertionError if built without GPU support
        raise InputError("there is no such device here; use cpu", "device", name) from None
    return name


def refuse_beyond_memory(bytes: float, argument: str, value: Any) -> None:
    """Refuses what needs more memory than there is."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    if bytes > there:
        takes = f"takes {bytes / 2**30:,.0f} GiB of memory at least, and this machine has {there / 2**30:,.0f}"
        raise InputError(takes, argument, value)


def least_training(layers: int, hidden: Sequence[int]) -> float:
    """A lower bound on the memory that the training of a flow with such layers needs, in bytes."""
    return float(layers * TRAINED * sum(math.prod(pair) for pair in pairwise([1, *hidden, 1])))
