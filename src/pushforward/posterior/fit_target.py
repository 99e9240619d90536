"""From a log-density to a sampler in one call: start, fit, and a verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..diagnostics import importance
from ..distributions.flow import Flow
from ..errors import one_of
from ..objectives.divergences import Objective, ReverseKL
from ..objectives.fab import AlphaDivergence, AnnealedBootstrap
from ..objectives.family import Contexts, Family
from ..objectives.forms import as_target
from ..objectives.target import DRAWS, check_target
from ..objectives.user_target import LogDensity
from ..recipes.by_name import flow_by_name
from ..recipes.networks import Networks
from ..training.fit import train
from ..training.options import FitOptions, Hardware, Length, Records, StepOptions, duration
from .constrain import Space, constrain, laplace
from .family import fit_family
from .modes import fit_over_modes
from .target_fit import TargetFit

START, SEARCH = 0.25, 0.1  # of the budget, at most: for finding where the flow starts, and for modes that it missed
WEIGHING = 0.1  # of the budget, at most, for the final draws and their weights
OTHERS = {"fab": AnnealedBootstrap, "renyi": AlphaDivergence}  # objectives besides the reverse divergence


def fit_target(
    log_density: LogDensity,
    features: int,
    *,
    contexts: Contexts | None = None,
    blocks: Sequence[tuple[Any, int]] = (),
    flow: str | Flow | None = None,
    layers: int | None = None,
    hidden: Sequence[int] | None = (32, 32),
    modes: str | None = None,
    objective: str = "reverse",
    start: str = "laplace",
    widen: float = 1.0,
    anneal: int = 0,
    estimator: str = "path",
    steps: int | None = None,
    budget: float | str | None = None,
    batch_size: int = 256,
    lr: float = 2e-3,
    seed: int = 0,
    draws: int = 10_000,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "auto",
    checkpoint: str | Path | None = None,
    resume: str | bool = "auto",
    progress: bool = True,
) -> TargetFit:
    """Fits a flow to a density known up to a constant, and says whether the fit can be trusted.

    Args:
        log_density: Maps ``(n, features)`` to ``(n,)``: log pi(x) + constant, in nats, differentiable. A function of
            one row, or of NumPy arrays, is accepted too. Rows for which it raises or is not finite have density 0, with
            a note.
        features: Features of a row of x.
        contexts: For a family log pi(x | c), with ``log_density(x, c)``: a function of n that draws contexts
            ``(n, width)``, or contexts ``(N, width)`` to choose from. One flow is trained for all, and the result is a
            :class:`~pushforward.posterior.family.FamilyFit`, which judges and draws for each context.
        blocks: The support: for each block of the row its constraint and its size; empty if x is unconstrained.
        flow: The name of a recipe, or an untrained flow over the free features. ``"realnvp"`` by default; with
            ``modes="search"``, if there are too many modes to start one by one, ``"nsf-coupling"``.
        layers: Of the recipe; its default if None.
        hidden: Of the recipe; posteriors are smooth, and narrow networks fit them.
        modes: ``"search"`` for a target that may have several: searches for modes until no new ones appear, and starts
            the flow over all of them. ``start``, ``widen`` and ``anneal`` are then ignored.
        objective: ``"reverse"``: :class:`pushforward.ReverseKL`. ``"fab"``: annealed draws from regions that the flow
            neglects, :class:`~pushforward.objectives.fab.AnnealedBootstrap`; start wide. ``"renyi"``: a bound with
            alpha = 1/2, :class:`~pushforward.objectives.fab.AlphaDivergence`.
        start: ``"laplace"``: the flow starts as the Gaussian with the highest mode's location and curvature.
            ``"normal"``: as the standard normal of the free features.
        widen: Factor on the scale of the start.
        anneal: Steps over which the target's power rises to 1; for targets with several modes.
        estimator: ``"path"`` or ``"reparameterised"``; see :class:`pushforward.ReverseKL`.
        steps: Steps of training; at most one of ``steps`` and ``budget``.
        budget: Seconds, or a text such as 90s or 5m, for everything: the start, training, and the search for missed
            modes; for a family, for training alone.
        batch_size: Draws in a step.
        lr: The largest learning rate.
        seed: Seed of the weights, of training and of the diagnostics.
        draws: Draws weighted in the end.
        dtype: Of the flow and of x.
        device: ``"auto"`` takes a GPU if there is one.
        checkpoint: A directory for the training state, as for :func:`pushforward.fit`; not used by a search.
        resume: As for :func:`pushforward.fit`.
        progress: Show a bar.

    Raises:
        TypeError: ``log_density`` is not a function of a batch.
        ValueError: an argument is out of range, or ``log_density`` violates its contract, or fails for most rows.
        TrainingError: the loss is no longer finite; the error's ``flow`` is the best so far.

    Example:
        >>> import pushforward as pf
        >>> fitted = pf.fit_target(lambda x: -0.5 * x.square().sum(-1), 2, steps=20, progress=False)
        >>> fitted.importance.trusted
        True
    """
    started = time.monotonic()
    _check_choices(start, widen, objective, modes, contexts)
    budget = None if budget is None else duration(budget, "budget")
    whole = math.inf if budget is None else budget
    space = Space.of(blocks, features, dtype)
    widths = None if hidden is None else [max(width, space.free) for width in Networks(hidden=hidden).hidden]
    sizes: dict[str, Any] = {"layers": layers, "hidden": widths, "seed": seed, "biases": False}  # one unit a feature
    training = FitOptions(
        Length(steps=2000 if steps is None and budget is None else steps, budget=budget),
        StepOptions(batch_size, lr, seed=seed),
        Hardware(device),
        Records(checkpoint, resume=resume, progress=progress),
    )
    if contexts is not None:
        return fit_family(
            Family(log_density, contexts, features),
            space,
            flow="realnvp" if flow is None else flow,
            sizes=sizes,
            start=start,
            widen=widen,
            options={"estimator": estimator, "anneal": anneal},
            training=training,
        )
    rows = space.normal().sample((DRAWS,), generator=torch.Generator().manual_seed(0))
    target = as_target(log_density, rows)

    def fresh(default: str) -> Flow:
        return flow if isinstance(flow, Flow) else flow_by_name(flow or default, space.free, **sizes)

    def loss(placed: Flow) -> Objective:
        if objective in OTHERS:
            return OTHERS[objective](placed, target, check=False)
        return ReverseKL(placed, target, estimator, anneal=anneal if modes is None else 0, check=False)

    if modes == "search":
        check_target(space.normal(), target, fails=(DRAWS - 1) / DRAWS)
        over = fit_over_modes(target, space, fresh, loss, training, draws, started + whole)
        if over is not None:
            space.note_outside(target, over[0])
            return TargetFit(*over, tuple(target.notes))
    if start == "laplace":
        outer = laplace(target, space.free, space.outer, widen=widen, dtype=dtype, seconds=START * whole)
    else:
        outer = space.wide(widen)
    placed = constrain(fresh("realnvp"), outer)
    check_target(placed.to(dtype), target)
    space.note_outside(target, placed)
    used = time.monotonic() - started  # what follows training takes at most twice as long as what preceded it
    if budget is not None:
        left = max(budget - used - min(2 * used, (SEARCH + WEIGHING) * budget), 0.5 * budget)
        training = replace(training, length=replace(training.length, budget=left))
    result = train(loss(placed), training)
    generator = torch.Generator(placed.device).manual_seed(seed)
    judged = importance(placed, target, draws, generator=generator, seconds=SEARCH * whole)
    return TargetFit(placed, judged, result, notes=tuple(target.notes))


def _check_choices(start: str, widen: float, objective: str, modes: str | None, contexts: Contexts | None) -> None:
    if start not in ("laplace", "normal") or not widen > 0:
        raise ValueError(f'start must be "laplace" or "normal" and widen positive, got {start!r} and {widen}')
    one_of(("reverse", *OTHERS), objective=objective)
    one_of((None, "search"), modes=modes)
    if contexts is not None and (modes, objective) != (None, "reverse"):
        raise ValueError('contexts= goes only with modes=None and objective="reverse"')
