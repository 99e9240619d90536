"""Figures: training curves, marginals, pairs, Q-Q and coverage. Each function returns a matplotlib ``Figure``.

Drawn with matplotlib's object interface alone: no pyplot, no window, no global setting changes. Colours are those of
Okabe and Ito, which people with any colour vision can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

DATA, MODEL, BEST, INK, FAINT = "#0072b2", "#d55e00", "#009e73", "#000000", "#808080"
SMALL = 8.5  # points, the size of figure text


def curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Training and validation loss against the step, with the best validation loss marked.

    Args:
        history: One mapping per record with ``step`` and, where they were measured, ``train_loss`` and
            ``validation_loss`` (mean negative log-likelihoods, nats per row).
    """
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = _clean(figure.add_subplot())
    train, validation = _series(history, "train_loss"), _series(history, "validation_loss")
    axes.plot(*_thin(train).T, color=FAINT, lw=1, label="training rows")
    if len(validation):
        axes.plot(*_thin(validation).T, color=DATA, lw=1.8, label="held-back rows (validation)")
        step, loss = validation[validation[:, 1].argmin()]
        axes.plot([step], [loss], "o", ms=8, mfc="none", mec=MODEL, mew=2, label=f"best, at step {step:,.0f}")
    both = np.concatenate([train[:, 1], validation[:, 1]])
    if len(both):
        low, high = both.min(), np.quantile(both, 0.85)  # the first steps may tower over all the others
        axes.set_ylim(low - 0.15 * (high - low) - 1e-3, high + 0.6 * (high - low) + 1e-3)
        axes.legend(frameon=False, fontsize=SMALL)
    axes.set_xlabel("step", fontsize=SMALL)
    axes.set_ylabel("loss, nats per row", fontsize=SMALL)
    return figure


def marginals(
    data: Any,
    samples: Any = None,
    *,
    columns: Sequence[str] | None = None,
    steps: Mapping[int, float] | None = None,
    bins: int = 40,
    across: int = 4,
) -> Figure:
    """One histogram per column: data filled, samples as an outline.

    Args:
        data: Rows (n, features).
        samples: Rows (m, features) of the model, or None.
        columns: Names of the columns.
        steps: For columns whose values lie on a grid, the distance of its values (1 for whole numbers), by index:
            each value then gets its own bar, or each few.
        bins: Bars of a continuous column.
        across: Figures per row.
    """
    data, samples, names = _rows(data), None if samples is None else _rows(samples), _names(data, columns)
    across = max(1, min(across, len(names)))
    down = math.ceil(len(names) / across)
    figure = Figure(figsize=(2.4 * across + 0.2, 1.75 * down + 0.35), layout="constrained")
    for j, name in enumerate(names):
        axes = _clean(figure.add_subplot(down, across, j + 1))
        edges = bin_edges(data[:, j], step=(steps or {}).get(j, 0.0), bins=bins)
        _histogram(axes, data[:, j], None if samples is None else samples[:, j], edges)
        axes.set_title(short(name, 26), fontsize=SMALL, parse_math=False)
    _legend(figure, samples is not None)
    return figure


def corner(
    data: Any,
    samples: Any = None,
    *,
    columns: Sequence[str] | None = None,
    steps: Mapping[int, float] | None = None,
    log_density: Any = None,
    mass: Sequence[float] = (0.5, 0.9),
    points: int = 500,
) -> Figure:
    """Every pair of columns: rows of the data as dots, the model's density as contours; histograms on the diagonal.

    Args:
        data: Rows (n, features); the first ``points`` of them are drawn.
        samples: Rows (m, features) of the model, or None.
        columns: Names of the columns.
        steps: For columns whose values lie on a grid, the distance of its values, by index.
        log_density: For two columns, a function of rows (k, 2) that gives exact log-densities for the contours;
            without it the contours come from the samples, smoothed.
        mass: Share of the model's rows that lies within each contour.
        points: Dots per panel.
    """
    data, samples, names = _rows(data), None if samples is None else _rows(samples), _names(data, columns)
    size = len(names)
    side = 2.6 if size < 3 else 1.75
    figure = Figure(figsize=(side * size + 0.5, side * size + 0.5), layout="constrained")
    edges = [bin_edges(data[:, j], step=(steps or {}).get(j, 0.0), bins=30) for j in range(size)]
    for row in range(size):
        for column in range(row + 1):
            axes = _clean(figure.add_subplot(size, size, row * size + column + 1))
            if row == column:
                _histogram(axes, data[:, row], None if samples is None else samples[:, row], edges[row])
            else:
                axes.plot(*data[:points, [column, row]].T, ".", ms=2.4, color=DATA, alpha=0.55, mew=0)
                _pair_contours(axes, samples, log_density, (column, row), (edges[column], edges[row]), mass)
                axes.set_ylim(edges[row][0], edges[row][-1])
            axes.set_xlim(edges[column][0], edges[column][-1])
            _outer_labels(axes, names, row, column, size)
    _legend(figure, samples is not None, dots=size > 1)
    return figure


def qq(latent: Any, *, lines: int = 12) -> Figure:
    """Quantiles of latents against those of N(0, 1): all dimensions pooled, and each of the first few thinly.

    Args:
        latent: Latents (n, dimensions).
        lines: At most so many dimensions are drawn on their own.
    """
    latent = _rows(latent)
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = _clean(figure.add_subplot())
    axes.axline((0, 0), slope=1, color=FAINT, lw=1, ls="--")
    for column in latent.T[:lines] if latent.shape[1] > 1 else ():
        axes.plot(*_normal_quantiles(column), color=DATA, lw=0.7, alpha=0.45)
    axes.plot(*_normal_quantiles(latent.ravel()), color=MODEL, lw=2, label="all dimensions together")
    axes.plot([], [], color=DATA, lw=0.9, label="single dimensions" if latent.shape[1] > 1 else "_")
    axes.plot([], [], color=FAINT, lw=1, ls="--", label="perfect agreement")
    axes.legend(frameon=False, fontsize=SMALL, loc="upper left")
    axes.set_xlabel("quantile of the standard normal", fontsize=SMALL)
    axes.set_ylabel("quantile of the latents", fontsize=SMALL)
    axes.set_xlim(-4, 4)
    axes.set_ylim(-5, 5)
    return figure


def coverage(levels: Any, covered: Any, error: Any) -> Figure:
    """Share of rows inside the model's highest-density regions against the share that should be there.

    Args:
        levels: Nominal levels between 0 and 1.
        covered: Observed share at each level.
        error: Standard error of each share if the model were exact; the band is twice that.
    """
    levels, covered, error = (100 * np.asarray(v, dtype=float) for v in (levels, covered, error))
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = _clean(figure.add_subplot())
    axes.fill_between(levels, levels - 2 * error, levels + 2 * error, color=FAINT, alpha=0.25, lw=0, label="± 2 s.e.")
    axes.plot([0, 100], [0, 100], color=FAINT, lw=1, ls="--", label="perfect calibration")
    axes.plot(levels, covered, "o-", color=MODEL, ms=5, lw=1.8, label="held-out rows")
    axes.legend(frameon=False, fontsize=SMALL, loc="upper left")
    axes.set_xlabel("region that should hold …% of rows", fontsize=SMALL)
    axes.set_ylabel("… and holds this % of held-out rows", fontsize=SMALL)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    return figure


def densities(held_out: Any, sampled: Any) -> Figure:
    """Log-densities of held-out rows (filled) and of the model's own rows (outline).

    Args:
        held_out: Log-densities (n,), nats.
        sampled: Log-densities (m,) of rows drawn from the model, nats.
    """
    held_out, sampled = np.asarray(held_out, dtype=float), np.asarray(sampled, dtype=float)
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    axes = _clean(figure.add_subplot())
    low, high = np.quantile(np.concatenate([held_out, sampled]), [0.005, 1.0])
    pad = 0.03 * (high - low) + 1e-6
    _histogram(axes, held_out, sampled, np.linspace(low - pad, high + pad, 61))
    axes.set_xlabel("log-density of a row, nats", fontsize=SMALL)
    _legend(figure, True)
    return figure


def short(name: str, length: int) -> str:
    """A name on one line, cut to ``length`` characters with an ellipsis."""
    name = " ".join(str(name).split())
    return name if len(name) <= length else name[: length - 1] + "…"


def bin_edges(values: Any, *, step: float = 0.0, bins: int = 40, most: int = 60) -> np.ndarray:
    """Edges that show the bulk of the values: 99 in 100 of them, and a margin.

    Values on a grid get one bin each, centred on them, or one for every few where there are more than ``most``.
    """
    values = np.asarray(values, dtype=float)
    low, high = np.quantile(values, [0.005, 0.995]) if len(values) >= 200 else (values.min(), values.max())
    if step > 0:
        low = values.min() + np.floor((low - values.min()) / step) * step  # on the grid
        count = math.floor((high - low) / step + 0.5) + 1
        width = step * math.ceil(count / most)
        return low - 0.5 * step + width * np.arange(math.ceil(count * step / width - 1e-9) + 1)
    pad = 0.06 * (high - low) or 0.5 * max(abs(high), 1.0)
    return np.linspace(low - pad, high + pad, bins + 1)


def _histogram(axes: Axes, data: np.ndarray, samples: np.ndarray | None, edges: np.ndarray) -> None:
    width = np.diff(edges)
    axes.stairs(np.histogram(data, edges)[0] / width / len(data), edges, fill=True, color=DATA, alpha=0.4, lw=0)
    if samples is not None:
        axes.stairs(np.histogram(samples, edges)[0] / width / len(samples), edges, color=MODEL, lw=1.5)
    axes.yaxis.set_major_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlim(edges[0], edges[-1])
    axes.spines["left"].set_visible(False)


def _pair_contours(
    axes: Axes, samples: np.ndarray | None, log_density: Any, pair: tuple[int, int], edges: Any, mass: Sequence[float]
) -> None:
    if log_density is not None:
        x, y = (np.linspace(e[0], e[-1], 80) for e in edges)
        grid = np.stack(np.meshgrid(x, y), -1)
        density = np.exp(np.asarray(log_density(grid.reshape(-1, 2)), dtype=float).reshape(80, 80))
    elif samples is not None:
        x, y, density = smooth_density(samples[:, pair[0]], samples[:, pair[1]], edges)
    else:
        return
    levels = mass_levels(density, mass)
    if len(levels):
        axes.contour(x, y, density, levels=levels, colors=MODEL, linewidths=np.linspace(0.9, 1.6, len(levels)))


def smooth_density(x: np.ndarray, y: np.ndarray, edges: Sequence[np.ndarray], size: int = 64) -> Any:
    """A kernel density estimate on a grid: a fine histogram, blurred along both axes, narrower than Scott would."""
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
    """Heights of the contours that enclose the given shares of the density on an even grid, ascending."""
    heights = np.sort(density[np.isfinite(density)])[::-1]
    total = np.cumsum(heights)
    if len(total) == 0 or not total[-1] > 0:
        return []
    return sorted({float(heights[np.searchsorted(total, m * total[-1])]) for m in mass} - {0.0, float(heights[0])})


def _normal_quantiles(values: np.ndarray, most: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Theoretical and empirical quantiles at evenly spread normal quantiles within the sample's reach."""
    import torch

    n = len(values)
    edge = float(torch.special.ndtri(torch.tensor(1 - 0.5 / n, dtype=torch.float64)))
    theory = np.linspace(-edge, edge, min(most, n))
    share = torch.special.ndtr(torch.from_numpy(theory)).numpy()
    return theory, np.quantile(values, share)


def _series(history: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    pairs = [(row["step"], row[key]) for row in history if row.get(key) is not None and math.isfinite(row[key])]
    return np.asarray(pairs, dtype=float).reshape(-1, 2)


def _thin(series: np.ndarray, most: int = 600) -> np.ndarray:
    return series[:: max(1, math.ceil(len(series) / most))]


def _rows(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    rows = np.asarray(values, dtype=float)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"rows must have shape (n, features) with n >= 1, got shape {rows.shape}")
    return rows


def _names(data: np.ndarray, columns: Sequence[str] | None) -> list[str]:
    names = [f"x{j + 1}" for j in range(data.shape[1])] if columns is None else [str(c) for c in columns]
    if len(names) != data.shape[1]:
        raise ValueError(f"columns has {len(names)} names, but the data has {data.shape[1]} columns")
    return names


def _clean(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL - 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_tick))
    axes.patch.set_visible(False)
    return axes


def _tick(value: float, position: int | None = None) -> str:
    """``0.25``, ``4500``, ``1.6×10⁶``: each label says its number in full, without an offset beside the axis."""
    mantissa, _, exponent = f"{value:.5g}".replace("-", "\u2212").partition("e")
    if not exponent:
        return mantissa
    power = int(exponent.replace("\u2212", "-").replace("+", ""))
    return f"{mantissa}\u00d710{str(power).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _outer_labels(axes: Axes, names: list[str], row: int, column: int, size: int) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(3))
    if row == size - 1:
        axes.set_xlabel(short(names[column], 22), fontsize=SMALL, parse_math=False)
    else:
        axes.tick_params(labelbottom=False)
    if row == column:
        return
    axes.yaxis.set_major_locator(MaxNLocator(3))
    if column == 0:
        axes.set_ylabel(short(names[row], 22), fontsize=SMALL, parse_math=False)
    else:
        axes.tick_params(labelleft=False)


def _legend(figure: Figure, samples: bool, dots: bool = False) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dot, patch = Line2D([], [], color=DATA, marker="o", ls="none", ms=3), Patch(color=DATA, alpha=0.4, lw=0)
    handles: list[Any] = [dot if dots else patch]
    handles[0].set_label("data")
    if samples:
        handles.append(Line2D([], [], color=MODEL, lw=1.5, label="the flow"))
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False, fontsize=SMALL)
