"""What all figures share: colours, unobtrusive axes, full numbers at the ticks, one legend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

DATA, MODEL, BEST, INK, FAINT = "#0072b2", "#d55e00", "#009e73", "#000000", "#808080"
SMALL = 8.5  # font size of figure text, in points


def short(name: str, length: int) -> str:
    """A name on one line, cut to ``length`` characters with an ellipsis."""
    name = " ".join(str(name).split())
    return name if len(name) <= length else name[: length - 1] + "…"


def rows_of(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    rows = np.asarray(values, dtype=float)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"rows must have shape (n, features) with n >= 1, got shape {rows.shape}")
    return rows


def names_of(data: np.ndarray, columns: Sequence[str] | None) -> list[str]:
    names = [f"x{j + 1}" for j in range(data.shape[1])] if columns is None else [str(c) for c in columns]
    if len(names) != data.shape[1]:
        raise ValueError(f"columns has {len(names)} names, but the data has {data.shape[1]} columns")
    return names


def panel(width: float, height: float, x: str, y: str = "") -> tuple[Figure, Axes]:
    """A figure of one panel, with what its axes say."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = clean(figure.add_subplot())
    axes.set_xlabel(x, fontsize=SMALL)
    axes.set_ylabel(y, fontsize=SMALL)
    return figure, axes


def clean(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL - 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_tick))
    axes.patch.set_visible(False)
    return axes


def ticks(axis: Axis, most: int, text: Callable[[float], str] | None = None) -> None:
    """So many ticks at most with their numbers; half as many with what the numbers stand for, such as dates."""
    axis.set_major_locator(MaxNLocator(most if text is None else most // 2))
    if text is not None:
        axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def _tick(value: float, position: int | None = None) -> str:
    """``0.25``, ``4500``, ``1.6×10⁶``: each label gives its number in full, without an offset beside the axis."""
    mantissa, _, exponent = f"{value:.6g}".replace("-", "\u2212").partition("e")
    if not exponent:
        return mantissa
    power = int(exponent.replace("\u2212", "-").replace("+", ""))
    return f"{mantissa}\u00d710{str(power).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def legend(figure: Figure, samples: bool, dots: bool = False, called: tuple[str, str] = ("data", "the flow")) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dot, patch = Line2D([], [], color=DATA, marker="o", ls="none", ms=3), Patch(color=DATA, alpha=0.4, lw=0)
    handles: list[Any] = [dot if dots else patch]
    handles[0].set_label(called[0])
    if samples:
        handles.append(Line2D([], [], color=MODEL, lw=1.5, label=called[1]))
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False, fontsize=SMALL)
