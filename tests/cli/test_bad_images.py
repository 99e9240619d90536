"""Every kind of wrong image is refused in one sentence that names the file or the numbers and the mend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from picture_files import folder_of, halves
from PIL import Image
from refusals import refused

IMAGES, LABELS = halves(60)


def saved(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, array)


def archive(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.savez(folder / "d.npz", **arrays)


def pictures(name: str, content: bytes | np.ndarray) -> Callable[[Path], None]:
    """A folder of good pictures and one that is not."""

    def make(folder: Path) -> None:
        folder_of(folder / "d", IMAGES)
        if isinstance(content, bytes):
            (folder / "d" / name).write_bytes(content)
        else:
            Image.fromarray(content).save(folder / "d" / name)

    return make


def idx(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "d-images-idx3-ubyte").write_bytes(content)


GOOD = saved("d.npy", IMAGES)
FIT, FOLDER = "fit {}/d.npy -o {}/m --steps 1 ", "fit {}/d -o {}/m --steps 1 "
ARCHIVE, IDX = "fit {}/d.npz -o {}/m --steps 1 ", "fit {}/d-images-idx3-ubyte -o {}/m --steps 1 "
ODD = saved("d.npy", np.zeros((60, 7, 10), np.uint8))
CASES = {
    # transformer flows
    "patch": (GOOD, FIT + "--flow tarflow --patch 3", "patch=3 does not divide the image's height and width, 8 x 8"),
    "noise": (GOOD, FIT + "--flow tarflow --noise -1", "noise must be at least 0, got noise=-1.0"),
    "patch of glow": (GOOD, FIT + "--flow glow --patch 2", "--patch: applies to tarflow only"),
    # the files
    "no file": (lambda f: None, IDX, "d-images-idx3-ubyte does not exist"),
    "empty folder": (lambda f: (f / "d").mkdir(), FOLDER, "a folder with .parquet files or pictures in it"),
    "one picture": (pictures("x.png", IMAGES[0]), "fit {}/d/000.png -o {}/m", "put pictures into a folder"),
    "sizes": (pictures("x.png", np.zeros((9, 12), np.uint8)), FOLDER, "x.png is 9 x 12, but 000.png is 8 x 8: bring"),
    "sizes, mend": (pictures("x.png", np.zeros((9, 12), np.uint8)), FOLDER, "--resize 8"),
    "broken": (pictures("x.png", b"\x89PNG\r\n\x1a\n nonsense"), FOLDER, "x.png cannot be read as a picture"),
    "alpha": (pictures("x.png", np.zeros((8, 8, 4), np.uint8)), FOLDER, "x.png has an alpha channel"),
    "16 bits": (pictures("x.png", np.zeros((8, 8), np.uint16)), FOLDER, "x.png has 16 bits or more"),
    "float picture": (pictures("x.tiff", np.zeros((8, 8), np.float32)), FOLDER, "x.tiff has 16 bits or more"),
    "float array": (saved("d.npy", IMAGES / 255), FIT, "holds float64: images must be scaled to whole numbers"),
    "16-bit array": (saved("d.npy", IMAGES.astype(np.uint16)), FIT, "holds uint16: images must be brought to 8 bits"),
    "alpha array": (saved("d.npy", np.zeros((60, 8, 8, 4), np.uint8)), FIT, "drop the alpha channel"),
    "two arrays": (archive(a=IMAGES, b=IMAGES), ARCHIVE, "arrays a, b: name the one with the images 'images'"),
    "few labels": (archive(images=IMAGES, labels=LABELS[:9]), ARCHIVE, "9 labels for 60 images"),
    "two sizes": (archive(train=IMAGES, test=IMAGES[:, :4]), ARCHIVE, "bring them to one size with --resize"),
    "short idx": (idx(bytes([0, 0, 8, 3]) + bytes(12) + b"x"), IDX, "fetch it again"),
    "no idx": (idx(b"nonsense"), IDX, "first four bytes should be 00 00 08 03"),
    "few": (saved("d.npy", IMAGES[:20]), FIT, "has 20 images to learn from, and 50 are needed"),
    # the numbers
    "levels": (GOOD, FIT + "--levels 16", "but --levels 16 allows 0 to 15: use --levels 2"),
    "pixelcnn's levels": (
        GOOD,
        FIT + "--flow pixelcnn --levels 100",
        "but --levels 100 allows 0 to 99: use --levels 2",
    ),
    "levels, mend": (GOOD, FIT + "--levels 16", "or --bits to keep fewer of the 8 bits"),
    "no levels": (GOOD, FIT + "--levels 1", "--levels 1: expected 2 to 256"),
    "many levels": (GOOD, FIT + "--levels 300", "--levels 300: expected 2 to 256"),
    "bits": (GOOD, FIT + "--bits 9", "--bits 9: expected 1 to 8"),
    "bits and levels": (GOOD, FIT + "--bits 4 --levels 16", "--bits 4: give no --levels as well"),
    # the shape
    "scales": (
        GOOD,
        FIT + "--scales 4",
        "are 8 x 8, of which glow can halve 3 times",
    ),
    "scales, mend": (GOOD, FIT + "--scales 4", "--scales 4: "),
    "odd": (ODD, FIT + "--flow glow", "7 x 10, of which glow can halve 0 times"),
    "odd, mend": (ODD, FIT + "--flow glow", "use --flow realnvp, or --resize 8,10"),
    "no scales": (GOOD, FIT + "--scales 0", "--scales 0"),
    "scales elsewhere": (GOOD, FIT + "--flow realnvp --scales 2", "--scales: applies to glow only"),
    "resize": (GOOD, FIT + "--resize 0", "--resize: expected a side in pixels"),
    "resize text": (GOOD, FIT + "--resize big", "--resize: expected a side in pixels"),
    # the arguments
    "flow": (GOOD, FIT + "--flow nsf", "there is no such flow for images; choose one of glow, realnvp, pixelcnn"),
    "widths": (GOOD, FIT + "--hidden 8,8", "image flows have one width"),
    "columns": (GOOD, FIT + "--columns a", "--columns: applies to tables"),
    "bounds": (GOOD, FIT + "--bounds a=0,1", "--bounds: applies to tables"),
    "missing": (GOOD, FIT + "--drop-missing", "--drop-missing: applies to tables"),
    "objective": (GOOD, FIT + "--objective matching", "--objective: applies to tables"),
    "given": (GOOD, FIT + "--given colour", "images are conditioned on their class: --given class"),
    "no class": (GOOD, FIT + "--given class", "has no classes: give every class a folder"),
    "one class": (archive(images=IMAGES, y=LABELS * 0), ARCHIVE + "--given class", "has only one class, '0'"),
    "half the classes": (
        archive(x_train=IMAGES, y_train=LABELS, x_test=IMAGES),
        ARCHIVE + "--given class",
        "has no labels for 'test'",
    ),
    "batch": (GOOD, FIT + "--batch-size 0", "--batch-size 0: expected a positive integer"),
    "model ending": (GOOD, "fit {}/d.npy -o {}/m.csv", "a model is a folder"),
    "demo": (GOOD, "demo {}/d.npy -o {}/demo", "the demo takes a table; for images: pushforward fit"),
    "points of a cell": (GOOD, FIT + "--samples 4", "--samples: applies to tables"),
    "members": (GOOD, FIT + "--members 4", "--members: applies to tables"),
    "numbers": (GOOD, FIT + "--numbers a", "--numbers: applies to tables"),
    "strict": (GOOD, FIT + "--strict", "--strict: applies to tables"),
    "stream": (GOOD, FIT + "--stream", "--stream: applies to tables"),
    "no guide": (GOOD, FIT + "--no-queries", "--queries: applies to tables"),
    "no target": (GOOD, FIT + "--dim 3", "--dim: needs a --target"),
    "no layers": (GOOD, FIT + "--layers 0", "--layers 0: expected a whole number, at least 1"),
    "a table resized": (saved("d.npy", np.ones((60, 3))), FIT + "--resize 8", "--resize: applies to images"),
    "a table's levels": (saved("d.npy", np.ones((60, 3))), FIT + "--levels 8", "--levels: applies to images"),
}
MODEL_CASES = {
    "size": (saved("d.npy", IMAGES[:, :4]), "score {m}/glow {}/d.npy -o {}/s.csv", "are 4 x 8, but those of"),
    "size, mend": (saved("d.npy", IMAGES[:, :4]), "score {m}/glow {}/d.npy -o {}/s.csv", "or fit with --resize"),
    "colour": (saved("d.npy", halves(9, colours=3)[0]), "score {m}/glow {}/d.npy -o {}/s.csv", "are coloured, but"),
    "no labels": (GOOD, "score {m}/given {}/d.npy -o {}/s.csv", "is conditioned on classes, but these have none"),
    "new class": (archive(x=IMAGES, y=LABELS + 1), "score {m}/given {}/d.npz -o {}/s.csv", "the class '2' was not"),
    "a table": (saved("d.npy", np.ones((9, 64))), "score {m}/glow {}/d.npy -o {}/s.csv", "has shape (9, 64)"),
    "text": (lambda f: (f / "t.csv").write_text("a\n1\n"), "score {m}/glow {}/t.csv -o {}/s.csv", "not a folder"),
    "keep": (GOOD, "score {m}/glow {}/d.npy -o {}/s.csv --keep a", "--keep: applies to tables"),
    "score given": (GOOD, "score {m}/glow {}/d.npy -o {}/s.csv --given a", "--given: applies to tables"),
    "nothing missing": (GOOD, "impute {m}/glow {}/d.npy -o {}/f.png", "no number is missing: give floats with NaN, or"),
    "no mask": (
        GOOD,
        "impute {m}/glow {}/d.npy -o {}/f.png --mask {}/m.npy",
        "m.npy: is not a readable picture or NumPy file",
    ),
    "mask of another shape": (
        lambda f: (GOOD(f), np.save(f / "m.npy", np.ones((3, 4)))),
        "impute {m}/glow {}/d.npy -o {}/f.png --mask {}/m.npy",
        "--mask: has shape (3, 4), but a mask of these 60 images is (8, 8), (60, 8, 8) or (60, 1, 8, 8)",
    ),
    "candidates": (
        saved("d.npy", np.full((1, 8, 8), np.nan)),
        "impute {m}/glow {}/d.npy -o {}/f.npy --candidates 2",
        "--candidates 2: expected at least 4",
    ),
    "filled as a table": (GOOD, "impute {m}/glow {}/d.npy -o {}/f.csv", "expected .png or .npy or .npz"),
    "exact": (GOOD, "score {m}/pixelcnn {}/d.npy -o {}/s.csv --samples 4", "are exact and take no samples"),
    "scores": (GOOD, "score {m}/glow {}/d.npy -o {}/s.png", "the ending says the format"),
    "samples": (GOOD, "sample {m}/glow -n 4 -o {}/s.csv", "expected .png or .npy or .npz"),
    "no model": (GOOD, "sample {}/none -n 4 -o {}/s.png", "there is no such model"),
    "none": (GOOD, "sample {m}/glow -n 0 -o {}/s.png", "for -n"),
    "given": (GOOD, "sample {m}/glow -n 4 -o {}/s.png --given class=1", "is not conditioned on anything"),
    "other": (GOOD, "sample {m}/given -n 4 -o {}/s.png --given size=1", "is conditioned on class"),
    "unknown": (GOOD, "sample {m}/given -n 4 -o {}/s.png --given class=7", "knows the classes 0, 1"),
    "compared without holes": (
        GOOD,
        "compare {m}/glow {m}/glow {m}/images.npz --drop-missing",
        "--drop-missing: applies",
    ),
    "checked as a table": (
        GOOD,
        "sample {m}/glow -n 4 -o {}/s.png --privacy-check",
        "--privacy-check: applies to tables",
    ),
    "levels differ": (GOOD, "compare {m}/glow {m}/pixelcnn {m}/images.npz", "(levels 256 and 4)"),
    "report": (GOOD, "report {m}/glow -o {}/r.pdf", "expected .html"),
}
TABLES = {
    "images for a table": ("score {t}/plain {}/d.npy -o {}/s.csv", "has shape (60, 8, 8)"),
    "a mask for a table": ("impute {t}/plain {t}/table.csv -o {}/f.csv --mask {}/m.png", "--mask: applies to images"),
    "a folder for a table": ("score {t}/plain {} -o {}/s.csv", "is a folder, expected a file"),
    "compare": ("compare {m}/glow {t}/plain {m}/images.npz", "holds a model of a table, but a model of images"),
    "compare, turned": ("compare {t}/plain {m}/glow {t}/table.csv", "holds a model of images, but a model of a table"),
}


@pytest.mark.parametrize("case", CASES)
def test_fit_refuses_images(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, arguments, sentence = CASES[case]
    make(tmp_path)
    refused(capsys, tmp_path, arguments.replace("{}", str(tmp_path)), sentence)


@pytest.mark.parametrize("case", MODEL_CASES)
def test_models_of_images_refuse(case: str, tmp_path: Path, gallery: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, arguments, sentence = MODEL_CASES[case]
    make(tmp_path)
    refused(capsys, tmp_path, arguments.replace("{m}", str(gallery)).replace("{}", str(tmp_path)), sentence)


@pytest.mark.parametrize("case", TABLES)
def test_tables_and_images_are_not_mixed_up(
    case: str, tmp_path: Path, gallery: Path, workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, sentence = TABLES[case]
    GOOD(tmp_path)
    arguments = arguments.replace("{m}", str(gallery)).replace("{t}", str(workshop)).replace("{}", str(tmp_path))
    refused(capsys, tmp_path, arguments, sentence)
