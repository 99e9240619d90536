"""Models of zuko, nflows and normflows, with the widths and depths of ours."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn

from .models import TorchModel, data, stir
from .sizes import BOUND, LEVELS, Size


def zuko(family: str, size: Size) -> TorchModel | None:
    import zuko

    flows, features = zuko.flows, size.features
    deep = {"transforms": size.layers, "hidden_features": size.hidden}
    match family:
        case "maf" | "iaf":
            flow = flows.MAF(features, **deep)
        case "nsf":
            flow = flows.NSF(features, bins=size.bins, **deep)
        case "nsf-coupling":
            flow = flows.NSF(features, bins=size.bins, passes=2, **deep)
        case "realnvp":
            flow = flows.MAF(features, passes=2, **deep)
        case "cnf":  # its tolerances are fixed: 1e-6 absolute, 1e-5 relative
            flow = flows.CNF(features, hidden_features=size.hidden, activation=nn.Tanh, exact=False)
            stir(flow)
        case _:
            return None
    if family == "iaf":
        flow = zuko.lazy.Flow(zuko.lazy.LazyInverse(flow.transform), flow.base)
    reverse = (lambda n: flow().rsample_and_log_prob((n,))) if family == "iaf" else None
    return TorchModel(flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)), reverse)


def nflows(family: str, size: Size) -> TorchModel | None:
    from nflows import distributions, flows, transforms

    spline = {"num_bins": size.bins, "tails": "linear", "tail_bound": BOUND}
    masked = {"num_blocks": len(size.hidden) - 1, "use_residual_blocks": False}
    parts: list[nn.Module] = []
    for layer in range(size.layers):
        half = (torch.arange(size.features) + layer) % 2
        net = lambda inputs, outputs: Perceptron(inputs, outputs, size.hidden)  # noqa: E731
        match family:
            case "maf" | "iaf":
                part = transforms.MaskedAffineAutoregressiveTransform(size.features, size.hidden[0], **masked)
            case "nsf":
                spline_map = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform
                part = spline_map(size.features, size.hidden[0], **masked, **spline)
            case "nsf-coupling":
                part = transforms.PiecewiseRationalQuadraticCouplingTransform(half, net, **spline)
            case "realnvp":
                part = transforms.AffineCouplingTransform(half, net)
            case _:
                return None
        parts += [transforms.ReversePermutation(size.features), part] if family in ("maf", "iaf", "nsf") else [part]
    chain = transforms.CompositeTransform(parts)
    if family == "iaf":
        chain = transforms.InverseTransform(chain)
    flow = flows.Flow(chain, distributions.StandardNormal([size.features]))
    return TorchModel(flow, flow.log_prob, flow.sample, flow.sample_and_log_prob if family == "iaf" else None)


def normflows(family: str, size: Size) -> TorchModel | None:
    """Its spline layers are those of nflows, which represents both; its masked flows run in the direction of an IAF."""
    import normflows as nf

    features, hidden = size.features, list(size.hidden)
    match family:
        case "glow":
            model: Any = _normflows_glow(nf, size)
            return TorchModel(model, lambda x: -model.forward_kld(x)[None], lambda n: model.sample(n)[0])
        case "realnvp":
            moved = features // 2
            nets = [nf.nets.MLP([features - moved, *hidden, 2 * moved]) for _ in range(size.layers)]
            parts = [part for net in nets for part in (nf.flows.AffineCouplingBlock(net), _swap(nf, features))]
        case "iaf":
            masked = nf.flows.MaskedAffineAutoregressive
            layer = {"num_blocks": len(hidden) - 1, "use_residual_blocks": False}
            parts = [
                part for _ in range(size.layers) for part in (masked(features, hidden[0], **layer), _swap(nf, features))
            ]
        case _:
            return None
    model = nf.NormalizingFlow(nf.distributions.DiagGaussian(features, trainable=False), parts)
    return TorchModel(model, model.log_prob, lambda n: model.sample(n)[0], model.sample if family == "iaf" else None)


def _swap(nf, features: int) -> nn.Module:
    return nf.flows.Permute(features, mode="swap")


def _normflows_glow(nf, size: Size) -> nn.Module:
    colours, side = size.features, size.side
    bases, blocks, merges = [], [], []
    for level in range(LEVELS):
        depth = LEVELS - level  # the first level of the list is the coarsest
        channels = colours * 2 ** (depth + 1)
        steps = [
            nf.flows.GlowBlock(channels, size.hidden[0], split_mode="channel", scale=True) for _ in range(size.layers)
        ]
        blocks.append([*steps, nf.flows.Squeeze()])
        if level:
            merges.append(nf.flows.Merge())
        kept = channels // 2 if level else channels
        bases.append(nf.distributions.DiagGaussian((kept, side // 2**depth, side // 2**depth), trainable=False))
    model = nf.MultiscaleFlow(bases, blocks, merges).to(size.device)
    model.forward_kld(data(size))  # initialises its normalisations
    return model


class Perceptron(nn.Sequential):
    """The network of a coupling, for libraries that require one."""

    def __init__(
        self, inputs: int, outputs: int, hidden: tuple[int, ...], activation: type[nn.Module] = nn.ReLU
    ) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *hidden]):
            layers += [nn.Linear(before, after), activation()]
        super().__init__(*layers, nn.Linear(hidden[-1], outputs))

    def forward(self, x, context=None):
        return super().forward(x)
