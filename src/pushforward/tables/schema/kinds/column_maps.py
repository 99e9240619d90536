"""A column's first map, under which it is likeliest as a Gaussian, and how that goes on beyond the outermost rows.

A candidate f is scored by the Gaussian log-likelihood of f(x), converted to the units of x by the mean log-slope of
f; constants common to all are omitted. Without bounds, a column is left alone unless log x or arsinh x gains at least
``GAIN`` nats a row. Bounds require a map that ends there: logit between two, log or inverse softplus above one. Of
many rows with two sharp ends, as of years and counters, it may be a logit that ends a little farther out: flows draw
within these ends from their start. From few rows, densities learn linear dependence, which it bends.

Of n rows, about 1/n of the probability lies beyond the outermost. What is there, few rows know; so there the map takes
the simplest form in which a normal z gives an exponential tail (:class:`~pushforward.transforms.Extended`), and the
outer rows set its scale: the mean by which the outermost square root of n of them exceed the next one, shrunk.

- The mean excess shrinks outwards in most columns, whence ``SHRUNK``.
- It is at most that of the map itself where it ends, but for logits and histograms. A logarithm or an arsinh that is
  steeper is bent down; others keep their slope, as linear dependence does not end with the rows.
- A bound is a hard end.

On rows left out of 160 tables, beyond the ends of the others, this is likelier than maps that go on for ever, and
unlike with these, draws of a few thousand rows stay within a range of the training rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ....transforms.base import Transform
from ....transforms.columns import Extended, Histogram
from ....transforms.compose import Compose
from ....transforms.elementwise import Asinh, Identity, InverseSoftplus, Log, Logit
from ....transforms.normalization import Standardize
from ..saved import Saved
from .base import Numbers, Partition

GAIN = 0.1  # nats a row that a first map must gain if none is required
SMALL = (0.05, 0.25, 0.5)  # quantiles of magnitudes: below one an arsinh is linear

_TRANSFORMS: dict[str, type[Transform]] = {"log": Log, "asinh": Asinh, "softplus": InverseSoftplus, "logit": Logit}
SHRUNK = 0.8  # of the outer rows' mean excess
FEWEST = 3  # outer rows
LEAST = 0.02  # standard deviations of the column: the smallest mean excess, unless cells are wider
AWAY = 1.5  # standard deviations of z: the hazard of a normal is taken there if an end is nearer
STRETCH = 0.05  # standard deviations of z, within which slopes change
STEEP = ("log", "asinh")  # maps whose inverse grows exponentially
ENDED = ("logit", "histogram")  # maps whose slope at their ends says nothing about what lies beyond
MANY, SHARP = 3000, 0.18  # rows; standard deviations, where the mean excess of the outer rows of a normal is 0.3
MARGIN = 0.5  # mean excesses beyond the outermost rows, where a logit ends
NEAR = 5.0  # mean excesses from the outermost rows, within which it begins at the bound

End = tuple[float, float, float]  # where it begins; dx/dz behind it, and the growth of that


@dataclass(frozen=True)
class FirstMap(Saved):
    """A column's own map, from its units to a suitable scale."""

    name: str  # ``log``, ``asinh``, ``softplus``, ``logit`` or ``histogram``
    # the map is applied to (x - loc) / scale; for a histogram, scale is that of tails of its own
    loc: float = 0.0
    scale: float = 1.0
    knots: tuple[tuple[float, float], ...] = ()  # for a histogram, its edges, each with the share of the rows below it

    def transform(self) -> Transform:
        """The map, with ``event_dim`` 0."""
        if self.knots:
            return Histogram([edge for edge, _ in self.knots], [share for _, share in self.knots], self.scale)
        f = _TRANSFORMS[self.name](event_dim=0)
        standardize = Standardize(torch.tensor(self.loc), torch.tensor(self.scale))
        return f if (self.loc, self.scale) == (0.0, 1.0) else Compose([standardize, f])

    def nats(self, x: Numbers) -> float:
        """The mean log-density of numbers that the map makes normal, less a constant."""
        z, log_slope = _mapped(self.transform(), x)
        return float(log_slope.mean() - np.log(z.std()))

    def __str__(self) -> str:
        x = f"(x {-self.loc:+.4g})" if self.loc else "x"
        return {
            "logit": f"logit from {self.loc:.4g} to {self.loc + self.scale:.4g}",
            "log": "log" if x == "x" else f"log{x}",
            "histogram": "normal by the shares of its values",
            "softplus": f"inverse softplus above {self.loc:.4g}",
            "asinh": f"arsinh({x} / {self.scale:.4g})",
        }[self.name]


def first_map_of(cells: Partition, x: Numbers, starts: list[float]) -> FirstMap | None:
    """The map that a column requires or is worth it, from the middles of its cells and where a logarithm may start."""
    low, high = cells.bounds or (-np.inf, None)
    lowest, alone = cells.lowest_edge(low), -np.log(x.std())
    if high is not None:
        return _logit(lowest, cells.highest_edge(high))
    if cells.bounds is None:
        maps = [*(FirstMap("log", start) for start in starts), *_arsinhs(x)]
    else:
        loc, scale = _outward(lowest, -np.inf), float(np.float32(x.std()))
        maps = [FirstMap("log", loc), FirstMap("softplus", loc, scale)]
    nats, wider = [f.nats(x) for f in maps], _a_little_wider(cells, x, lowest)
    if wider is not None and wider.nats(x) >= GAIN + max(*nats, alone):
        return wider
    return maps[int(np.argmax(nats))] if cells.bounds is not None or max(nats) >= GAIN + alone else None


def _a_little_wider(cells: Partition, x: Numbers, lowest: float) -> FirstMap | None:
    """A logit that ends a little beyond many rows with sharp ends; below, at the lowest possible edge if it is near."""
    if len(x) < MANY or max(excesses := _excesses(cells, np.sort(x))) > SHARP * x.std():
        return None
    below, above = excesses
    low = cells.lowest_edge(cells.minimum)
    low = low - MARGIN * below if low - lowest > NEAR * below else lowest
    return _logit(low, cells.highest_edge(cells.maximum) + MARGIN * above)


def _logit(low: float, high: float) -> FirstMap:
    loc = _outward(low, -np.inf)
    return FirstMap("logit", loc, _outward(high - loc, np.inf))


def _arsinhs(x: Numbers) -> list[FirstMap]:
    """About the middle; and about 0 for numbers of either sign, which may be of many magnitudes."""
    quarter, middle, three_quarters = np.quantile(x, [0.25, 0.5, 0.75])
    about_0 = np.quantile(np.abs(x[x != 0]), SMALL).clip(1e-15 * x.std()) if x.min() < 0 < x.max() else ()
    middles = [(middle, max(three_quarters - quarter, 1e-3 * x.std())), *((0.0, each) for each in about_0)]
    return [FirstMap("asinh", float(loc), float(scale)) for loc, scale in middles]


def _outward(value: float, towards: float) -> float:
    """The nearest float32 beyond a value: flows keep their constants in float32."""
    near = np.float32(value)
    beyond = near >= value if towards > 0 else near <= value
    return float(near if beyond else np.nextafter(near, np.float32(towards)))


@dataclass(frozen=True)
class Tails(Saved):
    """A column's tails.

    Args:
        low, high: Where each begins, its slope dx/dz, and the growth of the slope; None for a hard end.
        stretch: Of z, within which the first map's slope becomes the tail's.
    """

    low: End | None
    high: End | None
    stretch: float

    def around(self, first: Transform) -> Transform:
        """The first map with these tails."""
        return Extended(first, self.low, self.high, stretch=self.stretch)


def tails_of(first: FirstMap | None, cells: Partition, x: Numbers) -> Tails | None:
    """The tails of a column with these cells behind its first map, if it has one, from training rows without NaN; None
    if both its ends are hard."""
    f = Identity(event_dim=0) if first is None else first.transform()
    x = np.sort(cells.middles(x))
    z = np.sort(_mapped(f, x)[0])
    loc, scale = (0.0, 1.0) if isinstance(f, Histogram) else (z.mean(), z.std())
    if not (x.std() > 0 and scale > 0 and math.isfinite(scale)):
        return None
    name, edges = getattr(first, "name", None), zip(_edges(first, f, cells), _excesses(cells, x), strict=True)
    ends = [None if edge is None else _end(f, edge, excess, loc, scale, name) for edge, excess in edges]
    return None if ends == [None, None] else Tails(ends[0], ends[1], float(STRETCH * scale))


def _edges(first: FirstMap | None, f: Transform, cells: Partition) -> tuple[float | None, float | None]:
    """Where the tails begin: beyond the cells of all rows; None for a hard end."""
    if isinstance(f, Histogram):
        low, high = f.edges[[0, -1]].tolist()
        return low if f.cumulative[0] > 0 else None, high if f.cumulative[-1] < 1 else None
    bound, end = cells.bounds or (-np.inf, None)
    hard = first is not None and (first.name in ("log", "softplus") or first.loc <= cells.lowest_edge(bound))
    low, high = cells.lowest_edge(cells.minimum), cells.highest_edge(cells.maximum)
    return None if hard else low, high if end is None else None


def _end(f: Transform, edge: float, excess: float, loc: float, scale: float, name: str | None) -> End:
    place, log_slope = (float(v) for v in _mapped(f, np.array(edge)))
    own, away = math.exp(-log_slope) * scale, max(abs(place - loc) / scale, AWAY)
    hazard = away + 1 / away
    if name not in ENDED:
        excess = min(excess, own / hazard)
    slope = excess * hazard if name in (*STEEP, *ENDED) else own
    return edge, slope / scale, excess / scale**2


def _excesses(cells: Partition, x: Numbers) -> list[float]:
    """The means by which the lowest and the highest square root of n of sorted numbers exceed the next one, shrunk."""
    some = min(max(round(math.sqrt(len(x))), FEWEST), len(x) - 1)
    means = x[some] - x[:some].mean(), x[-some:].mean() - x[-some - 1]
    return [SHRUNK * max(float(mean), cells.step, LEAST * float(x.std())) for mean in means]


@torch.no_grad()
def _mapped(f: Transform, x: Numbers) -> tuple[Numbers, Numbers]:
    """The values of a map and their log-slopes."""
    z, log_slope = f(torch.as_tensor(x, dtype=torch.float64))
    return z.numpy(), log_slope.numpy()
