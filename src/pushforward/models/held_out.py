"""Rows, or images, that models were not trained on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .console import Console

if TYPE_CHECKING:
    from .base import FittedDensity


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


def held_out_of_all(
    models: Sequence[FittedDensity], data: Any, console: Console, drop_missing: bool = False
) -> list[HeldOut]:
    """The rows of a table, or the images, that none of several models was trained on, in the form that each takes.

    Raises:
        InputError: the data do not fit a model, or fewer than two are left.
    """
    found = [model.subject.held_out(data, console, drop_missing) for model in models]
    common = functools.reduce(np.intersect1d, [held.numbers for held in found])
    if len(common) < 2:
        paths = " and ".join(model.called for model in models)
        noun = models[0].subject.noun
        raise InputError(f"{data.path}: {paths} have {len(common)} held-out {noun} in common, and 2 are needed")
    shared = [np.flatnonzero(np.isin(held.numbers, common)) for held in found]
    return [HeldOut(held.rows[at], held.numbers[at], held.train) for held, at in zip(found, shared, strict=True)]
