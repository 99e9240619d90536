"""Encode, impute and explain: what they return, what the numbers mean, and what is refused."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import logsumexp

import pushforward as pf
from pushforward.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = (RNG.integers(0, 3, (80, 1, 4, 6)) + 4 * (np.arange(6) > 2)).astype(np.uint8)
QUICK: dict[str, Any] = {"levels": 8, "layers": 1, "hidden": (16,), "steps": 150, "lr": 1e-2}
MASK = np.zeros((4, 6), bool)
MASK[1:3, 2:5] = True


@functools.cache
def model_of(name: str) -> pf.ImageDensity:
    noisy = {"patch": 2, "noise": 0.1} if name == "noisy" else {}
    return pf.ImageDensity("tarflow" if noisy else name, **QUICK, **noisy).fit(IMAGES)


@pytest.fixture(scope="module", params=["pixelcnn", "realnvp", pytest.param("noisy", marks=pytest.mark.slow)])
def fitted(request: pytest.FixtureRequest) -> pf.ImageDensity:
    return model_of(request.param)


@pytest.fixture(scope="module")
def cnn() -> pf.ImageDensity:
    return model_of("pixelcnn")


@pytest.fixture(scope="module")
def flow() -> pf.ImageDensity:
    return model_of("realnvp")


def test_encoded_points_have_the_probability_of_the_images(flow: pf.ImageDensity) -> None:
    z, slopes = flow.encode(IMAGES[:5], draws=3)
    assert (z.shape, z.dtype, slopes.shape, slopes.dtype) == ((3, 5, 24), np.float64, (3, 5), np.float64)
    normal = -0.5 * (z**2).sum(-1) - 12 * np.log(2 * np.pi)
    value = logsumexp(normal + slopes, axis=0) - np.log(3)
    np.testing.assert_allclose(value, flow.score_samples(IMAGES[:5], draws=3), rtol=1e-4)


def test_imputed_images_keep_what_is_known(fitted: pf.ImageDensity) -> None:
    before = IMAGES.copy()
    images, count = fitted.impute(IMAGES[:3], mask=MASK, draws=2, candidates=8, effective=True)
    assert np.array_equal(IMAGES, before)
    assert (images.shape, images.dtype, count.shape) == ((6, 1, 4, 6), np.uint8, (3,))
    assert np.array_equal(images[..., ~MASK], np.concatenate([IMAGES[:3]] * 2)[..., ~MASK])
    assert images.max() < 8
    assert ((count >= 1) & (count <= 16)).all()
    again = fitted.impute(IMAGES[:3], mask=MASK, draws=2, candidates=8)
    assert np.array_equal(again, images)
    assert not np.array_equal(fitted.impute(IMAGES[:3], mask=MASK, draws=2, candidates=8, random_state=1), images)


def test_what_is_imputed_fits_its_side(fitted: pf.ImageDensity) -> None:
    """Numbers on the left are 0 to 2, on the right 4 to 6."""
    images = fitted.impute(IMAGES[:8], mask=MASK, draws=5, candidates=32)[..., 1:3, 2:5]
    assert (images[..., 0] < 3.5).mean() > 0.7
    assert (images[..., 1:] > 3.5).mean() > 0.65


def test_nan_and_masks_of_every_shape_say_the_same(cnn: pf.ImageDensity, tmp_path: Path) -> None:
    some = IMAGES[:4]
    expected = cnn.impute(some, mask=MASK, candidates=8)
    holed = some.astype(float)
    holed[..., MASK] = np.nan
    wide = np.broadcast_to(MASK, (4, 4, 6))
    np.save(tmp_path / "holed.npy", holed[:, 0])
    np.save(tmp_path / "mask.npy", MASK)
    for images, mask in (
        (holed, None),
        (torch.from_numpy(holed), None),
        (holed[:, 0], MASK),
        (tmp_path / "holed.npy", None),
        (some, wide),
        (some, wide[:, None].astype(int)),
        (np.where(MASK, 255, some).astype(np.uint8), tmp_path / "mask.npy"),  # whatever stands in a hole
    ):
        assert np.array_equal(cnn.impute(images, mask=mask, candidates=8), expected)
    one = holed.copy()
    one[1:] = some[1:]
    images, count = cnn.impute(one, candidates=8, effective=True)
    assert np.array_equal(images[1:], some[1:])
    assert np.isinf(count).tolist() == [False, True, True, True]


def test_terms_of_a_pixelcnn_sum_to_the_images_log_probability(cnn: pf.ImageDensity) -> None:
    found = cnn.explain(IMAGES[:6])
    assert found.log_prob is not None
    assert (found.excess.shape, found.log_prob.shape) == ((6, 4, 6), (6, 1, 4, 6))
    np.testing.assert_allclose(found.log_prob.sum((1, 2, 3)), cnn.score_samples(IMAGES[:6]), rtol=1e-5)


def test_the_excess_of_the_models_own_images_is_0_on_average(fitted: pf.ImageDensity) -> None:
    own = fitted.sample(10 if isinstance(fitted.density, pf.Flow) else 400)
    patches = fitted.explain(own, patch=2).excess.sum((1, 2))
    error = patches.std() / len(patches) ** 0.5
    slack = 3.0 if fitted.options.noise else 0.5  # samples of a noisy flow are without its noise, and less odd
    assert abs(patches.mean()) < 4 * error + slack


def test_an_odd_pixel_is_blamed(fitted: pf.ImageDensity) -> None:
    odd = np.where(np.arange(6) > 2, 5, 1) * np.ones((1, 1, 4, 6), int)
    odd[0, 0, 2, 1] = 7
    excess = fitted.explain(odd.astype(np.uint8), patch=2).excess[0]
    patches = excess.reshape(2, 2, 3, 2).sum((1, 3))
    assert np.unravel_index(patches.argmax(), patches.shape) == (1, 0)
    assert patches[1, 0] > 2


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: m.encode(IMAGES), "a pixelcnn has no latents; fit glow, realnvp or tarflow"),
        (lambda m: m.impute(IMAGES), "no number is missing"),
        (lambda m: m.impute(IMAGES, mask=MASK[:3]), r"^mask: has shape \(3, 6\), but .* \(4, 6\), \(80, 4, 6\) or"),
        (lambda m: m.impute(IMAGES, mask="none.npy"), "^mask='none.npy': .*No such file"),
        (lambda m: m.impute(IMAGES / 7), "floats that are neither NaN nor whole numbers from 0 to 255"),
        (lambda m: m.impute(np.full((2, 3, 4, 6), np.nan)), "the images are coloured, but those of .* are grey"),
        (lambda m: m.impute(np.full((2, 5, 6), np.nan)), "the images are 5 x 6, but those of .* are 4 x 6"),
        (lambda m: m.impute(IMAGES + 3, mask=MASK), "allows 0 to 7"),
        (lambda m: m.impute(IMAGES, mask=MASK, draws=0), "draws=0: expected a whole number, at least 1"),
        (lambda m: m.impute(IMAGES, mask=MASK, candidates=1), "candidates=1: expected at least 4"),
        (lambda m: m.explain(IMAGES, patch=5), "patch=5: expected 1 to 4, for images of 4 x 6"),
        (lambda m: m.score_samples(IMAGES, draws=0), "draws=0: expected a whole number, at least 1"),
        (lambda m: pf.ImageDensity().impute(IMAGES), "not fitted yet"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(call: Any, said: str, cnn: pf.ImageDensity) -> None:
    with pytest.raises(InputError, match=said):
        call(cnn)


def test_masks_in_broken_files_are_refused(cnn: pf.ImageDensity, tmp_path: Path) -> None:
    np.savez(tmp_path / "empty.npz")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[:100])
    at = content.index(b"IDAT") - 4  # where the length of the pixels is
    (tmp_path / "chunks.png").write_bytes(content[:at] + (10).to_bytes(4, "big") + content[at + 4 :])
    for name in ("empty.npz", "cut.png", "chunks.png"):
        with pytest.raises(InputError, match="not a readable picture or NumPy file") as error:
            cnn.impute(IMAGES, mask=tmp_path / name)
        assert error.value.argument == "mask"
