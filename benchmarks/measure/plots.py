"""The figures of the benchmarks: curves and bars, with one colour for each library throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "pushforward": "#c1272d",
    "pushforward-compiled": "#f2a3a5",
    "pushforward-machine-code": "#7a1216",
    "zuko": "#1f77b4",
    "nflows": "#2ca02c",
    "normflows": "#9467bd",
    "flowjax": "#ff7f0e",
    "torchdiffeq": "#17becf",
    "torchdiffeq-adjoint": "#7f7f7f",
    "diffrax": "#8c564b",
}
Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def panels(rows: int, columns: int, *, width: float = 3.4, height: float = 2.7) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, [
        [figure.add_subplot(rows, columns, r * columns + c + 1) for c in range(columns)] for r in range(rows)
    ]


def curves(axes: Axes, of: Curves, title: str, xlabel: str, ylabel: str, *, log: bool = True) -> None:
    """A line for each library."""
    for library, (x, y) in of.items():
        bold = library.startswith("pushforward")
        axes.plot(x, y, "o-", color=COLOURS.get(library), label=library, lw=2 if bold else 1, ms=3)
    if log:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)


def bars(axes: Axes, of: Mapping[str, float], title: str, xlabel: str) -> None:
    """A bar for each library, longer is slower."""
    names = list(of)
    axes.barh(names, [of[name] for name in names], color=[COLOURS.get(name) for name in names])
    axes.invert_yaxis()
    axes.set(title=title, xlabel=xlabel)


def legend(figure: Figure, axes: Sequence[Sequence[Axes]]) -> None:
    """One legend for all panels."""
    found: dict[str, Any] = {}
    for each in (panel for row in axes for panel in row):
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(len(found), 5), frameon=False)
