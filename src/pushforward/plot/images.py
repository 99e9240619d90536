"""What a model says of images, and how often it gives pixels each of their values."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .style import SMALL, clean, legend
from .tables import histogram


def bits(held_out: Any, sampled: Any) -> Figure:
    """Bits per dimension of held-out images (filled) and of the model's own (outline).

    Args:
        held_out: Bits per dimension (n,).
        sampled: Bits per dimension (m,) of images drawn from the model.
    """
    held_out, sampled = np.asarray(held_out, dtype=float), np.asarray(sampled, dtype=float)
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    axes = clean(figure.add_subplot())
    low, high = np.quantile(np.concatenate([held_out, sampled]), [0.0, 0.995])
    pad = 0.03 * (high - low) + 1e-6
    histogram(axes, held_out, sampled, np.linspace(low - pad, high + pad, 41))
    axes.set_xlabel("bits per dimension of an image", fontsize=SMALL)
    legend(figure, True)
    return figure


def levels(data: Any, samples: Any, count: int) -> Figure:
    """How often every value of a pixel occurs, in images of the data (filled) and of the model (outline).

    Args:
        data: Whole numbers from 0 to count - 1, of any shape.
        samples: Likewise.
        count: Values that a number can have.
    """
    figure = Figure(figsize=(7.2, 2.4), layout="constrained")
    axes = clean(figure.add_subplot())
    bars = min(count, 64)
    edges = np.linspace(-0.5, count - 0.5, bars + 1)
    histogram(axes, np.asarray(data).ravel(), np.asarray(samples).ravel(), edges)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("value of a pixel (how often, on a logarithmic scale)", fontsize=SMALL)
    legend(figure, True)
    return figure
