"""Private names of PyTorch, each with a fallback if it is missing; and functions that run outside compiled graphs."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_FUNCTORCH_ACTIVE: Any = getattr(torch._C, "_are_functorch_transforms_active", None)
_TOP_HOOKS: Any = getattr(getattr(torch._C, "_autograd", None), "_top_saved_tensors_default_hooks", None)
_MODE: Any = getattr(torch._C, "_get_dispatch_mode", None)
_FAKE: Any = getattr(getattr(torch._C, "_TorchDispatchModeKey", None), "FAKE", None)
_CHILDREN = "_modules"
_LERP: Any = getattr(torch, "_foreach_lerp_", None)
_ADD: Any = getattr(torch, "_foreach_add", None)
_LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
_ADD_RELU: Any = getattr(getattr(torch.ops.aten, "_add_relu", None), "out", None)
Function = TypeVar("Function", bound=Callable[..., Any])


def transformed() -> bool:
    """Whether a transformation of ``torch.func`` (vmap, jvp, jacrev, …) is active. Unknown counts as yes: the plain
    formulas are always correct."""
    return _FUNCTORCH_ACTIVE is None or _FUNCTORCH_ACTIVE()


def fake_tensors() -> bool:
    """Whether tensors that are made now hold no numbers (``FakeTensorMode``): they may not be kept. Unknown is no."""
    return None not in (_MODE, _FAKE) and _MODE(_FAKE) is not None


def forward_mode() -> bool:
    """Whether forward-mode derivatives are being computed (``torch.autograd.forward_ad``). Unknown counts as no."""
    return getattr(forward_ad, "_current_level", -1) >= 0


def saved_tensors_hooked() -> bool:
    """Whether saved tensors go through default hooks, as under ``torch.utils.checkpoint``, which expects a graph to
    hold nothing else. Unknown counts as no: a graph then holds more memory than necessary."""
    return _TOP_HOOKS is not None and _TOP_HOOKS(True) is not None


def rectified_sum(like: Tensor) -> Callable[..., Tensor]:
    """max(h + bias, 0) without a graph, as ``f(h, bias, out=out)`` for tensors like one: one pass over memory if
    PyTorch supports it, two otherwise."""
    if _ADD_RELU is None or like.device.type != "cpu" or like.dtype not in (torch.float32, torch.float64):
        return lambda h, bias, out: torch.add(h, bias, out=out).relu_()
    return _ADD_RELU  # type: ignore[no-any-return]


def has_onednn() -> bool:
    """Whether :func:`onednn_product` is not simply PyTorch's own product."""
    return _LINEAR is not None


def onednn_product(a: Tensor, b: Tensor) -> Tensor:
    """a b for two float32 matrices on the CPU by oneDNN, in new memory and without a graph."""
    if _LINEAR is None:
        return torch.mm(a, b)
    return _LINEAR(a, _packed(b).t(), None, "none", [], "")  # type: ignore[no-any-return]


def _packed(matrix: Tensor) -> Tensor:
    """The matrix without gaps between its rows or columns, with which oneDNN takes several hundred times as long on the
    right of a product."""
    rows, columns = matrix.shape
    if matrix.stride() in ((columns, 1), (1, rows)):
        return matrix
    return matrix.contiguous() if matrix.stride(1) == 1 else matrix.t().contiguous().t()


def repeat(count: int, step: Callable[..., tuple[Tensor, ...]], *state: Tensor) -> tuple[Tensor, ...]:
    """``state = step(k, *state)`` for k = 0, 1, …, count - 1, a 0-d tensor. In a graph it is one node, whatever the
    count, if PyTorch has such nodes and nothing needs a gradient."""
    loop = _while_loop() if torch.compiler.is_compiling() and not torch.is_grad_enabled() else None
    if loop is None:
        for k in torch.arange(count, device=state[0].device):
            state = step(k, *state)
        return state
    first = torch.zeros((), dtype=torch.long, device=state[0].device)
    _, *found = loop(lambda k, *now: k < count, lambda k, *now: (k + 1, *step(k, *now)), (first, *state))
    return tuple(found)


@functools.cache
def _while_loop() -> Any:
    try:
        from torch._higher_order_ops.while_loop import while_loop
    except ImportError:
        return None
    return while_loop


def mark_any_length(value: Tensor) -> None:
    """Tells compilers that the first dimension may be any number of at least two; where PyTorch has no such mark, the
    second size is compiled anew."""
    mark = getattr(torch._dynamo, "maybe_mark_dynamic", None)
    if mark is not None:
        mark(value, 0)


def captured_with_gradients(module: nn.Module, inputs: tuple[Tensor, ...], *, dynamic_shapes: Any) -> Any:
    """``torch.export.export`` of a module that differentiates inside.

    Raises:
        RuntimeError: this version of PyTorch cannot.
    """
    try:
        from torch.export._trace import _export

        return _export(module, inputs, dynamic_shapes=dynamic_shapes, strict=False, pre_dispatch=False)
    except (ImportError, TypeError):
        raise RuntimeError(f"PyTorch {torch.__version__} exports no derivatives") from None


def ahead_of_time(program: Any, path: str) -> None:
    """Compiles an exported program to a package of machine code, with its weights as constants.

    Products are those of few rows: oneDNN takes 10 microseconds to begin one, four times a small product's own time.

    Raises:
        RuntimeError: this version of PyTorch cannot, or there is no compiler.
    """
    try:
        from torch._inductor import aoti_compile_and_package

        _remember_strides()
        known = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")  # else tested for 12 seconds
        options = {"freezing": True} | ({"cpp.vec_isa_ok": True} if known else {})
        with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
            aoti_compile_and_package(program, package_path=path, inductor_configs=options)
    except Exception as error:  # of many kinds, all of PyTorch's own or its compiler's
        raise RuntimeError([*str(error).strip().splitlines(), type(error).__name__][0]) from None


def _remember_strides() -> None:
    """Gives the compiler's memory of strides, 128 of them, room for all layers of a flow: a fifth less time."""
    from torch._inductor import sizevars
    from torch._inductor.codegen import cpp

    for name in ("simplify_index_in_vec_range", "stride_at_vec_range"):
        found: Any = getattr(sizevars, name, None)
        if hasattr(found, "cache_parameters") and found.cache_parameters()["maxsize"] == 128:
            larger = functools.lru_cache(maxsize=1 << 14)(found.__wrapped__)
            for module in (sizevars, cpp):
                if getattr(module, name, None) is found:
                    setattr(module, name, larger)


def machine_code(path: str) -> Callable[..., list[Tensor]]:
    """A package of :func:`ahead_of_time` as a function of tensors to a list of tensors.

    Where PyTorch's own reader can be called, the compiler, which takes 64 MB and two seconds, is not imported.
    """
    try:
        run = torch._C._aoti.AOTIModelPackageLoader(path, "model", False, 1, -1).run  # type: ignore[call-arg, attr-defined]
        return lambda *given: run(list(given))
    except (AttributeError, TypeError):
        from torch._inductor import aoti_load_package
        from torch.utils._pytree import tree_leaves

        package = aoti_load_package(path)
        return lambda *given: tree_leaves(package(*given))


def standard_gamma(shape: Tensor, generator: torch.Generator | None) -> Tensor:
    """Gamma draws of scale 1, differentiable with respect to their shapes. If PyTorch cannot draw them from a
    generator, falls back to ``torch.distributions``, which uses the global one."""
    draw = getattr(torch, "_standard_gamma", None)
    if draw is None:
        return torch.distributions.Gamma(shape, torch.ones_like(shape), validate_args=False).rsample()
    return draw(shape, generator=generator)  # type: ignore[no-any-return]


@torch.no_grad()
def lerp_(values: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    """values + weight (ends - values) in place, without a graph; one call for all tensors where PyTorch has it."""
    if _LERP is not None:
        _LERP(values, ends, weight)
        return
    for value, end in zip(values, ends, strict=True):
        value.lerp_(end, weight)


def added(values: Sequence[Tensor], others: Sequence[Tensor], alpha: float) -> Sequence[Tensor]:
    """values + alpha · others; one call for all tensors where PyTorch has it."""
    if _ADD is not None:
        return _ADD(values, others, alpha=alpha)  # type: ignore[no-any-return]
    return [torch.add(value, other, alpha=alpha) for value, other in zip(values, others, strict=True)]


def watched(module: nn.Module) -> bool:
    """Whether calls of this very module must go through it: it has hooks (as under FSDP2) or compiled code. Unknown
    counts as yes."""
    try:
        return bool(
            module._forward_pre_hooks
            or module._forward_hooks
            or module._backward_pre_hooks
            or module._backward_hooks
            or module._compiled_call_impl
        )
    except AttributeError:
        return True


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether something changes what a module reads or gives. Unknown counts as no."""
    return bool(getattr(module, "_forward_hooks", None) or getattr(module, "_forward_pre_hooks", None))


def listed(parameters: nn.ParameterList) -> Iterable[Tensor]:
    """Its parameters, without a ParameterList's lookups by name, which take longer than a small matrix product."""
    found = getattr(parameters, "_parameters", None)
    return list(parameters) if found is None else found.values()


def with_children(module: nn.Module, change: Callable[[str, nn.Module], nn.Module]) -> nn.Module:
    """A copy of a module that shares its tensors, with ``change(name, child)`` in place of each child. Modules that
    cannot be copied deeply, as under FSDP2, can be copied so."""
    children = getattr(module, _CHILDREN, None)
    if children is not None:
        twin = copy.copy(module)
        vars(twin)[_CHILDREN] = {
            name: None if child is None else change(name, child) for name, child in children.items()
        }
        return twin
    tensors = (*module.parameters(), *module.buffers())
    twin = copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
    for name, child in list(twin.named_children()):
        setattr(twin, name, change(name, child))
    return twin


def is_persistent(module: nn.Module, name: str) -> bool:
    """Whether a parameter or buffer of the module's own is part of its state."""
    found = getattr(module, "_non_persistent_buffers_set", None)
    return name in module.state_dict() if found is None else name not in found


def watch_operators(run: Callable[[Any, Any, Any], Any]) -> AbstractContextManager[Any]:
    """Inside, each operator of PyTorch is run by ``run(operator, args, kwargs)``. Where it has no such mode, nothing is
    called."""
    mode = _watching()
    return nullcontext() if mode is None else mode(run)


def writes(operator: Any) -> bool:
    """Whether an operator writes to what it is given. Unknown counts as no."""
    return bool(getattr(getattr(operator, "_schema", None), "is_mutable", False))


def takes_device(operator: Any) -> bool:
    """Whether an operator is told on which device to compute. Unknown counts as no."""
    arguments = getattr(getattr(operator, "_schema", None), "arguments", ())
    return any(argument.name == "device" for argument in arguments)


@functools.cache
def _watching() -> Any:
    try:
        from torch.utils._python_dispatch import TorchDispatchMode
    except ImportError:
        return None

    class Watching(TorchDispatchMode):
        def __init__(self, run: Callable[[Any, Any, Any], Any]) -> None:
            super().__init__()
            self.run = run

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # PyTorch would import its compiler to keep it out

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return self.run(func, args, kwargs or {})

    return Watching


def eager(function: Function, *, unless: Callable[..., bool] = lambda *args: False) -> Function:
    """Like ``torch.compiler.disable``, which however imports the whole compiler, for a second, as soon as it decorates.

    Args:
        unless: Of its positional arguments: calls that a graph may hold all the same.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() and not unless(*args):
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return wrapper  # type: ignore[return-value]
