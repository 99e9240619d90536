"""The last imputations of rows with holes, found by a hash of the row."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..numerics.hashed import row_keys

NUMBERS = 2**24  # remembered at most


class Fillings:
    r"""For each row with holes, the last point of its cell that was learnt from, and log q of the values filled in.

    It joins the next proposals as one more. The fillings of a row are thus a Markov chain with the limit
    p(holes | seen), whatever the number of proposals (iterated sampling importance resampling); a few fresh proposals
    alone would be biased towards the guide that makes them.

    If two rows share a slot, the later one takes it, and the other starts afresh.

    Args:
        like: Rows ``(*batch, features)`` that set the device and dtype.

    Reference:
        Andrieu, Doucet, Holenstein (2010), Particle Markov chain Monte Carlo methods.
    """

    def __init__(self, like: Tensor) -> None:
        features = like.shape[-1]
        slots = NUMBERS // (features + 1)
        self.keys = np.zeros(slots, np.uint64)
        self.points, self.log_q = like.new_zeros(slots, features), like.new_zeros(slots)

    def last(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The rows' points, ``(n, features)``, and log q, ``(n,)``: infinite for rows that were not seen before."""
        keys = row_keys(x, 0)
        known = torch.from_numpy(self.keys[self._slots(keys)] == keys).to(x.device)
        slots = torch.from_numpy(self._slots(keys)).to(x.device)
        return self.points[slots], self.log_q[slots].masked_fill(~known, math.inf)

    def keep(self, x: Tensor, points: Tensor, log_q: Tensor) -> None:
        """Remembers the rows' points and log q."""
        self._keep(row_keys(x, 0), points, log_q)

    def tensors(self) -> dict[str, Tensor]:
        """All that is remembered, for a training's checkpoints."""
        slots = np.flatnonzero(self.keys)
        keys, places = torch.from_numpy(self.keys[slots].view(np.int64)), torch.from_numpy(slots).to(self.log_q.device)
        return {"keys": keys, "points": self.points[places], "log_q": self.log_q[places]}

    @staticmethod
    def of_tensors(tensors: dict[str, Tensor]) -> Fillings:
        """Restores what :meth:`tensors` returned."""
        made = Fillings(tensors["points"])
        made._keep(tensors["keys"].cpu().numpy().view(np.uint64), tensors["points"], tensors["log_q"])
        return made

    def _keep(self, keys: np.ndarray, points: Tensor, log_q: Tensor) -> None:
        slots = self._slots(keys)
        self.keys[slots] = keys
        places = torch.from_numpy(slots).to(points.device)
        self.points[places], self.log_q[places] = points.to(self.points), log_q.to(self.log_q)

    def _slots(self, keys: np.ndarray) -> np.ndarray:
        return (keys % np.uint64(len(self.keys))).astype(np.int64)
