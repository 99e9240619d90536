"""Log-densities written in JAX as targets: compiled and differentiated by JAX, exchanged via DLPack. Needs jax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch import Tensor


def from_jax(log_density: Callable[[Any], Any]) -> Callable[[Tensor], Tensor]:
    """Converts a log-density of one row, written in JAX, to one of batches of tensors, differentiable twice.

    It is mapped over rows by ``jax.vmap``, compiled by ``jax.jit`` once per batch size, and evaluated in double
    precision. Values are passed without a copy if both libraries can share memory.

    Args:
        log_density: Maps a row ``(features,)`` to a number, in nats, using operations of ``jax.numpy``.

    Raises:
        TypeError: it is no function.

    Example:
        >>> target = from_jax(lambda x: -0.5 * jnp.sum(x**2))  # doctest: +SKIP
        >>> pf.fit_target(target, 3)  # doctest: +SKIP
    """
    if not callable(log_density):
        raise TypeError(f"log_density must be a function of a row, got {type(log_density).__name__}")
    value = jax.jit(jax.vmap(log_density))
    gradient = jax.jit(jax.vmap(jax.grad(log_density)))

    def along(x: Any, v: Any) -> Any:  # the Hessian times v
        return jax.jvp(jax.grad(log_density), (x,), (v,))[1]

    curved = jax.jit(jax.vmap(along))

    def target(x: Tensor) -> Tensor:
        return _Value.apply(x, value, gradient, curved)  # type: ignore[no-any-return, no-untyped-call]

    return target


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Any, gradient: Any, curved: Any) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.gradient, ctx.curved = gradient, curved
        return _run(value, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return grad[:, None] * _Gradient.apply(x, ctx.gradient, ctx.curved), None, None, None


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Any, curved: Any) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.curved = curved
        return _run(gradient, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return _run(ctx.curved, x, grad.contiguous()), None, None


def _run(function: Any, *tensors: Tensor) -> Tensor:
    """Runs a compiled JAX function on tensors, in double precision; the result has the dtype of the first."""
    with jax.enable_x64(True):
        given = [jax.dlpack.from_dlpack(t.detach().double().contiguous()) for t in tensors]
        found = jnp.asarray(function(*given)).block_until_ready()
        return torch.utils.dlpack.from_dlpack(found).clone().to(tensors[0])
