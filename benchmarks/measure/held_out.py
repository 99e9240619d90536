"""Real tables and images as rows that every library can learn: standardised or whitened, with the way back to the
data's units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward.images.labelled import read_pictures

DATA = ("protein", "bsds300", "mnist")
PARTS = ("train", "val", "test")
SIDE = 8  # pixels of a patch
LOOKED_AT = 5_000  # validation patches that are evaluated
LAMBDA = 1e-6  # of the pixels' logit, as in the MAF paper (arXiv:1705.07057)


@dataclass
class Rows:
    """Rows on one scale; their log-densities plus ``volume`` are in the units of the data."""

    train: Tensor
    validation: Tensor
    test: Tensor
    volume: float  # log of the factor by which volumes shrank

    @property
    def features(self) -> int:
        return self.train.shape[1]


def load(name: str, path: Path, seed: int = 0) -> Rows:
    """``protein``: an .npz with ``train``, ``val``, ``test``; ``bsds300``: a folder with three .npy files, whose
    training patches are used in all eight :func:`positions` and whose covariance is made the identity; ``mnist``: a
    folder with the idx files, whose pixels are dequantised once and mapped to logits (the last 10,000 training images
    are for validation)."""
    match name:
        case "protein":
            with np.load(path) as file:
                parts = [file[part] for part in PARTS]
        case "bsds300":
            return _whitened(*(torch.from_numpy(np.load(path / f"{part}.npy")).float() for part in PARTS))
        case "mnist":
            return _standardised(*_mnist(path, seed))
        case _:
            raise ValueError(f"there are no rows called {name!r}: protein, bsds300 or mnist")
    return _standardised(*(torch.as_tensor(part, dtype=torch.float32) for part in parts))


def _standardised(train: Tensor, validation: Tensor, test: Tensor) -> Rows:
    mean, spread = train.double().mean(0), train.double().std(0).clamp_min(1e-6)
    parts = [((part - mean) / spread).float() for part in (train, validation, test)]
    return Rows(parts[0], parts[1], parts[2], volume=-float(spread.log().sum()))


def positions(rows: Tensor) -> Tensor:
    """Patches of 8 by 8 pixels in all eight orientations: mirrored left to right, top to bottom, transposed, or not.

    A row holds 63 pixels; the last one is minus their sum. Each orientation is a linear map of determinant 1 or -1.
    """
    patches = torch.cat([rows, -rows.sum(1, keepdim=True)], 1).view(-1, SIDE, SIDE)
    turned = [square.flip(mirrored) for square in (patches, patches.mT) for mirrored in ((), (2,), (1,), (1, 2))]
    return torch.cat([square.reshape(len(rows), -1)[:, :-1] for square in turned])


def _whitened(train: Tensor, validation: Tensor, test: Tensor) -> Rows:
    train = positions(train)
    mean, root = train.double().mean(0), torch.linalg.cholesky(torch.cov(train.double().T))
    parts = [
        torch.linalg.solve_triangular(root, (part.double() - mean).T, upper=False).T.float().contiguous()
        for part in (train, validation[:LOOKED_AT], test)
    ]
    return Rows(parts[0], parts[1], parts[2], volume=-float(root.diagonal().log().sum()))


def _mnist(folder: Path, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    train, test = (read_pictures(_idx(folder, kind)).images.flatten(1) for kind in ("train", "t10k"))

    def logits(images: Tensor) -> Tensor:
        shares = (images + torch.rand(images.shape, generator=generator)) / 256
        return (LAMBDA + (1 - 2 * LAMBDA) * shares).logit()

    train = logits(train)
    return train[:-10_000], train[-10_000:], logits(test)


def _idx(folder: Path, kind: str) -> Path:
    names = [f"{kind}-images-idx3-ubyte{ending}" for ending in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])
