"""Constants that a module keeps in buffers of single precision without losing the digits of double precision.

A double is the sum of two single numbers to 48 bits. Buffers of doubles would stop a model in single precision from
moving to devices that have none, and buffers of single numbers would make one in double precision inexact.
"""

from __future__ import annotations

import torch
from torch import Tensor


def in_two_parts(values: Tensor) -> Tensor:
    """``(2, *shape)`` in single precision: the values, and what is missing of them."""
    rounded = values.float()
    return torch.stack([rounded, (values - rounded).float()])


def joined(parts: Tensor, like: Tensor) -> Tensor:
    """The values in the dtype of another tensor."""
    return parts[0].to(like) + parts[1].to(like)
