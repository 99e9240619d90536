"""Densities and samplers as files that run without this library: PyTorch's exported programs, and ONNX."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..numerics.torch_internals import captured_with_gradients
from ..tables.model import TableModel
from ..tables.schema.kinds.named import Named
from ..transforms.continuous import Continuous
from ..transforms.seam import plain
from .compiled import add_compiled, more_rows
from .table_graph import TableGraph

METHODS = ("log_prob", "sample")
FORMATS = (".pt2", ".onnx")
BATCH = 3  # rows of the example; the file accepts any number
CLOSE = 1e-5


class Exported(nn.Module):
    """One method of a density as the forward pass of a module: log p(x | context), or x = g(z, context); or, as
    ``gradient``, log p and its derivatives with respect to x and the context."""

    text: ClassVar[dict[str, Named]] = {}  # inputs that are text in the file

    def __init__(self, density: Density, method: str) -> None:
        super().__init__()
        self.density, self.method = density, method
        self.inputs, self.output = (["x", "context"], "log_prob") if method == "log_prob" else (["z", "context"], "x")

    def forward(self, value: Tensor, context: Tensor | None = None) -> Any:
        if self.method == "log_prob":
            return self.density.log_prob(value, context)
        if self.method == "gradient":
            return self._gradient([each for each in (value, context) if each is not None])
        flow: Any = self.density
        return flow.transform.generate(value, context)

    def _gradient(self, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            inputs = [each.detach().requires_grad_() for each in inputs]
            log_prob = self.density.log_prob(*inputs)
            return log_prob.detach(), *torch.autograd.grad(log_prob.sum(), inputs)


def export(
    density: Density | TableModel,
    path: str | Path,
    *,
    method: str | None = None,
    gradients: bool = False,
    compile: bool = True,
) -> Path:
    r"""Writes a density and its sampler as a file that runs without this library, or without Python's overhead.

    ``model.pt2`` is run by PyTorch, ``torch.export.load("model.pt2").module()(x, context)``; ``model.onnx`` by
    onnxruntime and any other reader of ONNX, with inputs ``x`` (or ``z``) and ``context``. Both take a batch of any
    size, ``(n, *event)`` and ``(n, context features)``, and return

    .. math:: \log p(x \mid c) \quad (\text{method="log\_prob"}), \qquad g(z, c) \quad (\text{method="sample"})

    where z is drawn from the base, a standard normal in most recipes. Before the file is kept, it is run and compared
    with the density. A ``.pt2`` file also holds machine code for this kind of processor, which
    :func:`~pushforward.load_compiled` runs: a single row takes a fifteenth to a half of its time in Python.

    Args:
        density: A flow or another density; or a fitted table, as ONNX alone, from raw columns to what
            :meth:`~pushforward.TableDensity.score_samples` gives for rows without missing numbers.
        path: The file; its ending, ``.pt2`` or ``.onnx``, determines the format.
        method: ``log_prob`` or ``sample``. By default ``log_prob``, and in machine code both where the density is a
            flow.
        gradients: Machine code also for the derivatives of log p with respect to x and the context.
        compile: Whether to compile machine code, which takes a C++ compiler and ten seconds to a minute.

    Returns:
        The path.

    Raises:
        TypeError: ``density`` is none.
        ValueError: the method, the ending, or what the density does cannot be written so; one sentence says why.
        ImportError: ONNX is asked for, and its packages are not installed.

    Example:
        >>> import tempfile, torch, pushforward as pf
        >>> flow, x = pf.realnvp(2), torch.randn(5, 2)
        >>> path = pf.export(flow, f"{tempfile.mkdtemp()}/model.pt2")  # doctest: +SKIP
        >>> bool((pf.load_compiled(path).log_prob(x) - flow.log_prob(x)).abs().max() < 1e-5)  # doctest: +SKIP
        True
    """
    path, first = Path(path), method or METHODS[0]
    if isinstance(density, TableModel) and path.suffix == ".onnx" and first == "log_prob":
        _check(density.density, path, first, gradients, compile)
        with _quiet():
            graph = copy.deepcopy(TableGraph(density)).cpu().eval()
            given = graph.example(BATCH)
            graph(*given)  # refuses what no graph holds, in a sentence of its own
            _write_onnx(_traced(graph, given), graph, given, path)
        return path
    checked = _check(density, path, first, gradients, compile)
    density = copy.deepcopy(checked).eval().requires_grad_(False)  # the caller's is left unchanged
    with _quiet():
        module, inputs, program = _program(density, first)
        if path.suffix == ".onnx":
            _write_onnx(program, module, inputs, path)
            return path
        _compare(module, inputs, program.module())
        about = {"pushforward": f'{{"method": "{first}", "event_shape": {list(density.event_shape)}}}'}
        torch.export.save(program, path, extra_files=about)
        samples = method is None and isinstance(density, Flow) and not _why_not(density, "sample")
        others = [name for name, wanted in (("sample", samples), ("gradient", gradients)) if wanted and compile]
        programs = {first: program} | {name: _program(density, name)[2] for name in others}
        failure = add_compiled(path, density, programs) if compile else None
    if failure:
        warnings.warn(f"{path} holds {failure}", stacklevel=2)
    return path


def _program(density: Density, method: str) -> tuple[Exported, tuple[Tensor, ...], torch.export.ExportedProgram]:
    module, inputs = Exported(density, method), example(density, method)
    return module, inputs, _traced(module, inputs)


def exported(density: Density) -> torch.export.ExportedProgram:
    """The log-density of one row ``(*event,)``, given a context ``(context features,)`` if there is one, in PyTorch's
    core operators.

    Raises:
        TypeError: ``density`` is none.
        ValueError: it cannot be written as one program.
    """
    _check_density(density)
    why = _why_not(density, "log_prob", loops=False)
    if why:
        raise ValueError(why)
    module = Exported(copy.deepcopy(density), "log_prob").eval().requires_grad_(False)
    inputs = tuple(value[0] for value in example(density, "log_prob"))
    with _quiet():
        table = {**torch.export.default_decompositions(), **PLAINER}
        return _traced(module, inputs, rows=False).run_decompositions(table)


def _check_density(density: Any) -> None:
    if not isinstance(density, Density):
        inside = ": export its .density" if isinstance(getattr(density, "density", None), Density) else ""
        raise TypeError(f"density must be a flow or another density, got {type(density).__name__}{inside}")


def _check(density: Any, path: Path, method: str, gradients: bool, compile: bool) -> Density:
    _check_density(density)
    if method not in METHODS:
        raise ValueError(f"method={method!r}: expected one of {', '.join(METHODS)}")
    if path.suffix not in FORMATS:
        raise ValueError(f"path={str(path)!r}: expected a name that ends in .pt2 (PyTorch) or .onnx")
    if gradients and not (compile and path.suffix == ".pt2"):
        raise ValueError("gradients=True is for machine code: it takes a name that ends in .pt2, and no compile=False")
    if path.suffix == ".onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            try:
                import_module(name)
            except ModuleNotFoundError:
                raise ImportError(f"ONNX needs {name}: pip install 'pushforward[onnx]'") from None
    why = _why_not(density, method, loops=path.suffix == ".pt2") or (gradients and _why_no_gradients(density))
    if why:
        raise ValueError(why)
    return density


def _why_no_gradients(density: Density) -> str | None:
    sequential = isinstance(density, Flow) and density.transform.sequential[0]
    if not sequential and not any(isinstance(part, Continuous) for part in density.modules()):
        return None
    return (
        "gradients=True is for densities that take one pass, but this one goes in steps: leave it out, and derivatives "
        "are taken by the density itself"
    )


def _why_not(density: Density, method: str, loops: bool = True) -> str | None:
    """Why no fixed program, which may hold ``loops`` of equal steps, can hold a method of a density; None if one
    can."""
    steps = [part.solver.steps for part in density.modules() if isinstance(part, Continuous)]
    if None in steps or (steps and not loops):
        return (
            "a continuous flow takes as many steps as its data require, which no fixed program can hold: give it equal "
            "steps, Continuous(field, steps=20), and a name that ends in .pt2"
        )
    if not isinstance(density, Flow):
        kind = type(density).__name__
        return (
            f"method='sample' is for flows, but {kind} is not one: export its log_prob" if method == "sample" else None
        )
    transform = density.transform
    if not transform.sequential[METHODS.index(method)] or (loops and transform.looped):
        return None
    if method == "sample":
        return (
            "this flow samples in many steps (feature by feature, say), and export writes one pass: export its "
            "log_prob, or take a flow that samples at once, such as realnvp, iaf or nsf(coupling=True)"
        )
    return (
        "the density of this flow takes many steps (feature by feature, say), and export writes one pass: export "
        "its sampler with method='sample', or take a flow whose density takes one pass, such as maf, realnvp or nsf"
    )


def example(density: Density, method: str, rows: int = BATCH) -> tuple[Tensor, ...]:
    """Inputs of a batch: rows in the density's support, or noise, and contexts."""
    generator, features = torch.Generator(density.device).manual_seed(0), density.context_features
    options: dict[str, Any] = {"generator": generator, "dtype": density._dtype(), "device": density.device}
    context = (torch.randn(rows, features, **options),) if features else ()
    if method != "sample":
        return density.sample(() if context else (rows,), *context, generator=generator), *context
    flow: Any = density
    return flow._noise(() if context else (rows,), *(context or (None,)), generator, 1.0)[0], *context


def _traced(
    module: Exported | TableGraph, inputs: tuple[Tensor, ...], *, rows: bool = True
) -> torch.export.ExportedProgram:
    """The program, for any number of rows, or for shapes as they are."""
    batch = torch.export.Dim("batch")
    shapes: Any = tuple({0: batch} for _ in inputs) if rows else None
    shapes = (shapes,) if isinstance(module, TableGraph) else shapes
    try:
        with torch.no_grad(), plain():
            capture = captured_with_gradients if module.method == "gradient" else torch.export.export
            return capture(module, inputs, dynamic_shapes=shapes)
    except Exception as error:  # of many kinds, all of PyTorch's own
        said = [*str(error).strip().splitlines(), type(error).__name__][0]
        raise ValueError(f"{_what(module)} cannot be written as one program: PyTorch says {said}") from None


def _what(module: Exported | TableGraph) -> str:
    return {"log_prob": "the density", "sample": "the sampler"}.get(module.method, "the gradient of the density")


def _write_onnx(
    program: torch.export.ExportedProgram, module: Exported | TableGraph, inputs: tuple[Tensor, ...], path: Path
) -> None:
    import onnxruntime
    from onnxscript import optimizer

    replace = program.run_decompositions  # called by the exporter: one pass over the graph for its operators and ours
    program.run_decompositions = lambda table: replace({**table, **PLAINER})  # type: ignore[method-assign]
    try:
        written = torch.onnx.export(program, inputs, dynamo=True, optimize=False, verbose=False)
        assert written is not None
        optimizer.fold_constants(written.model)  # no more: of a number clipped twice, onnxscript's rules lose an end
        optimizer.remove_unused_nodes(written.model)
        model = _with_names(written.model_proto, module).SerializeToString()
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    except Exception as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        missing = next((line for line in reversed(said) if "aten." in line), said[-1] if said else type(error).__name__)
        raise ValueError(
            f"{_what(module)} needs what ONNX does not have: {missing}; .pt2 files hold all of PyTorch"
        ) from None

    def run(*given: Tensor) -> Tensor:
        fed = {name: value.cpu().numpy() for name, value in zip(module.inputs, given, strict=False)}
        fed |= {name: np.array(kind.labels, dtype=object)[fed[name].astype(int)] for name, kind in module.text.items()}
        return torch.from_numpy(session.run(None, fed)[0])

    _compare(module, inputs, run)
    path.write_bytes(model)


def _with_names(model: Any, module: Exported | TableGraph) -> Any:
    """The graph between inputs and an output of the module's own names, in which text is looked up among its values."""
    from onnx import TensorProto, compose, helper

    graph = (model := compose.add_prefix(model, "graph.")).graph
    for name, given in zip(module.inputs, graph.input, strict=False):
        node = helper.make_node("Identity", [name], [given.name])
        if name in module.text:
            kind = module.text[name]
            codes = {"": math.nan} | {label: float(place) for place, label in enumerate(kind.labels)}
            table: Any = {"keys_strings": [*codes], "values_floats": [*codes.values()], "default_float": kind.unknown}
            node = helper.make_node("LabelEncoder", [name], [given.name], domain="ai.onnx.ml", **table)
            given.type.tensor_type.elem_type = TensorProto.STRING
        graph.node.insert(0, node)
        given.name = name
    graph.node.append(helper.make_node("Identity", [graph.output[0].name], [module.output]))
    graph.output[0].name = module.output
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    return model


def _diagonal_scatter(matrix: Tensor, diagonal: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Square matrices with their diagonal replaced."""
    if offset or {dim1 % matrix.dim(), dim2 % matrix.dim()} != {matrix.dim() - 2, matrix.dim() - 1}:
        return NotImplemented
    place = torch.arange(matrix.shape[-1], device=matrix.device)
    return torch.where(place[:, None] == place, diagonal.unsqueeze(-1), matrix)


def _solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """A⁻¹ B, or B A⁻¹, by substitution, row by row."""
    if not left:
        transposed = _solve_triangular(A.mT, B.mT, upper=not upper, unitriangular=unitriangular)
        return transposed.mT
    if upper:
        flipped = _solve_triangular(A.flip(-2, -1), B.flip(-2), upper=False, unitriangular=unitriangular)
        return flipped.flip(-2)
    rows = B[..., :1, :] if unitriangular else B[..., :1, :] / A[..., :1, :1]
    for i in range(1, A.shape[-1]):
        row = B[..., i : i + 1, :] - A[..., i : i + 1, :i] @ rows
        rows = torch.cat([rows, row if unitriangular else row / A[..., i : i + 1, i : i + 1]], -2)
    return rows


def _bits(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The bits of finite float64 numbers as whole ones, by arithmetic."""
    if (x.dtype, dtype) != (torch.float64, torch.int64):
        return NotImplemented
    size = x.abs().where(x != 0, 1.0)
    exponent = size.log2().floor()
    mantissa = size * torch.exp2(-exponent)
    off = (mantissa >= 2).double() - (mantissa < 1).double()  # beside a power of 2, the logarithm is rounded
    mantissa, exponent = mantissa * torch.exp2(-off), exponent + off
    bits = (exponent + 1023).long() * 2**52 + ((mantissa - 1) * 2.0**52).long()
    return torch.where(x < 0, bits + -(2**63), bits).where(x != 0, 0)


def _searchsorted(ordered: Tensor, x: Tensor, *, right: bool = False, **other: Any) -> Tensor:
    """How many of some increasing numbers are below each of others."""
    ordered = ordered if ordered.dim() == 1 else ordered.unsqueeze(-2)
    return (ordered <= x.unsqueeze(-1) if right else ordered < x.unsqueeze(-1)).sum(-1)


def _copysign(x: Tensor, sign: Tensor) -> Tensor:
    return torch.where(sign < 0, -x.abs(), x.abs())


def _asinh(x: Tensor) -> Tensor:
    """Which onnxruntime lacks for float64; beyond 1e8 it is log 2|x|."""
    if x.dtype == torch.float16:  # whose squares would overflow
        return NotImplemented
    size = x.abs()
    near, far = size.clamp_max(1e8), size.clamp_min(1e8) / 1e8
    return x.sign() * ((near + near.square() / (1 + (1 + near.square()).sqrt())).log1p() + far.log())


def _softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """Which onnxruntime lacks for float64."""
    return x.clamp_min(0) + (-beta * x.abs()).exp().log1p() / beta


# operators missing from ONNX and JAX, in terms of those that they have
PLAINER: dict[Any, Any] = {
    torch.ops.aten.diagonal_scatter.default: _diagonal_scatter,
    torch.ops.aten.linalg_solve_triangular.default: _solve_triangular,
    torch.ops.aten.searchsorted.Tensor: _searchsorted,
    torch.ops.aten.view.dtype: _bits,
    torch.ops.aten.copysign.Tensor: _copysign,
    torch.ops.aten.asinh.default: _asinh,
    torch.ops.aten.softplus.default: _softplus,
}


def _compare(module: Exported | TableGraph, inputs: tuple[Tensor, ...], run: Callable[..., Tensor]) -> None:
    """Runs the written file on a different number of rows, and compares the result with the density."""
    given = more_rows(inputs)
    with torch.no_grad(), plain():
        ours, theirs = module(*given), run(*given).to(inputs[0].device)
    if not torch.allclose(ours, theirs.to(ours.dtype), atol=CLOSE, rtol=CLOSE):
        apart = float((ours - theirs).abs().max())
        raise ValueError(f"{_what(module)} as it was written differs by {apart:.2g}; no file was kept")


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses the exporters' messages, which are meant for their own developers."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.fx", "torch.export", "torch._inductor", "onnxscript")
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
