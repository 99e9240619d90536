"""Placement of a recipe's model: its device and its dtype."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def placed(model: Model, device: torch.device | str | None, dtype: torch.dtype | None) -> Model:
    """The model on the device and in the dtype; None leaves either as it is.

    Raises:
        ValueError: ``dtype`` is not a real floating-point one.
    """
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating-point dtype, got dtype={dtype}")
    return model.to(device=device, dtype=dtype)
