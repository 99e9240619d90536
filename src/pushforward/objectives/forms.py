"""The forms in which people write log-densities: of a batch or one row, in PyTorch or NumPy; each is made batched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .user_target import LogDensity, UserTarget

STEP = torch.finfo(torch.float64).eps ** (1 / 3)  # of central differences, relative to x


def as_target(log_density: Any, x: Tensor) -> UserTarget:
    """The batched target for a function of a batch ``(n, *event)`` or of one row, of tensors or of NumPy arrays, with a
    note on its form; one that is batched already is left as it is. The forms are tried on some rows, at least 4."""
    if isinstance(log_density, UserTarget):
        return log_density
    if not callable(log_density):
        raise TypeError(f"log_density must be a function of a batch, got {type(log_density).__name__}")
    x = x.detach()
    for form in (_batch, _one_row, _numpy_batch, _numpy_row):
        found = form(log_density, x)
        if found is not None:
            return found
    return UserTarget(log_density)  # no form fits: the check reports what is wrong with the batched one


def _batch(log_density: Any, x: Tensor) -> UserTarget | None:
    """The function as it is, if some three rows give three numbers and each depends on its row alone."""
    for i in range(len(x) - 2):
        with contextlib.suppress(Exception):
            rows = x[i : i + 3].clone().requires_grad_()
            value, pair = log_density(rows), log_density(rows[1:])
            if isinstance(value, Tensor) and value.shape == (3,) and pair.shape == (2,):
                return UserTarget(log_density)
            if isinstance(value, Tensor) and value.shape == (3, 1) and pair.shape == (2, 1):
                return UserTarget(
                    lambda rows: log_density(rows).squeeze(-1),
                    ("log_density gives a column (n, 1), which is taken as (n,): one number for each row",),
                )
    return None


def _one_row(log_density: Any, x: Tensor) -> UserTarget | None:
    """One row at a time: by ``torch.func.vmap`` if that gives the same, else in a loop."""
    values = _alone(lambda row: log_density(row.clone().requires_grad_()), x)
    good = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.numel() == 1]
    if not good:
        return None
    expected = torch.stack([values[i].reshape(()) for i in good]).detach()
    with contextlib.suppress(Exception):
        mapped = torch.func.vmap(lambda row: log_density(row).reshape(()))
        if torch.allclose(mapped(x[good]), expected, equal_nan=True):
            return UserTarget(
                mapped, ("log_density takes one row at a time: it is mapped over batches by torch.func.vmap",)
            )
    return UserTarget(
        lambda rows: torch.stack([log_density(row).reshape(()) for row in rows]),
        ("log_density takes one row at a time, and torch.func.vmap cannot map it: it is called in a loop, row by row",),
    )


def _numpy_batch(log_density: Any, x: Tensor) -> UserTarget | None:
    for i in range(len(x) - 2):
        with contextlib.suppress(Exception):
            if np.shape(log_density(x[i : i + 3].double().cpu().numpy())) == (3,):
                return UserTarget(from_numpy(log_density), (_NUMPY,))
    return None


def _numpy_row(log_density: Any, x: Tensor) -> UserTarget | None:
    values = _alone(lambda row: log_density(row.double().cpu().numpy()), x)
    if not any(np.size(value) == 1 and isinstance(value, float | int | np.ndarray | np.generic) for value in values):
        return None

    def looped(rows: np.ndarray) -> np.ndarray:
        return np.array([_number(log_density, row) for row in rows])

    return UserTarget(from_numpy(looped), (f"{_NUMPY}, and it takes one row at a time, so it is called in a loop",))


_NUMPY = (
    "log_density gives values without PyTorch's gradient: gradients are central differences, 2 calls for each feature; "
    "pushforward.objectives.from_numpy(log_density, gradient) takes your own"
)


def _alone(function: Callable[[Tensor], Any], x: Tensor) -> list[Any]:
    """The value of every row, None for rows that raise."""
    values = []
    for row in x:
        value = None
        with contextlib.suppress(Exception):
            value = function(row)
        values.append(value)
    return values


def _number(log_density: Any, row: np.ndarray) -> float:
    """The value of a row, NaN if it raises: a loop knows which row it was."""
    try:
        return float(np.asarray(log_density(row)).reshape(()))
    except Exception:
        return float("nan")


def from_numpy(
    log_density: Callable[[np.ndarray], Any], gradient: Callable[[np.ndarray], Any] | None = None
) -> LogDensity:
    r"""A log-density of NumPy arrays as one of tensors, with its gradient.

    .. math:: \partial_j \log\tilde\pi(x) \approx \frac{\log\tilde\pi(x + h_j e_j) - \log\tilde\pi(x - h_j e_j)}{2 h_j},
              \quad h_j = \epsilon^{1/3} \max(1, |x_j|)

    Args:
        log_density: Maps float64 rows ``(n, features)`` to ``(n,)``, in nats.
        gradient: Maps them to ``(n, features)``; central differences where it is not given.

    Returns:
        A function of tensors ``(n, features)``, differentiable once.
    """
    derivative = gradient or (lambda rows: _differences(log_density, rows))
    return foreign(lambda x: _like(x, log_density(_array(x))), lambda x: _like(x, _by_halves(derivative, _array(x))))


def foreign(
    value: Callable[[Tensor], Tensor],
    slope: Callable[[Tensor], Tensor],
    curve: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> LogDensity:
    """A log-density of rows from outside of PyTorch, with its gradient ``(n, features)``, and its Hessian times a
    vector if that is known: if not, a second derivative is an error, not a silent 0."""

    def target(x: Tensor) -> Tensor:
        return _Foreign.apply(x, value, slope, curve)  # type: ignore[no-any-return, no-untyped-call]

    return target


def _differences(log_density: Callable[[np.ndarray], Any], rows: np.ndarray) -> np.ndarray:
    n, features = rows.shape
    h = STEP * np.maximum(1.0, np.abs(rows))
    shifts = h[None] * np.eye(features)[:, None]  # (features, n, features)
    both = np.concatenate([rows + shifts, rows - shifts]).reshape(-1, features)
    values = _by_halves(log_density, both).reshape(2, features, n)
    return ((values[0] - values[1]) / (2 * h.T)).T


def _by_halves(function: Callable[[np.ndarray], Any], rows: np.ndarray) -> np.ndarray:
    """What a function gives for rows; NaN for those alone for which it raises."""
    try:
        return np.array(function(rows), dtype=np.float64)
    except Exception:
        if len(rows) == 1:
            return np.full(1, np.nan)
    middle = len(rows) // 2
    parts = [_by_halves(function, rows[:middle]), _by_halves(function, rows[middle:])]
    shape = max((part.shape[1:] for part in parts), key=len)
    return np.concatenate(
        [np.broadcast_to(p.reshape(len(p), *p.shape[1:] or (1,) * len(shape)), (len(p), *shape)) for p in parts]
    )


class _Foreign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Any, slope: Any, curve: Any) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.slope, ctx.curve = slope, curve
        return value(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return grad[:, None] * _Slope.apply(x, ctx.slope, ctx.curve), None, None, None


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Any, curve: Any) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.curve = curve
        return slope(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        if ctx.curve is None:
            raise RuntimeError("a log-density from outside PyTorch can be differentiated only once")
        (x,) = ctx.saved_tensors
        return ctx.curve(x, grad.contiguous()), None, None


def _array(x: Tensor) -> np.ndarray:
    return x.detach().double().cpu().numpy()


def _like(x: Tensor, values: Any) -> Tensor:
    return torch.as_tensor(np.array(values, dtype=np.float64)).to(x)
