"""The checks, one property each: results, Jacobians, batches, gradients, copies, densities."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..saving.config import build, describe
from ..transforms.base import Transform

TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}
"""The largest allowed ``|got - expected| / (1 + |expected|)``, by dtype; it covers transforms of moderate condition."""

_ROWS = 6  # enough for the batch shapes (), (5,) and (2, 3)
_JACOBIANS = 2  # rows whose Jacobian is computed, in each direction


@torch.no_grad()
def randomize(module: nn.Module, scale: float = 0.5, seed: int = 0) -> nn.Module:
    """Adds seeded noise to every parameter, so that a flow is no longer the identity. Returns the module.

    Args:
        module: Anything with parameters; changed in place.
        scale: Standard deviation of the noise, divided by the fourth root of a parameter's number of entries (for a
            square matrix that is the square root of its columns).
        seed: Seed of the noise; the global generator is not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.add_((noise * scale / max(parameter.numel(), 1) ** 0.25).to(parameter))
    return module


class CheckError(AssertionError):
    """A transform or a flow violates its contract; the message says how and by how much."""


@dataclass(frozen=True)
class Case:
    """One direction of a transform, and the rows on which it is checked."""

    transform: Transform
    name: str
    x: Tensor  # (n, *event), n >= 6
    context: Tensor | None  # (n, features)
    tolerance: float

    @staticmethod
    def of(transform: Transform, x: Tensor, context: Tensor | None, tolerance: float | None) -> Case:
        if x.dim() < transform.event_dim:
            raise ValueError(f"x has {x.dim()} dimensions, but an event of the transform has {transform.event_dim}")
        batch = x.shape[: x.dim() - transform.event_dim]
        tolerance = tolerance or tolerance_of(x.dtype)
        if context is not None:
            batch = torch.broadcast_shapes(batch, context.shape[:-1])
            context = context.expand(*batch, context.shape[-1]).reshape(-1, context.shape[-1])
            x = x.expand(*batch, *x.shape[x.dim() - transform.event_dim :])
        x = x.reshape(-1, *x.shape[x.dim() - transform.event_dim :]).detach()
        take = torch.arange(max(len(x), _ROWS), device=x.device) % len(x)
        context = context if context is None else context[take].detach()
        return Case(transform, f"{type(transform).__name__}.forward", x[take], context, tolerance)

    def rows(self, select: slice | Tensor | int) -> tuple[Tensor, Tensor | None]:
        return self.x[select], None if self.context is None else self.context[select]


def tolerance_of(dtype: torch.dtype) -> float:
    if dtype not in TOLERANCES:
        raise ValueError(f"x has dtype {dtype}, but checks run in float32 or float64")
    return TOLERANCES[dtype]


def close(name: str, what: str, got: Tensor, want: Tensor, tolerance: float) -> float:
    """The largest scaled difference; raises if it exceeds the tolerance or is NaN."""
    got, want = got.detach().double(), want.detach().double()
    error = (got - want).abs() / (1 + want.abs())
    worst = float(error.max()) if error.numel() else 0.0
    if not worst <= tolerance:
        i = int(error.nan_to_num(nan=torch.inf).argmax())
        raise CheckError(
            f"{name}: differs from {what}: {float(got.reshape(-1)[i]):.6g} instead of "
            f"{float(want.reshape(-1)[i]):.6g} (scaled error {worst:.2g}, tolerance {tolerance:.2g})"
        )
    return worst


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise CheckError(sentence)


def check_results(case: Case) -> tuple[Tensor, Tensor]:
    """Shapes, dtype and finiteness of one call."""
    result = case.transform(case.x, case.context)
    _require(isinstance(result, tuple) and len(result) == 2, f"{case.name} must return (value, logdet)")
    z, logdet = result
    for what, tensor in (("value", z), ("log-determinant", logdet)):
        _require(tensor.dtype == case.x.dtype, f"{case.name}: the {what} is {tensor.dtype}, but x is {case.x.dtype}")
        _require(bool(tensor.isfinite().all()), f"{case.name}: the {what} is not finite everywhere")
    batch = z.shape[: z.dim() - case.transform.out_event_dim]
    _require(batch == case.x.shape[:1], f"{case.name}: x has batch shape {tuple(case.x.shape[:1])}, but the value has "
             f"shape {tuple(z.shape)} with events of {case.transform.out_event_dim} dimensions")  # fmt: skip
    _require(
        logdet.shape == batch,
        f"{case.name}: the log-determinant has shape {tuple(logdet.shape)}, but the batch has {tuple(batch)}",
    )
    return z, logdet


@dataclass(frozen=True)
class _Direction:
    round_trip_error: float
    logdet_error: float
    jacobians: Tensor  # (rows, m, m), of the first rows
    reached: set[int]  # ids of the parameters that gradients reach


def check_direction(case: Case) -> _Direction:
    """Checks everything about one direction, cheap checks first."""
    with torch.no_grad():
        z, logdet = check_results(case)
        x, opposite = case.transform.inverse(z, case.context)
        round_trip = close(case.name, "x after the round trip", x, case.x, case.tolerance)
        close(case.name, "minus the other direction's log-determinant", logdet, -opposite, case.tolerance)
        _check_batches(case, z, logdet)
    reached = _check_gradients(case)
    matrices = _jacobians(case)
    want = torch.linalg.slogdet(matrices).logabsdet
    logdet_error = close(case.name, "log|det J| of autodiff", logdet[:_JACOBIANS], want, case.tolerance)
    return _Direction(round_trip, logdet_error, matrices, reached)


def _jacobians(case: Case) -> Tensor:
    """(rows, m, m): Jacobians of the first rows by autodiff, in float64 whatever the dtype of x.

    Rows do not depend on each other (:func:`_check_batches`), so the gradient of a sum over rows has that of each.
    """
    exact = copy.deepcopy(case.transform).double()
    x, context = case.rows(slice(_JACOBIANS))
    context = None if context is None else context.double()
    matrices = torch.autograd.functional.jacobian(lambda v: exact(v, context)[0].reshape(len(v), -1).sum(0), x.double())
    matrices = matrices.reshape(len(matrices), len(x), -1).movedim(1, 0)
    _require(
        matrices.shape[-1] == matrices.shape[-2], f"{case.name}: the Jacobian has shape {tuple(matrices.shape[1:])}"
    )
    return matrices


def _check_batches(case: Case, z: Tensor, logdet: Tensor) -> None:
    """The same rows in another batch shape give the same results; a context may broadcast."""
    event = case.x.shape[1:]
    for shape in ((), (5,), (2, 3)):
        n = int(torch.Size(shape).numel())
        x, context = case.rows(slice(n))
        context = None if context is None else context.reshape(*shape, context.shape[-1])
        got, got_logdet = case.transform(x.reshape(*shape, *event), context)
        what = f"its own rows at batch shape {shape}"
        _require(got_logdet.shape == shape, f"{case.name}: log-determinant of shape {tuple(got_logdet.shape)} at "
                 f"batch shape {shape}")  # fmt: skip
        close(case.name, what, got, z[:n].reshape(got.shape), case.tolerance)
        close(case.name, what, got_logdet, logdet[:n].reshape(shape), case.tolerance)
    if case.context is not None:
        x, one = case.x[:5], case.context[0]
        want = case.transform(x, one.expand(5, -1))
        for got in (case.transform(x, one), case.transform(x, one[None])):
            close(case.name, "itself when a context broadcasts", got[0], want[0], case.tolerance)
            close(case.name, "itself when a context broadcasts", got[1], want[1], case.tolerance)


def _check_gradients(case: Case) -> set[int]:
    """Checks for finite gradients of value and log-determinant; returns the ids of the parameters that they reach."""
    wanted = {"x": case.x.clone().requires_grad_()}
    if case.context is not None:
        wanted["context"] = case.context.clone().requires_grad_()
    z, logdet = case.transform(wanted["x"], wanted.get("context"))
    wanted |= {name: p for name, p in case.transform.named_parameters() if p.requires_grad}
    weights = torch.linspace(0.5, 1.5, z.numel(), dtype=z.dtype, device=z.device).reshape(z.shape)
    loss = (z * weights).sum() + logdet.sum()
    gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    reached = {name: g for name, g in zip(wanted, gradients, strict=True) if g is not None}
    _require("x" in reached, f"{case.name}: no gradient reaches x")
    for name, gradient in reached.items():
        _require(bool(gradient.isfinite().all()), f"{case.name}: the gradient of {name} is not finite")
    return {id(wanted[name]) for name in reached}


@torch.no_grad()
def check_copies(case: Case) -> None:
    """A deep copy, and a scrambled copy that loads the state, give bit-identical results."""
    want = case.transform(case.x, case.context)[0]
    twin = copy.deepcopy(case.transform)
    _require(torch.equal(twin(case.x, case.context)[0], want), f"{case.name}: a deepcopy gives another result")
    randomize(twin, seed=1)
    twin.load_state_dict(case.transform.state_dict())
    _require(torch.equal(twin(case.x, case.context)[0], want), f"{case.name}: state_dict does not restore the result")


def check_description(module: nn.Module, result) -> bool:
    """Whether describe and build preserve the module; raises if they rebuild it with another result."""
    try:
        twin = build(describe(module))
    except TypeError:
        return False
    state = module.state_dict()
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            twin.to(tensor.dtype)
            break
    twin.load_state_dict(state)
    with torch.no_grad():
        same = torch.equal(result(twin), result(module))
    _require(same, f"{type(module).__name__}: build(describe(...)) with the same state gives another result")
    return True


def check_density(flow: Density, x: Tensor, context: Tensor | None, tolerance: float) -> Tensor:
    """log_prob, samples, the torch view and the description of any density; returns log p(x)."""
    name = type(flow).__name__
    with torch.no_grad():
        log_prob = flow.log_prob(x, context)
        batch = x.shape[: x.dim() - len(flow.event_shape)]
        conditions = torch.Size() if context is None else context.shape[:-1]
        want = torch.broadcast_shapes(batch, conditions)
        _require(log_prob.shape == want, f"{name}.log_prob has shape {tuple(log_prob.shape)}, not {tuple(want)}")
        close(f"{name}.forward", "log_prob", flow(x, context), log_prob, 0.0)
        for shape in ((), (4,), (2, 3)):
            drawn = flow.sample(shape, context, generator=torch.Generator().manual_seed(0))
            want = torch.Size(shape) + conditions + flow.event_shape
            _require(drawn.shape == want, f"{name}.sample({shape}) has shape {tuple(drawn.shape)}, not {tuple(want)}")
            _require(bool(drawn.isfinite().all()), f"{name}.sample({shape}) is not finite")
        view = flow.condition(context)
        _require(isinstance(view, torch.distributions.Distribution), f"{name}.condition is not a torch Distribution")
        close(f"{name}.condition", "log_prob", view.log_prob(x), log_prob, tolerance)
        _require(view.sample((2,)).shape == (2, *conditions, *flow.event_shape), f"{name}.condition: shape of sample")
    _require(check_description(flow, lambda f: f.log_prob(x, context)), f"{name}: describe cannot carry it")
    return log_prob


def check_reparameterised(flow: Flow, context: Tensor | None, tolerance: float) -> None:
    """The log-density of the samples agrees with log_prob, and depends on the parameters."""
    drawn, log_prob = flow.rsample_and_log_prob((4,), context, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = flow.log_prob(drawn, context)
    close("Flow.rsample_and_log_prob", "log_prob of its own samples", log_prob, want, tolerance)
    trained = any(p.requires_grad for p in flow.transform.parameters())
    _require(drawn.requires_grad or not trained, "Flow.rsample_and_log_prob: no gradient reaches the samples")


def jacobian_structure(jacobian: Tensor) -> tuple[str, bool]:
    """``"diagonal"``, ``"triangular"`` or ``"full"``, and whether rows and columns had to be reordered to see it.
    Lecture: "Jacobian structure".

    A square matrix can be made triangular by reordering if and only if rows with a single entry can be removed one by
    one, each with its column, until nothing is left.

    Args:
        jacobian: ``(..., m, m)``; an entry counts if it is non-zero in any of the matrices.
    """
    magnitude = jacobian.abs().flatten(0, -3).amax(0) if jacobian.dim() > 2 else jacobian.abs()
    pattern = magnitude > magnitude.max() * 64 * torch.finfo(magnitude.dtype).eps
    for name, permuted, fits in (
        ("diagonal", False, not (pattern & ~torch.eye(len(pattern), dtype=torch.bool)).any()),
        ("diagonal", True, bool((pattern.sum(0) == 1).all() and (pattern.sum(1) == 1).all())),
        ("triangular", False, not pattern.triu(1).any() or not pattern.tril(-1).any()),
    ):
        if fits:
            return name, permuted
    while len(pattern):
        single = (pattern.sum(1) == 1).nonzero()
        if not len(single):
            return "full", False
        row = int(single[0])
        column = int(pattern[row].nonzero()[0])
        pattern = _without(_without(pattern, row).T, column).T
    return "triangular", True


def _without(matrix: Tensor, row: int) -> Tensor:
    return torch.cat([matrix[:row], matrix[row + 1 :]])
