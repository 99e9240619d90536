"""The server's figures for Prometheus: requests and their times, rows, batches, memory, drift."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from .window import Window

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Figures of one server: sums, and the rows that were scored last, so that their memory does not grow."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.window = Window()
        self.registry.register(self.window)  # type: ignore[arg-type]
        self.requests = Counter(
            "pushforward_requests",
            "Requests by their path and the answer's status.",
            ("path", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "pushforward_request_seconds",
            "From a request to its answer.",
            ("path",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.rows = Counter("pushforward_rows", "Rows that were answered.", ("path",), registry=self.registry)
        self.batches = Histogram(
            "pushforward_batch_rows",
            "Rows of requests scored together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.p_value, self.effect = (
            Gauge(f"pushforward_drift_{name}", f"{said}, when GET /drift was last asked.", registry=self.registry)
            for name, said in (
                ("p_value", "That rows have not changed"),
                ("effect", "Nats by which rows are less likely"),
            )
        )

        for gauge in (self.p_value, self.effect):
            gauge.set(math.nan)  # until then; 0 would be an alarm

    def text(self) -> bytes:
        return generate_latest(self.registry)
