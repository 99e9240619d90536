"""Columns one by one and in pairs: the data beside the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from .style import DATA, MODEL, SMALL, clean, legend, names_of, rows_of, short, ticks

Texts = Mapping[int, Callable[[float], str]]


def marginals(
    data: Any,
    samples: Any = None,
    *,
    columns: Sequence[str] | None = None,
    steps: Mapping[int, float] | None = None,
    labels: Mapping[int, Sequence[str]] | None = None,
    texts: Texts | None = None,
    bins: int = 40,
    across: int = 4,
    called: tuple[str, str] = ("data", "the flow"),
) -> Figure:
    """One histogram per column: data filled, samples as an outline.

    Args:
        data: Rows (n, features).
        samples: Rows (m, features) of the model, or None.
        columns: Names of the columns.
        steps: For columns whose values lie on a grid, the spacing of its values (1 for whole numbers), by index:
            each value, or each few, then gets its own bar.
        labels: For columns of categories, encoded as 0, 1, …, their names, by index: the most common are shown.
        texts: For columns of dates and the like, what is written at a tick for its number, by index.
        bins: Bars of a continuous column.
        across: Panels per row.
        called: What the legend calls the two.
    """
    data, samples, names = rows_of(data), None if samples is None else rows_of(samples), names_of(data, columns)
    across = max(1, min(across, len(names)))
    down = math.ceil(len(names) / across)
    figure = Figure(figsize=(2.4 * across + 0.2, 1.75 * down + 0.35), layout="constrained")
    for j, name in enumerate(names):
        axes = clean(figure.add_subplot(down, across, j + 1))
        drawn = None if samples is None else samples[:, j]
        if labels and j in labels:
            _shares(axes, data[:, j], drawn, labels[j])
        else:
            edges = bin_edges(data[:, j], step=(steps or {}).get(j, 0.0), bins=bins)
            histogram(axes, data[:, j], drawn, edges, (texts or {}).get(j))
        axes.set_title(short(name, 26), fontsize=SMALL, parse_math=False)
    legend(figure, samples is not None, called=called)
    return figure


def corner(
    data: Any,
    samples: Any = None,
    *,
    columns: Sequence[str] | None = None,
    steps: Mapping[int, float] | None = None,
    texts: Texts | None = None,
    log_density: Any = None,
    mass: Sequence[float] = (0.5, 0.9),
    points: int = 500,
) -> Figure:
    """Every pair of columns: rows of the data as dots, the model's density as contours; histograms on the diagonal.

    Args:
        data: Rows (n, features); the first ``points`` of them are drawn.
        samples: Rows (m, features) of the model, or None.
        columns: Names of the columns.
        steps: For columns whose values lie on a grid, the spacing of its values, by index.
        texts: For columns of dates and the like, what is written at a tick for its number, by index.
        log_density: For two columns, a function of rows (k, 2) that gives exact log-densities for the contours;
            without it the contours come from the samples, smoothed.
        mass: Share of the model's rows that lies within each contour.
        points: Dots per panel.
    """
    data, samples, names = rows_of(data), None if samples is None else rows_of(samples), names_of(data, columns)
    size = len(names)
    side = 2.6 if size < 3 else 1.75
    figure = Figure(figsize=(side * size + 0.5, side * size + 0.5), layout="constrained")
    edges = [bin_edges(data[:, j], step=(steps or {}).get(j, 0.0), bins=30) for j in range(size)]
    for row in range(size):
        for column in range(row + 1):
            axes = clean(figure.add_subplot(size, size, row * size + column + 1))
            if row == column:
                histogram(axes, data[:, row], None if samples is None else samples[:, row], edges[row])
            else:
                axes.plot(*data[:points, [column, row]].T, ".", ms=2.4, color=DATA, alpha=0.55, mew=0)
                _pair_contours(axes, samples, log_density, (column, row), (edges[column], edges[row]), mass)
                axes.set_ylim(edges[row][0], edges[row][-1])
            axes.set_xlim(edges[column][0], edges[column][-1])
            _outer_labels(axes, names, row, column, texts or {})
    legend(figure, samples is not None, dots=size > 1)
    return figure


def few_bars(count: int) -> int:
    """The most bars for so many values: narrower ones are a comb."""
    return math.ceil(2 * math.sqrt(count))


def bin_edges(values: Any, *, step: float = 0.0, bins: int = 40, most: int = 60) -> np.ndarray:
    """Edges that show the bulk of the values: 99 in 100 of them, and a margin.

    Values on a grid get one bin each, centred on them, or one for every few if there are more than ``most``.
    """
    values = _seen(np.asarray(values, dtype=float))
    if not len(values):
        return np.linspace(0.0, 1.0, bins + 1)
    bins, most = min(bins, few_bars(len(values))), min(most, few_bars(len(values)))
    low, high = np.quantile(values, [0.005, 0.995]) if len(values) >= 200 else (values.min(), values.max())
    if step > 0:
        low = values.min() + np.floor((low - values.min()) / step) * step  # on the grid
        count = math.floor((high - low) / step + 0.5) + 1
        width = step * math.ceil(count / most)
        return low - 0.5 * step + width * np.arange(math.ceil(count * step / width - 1e-9) + 1)
    pad = 0.06 * (high - low) or 0.5 * max(abs(high), 1.0)
    return np.linspace(low - pad, high + pad, bins + 1)


def histogram(axes: Axes, data: np.ndarray, samples: np.ndarray | None, edges: np.ndarray, text: Any = None) -> None:
    axes.stairs(_heights(data, edges), edges, fill=True, color=DATA, alpha=0.4, lw=0)
    if samples is not None:
        axes.stairs(_heights(samples, edges), edges, color=MODEL, lw=1.5)
    axes.yaxis.set_major_locator(NullLocator())
    ticks(axes.xaxis, 4, text)
    axes.set_xlim(edges[0], edges[-1])
    axes.spines["left"].set_visible(False)


def _heights(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Heights of a histogram of area 1; missing values are left out."""
    values = _seen(values)
    return np.histogram(values, edges)[0] / np.diff(edges) / max(len(values), 1)


def _seen(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _shares(axes: Axes, data: np.ndarray, samples: np.ndarray | None, names: Sequence[str], most: int = 8) -> None:
    """Horizontal bars: how often each of the most common categories occurs, and all others together."""
    drawn = [] if samples is None else [samples]  # missing values are left out
    shares = [np.bincount(x[x >= 0].astype(int), minlength=len(names)) / max(len(_seen(x)), 1) for x in (data, *drawn)]
    order = np.argsort(-shares[0], kind="stable")
    shown = order if len(order) <= most else order[: most - 1]
    said = [short(names[code], 14) for code in shown]
    shares = [share[shown] for share in shares]
    if len(shown) < len(order):
        said.append(f"{len(order) - len(shown)} others")
        shares = [np.append(share, 1 - share.sum()) for share in shares]
    places = np.arange(len(said))
    axes.barh(places, shares[0], height=0.8, color=DATA, alpha=0.4, lw=0)
    if samples is not None:
        axes.barh(places, shares[1], height=0.8, fill=False, edgecolor=MODEL, lw=1.2)
    axes.set_yticks(places, said, fontsize=SMALL - 1.5, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.spines["left"].set_visible(False)


def _pair_contours(
    axes: Axes, samples: np.ndarray | None, log_density: Any, pair: tuple[int, int], edges: Any, mass: Sequence[float]
) -> None:
    if log_density is not None:
        x, y = (np.linspace(e[0], e[-1], 80) for e in edges)
        grid = np.stack(np.meshgrid(x, y), -1)
        density = np.exp(np.asarray(log_density(grid.reshape(-1, 2)), dtype=float).reshape(80, 80))
    elif samples is not None:
        drawn = samples[:, list(pair)]
        drawn = drawn[~np.isnan(drawn).any(1)]
        if not len(drawn):
            return
        x, y, density = smooth_density(drawn[:, 0], drawn[:, 1], edges)
    else:
        return
    levels = mass_levels(density, mass)
    if len(levels):
        axes.contour(x, y, density, levels=levels, colors=MODEL, linewidths=np.linspace(0.9, 1.6, len(levels)))


def smooth_density(x: np.ndarray, y: np.ndarray, edges: Sequence[np.ndarray], size: int = 64) -> Any:
    """A kernel density estimate on a grid: a fine histogram, blurred along both axes by less than Scott's rule."""
    axes = [np.linspace(e[0], e[-1], size + 1) for e in edges]
    density = np.histogram2d(x, y, bins=axes)[0].T
    for axis, values in ((1, x), (0, y)):
        cell = axes[1 - axis][1] - axes[1 - axis][0]
        low, high = np.quantile(values, [0.16, 0.84])
        width = max(0.3 * (high - low) * len(values) ** (-1 / 6) / cell, 0.7)
        reach = np.arange(-math.ceil(4 * width), math.ceil(4 * width) + 1)
        kernel = np.exp(-0.5 * (reach / width) ** 2)
        blurred = np.apply_along_axis(np.convolve, axis, density, kernel / kernel.sum())
        density = blurred.take(np.arange(len(reach) // 2, len(reach) // 2 + size), axis)
    centres = [0.5 * (a[1:] + a[:-1]) for a in axes]
    return centres[0], centres[1], density


def mass_levels(density: np.ndarray, mass: Sequence[float]) -> list[float]:
    """Heights of the contours that enclose the given shares of a density on a regular grid, ascending."""
    heights = np.sort(density[np.isfinite(density)])[::-1]
    total = np.cumsum(heights)
    if len(total) == 0 or not total[-1] > 0:
        return []
    return sorted({float(heights[np.searchsorted(total, m * total[-1])]) for m in mass} - {0.0, float(heights[0])})


def _outer_labels(axes: Axes, names: list[str], row: int, column: int, texts: Texts) -> None:
    ticks(axes.xaxis, 3, texts.get(column))
    if row == len(names) - 1:
        axes.set_xlabel(short(names[column], 22), fontsize=SMALL, parse_math=False)
    else:
        axes.tick_params(labelbottom=False)
    if row == column:
        return
    ticks(axes.yaxis, 3, texts.get(row))
    if column == 0:
        axes.set_ylabel(short(names[row], 22), fontsize=SMALL, parse_math=False)
    else:
        axes.tick_params(labelleft=False)
