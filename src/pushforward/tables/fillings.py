"""What rows with holes were last filled with, found by a hash of the row."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..numerics.hashed import row_keys

NUMBERS = 2**24  # that are remembered at most


class Fillings:
    r"""The point of its cell that each row with holes was last learnt from, and log q of what had been filled in.

    Among the next proposals it stands as one more. So the fillings of a row are a Markov chain with the limit
    p(holes | seen), whatever their number (iterated sampling importance resampling); those of a few proposals alone are
    drawn towards the guide that makes them.

    Where two rows share a slot, the later takes it, and the other begins anew.

    Args:
        like: Rows ``(*batch, features)`` of the device and dtype.

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
        """All that is remembered, for the states of a training on disk."""
        slots = np.flatnonzero(self.keys)
        keys, places = torch.from_numpy(self.keys[slots].view(np.int64)), torch.from_numpy(slots).to(self.log_q.device)
        return {"keys": keys, "points": self.points[places], "log_q": self.log_q[places]}

    @staticmethod
    def of_tensors(tensors: dict[str, Tensor]) -> Fillings:
        """The same again."""
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
