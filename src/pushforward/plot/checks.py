"""How training went, and how the model fits held-out rows and images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .style import DATA, FAINT, MODEL, SMALL, legend, names_of, panel, rows_of, short
from .tables import few_bars, histogram


def curves(history: Sequence[Mapping[str, Any]], *, unit: str = "nats per row") -> Figure:
    """Training and validation loss against the step, with the best validation loss marked.

    Args:
        history: One mapping per record with ``step`` and, where they were measured, ``train_loss`` and
            ``validation_loss`` (mean negative log-likelihoods).
        unit: The unit of the losses.
    """
    figure, axes = panel(7.2, 3.2, "step", f"loss, {unit}")
    train, validation = _series(history, "train_loss"), _series(history, "validation_loss")
    axes.plot(*_thin(train).T, color=FAINT, lw=1, label="training data")
    if len(validation):
        axes.plot(*_thin(validation).T, color=DATA, lw=1.8, label="held back (validation)")
        step, loss = validation[validation[:, 1].argmin()]
        axes.plot([step], [loss], "o", ms=8, mfc="none", mec=MODEL, mew=2, label=f"best, at step {step:,.0f}")
    both = np.concatenate([train[:, 1], validation[:, 1]])
    if len(both):
        low, high = both.min(), np.quantile(both, 0.85)  # the first steps may tower above all others
        axes.set_ylim(low - 0.15 * (high - low) - 1e-3, high + 0.6 * (high - low) + 1e-3)
        axes.legend(frameon=False, fontsize=SMALL)
    return figure


def qq(latent: Any, *, lines: int = 12) -> Figure:
    """Quantiles of latents against those of N(0, 1): all dimensions pooled, and the first few as thin lines.

    Args:
        latent: Latents (n, dimensions).
        lines: The largest number of dimensions drawn individually.
    """
    latent = rows_of(latent)
    figure, axes = panel(4.2, 4.0, "quantile of the standard normal", "quantile of the latents")
    axes.axline((0, 0), slope=1, color=FAINT, lw=1, ls="--")
    for column in latent.T[:lines] if latent.shape[1] > 1 else ():
        axes.plot(*_normal_quantiles(column), color=DATA, lw=0.7, alpha=0.45)
    axes.plot(*_normal_quantiles(latent.ravel()), color=MODEL, lw=2, label="all dimensions together")
    axes.plot([], [], color=DATA, lw=0.9, label="single dimensions" if latent.shape[1] > 1 else "_")
    axes.plot([], [], color=FAINT, lw=1, ls="--", label="perfect agreement")
    axes.legend(frameon=False, fontsize=SMALL, loc="upper left")
    axes.set_xlim(-4, 4)
    axes.set_ylim(-5, 5)
    return figure


def coverage(levels: Any, covered: Any, error: Any, *, distance: Any = None) -> Figure:
    """Share of rows inside the model's highest-density regions against the share that should be there.

    Args:
        levels: Nominal levels between 0 and 1.
        covered: Observed share at each level; None to leave it out.
        error: Standard error of each share if the model were exact; the band is twice that.
        distance: Observed shares of regions around random points (TARP), drawn beside the others.
    """
    levels, error = (100 * np.asarray(v, dtype=float) for v in (levels, error))
    figure, axes = panel(4.2, 4.0, "region that should hold …% of rows", "… and holds this % of held-out rows")
    axes.fill_between(levels, levels - 2 * error, levels + 2 * error, color=FAINT, alpha=0.25, lw=0, label="± 2 s.e.")
    axes.plot([0, 100], [0, 100], color=FAINT, lw=1, ls="--", label="perfect calibration")
    if covered is not None:
        label = "held-out rows" if distance is None else "regions of highest density"
        axes.plot(levels, 100 * np.asarray(covered, dtype=float), "o-", color=MODEL, ms=5, lw=1.8, label=label)
    if distance is not None:
        shares = 100 * np.asarray(distance, dtype=float)
        axes.plot(levels, shares, "s-", color=DATA, ms=4, lw=1.4, label="regions around random points (TARP)")
    axes.legend(frameon=False, fontsize=SMALL, loc="upper left")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    return figure


def ranks(ranks: Any, draws: int, width: float, *, columns: Sequence[str] | None = None, lines: int = 12) -> Figure:
    """Distribution functions of the ranks of true values among draws, minus that of uniform ranks.

    A curve that rises above 0 on the left and falls below on the right indicates draws that are too narrow; one that
    is below 0 throughout, draws that are too low.

    Args:
        ranks: Whole numbers from 0 to ``draws``, (n, columns).
        draws: Number of draws among which values are ranked.
        width: Half-width of the band expected by chance, in standard errors; see
            :func:`pushforward.diagnostics.ranks.band`.
        columns: Names of the columns.
        lines: The largest number of columns drawn: those that deviate most.
    """
    ranks = rows_of(ranks)
    names, n = names_of(ranks, columns), len(ranks)
    u = np.arange(1, draws + 1) / (draws + 1)
    error = np.sqrt(u * (1 - u) / n)
    counts = np.stack([np.bincount(column.astype(int), minlength=draws + 1) for column in ranks.T])
    off = counts.cumsum(1)[:, :-1] / n - u  # (columns, draws)
    figure, axes = panel(7.2, 3.2, "rank of the truth among draws, as a share", "distribution function, minus uniform")
    axes.fill_between(u, -width * error, width * error, color=FAINT, alpha=0.25, lw=0, label="chance, 19 in 20")
    axes.axhline(0, color=FAINT, lw=1, ls="--")
    inside = np.abs(off / error).max(1)
    for j in np.argsort(-inside, kind="stable")[:lines]:
        outside = inside[j] > width
        label = short(names[j], 26) if outside else "_"
        axes.plot(u, off[j], color=MODEL if outside else DATA, lw=1.6 if outside else 1.0, alpha=0.8, label=label)
    axes.legend(frameon=False, fontsize=SMALL, loc="upper right")
    return figure


def densities(held_out: Any, sampled: Any) -> Figure:
    """Log-densities of held-out rows (filled) and of the model's own rows (outline).

    Args:
        held_out: Log-densities (n,), nats.
        sampled: Log-densities (m,) of rows drawn from the model, nats.
    """
    return compared(held_out, sampled, (0.005, 1.0), 60, "log-density of a row, nats")


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
    figure, axes = panel(7.2, 2.4, "value of a pixel (how often, on a logarithmic scale)")
    bars = min(count, 64)
    edges = np.linspace(-0.5, count - 0.5, bars + 1)
    histogram(axes, np.asarray(data).ravel(), np.asarray(samples).ravel(), edges)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    legend(figure, True)
    return figure


def compared(held_out: Any, sampled: Any, reach: tuple[float, float], bins: int, label: str) -> Figure:
    """One histogram of held-out values (filled) and of the model's own (outline), between two quantiles of both."""
    held_out, sampled = np.asarray(held_out, dtype=float), np.asarray(sampled, dtype=float)
    figure, axes = panel(7.2, 2.7, label)
    low, high = np.quantile(np.concatenate([held_out, sampled]), reach)
    pad = 0.03 * (high - low) + 1e-6
    bins = min(bins, few_bars(min(len(held_out), len(sampled))))
    histogram(axes, held_out, sampled, np.linspace(low - pad, high + pad, bins + 1))
    legend(figure, True)
    return figure


def _normal_quantiles(values: np.ndarray, most: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Theoretical and empirical quantiles at evenly spaced normal quantiles within the sample's range."""
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
