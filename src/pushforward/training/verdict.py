"""The outcome of a fit: converged, overfitting, or stopped while it was still improving."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .options import OpenEnded, Schedule, risen, smooth
from .records import Progress

LAST = 0.25  # of the steps at a constant rate: the part that judges the end of a run
MATTERS = 0.02  # nats over that part


@dataclass(frozen=True)
class Verdict:
    """How a fit ended.

    Attributes:
        kind: ``"converged"``, ``"overfitting"``, ``"improving"``, or ``"unknown"`` without held-out rows.
        step: For ``"overfitting"``: the step after which the held-out loss rose.
        nats_a_minute: For ``"improving"``: how fast the held-out loss was falling when time ran out.
        text: The same as a sentence.
    """

    kind: str
    step: int | None
    nats_a_minute: float | None
    text: str

    @property
    def done(self) -> bool:
        """Whether there is no reason to train further."""
        return self.kind != "improving"

    def with_advice(self, how: str) -> str:
        """The sentence, with advice on how to continue if that would help."""
        return self.text if self.done else f"{self.text}; go on with {how}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return self.with_advice("fit(..., more='2m')")


def judge(at: Progress, schedule: Schedule, stale: bool) -> Verdict:
    """The verdict on a run; ``stale`` if it ended because ``patience`` validations brought no improvement."""
    lines = [line for line in at.history if line["step"] >= at.start]
    losses = [line["validation_loss"] for line in lines]
    if at.best_loss is None or losses.count(None) == len(losses):
        text = "not known whether more training would help: no rows were held out"
        return Verdict("unknown", None, None, text)
    step = at.overfitting
    if step is None and len(lines) > 2 and risen(at.history, at.start):
        step = at.best_step
    if step is not None:
        text = f"overfitting from step {step:,} on, so the weights of step {at.best_step:,} are kept"
        return Verdict("overfitting", step, None, text)
    speed = None if at.plateau or stale else _nats_a_minute(lines, at, schedule)
    if speed is None:
        text = f"converged: the held-out loss has stopped improving (best at step {at.best_step:,} of {at.step:,})"
        return Verdict("converged", None, None, text)
    text = f"not done: it was still improving by {float(f'{speed:.2g}'):g} nats a minute when its time was over"
    return Verdict("improving", None, speed, text)


def _nats_a_minute(lines: list[dict[str, Any]], at: Progress, schedule: Schedule) -> float | None:
    """How fast the held-out loss was falling at the end, or None if it hardly was.

    A decaying rate lowers any loss at the end, however long the run. So whether more time would have helped is judged
    by the gain before that: in the second quarter of a cosine, or at the end of the part with a constant rate.
    """
    if isinstance(schedule, OpenEnded):
        if at.cooling is not None and len(lines) > 2:
            until = at.start + (at.step - at.start) * at.cooling / schedule.end(at.cooling)
            lines = [line for line in lines if line["step"] <= until] or lines
        return _fall(lines, 1 - LAST, 1.0)
    return _fall(lines, 0.5, 1.0) if _fall(lines, 0.25, 0.5) else None


def _fall(lines: list[dict[str, Any]], begin: float, end: float) -> float | None:
    """Nats a minute between two fractions of the steps; None if too little to matter."""
    losses, first, last = smooth([line["validation_loss"] for line in lines]), lines[0]["step"], lines[-1]["step"]

    def place(fraction: float) -> int:
        return max(i for i, line in enumerate(lines) if line["step"] <= first + fraction * (last - first))

    i, j = place(begin), place(end)
    if i == j:  # too few validations for that: use the nearest earlier or later one
        i, j = max(i - 1, 0), min(j + 1, len(lines) - 1) if i == 0 else j
    fell = losses[i] - min(losses[i + 1 : j + 1], default=losses[i])
    minutes = (lines[j]["seconds"] - lines[i]["seconds"]) / 60
    return fell / minutes if fell > MATTERS and minutes > 0 else None
