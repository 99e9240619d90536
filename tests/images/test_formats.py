"""Reading images, and the sentence for every way in which a file can be wrong."""

import gzip
import io

import numpy as np
import pytest
import torch
from PIL import Image

from pushforward.errors import InputError
from pushforward.images.formats import is_images, png
from pushforward.images.labelled import read_pictures

PIXELS = np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 4, 6)


def idx_bytes(pixels):
    sizes = b"".join(size.to_bytes(4, "big") for size in pixels.shape)
    return b"\x00\x00\x08\x03" + sizes + pixels.tobytes()


@pytest.fixture
def folder(tmp_path):
    for k, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    return tmp_path


def test_every_form_gives_the_same_images(tmp_path, folder):
    np.save(tmp_path / "a.npy", PIXELS)
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=np.arange(2))
    (tmp_path / "t-images-idx3-ubyte").write_bytes(idx_bytes(PIXELS))
    (tmp_path / "t-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(PIXELS)))
    for name in (".", "a.npy", "a.npz", "t-images-idx3-ubyte", "t-images-idx3-ubyte.gz"):
        path = tmp_path / name
        assert is_images(path)
        assert torch.equal(read_pictures(path).images, torch.from_numpy(PIXELS)[:, None]), name


def test_colour_arrays_may_have_the_channels_last_or_first(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3)).astype(np.uint8)
    np.save(tmp_path / "last.npy", colour)
    np.save(tmp_path / "first.npy", colour.transpose(0, 3, 1, 2))
    assert torch.equal(read_pictures(tmp_path / "last.npy").images, read_pictures(tmp_path / "first.npy").images)
    assert read_pictures(tmp_path / "last.npy").images.shape == (5, 3, 4, 6)


def test_grey_and_coloured_pictures_become_coloured(folder):
    Image.fromarray(np.full((4, 6, 3), (255, 0, 0), np.uint8)).save(folder / "9.png")
    images = read_pictures(folder).images
    assert images.shape == (3, 3, 4, 6)
    assert torch.equal(images[0, 0], images[0, 2])


def test_resizing_brings_pictures_to_one_size(folder):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "9.png")
    with pytest.raises(InputError, match=r"9\.png is 9 x 9, but 0\.png is 4 x 6: .*`resize=4`"):
        read_pictures(folder)
    assert read_pictures(folder, resize=(4, 4)).images.shape == (3, 1, 4, 4)
    assert read_pictures(folder, resize=(3, 5)).images.shape == (3, 1, 3, 5)


def save_wrong(folder, kind):
    path = folder / "wrong.png"
    if kind == "broken":
        path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    elif kind == "truncated":
        whole = (folder / "0.png").read_bytes()
        path.write_bytes(whole[: len(whole) // 2 + 10])
    elif kind == "alpha":
        Image.fromarray(np.zeros((4, 6, 4), np.uint8)).save(path)
    elif kind == "16 bits":
        Image.fromarray(np.zeros((4, 6), np.uint16)).save(path)
    return path


@pytest.mark.parametrize("kind", ["broken", "truncated", "alpha", "16 bits"])
def test_a_picture_that_cannot_be_used_is_named(folder, kind):
    path = save_wrong(folder, kind)
    words = {"alpha": "alpha channel", "16 bits": "16 bits"}.get(kind, "cannot be read")
    with pytest.raises(InputError, match=words) as error:
        read_pictures(folder)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


WRONG_ARRAYS = {
    "float": (np.zeros((2, 4, 4)), "float64.*uint8"),
    "16 bits": (np.zeros((2, 4, 4), np.uint16), "uint16.*8 bits"),
    "alpha": (np.zeros((2, 4, 4, 4), np.uint8), "alpha channel"),
    "one row": (np.zeros(4, np.uint8), r"shape \(4,\)"),
    "empty": (np.zeros((0, 4, 4), np.uint8), "shape"),
}


@pytest.mark.parametrize("kind", WRONG_ARRAYS)
def test_an_array_that_holds_no_images_is_named(tmp_path, kind):
    array, words = WRONG_ARRAYS[kind]
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=words) as error:
        read_pictures(tmp_path / "a.npy")
    assert str(tmp_path / "a.npy") in str(error.value)


def test_files_that_are_no_images_at_all(tmp_path):
    cases = {
        "missing.npy": (None, "does not exist"),
        "text.txt": (b"hello", "not a folder"),
        "a.npy": (b"hello", "cannot be read as a NumPy file"),
        "a-idx3-ubyte": (b"hello", "first four bytes"),
        "b-idx3-ubyte": (idx_bytes(PIXELS)[:-3], "should hold 2 images of 4 x 6"),
        "c-idx3-ubyte.gz": (gzip.compress(idx_bytes(PIXELS))[:-9], "cannot be unpacked"),
    }
    for name, (content, words) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_pictures(tmp_path / name)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        read_pictures(tmp_path / "nothing")
    np.savez(tmp_path / "two.npz", a=PIXELS, b=PIXELS)
    with pytest.raises(InputError, match="arrays a, b"):
        read_pictures(tmp_path / "two.npz")


def test_a_grid_shows_every_image():
    images = torch.randint(0, 256, (5, 1, 4, 6))
    grid = np.array(Image.open(io.BytesIO(png(images, columns=3))))
    assert grid.shape == (2 * 5 + 1, 3 * 7 + 1)
    assert np.array_equal(grid[6:10, 8:14], images[4, 0].numpy())
    with pytest.raises(ValueError, match=r"\(5, 2, 4, 6\)"):
        png(torch.zeros(5, 2, 4, 6))
