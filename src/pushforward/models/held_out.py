"""Rows, or images, that a model was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class HeldOut:
    """The data that a model was not trained on, in the form that the model takes.

    Attributes:
        rows: Encoded rows, or images.
        numbers: Their positions in the file, or in its held-out part, from 0.
        train: The data that the model was trained on, if the file has them too.
    """

    rows: Any
    numbers: np.ndarray
    train: Any = None
