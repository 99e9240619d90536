"""Log-densities written in JAX as targets, and densities as functions in JAX, by export. Needs jax."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch import Tensor

from ..distributions.base import Density
from ..objectives.forms import foreign
from .export import exported
from .jax_operators import operator_of, run


def to_jax(density: Density) -> Callable[..., Any]:
    """A density as a log-density of one row in JAX: the other direction of :func:`from_jax`.

    The density is exported once, and its program is run in JAX: nothing calls back into Python, so that ``jax.jit``
    compiles it, ``jax.grad`` differentiates it and ``jax.vmap`` maps it over rows. It computes in the dtype of its
    arguments, or in that of the density if this is wider and JAX allows it.

    Args:
        density: A flow or another density whose ``log_prob`` takes one pass.

    Returns:
        A function of a row ``(*event,)``, and of the context ``(context features,)`` if the density takes one, to a
        number, in nats.

    Raises:
        TypeError: ``density`` is none.
        ValueError: it takes many steps, or has an operator that is not known in JAX.

    Example:
        >>> log_p = to_jax(flow)  # doctest: +SKIP
        >>> jax.jit(jax.vmap(jax.grad(log_p)))(x)  # doctest: +SKIP
        >>> numpyro.factor("prior", log_p(theta))  # doctest: +SKIP
    """
    program = exported(density)
    for node in program.graph.nodes:
        if node.op == "call_function":
            operator_of(node)  # what is not known is said here
    held = {**program.state_dict, **program.constants}
    constants = {
        spec.arg.name: held[spec.target].detach().cpu().numpy()
        for spec in program.graph_signature.input_specs
        if spec.target is not None
    }

    def log_density(x: Any, *context: Any) -> Any:
        arrays = {name: jnp.asarray(value) for name, value in constants.items()}
        return run(program, arrays, (x, *context))

    return log_density


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
    return foreign(*(partial(_run, function) for function in (value, gradient, curved)))


def _run(function: Any, *tensors: Tensor) -> Tensor:
    """Runs a compiled JAX function on tensors, in double precision; the result has the dtype of the first."""
    with jax.enable_x64(True):
        given = [jax.dlpack.from_dlpack(t.detach().double().contiguous()) for t in tensors]
        found = jnp.asarray(function(*given)).block_until_ready()
        return torch.utils.dlpack.from_dlpack(found).clone().to(tensors[0])
