"""The server's counters, for Prometheus: requests and their times, rows, batches, memory."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one server; only sums are kept, so their memory does not grow."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
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

    def text(self) -> bytes:
        return generate_latest(self.registry)
