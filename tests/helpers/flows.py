"""Flows of every kind that has a faster form, with randomised parameters; shared by the tests of the fast room."""

from __future__ import annotations

import torch

import pushforward as pf
from pushforward.nets.conv import ConvNet
from pushforward.nets.made import MADE
from pushforward.nets.mlp import MLP
from pushforward.testing import randomize
from pushforward.transforms import (
    Affine,
    Alternate,
    Autoregressive,
    Channel,
    Compose,
    Conv1x1,
    Coupling,
    Half,
    Inverse,
    LogTails,
    Permutation,
    Spline,
    Squeeze,
)


def coupling(split, scalar=None, context=0, **options):
    scalar = Affine() if scalar is None else scalar
    options = {"hidden": (8,), **options}
    return Coupling(split, MLP(split.kept, split.moved, scalar.num_params, context=context, **options), scalar)


def masked(features, scalar=None, context=0, ordering=None, tails=None, hidden=(8, 8), residual=False, far=None):
    scalar = Affine() if scalar is None else scalar
    net = MADE(features, scalar.num_params, context=context, hidden=hidden, residual=residual)
    parts = [Autoregressive(net, scalar), *([] if tails is None else [LogTails(tails, far=far)])]
    if ordering is not None:
        parts = [Permutation(ordering), *parts, Permutation(torch.tensor(ordering).argsort())]
    return Compose(parts) if len(parts) > 1 else parts[0]


def conv(channels=4, parametrisation="plu", normalize=True):
    return Conv1x1(channels, parametrisation, normalize=normalize)


def image_coupling(channels=4, scalar=None, context=0, swap=False):
    split, scalar = Channel(channels, swap), Affine() if scalar is None else scalar
    net = ConvNet(split.kept, split.moved, scalar.num_params, context=context, hidden=(8, 8))
    return Coupling(split, net, scalar)


def mixed_couplings(context):
    """Couplings of the same halves in any order, of others, and of both maps."""
    return [
        coupling(Half(5), context=context),
        coupling(Half(5, swap=True), Spline(3), context),
        coupling(Half(5, swap=True), context=context, hidden=(8, 8, 8), residual=True),
        coupling(Half(5), Spline(3), context, hidden=(8, 8, 8), residual="linear"),
        Permutation([4, 1, 0, 2, 3]),
        coupling(Alternate(5), context=context),
        Inverse(coupling(Alternate(5, swap=True), context=context)),
    ]


def masked_layers(context):
    return [
        masked(5, context=context, tails=1.0),
        masked(5, Spline(3), context, ordering=[4, 3, 2, 1, 0]),
        Inverse(masked(5, context=context, ordering=[2, 0, 1, 4, 3])),
        masked(5, context=context, hidden=(9, 9, 9), residual=True),
        masked(5, Spline(3), context, hidden=(9,) * 5, residual="linear"),
        masked(5, Spline(3), context, tails=2.0),
        masked(5, context=context, tails=0.3, far=1.5),
    ]


def image_steps(context):
    return [
        Squeeze(),
        Compose([conv(), image_coupling(context=context)]),
        Compose([conv(), image_coupling(scalar=Spline(3), context=context, swap=True)]),
        conv(parametrisation="qr"),
        conv(normalize=False),
    ]


PARTS = {"couplings": (mixed_couplings, (5,)), "masked": (masked_layers, (5,)), "images": (image_steps, (1, 4, 6))}
RECIPES = {
    "maf of many units": lambda: pf.maf(30, layers=2, hidden=(240, 240)),
    "nsf of one feature": lambda: pf.nsf(1, layers=2, hidden=(4,)),
    "realnvp of one feature": lambda: pf.realnvp(1, layers=2, hidden=(4,)),
    "glow": lambda: pf.glow((2, 8, 8), levels=2, steps=2, hidden=4),
    "realnvp of images": lambda: pf.realnvp((1, 8, 8), layers=2, hidden=(4,)),
}


def flow_of(name: str, context: int = 0) -> pf.Flow:
    """A flow in double precision, far from the identity."""
    torch.manual_seed(0)
    if name in RECIPES:
        return randomize(RECIPES[name]().double())
    parts, shape = PARTS[name]
    out = (4, 2, 3) if name == "images" else shape
    return randomize(pf.Flow(Compose(parts(context)), out, event_shape=shape, context=context).double())
