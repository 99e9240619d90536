"""Images from files, as uint8 tensors (N, C, H, W): folders of pictures, NumPy arrays, MNIST's idx files; PNG grids."""

from __future__ import annotations

import gzip
import io
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..errors import InputError

SIDE = 64  # the least side of an image that is to be looked at, in pixels
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
IDX = {1: "labels", 3: "images"}  # names of uint8 arrays by their number of dimensions, for error messages
UNREADABLE = (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile)  # what NumPy raises for broken files


def is_images(path: str | Path) -> bool:
    """Whether a path holds images: a folder of pictures, a picture, an idx file, a NumPy file of 3 or 4 dimensions."""
    path = Path(path)
    if path.is_dir():
        return bool(_pictures_in(path))
    if "idx3-ubyte" in path.name or path.suffix.lower() in PICTURES:
        return True
    if path.suffix not in (".npy", ".npz") or not path.is_file():
        return False
    try:
        loaded = np.load(path, allow_pickle=False, mmap_mode="r")
        arrays = [loaded] if isinstance(loaded, np.ndarray) else (loaded[key] for key in loaded.files)
        return any(array.ndim in (3, 4) for array in arrays)
    except UNREADABLE:
        return False


def picture_paths(folder: Path) -> list[Path]:
    """The pictures of a folder, or if it has none those of its folders, in the order of their names."""
    paths = _pictures_in(folder)
    if not paths:
        raise InputError(f"{folder} holds no pictures ({', '.join(sorted(PICTURES))})")
    return paths


def _pictures_in(folder: Path) -> list[Path]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    if paths:
        return paths
    inner = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    return [path for each in inner for path in sorted(each.iterdir()) if path.suffix.lower() in PICTURES]


def png(images: Tensor, columns: int | None = None) -> bytes:
    """Images (N, C, H, W) as one PNG: rows of equal pictures on a grey background, a pixel apart.

    Args:
        images: uint8, or whole numbers from 0 to 255 in another dtype.
        columns: Images per row; by default about a square grid.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(f"images must have shape (N, 1 or 3, H, W), got {tuple(images.shape)}")
    pixels = images.detach().cpu().clamp(0, 255).to(torch.uint8)
    count, channels, height, width = pixels.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    ground = torch.full((channels, rows * (height + 1) + 1, columns * (width + 1) + 1), 128).byte()
    for k, picture in enumerate(pixels):
        top, left = (k // columns) * (height + 1) + 1, (k % columns) * (width + 1) + 1
        ground[:, top : top + height, left : left + width] = picture
    array, buffer = ground.permute(1, 2, 0).numpy(), io.BytesIO()
    Image.fromarray(array.squeeze(2) if channels == 1 else array).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def enlarged(images: Tensor) -> Tensor:
    """Small images (N, C, H, W) as large ones: each pixel is a square of several."""
    zoom = max(1, SIDE // max(images.shape[-2:]))
    return images.repeat_interleave(zoom, -2).repeat_interleave(zoom, -1)


def stacked(paths: list[Path], size: tuple[int, int] | None) -> Tensor:
    """Picture files as images (N, C, H, W), resized to (height, width) unless it is None."""
    pictures = [_picture(path, size) for path in paths]
    colours = max(picture.shape[0] for picture in pictures)  # grey pictures among coloured ones become coloured
    pictures = [picture.expand(colours, -1, -1) for picture in pictures]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            (_, h, w), (_, H, W) = picture.shape, pictures[0].shape
            raise InputError(
                f"{path} is {h} x {w}, but {paths[0].name} is {H} x {W}: bring them to one size with "
                f"`resize={min(h, w, H, W)}`"
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
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)  # averages when it shrinks
    array = np.array(picture)
    return torch.from_numpy(array).unsqueeze(0) if array.ndim == 2 else torch.from_numpy(array).permute(2, 0, 1)


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a NumPy file by name; that of a ``.npy`` is ``images``."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"images": loaded}
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read as a NumPy file: {error}") from None
    if not arrays:
        raise InputError(f"{path} holds no arrays")
    return arrays


def channels_first(array: np.ndarray, path: Path) -> Tensor:
    """An array (N, H, W), (N, H, W, C) or (N, C, H, W) as images (N, C, H, W)."""
    if array.dtype != np.uint8:
        what = "scaled to whole numbers" if array.dtype.kind == "f" else "brought to 8 bits"
        raise InputError(
            f"{path} has shape {array.shape} and holds {array.dtype}: images must be {what} from 0 to 255 and "
            "stored as uint8 (a table has two dimensions, rows and columns)"
        )
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


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of an MNIST-style file: images have three dimensions, labels have one."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be unpacked ({error}): fetch it again") from None
    what, header = IDX[dimensions], 4 * (1 + dimensions)
    if len(raw) < header or raw[:4] != bytes([0, 0, 8, dimensions]):
        raise InputError(
            f"{path} is not an idx file of uint8 {what}: its first four bytes should be 00 00 08 0{dimensions}"
        )
    shape = [int.from_bytes(raw[at : at + 4]) for at in range(4, header, 4)]
    if len(raw) != header + math.prod(shape) or not math.prod(shape):
        of = f" of {' x '.join(map(str, shape[1:]))}" if shape[1:] else ""
        raise InputError(
            f"{path} should hold {shape[0]} {what}{of}, which is {header + math.prod(shape)} bytes, but has "
            f"{len(raw)}: fetch it again"
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()


def resized(images: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Images (N, C, H, W) resized to (height, width); unchanged if None."""
    if size is None:
        return images
    scaled = torch.nn.functional.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8)
