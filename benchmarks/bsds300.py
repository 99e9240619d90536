"""Natural image patches, BSDS300: test log-likelihood of one flow after a given number of steps.

    python benchmarks/bsds300.py FOLDER

FOLDER holds train.npy, val.npy and test.npy: patches of 8 by 8 pixels, already scaled, their mean subtracted and the
last pixel, minus the sum of the others, left out: rows of 63 numbers (Papamakarios et al. 2017, section 4).

A patch mirrored or rotated is nearly as natural as before, so the flow learns from every training patch in its eight
orientations, each of them a linear map of the 63 numbers with determinant ±1. Without that it overfits 200,000 rows
within minutes.
Validation and test rows are left as they are, and the weights with the best validation are those tested.
The tested density is the flow's mean over the eight orientations of a patch, a natural choice for images,

    p(x) = 1/8 sum_k p_flow(P_k x),  |det P_k| = 1,

again a density, at no cost in training; ``one_position_nats`` is the flow's own.

The flow whitens by the covariance of its training rows, followed by two affine autoregressive layers, which model the
contrast of a patch, and four of splines. The number of steps is chosen to take about 30 minutes on one core;
``BENCH_CLOCK=cpu`` counts CPU time, which other load changes little.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from pathlib import Path

import numpy as np
import torch
from measure.clock import CPU, clock, fit_on_clock
from measure.held_out import LOOKED_AT, positions
from measure.results import processor
from torch import Tensor

import pushforward as pf
from pushforward.distributions import Average
from pushforward.nets.made import MADE
from pushforward.transforms import Affine, Autoregressive, Compose, Linear, Permutation, Whiten

HIDDEN = (256, 256)
BINS = 4


def build(rows: Tensor) -> pf.Flow:
    """The flow for such rows."""
    exact = rows.double()
    whiten = Whiten(exact.mean(0).float(), torch.linalg.cholesky(torch.cov(exact.T)).float())
    features = rows.shape[1]
    affine = [Autoregressive(MADE(features, 2, hidden=HIDDEN), Affine()) for _ in range(2)]
    turned = Permutation(range(features - 1, -1, -1))
    splines = pf.nsf(features, layers=4, hidden=HIDDEN, bins=BINS, mixing="reverse").transform
    assert isinstance(splines, Compose)
    return pf.Flow(Compose([whiten, affine[0], turned, affine[1], turned, *splines]), features)


def over_positions(flow: pf.Flow) -> Average:
    """The mean of a flow's densities of a patch in its eight orientations."""
    matrices = positions(torch.eye(*flow.event_shape)).unflatten(0, (8, -1)).mT
    return Average([pf.Flow(Compose([Linear(matrix), flow.transform]), flow.base) for matrix in matrices])


def log_density(density: pf.Flow | Average, rows: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([density.log_prob(part) for part in rows.split(2000)]).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=28_000)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    train, validation, test = (
        torch.from_numpy(np.load(options.folder / f"{part}.npy")).float() for part in ("train", "val", "test")
    )
    started = clock()
    rows = positions(train)
    flow = build(rows)
    ready = clock() - started
    with fit_on_clock():
        trained = pf.fit(
            flow,
            rows,
            validation=validation[:LOOKED_AT],
            steps=options.steps,
            batch_size=options.batch_size,
            lr=options.lr,
            seed=options.seed,
            initialize=False,
        )
    seconds = clock() - started
    log_prob = log_density(over_positions(flow), test)
    today = datetime.date.today().isoformat()
    result = {
        "test_nats": round(float(log_prob.mean()), 3),
        "standard_error": round(float(log_prob.std()) / len(log_prob) ** 0.5, 3),
        "one_position_nats": round(float(log_density(flow, test).mean()), 3),
        "seconds": round(seconds),
        "clock": "processor time" if CPU else "wall time",
        "steps": trained.steps,
        "best_step": trained.best_step,
        "batch_size": options.batch_size,
        "lr": options.lr,
        "seed": options.seed,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "curve": [  # step, seconds, nats of the training rows in all orientations, nats of the validation rows
            (
                line["step"],
                round(ready + line["seconds"], 1),
                line["train_loss"] and round(-line["train_loss"], 2),
                round(-line["validation_loss"], 2),
            )
            for line in trained.history
            if line["validation_loss"] is not None
        ],
        "training_rows": len(train),
        "positions": len(rows) // len(train),
        "date": today,
        "hardware": f"{platform.machine()} {processor()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{today}-bsds300.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
