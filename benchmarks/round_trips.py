"""Is every recipe inverted to full precision: round trips of a million numbers of N(0, 10²).

    python benchmarks/round_trips.py [--recipes gf,naf] [--features 1,2,5] [--numbers 1000000]

Parameters are random (``pf.testing.randomize``), and rows are deliberately far out. Both directions of 1, 2 and 5
features in float32 and float64: z to x and back to z, and x to z and back to x. Reported are the count of numbers that
are not finite, and the largest error of a row as a multiple of c, the effect of rounding alone. It is found in float64:
on the way back, the input u_k of every layer is perturbed by about one unit of rounding of its largest number,

    c = sum_k |end(u_k + (1 + max |u_k|) eps noise) - end|  + (1 + max |end|) eps,

so an error of 1,000 c or less is as good as conditioning allows. Continuous flows are as exact as their solver's
tolerance; they are in ``continuous_toys.py``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pushforward as pf
from pushforward.transforms import Compose, Transform

RECIPES = (
    *("maf", "iaf", "realnvp", "nsf", "nice", "naf", "unaf", "bnaf", "bpf", "sospf", "gf", "ncsf", "residual"),
    *("planar", "sylvester", "triangular_spline"),
)
DIRECTIONS = 30
PART = 20_000  # rows at a time
LARGEST, EVERY = 30, 2000  # rows of a part whose rounding is examined: those with the largest errors, and every so many

Map = Callable[[Tensor], Tensor]


def maps(transform: Transform, *, backwards: bool) -> list[Map]:
    """The layers one after another."""
    layers = list(transform) if isinstance(transform, Compose) else [transform]
    calls = [layer.inverse for layer in reversed(layers)] if backwards else layers
    return [partial(_value, call) for call in calls]


def _value(call: Callable[[Tensor], tuple[Tensor, Tensor]], u: Tensor) -> Tensor:
    return call(u)[0]


def through(way: list[Map], u: Tensor) -> Tensor:
    for step in way:
        u = step(u)
    return u


def rounding(way: list[Map], u: Tensor, eps: float) -> Tensor:
    """The rounding effect c of every row."""
    carried = u[None]  # first the rows, then those perturbed at each layer so far: all take the same steps
    for step in way:
        unit = (1 + carried[0].abs().amax(-1, keepdim=True)) * eps
        moved = carried[0] + unit * torch.randn(DIRECTIONS, *u.shape, dtype=u.dtype)
        carried = step(torch.cat([carried, moved]))
    end, moved = carried[0], carried[1:] - carried[0]
    total = moved.abs().amax(-1).unflatten(0, (len(way), DIRECTIONS)).amax(1).sum(0)
    return total + (1 + end.abs().amax(-1)) * eps


def worst(flow: pf.Flow, exact: pf.Flow, start: Tensor, *, from_latent: bool) -> tuple[int, float, float]:
    """The count of numbers that are not finite, the largest error, and the largest multiple of c, evaluated on the rows
    with the largest errors and some others."""
    there, back = maps(flow.transform, backwards=from_latent), maps(flow.transform, backwards=not from_latent)
    middle = through(there, start)
    error = (through(back, middle) - start).abs()
    lost, error = int((~error.isfinite()).sum()), error.nan_to_num(0.0).amax(-1)
    chosen = torch.cat([error.topk(min(LARGEST, len(error))).indices, torch.arange(0, len(error), EVERY)])
    way, eps = maps(exact.transform, backwards=not from_latent), torch.finfo(start.dtype).eps
    c = rounding(way, middle[chosen].double(), eps)
    return lost, float(error.max()), float((error[chosen].double() / c).max())


@torch.no_grad()
def trip(recipe: str, features: int, dtype: torch.dtype, numbers: int, *, from_latent: bool) -> dict[str, Any]:
    flow: pf.Flow = getattr(pf, recipe)(features)
    exact: pf.Flow = getattr(pf, recipe)(features, dtype=torch.float64)
    pf.testing.randomize(flow).to(dtype)
    exact.load_state_dict(flow.state_dict())
    generator = torch.Generator().manual_seed(0)
    rows = 10 * torch.randn(numbers // features, features, dtype=dtype, generator=generator)
    if recipe == "ncsf":  # on the circle
        rows = torch.pi * (rows / 10).tanh()
    found = [worst(flow, exact, part, from_latent=from_latent) for part in rows.split(PART)]
    lost, errors, multiples = zip(*found, strict=True)
    return {
        "recipe": recipe,
        "features": features,
        "type": str(dtype).removeprefix("torch."),
        "from": "z" if from_latent else "x",
        "not finite": sum(lost),
        "error": max(errors),
        "multiple of rounding": round(max(multiples), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--features", default="1,2,5")
    parser.add_argument("--numbers", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = []
    for recipe, features, dtype in product(
        options.recipes.split(","), map(int, options.features.split(",")), (torch.float32, torch.float64)
    ):
        for from_latent in (True, False):
            torch.manual_seed(0)
            lines.append(trip(recipe, features, dtype, options.numbers, from_latent=from_latent))
            print(json.dumps(lines[-1]), flush=True)
    if options.output:
        options.output.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
