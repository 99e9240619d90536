"""Weighted draws of a row's holes: the answer that they give, and how many draws it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ...numerics.sequential import next_power
from .holes import EVERY

REPLICATES, STUDENT = 32, 1.0406  # and the 97.5 % quantile of 31 degrees of freedom, in normal ones


class Answer(NamedTuple):
    """Log-densities of rows and their accuracy, each of shape ``(n,)``, float64.

    Attributes:
        value: In nats.
        error: Standard errors, in nats; 0 if the answer is exact.
        effective: Effective numbers of draws :math:`(\\sum w)^2 / \\sum w^2`; infinity if the answer is exact.
    """

    value: Tensor
    error: Tensor
    effective: Tensor

    @classmethod
    def exact(cls, value: Tensor, error: Tensor | float = 0.0) -> Answer:
        """An answer without draws from a guide."""
        return cls(value, torch.zeros_like(value) + error, torch.full_like(value, math.inf))

    def given(self, condition: Answer) -> Answer:
        """log p(a | b) from log p(a, b), this one, and log p(b); NaN where b is impossible."""
        error, effective = self.error.hypot(condition.error), self.effective.minimum(condition.effective)
        return Answer(self.value - condition.value, error, effective)

    @classmethod
    def joined(cls, n: int, parts: Iterable[tuple[Tensor, Answer]]) -> Answer:
        """The answers of n rows from those of some, each with its rows, a mask or indices; NaN for all others."""
        found = cls(*(torch.full((n,), math.nan, dtype=torch.float64) for _ in range(3)))
        for rows, answer in parts:
            for whole, part in zip(found, answer, strict=True):
                whole[rows] = part
        return found


class Weights:
    """Sums of weights and of their squares, for every row and replicate, updated as draws come in.

    Args:
        n: Number of rows.
        device: Where the sums are.
        replicates: Into how many sequences the draws of a row are divided: 1, or REPLICATES.
    """

    def __init__(self, n: int, device: torch.device, replicates: int = 1) -> None:
        self.first = torch.full((replicates, n), -math.inf, dtype=torch.float64, device=device)
        self.second = self.first[0].clone()
        self.count = torch.zeros(n, dtype=torch.float64, device=device)

    def add(self, rows: Tensor, log_w: Tensor) -> None:
        """Adds the log-weights ``(K, n)`` of some rows; K is a multiple of EVERY draws of each replicate, if there are
        several."""
        replicates, turns = len(self.first), log_w[None]
        if replicates > 1:
            turns = log_w.unflatten(0, (-1, replicates, EVERY)).transpose(0, 1).flatten(1, 2)
        self.first[:, rows] = torch.logaddexp(self.first[:, rows], turns.logsumexp(1))
        self.second[rows] = torch.logaddexp(self.second[rows], (2 * log_w).logsumexp(0))
        self.count[rows] += len(log_w)

    def answer(self) -> tuple[Tensor, Tensor, Tensor]:
        """The logarithms of the mean weights, their standard errors, and effective numbers.

        Errors are those of independent draws, by the delta method; or, of several replicates, from how far these are
        apart, wider by Student's quantile, since draws that are spread evenly have smaller ones.

        Reference:
            Owen (2013), Monte Carlo theory, methods and examples, chapter 17: randomised quasi-Monte Carlo.
        """
        first, replicates = self.first.logsumexp(0), len(self.first)
        value = first - self.count.log()
        concentration = (self.second - 2 * first).exp()  # sum w² / (sum w)²
        error = ((self.count * concentration - 1).clamp_min(0) / (self.count - 1)).sqrt()
        if replicates > 1:
            shares = (self.first - first).exp() * replicates
            error = STUDENT * ((shares - 1).square().sum(0) / (replicates * (replicates - 1))).sqrt()
        nothing = value.isinf() | (self.count <= 1)
        return value, torch.where(nothing, 0.0, error), torch.where(nothing, 0.0, 1 / concentration)


def tempered(log_w: Tensor, least: float) -> Tensor:
    r"""The log-weights ``(K, n)`` times the largest :math:`\beta \in [0, 1]` for which ``least`` are effective.

    If a few draws carry all the weight, this trades variance for a bias towards the proposals.

    Reference:
        Koblents, Míguez (2015), A population Monte Carlo scheme with transformed weights and its application to
        stochastic kinetic models, Statistics and Computing 25.
    """
    return next_power(log_w, least) * log_w
