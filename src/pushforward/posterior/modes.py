"""Fits to multimodal targets: search until no new modes appear, draw, start over all modes, fit and verify."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diagnostics import Importance, importance
from ..diagnostics.peaks import Height, Peaks
from ..distributions.flow import Flow
from ..distributions.mixture import GaussianMixture
from ..objectives.divergences import ForwardKL, Objective
from ..objectives.user_target import UserTarget
from ..training.fit import Result, fit
from ..training.loop import TrainingError
from ..transforms.base import Transform
from .over_modes import draws_of_modes, flow_over_modes, refined, reweigh, split, weighed
from .search import Found, has_new, search

AGAIN = 4  # searches continued from the known modes, at most
GOOD = 0.995  # effective share of draws above which a start needs little training
REFINED, ENOUGH = 1, 0.2  # how often a wide start is refitted, to draws of which at least this share is effective
SECONDS = 20.0  # for a search without a budget


@dataclass(frozen=True, eq=False)
class Modes:
    """The modes found by a search.

    Attributes:
        location: Of each mode, in the space of x, ``(K, features)``.
        weight: The share of the mass around each, ``(K,)``; from the flow's base, corrected by importance weights.
        all: Whether these may be all: False if the search found more than it keeps, as for products of densities with
            two modes each.
    """

    location: Tensor
    weight: Tensor
    all: bool


@dataclass(frozen=True)
class TargetTraining:
    """Arguments of :func:`pushforward.fit`."""

    steps: int | None
    budget: float | None
    batch_size: int
    lr: float
    seed: int
    device: str | torch.device
    checkpoint: str | Path | None
    resume: str | bool
    progress: bool

    def run(self, objective: Objective, x: Tensor | None = None, **changes: Any) -> Result:
        """Trains, and attaches the flow to the error if training gives up."""
        options = {**vars(self), **changes}
        try:
            return fit(objective, x, **options)
        except TrainingError as error:
            error.flow = objective.flow.eval()
            raise


def fit_over_modes(
    target: UserTarget,
    free: int,
    supported: Transform | None,
    fresh: Callable[[str], Flow],
    loss: Callable[[Flow], Objective],
    training: TargetTraining,
    draws: int,
    dtype: torch.dtype,
    started: float,
) -> tuple[Flow, Importance, Result, Modes] | None:
    """Fits a flow over all modes found by searches, which go on until there are no more.

    Args:
        target: The target.
        free: Features of the flow.
        supported: From x to the free features, None if x is unconstrained.
        fresh: Makes a flow over the free features, of the named recipe unless the user names one.
        loss: The objective of the final training of a flow.
        training: How to train.
        draws: Draws weighted in the end.
        dtype: Of the flow.
        started: Start time of the whole ``training.budget``.

    Returns:
        The flow, its importance weights, the last training, and the modes; None if there is at most one mode, for which
        another start serves.
    """

    def height(z: Tensor) -> Tensor:
        if supported is None:
            return target(z)
        x, logdet = supported.inverse(z)
        return target(x) + logdet

    training = replace(training, checkpoint=None)  # there are several trainings, none of which is the whole
    generator = torch.Generator().manual_seed(training.seed)
    seconds = SECONDS if training.budget is None else min(60.0, 0.2 * training.budget)
    ends = math.inf if training.budget is None else started + training.budget
    with target.unnoticed():
        found = _settled(height, search(height, free, seconds, generator, dtype), seconds, generator)
        if found is None or len(found.peaks) == 1:
            return None
        parts, gaussian, sample = draws_of_modes(height, found.peaks, found.crowded, generator)
        pieces, owner = split(parts, gaussian, sample)
        pieces = pieces if bool(gaussian.all()) else refined(height, pieces, generator)
    flow = flow_over_modes(fresh("realnvp" if len(parts) > 1 else "nsf-coupling"), pieces, sample, supported)
    for _ in range(REFINED if found.crowded else 0):
        better = _weighed(flow, target, sample.shape[1], supported, generator)
        if better is None:
            break
        sample = better
        flow = flow_over_modes(fresh("nsf-coupling"), parts, sample, supported)
    result = _train(flow, target, loss, _rows(parts, sample, supported, generator), training, ends, generator)
    device = flow.device
    judged = importance(flow, target, draws, generator=torch.Generator(device).manual_seed(training.seed))
    return flow, judged, result, _modes(flow, found, owner, supported)


def _settled(height: Height, found: Found | None, seconds: float, generator: torch.Generator) -> Found | None:
    """The result of searches, each continued from the last, until one finds nothing new."""
    for _ in range(AGAIN):
        if found is None or found.crowded or len(found.peaks) == 1:
            break
        peaks, dtype = found.peaks, found.peaks.loc.dtype
        again = search(height, peaks.loc.shape[1], seconds / 4, generator, dtype, peaks)
        if again is None or not has_new(peaks, again.peaks):
            break
        found = again
    return found


def _weighed(
    flow: Flow, target: UserTarget, n: int, supported: Transform | None, generator: torch.Generator
) -> Tensor | None:
    """Draws of pi from those of a start that is good already, ``(1, n, features)``. Unlike those at the end of a path,
    they are independent, so the modes' shares are more precise. None if the weights leave too few."""
    found = weighed(flow, target, 2 * n, generator)
    if found.ess < ENOUGH * n:
        return None
    x = found.resample(n, generator=generator)
    return (x if supported is None else supported(x)[0])[None]


def _modes(flow: Flow, found: Found, owner: Tensor, supported: Transform | None) -> Modes:
    weight, location = found.peaks.log_mass.softmax(0), found.peaks.loc
    if isinstance(flow.base, GaussianMixture):
        share = flow.base.logits.softmax(0).detach().cpu()
        weight = share.new_zeros(len(location)).index_add(0, owner, share)
    return Modes(location if supported is None else supported.inverse(location)[0], weight, not found.crowded)


@torch.no_grad()
def _rows(parts: Peaks, sample: Tensor, supported: Transform | None, generator: torch.Generator) -> Tensor:
    """Draws of pi in the space of x: of each part in proportion to its mass, repeated as often as needed."""
    K, n, _ = sample.shape
    which = torch.multinomial(parts.log_mass.softmax(0), 2 * K * n, replacement=True, generator=generator)
    z = sample[which, torch.randint(n, (len(which),), generator=generator)]
    return z if supported is None else supported.inverse(z)[0]


def _train(
    flow: Flow,
    target: UserTarget,
    loss: Callable[[Flow], Objective],
    rows: Tensor,
    training: TargetTraining,
    ends: float,
    generator: torch.Generator,
) -> Result:
    """Maximum likelihood on draws first, if the start is not good yet; then reverse KL, and the parts' shares. A result
    worse than the start is discarded."""
    share = reweigh(flow, target, 4000, generator)
    start = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
    left = max(2.0, 0.85 * (ends - time.monotonic()))
    if share < GOOD:
        own: dict[str, Any] = (
            {"budget": 0.4 * left} if training.budget else {"steps": max(1, (training.steps or 0) // 2)}
        )
        training.run(ForwardKL(flow), rows, **own, initialize=False)
        left = max(2.0, 0.85 * (ends - time.monotonic()))
    quick: dict[str, Any] = {"steps": min(training.steps or 100, 100), "budget": None} if share >= GOOD else {}
    timed: dict[str, Any] = {"budget": left} if training.budget and not quick else {}
    result = training.run(loss(flow), **quick, **timed)
    for _ in range(2):
        reweigh(flow, target, 10_000, generator)
    if weighed(flow, target, 4000, generator).ess / 4000 < share:
        flow.load_state_dict(start)
    return result
