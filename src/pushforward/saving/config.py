"""Modules that describe how they are built, so that a checkpoint is plain JSON plus tensors and never a pickle.

Every transform, net and distribution derives from :class:`Configurable`: :func:`describe` turns the constructor
arguments that would rebuild it as it is now into JSON, and :func:`build` turns the JSON back into a fresh module. Only
classes already imported and registered can be built, so a description can name code but never bring any.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .same import ours, same

# layers of torch.nn that a saved model may hold, so that an encoder that is a Sequential of them needs no class of its
# own: their constructor arguments, but for the usual ones, are read from their attributes
LAYERS = (
    "Sequential", "Identity", "Flatten", "Linear", "Conv1d", "Conv2d", "Conv3d", "MaxPool1d", "MaxPool2d", "AvgPool1d",
    "AvgPool2d", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "BatchNorm1d", "BatchNorm2d", "LayerNorm", "GroupNorm",
    "Dropout", "ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Softplus", "Sigmoid", "Tanh",
)  # fmt: skip


class Live:
    """Marks an argument that the module stores under the same name: the attribute is read, not remembered."""


class Configurable(nn.Module):
    """An ``nn.Module`` that knows the constructor arguments needed to build it again.

    Subclassing is enough; constructors take values, sequences, dicts, tensors and other configurable modules. An
    argument that the constructor stores under its own name is read from there, so that replacing ``flow.transform`` or
    ``scalar.limit`` changes what is saved; any other is remembered as given. Classes defined outside this
    package are registered under ``module.qualname`` and load once that module is imported.
    """

    registry: ClassVar[dict[str, type[Configurable]]] = {}
    _arguments: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Configurable.registry[registered(cls)] = cls
        if "__init__" in cls.__dict__:
            cls.__init__ = _remember_arguments(cls.__init__)  # type: ignore[method-assign]

    def arguments(self) -> dict[str, Any]:
        """The constructor arguments that build this module as it is now; its tensors are stored separately."""
        remembered = self.__dict__.get("_arguments", {})  # a class without a constructor has no arguments
        return {name: getattr(self, name) if value is Live else value for name, value in remembered.items()}

    def __repr__(self) -> str:
        """The arguments that are not modules, except defaults of 0 or None, and then the modules."""
        defaults = inspect.signature(type(self).__init__).parameters
        given = {name: value for name, value in self.arguments().items() if _is_told(value, defaults.get(name))}
        about = ", ".join(f"{name}={_short(value)}" for name, value in given.items())
        lines = ["; ".join(filter(None, (about, self.extra_repr())))]
        children = dict(self.named_children())
        if len(children) == 1 and isinstance(only := next(iter(children.values())), nn.ModuleList):
            lines += repr(only).split("\n")[1:-1]  # a list that is the only item needs no name
        else:
            for name, child in children.items():
                if not isinstance(child, nn.ParameterList):
                    lines += f"  ({name}): {child!r}".replace("\n", "\n  ").split("\n")
        first, *rest = lines
        return f"{type(self).__name__}({first}" + "".join(f"\n{line}" for line in rest) + ("\n)" if rest else ")")


def _is_told(value: Any, parameter: inspect.Parameter | None) -> bool:
    """Whether ``repr`` shows an argument: no modules, which are listed anyway, and no defaults of 0 or None."""
    if isinstance(value, Tensor):
        return True
    if isinstance(value, list | tuple) and any(isinstance(item, nn.Module) for item in value):
        return False
    optional = parameter is not None and parameter.default is not parameter.empty
    return not isinstance(value, nn.Module) and (bool(value) or not optional)


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"tensor of shape {tuple(value.shape)}"
    if isinstance(value, list | tuple | range):
        shown = [_short(item) for item in value]
        return f"[{', '.join(shown if len(shown) <= 12 else [*shown[:4], '…', *shown[-4:]])}]"
    return repr(float(value) if isinstance(value, float) else value)  # also one of NumPy


def registered(cls: type) -> str:
    """The name under which a class is saved."""
    return cls.__name__ if ours(cls) else f"{cls.__module__}.{cls.__qualname__}"


def _remember_arguments(init: Any) -> Any:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Configurable, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if type(self).__init__ is wrapper:  # the arguments of the outermost constructor count
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            self._arguments = dict(list(bound.arguments.items())[1:])
            own = {**vars(self), **self._parameters, **self._buffers, **self._modules}
            for name in self._arguments.keys() & own.keys():
                if own[name] is self._arguments[name] or _is(own[name], self._arguments[name]):
                    self._arguments[name] = Live

    return wrapper


def _is(stored: Any, value: Any) -> bool:
    """Whether what a module stores under the name of an argument is this argument, of which lists and dicts of modules
    become a ``ModuleList`` or a ``ModuleDict``."""
    if isinstance(stored, Tensor):  # its values may change: the constructor only needs the shape
        return isinstance(value, Tensor) and value.shape == stored.shape
    if isinstance(stored, nn.ModuleList) and isinstance(value, list | tuple | nn.ModuleList):
        return [*stored] == [*value]
    if isinstance(stored, nn.ModuleDict) and isinstance(value, Mapping):
        return stored.keys() == value.keys() and all(stored[key] is value[key] for key in stored)
    return same(stored, value)


def describe(value: Any) -> Any:
    """JSON for a constructor argument or a configurable module.

    A module with tensors that occurs more than once is described once and then referred to by name, so that tied
    weights stay tied.
    """
    return _describe(value, {})


def _describe(value: Any, known: dict[int, dict[str, Any]]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, Tensor):
        return {"tensor": value.detach().cpu().tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, list | tuple | range | nn.ModuleList):
        return [_describe(item, known) for item in value]
    if isinstance(value, dict | nn.ModuleDict):
        return {"dict": {str(key): _describe(item, known) for key, item in value.items()}}
    if isinstance(value, nn.Module) and (found := _arguments_of(value)) is not None:
        return _describe_module(value, found, known)
    raise TypeError(
        f"{type(value).__module__}.{type(value).__qualname__} cannot be saved: derive it from "
        "pushforward.saving.config.Configurable (an nn.Module that knows its constructor arguments), an encoder from "
        "pushforward.nets.Encoder, or build it of the layers of torch.nn"
    )


def _describe_module(module: nn.Module, found: dict[str, Any], known: dict[int, dict[str, Any]]) -> dict[str, Any]:
    before = known.get(id(module))
    if before is not None:
        return {"again": before.setdefault("shared", list(known).index(id(module)))}
    description: dict[str, Any] = {**found, "arguments": {}}
    if next(module.parameters(), None) is not None or next(module.buffers(), None) is not None:
        known[id(module)] = description
    for name, value in found["arguments"].items():
        description["arguments"][name] = _describe(value, known)
    return description


def build(description: Any, shared: dict[Any, Any] | None = None) -> Any:
    """The inverse of :func:`describe`; modules are freshly initialised."""
    shared = {} if shared is None else shared
    if isinstance(description, list):
        return [build(item, shared) for item in description]
    if not isinstance(description, dict):
        return description
    if "float" in description:
        return float(description["float"])
    if "tensor" in description:
        return torch.tensor(description["tensor"], dtype=dtype_named(description.get("dtype")))
    if "dict" in description:
        return {key: build(item, shared) for key, item in description["dict"].items()}
    if "again" in description:
        return shared[description["again"]]
    if "layer" in description or "type" in description:
        given = {key: build(item, shared) for key, item in description.get("arguments", {}).items()}
        module = (
            _build_layer(description["layer"], given) if "layer" in description else _build_ours(description, given)
        )
        if "shared" in description:
            shared[description["shared"]] = module
        return module
    raise ValueError(f"not a description: keys {sorted(description)}")


def _build_ours(description: dict[str, Any], arguments: dict[str, Any]) -> Configurable:
    cls = Configurable.registry.get(description["type"])
    if cls is None:
        raise ValueError(f"unknown type {description['type']!r}: import the module that defines it before loading")
    return cls(**arguments)


def _arguments_of(layer: nn.Module) -> dict[str, Any] | None:
    """The name of a module and its arguments, modules among them; None if it is of torch.nn, but none of ``LAYERS``."""
    if isinstance(layer, Configurable):
        return {"type": registered(type(layer)), "arguments": layer.arguments()}
    name = type(layer).__name__
    if name not in LAYERS or type(layer) is not getattr(nn, name):
        return None
    if isinstance(layer, nn.Sequential):
        return {"layer": name, "arguments": {"parts": list(layer)}}
    known = inspect.signature(type(layer)).parameters
    found = {key: getattr(layer, key) for key in known if hasattr(layer, key)}
    if "bias" in found:
        found["bias"] = found["bias"] is not None
    return {"layer": name, "arguments": {k: value for k, value in found.items() if value != known[k].default}}


def _build_layer(name: Any, arguments: dict[str, Any]) -> nn.Module:
    """Rebuilds the layer, freshly initialised."""
    if name not in LAYERS:
        raise ValueError(f"unknown layer {name!r:.50}")
    if name == "Sequential":
        return nn.Sequential(*arguments["parts"])
    return getattr(nn, name)(**{key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()})  # type: ignore[no-any-return]


def dtype_named(name: Any) -> torch.dtype:
    """The dtype of that name: ``float32`` and the like."""
    dtype = getattr(torch, str(name), None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"unknown dtype {name!r}")
    return dtype
