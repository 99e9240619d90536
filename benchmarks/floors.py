"""How far each family is from its arithmetic floor: the time of its matrix products and convolutions alone.

    python benchmarks/floors.py [--families maf,nsf] [--sizes standard]

Every product in a call is rerun by itself, with its own sizes and strides, by the faster of PyTorch's two engines.
``floor ms`` is their sum; ``at peak ms`` the time of the same FLOPs at the rate of a large square product; ``ours ms``
the fastest turn of the whole call, eager.
"""

from __future__ import annotations

import argparse

import torch
from measure import ours, results
from measure.models import JOBS, Job, torch_subject
from measure.operations import Product, products
from measure.sizes import SIZES, STANDARD, Size
from measure.timing import TURN, seconds

import pushforward as pf


def best(job: Job, turns: int = 7) -> float:
    """Seconds of the fastest turn."""
    job()
    repeats = max(1, round(TURN / max(seconds(job), 1e-6)))
    return min(seconds(job, repeats) for _ in range(turns))


def peak(side: int = 1024) -> float:
    """FLOPs per second of a square product."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    (square,) = products(lambda: torch.mm(a, b))
    return square.flops / best(square.again())


def floor(parts: list[Product]) -> float:
    """Seconds of all products of a call, each by itself and by the faster engine."""
    return sum(part.count * min(best(job, turns=3) for job in part.by_either_engine()) for part in parts if part.flops)


def lines(family: str, size: Size, rate: float) -> list[results.Row]:
    torch.manual_seed(0)
    subject = torch_subject("pushforward", ours.build(family, size), size)
    rows = []
    for job in JOBS:
        parts = products(subject.jobs[job])
        flops = sum(part.flops * part.count for part in parts)
        own, taken = floor(parts), best(subject.jobs[job])
        rows.append(
            {
                "family": family,
                "job": job,
                "MFLOP": round(flops / 1e6, 1),
                "products": sum(part.count for part in parts),
                "GFLOP/s": flops / own / 1e9,
                "at peak ms": 1e3 * flops / rate,
                "floor ms": 1e3 * own,
                "ours ms": 1e3 * taken,
                "ours / floor": taken / own,
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(STANDARD))
    parser.add_argument("--sizes", choices=SIZES, default="standard")
    options = parser.parse_args()
    rate = peak()
    sizes = {family: SIZES[options.sizes][family] for family in options.families.split(",")}
    rows = [row for family, size in sizes.items() for row in lines(family, size, rate)]
    notes = f"A product of two 1024 x 1024 matrices runs at {rate / 1e9:.0f} GFLOP/s. Engines: {pf.product_engines()}."
    tables = {
        "Floors": results.table(rows),
        "Sizes": results.table([{"family": family, "size": str(size)} for family, size in sizes.items()]),
    }
    results.write(f"floors-{options.sizes}", "Arithmetic floors", tables, rows, notes=notes)


if __name__ == "__main__":
    main()
