"""How :func:`pushforward.fit` trains, which explains each option, in groups that change together; and the schedule that
these give: the length of a run, its learning rate, and when the held-out rows are evaluated."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, positive_integers

if TYPE_CHECKING:
    import torch

MOST_STEPS, MOST_EPOCHS = 20_000, 5  # of a run that ends by itself: whichever is longer
BATCH, MORE = 512, 4  # rows in such a step; up to this many times more steps if they use fewer rows
BLIND_EPOCHS = 200  # at most, if there are no held-out rows for early stopping
PATIENCE = 1 / 3  # of the steps so far without improvement: a plateau
TOLERANCE = 0.01  # nats: anything less is no improvement
SPAN = 3  # validations in a moving mean
FEWEST = 20  # validations before a plateau; half of them after the best one
COOLING = 0.3  # of the steps so far
UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Schedule:
    r"""A short linear warm-up, then half a cosine down to zero over the steps or over the seconds of a ``budget``; if
    both are given, the run ends with whichever comes first.

    .. math:: \mathrm{lr}(p) = \mathrm{lr} \cdot \tfrac12 (1 + \cos \pi p), \quad p = \text{fraction of the run}

    Reference:
        Loshchilov, Hutter (2017), SGDR, arXiv:1608.03983.
    """

    lr: float
    steps: int | None
    budget: float | None
    warmup: int

    def progress(self, step: int, seconds: float) -> float:
        """The fraction of the run that has elapsed, at most 1."""
        steps, time = step / (self.steps or math.inf), seconds / (self.budget or math.inf)
        return min(max(steps, time), 1.0)

    def end(self, cooling: float | None) -> float:
        """The progress at which the run ends."""
        return 1.0

    def rate(self, step: int, progress: float, cooling: float | None = None) -> float:
        """The learning rate of a step."""
        return self.warm(step) * 0.5 * (1 + math.cos(math.pi * progress))

    def warm(self, step: int) -> float:
        """The peak rate, or less during the warm-up."""
        return self.lr * min(1.0, (step + 1) / self.warmup)


@dataclass(frozen=True)
class OpenEnded(Schedule):
    """A short warm-up, the peak rate until the held-out loss stops improving, then a cooling down to zero.

    Meanwhile weights are averaged over the last steps, so that the held-out loss does not reflect the noise of a
    constant rate. The cooling lasts ``COOLING`` times as long as the run has lasted. It begins at the plateau (see
    :func:`plateau`), or just in time to end at the ceiling: ``steps``, or ``budget`` if that is sooner.

    Reference:
        Hägele et al. (2024), Scaling laws and compute-optimal training beyond fixed training durations,
        arXiv:2405.18392.
    """

    def end(self, cooling: float | None) -> float:
        return 1.0 if cooling is None else min(cooling * (1 + COOLING), 1.0)

    def rate(self, step: int, progress: float, cooling: float | None = None) -> float:
        if cooling is None:
            return self.warm(step)
        return self.warm(step) * (self.end(cooling) - progress) / max(self.end(cooling) - cooling, 1e-12)

    @property
    def latest(self) -> float:
        """The progress at which cooling has to begin at the latest."""
        return 1 / (1 + COOLING)


def plateau(history: list[dict[str, Any]], start: int) -> bool:
    """Whether the held-out loss has stopped improving: the last third of the steps since ``start`` gained less than
    ``TOLERANCE``."""
    lines = [line for line in history if line["step"] >= start]
    if len(lines) < FEWEST:
        return False
    losses = smooth([line["validation_loss"] for line in lines])
    third = start + (lines[-1]["step"] - start) * (1 - PATIENCE)
    before = sum(line["step"] <= third for line in lines)
    before = min(before, len(lines) - FEWEST // 2)
    return min(losses[:before]) - min(losses[before:]) < TOLERANCE


def risen(history: list[dict[str, Any]], start: int) -> bool:
    """Whether the held-out loss has risen again."""
    losses = smooth([line["validation_loss"] for line in history if line["step"] >= start])
    return losses[-1] - min(losses) > 2 * TOLERANCE


def smooth(losses: list[float | None]) -> list[float]:
    """The mean of every loss and those just before it; non-finite losses count as infinite."""
    finite = [math.inf if loss is None else loss for loss in losses]
    span = min(SPAN, 1 + len(finite) // 8)  # if there are few validations, no smoothing
    return [sum(part := finite[max(i + 1 - span, 0) : i + 1]) / len(part) for i in range(len(finite))]


def is_count(value: Any) -> bool:
    """Whether a number of steps, epochs or rows is an integer of at least 1, of whatever type."""
    return isinstance(value, Real) and float(value).is_integer() and float(value) >= 1


def duration(value: float | str, name: str) -> float:
    """Seconds, from a number or a text such as 90s, 5m, 1.5h or 120."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]*)\s*", value.lower()) if isinstance(value, str) else None
    try:
        seconds = float(match[1]) * UNITS[match[2]] if match else float(value)
    except (ValueError, TypeError, KeyError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InputError("expected a positive number of seconds, or a time such as 90s, 5m or 1h", name, value)
    return seconds


def validation_interval(schedule: Schedule, batch: int, held_out: int, steps_per_epoch: int | None) -> int:
    """Steps between validations: one in every epoch or more often, but at most about a tenth of the time.

    A held-out row costs one pass, a training row about three.
    """
    if isinstance(schedule, OpenEnded):  # the curve decides, so evaluate it often while the run is young
        wanted = min(max(steps_per_epoch or 100, 10), 100)
    else:
        wanted = min(max(steps_per_epoch or 200, 20), 200, math.ceil((schedule.steps or 2000) / 10))
    affordable = math.ceil(max(held_out, batch) / (0.3 * batch))
    return max(wanted, affordable)


@dataclass(frozen=True)
class Length:
    """How long a run is: at most one of the first four is given; without, at most a ``limit`` and ``most`` steps."""

    epochs: int | None = None
    steps: int | None = None
    budget: float | str | None = None
    more: float | str | None = None
    limit: float | str | None = None
    most: int | None = None

    def schedule(self, lr: float, batch_size: int, steps_per_epoch: int | None, validates: bool) -> Schedule:
        """The schedule of a run."""
        self._check(steps_per_epoch)
        for name in ("budget", "more"):
            if getattr(self, name) is not None:
                return Schedule(lr, None, duration(getattr(self, name), name), warmup=50)
        steps = self.steps
        if self.epochs is not None and steps_per_epoch is not None:
            steps = self.epochs * steps_per_epoch
        if steps is not None:
            return Schedule(lr, int(steps), None, warmup=min(100, 1 + int(steps) // 20))
        longer = min(max(BATCH // batch_size, 1), MORE)
        most = max(MOST_STEPS * longer, MOST_EPOCHS * (steps_per_epoch or 0))
        most = min(most, self.most or most)
        time = None if self.limit is None else duration(self.limit, "limit")
        if validates:
            return OpenEnded(lr, most, time, warmup=100)
        return Schedule(lr, min(most // 4, BLIND_EPOCHS * (steps_per_epoch or most)), time, warmup=100)

    def _check(self, steps_per_epoch: int | None) -> None:
        lengths = {name: getattr(self, name) for name in ("epochs", "steps", "budget", "more")}
        given = {name: value for name, value in lengths.items() if value is not None}
        if len(given) > 1:
            raise ValueError(
                f"give one of epochs, steps, budget and more, got {', '.join(f'{k}={v}' for k, v in given.items())}"
            )
        if given and self.limit is not None:
            raise ValueError(
                f"limit is for a run that ends by itself: leave out limit={self.limit} or {next(iter(given))}"
            )
        for name in ("epochs", "steps"):
            if name in given and not is_count(given[name]):
                raise ValueError(f"{name} must be a positive integer, got {given[name]}")
        if self.epochs is not None and steps_per_epoch is None:
            raise ValueError(
                f"epochs={self.epochs}, but the objective draws its own samples: give steps or budget instead"
            )


@dataclass(frozen=True)
class StepOptions:
    """What a step is, and how often the run is validated; checked."""

    batch_size: int = BATCH
    lr: float = 1e-3
    patience: int | None = None
    clip: float = 5.0
    ema: float = 0.0
    seed: int = 0
    validate_every: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "patience", "validate_every"):
            if (count := getattr(self, name)) is not None:
                positive_integers(**{name: count})
                object.__setattr__(self, name, int(count))  # NumPy's overflow in seeds
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if not (value > 0 and (name == "clip" or math.isfinite(value))):
                raise ValueError(f"{name} must be positive, got {name}={value!r}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), got ema={self.ema!r}")


@dataclass(frozen=True)
class Hardware:
    """On what a run is computed: device, threads of a CPU, whether compiled, and whether weights are sharded."""

    device: str | torch.device = "auto"
    threads: int | str = "auto"
    compile: bool = False
    shard: bool = False


@dataclass(frozen=True)
class Records:
    """What a run leaves on disk and on the terminal."""

    checkpoint: str | Path | None = None
    checkpoint_every: int = 1000
    resume: str | bool = "auto"
    progress: bool = True
    metrics: str | Path | None = None

    def __post_init__(self) -> None:
        positive_integers(checkpoint_every=self.checkpoint_every)


@dataclass(frozen=True)
class FitOptions:
    """All of them, and whether to set data-dependent parameters from the first rows."""

    length: Length = field(default_factory=Length)
    steps: StepOptions = field(default_factory=StepOptions)
    where: Hardware = field(default_factory=Hardware)
    kept: Records = field(default_factory=Records)
    initialize: bool = True
