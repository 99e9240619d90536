"""The contestants: a subject for every library that is installed and has the family."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

import torch

from . import jax_peers, ode_peers, ours, torch_peers
from .jax_peers import JaxModel, jax_subject
from .models import Subject, TorchModel, torch_subject
from .sizes import Size

OURS, COMPILED, MACHINE_CODE = "pushforward", "pushforward-compiled", "pushforward-machine-code"
BUILDERS: dict[str, Callable[[str, Size], Any]] = {
    OURS: ours.build,
    COMPILED: ours.compiled,
    MACHINE_CODE: ours.machine_code,
    "zuko": torch_peers.zuko,
    "nflows": torch_peers.nflows,
    "normflows": torch_peers.normflows,
    "flowjax": jax_peers.flowjax,
    "torchdiffeq": ode_peers.torchdiffeq_direct,
    "torchdiffeq-adjoint": ode_peers.torchdiffeq,
    "diffrax": jax_peers.diffrax,
}
ROWS = ("maf", "iaf", "nsf", "nsf-coupling", "realnvp")
FAMILIES = {
    OURS: (*ROWS, "maf-linear", "nsf-linear", "glow", "cnf"),
    COMPILED: (*ROWS, "glow", "cnf"),
    MACHINE_CODE: (*ROWS, "glow", "cnf"),
    "zuko": (*ROWS, "cnf"),
    "nflows": ROWS,
    "normflows": ("iaf", "realnvp", "glow"),
    "flowjax": ROWS,
    "torchdiffeq": ("cnf",),
    "torchdiffeq-adjoint": ("cnf",),
    "diffrax": ("cnf",),
}
EAGER = tuple(name for name in BUILDERS if name not in (COMPILED, MACHINE_CODE))


def families_of(library: str) -> tuple[str, ...]:
    """The families a library can run here; none if it is not installed."""
    return FAMILIES[library] if installed(library) else ()


def installed(library: str) -> bool:
    return importlib.util.find_spec(library.split("-")[0]) is not None


def model(library: str, family: str, size: Size) -> TorchModel | JaxModel | None:
    """The library's model with seeded weights; None if the library has no such family, is not installed, or has machine
    code for the CPU alone."""
    if family not in families_of(library) or (library == MACHINE_CODE and size.device != "cpu"):
        return None
    torch.manual_seed(0)
    built = BUILDERS[library](family, size)
    if isinstance(built, TorchModel):
        built.module.to(size.device)
    return built


def subject(library: str, family: str, size: Size) -> Subject | None:
    built = model(library, family, size)
    if built is None:
        return None
    if isinstance(built, TorchModel):
        return torch_subject(library, built, size)
    return None if size.device != "cpu" and not _jax_has_gpu() else jax_subject(library, built, size)


def subjects(family: str, size: Size, libraries: Iterable[str] = EAGER) -> list[Subject]:
    return [found for found in (subject(library, family, size) for library in libraries) if found is not None]


def _jax_has_gpu() -> bool:
    import jax

    return jax.default_backend() == "gpu"
