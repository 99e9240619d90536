"""Images from files, as uint8 tensors (N, C, H, W): folders of pictures, NumPy arrays, MNIST's idx files; PNG grids."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from .errors import InputError

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
IDX_IMAGES = 0x00000803  # the magic number of uint8 arrays with three dimensions


def is_images(path: str | Path) -> bool:
    """Whether a path looks like images: a folder, an idx file, or a NumPy file of uint8 in 3 or 4 dimensions."""
    path = Path(path)
    if path.is_dir() or "idx3-ubyte" in path.name:
        return True
    if path.suffix not in (".npy", ".npz") or not path.is_file():
        return False
    try:
        array = _numpy(path)
    except InputError:
        return False
    return array.dtype == np.uint8 and array.ndim in (3, 4)


def read_images(path: str | Path, *, resize: int | tuple[int, int] | None = None, key: str | None = None) -> Tensor:
    """Reads images as a uint8 tensor (N, C, H, W), grey (C = 1) or RGB (C = 3).

    Args:
        path: A folder of pictures (in the order of their names), a ``.npy`` or ``.npz`` of uint8 arrays (N, H, W),
            (N, H, W, C) or (N, C, H, W), or an MNIST-style idx file, gzipped or not.
        resize: The size that every picture is brought to: a side, or (height, width).
        key: The array of an ``.npz``; the only one, ``images``, ``x`` or ``train`` where it is not given.

    Raises:
        InputError: the file is missing, damaged or of a kind that is not read; one sentence.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        return _folder(path, _size(resize))
    if path.suffix in (".npy", ".npz"):
        images = _channels_first(_numpy(path, key), path)
    elif "idx" in path.name:
        images = _idx(path)
    else:
        raise InputError(f"{path} is no folder, .npy, .npz or idx file: put pictures into a folder and name the folder")
    size = _size(resize)
    return images if size is None else _resized(images, size)


def write_grid(path: str | Path, images: Tensor, *, columns: int | None = None, border: int = 1) -> None:
    """Writes images (N, C, H, W) as one PNG: rows of equal pictures on a grey ground.

    Args:
        path: Where the PNG goes.
        images: uint8, or whole numbers from 0 to 255 in another dtype.
        columns: Pictures in one row; about a square where it is not given.
        border: Pixels between pictures.

    Raises:
        ValueError: ``images`` has another shape.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(f"images must have shape (N, 1 or 3, H, W), got {tuple(images.shape)}")
    pixels = images.detach().cpu().clamp(0, 255).to(torch.uint8)
    count, channels, height, width = pixels.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    grid = torch.full((channels, rows * (height + border) + border, columns * (width + border) + border), 128).byte()
    for k, picture in enumerate(pixels):
        top, left = (k // columns) * (height + border) + border, (k % columns) * (width + border) + border
        grid[:, top : top + height, left : left + width] = picture
    array = grid.permute(1, 2, 0).numpy()
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    Image.fromarray(array.squeeze(2) if channels == 1 else array).save(partial, format="PNG")
    os.replace(partial, path)  # whole or not at all


def _size(resize: int | tuple[int, int] | None) -> tuple[int, int] | None:
    size = (resize, resize) if isinstance(resize, int) else resize
    if size is not None and min(size) < 1:
        raise InputError(f"resize must be at least 1 pixel, got {size[0]} x {size[1]}")
    return size


def _folder(folder: Path, size: tuple[int, int] | None) -> Tensor:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    if not paths:
        raise InputError(f"{folder} holds no pictures ({', '.join(sorted(PICTURES))})")
    pictures = [_picture(path, size) for path in paths]
    colours = max(picture.shape[0] for picture in pictures)  # grey pictures among coloured ones become coloured
    pictures = [picture.expand(colours, -1, -1) for picture in pictures]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            (_, h, w), (_, H, W) = picture.shape, pictures[0].shape
            raise InputError(
                f"{path} is {h} x {w}, but {paths[0].name} is {H} x {W}: bring them to one size with "
                f"--resize {min(h, w, H, W)}"
            )
    return torch.stack(pictures)


def _picture(path: Path, size: tuple[int, int] | None) -> Tensor:
    try:
        with Image.open(path) as image:
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as a picture ({error}): remove it or save it again") from None
    if image.mode.startswith("I") or image.mode == "F":
        raise InputError(f"{path} has 16 bits or more for each pixel (mode {image.mode}): convert it to 8 bits")
    if "A" in image.mode or "transparency" in image.info:
        raise InputError(f"{path} has an alpha channel (mode {image.mode}): flatten it onto a background first")
    picture = image.convert("L" if image.mode in ("1", "L") else "RGB")
    if size is not None:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)  # averages over what it shrinks
    array = np.array(picture)
    return torch.from_numpy(array).unsqueeze(0) if array.ndim == 2 else torch.from_numpy(array).permute(2, 0, 1)


def _numpy(path: Path, key: str | None = None) -> np.ndarray:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        keys = loaded.files
        found = [key] if key else (keys if len(keys) == 1 else [k for k in ("images", "x", "train") if k in keys][:1])
        if not found or found[0] not in keys:
            raise InputError(f"{path} holds the arrays {', '.join(keys)}: name the one with the images")
        return loaded[found[0]]
    except (OSError, ValueError, EOFError, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as a NumPy file: {error}") from None


def _channels_first(array: np.ndarray, path: Path) -> Tensor:
    if array.dtype != np.uint8:
        what = "scaled to whole numbers" if array.dtype.kind == "f" else "brought to 8 bits"
        raise InputError(f"{path} holds {array.dtype}, but images must be {what} from 0 to 255 and stored as uint8")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not array.size:
        mend = ": drop the alpha channel" if array.ndim == 4 and 4 in (array.shape[1], array.shape[3]) else ""
        raise InputError(
            f"{path} has shape {array.shape}, but images are (N, H, W), (N, H, W, 3) or (N, 3, H, W){mend}"
        )
    return torch.from_numpy(np.ascontiguousarray(array))


def _idx(path: Path) -> Tensor:
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be unpacked ({error}): fetch it again") from None
    if len(raw) < 16 or int.from_bytes(raw[:4]) != IDX_IMAGES:
        raise InputError(f"{path} is no idx file of uint8 images: its first four bytes should be 00 00 08 03")
    count, height, width = (int.from_bytes(raw[at : at + 4]) for at in (4, 8, 12))
    if len(raw) != 16 + count * height * width or not count:
        raise InputError(
            f"{path} should hold {count} images of {height} x {width}, which is {16 + count * height * width} bytes, "
            f"but has {len(raw)}: fetch it again"
        )
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(count, 1, height, width)
    return torch.from_numpy(pixels.copy())


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    scaled = torch.nn.functional.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8)
