"""The entry point to training: :func:`fit` checks its arguments and returns a :class:`Result`; see also ``loop.py``."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..distributions.base import Density
from ..objectives.anyorder import likelihood
from ..objectives.divergences import Objective
from ..saving.bundle import CheckpointError
from .batches import Batches, Draws, Rows, Stream, StreamBatches, gather, held_out_rows
from .distributed import World, divided, join
from .loop import Training, TrainingError
from .options import FitOptions, Hardware, Length, Records, StepOptions
from .records import Monitor, Store
from .threads import StepThreads
from .verdict import Verdict, judge


@dataclass
class Result:
    """The result of :func:`fit`: the trained flow, with its best weights, and how training went.

    Attributes:
        flow: The given flow, trained in place.
        objective: The objective that was minimised.
        history: One dict per validation: step, epoch, seconds, train_loss, validation_loss, lr. Losses in nats.
        best_step: The step from which the flow's weights come.
        best_validation_loss: The held-out loss of these weights in nats, None without validation.
        validation_se: Its standard error, None for a single row.
        steps: Number of steps taken.
        seconds: Wall-clock time, summed over all resumed runs.
        skipped_steps: Number of steps skipped because the loss or the gradient was not finite.
        interrupted: Whether Ctrl-C ended the training.
        verdict: Whether it converged, overfitted, or was still improving when its time ran out.
        threads: Number of threads used by the last steps.
        train_index: Indices of the rows of x that were trained on.
        validation_index: Indices of the rows of x that were held out, None if none were.
    """

    flow: Density = field(repr=False)
    objective: Objective = field(repr=False)
    history: list[dict[str, Any]] = field(repr=False)
    best_step: int
    best_validation_loss: float | None
    validation_se: float | None
    steps: int
    seconds: float
    skipped_steps: int
    interrupted: bool
    verdict: Verdict
    threads: int
    train_index: Tensor | None = field(repr=False)
    validation_index: Tensor | None = field(repr=False)


def fit(
    flow_or_objective: Density | Objective,
    x: Tensor | Stream | None = None,
    context: Tensor | None = None,
    *,
    weights: Tensor | None = None,
    validation: float | Tensor | tuple[Tensor | None, ...] | None = 0.1,
    epochs: int | None = None,
    steps: int | None = None,
    budget: float | str | None = None,
    more: float | str | None = None,
    limit: float | str | None = None,
    batch_size: int = 512,
    lr: float = 1e-3,
    patience: int | None = None,
    seed: int = 0,
    threads: int | str = "auto",
    device: str | torch.device = "auto",
    compile: bool = False,
    initialize: bool = True,
    clip: float = 5.0,
    ema: float = 0.0,
    validate_every: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    resume: str | bool = "auto",
    progress: bool = True,
    metrics: str | Path | None = None,
    shard: bool = False,
) -> Result:
    """Trains a flow in place, by maximum likelihood or by another objective, and leaves it with its best weights.

    The best weights are those with the lowest held-out loss. Without a length, the run ends by itself: once the
    held-out loss stops improving, the learning rate decays to zero. The result's ``verdict`` says whether the fit is
    complete. The seed and a fixed number of ``threads`` make the result reproducible bit for bit on one machine, except
    if time ends the run; with ``threads="auto"`` two runs may differ in the last bits, because sums are divided among
    the threads. The global random state is not touched.

    Args:
        flow_or_objective: A density (trained by maximum likelihood) or an objective.
        x: Rows, ``(n, *event)``, of real numbers or whole ones; None for objectives that draw their own samples;
            or a :class:`~pushforward.training.batches.Stream` of rows with their contexts that do not fit in memory.
        context: The context of each row, ``(n, context features)``, or with more dimensions if the objective takes
            such contexts.
        weights: The weight of each row, ``(n,)``, in training and in validation: 2 is equivalent to the row twice.
        validation: A fraction of the rows to hold out (at most 20,000 of them), or held-out rows, or a tuple of
            rows, contexts and weights; 0 or None for none, and then the last weights are the best.
        epochs: Number of passes over the rows. Give at most one of ``epochs``, ``steps``, ``budget`` and ``more``;
            by default the run ends when it has converged, or after 20,000 steps (more if they use
            fewer than 512 rows), or 5 epochs if that is more.
            (Without validation: a quarter of that, at most 200 epochs.)
        steps: Number of mini-batches to train on.
        budget: How long to train, in seconds or as in ``"2m"``; the learning rate follows the time.
        more: How long to continue: from the checkpoint in ``checkpoint`` if there is one, else from the flow as it is.
        limit: The maximum time for a run that would end by itself.
        batch_size: The maximum number of rows, or the number of draws, in a step.
        lr: The peak learning rate, after the warm-up.
        patience: Validations without improvement after which to stop; None continues to the end.
        seed: Seed for the split, the shuffling and all random numbers of the objective.
        threads: How many threads a step may use on the CPU. ``"auto"`` tries, in the first steps and again if they
            become slow, which number is fastest, up to PyTorch's own; other threads of the program, and everything
            after the fit, keep theirs. Processes that train together share the cores; compiled flows do not try.
        device: ``"auto"`` uses a GPU if there is one. The flow stays there.
        compile: Compile the flow first, which pays off in long runs.
        initialize: Set data-dependent parameters from the first rows; False to continue from trained weights.
        clip: The maximum norm of a gradient; larger ones are scaled down.
        ema: Decay of an exponential moving average of the weights, which is validated and kept in their place: 0.999
            averages about a thousand steps. 0 for an average over the last tenth of the steps while the rate is high
            and over ever fewer as it falls, or without held-out rows for none.
        validate_every: Steps between validations; by default once an epoch or more often, in a tenth of the time.
        checkpoint: A directory for checkpoints; a run that was killed resumes from there bit for bit.
        checkpoint_every: Steps between checkpoints; the last two are kept.
        resume: ``"auto"`` resumes from a checkpoint if one exists and otherwise starts afresh, True requires one, False
            starts afresh and removes old checkpoints.
        progress: Show a bar with loss and remaining time, if there is a terminal.
        metrics: A file for the history, one JSON object per line.
        shard: If several processes train together, shard weights, gradients and optimiser state between them (FSDP2)
            instead of replicating them (DDP): for models that do not fit on one device.

    Raises:
        ValueError: an argument is out of range or does not fit the flow; the sentence names it.
        TrainingError: the loss is not finite again and again; the flow has its best weights so far.
        CheckpointError: the states in ``checkpoint`` belong to another run, or there are none and ``resume=True``.

    Example:
        >>> import torch, pushforward as pf
        >>> result = pf.fit(pf.realnvp(2, layers=2, hidden=(16,)), torch.randn(500, 2), steps=50)
        >>> result.steps, len(result.validation_index)
        (50, 50)
    """
    options = FitOptions(
        Length(epochs, steps, budget, more, limit),
        StepOptions(batch_size, lr, patience, clip, ema, seed, validate_every),
        Hardware(device, threads, compile, shard),
        Records(checkpoint, checkpoint_every, resume, progress, metrics),
        initialize,
    )
    rows = Rows(x, context, weights) if x is not None and not isinstance(x, Stream) else x
    if not isinstance(rows, Rows) and (context is not None or weights is not None):
        raise ValueError("x, context and weights must be left out, or x be rows: a stream gives its own context")
    held = validation if validation is None or isinstance(validation, int | float) else _held_out(validation)
    return train(flow_or_objective, options, rows, held)


def _held_out(validation: Any) -> Rows:
    """Held-out rows, alone or with their contexts and weights."""
    parts = validation if isinstance(validation, tuple | list) else (validation,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(f"validation must be rows, or rows, contexts and weights, got {len(parts)} parts")
    return Rows(*parts)


def train(
    flow_or_objective: Density | Objective,
    options: FitOptions,
    rows: Rows | Stream | None = None,
    validation: float | Rows | None = 0.1,
) -> Result:
    """:func:`fit`, with its arguments in groups."""
    where, kept, steps = options.where, options.kept, options.steps
    objective = flow_or_objective if isinstance(flow_or_objective, Objective) else likelihood(flow_or_objective)
    if not any(p.requires_grad for p in objective.parameters()):
        raise ValueError("flow_or_objective has no parameters to train")
    device = _device(where.device)
    objective.to(device)
    world = join(device, where.shard)
    if world.shard and where.compile:
        raise ValueError("shard=True and compile=True cannot be combined: leave one of them out")
    chosen = StepThreads(where.threads, world, measures=device.type == "cpu" and not where.compile)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), chosen:
        source, *indices = _source(objective, rows, validation, steps, world)
        schedule = options.length.schedule(steps.lr, steps.batch_size, source.steps_per_epoch, bool(source.held_out))
        if where.compile:
            objective.flow.compile()
        further = options.length.more is not None
        if options.initialize and not further and not isinstance(source, Draws):
            objective.flow.initialize(*_as_weighted(*source.first(objective.first_rows)))
        trained = divided(objective, device) if world.shard else objective
        run = Training(trained, source, schedule, steps, world, chosen)
        store = _resume(run, kept)
        if further:
            run.go_on()
        run.start()
        first = world.rank == 0
        monitor = Monitor(schedule, kept.progress and first, kept.metrics if first else None, run.at.history)
        interrupted = False
        try:
            run.loop(store, monitor)
        except KeyboardInterrupt:
            interrupted = True
        except TrainingError as error:
            error.flow = objective.flow
            raise
        finally:
            monitor.bar.close()
            run.keep_best(objective)
    return _result(run, objective, interrupted, *indices)


def _as_weighted(
    x: Tensor, context: Tensor | None = None, weights: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """A batch whose distribution reflects its weights: rows resampled in proportion to them."""
    if weights is None:
        return x, context
    drawn = torch.multinomial(weights, len(x), replacement=True)
    return x[drawn], None if context is None else context[drawn]


def _result(run: Training, objective: Objective, interrupted: bool, *indices: Tensor | None) -> Result:
    at, (train_index, validation_index) = run.at, indices
    if run.source.held_out and at.best_loss is None:
        error = TrainingError(
            "the held-out loss was never finite, so there are no best weights: the flow gives some held-out rows no "
            "density at all"
        )
        error.flow = objective.flow
        raise error
    return Result(
        flow=objective.flow,
        objective=objective,
        history=at.history,
        best_step=at.best_step,
        best_validation_loss=at.best_loss,
        validation_se=at.best_error,
        steps=at.step,
        seconds=at.seconds,
        skipped_steps=at.skipped,
        interrupted=interrupted,
        verdict=judge(at, run.schedule, at.stale >= run.patience),
        threads=run.threads.number,
        train_index=train_index,
        validation_index=validation_index,
    )


def _source(
    objective: Objective,
    rows: Rows | Stream | None,
    validation: float | Rows | None,
    steps: StepOptions,
    world: World,
) -> tuple[Batches | StreamBatches | Draws, Tensor | None, Tensor | None]:
    """The source of the steps' inputs, and the indices of the training and the held-out rows."""
    name, size = type(objective).__name__, steps.batch_size
    if not objective.uses_data:
        if rows is not None:
            raise ValueError(f"x, context and weights must be left out: {name} draws its own samples")
        if isinstance(validation, Rows):
            raise ValueError(f"validation must be a number or None, since {name} draws its own samples")
        return Draws(bool(validation), batch_size=size, world=world), None, None
    if rows is None:
        raise ValueError(f"x is missing: {name} learns from rows")
    if isinstance(rows, Rows):
        if rows.weights is not None and "weights" not in inspect.signature(objective.forward).parameters:
            raise ValueError(
                f"weights: {name} does not weigh rows; give its forward(x, context, weights) a third argument"
            )
        return gather(objective, rows, validation, steps, world)
    if validation and not isinstance(validation, Rows):
        raise ValueError(f"a stream is not divided: give held-out rows, or None, instead of validation={validation}")
    held_out = held_out_rows(objective, validation)
    return StreamBatches(rows, objective.flow, held_out, batch_size=size, world=world), None, None


def _resume(run: Training, kept: Records) -> Store:
    """The checkpoints on disk; the run resumes from one of them if requested."""
    world, checkpoint = run.world, kept.checkpoint
    identity = run.identity() if checkpoint is not None or world.together else {}
    world.agree(identity.get("checksum", 0), "rows")
    store = Store(checkpoint, kept.checkpoint_every, identity, world)
    state = store.resume(kept.resume)
    world.agree(0 if state is None else state[0].step, f"states in checkpoint={checkpoint}")
    if state is not None:
        try:
            run.restore(*state)
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"the state in checkpoint={checkpoint} does not fit this run: {error!s:.200}"
            ) from None
    return store


def _device(device: str | torch.device) -> torch.device:
    auto = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    return torch.device(auto if device == "auto" else device)
