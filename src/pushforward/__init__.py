"""pushforward: normalizing flows. Learn a density, evaluate it exactly, sample from it, trust the numbers.

The public names are imported when they are first used, so that ``import pushforward`` and the shell's ``--help`` do
not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import diagnostics as diagnostics
    from . import plot as plot
    from . import testing as testing
    from . import transforms as transforms
    from .checkpoint import load as load
    from .checkpoint import save as save
    from .citation import cite as cite
    from .distributions.flow import Flow as Flow
    from .estimator import ConditionalFlowDensity as ConditionalFlowDensity
    from .estimator import FlowDensity as FlowDensity
    from .objectives import ForwardKL as ForwardKL
    from .objectives import ReverseKL as ReverseKL
    from .objectives_continuous import FlowMatching as FlowMatching
    from .objectives_continuous import RegularisedLikelihood as RegularisedLikelihood
    from .supports import constrain as constrain
    from .supports import laplace as laplace
    from .target_fit import fit_target as fit_target
    from .training.fit import fit as fit
    from .zoo import ffjord as ffjord
    from .zoo import iaf as iaf
    from .zoo import made as made
    from .zoo import maf as maf
    from .zoo import nsf as nsf
    from .zoo import realnvp as realnvp
    from .zoo_images import glow as glow
    from .zoo_images import pixelcnn as pixelcnn
    from .zoo_images import pixels as pixels

_HOMES = {
    "ConditionalFlowDensity": "estimator",
    "Flow": "distributions.flow",
    "FlowDensity": "estimator",
    "FlowMatching": "objectives_continuous",
    "ForwardKL": "objectives",
    "RegularisedLikelihood": "objectives_continuous",
    "ReverseKL": "objectives",
    "cite": "citation",
    "ffjord": "zoo",
    "fit": "training.fit",
    "fit_target": "target_fit",
    "glow": "zoo_images",
    "constrain": "supports",
    "iaf": "zoo",
    "laplace": "supports",
    "load": "checkpoint",
    "made": "zoo",
    "maf": "zoo",
    "nsf": "zoo",
    "pixelcnn": "zoo_images",
    "pixels": "zoo_images",
    "realnvp": "zoo",
    "save": "checkpoint",
}
_MODULES = (
    "diagnostics",
    "plot",
    "testing",
    "transforms",
)

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
