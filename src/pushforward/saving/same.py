"""Compares two modules in all but the values of their tensors: what a saved model must be able to restore."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ..numerics.torch_internals import has_forward_hooks, is_persistent

IGNORED = {"training"}  # attributes that do not affect results


def same(first: Any, second: Any) -> bool:
    """Equality by content: of tensors, of sequences whatever their type, of functions by their code."""
    if first is second:
        return True
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if type(first) is not type(second):
        return False
    if isinstance(first, Tensor):
        alike = (first.shape, first.dtype) == (second.shape, second.dtype)
        return alike and torch.equal(first.detach().cpu(), second.detach().cpu())
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, FunctionType):
        return first.__code__ is second.__code__
    if isinstance(first, float) and first != first:
        return second != second
    if hasattr(first, "__dict__") and not isinstance(first, type):
        return same(vars(first), vars(second))
    return bool(first == second)


def ours(cls: type) -> bool:
    """Whether a class is of this package, so that what it reads is known here: what users add affects no result."""
    return cls.__module__.split(".")[0] == __package__.split(".")[0]


def difference(live: nn.Module, rebuilt: nn.Module) -> str | None:
    """How a module differs from the one its description builds, in one sentence; None if it does not.

    Compares the classes of all modules; names, shapes and dtypes of the tensors; tied parameters; non-persistent
    buffers; and public attributes.
    """
    return next(_differences(live, rebuilt), None)


def _differences(live: nn.Module, rebuilt: nn.Module) -> Iterator[str]:
    others = dict(rebuilt.named_modules(remove_duplicate=False))
    modules = dict(live.named_modules(remove_duplicate=False))
    for name, module in modules.items():
        other = others.get(name)
        if is_parametrized(module):
            yield f"{name or 'the model'} is parametrised: torch.nn.utils.parametrize.remove_parametrizations ends that"
        if other is None or type(module) is not type(other):
            expected = "nothing" if other is None else type(other).__name__
            yield f"{name or 'the model'} is a {type(module).__name__}, but its description gives {expected}"
        else:
            yield from _inside(f"{name}." if name else "", module, other)
    yield from (f"{name} is missing" for name in others if name not in modules)
    if _tied(live) != _tied(rebuilt):
        yield "it ties parameters that its description does not, or the other way round"


def _inside(prefix: str, live: nn.Module, rebuilt: nn.Module) -> Iterator[str]:
    """Differences in a module itself, excluding its submodules."""
    tensors, others = _own_tensors(live), _own_tensors(rebuilt)
    yield from (f"{prefix}{name} is missing" for name in others if name not in tensors)
    for name, tensor in tensors.items():
        other = others.get(name)
        if other is None:
            yield f"{prefix}{name} is a tensor that its description does not give"
        elif (tensor.shape, tensor.dtype) != (other.shape, other.dtype):
            found, expected = (f"{tuple(t.shape)} and {t.dtype}" for t in (tensor, other))
            yield f"{prefix}{name} has {found}, but its description gives {expected}"
        elif not is_persistent(live, name) and not same(tensor, other):
            yield f"{prefix}{name}, which is derived from the constructor's arguments, has been changed"
    attributes = {name: value for name, value in vars(live).items() if name[0] != "_" and name not in IGNORED}
    for name, value in attributes.items():
        if name not in vars(rebuilt):
            if hasattr(type(live), name) or not ours(type(live)):
                yield f"{prefix}{name} was set from outside, and no description holds it"
        elif not same(value, vars(rebuilt)[name]):
            yield f"{prefix}{name} is {value!r:.60}, but its description gives {vars(rebuilt)[name]!r:.60}"
    if has_forward_hooks(live):
        yield f"{prefix or 'the model'} has forward hooks, which are code: remove them and register them after loading"


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    parameters = module.named_parameters(recurse=False, remove_duplicate=False)
    return {**dict(parameters), **dict(module.named_buffers(recurse=False, remove_duplicate=False))}


def _tied(module: nn.Module) -> list[list[str]]:
    """Groups of names that refer to the same parameter."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]
