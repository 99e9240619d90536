"""Functions that run outside compiled graphs, without importing the compiler (a second) if nothing is compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])


def eager(function: Function, *, unless: Callable[..., bool] = lambda *args: False) -> Function:
    """Like ``torch.compiler.disable``, which however imports the whole compiler as soon as it decorates something.

    Args:
        function: The function.
        unless: Of its positional arguments: calls that a graph may hold all the same.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() and not unless(*args):
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return wrapper  # type: ignore[return-value]
