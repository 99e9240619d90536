"""This library's models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import pushforward as pf

from .models import TorchModel, stir
from .sizes import LEVELS, TOLERANCE, Size


def build(family: str, size: Size) -> TorchModel:
    flow = _flow(family, size)
    if family == "cnf":
        stir(flow)
    flow.to(size.device)
    reverse = (lambda n: flow.rsample_and_log_prob((n,))) if family == "iaf" else None
    return TorchModel(flow, flow.log_prob, lambda n: flow.sample((n,)), reverse)


def compiled(family: str, size: Size) -> TorchModel:
    model = build(family, size)
    model.module.compile()
    return model


def machine_code(family: str, size: Size) -> TorchModel:
    """The flow as ``pf.export`` compiles it; the flow itself trains.

    A continuous flow takes five equal steps of dopri5, nearer to 400 steps of rk4 (4e-5 nats in the mean) than the
    adaptive steps at the peers' tolerance (2e-4).
    """
    model = build(family, size)
    flow: Any = model.module
    if family == "cnf":
        field = flow.transform.field
        flow = pf.Flow(pf.transforms.Continuous(field, solver="dopri5", steps=5), flow.event_shape)
    with tempfile.TemporaryDirectory() as folder:
        fast = pf.load_compiled(pf.export(flow, f"{folder}/flow.pt2"))
    return TorchModel(flow, _by(fast.log_prob, flow.log_prob), lambda n: fast.sample((n,)), model.reverse)


def _by(inference: Callable[[Tensor], Tensor], training: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: training(x) if torch.is_grad_enabled() else inference(x)


def _flow(family: str, size: Size) -> pf.Flow:
    deep: dict[str, Any] = {"layers": size.layers, "hidden": size.hidden}
    match family:
        case "maf" | "maf-linear":
            return pf.maf(size.features, linear=family == "maf-linear", **deep)
        case "iaf":
            return pf.iaf(size.features, **deep)
        case "nsf" | "nsf-coupling" | "nsf-linear":
            coupling, linear = family == "nsf-coupling", family == "nsf-linear"
            return pf.nsf(size.features, bins=size.bins, coupling=coupling, linear=linear, **deep)
        case "realnvp":
            return pf.realnvp(size.features, **deep)
        case "glow":
            return pf.glow(size.event, levels=LEVELS, steps=size.layers, hidden=size.hidden[0])
        case "cnf":
            return pf.ffjord(size.features, hidden=size.hidden, rtol=TOLERANCE, atol=TOLERANCE)
    raise ValueError(f"there is no family {family!r}")
