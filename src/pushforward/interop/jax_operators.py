"""PyTorch's operators in JAX: what runs an exported program, traced once by ``jax.jit``. Needs jax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax.scipy import special


def run(program: torch.export.ExportedProgram, constants: dict[str, Any], given: Sequence[Any]) -> Any:
    """The first output of a program, given its parameters and buffers by name, and its inputs."""
    values, rest = dict(constants), iter(given)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name not in values:
            values[node.name] = next(rest)
        elif node.op == "call_function":
            args, options = torch.fx.node.map_arg((node.args, node.kwargs), lambda other: values[other.name])
            values[node.name] = operator_of(node)(*args, **options)
        elif node.op == "output":
            return values[node.args[0][0].name]


def operator_of(node: torch.fx.Node) -> Callable[..., Any]:
    """The operator of a node in JAX.

    Raises:
        ValueError: it has no counterpart here.
    """
    name = str(node.target).removeprefix("aten.").removeprefix("prims.").split(".")[0]
    found = OPERATORS.get(name) or (getattr(jnp, name, None) if name in ALIKE else None)
    if found is None:
        raise ValueError(f"the density needs {node.target}, which is not known in JAX")
    return found  # type: ignore[no-any-return]


def _slice(x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    places: list[Any] = [slice(None)] * x.ndim
    places[dim] = slice(start, end, step)
    return x[tuple(places)]


def _split(x: Any, sizes: Sequence[int], dim: int = 0) -> Any:
    return jnp.split(x, list(accumulate(sizes))[:-1], axis=dim)


def _expand(x: Any, shape: Sequence[int]) -> Any:
    own = (1,) * (len(shape) - x.ndim) + x.shape
    return jnp.broadcast_to(x, [old if new == -1 else new for old, new in zip(own, shape, strict=True)])


def _diagonal_scatter(x: Any, diagonal: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    if offset or {dim1 % x.ndim, dim2 % x.ndim} != {x.ndim - 2, x.ndim - 1}:
        raise ValueError("only main diagonals of the last two dimensions can be replaced in JAX")
    return jnp.where(jnp.eye(x.shape[-1], dtype=bool), diagonal[..., None], x)


def _reduced(reduce: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        return reduce(x, axis=tuple(dim) if isinstance(dim, Sequence) and dim else dim or None, keepdims=keepdim)

    return reduced


def _scaled(combine: Callable[..., Any]) -> Callable[..., Any]:
    def scaled(x: Any, y: Any, *, alpha: Any = 1) -> Any:
        return combine(x, y if alpha == 1 else alpha * y)

    return scaled


def _dtype(of: torch.dtype | None) -> Any:
    """JAX's dtype, no wider than it is set to."""
    return None if of is None else jax.dtypes.canonicalize_dtype(str(of).removeprefix("torch."))


def _filled(shape: Sequence[int], value: Any, dtype: torch.dtype | None = None, **place: Any) -> Any:
    return jnp.full(tuple(shape), value, _dtype(dtype))


def _squeeze(x: Any, dims: Any) -> Any:
    dims = [dims] if isinstance(dims, int) else dims
    return jnp.squeeze(x, [dim for dim in dims if x.shape[dim] == 1])


# of the same name and meaning in jax.numpy
ALIKE = {
    *("abs", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sqrt", "sign", "copysign", "minimum", "maximum"),
    *("reciprocal", "bitwise_and", "logical_not", "flip"),
}
OPERATORS: dict[str, Callable[..., Any]] = {
    "add": _scaled(jnp.add),
    "sub": _scaled(jnp.subtract),
    "mul": jnp.multiply,
    "div": jnp.divide,
    "neg": jnp.negative,
    "pow": jnp.power,
    "rsqrt": lambda x: 1 / jnp.sqrt(x),
    "remainder": jnp.remainder,
    "clamp": lambda x, low=None, high=None: jnp.clip(x, low, high),
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "_softmax": lambda x, dim, half: jax.nn.softmax(x, dim),
    "_log_softmax": lambda x, dim, half: jax.nn.log_softmax(x, dim),
    "lgamma": special.gammaln,
    "special_ndtri": special.ndtri,
    "erf": special.erf,
    "erfc": special.erfc,
    "eq": jnp.equal,
    "ne": jnp.not_equal,
    "lt": jnp.less,
    "le": jnp.less_equal,
    "gt": jnp.greater,
    "ge": jnp.greater_equal,
    "where": jnp.where,
    "sum": _reduced(jnp.sum),
    "mean": _reduced(jnp.mean),
    "amax": _reduced(jnp.max),
    "amin": _reduced(jnp.min),
    "any": _reduced(jnp.any),
    "all": _reduced(jnp.all),
    "cumsum": lambda x, dim: jnp.cumsum(x, dim),
    "mm": jnp.matmul,
    "bmm": jnp.matmul,
    "addmm": lambda b, x, y: b + x @ y,
    "view": lambda x, shape: jnp.reshape(x, shape),
    "permute": lambda x, dims: jnp.transpose(x, dims),
    "expand": _expand,
    "squeeze": _squeeze,
    "unsqueeze": lambda x, dim: jnp.expand_dims(x, dim),
    "select": lambda x, dim, index: jnp.take(x, index, dim),
    "slice": _slice,
    "cat": lambda parts, dim=0: jnp.concatenate(parts, dim),
    "split_with_sizes": _split,
    "<built-in function getitem>": lambda parts, index: parts[index],
    "index_select": lambda x, dim, index: jnp.take(x, index, dim),
    "gather": lambda x, dim, index: jnp.take_along_axis(x, index, dim),
    "diagonal": jnp.diagonal,
    "diagonal_scatter": _diagonal_scatter,
    "full": _filled,
    "full_like": lambda x, value, **place: jnp.full_like(x, value),
    "scalar_tensor": lambda value, dtype=None, **place: jnp.asarray(value, _dtype(dtype)),
    "arange": lambda start, end, step=1, dtype=None, **place: jnp.arange(start, end, step, _dtype(dtype)),
    "_to_copy": lambda x, dtype=None, **place: x if dtype is None else x.astype(_dtype(dtype)),
    **dict.fromkeys(("copy_strided", "alias", "clone", "_assert_tensor_metadata"), lambda x, *args, **options: x),
}
