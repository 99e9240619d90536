"""How :func:`pushforward.fit` trains, which explains each option, in groups that change together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..errors import positive_integers
from .schedule import OpenEnded, Schedule, duration, is_count

MOST_STEPS, MOST_EPOCHS = 20_000, 5  # of a run that ends by itself: whichever is longer
BATCH, MORE = 512, 4  # rows in such a step; up to this many times more steps if they use fewer rows
BLIND_EPOCHS = 200  # at most, if there are no held-out rows for early stopping


@dataclass(frozen=True)
class Length:
    """How long a run is: at most one of the first four is given, and ``limit`` only without them."""

    epochs: int | None = None
    steps: int | None = None
    budget: float | str | None = None
    more: float | str | None = None
    limit: float | str | None = None

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
        time = None if self.limit is None else duration(self.limit, "limit")
        if validates:
            return OpenEnded(lr, most, time, warmup=100)
        return Schedule(lr, min(most // 4, BLIND_EPOCHS * (steps_per_epoch or most)), time, warmup=100)

    def _check(self, steps_per_epoch: int | None) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None and name != "limit"}
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
