"""Log-densities written in JAX as targets, and densities as functions in JAX, by export. Needs jax."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax.scipy import special
from torch import Tensor
from torch.fx import Interpreter

from ..distributions.base import Density
from ..objectives.forms import foreign
from .export import exported


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
    program = exported(density).module()
    for node in program.graph.nodes:
        if node.op == "call_function":
            _operator_of(node.target)  # what is not known is said here
    return lambda x, *context: _InJax(program).run(x, *context)  # one that runs holds its values: each call has its own


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


class _InJax(Interpreter):
    """A program of PyTorch's operators that runs in JAX."""

    def get_attr(self, target: Any, *given: Any) -> Any:
        return jnp.asarray(super().get_attr(target, *given).detach().cpu().numpy())

    def call_function(self, target: Any, args: Any, options: Any) -> Any:
        return _operator_of(target)(*args, **options)

    def call_module(self, *given: Any) -> None:
        """Leaves out the checks of inputs, of which JAX has its own."""


def _operator_of(target: Any) -> Callable[..., Any]:
    """An operator in JAX.

    Raises:
        ValueError: it has no counterpart here.
    """
    name = target.__name__.split(".")[0]
    if name not in OPERATORS:
        raise ValueError(f"the density needs {target}, which is not known in JAX")
    return OPERATORS[name]


def _expand(x: Any, shape: Sequence[int]) -> Any:
    own = (1,) * (len(shape) - x.ndim) + x.shape
    return jnp.broadcast_to(x, [old if new == -1 else new for old, new in zip(own, shape, strict=True)])


def _reduced(reduce: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        return reduce(x, axis=dim if isinstance(dim, int) else tuple(dim or ()) or None, keepdims=keepdim)

    return reduced


def _dtype(of: torch.dtype | None) -> Any:
    """JAX's dtype, no wider than it is set to."""
    return None if of is None else jax.dtypes.canonicalize_dtype(str(of).removeprefix("torch."))


def _filled(shape: Sequence[int], value: Any, dtype: torch.dtype | None = None, **place: Any) -> Any:
    return jnp.full(tuple(shape), value, _dtype(dtype))


def _squeeze(x: Any, dims: Any) -> Any:
    dims = [dims] if isinstance(dims, int) else dims
    return jnp.squeeze(x, [dim for dim in dims if x.shape[dim] == 1])


ALIKE = (  # in name and meaning in jax.numpy
    *("abs", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sqrt", "sign", "copysign", "minimum", "maximum"),
    *("reciprocal", "remainder", "bitwise_and", "logical_not", "flip", "where", "cumsum", "diagonal"),
)
SIGNS = ("mul", "neg", "pow", "eq", "ne", "lt", "le", "gt", "ge", "getitem")  # as in Python
REDUCED = ("sum", "mean", "amax", "amin", "any", "all")
OPERATORS: dict[str, Callable[..., Any]] = {
    **{name: getattr(jnp, name) for name in ALIKE},
    **{name: getattr(operator, name) for name in SIGNS},
    **{name: _reduced(getattr(jnp, name)) for name in REDUCED},
    "add": lambda x, y, alpha=1: x + (y if alpha == 1 else alpha * y),
    "sub": lambda x, y, alpha=1: x - (y if alpha == 1 else alpha * y),
    "div": jnp.divide,
    "rsqrt": lambda x: 1 / jnp.sqrt(x),
    "clamp": lambda x, low=None, high=None: jnp.clip(x, low, high),
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "_softmax": lambda x, dim, half: jax.nn.softmax(x, dim),
    "_log_softmax": lambda x, dim, half: jax.nn.log_softmax(x, dim),
    "lgamma": special.gammaln,
    "special_ndtri": special.ndtri,
    "erf": special.erf,
    "erfc": special.erfc,
    "mm": jnp.matmul,
    "bmm": jnp.matmul,
    "addmm": lambda b, x, y: b + x @ y,
    "view": jnp.reshape,
    "permute": jnp.transpose,
    "expand": _expand,
    "squeeze": _squeeze,
    "unsqueeze": jnp.expand_dims,
    "select": lambda x, dim, index: jnp.take(x, index, dim),
    "slice": lambda x, dim=0, start=None, end=None, step=1: x.swapaxes(0, dim)[start:end:step].swapaxes(0, dim),
    "cat": jnp.concatenate,
    "split_with_sizes": lambda x, sizes, dim=0: jnp.split(x, list(accumulate(sizes))[:-1], dim),
    "index_select": lambda x, dim, index: jnp.take(x, index, dim),
    "gather": lambda x, dim, index: jnp.take_along_axis(x, index, dim),
    "full": _filled,
    "full_like": lambda x, value, **place: jnp.full_like(x, value),
    "scalar_tensor": lambda value, dtype=None, **place: jnp.asarray(value, _dtype(dtype)),
    "arange": lambda start, end, step=1, dtype=None, **place: jnp.arange(start, end, step, _dtype(dtype)),
    "_to_copy": lambda x, dtype=None, **place: x if dtype is None else x.astype(_dtype(dtype)),
    **dict.fromkeys(("copy_strided", "alias", "clone", "_assert_tensor_metadata"), lambda x, *args, **options: x),
}
