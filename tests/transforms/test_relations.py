"""What a known formula leaves of a feature."""

from __future__ import annotations

import torch

import pushforward.transforms as T


def test_all_numbers_of_a_cell_share_one_formula() -> None:
    part = T.Remainder(1, [(2.0, [(0, 1)])], cells=[(0, [(0.0, 0.0, 0.5), (68.0, -0.5, 1.0)])])
    x = torch.tensor([[67.5, 140.0], [68.49, 140.0], [68.5, 140.0], [0.25, 140.0], [-0.1, 140.0]], dtype=torch.float64)
    z, _ = part(x)
    assert torch.allclose(z[:, 1], torch.tensor([4.0, 4.0, 3.0, 140.0, 140.2], dtype=torch.float64))
    assert torch.allclose(part.inverse(z)[0], x)
