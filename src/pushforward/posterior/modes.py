"""Fits to multimodal targets: search until no new modes appear, draw, start over all modes, fit and verify."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..diagnostics import Importance, importance
from ..diagnostics.peaks import Height, Peaks, in_noise
from ..distributions.flow import Flow
from ..distributions.mixture import GaussianMixture
from ..objectives.divergences import ForwardKL, Objective
from ..objectives.user_target import UserTarget
from ..training.fit import Result, TrainingData, train
from ..training.options import FitOptions, Length
from .constrain import Space
from .over_modes import draws_of_modes, flow_over_modes, refined, reweigh, split, weighed
from .search import Found, has_new, search

AGAIN = 4  # searches continued from the known modes, at most
GOOD = 0.995  # effective share of draws above which a start needs little training
ENOUGH = 0.2  # share of draws that must be effective for a wide start to be refitted to them
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


def fit_over_modes(
    target: UserTarget,
    space: Space,
    fresh: Callable[[str], Flow],
    loss: Callable[[Flow], Objective],
    training: FitOptions,
    draws: int,
    ends: float,
) -> tuple[Flow, Importance, Result, Modes] | None:
    """Fits a flow over all modes found by searches, which go on until there are no more; with its importance weights,
    the last training, and the modes. None if there is at most one mode, for which another start serves.

    ``fresh`` makes a flow over the free coordinates, of the named recipe unless the user names one; ``loss`` is the
    objective of its final training, which ends when the time does.
    """
    height, seed = in_noise(target, space.outer), training.steps.seed
    training = replace(training, kept=replace(training.kept, checkpoint=None))  # of several trainings none is the whole
    generator = torch.Generator().manual_seed(seed)
    seconds = SECONDS if math.isinf(ends) else min(60.0, 0.2 * (ends - time.monotonic()))
    with target.unnoticed():
        found = _settled(height, search(height, space.free, seconds, generator, space.dtype), seconds, generator)
        if found is None or len(found.peaks) == 1:
            return None
        parts, gaussian, sample = draws_of_modes(height, found.peaks, found.crowded, generator)
        pieces, owner = split(parts, gaussian, sample)
        pieces = pieces if bool(gaussian.all()) else refined(height, pieces, generator)
    flow = flow_over_modes(fresh("realnvp" if len(parts) > 1 else "nsf-coupling"), pieces, sample, space)
    better = _weighed(flow, target, sample.shape[1], space, generator) if found.crowded else None
    if better is not None:
        sample = better
        flow = flow_over_modes(fresh("nsf-coupling"), parts, sample, space)
    rows = _rows(parts, sample, space, generator)
    result = _train(flow, target, loss, rows, training, ends, generator)
    judged = importance(flow, target, draws, generator=torch.Generator(flow.device).manual_seed(seed))
    return flow, judged, result, _modes(flow, found, owner, space)


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


def _weighed(flow: Flow, target: UserTarget, n: int, space: Space, generator: torch.Generator) -> Tensor | None:
    """Draws of pi from those of a start that is good already, ``(1, n, features)``. Unlike those at the end of a path,
    they are independent, so the modes' shares are more precise. None if the weights leave too few."""
    found = weighed(flow, target, 2 * n, generator)
    if found.ess < ENOUGH * n:
        return None
    return space.outer(found.resample(n, generator=generator))[0][None]


def _modes(flow: Flow, found: Found, owner: Tensor, space: Space) -> Modes:
    weight, location = found.peaks.log_mass.softmax(0), found.peaks.loc
    if isinstance(flow.base, GaussianMixture):
        share = flow.base.logits.softmax(0).detach().cpu()
        weight = share.new_zeros(len(location)).index_add(0, owner, share)
    return Modes(space.outer.inverse(location)[0], weight, not found.crowded)


@torch.no_grad()
def _rows(parts: Peaks, sample: Tensor, space: Space, generator: torch.Generator) -> Tensor:
    """Draws of pi in the space of x: of each part in proportion to its mass, repeated as often as needed."""
    K, n, _ = sample.shape
    which = torch.multinomial(parts.log_mass.softmax(0), 2 * K * n, replacement=True, generator=generator)
    return space.outer.inverse(sample[which, torch.randint(n, (len(which),), generator=generator)])[0]


def _train(
    flow: Flow,
    target: UserTarget,
    loss: Callable[[Flow], Objective],
    rows: Tensor,
    training: FitOptions,
    ends: float,
    generator: torch.Generator,
) -> Result:
    """Maximum likelihood on draws first, if the start is not good yet; then reverse KL, and the parts' shares. A result
    worse than the start is discarded."""
    share = reweigh(flow, target, 4000, generator)
    start = {name: tensor.clone() for name, tensor in flow.state_dict().items()}

    def run(objective: Objective, rows: Tensor | None, part: float, steps: int) -> Result:
        """Trains for a part of the time that is left, or for a number of steps."""
        left = max(2.0, 0.85 * (ends - time.monotonic()))
        length = Length(budget=part * left) if part and math.isfinite(ends) else Length(steps=steps)
        return train(objective, TrainingData(rows), replace(training, length=length, initialize=False))

    steps = training.length.steps or 100
    if share < GOOD:
        run(ForwardKL(flow), rows, 0.4, max(1, steps // 2))
        result = run(loss(flow), None, 1.0, steps)
    else:
        result = run(loss(flow), None, 0.0, min(steps, 100))
    for _ in range(2):
        reweigh(flow, target, 10_000, generator)
    if weighed(flow, target, 4000, generator).ess / 4000 < share:
        flow.load_state_dict(start)
    return result
