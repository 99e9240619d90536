"""Constants that a module keeps in single-precision buffers without losing the digits of double precision.

The sum of two single-precision numbers holds a double to 48 bits. Double-precision buffers would keep a
single-precision model from moving to devices without float64, and single-precision buffers would make a
double-precision model inexact.
"""

from __future__ import annotations

import torch
from torch import Tensor


def in_two_parts(values: Tensor) -> Tensor:
    """``(2, *shape)`` in single precision: the values, and their rounding residuals."""
    rounded = values.float()
    return torch.stack([rounded, (values - rounded).float()])


def joined(parts: Tensor, like: Tensor) -> Tensor:
    """The values in the dtype of another tensor."""
    return parts[0].to(like) + parts[1].to(like)
