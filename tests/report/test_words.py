"""Figures as a report writes them."""

from __future__ import annotations

from pushforward.report.words import factor


def test_a_small_lead_is_not_called_one_times_the_density() -> None:
    assert [factor(nats) for nats in (0.0254, 0.5, -3.0)] == ["about 1.03 times", "about 1.6 times", "about 20 times"]
