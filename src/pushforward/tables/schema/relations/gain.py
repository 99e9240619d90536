"""What rows gain that are held out if columns are seen another way: relations must help them, or go."""

from __future__ import annotations

import numpy as np
import torch

from ....distributions.mixture import GaussianMixture
from ..kinds.base import Numbers
from ..kinds.numeric import Numeric

FEWEST = 50  # rows
COMPONENTS = 3
WORST = 10.0  # nats below the median that a row counts at most: a flow does not lose more by a wrong row

Seen = tuple[Numbers, Numbers]  # columns as a density sees them, ``(rows, columns)``, and the log-slopes ``(rows,)``


def learnt(rows: int) -> np.ndarray:
    """The half of so many rows that is not held out, as a mask."""
    return np.random.default_rng(0).permutation(rows) % 2 == 0


def gained(new: Seen, old: Seen, least: float = 0.0) -> float:
    """By how many nats held-out rows are likelier on average, beyond the least that counts; 0 if two standard errors
    leave that open."""
    more, less = (np.maximum(nats, np.median(nats) - WORST) for nats in (_nats(*new), _nats(*old)))
    mean, error = float((more - less).mean()), float((more - less).std()) / np.sqrt(len(more))
    return mean - least if mean > least + 2 * error else 0.0


@torch.no_grad()
def _nats(z: Numbers, log_slope: Numbers) -> Numbers:
    """Log-densities of the held-out rows under a mixture of Gaussians of the others."""
    half, x = learnt(len(z)), torch.from_numpy(z)
    mixture = GaussianMixture(z.shape[1], COMPONENTS).double()
    mixture.fit(x[half], prior=1.0, max_steps=60, tolerance=1e-3)
    return np.asarray(mixture.log_prob(x[~half]).numpy() + log_slope[~half])


def mapped(kind: Numeric, points: Numbers) -> Seen:
    """The first map of points, and its log-slope, finite."""
    z, log_slope = kind.first_map()(torch.from_numpy(points))
    return np.nan_to_num(z.numpy(), posinf=1e3, neginf=-1e3), np.nan_to_num(log_slope.numpy(), neginf=-1e3)
