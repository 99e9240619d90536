"""The papers behind a model: the BibTeX entries of its parts."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from importlib import resources
from typing import TextIO

from torch import nn

ALWAYS = ("rezende2015variational", "papamakarios2021normalizing")
"""Normalizing flows as such: the paper that named them for densities, and the review."""

PARTS: dict[str, tuple[str, ...]] = {
    "ActNorm": ("kingma2018glow",),
    "Additive": ("dinh2015nice",),
    "AlphaDivergence": ("li2016renyi",),
    "AnnealedBootstrap": ("midgley2023flow",),
    "AnyOrder": ("uria2014deep", "hoogeboom2022autoregressive", "strauss2021arbitrary"),
    "Autoregressive": ("papamakarios2017masked",),
    "Average": ("breiman1996bagging", "smyth1999linearly"),
    "BatchNorm": ("ioffe2015batch",),
    "Bernstein": ("sick2021deep", "arpogaus2023short"),
    "BlockAutoregressive": ("decao2019block",),
    "CausalTransformer": ("vaswani2017attention", "zhai2024normalizing"),
    "Channel": ("dinh2017density",),
    "Checkerboard": ("dinh2017density",),
    "CircularSpline": ("rezende2020normalizing",),
    "Continuous": ("chen2018neural", "grathwohl2019ffjord"),
    "Conv1x1": ("kingma2018glow",),
    "Correlation": ("lewandowski2009generating",),
    "Coupling": ("dinh2015nice", "dinh2017density"),
    "CubicSpline": ("durkan2019cubic",),
    "DeepSet": ("zaheer2017deep",),
    "DeepSigmoid": ("huang2018neural",),
    "Dequantise": ("theis2016note",),
    "EmergingConv": ("hoogeboom2019emerging",),
    "FlowMatching": ("lipman2023flow",),
    "FourierField": ("tancik2020fourier",),
    "FreeSpline": ("durkan2019neural",),
    "Gaussianization": ("meng2020gaussianization",),
    "GaussianMixture": ("dempster1977maximum",),
    "GaussianNoise": ("zhai2024normalizing",),
    "GeneralisedNormal": ("nadarajah2005generalized",),
    "GIN": ("sorrenson2020disentanglement",),
    "GraphMLP": ("germain2015made", "wehenkel2021graphical"),
    "Haar": ("ardizzone2019guided",),
    "HeavyTails": ("hickling2024flexible",),
    "LinearSpline": ("muller2019neural",),
    "LipschitzMLP": ("delattre2023efficient",),
    "LogisticLevels": ("salimans2017pixelcnn",),
    "MADE": ("germain2015made",),
    "Marginals": ("gregory1982piecewise",),
    "MatrixExponential": ("xiao2020generative",),
    "Mixture": ("uria2013rnade",),
    "MonotonicNetwork": ("wehenkel2019unconstrained",),
    "Multiscale": ("dinh2017density",),
    "PixelNet": ("vandenoord2016pixel", "vandenoord2016conditional"),
    "Planar": ("rezende2015variational",),
    "PLU": ("kingma2018glow",),
    "QR": ("hoogeboom2019emerging",),
    "QuadraticSpline": ("muller2019neural",),
    "Radial": ("rezende2015variational",),
    "Recurrent": ("cho2014learning",),
    "RegularisedLikelihood": ("finlay2020train",),
    "Resampled": ("bauer2019resampled", "stimper2022resampling"),
    "Residual": ("behrmann2019invertible", "chen2019residual"),
    "ResidualConvNet": ("he2016identity",),
    "Reversible": ("gomez2017reversible",),
    "SeriesConv": ("bai2018empirical",),
    "SetAttention": ("lee2019set",),
    "Sphere": ("rezende2020normalizing",),
    "Spline": ("durkan2019neural",),
    "Squeeze": ("dinh2017density",),
    "StudentT": ("jaini2020tails", "laszkiewicz2022marginal"),
    "SumOfSquares": ("jaini2019sum",),
    "SVD": ("zhang2018stabilizing",),
    "Sylvester": ("vandenberg2018sylvester",),
    "UnitCholesky": ("lewandowski2009generating",),
    "VariationalDequantise": ("ho2019flow",),
}
"""Class names and the papers they come from; see also :func:`_papers_of` for what depends on options."""

SOLVERS = {
    "dopri5": "dormand1980family",
    "tsit5": "tsitouras2011runge",
    "bosh3": "bogacki1989pair",
}


def cite(model: nn.Module, file: TextIO | None = None) -> None:
    """Prints the BibTeX entries of the papers behind a flow, a transform or an objective.

    Args:
        model: Any module of this library, or one that contains such modules.
        file: Where to print; standard output by default.
    """
    print(bibliography(model), file=sys.stdout if file is None else file)


def bibliography(model: nn.Module) -> str:
    """The BibTeX entries that :func:`cite` prints, ordered by year and key."""
    keys = set(ALWAYS)
    for module in model.modules():
        keys.update(_papers_of(module))
    entries = papers()
    return "\n\n".join(entries[key] for key in sorted(keys, key=_year_and_key))


@functools.cache
def papers() -> dict[str, str]:
    """The BibTeX entries of ``papers.bib`` by their keys."""
    text = resources.files(__package__).joinpath("papers.bib").read_text(encoding="utf-8")
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in text.strip().split("\n\n")}


def _papers_of(module: nn.Module) -> Iterator[str]:
    name = type(module).__name__
    yield from PARTS.get(name, ())
    if name == "Inverse" and any(type(part).__name__ == "Autoregressive" for part in module.modules()):
        yield "kingma2016improved"
    if name == "Autoregressive" and getattr(module, "inversion", None) == "blocks":
        yield "liu2025accelerate"
    if name == "ForwardKL" and getattr(module, "drop", None):
        yield "ho2022classifier"
    if name == "ReverseKL" and getattr(module, "estimator", None) == "path":
        yield "roeder2017sticking"
    if name == "Continuous":
        arguments = module.arguments()  # type: ignore[operator]
        yield from (SOLVERS[solver] for solver in [arguments.get("solver")] if solver in SOLVERS)
        if arguments.get("trace") == "hutchinson":
            yield "hutchinson1990stochastic"


def _year_and_key(key: str) -> tuple[str, str]:
    digits = "".join(character for character in key if character.isdigit())
    return digits, key
