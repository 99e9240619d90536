"""Sets of images as the shell reads them: pixels, a name and perhaps a class for each; and how they are divided."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError, listed
from ..tables.io.place import Location, Source
from ..training.batches import Rows
from .formats import arrays_of, channels_first, picture_paths, read_idx, resized, stacked

GIVEN = "class"  # the only thing that images can be conditioned on
IMAGE_KEYS = ("images", "x", "X", "data")
LABEL_KEYS = ("labels", "y", "label", "classes")
SPLIT_KEYS = {
    split: [(split, f"{split}_labels"), (f"x_{split}", f"y_{split}"), (f"{split}_images", f"{split}_labels")]
    for split in ("train", "val", "test")
}
"""Arrays of a divided ``.npz`` with their labels, as Keras, MedMNIST and this program name them."""
MIN_IMAGES = 50
SHARE = 0.1  # share of the images for the reported figures, and as many for early stopping
MOST_TEST, MOST_VALIDATION = 5_000, 1_000  # their errors are small then, and images are slow


@dataclass(frozen=True)
class LabelledImages:
    """Images of one size."""

    path: Path  # where they came from
    images: Tensor  # (n, C, H, W), uint8
    names: Sequence[str]  # the file of each, or its number in the file, from 0
    labels: Sequence[str] | None = None  # the class of each, or None if the files give none
    # ``train``, ``val`` and ``test`` of a file that comes divided; the object is then the training part
    splits: dict[str, LabelledImages] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: np.ndarray) -> LabelledImages:
        """Some of the images, undivided."""
        labels = None if self.labels is None else [self.labels[i] for i in index]
        return LabelledImages(self.path, self.images[torch.from_numpy(index)], [self.names[i] for i in index], labels)

    @property
    def words(self) -> list[str]:
        """Where they came from, as shell words."""
        return [str(self.path)]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def classes(self) -> list[str]:
        """The distinct labels in order: numerical if all of them are numbers."""
        found = set(self.labels or ()).union(*(part.labels or () for part in self.splits.values()))
        return sorted(found, key=(int if all(label.isdecimal() for label in found) else str))

    def rows(self, classes: Sequence[str]) -> Rows:
        """The images, with their classes as one-hot contexts; without contexts if there are no classes."""
        return Rows(self.images, one_hot(self.labels, classes))

    def held_out(self) -> LabelledImages:
        """The images that a divided file sets aside for testing; all of them if it is not divided."""
        return self.splits.get("test") or self.splits.get("val") or self

    def with_bits(self, bits: int | None) -> LabelledImages:
        """Only this many leading bits of every number's 8; unchanged if None."""
        return self if bits is None else self.changed(lambda images: images >> (8 - bits))

    def changed(self, change: Callable[[Tensor], Tensor]) -> LabelledImages:
        """The same with other pixels, in all parts."""
        splits = {name: part.changed(change) for name, part in self.splits.items()}
        return replace(self, images=change(self.images), splits=splits)

    def check_levels(self, levels: int, option: str) -> None:
        """Refuses numbers above levels - 1."""
        for part in (self, *self.splits.values()):
            most = part.images.flatten(1).amax(1).int()  # 256 does not fit in uint8
            if (most >= levels).any():
                first = int((most >= levels).int().argmax())
                raise InputError(
                    f"{self.path}: image {part.names[first]} holds {most[first]}, but {option} allows 0 to "
                    f"{levels - 1}: use `levels={most.max() + 1}`, or `bits=` to keep fewer of the 8 bits of every "
                    "number"
                )

    def fewer_levels(self, levels: int) -> str:
        """Says how to leave out levels, if most of them occur in no image; else ""."""
        values = self.images.unique()
        if 4 * len(values) > levels:
            return ""
        bits = next(bits for bits in range(1, 9) if len((values >> (8 - bits)).unique()) == len(values))
        used = max(int(values.max()) + 1, 2)
        better = f"levels={used}" if used <= 2**bits else f"bits={bits}"
        few = f"only {len(values)} of {levels} levels occur, and the others cost a flow bits"
        return f"{self.path}: {few}; `{better}` keeps all values apart"

    def fingerprint(self) -> str:
        """A digest of pixels and labels: identifies the file that a model was fitted to."""
        digest = hashlib.sha256(self.images.contiguous().numpy().tobytes())
        digest.update("\n".join(self.labels or ()).encode())
        return digest.hexdigest()


def read_pictures(path: str | Location, *, resize: tuple[int, int] | None = None) -> LabelledImages:
    """Reads images with their names and their classes, if any.

    Classes are the subfolders of a folder without pictures of its own, the array ``labels`` or ``y`` of an ``.npz``, or
    the labels file beside an idx file of images.

    Args:
        path: A folder of pictures (in the order of their names; if it has none, those of its folders), a ``.npy`` or
            ``.npz`` of uint8 arrays (N, H, W), (N, H, W, C) or (N, C, H, W), divided or not, or an MNIST-style idx
            file, gzipped or not.
        resize: (height, width) that every image is resized to.
    """
    if isinstance(path, Source):
        raise InputError(
            f"{path}: is not a source of images; expected a folder of pictures, a NumPy file or an idx file"
        )
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        files = picture_paths(path)
        labels = None if files[0].parent == path else [file.parent.name for file in files]
        names = [file.relative_to(path).as_posix() for file in files]
        return LabelledImages(path, stacked(files, resize), names, labels)
    if path.suffix in (".npy", ".npz"):
        return _archive(path, resize)
    if "idx" in path.name:
        return _arrays(path, read_idx(path, 3), _idx_labels(path), resize)
    raise InputError(f"{path} is not a folder, .npy, .npz or idx file: put pictures into a folder and name the folder")


def read_any(images: Any, labels: Any, resize: tuple[int, int] | None) -> LabelledImages:
    """Images from a path, or an array with its labels."""
    if isinstance(images, str | Path | Source):
        return read_pictures(images, resize=resize)
    array = images.numpy() if isinstance(images, Tensor) else np.asarray(images)
    return _arrays(Path("images"), array, None if labels is None else np.asarray(labels), resize)


def _archive(path: Path, resize: tuple[int, int] | None) -> LabelledImages:
    arrays, splits = arrays_of(path), {}
    for split, pairs in SPLIT_KEYS.items():
        for key, labels_key in pairs:
            if key in arrays:
                splits[split] = _arrays(path, arrays[key], arrays.get(labels_key), resize)
    if "train" in splits:
        first = splits["train"]
        odd = [name for name, part in splits.items() if part.shape != first.shape]
        if odd:
            raise InputError(
                f"{path}: the images of {odd[0]!r} are {_size(splits[odd[0]])}, but those of 'train' {_size(first)}: "
                "bring them to one size with `resize=`"
            )
        return replace(first, splits=splits if len(splits) > 1 else {})
    candidates = [key for key, array in arrays.items() if array.ndim in (3, 4)] or list(arrays)
    found = [key for key in IMAGE_KEYS if key in candidates] or candidates
    if found[0] not in IMAGE_KEYS and len(found) != 1:
        raise InputError(f"{path} holds the arrays {listed(arrays)}: name the one with the images 'images'")
    labels = next((arrays[key] for key in LABEL_KEYS if key in arrays and key != found[0]), None)
    return _arrays(path, arrays[found[0]], labels, resize)


def _arrays(path: Path, images: np.ndarray, labels: Any, resize: tuple[int, int] | None) -> LabelledImages:
    return numbered(path, resized(channels_first(images, path), resize), labels)


def numbered(path: Path, images: Tensor, labels: np.ndarray | None) -> LabelledImages:
    names = [str(number) for number in range(len(images))]
    if labels is None:
        return LabelledImages(path, images, names)
    if labels.size != len(images):
        raise InputError(f"{path}: there are {labels.size} labels for {len(images)} images; there must be one for each")
    if labels.dtype.kind not in "iubUS":
        raise InputError(f"{path}: the labels are {labels.dtype}; classes are whole numbers or names")
    return LabelledImages(path, images, names, [str(label) for label in labels.flatten().tolist()])


def _idx_labels(path: Path) -> np.ndarray | None:
    """The labels file beside an idx file of images: ``train-labels-idx1-ubyte`` for ``train-images-idx3-ubyte``."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    if "idx" not in name or name == path.name.removesuffix(".gz"):
        return None
    beside = (path.with_name(name + ending) for ending in ("", ".gz"))
    file = next((file for file in beside if file.is_file()), None)
    return None if file is None else read_idx(file, 1)


def _size(pictures: LabelledImages) -> str:
    return " x ".join(map(str, pictures.shape))


def packed(pictures: LabelledImages, numbers: np.ndarray) -> dict[str, Any]:
    """Images in a form that JSON can hold, which :func:`unpacked` reads."""
    raw = base64.b64encode(zlib.compress(pictures.images.numpy().tobytes(), 9)).decode()
    labels = None if pictures.labels is None else list(pictures.labels)
    return {"images": raw, "names": list(pictures.names), "labels": labels, "numbers": numbers.tolist()}


def one_hot(labels: Sequence[str] | None, classes: Sequence[str]) -> Tensor | None:
    """Classes as one-hot rows (n, classes); None if there are no classes."""
    if not classes or labels is None:
        return None
    place = {name: k for k, name in enumerate(classes)}
    return F.one_hot(torch.tensor([place[label] for label in labels]), len(classes)).float()


def unpacked(saved: dict[str, Any], shape: tuple[int, int, int], path: Path) -> tuple[LabelledImages, np.ndarray]:
    """The images that :func:`packed` wrote, and their numbers among the images of the file."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(saved["images"])), np.uint8)
    images = torch.from_numpy(raw.reshape(-1, *shape).copy())
    return LabelledImages(path, images, saved["names"], saved["labels"]), np.asarray(saved["numbers"])


def full_range(images: Tensor, levels: int) -> Tensor:
    """Numbers from 0 to levels - 1 as the 0 to 255 of a picture."""
    return (images.float() * (255 / (levels - 1))).round().byte()


@dataclass(frozen=True)
class ImageSplits:
    """Training, validation and test images, and the positions of the last in their file."""

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages
    numbers: np.ndarray


def divide(pictures: LabelledImages, seed: int) -> ImageSplits:
    """The file's own division, or a seeded one."""
    if len(pictures) < MIN_IMAGES:
        raise InputError(f"{pictures.path}: has {len(pictures)} images to learn from, and {MIN_IMAGES} are needed")
    order = np.random.default_rng(seed).permutation(len(pictures))
    tests = 0 if "test" in pictures.splits else _share(len(pictures), MOST_TEST)
    vals = 0 if "val" in pictures.splits else _share(len(pictures), MOST_VALIDATION)
    numbers = np.sort(order[:tests])
    test = pictures.splits["test"] if "test" in pictures.splits else pictures[numbers]
    val = pictures.splits["val"] if "val" in pictures.splits else pictures[np.sort(order[tests : tests + vals])]
    train = pictures[np.sort(order[tests + vals :])]
    return ImageSplits(train, val, test, numbers if tests else np.arange(len(test)))


def _share(images: int, most: int) -> int:
    return min(max(round(SHARE * images), 1), most)
