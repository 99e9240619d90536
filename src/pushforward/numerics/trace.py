r"""The divergence of a field, tr(df/dz): exactly, or by Hutchinson's estimator with given probes.

A probe is noise with E[v vᵀ] = I, so that E[vᵀ J v] = tr J. It is drawn once and held fixed along a solve: the estimate
is then a smooth function, and its error is one number per row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vmap

Vector = Callable[[Tensor], Tensor]  # z (m, features) -> dz/dt (m, features)

CHUNK = 1 << 24  # numbers that a batched product may hold at once, roughly


def exact(field: Vector, z: Tensor) -> Tensor:
    r"""tr J by m products with the basis vectors, in one batch: O(m^2) if the field costs O(m).

    Args:
        field: The field at a fixed time and context; row i of its result depends only on row i of z.
        z: The points, ``(n, features)``.

    Returns:
        The divergence, ``(n,)``.

    Reference:
        Lecture: "Continuous-in-time NF".
    """
    return quadratic_forms(field, z, torch.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None]).sum(0)


def quadratic_forms(field: Vector, z: Tensor, probes: Tensor) -> Tensor:
    r"""vᵀ J v for every probe and row: one forward-mode product each.

    Args:
        field: As in :func:`exact`.
        z: The points, ``(n, features)``.
        probes: ``(K, n or 1, features)``.

    Returns:
        ``(K, n)``; its mean over probes is Hutchinson's estimate.

    Reference:
        Hutchinson (1990). Lecture: "Hutchinson's trace estimator".
    """

    z = z.contiguous()  # forward mode does not accept expanded tensors

    def form(v: Tensor) -> Tensor:
        v = v.expand_as(z)
        return (jvp(field, (z,), (v,))[1] * v).sum(-1)

    size = max(1, min(len(probes), CHUNK // max(z.numel(), 1)))
    return vmap(form, chunk_size=size)(probes)


def squared_products(field: Vector, z: Tensor, probes: Tensor) -> Tensor:
    r"""||J v||^2 for every probe and row, ``(K, n)``: its expectation is the squared Frobenius norm of J."""
    z = z.contiguous()
    return vmap(lambda v: jvp(field, (z,), (v.expand_as(z),))[1].square().sum(-1))(probes)


def draw_probes(kind: str, count: int, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    r"""Probes with E[v vᵀ] = I for every row of ``like``.

    Args:
        kind: "rademacher" (random signs, the smallest variance among independent entries), "gaussian", or "orthogonal"
            (mutually orthogonal directions of length sqrt(features): m of them give the exact trace).
        count: K, probes per row.
        like: ``(n, features)``.
        generator: Source of the noise.

    Returns:
        ``(K, n, features)``.
    """
    n, features = like.shape
    options: dict[str, Any] = {"dtype": like.dtype, "device": like.device, "generator": generator}
    if kind == "rademacher":
        return torch.randint(0, 2, (count, n, features), **options) * 2 - 1
    if kind == "gaussian":
        return torch.randn(count, n, features, **options)
    if kind != "orthogonal":
        raise ValueError(f"noise must be 'rademacher', 'gaussian' or 'orthogonal', got noise={kind!r}")
    if count > features:
        raise ValueError(f"at most {features} probes can be orthogonal in {features} features, got probes={count}")
    frames = torch.linalg.qr(torch.randn(n, features, count, **options))[0]
    return (frames * features**0.5).permute(2, 0, 1).contiguous()


def standard_error(estimates: Tensor, kind: str, features: int) -> Tensor:
    r"""The standard error of the mean over probes, s / sqrt(K); NaN if a single probe says nothing about its error.

    Orthogonal probes share a fixed sum, tr J, over a full frame. They are a sample without replacement from m, and the
    variance shrinks by 1 - K / m, to zero for a full frame.

    Args:
        estimates: ``(K, n)``, one estimate of the log-determinant for each probe.
        kind: The kind of probes.
        features: m, the features of a row.

    Returns:
        ``(n,)``.
    """
    count = len(estimates)
    if count == 1 and not (kind == "orthogonal" and features == 1):
        return torch.full_like(estimates[0], torch.nan)
    left = 1 - count / features if kind == "orthogonal" else 1.0
    spread = estimates.std(0, correction=1) if count > 1 else torch.zeros_like(estimates[0])
    return spread * (left / count) ** 0.5
