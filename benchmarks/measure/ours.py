"""This library's models."""

from __future__ import annotations

from typing import Any

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
