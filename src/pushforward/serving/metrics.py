"""The server's figures for Prometheus: requests and their times, rows, batches, memory, drift, the rows scored last."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric

from .verbs import Score

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = 1_000  # of the window: as many as are saved with a model to be compared with
LONGEST = 1_000  # letters of a row that is kept
ODD = 5.0  # per cent


class Metrics:
    """Figures of one server: sums, and the rows that were scored last, so that their memory does not grow."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.window = Window()
        self.registry.register(self.window)  # type: ignore[arg-type]
        there: dict[str, Any] = {"registry": self.registry}
        said = "Requests by their path and the answer's status."
        self.requests = Counter("pushforward_requests", said, ("path", "status"), **there)
        said = "From a request to its answer."
        self.seconds = Histogram("pushforward_request_seconds", said, ("path",), buckets=SECONDS, **there)
        self.rows = Counter("pushforward_rows", "Rows that were answered.", ("path",), **there)
        said = "Rows of requests scored together."
        self.batches = Histogram("pushforward_batch_rows", said, buckets=(1, 2, 4, 8, 16, 32, 64), **there)
        self.machine_code = Gauge("pushforward_machine_code", "1 once scores run in machine code.", **there)
        when = "when GET /drift was last asked."
        self.p_value = Gauge("pushforward_drift_p_value", f"That rows have not changed, {when}", **there)
        self.effect = Gauge("pushforward_drift_effect", f"Nats by which rows are less likely, {when}", **there)
        for gauge in (self.p_value, self.effect):
            gauge.set(math.nan)  # until then; 0 would be an alarm


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
        density, percentile = [score.log_density for score in self.scores], [s.percentile or 0.0 for s in self.scores]
        figures: dict[str, tuple[str, Sequence[float]]] = {
            "log_density": ("Mean log-density in nats, of those that are possible.", [*filter(math.isfinite, density)]),
            "impossible": ("The share that has density 0.", [one == -math.inf for one in density]),
            "percentile": ("Mean percentile; about 50 while nothing has changed.", percentile),
            "odd": ("The share below percentile 5; about 0.05 if nothing changed.", [p < ODD for p in percentile]),
        }
        for name, (said, values) in figures.items():
            yield GaugeMetricFamily(f"pushforward_window_{name}", said, sum(values) / max(len(values), 1))
