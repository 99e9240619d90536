"""One contract for everything: what every transform and every recipe promises, checked over a dict of them all.

Parameters are randomised, because every flow starts as the identity, where wrong log-determinants look right.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward import distributions as D
from pushforward import transforms as T
from pushforward.distributions.average import Average
from pushforward.distributions.base import Density
from pushforward.nets.attention import CausalTransformer
from pushforward.nets.conv import ResidualConvNet
from pushforward.nets.field import MLPField
from pushforward.nets.graph import GraphMLP
from pushforward.nets.lipschitz import LipschitzMLP
from pushforward.nets.made import MADE
from pushforward.nets.mlp import MLP
from pushforward.testing import check_flow, check_transform, randomize

DTYPES = {"float32": torch.float32, "float64": torch.float64}
# Features, number type, and features of the context: not each triple, but most pairs.
UNCONDITIONAL = [(1, "float64", 0), (5, "float32", 0), (5, "float64", 0)]
CONDITIONAL = [(1, "float32", 3), (2, "float64", 0), (5, "float32", 0), (5, "float64", 3)]
RECIPE_SIZES = [(1, "float64", 0), (2, "float32", 3), (5, "float64", 3)]
TYPE_AND_CONTEXT = [("float32", 0), ("float64", 3)]
DEVICE = os.environ.get("PUSHFORWARD_TEST_DEVICE", "cpu")  # of pytest --device
HIDDEN = (12, 12)
PAIRED = (12, 12, 12)  # with a residual pair, as the networks of maf and nsf have by default


@pytest.fixture(autouse=True)
def _fresh_memory_is_nan() -> Iterator[None]:
    """PyTorch fills memory that nobody has written with NaN in this mode, so reading it cannot go unseen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(DEVICE, dtype)


DOMAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "real": lambda x: x,
    "positive": torch.exp,
    "unit": torch.sigmoid,
    "symmetric": torch.tanh,
    "circle": lambda x: 3 * torch.tanh(x),
    "increasing": lambda x: x.exp().cumsum(-1),
}


@dataclass(frozen=True)
class Entry:
    """A constructor ``make(features, context)``, and what is expected of what it makes."""

    make: Callable[[int, int], T.Transform]
    structure: str  # of the Jacobian at 5 features
    domain: str = "real"
    conditional: bool = False  # whether it can take a context
    tolerance: float | None = None


def coupling(split: Callable[[int], T.Split], scalar: Callable[[], T.Scalar]) -> Callable[[int, int], T.Transform]:
    def make(features: int, context: int) -> T.Transform:
        parts, kind = split(features), scalar()
        read = parts.kept * kind.inputs
        return T.Coupling(parts, MLP(read, parts.moved, kind.num_params, context=context, hidden=HIDDEN), kind)

    return make


def with_tails(transform: T.Transform, tails: float | None) -> T.Transform:
    return transform if tails is None else T.Compose([transform, T.LogTails(tails)])


def autoregressive(scalar: Callable[[], T.Scalar], tails=None) -> Callable[[int, int], T.Transform]:
    def make(features: int, context: int) -> T.Transform:
        kind = scalar()
        net = MADE(features, kind.num_params, context=context, hidden=HIDDEN, inputs=kind.inputs)
        return with_tails(T.Autoregressive(net, kind), tails)

    return make


def product(features: int) -> list[Any]:
    """Twice the product of the squares of all features but the last."""
    return [(2.0, [(j, 2.0) for j in range(features - 1)])] if features > 1 else []


def logarithms(features: int) -> list[Any]:
    """Twice the logarithm of each feature but the last."""
    return [(2.0, [(j, 0.0)]) for j in range(features - 1)]


def forest(features: int) -> list[list[int]]:
    """Every feature depends on the one two places after it."""
    return [[int(i == j + 2) for i in range(features)] for j in range(features)]


def graph(scalar: Callable[[], T.Scalar], tails=None) -> Callable[[int, int], T.Transform]:
    def make(features: int, context: int) -> T.Transform:
        kind, edges = scalar(), torch.ones(features, features).tril(-1)
        edges[1:2, :1] = 0  # the first two features do not see each other
        net = GraphMLP(edges.flip(0, 1), kind.num_params, context=context, hidden=HIDDEN)
        return with_tails(T.Autoregressive(net, kind), tails)

    return make


def univariate(scalar: Callable[[], T.Scalar]) -> Callable[[int, int], T.Transform]:
    def make(features: int, context: int) -> T.Transform:
        kind = scalar()
        return T.Univariate(MLP(0, features, kind.num_params, context=context, hidden=HIDDEN * bool(context)), kind)

    return make


def transformer(scalar: Callable[[], T.Scalar], **options: Any) -> Callable[[int, int], T.Transform]:
    def make(features: int, context: int) -> T.Transform:
        kind = scalar()
        net = CausalTransformer(features, kind.num_params, context=context, layers=1, width=8, heads=2)
        return T.Autoregressive(net, kind, **options)

    return make


def continuous(**options: Any) -> Callable[[int, int], T.Transform]:
    return lambda features, context: T.Continuous(MLPField(features, context=context, hidden=HIDDEN), **options)


def fitted_marginals(features: int, linear: bool = False) -> T.Transform:
    marginals = T.Marginals(features, knots=10, linear=linear)
    marginals.initialize(normal(80, features).pow(3) + normal(features))
    return marginals


def batch_norm(features: int, event_dim: int = 1) -> T.Transform:
    norm = T.BatchNorm(features, event_dim)
    norm.initialize(normal(9, features, *[3, 4][: event_dim - 1], dtype=torch.float32) * 3 + 1)
    return norm


SCALARS: dict[str, Callable[[], T.Scalar]] = {
    "ScalarChain": lambda: T.ScalarChain([T.Affine(), T.Spline(4), T.ScaleShift()]),
    "Additive": T.Additive,
    "ScaleShift softplus": T.ScaleShift,
    "ScaleShift sigmoid": lambda: T.ScaleShift("sigmoid"),
    "ScaleShift tanh": lambda: T.ScaleShift("tanh", limit=2.0),
    "LinearSpline": T.LinearSpline,
    "QuadraticSpline": T.QuadraticSpline,
    "CubicSpline": lambda: T.CubicSpline(5),
    "FreeSpline": T.FreeSpline,
    "CircularSpline": T.CircularSpline,
    "DeepSigmoid": lambda: T.DeepSigmoid(6, layers=2),
    "Gaussianization": T.Gaussianization,
    "Bernstein": lambda: T.Bernstein(6, bound=2.0),
    "SumOfSquares": lambda: T.SumOfSquares(bound=2.0),
    "MonotonicNetwork": lambda: T.MonotonicNetwork(4, hidden=(8, 8), nodes=6, bound=2.0),
}


def angles_first(features: int, context: int) -> T.Transform:
    if features == 1:
        return coupling(T.Half, T.Affine)(features, context)
    angles, others = autoregressive(T.Affine)(1, context), autoregressive(T.Affine)(features - 1, context + 2)
    return T.AnglesFirst(angles, others, [1], features)


def order(features: int) -> list[int]:
    return torch.randperm(features, generator=torch.Generator().manual_seed(3)).tolist()


TRANSFORMS: dict[str, Entry] = {
    "Identity": Entry(lambda m, c: T.Identity(), "diagonal"),
    "Exp": Entry(lambda m, c: T.Exp(), "diagonal"),
    "Log": Entry(lambda m, c: T.Log(), "diagonal", "positive"),
    "Softplus": Entry(lambda m, c: T.Softplus(), "diagonal"),
    "InverseSoftplus": Entry(lambda m, c: T.InverseSoftplus(), "diagonal", "positive"),
    "Sigmoid": Entry(lambda m, c: T.Sigmoid(), "diagonal"),
    "Logit": Entry(lambda m, c: T.Logit(), "diagonal", "unit"),
    "UnitLogit": Entry(lambda m, c: T.UnitLogit(event_dim=1), "diagonal", "unit"),
    "Tanh": Entry(lambda m, c: T.Tanh(), "diagonal"),
    "Atanh": Entry(lambda m, c: T.Atanh(), "diagonal", "symmetric"),
    "Asinh": Entry(lambda m, c: T.Asinh(), "diagonal"),
    "LogTails": Entry(lambda m, c: T.LogTails(0.5), "diagonal"),
    "LeakyReLU": Entry(lambda m, c: T.LeakyReLU(0.3), "diagonal"),
    "Columns": Entry(lambda m, c: T.Columns([T.Asinh(0) if j % 2 else T.Softplus(0) for j in range(m)]), "diagonal"),
    "Standardize": Entry(lambda m, c: T.Standardize(normal(m), normal(m, seed=1).exp()), "diagonal"),
    "Whiten": Entry(lambda m, c: T.Whiten(normal(m), normal(m, m).tril() + 3 * torch.eye(m).to(DEVICE)), "triangular"),
    "Histogram": Entry(lambda m, c: T.Columns([T.Histogram([-1, 0, 0.5, 2], [0.1, 0.2, 0.7, 0.9])] * m), "diagonal"),
    "PeriodicHistogram": Entry(
        lambda m, c: T.Columns([T.PeriodicHistogram(0.1, 0.7, [0.5, 0.2, 0.3])] * m), "diagonal"
    ),
    "Extended": Entry(
        lambda m, c: T.Columns([T.Extended(T.Asinh(0), (-0.8, 0.9, 0.3), (0.4, 1.5, 1.0))] * m), "diagonal"
    ),
    "Marginals": Entry(lambda m, c: fitted_marginals(m), "diagonal"),
    "Marginals linear": Entry(lambda m, c: fitted_marginals(m, linear=True), "diagonal"),
    "ActNorm": Entry(lambda m, c: T.ActNorm(m), "diagonal"),
    "HeavyTails": Entry(lambda m, c: T.HeavyTails(m), "diagonal"),
    "Above": Entry(lambda m, c: T.Above(0.0), "diagonal", "positive"),
    "Below": Entry(lambda m, c: T.Below(1.0), "diagonal", "unit"),
    "Between": Entry(lambda m, c: T.Between(-1.0, 2.0), "diagonal", "unit"),
    "Ordered": Entry(lambda m, c: T.Ordered(), "triangular", "increasing"),
    "Blocks": Entry(lambda m, c: T.Blocks([T.Asinh()] + [T.Tanh()] * (m > 1), [1] + [m - 1] * (m > 1)), "diagonal"),
    "Circle": Entry(lambda m, c: T.Circle(-2.0, 1.5), "diagonal", "symmetric"),
    "Polytope": Entry(
        lambda m, c: T.Polytope(torch.cat([torch.eye(m), -torch.eye(m)]), [1.0] * m + [0.0] * m), "full", "unit"
    ),
    "AnglesFirst": Entry(angles_first, "triangular", conditional=True),
    "Diagonal": Entry(lambda m, c: T.Diagonal(m), "diagonal"),
    "Permutation": Entry(lambda m, c: T.Permutation(order(m)), "diagonal"),
    "Remainder": Entry(
        lambda m, c: T.Remainder(m - 1, product(m), 0.5, waves=[(0.5, 0, 3.0, 0.2)][: m - 1]), "triangular"
    ),
    "Remainder of cells": Entry(
        lambda m, c: T.Remainder(m - 1, product(m), cells=[(0, [(0.0, -0.5, 1.0), (2.0, -0.5, 0.75)])]), "triangular"
    ),
    "Remainder of rounded sums": Entry(lambda m, c: T.Remainder(m - 1, product(m), rounded=(0.25, 0.5)), "diagonal"),
    "Remainder of logarithms": Entry(
        lambda m, c: T.Remainder(m - 1, logarithms(m), floors=[(j, 1e-3) for j in range(m)]), "triangular", "positive"
    ),
    "LogRatios": Entry(lambda m, c: T.LogRatios(range(m), float(m)), "full", "unit"),
    "Linear": Entry(lambda m, c: T.Linear(m), "full"),
    "Triangular lower": Entry(lambda m, c: T.Triangular(m), "triangular"),
    "Triangular upper": Entry(lambda m, c: T.Triangular(m, lower=False), "triangular"),
    "PLU": Entry(lambda m, c: T.PLU(m), "full"),
    "QR householder": Entry(lambda m, c: T.QR(m), "full"),
    "QR exponential": Entry(lambda m, c: T.QR(m, orthogonal="exponential"), "full"),
    "SVD": Entry(lambda m, c: T.SVD(m), "full"),
    "MatrixExponential": Entry(lambda m, c: T.MatrixExponential(m), "full"),
    "BatchNorm": Entry(lambda m, c: batch_norm(m), "diagonal"),
    "GIN": Entry(
        lambda m, c: T.GIN(T.Half(m), MLP(m // 2, m - m // 2, 2, context=c, hidden=HIDDEN)),
        "triangular",
        conditional=True,
    ),
    "Coupling Half Affine": Entry(coupling(T.Half, T.Affine), "triangular", conditional=True),
    "Coupling Half swapped": Entry(coupling(lambda m: T.Half(m, swap=True), T.Affine), "triangular", conditional=True),
    "Coupling Alternate": Entry(coupling(T.Alternate, T.Affine), "triangular", conditional=True),
    "Coupling Spline": Entry(coupling(T.Half, T.Spline), "triangular", conditional=True),
    "Autoregressive Spline": Entry(autoregressive(T.Spline), "triangular", conditional=True),
    "Autoregressive Affine": Entry(autoregressive(T.Affine), "triangular", conditional=True),
    "Autoregressive tails": Entry(autoregressive(T.Affine, tails=0.5), "triangular", conditional=True),
    "Autoregressive Spline tails": Entry(autoregressive(T.Spline, tails=0.5), "triangular", conditional=True),
    "Autoregressive graph": Entry(graph(T.Affine), "triangular", conditional=True),
    "Autoregressive graph Spline": Entry(graph(T.Spline, tails=0.5), "triangular", conditional=True),
    **{
        f"Autoregressive {name}": Entry(
            autoregressive(make), "triangular", "circle" if "Circular" in name else "real", conditional=True
        )
        for name, make in SCALARS.items()
    },
    "Univariate Gaussianization": Entry(univariate(T.Gaussianization), "diagonal", conditional=True),
    "Univariate MonotonicNetwork": Entry(univariate(SCALARS["MonotonicNetwork"]), "diagonal", conditional=True),
    "Coupling DeepSigmoid": Entry(coupling(T.Half, SCALARS["DeepSigmoid"]), "triangular", conditional=True),
    "Coupling CircularSpline": Entry(coupling(T.Half, T.CircularSpline), "triangular", "circle", conditional=True),
    "Autoregressive transformer": Entry(transformer(T.Affine), "triangular", conditional=True),
    "Autoregressive transformer Spline": Entry(
        transformer(T.Spline, inversion="blocks", block=2), "triangular", conditional=True
    ),
    "BlockAutoregressive": Entry(
        lambda m, c: T.BlockAutoregressive(m, context=c, units=(3, 4)), "triangular", conditional=True
    ),
    "Residual": Entry(lambda m, c: T.Residual(LipschitzMLP(m, context=c, hidden=HIDDEN)), "full", conditional=True),
    "Planar": Entry(lambda m, c: T.Planar(m, context=c), "full", conditional=True),
    "Radial": Entry(lambda m, c: T.Radial(m, context=c, hidden=(4,)), "full", conditional=True),
    "Sylvester": Entry(lambda m, c: T.Sylvester(m, context=c), "full", conditional=True),
    "Sylvester low rank": Entry(lambda m, c: T.Sylvester(m, (m + 1) // 2, context=c), "full", conditional=True),
    "Continuous dopri5": Entry(continuous(), "full", conditional=True, tolerance=1e-3),
    "Continuous fixed": Entry(
        continuous(solver="rk4", steps=2, trace="exact"), "full", conditional=True, tolerance=1e-3
    ),
    "Inverse": Entry(lambda m, c: T.Inverse(autoregressive(T.Affine)(m, c)), "triangular", conditional=True),
    "Compose": Entry(
        lambda m, c: T.Compose(
            [
                autoregressive(T.Affine)(m, c),
                T.Permutation(range(m)[::-1]),
                autoregressive(T.Affine)(m, c),
                T.Diagonal(m),
            ]
        ),
        "full",
        conditional=True,
    ),
}


def image_coupling(split: T.Split, moved: Tensor | None = None) -> Callable[[int], T.Transform]:
    def make(context: int) -> T.Transform:
        kept, out = (2, 2) if moved is not None else (split.kept, split.moved)
        net = ResidualConvNet(kept, out, 2, context=context, hidden=(4,), moved=moved)
        return T.Coupling(split, net, T.Affine(2.0))

    return make


def multiscale(context: int) -> T.Transform:
    levels = [T.Squeeze(), T.Conv1x1(2)]
    prior = image_coupling(T.Channel(4))(context)
    return T.Multiscale(levels, [prior], [(2, 2, 2), (2, 2, 2)])


checkerboard = T.Checkerboard(2, 3)

# Transforms of images: a constructor that takes the context, the shape of an event, and the structure of the Jacobian.
IMAGES: dict[str, tuple[Callable[[int], T.Transform], tuple[int, int, int], str]] = {
    "ActNorm": (lambda c: T.ActNorm(3, event_dim=3), (3, 2, 4), "diagonal"),
    "Tanh": (lambda c: T.Tanh(event_dim=3), (3, 2, 4), "diagonal"),
    "Standardize": (lambda c: T.Standardize(normal(1, 2, 2), normal(1, 2, 2).exp()), (1, 2, 2), "diagonal"),
    "Conv1x1 full": (lambda c: T.Conv1x1(3, parametrisation="full"), (3, 2, 4), "full"),
    "Conv1x1 plu": (lambda c: T.Conv1x1(3, parametrisation="plu"), (3, 2, 4), "full"),
    "Conv1x1 qr": (lambda c: T.Conv1x1(3, parametrisation="qr"), (3, 2, 4), "full"),
    "Conv1x1 svd": (lambda c: T.Conv1x1(3, parametrisation="svd"), (3, 2, 4), "full"),
    "Conv1x1 exponential": (lambda c: T.Conv1x1(3, parametrisation="exponential"), (3, 2, 4), "full"),
    "BatchNorm": (lambda c: batch_norm(3, 3), (3, 2, 4), "diagonal"),
    "GIN": (lambda c: T.GIN(T.Channel(3), ResidualConvNet(1, 2, 2, context=c, hidden=(4,))), (3, 2, 2), "triangular"),
    "Haar": (lambda c: T.Haar(), (2, 4, 2), "full"),
    "Haar by wavelet": (lambda c: T.Haar(by_wavelet=True), (2, 4, 2), "full"),
    "DCT": (lambda c: T.DCT(), (2, 3, 4), "full"),
    "AutoregressiveConv": (lambda c: T.AutoregressiveConv(2), (2, 3, 3), "triangular"),
    "EmergingConv": (lambda c: T.EmergingConv(2), (2, 3, 3), "full"),
    "Patches": (lambda c: T.Patches((2, 4, 2), 2), (2, 4, 2), "diagonal"),
    "Squeeze": (lambda c: T.Squeeze(), (2, 4, 2), "diagonal"),
    "Coupling Channel": (image_coupling(T.Channel(3)), (3, 2, 2), "triangular"),
    "Coupling Checkerboard": (image_coupling(checkerboard, 1 - checkerboard.mask), (2, 2, 3), "triangular"),
    "Reversible": (lambda c: T.Reversible([T.Conv1x1(3), image_coupling(T.Channel(3))(c)]), (3, 2, 2), "full"),
    "Multiscale": (multiscale, (1, 4, 4), "full"),
}

# Of features, features of the context, and layers.
RECIPES: dict[str, Callable[..., pf.Flow]] = {
    "maf": lambda m, c, n=2: pf.maf(m, context=c, layers=n, hidden=PAIRED),
    "iaf": lambda m, c, n=2: pf.iaf(m, context=c, layers=n, hidden=HIDDEN),
    "realnvp": lambda m, c, n=3: pf.realnvp(m, context=c, layers=n, hidden=HIDDEN),
    "nsf": lambda m, c, n=2: pf.nsf(m, context=c, layers=n, hidden=PAIRED),
    "nsf coupling": lambda m, c, n=2: pf.nsf(m, context=c, layers=n, hidden=PAIRED, coupling=True),
    "nsf linear": lambda m, c, n=3: pf.nsf(m, context=c, layers=n, hidden=HIDDEN, linear=True),
    "maf linear": lambda m, c, n=3: pf.maf(m, context=c, layers=n, hidden=HIDDEN, linear=True),
    "maf graph": lambda m, c, n=5: pf.maf(m, context=c, layers=n, hidden=HIDDEN, adjacency=forest(m)),
    "nsf graph": lambda m, c, n=2: pf.nsf(m, context=c, layers=n, hidden=HIDDEN, adjacency=forest(m)),
    "ffjord": lambda m, c, n=1: pf.ffjord(m, context=c, hidden=HIDDEN),
    "bnaf": lambda m, c, n=1: pf.bnaf(m, context=c, hidden=HIDDEN),
    "residual": lambda m, c, n=2: pf.residual(m, context=c, layers=n, hidden=HIDDEN),
    "planar": lambda m, c, n=2: pf.planar(m, context=c, layers=n, hidden=(6,)),
    "sylvester": lambda m, c, n=2: pf.sylvester(m, context=c, layers=n, hidden=(6,)),
    "triangular_spline": lambda m, c, n=2: pf.triangular_spline(m, context=c, layers=n),
    "nice": lambda m, c, n=2: pf.nice(m, context=c, layers=n, hidden=HIDDEN),
    "naf": lambda m, c, n=2: pf.naf(m, context=c, layers=n, hidden=HIDDEN, units=8),
    "unaf": lambda m, c, n=2: pf.unaf(m, context=c, layers=n, hidden=HIDDEN, signal=3, network=(6,), nodes=6),
    "bpf": lambda m, c, n=2: pf.bpf(m, context=c, layers=n, hidden=HIDDEN, degree=5),
    "sospf": lambda m, c, n=2: pf.sospf(m, context=c, layers=n, hidden=HIDDEN, degree=2, polynomials=2),
    "gf": lambda m, c, n=2: pf.gf(m, context=c, layers=n, hidden=HIDDEN),
    "ncsf": lambda m, c, n=2: pf.ncsf(m, context=c, layers=n, hidden=HIDDEN, bins=4),
}
NOT_QUITE = {"naf": 0.5, "gf": 0.5}  # how far recipes are from the identity at first, whose maps cannot be it
SOLVED = {"ffjord": 1e-3}  # tolerance of recipes whose map is a numerical solution
IMAGE_RECIPES: dict[str, tuple[Callable[[int], pf.Flow], tuple[int, int, int]]] = {
    "glow": (lambda c: pf.glow((1, 4, 4), context=c, levels=2, steps=1, hidden=4), (1, 4, 4)),
    "glow reversible": (
        lambda c: pf.glow((1, 4, 4), context=c, levels=2, steps=2, hidden=4, reversible=True),
        (1, 4, 4),
    ),
    "realnvp images": (lambda c: pf.realnvp((1, 8, 8), context=c, layers=2, hidden=(4,)), (1, 8, 8)),
    "tarflow": (lambda c: pf.tarflow((2, 4, 4), context=c, blocks=2, layers=1, width=8, heads=2), (2, 4, 4)),
    "tarflow reversible": (
        lambda c: pf.tarflow((1, 3, 6), context=c, patch=3, blocks=2, width=8, heads=2, bins=4, reversible=True),
        (1, 3, 6),
    ),
    "realnvp odd": (lambda c: pf.realnvp((2, 3, 5), context=c, layers=2, hidden=(4,)), (2, 3, 5)),
}
# Densities without a transform: a constructor that takes the context, and data on their support from normal numbers.
MODELS: dict[str, tuple[Callable[[int], Density], Callable[[Tensor], Tensor]]] = {
    "made gaussian": (lambda c: pf.made(5, context=c, hidden=HIDDEN), lambda x: x),
    "made mixture": (lambda c: pf.made(5, context=c, hidden=HIDDEN, conditional="mixture"), lambda x: x),
    "made bernoulli": (
        lambda c: pf.made(5, context=c, hidden=HIDDEN, conditional="bernoulli"),
        lambda x: (x > 0).to(x.dtype),
    ),
    "made categorical": (
        lambda c: pf.made(5, context=c, hidden=HIDDEN, conditional="categorical", classes=3),
        lambda x: (x * 2).round().clamp(0, 2),
    ),
    "gmm": (lambda c: pf.gmm(5, context=c, components=3), lambda x: x),
    "gmm diagonal": (lambda c: pf.gmm(5, context=c, components=3, covariance="diagonal"), lambda x: x),
    "diagonal normal": (lambda c: D.DiagonalNormal(5, context=c), lambda x: x),
    "full normal": (lambda c: D.FullNormal(5, context=c, hidden=HIDDEN), lambda x: x),
    "student t": (lambda c: D.StudentT(5, 3.0, context=c), lambda x: x),
    "generalised normal": (lambda c: D.GeneralisedNormal(5, [0.8, 1.0, 2.0, 3.0, 8.0], context=c), lambda x: x),
    "von mises": (lambda c: D.VonMises(5, 1.0, 2.0, context=c), lambda x: x),
    "resampled": (lambda c: D.Resampled(5, context=c, hidden=HIDDEN, points=64), lambda x: x),
    "product": (lambda c: D.Product([D.StandardNormal((2,)), D.StudentT(3, context=c)]), lambda x: x),
    "flow over a base": (
        lambda c: pf.Flow(RECIPES["nsf"](5, c).transform, D.StudentT(5, context=c), context=c),
        lambda x: x,
    ),
    "anyorder": (
        lambda c: pf.anyorder(5, context=c, hidden=HIDDEN, classes=[None, 3, None, 2, None]),
        lambda x: torch.cat([x[:, :1], (x[:, 1:2] > 0).to(x), x[:, 2:3], (x[:, 3:4] > 0).to(x), x[:, 4:]], -1),
    ),
    "average": (lambda c: Average([RECIPES["maf"](5, c), RECIPES["nsf"](5, c)], [1, 3]), lambda x: x),
    "flow over a mixture": (
        lambda c: pf.Flow(T.Marginals(5), pf.gmm(5, context=c, components=2), context=c),
        lambda x: x,
    ),
    "pixelcnn": (
        lambda c: pf.pixelcnn((1, 2, 3), levels=4, hidden=8, layers=1, context=c),
        lambda x: (x[:, [0, 1, 2, 3, 4, 0]] * 2).round().clamp(0, 3).view(-1, 1, 2, 3),
    ),
}
TWINS = (  # of others in ONE_PASS, for a tracer
    *("realnvp", "nsf linear", "nsf graph", "made bernoulli", "gmm diagonal"),
    *("flow over a base", "flow over a mixture"),
)
ONE_PASS: dict[str, Callable[[], tuple[Density, Tensor]]] = {  # densities in one pass: they compile to a single graph
    **{
        name: lambda name=name: (RECIPES[name](5, 3, 1), normal(6, 5))  # one layer is traced as another
        for name in RECIPES
        if name not in ("iaf", "ffjord", *TWINS)
    },
    **{
        name: lambda name=name: (IMAGE_RECIPES[name][0](3), normal(6, *IMAGE_RECIPES[name][1]))
        for name in ("glow", "realnvp images", "tarflow")
    },
    **{
        name: lambda name=name: (MODELS[name][0](3), MODELS[name][1](normal(6, 5)))
        for name in MODELS
        if name not in TWINS
    },
}
# What traces differently from the others: masks, halves, fixed points, images, categories, number by number.
EXPORTED = ("maf", "nsf coupling", "residual", "glow", "made categorical", "gmm", "resampled", "anyorder", "pixelcnn")
UNBOUNDED = [name for name, entry in TRANSFORMS.items() if entry.domain == "real" and name not in ("Exp",)]

NOT_TRANSFORMS = {
    *("Transform", "Elementwise", "Matrix"),  # abstract
    *(name.split()[0] for name in SCALARS),
    *("Scalar", "Affine", "Spline", "Split", "Half", "Alternate", "Channel", "Checkerboard"),  # parts
    *("Dequantise", "VariationalDequantise", "GaussianNoise"),  # random, and one-to-many: no bijection
    "StickBreaking",  # x has one feature more than z: tested on its own
    *("Dequantise", "VariationalDequantise"),  # random, and one-to-many: no bijection
    *("StickBreaking", "Sphere"),  # x has one feature more than z: tested on their own
    *("LowerCholesky", "PositiveDefinite", "UnitCholesky", "Correlation"),  # likewise
}


def build(entry: Entry, features: int, context: int, dtype: torch.dtype) -> T.Transform:
    return randomize(entry.make(features, context).to(DEVICE, dtype))


def test_every_public_transform_is_under_contract() -> None:
    covered = {name.split()[0] for name in [*TRANSFORMS, *IMAGES]}
    public = {name for name, value in vars(T).items() if inspect.isclass(value) and name[0].isupper()}
    assert public - NOT_TRANSFORMS == covered


def test_every_recipe_is_under_contract() -> None:
    recipes = {name for name, home in pf._HOMES.items() if home.startswith("recipes.") and name != "pixels"}
    assert recipes <= {name.split()[0] for name in [*RECIPES, *IMAGE_RECIPES, *MODELS]}


@pytest.mark.parametrize(
    ("name", "features", "dtype", "context"),
    [
        (name, *cell)
        for name, entry in TRANSFORMS.items()
        for cell in (CONDITIONAL if entry.conditional else UNCONDITIONAL)
    ],
)
def test_transform(name: str, features: int, dtype: str, context: int) -> None:
    entry = TRANSFORMS[name]
    transform = build(entry, features, context, DTYPES[dtype])
    x = DOMAINS[entry.domain](normal(6, features)).to(DTYPES[dtype])
    given = normal(6, context, dtype=DTYPES[dtype], seed=2) if context else None
    report = check_transform(transform, x, given, tolerance=entry.tolerance)
    assert report.structure == (entry.structure if features == 5 else report.structure)
    assert report.saves
    if features > 1:  # with one feature, weights of features that are not there see no gradient
        assert report.unused == ()
    if given is not None:
        assert (transform(x, given)[0] - transform(x, given + 1)[0]).abs().sum() > 0
        for way in (transform, transform.inverse):
            with pytest.raises(ValueError, match="context is missing"):
                way(x)


@pytest.mark.parametrize(("dtype", "context"), TYPE_AND_CONTEXT)
@pytest.mark.parametrize("name", IMAGES)
def test_transform_of_images(name: str, context: int, dtype: str) -> None:
    make, shape, structure = IMAGES[name]
    transform = randomize(make(context).to(DEVICE, DTYPES[dtype]))
    given = normal(6, context, dtype=DTYPES[dtype], seed=2) if context else None
    report = check_transform(transform, normal(6, *shape, dtype=DTYPES[dtype]), given)
    assert (report.structure, report.unused, report.saves) == (structure, (), True)


@pytest.mark.parametrize("name", UNBOUNDED)
def test_gradients_far_outside(name: str) -> None:
    transform = build(TRANSFORMS[name], 2, 0, torch.float32)
    x = torch.tensor([[1e6, -1e6], [-1e6, 1e6], [0.0, 0.0]], device=DEVICE, requires_grad=True)
    z, logdet = transform(x)
    wanted = [x, *transform.parameters()]
    for gradient in torch.autograd.grad(z.sum() + logdet.sum(), wanted, allow_unused=True):
        assert gradient is None or gradient.isfinite().all()


@pytest.mark.parametrize(("features", "dtype", "context"), RECIPE_SIZES)
@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name: str, features: int, dtype: str, context: int) -> None:
    flow = randomize(RECIPES[name](features, context).to(DEVICE, DTYPES[dtype]))
    x = normal(6, features, dtype=DTYPES[dtype])
    given = normal(6, 3, dtype=DTYPES[dtype], seed=2) if context else None
    check_flow(flow, x, given, tolerance=SOLVED.get(name))
    assert flow.log_prob(x[:0], None if given is None else given[:0]).shape == (0,)
    assert flow.sample((0,), given).shape == (0, *([] if given is None else [6]), features)


@pytest.mark.parametrize(("dtype", "context"), TYPE_AND_CONTEXT)
@pytest.mark.parametrize("name", IMAGE_RECIPES)
def test_recipe_for_images(name: str, context: int, dtype: str) -> None:
    make, shape = IMAGE_RECIPES[name]
    flow = randomize(make(context).to(DEVICE, DTYPES[dtype]))
    given = normal(6, context, dtype=DTYPES[dtype], seed=2) if context else None
    report = check_flow(flow, normal(6, *shape, dtype=DTYPES[dtype]), given)
    assert report is not None
    assert report.unused == ()


@pytest.mark.parametrize(("dtype", "context"), TYPE_AND_CONTEXT)
@pytest.mark.parametrize("name", MODELS)
def test_model_without_a_transform(name: str, context: int, dtype: str) -> None:
    make, onto_support = MODELS[name]
    model = randomize(make(context).to(DEVICE, DTYPES[dtype]))
    given = normal(6, context, dtype=DTYPES[dtype], seed=2) if context else None
    report = check_flow(model, onto_support(normal(6, 5)).to(DTYPES[dtype]), given)
    assert (report is None) == (not name.startswith("flow over"))


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_starts_close_to_the_identity(name: str) -> None:
    x = normal(6, 5, dtype=torch.float32)
    z, logdet = RECIPES[name](5, 0).to(DEVICE).transform(x)
    near = NOT_QUITE.get(name, 1e-4)
    if "linear" in name or name == "gf":  # a rotation
        assert torch.allclose(z.norm(dim=-1), x.norm(dim=-1), atol=near)
    else:  # up to a reversal of the features
        assert torch.allclose(z.sort(-1).values, x.sort(-1).values, atol=near)
    assert torch.allclose(logdet, torch.zeros_like(logdet), atol=near)


@pytest.mark.compiler
@pytest.mark.parametrize("name", ONE_PASS)
def test_density_is_one_graph(name: str) -> None:
    torch.compiler.reset()
    flow, x = ONE_PASS[name]()
    flow, x, context = randomize(flow.to(DEVICE)), x.float(), normal(6, 3, dtype=torch.float32)
    compiled = torch.compile(flow, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(x, context), flow(x, context), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_density_exports(name: str) -> None:
    flow, x = ONE_PASS[name]()
    flow, x, context = randomize(flow.to(DEVICE)), x.float(), normal(6, 3, dtype=torch.float32)
    exported = torch.export.export(flow, (x, context)).module()
    assert torch.allclose(exported(x, context), flow(x, context), atol=1e-5, rtol=1e-5)
