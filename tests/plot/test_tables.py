"""Figures show what they are given, cope with odd columns, and leave matplotlib's settings alone."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest
import torch
from scipy import stats

from pushforward import plot
from pushforward.plot import tables

ROWS = np.random.default_rng(0).normal(size=(3000, 3))


def test_bins_of_whole_numbers_hold_one_value_each() -> None:
    values = np.repeat([2.0, 3.0, 5.0], [50, 30, 20])
    edges = tables.bin_edges(values, step=1.0)
    assert edges.tolist() == [1.5, 2.5, 3.5, 4.5, 5.5]
    assert np.histogram(values, edges)[0].tolist() == [50, 30, 0, 20]


def test_bins_of_a_wide_grid_are_whole_steps_and_even() -> None:
    values = np.round(np.random.default_rng(1).uniform(0, 50, 5000), 1)
    edges = tables.bin_edges(values, step=0.1)
    steps = np.diff(edges) / 0.1
    assert np.allclose(steps, np.round(steps))
    assert len(edges) <= 62


def test_bins_show_the_bulk_and_not_the_outlier() -> None:
    edges = tables.bin_edges(np.append(ROWS[:, 0], 1e6))
    assert -6 < edges[0] < -2 < 2 < edges[-1] < 6


def test_a_constant_column_has_bins_around_it() -> None:
    edges = tables.bin_edges(np.full(50, 7.0))
    assert edges[0] < 7 < edges[-1]


def test_contours_hold_their_share_of_a_gaussian() -> None:
    x = np.linspace(-5, 5, 200)
    density = np.exp(-0.5 * (x[:, None] ** 2 + x**2))
    (half,) = tables.mass_levels(density, [0.5])
    assert density.max() * 0.5 == pytest.approx(half, rel=0.03)  # the half-mass disc of N(0, I) ends at half its peak


def test_contours_of_nothing_are_none() -> None:
    assert tables.mass_levels(np.zeros((5, 5)), [0.5, 0.9]) == []
    assert tables.mass_levels(np.full((5, 5), np.nan), [0.5]) == []


def test_the_smoothed_density_is_close_to_the_true_one() -> None:
    edges = [np.linspace(-4, 4, 31)] * 2
    x, y, density = tables.smooth_density(*np.random.default_rng(2).normal(size=(2, 20_000)), edges)
    area = (x[1] - x[0]) * (y[1] - y[0])
    truth = stats.norm.pdf(x)[None] * stats.norm.pdf(y)[:, None]
    assert np.abs(density / density.sum() / area - truth).max() < 0.015


def test_the_curve_marks_the_lowest_validation_loss() -> None:
    history = [{"step": s, "train_loss": 5 - s, "validation_loss": (s - 2) ** 2 + 1.0} for s in range(5)]
    axes = plot.curves(history).axes[0]
    marked = next(line for line in axes.lines if line.get_label().startswith("best"))
    assert (marked.get_xdata()[0], marked.get_ydata()[0]) == (2, 1)


def test_a_history_with_gaps_and_none_at_all_can_be_drawn() -> None:
    gaps = [{"step": 0, "train_loss": float("nan")}, {"step": 1, "train_loss": 2.0, "validation_loss": None}]
    for history in (gaps, []):
        plot.curves(history).savefig(io.BytesIO())


def test_the_quantiles_of_normal_noise_lie_on_the_diagonal() -> None:
    axes = plot.qq(torch.from_numpy(ROWS)).axes[0]
    pooled = next(line for line in axes.lines if line.get_label() == "all dimensions together")
    middle = np.abs(pooled.get_xdata()) < 2
    assert np.abs(pooled.get_xdata() - pooled.get_ydata())[middle].max() < 0.1


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "0.25"), (4500, "4500"), (-1.6e6, "\u22121.6\u00d710⁶"), (3e-7, "3\u00d710⁻⁷")]
)
def test_labels_of_axes_say_their_numbers_in_full(value: float, text: str) -> None:
    axes = plot.densities([value, value + abs(value)], [value]).axes[0]
    assert axes.xaxis.get_major_formatter()(value) == text


@pytest.mark.parametrize(("drawn", "bars"), [(36, 12), (10_000, 40)])
def test_few_draws_are_shown_in_few_bars(drawn: int, bars: int) -> None:
    values = np.linspace(1.0, 2.0, 10_000)
    outline = plot.bits(values, values[:drawn]).axes[0].patches[-1]
    assert len(np.unique(outline.get_path().vertices[:, 0])) == bars + 1


@pytest.mark.parametrize("features", [1, 2, 3])
def test_marginals_and_corner_have_a_panel_for_each_column_and_pair(features: int) -> None:
    rows = ROWS[:, :features]
    names = ["$x_$", "<b>", "größe 价"][:features]
    marginals, corner = plot.marginals(rows, rows[::2], columns=names), plot.corner(rows, rows[::2], columns=names)
    assert [axes.get_title() for axes in marginals.axes] == names
    assert len(corner.axes) == features * (features + 1) // 2


def test_settings_of_matplotlib_are_untouched_and_no_window_opens() -> None:
    before = dict(matplotlib.rcParams)
    plot.corner(ROWS[:, :2], log_density=lambda x: stats.norm.logpdf(x).sum(-1)).savefig(io.BytesIO(), format="svg")
    plot.coverage([0.1, 0.9], [0.12, 0.88], [0.01, 0.01]).savefig(io.BytesIO())
    plot.densities(ROWS[:, 0], ROWS[:, 1]).savefig(io.BytesIO())
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("data", "columns", "says"),
    [(np.zeros(3), None, "shape"), (np.zeros((0, 2)), None, "n >= 1"), (np.zeros((3, 2)), ["a"], "1 names")],
)
def test_what_cannot_be_drawn_is_refused(data: np.ndarray, columns: list[str] | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plot.marginals(data, columns=columns)
