"""Modules that can say how they were built, so that a checkpoint is plain JSON plus tensors and never a pickle.

Every transform, net and distribution derives from :class:`Described`: the arguments of its constructor are kept, and
:func:`describe` turns them into JSON; :func:`build` turns the JSON back into a fresh module. Only classes that are
already imported and registered can be built, so a description can name code but never bring any.
"""

from __future__ import annotations

import functools
import inspect
import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn


class Described(nn.Module):
    """An ``nn.Module`` that remembers the arguments it was constructed with.

    Subclassing is enough; constructors take values, sequences, tensors and other described modules. Classes defined
    outside this package are registered under ``module.qualname`` and load once that module is imported.
    """

    registry: ClassVar[dict[str, type[Described]]] = {}
    _arguments: dict[str, Any]

    if TYPE_CHECKING:  # parameters, buffers and submodules are attributes that only nn.Module knows of

        def __getattr__(self, name: str) -> Any: ...

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Described.registry[_name(cls)] = cls
        if "__init__" in cls.__dict__:
            cls.__init__ = _remember_arguments(cls.__init__)  # type: ignore[method-assign]

    def arguments(self) -> dict[str, Any]:
        """The constructor arguments that rebuild this module; its tensors are stored apart."""
        return self.__dict__.get("_arguments", {})  # a class without a constructor takes none


def _name(cls: type) -> str:
    inside = cls.__module__.split(".")[0] == __package__.split(".")[0]
    return cls.__name__ if inside else f"{cls.__module__}.{cls.__qualname__}"


def _remember_arguments(init: Any) -> Any:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Described, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if type(self).__init__ is wrapper:  # the outermost constructor speaks for the object
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            object.__setattr__(self, "_arguments", dict(list(bound.arguments.items())[1:]))

    return wrapper


def describe(value: Any) -> Any:
    """JSON for a constructor argument or a described module.

    Raises:
        TypeError: something in it can neither be written as JSON nor rebuilt from its arguments.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, Tensor):
        return {"tensor": value.detach().cpu().tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, list | tuple | range | nn.ModuleList):
        return [describe(item) for item in value]
    if isinstance(value, dict):
        return {"dict": {str(key): describe(item) for key, item in value.items()}}
    if isinstance(value, Described):
        return {"type": _name(type(value)), "arguments": {k: describe(v) for k, v in value.arguments().items()}}
    raise TypeError(
        f"{type(value).__module__}.{type(value).__qualname__} cannot be saved: derive it from "
        "pushforward.saving.config.Described (an nn.Module that remembers its constructor arguments)"
    )


def build(description: Any) -> Any:
    """The inverse of :func:`describe`; modules come back freshly initialised.

    Raises:
        ValueError: the description names an unknown class or has an unknown form.
    """
    if isinstance(description, list):
        return [build(item) for item in description]
    if not isinstance(description, dict):
        return description
    if "float" in description:
        return float(description["float"])
    if "tensor" in description:
        return torch.tensor(description["tensor"], dtype=dtype_named(description.get("dtype")))
    if "dict" in description:
        return {key: build(item) for key, item in description["dict"].items()}
    if "type" in description:
        cls = Described.registry.get(description["type"])
        if cls is None:
            raise ValueError(f"unknown type {description['type']!r}: import the module that defines it before loading")
        return cls(**{key: build(item) for key, item in description.get("arguments", {}).items()})
    raise ValueError(f"not a description: keys {sorted(description)}")


def dtype_named(name: Any) -> torch.dtype:
    """The dtype called so: ``float32`` and the like.

    Raises:
        ValueError: there is none.
    """
    dtype = getattr(torch, str(name), None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"unknown dtype {name!r}")
    return dtype
