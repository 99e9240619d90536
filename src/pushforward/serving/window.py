"""The rows that were scored last: figures of them for Prometheus, and a table to compare with the fitted one."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from .answers import Score

ROWS = 1_000  # as many as are saved with a model to be compared with
LONGEST = 1_000  # letters of a row that is kept
ODD = 5.0  # per cent


class Window:
    """The last rows that were scored whole, and their scores; its memory is bounded, however long the server runs."""

    def __init__(self) -> None:
        self.rows: deque[Mapping[str, Any]] = deque(maxlen=ROWS)
        self.scores: deque[Score] = deque(maxlen=ROWS)

    def add(self, rows: Sequence[Mapping[str, Any]], scores: Sequence[Score]) -> None:
        """Keeps rows, but those that have only some of the columns, or are very long."""
        for row, score in zip(rows[-ROWS:], scores[-ROWS:], strict=True):
            length = sum(len(cell) for cell in row.values() if isinstance(cell, str))
            if score.percentile is not None and length <= LONGEST:
                self.rows.append(row)
                self.scores.append(score)

    def collect(self) -> Iterator[Metric]:
        """The figures, as Prometheus' registry asks for them."""
        yield GaugeMetricFamily("pushforward_window_rows", "Rows that were scored last.", len(self.scores))
        if not self.scores:
            return
        density = [score.log_density for score in self.scores if math.isfinite(score.log_density)]
        percentile = [score.percentile or 0.0 for score in self.scores]
        for name, said, values in (
            ("log_density", "Mean log-density in nats, of those that are possible.", density),
            ("impossible", "The share that has density 0.", [s.log_density == -math.inf for s in self.scores]),
            ("percentile", "Mean percentile; about 50 while nothing has changed.", percentile),
            (
                "odd",
                "The share below percentile 5; about 0.05 while nothing has changed.",
                [p < ODD for p in percentile],
            ),
        ):
            yield GaugeMetricFamily(f"pushforward_window_{name}", said, sum(values) / max(len(values), 1))
