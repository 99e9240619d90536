"""The options that tables, images and targets share, and how an object or the shell makes them from what it is told.

Each option is declared once, as a field: the shell flattens the classes into options of a command, with these
docstrings as its help, and the objects take them as keywords.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, TypeVar

from cyclopts import Parameter

from ..errors import InputError, positive_integers, refuse_large_flow
from ..training.options import duration, is_count
from .typed import Flag, Names, Seconds, Unasked, Whole, Widths

Options = TypeVar("Options")
MOST_LAYERS = 1000  # several times as many as the deepest flows that are known
RENAMED = {"random_state": "seed", "model": "flow"}  # keywords of objects that name an option otherwise


@Parameter(name="*", group="The flow")
@dataclass(frozen=True)
class FlowOptions:
    """Which density is fitted, and what it is conditioned on.

    Args:
        flow: auto (the default: for up to 3,000 rows an average of flows, Gaussians and mixtures, for more the best of
            nsf, a mixture and, where nsf overfits, that average), nsf (the best single density), nsf-coupling (quick to
            sample too), maf, iaf, realnvp, ffjord (slow, smooth), bnaf, residual, or gmm, a mixture of Gaussians;
            nsf-linear and maf-linear mix the columns, as suits pixels. For images glow (the default where it can halve
            them), realnvp, tarflow (a transformer), or pixelcnn (slow to sample).
        layers: Layers of the flow, at most 1,000, for glow on each scale; more fit better and run slower.
        hidden: Widths of its hidden layers, as in 128,128; for images one width.
        given: Columns to condition on: the density is that of the others given these. For images, class: the folder
            that each lies in, the array labels of the .npz, or the idx file of labels.
    """

    flow: str = "auto"
    layers: Whole | None = None
    hidden: Widths = None
    given: Names = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "given", as_names(self.given))
        object.__setattr__(self, "hidden", (int(self.hidden),) if isinstance(self.hidden, Integral) else self.hidden)
        if self.layers is not None:
            positive_integers(layers=self.layers)
            if self.layers > MOST_LAYERS:
                raise InputError(f"expected at most {MOST_LAYERS:,}", "layers", self.layers)
        if self.hidden:
            weights = sum(math.prod(pair) for pair in pairwise([1, *self.hidden, 1]))  # of a layer, at least
            refuse_large_flow((self.layers or 1) * weights, self.hidden)


@Parameter(name="*", group="A log-density instead of data")
@dataclass(frozen=True)
class DensityOptions:
    """What only a target takes: a density known up to a constant.

    Args:
        target: A log-density in Python, as module:function: it maps (n, D) to (n,), in nats.
        dim: D, how many numbers the target takes.
        support: Where these numbers live, as in real:9,positive:1; kinds are real, positive, unit, simplex and ordered.
        anneal: Steps over which the target comes in, for one with several modes.
        modes: For a target that may have several modes: search for them, start over all, and search again.
    """

    target: str | None = None
    dim: Whole | None = None
    support: str | None = None
    anneal: Whole = 0
    modes: Literal["search"] | None = None


@Parameter(name="*", group="Training")
@dataclass(frozen=True)
class TrainingOptions:
    """How a density is trained; ``None`` leaves a choice to what it describes.

    Args:
        epochs: Passes over the training rows; at most one of epochs, steps and budget.
        steps: Batches to train on.
        budget: Time for all of a fit, as in 90s, 5m or 1h: of a table, guide and figures included.
        limit: The longest time for a training that would end by itself.
        batch_size: Rows in a batch [default: 512, images 64; 128 of a table on a processor, if neither steps nor
            epochs are given].
        lr: The learning rate [default: 0.003 for tables by splines and for images, else 0.001; the small flows that
            are averaged for few rows choose theirs].
        patience: Stop after this many validations without an improvement.
        seed: Fixes everything that is drawn at random.
        device: cpu, cuda, or auto: the GPU if there is one.
        threads: How many threads of the CPU a step of the training uses; auto tries which number is quickest, with a
            number the seed fixes the model bit for bit.
        compile: Compile the flow first: slower to start, faster to train.
        checkpoint: The folder for checkpoints.
        checkpoint_every: Save the state of the training every so many steps, beside the model, in MODEL.training.
        resume: Go on from MODEL.training if it exists, or else with the model itself if there is one, as with
            --budget 2m; start afresh if there is neither. What has had its steps or epochs is left as it is.
        metrics: A file for the training's progress, one JSON object a line.
        shard: Under torchrun, divide weights, gradients and optimiser between the processes (FSDP2), for models that
            are too large for one.
    """

    epochs: Whole | None = None
    steps: Whole | None = None
    budget: Seconds = None
    limit: Seconds = None
    batch_size: Whole | None = None
    lr: float | None = None
    patience: Whole | None = None
    seed: Whole = 0
    device: str = "auto"
    threads: int | str = "auto"
    compile: Flag = False
    checkpoint: Unasked = None
    checkpoint_every: Whole | None = None
    resume: Flag = False
    metrics: Path | None = None
    shard: Flag = False

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch_size", "patience", "checkpoint_every"):
            if getattr(self, name) is not None and not is_count(getattr(self, name)):
                raise InputError("expected a positive integer", name, getattr(self, name))
        if self.threads != "auto" and not is_count(self.threads):
            raise InputError("expected auto, or a number of at least 1", "threads", self.threads)
        object.__setattr__(self, "seed", check_seed(self.seed, lowest=0))
        for name in ("budget", "limit"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, duration(getattr(self, name), name))

    def for_more(self, more: float | str) -> TrainingOptions:
        """The options for training a fitted model further, for a time in seconds or as in ``2m``."""
        return replace(self, epochs=None, steps=None, limit=None, budget=duration(more, "more"))

    def beside(self, output: Path) -> TrainingOptions:
        """The same, with checkpoints beside a model's folder if any are asked for."""
        wanted = self.resume or self.checkpoint_every is not None
        return replace(self, checkpoint=output.with_name(output.name + ".training") if wanted else None)


@dataclass(frozen=True)
class FittingOptions(FlowOptions):
    """What every fit takes: which density, and how it is trained.

    Args:
        training: How to train.
    """

    training: TrainingOptions = field(default_factory=TrainingOptions)


def check_seed(seed: Any, lowest: int = -(2**63)) -> int:
    """The seed of a generator; refuses what cannot be one."""
    if not (isinstance(seed, Integral) and lowest <= int(seed) < 2**63):
        raise InputError(f"expected a whole number from {lowest} to 2^63 - 1", "random_state", seed)
    return int(seed)


def options_of(kind: Callable[..., Options], keywords: Mapping[str, Any]) -> Options:
    """Options of a kind from the keywords of an object; those of the training become its part of that name."""
    asked = {RENAMED.get(name, name): value for name, value in keywords.items()}
    training, own = (
        {field.name: asked[field.name] for field in fields(part) if field.name in asked}  # type: ignore[arg-type]
        for part in (TrainingOptions, kind)
    )
    return kind(**own, training=TrainingOptions(**training))


def as_names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of columns; a single string is one name."""
    return (names,) if isinstance(names, str) else tuple(names or ())


def chosen(options: Any) -> dict[str, bool]:
    """Whether each option differs from its default."""
    default = type(options)()
    return {field.name: getattr(options, field.name) != getattr(default, field.name) for field in fields(options)}


def device_named(name: str) -> str:
    """The device for a name: ``auto`` is the GPU if there is one; under torchrun, each process gets its own."""
    import torch  # which takes longer than all that the help of a command needs

    if name == "auto":
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):  # PyTorch raises an AssertionError if built without GPU support
        raise InputError("there is no such device here; use cpu", "device", name) from None
    return name
