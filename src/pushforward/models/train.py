"""Training on behalf of the objects: encoded rows or images in, progress reported in sentences."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..objectives.divergences import Objective
from ..training.batches import Rows as Rows
from ..training.batches import Stream
from ..training.fit import Result, train
from ..training.options import FitOptions, Hardware, Length, Records, StepOptions
from .console import Console
from .options import TrainingOptions

GO_ON, LONGER = "`more='2m'`", "a longer `budget=`, from the start"  # of a fit, and of one that cannot be gone on with


def train_on(
    objective: Objective,
    rows: Rows | Stream,
    val: Rows,
    options: TrainingOptions,
    console: Console,
    *,
    batch_size: int,
    lr: float,
    clip: float = 5.0,
    fresh: bool = True,
    initialize: bool = True,
    most: int | None = None,
) -> Result:
    """Trains the flow of an objective in place; ``batch_size`` and ``lr`` are for a user who chose none, and it takes
    ``most`` steps at most if it ends by itself.

    A flow that is not ``fresh`` is trained further: it keeps its data-dependent parameters, and does not resume from
    checkpoints of an earlier training.
    """
    count = len(rows) if isinstance(rows, Rows) else rows.rows
    try:
        chosen = FitOptions(
            Length(options.epochs, options.steps, options.budget, limit=options.limit, most=most),
            StepOptions(
                min(options.batch_size or batch_size, count),
                lr if options.lr is None else options.lr,
                options.patience,
                clip,
                seed=options.seed,
            ),
            Hardware(options.device, options.threads, options.compile, options.shard),
            Records(
                options.checkpoint,
                options.checkpoint_every or 1000,
                "auto" if options.resume and fresh else False,
                console.talks and sys.stderr.isatty(),
                options.metrics,
            ),
            fresh and initialize,
        )
        result = train(objective, chosen, rows, val)
    except (ValueError, TypeError) as error:
        raise error if isinstance(error, InputError) else InputError(str(error)) from error
    if result.interrupted:
        console.note("stopped by Ctrl-C: the best weights so far are saved")
    if result.skipped_steps:
        console.note(f"{result.skipped_steps} batches were skipped because their loss was not finite")
    return result


def joined(earlier: Sequence[dict[str, Any]], later: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history of a continued training: steps, epochs and seconds are counted from its very beginning."""
    if not earlier:
        return list(later)
    last = earlier[-1]
    shifts = {name: last.get(name) or 0 for name in ("step", "epoch", "seconds")}
    moved = [{**line, **{n: line[n] + by for n, by in shifts.items() if line.get(n) is not None}} for line in later]
    return [*earlier, *moved]


def training_facts(result: Result, in_pieces: bool = False) -> dict[str, Any]:
    """The facts of a training for the summary; one on rows in pieces cannot be gone on with."""
    names = ("steps", "best_step", "best_validation_loss", "validation_se", "seconds", "skipped_steps", "interrupted")
    facts = {name: getattr(result, name) for name in (*names, "threads")} | {"verdict": result.verdict.to_json()}
    return {"verdict": result.verdict.with_advice(LONGER if in_pieces else GO_ON), "training": facts}
