"""Trains an image model on MNIST for a given time and writes its bits/dim on the whole test set, with samples.

    python benchmarks/mnist.py glow --data DIR --minutes 15
    python benchmarks/mnist.py pixelcnn --data DIR --minutes 15
    python benchmarks/mnist.py tarflow --data DIR --minutes 20 --lr 4e-3 --batch 16
    python benchmarks/mnist.py tarflow --data DIR --minutes 30 --device cuda --bfloat16 --steps 8 --hidden 384 --patch 2
    python benchmarks/mnist.py tarflow-noise --data DIR --minutes 20 --name digits-noise

DIR holds MNIST's four idx files (gzipped or not), or Fashion-MNIST's, for instance /usr/share/datasets/fashion-mnist
from the Debian package dataset-fashion-mnist; or it is an .npz with uint8 arrays train and test, (n, H, W),
(n, H, W, 3) or (n, 3, H, W). The result, a JSON file and a PNG of samples, goes to benchmarks/results. With few
training images, compare train_bits_per_dim, of as many of them as are tested.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure.results import processor
from torch import Tensor

import pushforward as pf
from pushforward.distributions.base import Density
from pushforward.images.formats import channels_first, png
from pushforward.images.labelled import read_pictures

PLACES = ["data/mnist", "/usr/share/datasets/fashion-mnist", "/usr/share/mnist"]
MODELS = {
    "glow": lambda shape, steps, hidden: pf.pixels(pf.glow(shape, levels=2, steps=steps or 8, hidden=hidden or 64)),
    "realnvp": lambda shape, steps, hidden: pf.pixels(pf.realnvp(shape, layers=steps or 6, hidden=(hidden or 32,) * 2)),
    "pixelcnn": lambda shape, steps, hidden: pf.pixelcnn(shape, layers=steps or 6, hidden=hidden or 32),
    "tarflow": lambda shape, steps, hidden: pf.pixels(tarflow(shape, steps, hidden, bins=8, inner=hidden or 96)),
    "tarflow-paper": lambda shape, steps, hidden: pf.pixels(tarflow(shape, steps or 4, hidden)),
    "tarflow-noise": lambda shape, steps, hidden: pf.pixels(tarflow(shape, steps or 4, hidden, noise=0.05)),
}
PATCH = 4  # side of tarflow's patches


def tarflow(shape: Sequence[int], blocks: int | None, width: int | None, **choices: Any) -> pf.Flow:
    """Two layers per block, heads of about 24 units."""
    width = width or 96
    return pf.tarflow(shape, patch=PATCH, blocks=blocks or 2, width=width, heads=max(width // 24, 1), **choices)


def load(place: str | None) -> tuple[Tensor, Tensor]:
    """Training and test images, (n, C, H, W)."""
    if place is None or not place.endswith(".npz"):
        train, test = (read_pictures(find(place, kind)).images for kind in ("train", "t10k"))
        return train, test
    with np.load(place) as arrays:
        train, test = (channels_first(arrays[name], Path(place)) for name in ("train", "test"))
        return train, test


def find(folder: str | None, kind: str) -> Path:
    """The idx file of the training ("train") or test ("t10k") images."""
    for place in [folder] if folder else PLACES:
        for name in (f"{kind}-images-idx3-ubyte", f"{kind}-images-idx3-ubyte.gz"):
            if (Path(place) / name).exists():
                return Path(place) / name
    raise SystemExit(f"no {kind}-images-idx3-ubyte(.gz) in {folder or ', '.join(PLACES)}: name its folder with --data")


def train(
    model: Density, images: Tensor, *, minutes: float, batch: int, lr: float, device: str, bfloat16: bool
) -> dict[str, float]:
    """Trains by Adam; the learning rate rises over the first fiftieth of the time and then falls along a cosine."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    start, budget, steps, seen, recent = time.monotonic(), minutes * 60, 0, 0, math.nan
    computing = time.process_time()
    while (spent := (time.monotonic() - start) / budget) < 1:
        for group in optimizer.param_groups:
            group["lr"] = lr * min(spent * 50 + 1e-3, 1.0) * 0.5 * (1 + math.cos(math.pi * spent))
        rows = images[torch.randint(len(images), (batch,))].to(device)
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
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
    seconds = round(time.process_time() - computing)
    return {"steps": steps, "epochs": round(seen / len(images), 2), "seconds_of_processor": seconds}


@torch.no_grad()
def evaluate(model: Density, images: Tensor) -> dict[str, float]:
    """Mean bits/dim over all images, its standard error, and the median and the worst image."""
    device = next(model.parameters()).device
    log_prob = torch.cat([model(part.to(device)).cpu() for part in images.split(100)])
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
    parser.add_argument("--steps", type=int, help="steps per level, couplings per scale, residual blocks, or blocks")
    parser.add_argument("--hidden", type=int, help="channels of the networks")
    parser.add_argument("--patch", type=int, default=PATCH, help="side of tarflow's patches")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bfloat16", action="store_true", help="train in mixed precision")
    parser.add_argument("--name", help="of the result's files; by default mnist-MODEL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    globals()["PATCH"] = options.patch
    images, test = load(options.data)
    model = MODELS[options.model](images.shape[1:], options.steps, options.hidden).to(options.device)
    model.initialize(images[torch.randperm(len(images))[:512]].to(options.device))
    how = {"batch": options.batch, "lr": options.lr, "device": options.device, "bfloat16": options.bfloat16}
    trained = train(model, images, minutes=options.minutes, **how)
    model.eval()
    figures = evaluate(model, test)
    seen = evaluate(model, images[:: max(len(images) // len(test), 1)][: len(test)])
    choices: dict[str, Any] = {"denoise": True} if options.model == "tarflow-noise" else {}
    started = time.monotonic()
    samples = model.sample((64,), generator=torch.Generator(options.device).manual_seed(options.seed), **choices)
    seconds = time.monotonic() - started

    today = datetime.date.today().isoformat()
    name = f"{options.name or f'mnist-{options.model}'}-{today}"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.png").write_bytes(png(samples.cpu()))
    result = {
        "model": options.model,
        **figures,
        "train_bits_per_dim": seen["test_bits_per_dim"],
        "bound": "lower bound, one draw of the noise" if isinstance(model, pf.Flow) else "exact",
        "train_minutes": options.minutes,
        **trained,
        **how,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds_for_64_samples": round(seconds, 2),
        "data": Path(options.data).name
        if options.data and options.data.endswith(".npz")
        else find(options.data, "t10k").name,
        "test_images": len(test),
        "date": today,
        "hardware": torch.cuda.get_device_name()
        if options.device == "cuda"
        else f"{platform.machine()} {processor()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    (options.out / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
