"""What may be chosen of a training, for tables and images alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..tables.errors import InputError
from ..training.schedule import duration


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

    def for_more(self, more: float | str) -> TrainingOptions:
        """The same for going on with a fitted model, for so many seconds, or as in ``2m``.

        Raises:
            InputError: it is no time.
        """
        try:
            seconds = duration(more, "more")
        except ValueError as error:
            raise InputError(str(error)) from None
        return replace(self, epochs=None, steps=None, limit=None, budget=seconds)
