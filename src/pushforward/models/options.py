"""The training options, for tables and images alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..training.schedule import duration, is_count


@dataclass(frozen=True)
class TrainingOptions:
    """The options that are passed on to :func:`pushforward.fit`; ``None`` leaves a choice to the subject.

    Args:
        epochs, steps, budget: How long to train: passes over the rows, batches, or seconds; at most one of them.
        limit: Maximum time in seconds, for a training that ends by itself.
        batch_size: Number of rows or images in a batch.
        lr: The learning rate.
        patience: Validations without an improvement after which training stops.
        seed: Seed for everything random.
        threads: Number of threads for training, or ``auto``.
        device: ``cpu``, ``cuda`` or ``auto``.
        compile: Compile the flow first.
        checkpoint: The folder for checkpoints, or None to keep none.
        checkpoint_every: Steps between checkpoints.
        resume: Resume from a checkpoint if there is one.
        metrics: A file for the history, one JSON object per line.
        shard: Shard weights, gradients and optimiser state between the processes of torchrun.
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
        """Refuses invalid options.

        Raises:
            InputError: a number of steps, epochs, rows or validations is not a positive integer.
        """
        for name in ("epochs", "steps", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None and not is_count(value):
                raise InputError("expected a positive integer", name, value)

    def for_more(self, more: float | str) -> TrainingOptions:
        """The options for training a fitted model further, for a time in seconds or as in ``2m``.

        Raises:
            InputError: it is no time.
        """
        return replace(self, epochs=None, steps=None, limit=None, budget=duration(more, "more"))
