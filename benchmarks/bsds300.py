"""Natural image patches, BSDS300: test log-likelihood of one flow after a stated time.

    python benchmarks/bsds300.py FOLDER --minutes 30

FOLDER holds train.npy, val.npy and test.npy: rows of 63 numbers, already scaled (Papamakarios et al. 2017, section 4).
The flow whitens by the training rows' own covariance, then takes two affine autoregressive layers, which follow the
contrast of a patch, and four of splines. Nothing else is tuned.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from pathlib import Path

import numpy as np
import torch
from measure.results import processor
from torch import Tensor

import pushforward as pf
from pushforward.transforms import Compose, Whiten

HIDDEN = (256, 256)


def build(rows: Tensor) -> pf.Flow:
    """The flow for rows like these."""
    exact = rows.double()
    whiten = Whiten(exact.mean(0).float(), torch.linalg.cholesky(torch.cov(exact.T)).float())
    features = rows.shape[1]
    affine = pf.maf(features, layers=2, hidden=HIDDEN).transform.transforms
    splines = pf.nsf(features, layers=4, hidden=HIDDEN).transform.transforms
    return pf.Flow(Compose([whiten, *affine, *splines]), features)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    train, validation, test = (
        torch.from_numpy(np.load(options.folder / f"{part}.npy")).float() for part in ("train", "val", "test")
    )
    flow = build(train)
    trained = pf.fit(
        flow, train, validation=validation[:4000], budget=60 * options.minutes, lr=options.lr, initialize=False
    )
    with torch.no_grad():
        log_prob = torch.cat([flow.log_prob(part) for part in test.split(2000)]).double()
    today = datetime.date.today().isoformat()
    result = {
        "test_nats": round(float(log_prob.mean()), 3),
        "standard_error": round(float(log_prob.std()) / len(log_prob) ** 0.5, 3),
        "minutes": options.minutes,
        "steps": trained.steps,
        "lr": options.lr,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "curve": [
            (round(line["seconds"]), round(-line["validation_loss"], 2))
            for line in trained.history
            if line["validation_loss"] is not None
        ],
        "training_rows": len(train),
        "date": today,
        "hardware": f"{platform.machine()} {processor()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{today}-bsds300.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
