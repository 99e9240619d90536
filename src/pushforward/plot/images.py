"""A model's bits per dimension of images, and how often pixels take each value."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .checks import compared
from .style import SMALL, clean, legend
from .tables import histogram


def bits(held_out: Any, sampled: Any) -> Figure:
    """Bits per dimension of held-out images (filled) and of the model's own (outline).

    Args:
        held_out: Bits per dimension (n,).
        sampled: Bits per dimension (m,) of images drawn from the model.
    """
    return compared(held_out, sampled, (0.0, 0.995), 40, "bits per dimension of an image")


def levels(data: Any, samples: Any, count: int) -> Figure:
    """How often every pixel value occurs, in images of the data (filled) and of the model (outline).

    Args:
        data: Whole numbers from 0 to count - 1, of any shape.
        samples: Likewise.
        count: Number of possible values.
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
