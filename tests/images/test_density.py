"""Images as an object: the verbs of a table, and files that the shell reads too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.cli import app as cli
from pushforward.errors import InputError

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 80)
IMAGES = (RNG.integers(0, 60, (80, 8, 8)) + 150 * LABELS[:, None, None]).astype(np.uint8)
QUICK: dict[str, Any] = {"layers": 1, "hidden": (16,), "steps": 3}


@pytest.fixture(scope="module")
def fitted() -> pf.ImageDensity:
    return pf.ImageDensity("realnvp", given=["class"], **QUICK).fit(IMAGES, LABELS)


def test_the_verbs(fitted: pf.ImageDensity, tmp_path: Path):
    values = fitted.score_samples(IMAGES, LABELS)
    assert values.shape == (80,)
    assert fitted.score(IMAGES, LABELS) == pytest.approx(values.mean())
    drawn = fitted.sample(4, given={"class": "1"})
    assert drawn.dtype == np.uint8
    assert drawn.shape == (4, 1, 8, 8)
    other = pf.ImageDensity("realnvp", given=["class"], **{**QUICK, "steps": 1}).fit(IMAGES, LABELS)
    found = fitted.compare(other, IMAGES, LABELS)
    assert found["images"] == 8
    fitted.report(tmp_path / "r.html", IMAGES, LABELS, against=[other])
    assert "lead over ImageDensity, image by image" in (tmp_path / "r.html").read_text()
    assert "held-out bits per dimension" in repr(fitted)
    assert "data:image/png" in fitted._repr_html_()


def test_models_are_those_of_the_shell(fitted: pf.ImageDensity, tmp_path: Path):
    fitted.save(tmp_path / "m")
    np.savez(tmp_path / "i.npz", images=IMAGES, labels=LABELS)
    assert cli.main(["score", f"{tmp_path}/m", f"{tmp_path}/i.npz", "-o", f"{tmp_path}/s.csv", "--quiet"]) == 0
    shell = pl.read_csv(tmp_path / "s.csv")["log_density"].to_numpy()
    again = pf.ImageDensity.load(tmp_path / "m")
    np.testing.assert_allclose(again.score_samples(tmp_path / "i.npz"), shell, rtol=1e-9)


def test_a_model_of_another_kind_is_refused(fitted: pf.ImageDensity, tmp_path: Path):
    fitted.save(tmp_path / "m")
    with pytest.raises(InputError, match="holds a model of images, but a model of a table is needed"):
        pf.TableDensity.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: m.fit(IMAGES / 255), "images must be scaled to whole numbers"),
        (lambda m: m.fit(IMAGES, LABELS[:3]), "3 labels for 80 images"),
        (lambda m: m.sample(0), "n=0: expected a whole number, at least 1"),
        (lambda m: m.sample(1, given={"class": "9"}), "knows the classes 0, 1"),
        (lambda m: m.sample(1, guidance=1.0), "needs a tarflow that is conditioned on class, but .* is a realnvp"),
        (lambda m: m.score_samples(IMAGES[:, :4], LABELS), "the images are 4 x 8"),
        (lambda m: m.score_samples(IMAGES), "conditioned on classes"),
        (lambda m: pf.ImageDensity(levels=300).fit(IMAGES), "levels=300: expected 2 to 256"),
        (lambda m: pf.ImageDensity().sample(), "not fitted yet"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(call: Any, said: str, fitted: pf.ImageDensity):
    with pytest.raises(InputError, match=said):
        call(fitted)


def test_one_number_resizes_to_a_square():
    model = pf.ImageDensity("realnvp", resize=4, **QUICK).fit(IMAGES)
    assert model.sample(1).shape == (1, 1, 4, 4)
    assert model.score_samples(IMAGES[:2]).shape == (2,)
    with pytest.raises(InputError) as error:
        pf.ImageDensity(resize=0)
    assert error.value.argument == "resize"
