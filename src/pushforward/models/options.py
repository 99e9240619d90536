"""What may be chosen of a training, for tables and images alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..tables.errors import InputError
from ..training.schedule import duration, is_count


@dataclass(frozen=True)
class TrainingOptions:
    """The choices that go to :func:`pushforward.fit` as they are; ``None`` leaves a choice to the subject.

    Args:
        epochs, steps, budget: How long to train: passes over the rows, batches, or seconds; at most one of them.
        limit: Seconds at most, for a training that ends by itself.
        batch_size: Rows or images in a batch.
        lr: The learning rate.
        patience: Validations without an improvement after which training stops.
        seed: Of everything that is drawn at random.
        threads: How many the training uses, or ``auto``.
        device: ``cpu``, ``cuda`` or ``auto``.
        compile: Compile the flow first.
        checkpoint: The folder for the state of the training, or None to keep none.
        checkpoint_every: Steps between two states.
        resume: Go on from a state where there is one.
        metrics: A file for the history, one JSON object a line.
        shard: Divide weights, gradients and optimiser between the processes of torchrun.
    """

    epochs: int | None = None
    steps: int | None = None
    budget: float | None = None
    limit: float | None = None
    batch_size: int | None = None
    lr: float | None = None
    patience: int | None = None
    seed: int = 0
    device: str = "auto"
    threads: int | str = "auto"
    compile: bool = False
    checkpoint: Path | None = None
    checkpoint_every: int | None = None
    resume: bool = False
    metrics: Path | None = None
    shard: bool = False

    def check(self) -> None:
        """Refuses what no training can have.

        Raises:
            InputError: a number of steps, epochs, rows or validations is not a positive integer.
        """
        for name in ("epochs", "steps", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None and not is_count(value):
                raise InputError(f"--{name.replace('_', '-')} {value}: expected a positive integer")

    def for_more(self, more: float | str) -> TrainingOptions:
        """The same for going on with a fitted model, for so many seconds, or as in ``2m``.

        Raises:
            InputError: it is no time.
        """
        return replace(self, epochs=None, steps=None, limit=None, budget=seconds(more, "--more"))


def seconds(time: float | str, flag: str) -> float:
    """Of a time such as 90, ``"90s"``, ``"5m"`` or ``"1.5h"``.

    Raises:
        InputError: it is none, or not positive; names the flag.
    """
    try:
        return duration(time, flag)
    except ValueError:
        raise InputError(f"{flag} {time}: expected a time such as 90s, 5m or 1h") from None
