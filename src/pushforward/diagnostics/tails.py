"""How heavy the tails of rows are."""

from __future__ import annotations

from torch import Tensor

from ..numerics.tails import two_sided_index


def tail_index(x: Tensor, tail: int | None = None) -> Tensor:
    r"""Hill's estimate of the tail index alpha of each side of every column: :math:`P(|x| > t) \sim t^{-\alpha}`.

    Args:
        x: Rows, ``(n, features)``, at least 8; distances from the medians count.
        tail: How many of the largest distances it uses; by default half of n to the power of two thirds.

    Returns:
        ``(2, features)``, the left and the right tails: about 2 for draws of a Student-t with two degrees of freedom,
        large for normal ones.

    Raises:
        ValueError: x is not a table of at least 8 rows, or ``tail`` is not between 1 and n - 1.

    Reference:
        Hill (1975), A simple general approach to inference about the tail of a distribution, Annals of Statistics 3.

    Example:
        >>> import torch, pushforward as pf
        >>> x = torch.distributions.StudentT(2.0).sample((100_000, 1))
        >>> bool(((pf.diagnostics.tail_index(x) - 2).abs() < 0.4).all())
        True
    """
    if x.dim() != 2 or len(x) < 8:
        raise ValueError(f"x must be rows (n, features), at least 8 of them, got shape {tuple(x.shape)}")
    if tail is not None and not 1 <= tail < len(x):
        raise ValueError(f"tail must be from 1 to {len(x) - 1}, got tail={tail}")
    return two_sided_index(x, tail)
