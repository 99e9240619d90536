"""Couplings that preserve volume."""

from __future__ import annotations

import pytest
import torch

from pushforward.nets import MLP
from pushforward.testing import randomize
from pushforward.transforms import GIN, Checkerboard, Half


def test_volume_is_preserved_although_features_are_scaled() -> None:
    gin = randomize(GIN(Half(6), MLP(3, 3, 2, hidden=(8,))), scale=2.0).double()
    x = torch.randn(6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: gin(v)[0], x)
    torch.testing.assert_close(torch.linalg.det(jacobian), torch.ones((), dtype=torch.float64))
    assert (jacobian.diagonal()[3:] - 1).abs().min() > 0.01


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"limit must be positive, got limit=0\.0"):
        GIN(Half(2), MLP(1, 1, 2), 0.0)
    with pytest.raises(ValueError, match="parts of a Checkerboard overlap"):
        GIN(Checkerboard(2, 2), MLP(1, 1, 2))
