"""What the user sees of a run in progress: a bar on the terminal, and its history as JSON lines in a file."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .schedule import Schedule

SECONDS = "{desc}{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s{postfix}"


class Monitor:
    """A progress bar of steps or seconds, silent if there is no terminal, and a file of metrics."""

    def __init__(
        self, schedule: Schedule, bar: bool, metrics: str | Path | None, history: list[dict[str, Any]]
    ) -> None:
        self.budget = schedule.budget
        self.bar = tqdm(
            total=schedule.budget or schedule.steps,
            disable=None if bar else True,  # None: only on a terminal
            unit="step",
            dynamic_ncols=True,
            bar_format=SECONDS if schedule.budget else None,
        )
        self.metrics = None if metrics is None else Path(metrics)
        self._write("w", history)

    def show(self, step: int, seconds: float, loss: float | None, held_out: float | None) -> None:
        """Advances the bar; losses in nats."""
        if not self.bar.disable:
            self.bar.n = min(seconds, self.budget) if self.budget else step
            losses = {"loss": loss, "held out": held_out}
            self.bar.set_postfix({name: f"{value:.4g}" for name, value in losses.items() if value is not None})

    def record(self, line: dict[str, Any]) -> None:
        """Appends one line to the file."""
        self._write("a", [line])

    def close(self) -> None:
        self.bar.close()

    def _write(self, mode: str, lines: list[dict[str, Any]]) -> None:
        if self.metrics is None:
            return
        try:
            self.metrics.parent.mkdir(parents=True, exist_ok=True)
            with self.metrics.open(mode, encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        except OSError as error:
            self.metrics = None
            warnings.warn(f"the metrics are no longer written, training goes on: {error}", stacklevel=2)
