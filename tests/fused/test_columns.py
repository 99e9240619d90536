"""Columns whose tails are left out where no number lies in them."""

from __future__ import annotations

import math

import pytest
import torch

import pushforward as pf
from pushforward import transforms as T
from pushforward.numerics.tails import Tail

COLUMNS = [
    T.Extended(T.Asinh(0), (-2.0, 1.5, 0.5), (3.0, 4.0, 2.0)),
    T.Identity(0),
    T.Extended(T.Log(0), None, (5.0, 4.0, 2.0)),
]


@pytest.fixture
def flow() -> T.Compose:
    return T.Compose([T.Columns(COLUMNS), T.PLU(3)]).double()


def rows(far: float) -> torch.Tensor:
    x = torch.rand(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    x[7, 0], x[9, 2] = -far, 4 * far
    return x


@pytest.mark.parametrize("far", [1.0, 2.0, 9.0, math.inf, math.nan])
def test_it_is_the_formula_in_both_directions_with_gradients(flow: T.Compose, far: float) -> None:
    def found() -> list[torch.Tensor]:
        x = rows(far).requires_grad_()
        z, logdet = flow(x)
        back, again = flow.inverse(z.detach())
        (gradient,) = torch.autograd.grad((z.sin().nansum() + logdet.nansum()), x)
        return [z, logdet, back, again, gradient]

    fast = found()
    with pf.plain():
        formula = found()
    for one, other in zip(fast, formula, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True, rtol=1e-13, atol=1e-13)


def test_tails_are_left_out_where_no_number_lies_in_them(flow: T.Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    inward = Tail.inward
    monkeypatch.setattr(Tail, "inward", lambda self, y: asked.append(len(y)) or inward(self, y))
    flow(rows(1.0))
    assert not asked
    flow(rows(9.0))
    assert asked == [50, 50]
