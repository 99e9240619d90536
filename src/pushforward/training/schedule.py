"""The numbers of a run: how long, how large the steps are, and when to look at the held-out rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

DEFAULT_STEPS = 5_000  # when nothing is said: enough for small tables, and then early stopping's best weights count


@dataclass(frozen=True)
class Settings:
    """Those arguments of :func:`fit` that are numbers, checked."""

    batch_size: int
    lr: float
    patience: int | None
    clip: float
    ema: float
    seed: int
    checkpoint_every: int
    validate_every: int | None

    def __post_init__(self) -> None:
        for name in ("batch_size", "patience", "checkpoint_every", "validate_every"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise ValueError(f"{name} must be an integer of at least 1, got {name}={value!r}")
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if not (value > 0 and (name == "clip" or math.isfinite(value))):
                raise ValueError(f"{name} must be positive, got {name}={value!r}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), got ema={self.ema!r}")


@dataclass(frozen=True)
class Schedule:
    """A short linear warm-up, then half a cosine down to zero over the steps or over the seconds.

    .. math:: \\mathrm{lr}(p) = \\mathrm{lr} \\cdot \\tfrac12 (1 + \\cos \\pi p), \\quad p = \\text{fraction of the run}

    Args:
        lr: The largest rate.
        steps: Length of the run in steps, or None where ``budget`` is given.
        budget: Length of the run in seconds.
        warmup: Steps of the warm-up.

    Reference:
        Loshchilov, Hutter (2017), SGDR, arXiv:1608.03983.
    """

    lr: float
    steps: int | None
    budget: float | None
    warmup: int

    def progress(self, step: int, seconds: float) -> float:
        """The fraction of the run that is over, at most 1."""
        done = step / self.steps if self.steps is not None else seconds / (self.budget or 1.0)
        return min(done, 1.0)

    def rate(self, step: int, progress: float) -> float:
        """The learning rate of a step."""
        return self.lr * min(1.0, (step + 1) / self.warmup) * 0.5 * (1 + math.cos(math.pi * progress))


def plan(
    lr: float, epochs: int | None, steps: int | None, budget: float | None, steps_per_epoch: int | None
) -> Schedule:
    """The schedule that the arguments of ``fit`` ask for.

    Raises:
        ValueError: more than one length is given, or one of them is not positive.
    """
    lengths = {"epochs": epochs, "steps": steps, "budget": budget}
    given = {name: value for name, value in lengths.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"give one of epochs, steps and budget, got {', '.join(f'{k}={v}' for k, v in given.items())}")
    for name, value in given.items():
        if not value > 0 or not math.isfinite(value) or (name != "budget" and value != int(value)):
            raise ValueError(f"{name} must be a positive {'number' if name == 'budget' else 'integer'}, got {value}")
    if epochs is not None and steps_per_epoch is None:
        raise ValueError(f"epochs={epochs}, but the objective draws its own samples: give steps or budget instead")
    if budget is not None:
        return Schedule(lr, None, float(budget), warmup=50)
    if epochs is not None and steps_per_epoch is not None:
        steps = epochs * steps_per_epoch
    if steps is None:  # at most 200 epochs of a small table, at least 5 of a large one
        steps = min(max(DEFAULT_STEPS, 5 * (steps_per_epoch or 0)), 200 * (steps_per_epoch or DEFAULT_STEPS))
    return Schedule(lr, int(steps), None, warmup=min(100, 1 + int(steps) // 20))


def validation_interval(schedule: Schedule, batch: int, held_out: int, steps_per_epoch: int | None) -> int:
    """Steps between two validations: one in every epoch or oftener, but at most about a tenth of the time.

    A held-out row costs one pass, a trained row about three.
    """
    tenth = math.ceil((schedule.steps or 2000) / 10)
    wanted = min(max(steps_per_epoch or 200, 20), 200, tenth)
    affordable = math.ceil(max(held_out, batch) / (0.3 * batch))
    return max(wanted, affordable)
