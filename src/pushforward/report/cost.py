"""The closing facts of any report: the cost of the model, versions, and the command that reproduces the page."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from torch import nn

from .. import __version__
from .blocks import Code, Facts, Section, Text
from .words import plain, seconds, whole

Fact = tuple[str, str, str]


def cost_section(
    model: nn.Module, history: Sequence[Mapping[str, Any]], timings: Sequence[Fact], seed: int, command: str | None
) -> Section:
    """Parameters, training, ``timings`` of this page, versions, and how to reproduce it."""
    parameters = sum(p.numel() for p in model.parameters())
    facts: list[Fact] = [("Parameters", whole(parameters), "")]
    last = history[-1] if history else {}
    for key, label, show in (
        ("step", "Training steps", whole),
        ("epoch", "Epochs", plain),
        ("seconds", "Training", seconds),
    ):
        if is_number(last.get(key)):
            facts.append((label, show(last[key]), ""))
    facts += [
        *timings,
        ("pushforward", __version__, ""),
        ("PyTorch", torch.__version__, ""),
        ("Python", platform.python_version(), ""),
        ("NumPy", np.__version__, ""),
        ("matplotlib", matplotlib.__version__, ""),
        ("Seed of this page", str(seed), ""),
    ]
    blocks: list[Any] = [Facts(facts)]
    if command:
        blocks += [Text("The command that makes it again:"), Code(command)]
    return Section("cost", "Cost, versions, and how to repeat it", blocks, {"parameters": parameters})


def is_number(value: Any) -> bool:
    """Whether a training record has a finite number here."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
