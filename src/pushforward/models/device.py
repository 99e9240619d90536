"""The device on which a command runs."""

from __future__ import annotations

import os

import torch

from ..errors import InputError


def device_named(name: str) -> str:
    """The device for a name: ``auto`` is the GPU if there is one; under torchrun, each process gets its own.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):  # PyTorch raises an AssertionError if built without GPU support
        raise InputError("there is no such device here; use cpu", "device", name) from None
    return name
