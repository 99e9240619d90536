"""Trains an image model on MNIST for a stated time and writes its bits/dim on the whole test set, with samples.

    python benchmarks/mnist.py glow --data DIR --minutes 15
    python benchmarks/mnist.py pixelcnn --data DIR --minutes 15

DIR holds MNIST's four idx files (gzipped or not), or Fashion-MNIST's, for instance /usr/share/dataset-fashion-mnist of
the Debian package dataset-fashion-mnist. The result, a JSON file and a PNG of samples, goes to benchmarks/results.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
import time
from pathlib import Path

import torch
from measure.results import processor
from torch import Tensor

import pushforward as pf
from pushforward.distributions.base import Density
from pushforward.images.formats import read_images, write_grid

PLACES = ["data/mnist", "/usr/share/dataset-fashion-mnist", "/usr/share/mnist"]
MODELS = {
    "glow": lambda shape, steps, hidden: pf.pixels(pf.glow(shape, levels=2, steps=steps or 8, hidden=hidden or 64)),
    "realnvp": lambda shape, steps, hidden: pf.pixels(pf.realnvp(shape, layers=steps or 6, hidden=(hidden or 32,) * 2)),
    "pixelcnn": lambda shape, steps, hidden: pf.pixelcnn(shape, layers=steps or 6, hidden=hidden or 32),
}


def find(folder: str | None, kind: str) -> Path:
    """The idx file of the training ("train") or test ("t10k") images."""
    for place in [folder] if folder else PLACES:
        for name in (f"{kind}-images-idx3-ubyte", f"{kind}-images-idx3-ubyte.gz"):
            if (Path(place) / name).exists():
                return Path(place) / name
    raise SystemExit(f"no {kind}-images-idx3-ubyte(.gz) in {folder or ', '.join(PLACES)}: name its folder with --data")


def train(model: Density, images: Tensor, *, minutes: float, batch: int, lr: float) -> dict[str, float]:
    """Adam; the learning rate rises over the first fiftieth of the time and falls with a cosine to the end of it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    start, budget, steps, seen, recent = time.monotonic(), minutes * 60, 0, 0, math.nan
    while (spent := (time.monotonic() - start) / budget) < 1:
        for group in optimizer.param_groups:
            group["lr"] = lr * min(spent * 50 + 1e-3, 1.0) * 0.5 * (1 + math.cos(math.pi * spent))
        rows = images[torch.randint(len(images), (batch,))]
        loss = -model(rows).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1000.0)
        if norm.isfinite():
            optimizer.step()
        recent = loss.item() if math.isnan(recent) else 0.98 * recent + 0.02 * loss.item()
        steps, seen = steps + 1, seen + batch
        if steps % 200 == 0:
            bits = recent / math.log(2) / images[0].numel()
            print(f"{(time.monotonic() - start) / 60:6.1f} min  {steps:6d} steps  {bits:.4f} bits/dim", flush=True)
    return {"steps": steps, "epochs": round(seen / len(images), 2)}


@torch.no_grad()
def evaluate(model: Density, images: Tensor) -> dict[str, float]:
    """Mean bits/dim over all images, its standard error, and the median and the worst image."""
    log_prob = torch.cat([model(part) for part in images.split(100)])
    bits = pf.diagnostics.bits_per_dim(log_prob, images.shape[1:], levels=1).double()
    figures = {
        "test_bits_per_dim": bits.mean(),
        "standard_error": bits.std() / len(bits) ** 0.5,
        "median": bits.median(),
        "worst_image": bits.max(),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--data", help="folder with the idx files")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--steps", type=int, help="steps per level, couplings per scale, or residual blocks")
    parser.add_argument("--hidden", type=int, help="channels of the networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    images, test = (read_images(find(options.data, kind)) for kind in ("train", "t10k"))
    model = MODELS[options.model](images.shape[1:], options.steps, options.hidden)
    model.initialize(images[torch.randperm(len(images))[:512]])
    trained = train(model, images, minutes=options.minutes, batch=options.batch, lr=options.lr)
    model.eval()
    figures = evaluate(model, test)
    started = time.monotonic()
    samples = model.sample((64,), generator=torch.Generator().manual_seed(options.seed))
    seconds = time.monotonic() - started

    today = datetime.date.today().isoformat()
    name = f"mnist-{options.model}-{today}"
    options.out.mkdir(parents=True, exist_ok=True)
    write_grid(options.out / f"{name}.png", samples)
    result = {
        "model": options.model,
        **figures,
        "bound": "lower bound, one draw of the noise" if isinstance(model, pf.Flow) else "exact",
        "train_minutes": options.minutes,
        **trained,
        "batch": options.batch,
        "lr": options.lr,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds_for_64_samples": round(seconds, 2),
        "data": find(options.data, "t10k").name,
        "test_images": len(test),
        "date": today,
        "hardware": f"{platform.machine()} {processor()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    (options.out / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
