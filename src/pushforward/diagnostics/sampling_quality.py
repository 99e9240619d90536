"""The quality of draws as rows: whether a classifier tells them from real ones, and whether they copy training rows."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..errors import counted
from ..numerics.in_time import in_time

MOST = 2_000  # rows of each kind compared
MOST_TRAINING = 20_000  # training rows that draws are compared with
NEAR = 0.05  # share of the held-out rows that are this near to a training row
FOLDS, TREES = 5, 100  # of the classifier
SLACK = 0.01  # by how much the share of draws very near to a training row may exceed that of held-out rows
FEWEST = 20  # held-out rows needed for a classifier
TOO_WIDE = 0.1  # two standard errors of an area under the curve from which nothing is said of draws that look alike
FEW = 100  # rows below which nothing is said of draws that seem to copy nothing
ROUNDED = 1e-9  # squared distance that rounding may leave between equal rows
GONE = -1e300  # stands for a missing number: the classifier refuses a column of nothing else

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class SamplingQuality:
    """Draws of a model compared with rows that it has not seen.

    Attributes:
        told_apart: The cross-validated area under the ROC curve of a classifier that distinguishes draws from held-out
            rows: 0.5 if it cannot, 1 if it always can. None without scikit-learn, or with too few rows.
        told_apart_error: Its standard error.
        near_copies: The share of draws that are as near to a training row as the nearest held-out rows are.
        near_copies_expected: The share of held-out rows that are: the value for draws that copy nothing.
        rows: Numbers of draws and held-out rows compared.
    """

    told_apart: float | None
    told_apart_error: float | None
    near_copies: float
    near_copies_expected: float
    rows: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def sentences(self) -> list[str]:
        """The same in words."""
        near, expected = self.near_copies, self.near_copies_expected
        error = math.sqrt(2 * expected * (1 - expected) / self.rows)
        too_few = f"{counted(self.rows, 'row')} {'is' if self.rows == 1 else 'are'} too few to say whether they copy"
        copies = "draws are not copies" if self.rows >= FEW else too_few
        if near > expected + 4 * error:
            copies = "the model repeats training rows"
        as_near = f"as near to a training row as {expected:.1%} of the held-out rows are"
        lines = [f"{near:.1%} of the draws are {as_near}: {copies}"]
        if self.told_apart is None or self.told_apart_error is None:
            return lines
        score, noise = self.told_apart, 2 * self.told_apart_error
        tells = {0.5 + noise: "cannot tell", 0.65: "can hardly tell", 0.85: "often tells", 2.0: "tells nearly all"}
        meaning = f"a classifier {next(tells[most] for most in tells if score < most)} draws from held-out rows"
        if score < 0.5 + noise and noise > TOO_WIDE:
            meaning = f"{self.rows} held-out rows are too few to say whether a classifier can tell draws from them"
        return [f"{meaning} (area under its ROC curve {score:.3f} ± {noise / 2:.3f}; 0.5 is chance)", *lines]


def sampling_quality(
    train: Any, held_out: Any, drawn: Any, *, seed: int = 0, seconds: float = math.inf
) -> SamplingQuality:
    """Compares rows drawn from a model with held-out rows, and both with the rows that it was trained on.

    The classifier is scikit-learn's histogram-based gradient boosting, with five-fold cross-validation. The distance is
    Euclidean, with numbers in units of their spread over the training rows; two different texts are one unit apart.

    Args:
        train: A frame of polars, pandas or PyArrow, or an array ``(n, columns)``; missing cells are null or NaN.
        held_out: Rows that the model has not seen, with the same columns.
        drawn: Draws, ideally at least as many as held-out rows; the k-th may have been drawn given values of the k-th.
        seed: Seed of the choice of rows and of the folds.
        seconds: Time after which no further fold begins: the area is then that of fewer rows, and its error larger.

    Raises:
        ValueError: the columns differ, or one of the three has no rows.

    Reference:
        Lopez-Paz, Oquab (2017), Revisiting classifier two-sample tests, arXiv:1610.06545; distance to the closest
        record: Zhao et al. (2021), CTAB-GAN, arXiv:2102.08369.
    """
    seen, real, fake, texts = _compared(train, held_out, drawn, seed)
    rows = min(len(real), len(fake))
    real, fake = real[:rows], fake[:rows]
    score, error = _told_apart(real, fake, texts, seed, seconds)
    near, expected = _near_copies(seen, real, fake, texts)
    return SamplingQuality(score, error, near, expected, rows)


@dataclass(frozen=True)
class Closeness:
    """How near draws come to training rows, compared with rows that the model has not seen.

    Attributes:
        drawn: The share of draws that are as near to a training row as the nearest 1 % of training rows are to another.
        held_out: The share of held-out rows that are.
        median_drawn, median_held_out: Medians of the distance to the closest training row.
        error: The standard error of the difference of the shares, if draws are like held-out rows.
    """

    drawn: float
    held_out: float
    median_drawn: float
    median_held_out: float
    error: float = 0.0

    @property
    def private(self) -> bool:
        """Whether the share of draws this near exceeds that of held-out rows by at most 1 % and two errors."""
        return self.drawn <= self.held_out + SLACK + 2 * self.error

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"private": self.private}

    def sentence(self) -> str:
        """The same in words."""
        return (
            f"{self.drawn:.1%} of the draws and {self.held_out:.1%} of the held-out rows are as near to a training row "
            f"as the nearest 1% of training rows are to each other; the median distance to the closest is "
            f"{self.median_drawn:.3g} for draws, {self.median_held_out:.3g} for held-out rows"
        )


def closeness(train: Any, held_out: Any, drawn: Any, *, seed: int = 0) -> Closeness:
    """Distances to the closest training row: of draws, of held-out rows, and of training rows to each other.

    Distance, arguments and errors are those of :func:`sampling_quality`.
    """
    seen, real, fake, texts = _compared(train, held_out, drawn, seed)
    own = _distances(seen[:MOST], seen, texts, itself=True)
    far = [_distances(rows, seen, texts) for rows in (fake, real)]
    near = [part <= np.quantile(own, 0.01) for part in far]
    share = np.concatenate(near).mean()
    error = math.sqrt(share * (1 - share) * (1 / len(fake) + 1 / len(real)))
    drawn, held = (float(part.mean()) for part in near)
    medians = [float(np.sqrt(np.median(part))) for part in far]
    return Closeness(drawn, held, medians[0], medians[1], error)


def _compared(train: Any, held_out: Any, drawn: Any, seed: int) -> tuple[Numbers, Numbers, Numbers, list[int]]:
    """Some rows of each table as numbers, and the columns that hold texts."""
    given = {"train": (train, MOST_TRAINING), "held_out": (held_out, MOST), "drawn": (drawn, MOST)}
    tables = {name: _frame(rows, most, seed) for name, (rows, most) in given.items()}
    first = tables["train"]
    for name, table in tables.items():
        if table.columns != first.columns:
            raise ValueError(f"{name} has columns {table.columns}, but train has {first.columns}")
        if not table.height:
            raise ValueError(f"{name} has no rows")
    texts = [j for j, column in enumerate(first) if not column.dtype.is_numeric() and column.dtype != pl.Boolean]
    seen, real, fake = _as_numbers(list(tables.values()), texts)
    return seen, real, fake, texts


def _frame(rows: Any, most: int, seed: int) -> pl.DataFrame:
    """At most ``most`` of the rows, in random order."""
    frame = nw.from_native(rows, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        rows = frame.to_polars()
    else:
        values = np.asarray(rows, dtype=np.float64)
        if values.ndim != 2:
            expected = "rows must be a frame or an array (n, columns)"
            raise ValueError(f"{expected}, got an array of shape {values.shape}")
        rows = pl.DataFrame(values, schema=[f"x{j + 1}" for j in range(values.shape[1])])
    rows = rows[np.random.default_rng(seed).permutation(rows.height)[:most]]
    return rows.with_columns(c.to_physical() for c in rows if c.dtype.is_temporal())


def _as_numbers(tables: Sequence[pl.DataFrame], texts: Sequence[int]) -> list[Numbers]:
    """Texts become whole numbers, the same in all tables, 0 where one is missing; missing numbers are NaN."""
    types = {name: pl.String if j in texts else pl.Float64 for j, name in enumerate(tables[0].columns)}
    whole = pl.concat([table.cast(types) for table in tables])  # type: ignore[arg-type]
    codes = whole.with_columns(pl.col(pl.String).rank("dense").fill_null(0).cast(pl.Float64))
    return np.split(codes.fill_null(np.nan).to_numpy(order="c"), np.cumsum([table.height for table in tables])[:-1])


def _told_apart(
    real: Numbers, fake: Numbers, texts: Sequence[int], seed: int, seconds: float
) -> tuple[float | None, float | None]:
    """The area under the ROC curve and its standard error (Hanley, McNeil 1982)."""
    n, ends = len(real), time.monotonic() + seconds
    if n < FEWEST:
        return None, None
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import roc_auc_score
    except ImportError:
        return None, None
    few = [j for j in texts if len(np.unique(np.concatenate([real[:, j], fake[:, j]]))) <= 255]  # its own limit
    classifier = HistGradientBoostingClassifier(max_iter=TREES, categorical_features=few or None, random_state=seed)
    folds = np.tile(np.arange(n) % FOLDS, 2)  # a row and the draw given its values are in one
    x, y = np.nan_to_num(np.concatenate([real, fake]), nan=GONE), np.repeat([0, 1], n)
    chances = np.full(2 * n, np.nan)
    with threadpool_limits(1):  # small work
        for fold in in_time(range(FOLDS), ends):
            apart = folds == fold
            chances[apart] = classifier.fit(x[~apart], y[~apart]).predict_proba(x[apart])[:, 1]
    judged = ~np.isnan(chances)
    area, n = float(roc_auc_score(y[judged], chances[judged])), int(judged.sum()) // 2
    q = max(area, 1 - area)
    spread = q * (1 - q) + (n - 1) * (q / (2 - q) - q**2 + 2 * q**2 / (1 + q) - q**2)
    return area, math.sqrt(max(spread, 0.0)) / n


def _near_copies(seen: Numbers, real: Numbers, fake: Numbers, texts: Sequence[int]) -> tuple[float, float]:
    """The shares of draws and of held-out rows within the distance that ``NEAR`` of the held-out rows have."""
    distances = [_distances(rows, seen, texts) for rows in (real, fake)]
    radius = np.quantile(distances[0], NEAR) * (1 + 1e-9)
    return float((distances[1] <= radius).mean()), float((distances[0] <= radius).mean())


def _distances(rows: Numbers, seen: Numbers, texts: Sequence[int], itself: bool = False) -> Numbers:
    """The squared distance of every row to the nearest of ``seen``, whose first rows are the rows if ``itself``: then
    to the nearest other one. Numbers are in units of their spread over these; a cell missing in both counts as equal.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # from columns without any value
        centre, scale = np.nanmean(seen, 0), np.nanstd(seen, 0)
    scale[~(scale > 0)] = 1.0
    numbers, found = [j for j in range(rows.shape[1]) if j not in texts], []
    x, y = (np.nan_to_num((part - centre) / scale)[:, numbers] for part in (rows, seen))
    for at in np.array_split(np.arange(len(rows)), max(len(rows) // 100, 1)):
        apart = (x[at] ** 2).sum(1)[:, None] + (y**2).sum(1) - 2 * x[at] @ y.T
        for j in texts:
            apart += rows[at, j][:, None] != seen[:, j]
        if itself:
            apart[np.arange(len(at)), at] = np.inf
        least = apart.min(1)
        found.append(np.where(least < ROUNDED, 0.0, least))
    return np.concatenate(found)
