"""pushforward: normalizing flows. Learn a density, evaluate it exactly, sample from it, trust the numbers.

The public names are imported on first use, so that ``import pushforward`` and the shell's ``--help`` do not wait for
PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "1.0.0"

if TYPE_CHECKING:
    from . import diagnostics as diagnostics
    from . import distributions as distributions
    from . import nets as nets
    from . import plot as plot
    from . import testing as testing
    from . import transforms as transforms
    from .citation import cite as cite
    from .distributions.flow import Flow as Flow
    from .images.density import ImageDensity as ImageDensity
    from .interop.compiled import load_compiled as load_compiled
    from .interop.export import export as export
    from .interop.outliers import FlowOutlier as FlowOutlier
    from .interop.predictors import FlowClassifier as FlowClassifier
    from .interop.predictors import FlowRegressor as FlowRegressor
    from .interop.sklearn import ConditionalFlowDensity as ConditionalFlowDensity
    from .interop.sklearn import FlowDensity as FlowDensity
    from .objectives.continuous import FlowMatching as FlowMatching
    from .objectives.continuous import RegularisedLikelihood as RegularisedLikelihood
    from .objectives.divergences import ForwardKL as ForwardKL
    from .objectives.divergences import ReverseKL as ReverseKL
    from .posterior.constrain import constrain as constrain
    from .posterior.constrain import laplace as laplace
    from .posterior.fit_target import fit_target as fit_target
    from .recipes.images import glow as glow
    from .recipes.images import pixels as pixels
    from .recipes.images import tarflow as tarflow
    from .recipes.iterative import bnaf as bnaf
    from .recipes.iterative import bpf as bpf
    from .recipes.iterative import gf as gf
    from .recipes.iterative import naf as naf
    from .recipes.iterative import planar as planar
    from .recipes.iterative import residual as residual
    from .recipes.iterative import sospf as sospf
    from .recipes.iterative import sylvester as sylvester
    from .recipes.iterative import unaf as unaf
    from .recipes.models import anyorder as anyorder
    from .recipes.models import gmm as gmm
    from .recipes.models import made as made
    from .recipes.models import pixelcnn as pixelcnn
    from .recipes.tables import ffjord as ffjord
    from .recipes.tables import iaf as iaf
    from .recipes.tables import maf as maf
    from .recipes.tables import ncsf as ncsf
    from .recipes.tables import nice as nice
    from .recipes.tables import nsf as nsf
    from .recipes.tables import realnvp as realnvp
    from .recipes.tables import triangular_spline as triangular_spline
    from .saving.checkpoint import load as load
    from .saving.checkpoint import save as save
    from .tables.density import TableDensity as TableDensity
    from .tables.schema.kinds.base import Kind as Kind
    from .tables.schema.kinds.quantity import Quantity as Quantity
    from .training.fit import fit as fit
    from .transforms.seam import free_memory as free_memory
    from .transforms.seam import plain as plain
    from .transforms.seam import product_engines as product_engines

_NAMES = {
    "citation": ("cite",),
    "distributions.flow": ("Flow",),
    "images.density": ("ImageDensity",),
    "interop.compiled": ("load_compiled",),
    "interop.export": ("export",),
    "interop.outliers": ("FlowOutlier",),
    "interop.predictors": ("FlowClassifier", "FlowRegressor"),
    "interop.sklearn": ("ConditionalFlowDensity", "FlowDensity"),
    "objectives.continuous": ("FlowMatching", "RegularisedLikelihood"),
    "objectives.divergences": ("ForwardKL", "ReverseKL"),
    "posterior.constrain": ("constrain", "laplace"),
    "posterior.fit_target": ("fit_target",),
    "recipes.images": ("glow", "pixels", "tarflow"),
    "recipes.models": ("anyorder", "gmm", "made", "pixelcnn"),
    "recipes.iterative": ("bnaf", "bpf", "gf", "naf", "planar", "residual", "sospf", "sylvester", "unaf"),
    "recipes.tables": ("ffjord", "iaf", "maf", "ncsf", "nice", "nsf", "realnvp", "triangular_spline"),
    "saving.checkpoint": ("load", "save"),
    "tables.density": ("TableDensity",),
    "tables.schema.kinds.base": ("Kind",),
    "tables.schema.kinds.quantity": ("Quantity",),
    "training.fit": ("fit",),
    "transforms.seam": ("free_memory", "plain", "product_engines"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}
_MODULES = ("diagnostics", "distributions", "nets", "plot", "testing", "transforms")

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        try:
            return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
        except ImportError as error:
            if not (error.name or "").startswith("sklearn"):
                raise
        raise ImportError(f"{name} needs scikit-learn 1.6 or newer: pip install 'pushforward[sklearn]'")
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
