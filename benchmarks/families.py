"""Families next to a library that has them: density, training step and sampling, in turns.

    python benchmarks/families.py                     # all, about two minutes on one core
    python benchmarks/families.py --families naf,gf

Monotone networks, polynomials and Gaussianization next to zuko with its own defaults, residual flows next to normflows
with networks of the same widths at 2, 4, 6 and 16 features, block neural autoregressive flows next to flowjax with as
many hidden units. benchmarks/results receives milliseconds, and how many times as long theirs take.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from measure import results
from measure.jax_peers import JaxModel, jax_subject
from measure.models import JOBS, Subject, TorchModel, torch_subject
from measure.sizes import Size
from measure.timing import interleaved
from torch import nn

import pushforward as pf

ZUKO = {"naf": "NAF", "unaf": "UNAF", "bpf": "BPF", "sospf": "SOSPF", "gf": "GF"}
RESIDUAL = {f"residual {features}": features for features in (2, 4, 6, 16)}


def of(library: str, module: Any, size: Size) -> Subject:
    density: Callable[[], Any] = (lambda: module) if library == "ours" else module
    model = TorchModel(module, lambda x: density().log_prob(x), lambda n: density().sample((n,)))
    return torch_subject(library, model, size)


def next_to_zuko(family: str, size: Size) -> list[Subject]:
    import zuko

    given: dict[str, Any] = {} if family == "gf" else {"hidden": size.hidden}
    theirs: dict[str, Any] = {} if family == "gf" else {"hidden_features": size.hidden}
    flow = pf.testing.randomize(getattr(pf, family)(size.features, layers=3, **given), scale=0.05)
    peer = getattr(zuko.flows, ZUKO[family])(size.features, transforms=3, **theirs)
    return [of("ours", flow, size), of("zuko", peer, size)]


class Normflows(nn.Module):
    """Its residual layers and trained shifts; as in its examples, norms are re-estimated before every step."""

    def __init__(self, features: int, hidden: tuple[int, ...]) -> None:
        import normflows as nf

        super().__init__()
        layers: list[Any] = []
        for _ in range(8):
            net = nf.nets.LipschitzMLP([features, *hidden, features], init_zeros=True, lipschitz_const=0.97)
            layers += [nf.flows.Residual(net), nf.flows.ActNorm(features)]
        self.flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(features), layers)
        self.update = nf.utils.update_lipschitz

    def log_prob(self, x: Any) -> Any:
        if torch.is_grad_enabled():
            self.update(self.flow, 5)
        return self.flow.log_prob(x)


def next_to_normflows(family: str, size: Size) -> list[Subject]:
    size = replace(size, features=RESIDUAL[family], hidden=(128, 128))
    flow = pf.testing.randomize(pf.residual(size.features, hidden=size.hidden), scale=0.05)
    peer = Normflows(size.features, size.hidden)
    model = TorchModel(peer, peer.log_prob, lambda n: peer.flow.sample(n)[0])
    return [of("ours", flow, size), torch_subject("normflows", model, size)]


def next_to_flowjax(family: str, size: Size) -> list[Subject]:
    """Both with two hidden layers of eight units per feature, and two networks."""
    import equinox as eqx
    import jax.numpy as jnp
    import jax.random as jr
    import paramax
    from flowjax.distributions import Normal
    from flowjax.flows import block_neural_autoregressive_flow

    base = Normal(jnp.zeros(size.features))
    made = block_neural_autoregressive_flow(jr.key(0), base_dist=base, nn_depth=2, nn_block_dim=8, flow_layers=2)
    parameters, static = eqx.partition(made, eqx.is_inexact_array)
    whole = lambda p: paramax.unwrap(eqx.combine(p, static))  # noqa: E731
    peer = JaxModel(parameters, lambda p, x, key: whole(p).log_prob(x), lambda p, key, n: whole(p).sample(key, (n,)))
    flow = pf.testing.randomize(pf.bnaf(size.features, layers=2, hidden=(8 * size.features,) * 2), scale=0.05)
    return [of("ours", flow, size), jax_subject("flowjax", peer, size)]


def compared(family: str, size: Size, budget: float) -> results.Row:
    torch.manual_seed(0)
    make = next_to_zuko if family in ZUKO else next_to_normflows if family in RESIDUAL else next_to_flowjax
    ours, peer = make(family, size)
    features = RESIDUAL.get(family, size.features)
    row: results.Row = {"family": family, "features": features, "rows": size.batch, "peer": peer.library}
    for job in JOBS:
        if job in ours.jobs and job in peer.jobs:
            times = interleaved({s.library: s.jobs[job] for s in (ours, peer)}, budget=budget)
            mine, theirs = (times[s.library].median if s.library in times else None for s in (ours, peer))
            row |= {f"{job} ms": mine, f"{job}, theirs": theirs and mine and f"x {theirs / mine:.2f}"}
    print(row, flush=True)
    return row


def main() -> None:
    families = [*ZUKO, *RESIDUAL, "bnaf"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(families))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--budget", type=float, default=1.5, help="seconds for each job")
    options = parser.parse_args()
    size = Size(features=10, hidden=(64, 64), batch=options.batch)
    chosen = options.families.split(",")
    rows = [compared(family, size, options.budget) for family in chosen]
    name = "families" if chosen == families else f"families-{options.families.replace(',', '-').replace(' ', '')}"
    results.write(
        name,
        "Families next to their peers",
        {"Milliseconds, and how many times as long theirs take": results.table(rows)},
        rows,
    )


if __name__ == "__main__":
    main()
