"""Sets of images with names and classes, from every kind of file that says them."""

import gzip

import numpy as np
import pytest
import torch
from PIL import Image

from pushforward.errors import InputError
from pushforward.images.fit import IndependentPixels
from pushforward.images.labelled import read_pictures

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 6)).astype(np.uint8)
LABELS = np.array([2, 0, 10, 0, 2, 2], np.uint8)


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def test_the_folders_of_a_folder_are_classes(tmp_path):
    for k, (name, pixels) in enumerate(zip(["cat", "cat", "dog"], PIXELS, strict=False)):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name / f"{k}.png")
    (tmp_path / ".hidden").mkdir()
    found = read_pictures(tmp_path)
    assert list(found.names) == ["cat/0.png", "cat/1.png", "dog/2.png"]
    assert found.labels == ["cat", "cat", "dog"]
    assert torch.equal(found.images, torch.from_numpy(PIXELS[:3])[:, None])


def test_pictures_of_the_folder_itself_have_no_class(tmp_path):
    Image.fromarray(PIXELS[0]).save(tmp_path / "0.png")
    (tmp_path / "more").mkdir()
    Image.fromarray(PIXELS[1]).save(tmp_path / "more" / "1.png")
    found = read_pictures(tmp_path)
    assert (list(found.names), found.labels) == (["0.png"], None)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_labels_file_beside_an_idx_file_is_read(tmp_path, ending):
    pack = gzip.compress if ending else bytes
    (tmp_path / f"train-images-idx3-ubyte{ending}").write_bytes(pack(idx(PIXELS)))
    assert read_pictures(tmp_path / f"train-images-idx3-ubyte{ending}").labels is None
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    found = read_pictures(tmp_path / f"train-images-idx3-ubyte{ending}")
    assert found.labels == ["2", "0", "10", "0", "2", "2"]
    assert found.classes == ["0", "2", "10"]  # numbers in their order, not that of their digits


@pytest.mark.parametrize("keys", [("images", "labels"), ("x", "y"), ("anything", "label")])
def test_an_archive_names_its_images_and_labels(tmp_path, keys):
    np.savez(tmp_path / "a.npz", **dict(zip(keys, (PIXELS, LABELS[:, None]), strict=True)))
    found = read_pictures(tmp_path / "a.npz")
    assert torch.equal(found.images, torch.from_numpy(PIXELS)[:, None])
    assert found.classes == ["0", "2", "10"]


@pytest.mark.parametrize("names", ["x_{} y_{}", "{}_images {}_labels", "{} {}_labels"])
def test_an_archive_may_divide_itself(tmp_path, names):
    arrays = {}
    for split, part in (("train", slice(0, 4)), ("test", slice(4, 6))):
        images, labels = names.replace("{}", split).split()
        arrays |= {images: PIXELS[part], labels: LABELS[part]}
    np.savez(tmp_path / "a.npz", **arrays)
    found = read_pictures(tmp_path / "a.npz")
    assert len(found) == 4
    assert len(found.held_out()) == 2
    assert found.held_out().labels == ["2", "2"]


def test_bits_and_levels(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    found = read_pictures(tmp_path / "a.npy")
    found.check_levels(256, "--levels 256")
    reduced = found.with_bits(3)
    assert torch.equal(reduced.images, (found.images // 32))
    reduced.check_levels(8, "--levels 8")
    first = int((PIXELS.max((1, 2)) > 99).argmax())
    with pytest.raises(InputError, match=rf"image {first} holds {PIXELS[first].max()}, but .*0 to 99: use `levels="):
        found.check_levels(100, "--levels 100")


def test_some_of_the_images_keep_their_names_and_labels(tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=LABELS)
    found = read_pictures(tmp_path / "a.npz")
    some = found[np.array([5, 2])]
    assert (some.names, some.labels) == (["5", "2"], ["2", "10"])
    assert torch.equal(some.images, found.images[[5, 2]])
    assert some.fingerprint() != found.fingerprint()


def test_wrong_archives_are_named(tmp_path):
    cases = {
        "labels": ({"images": PIXELS, "labels": LABELS[:3]}, "3 labels for 6 images"),
        "scores": ({"images": PIXELS, "labels": LABELS / 7}, "labels are float64"),
        "which": ({"a": PIXELS, "b": PIXELS}, "arrays a, b: name the one with the images 'images'"),
        "sizes": ({"train": PIXELS, "test": PIXELS[:, :2]}, "'test' are 1 x 2 x 6, but those of 'train' 1 x 4 x 6"),
        "float": ({"images": PIXELS / 255}, "holds float64"),
        "empty": ({}, "holds no arrays"),
    }
    for name, (arrays, words) in cases.items():
        path = tmp_path / f"{name}.npz"
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=words) as error:
            read_pictures(path)
        assert str(path) in str(error.value)
    (tmp_path / "broken.npz").write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match="cannot be read as a NumPy file"):
        read_pictures(tmp_path / "broken.npz")
    (tmp_path / "t-images-idx3-ubyte").write_bytes(idx(PIXELS))
    (tmp_path / "t-labels-idx1-ubyte").write_bytes(idx(LABELS)[:-1])
    with pytest.raises(InputError, match="should hold 6 labels, which is 14 bytes, but has 13"):
        read_pictures(tmp_path / "t-images-idx3-ubyte")


def test_independent_pixels_are_histograms_and_a_probability():
    train = torch.randint(0, 3, (50, 1, 1, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = IndependentPixels(train, 3)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3)).view(9, 1, 1, 2).byte()
    torch.testing.assert_close(model(every).exp().sum(), torch.ones((), dtype=torch.float64), atol=1e-6, rtol=0)
    shares = [((train[:, 0, 0, j] == 2).double().sum() + 1) / 53 for j in (0, 1)]
    assert float(model(every[-1:]).exp()) == pytest.approx(float(shares[0] * shares[1]), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "better"),
    [
        ([0, 255], "bits=1"),
        (range(17), "levels=17"),
        (range(0, 256, 15), "bits=5"),
        (range(256), ""),
        ([0], "levels=2"),
    ],
)
def test_levels_that_no_image_has_are_told(values, better, tmp_path):
    pixels = np.resize(np.array(list(values), np.uint8), (4, 8, 8))
    np.save(tmp_path / "few.npy", pixels)
    assert (f"`{better}`" if better else "") in (note := read_pictures(tmp_path / "few.npy").fewer_levels(256))
    assert bool(note) == bool(better)
