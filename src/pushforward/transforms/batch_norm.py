"""Batch normalisation between layers, with running statistics that are updated only on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .normalization import PerFeature, moments


class BatchNorm(PerFeature):
    r"""z = (x - mean) / std · exp(log_scale) + bias with running statistics, per feature (vectors) or channel (images).

    Unlike ``torch.nn.BatchNorm1d`` it has no training mode. Both directions read the statistics without updating them,
    so the density of an event never depends on the rest of its batch, and evaluation uses the same map as training.
    They are updated only on request: ``initialize(x)`` sets them to those of x (:func:`pf.fit` does so with its first
    batch), and within :func:`running_statistics` every batch updates them. No gradient flows through them. Starts as
    the identity.

    Args:
        features: Features of a vector, or channels of an image.
        event_dim: 1 for vectors, 3 for images of shape (C, H, W).

    Raises:
        ValueError: ``features`` is below 1 or ``event_dim`` is neither 1 nor 3.

    Reference:
        Ioffe, Szegedy (2015), arXiv:1502.03167; Dinh, Sohl-Dickstein, Bengio (2017), arXiv:1605.08803.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, event_dim: int = 1) -> None:
        super().__init__(features, event_dim)
        self.register_buffer("mean", torch.zeros_like(self.bias))
        self.register_buffer("std", torch.ones_like(self.bias))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (x - self.mean) * (self.log_scale.exp() / self.std) + self.bias, self._logdet(
            x, self.log_scale - self.std.log()
        )

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (z - self.bias) * (self.std * (-self.log_scale).exp()) + self.mean, self._logdet(
            z, self.std.log() - self.log_scale
        )

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.update(x, 1.0)
        return self.forward(x)[0]

    @torch.no_grad()
    def update(self, x: Tensor, momentum: float) -> None:
        """Moves mean and variance towards those of a batch: ``(1 - momentum) · old + momentum · new``."""
        mean, std = moments(x, self.event_dim)
        shift = mean.view_as(self.mean) - self.mean
        variance = self.std.square().lerp(std.view_as(self.std).square(), momentum)
        self.mean.add_(shift, alpha=momentum)
        self.std.copy_(variance.sqrt())


@contextmanager
def running_statistics(model: nn.Module, momentum: float = 0.1) -> Iterator[None]:
    """Inside, every call of a :class:`BatchNorm` of the model first updates its running statistics with the batch.

    For training loops: ``with running_statistics(flow): loss = objective(x)``. Batches that go through ``inverse``,
    from noise to data, update nothing.

    Args:
        model: Any module; it need not contain a :class:`BatchNorm`.
        momentum: The weight of the batch, in (0, 1].

    Raises:
        ValueError: ``momentum`` is outside (0, 1].
    """
    if not 0 < momentum <= 1:
        raise ValueError(f"momentum must be above 0 and at most 1, got momentum={momentum}")
    layers = [part for part in model.modules() if isinstance(part, BatchNorm)]
    handles = [one.register_forward_pre_hook(lambda layer, given: layer.update(given[0], momentum)) for one in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
