"""The report of a model of images: its numbers, its pictures, and what it says of each kind of model."""

from __future__ import annotations

import base64
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pushforward as pf
from pushforward.images.pixels import PixelDensity
from pushforward.report.evidence import Page
from pushforward.report.images.evidence import STEPS, ImageEvidence, great_circle, interpolate, round_trip
from pushforward.report.write import write_page
from pushforward.testing import randomize
from pushforward.training.batches import Rows

LEVELS, SHAPE = 16, (1, 8, 8)
HOSTILE = "<script>alert(1)</script>.png"


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, LEVELS, (n, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def glow(context: int = 0) -> pf.Flow:
    torch.manual_seed(0)
    flow = pf.pixels(pf.glow(SHAPE, levels=2, steps=2, hidden=6, context=context), levels=LEVELS)
    flow.initialize(pictures(30), torch.eye(context)[torch.arange(30) % context] if context else None)
    return randomize(flow, scale=0.05)


def pixelcnn(context: int = 0) -> Any:
    torch.manual_seed(0)
    return randomize(pf.pixelcnn(SHAPE, levels=LEVELS, hidden=6, layers=1, context=context), scale=0.05)


def written(folder: Path, flow: Any, **options: Any) -> tuple[dict[str, Any], str]:
    history = [{"step": k, "train_loss": 300.0 - k, "validation_loss": 310.0 - k} for k in range(5)]
    page = Page(options.pop("title", ""), command="fit <x>", history=history)
    images = options.pop("images", pictures(20))
    options = {"names": [str(k) for k in range(len(images))], **options}
    train, context = options.pop("train", None), options.pop("context", None)
    evidence = ImageEvidence(
        page=page,
        model=PixelDensity(flow, LEVELS),
        held=Rows(images, context),
        train=None if train is None else Rows(train),
        percentile=np.ones_like,
        others="images that the model did not see",
        **options,
    )
    numbers = write_page(folder / "r.html", evidence)
    return numbers, (folder / "r.html").read_text(encoding="utf-8")


def shown_pictures(text: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    return [np.array(Image.open(io.BytesIO(base64.b64decode(content)))) for content in found]


def test_the_numbers_are_those_of_an_independent_computation(tmp_path: Path) -> None:
    model, train = pixelcnn(), pictures(40, seed=1)
    numbers, text = written(tmp_path, model, train=train)
    with torch.no_grad():
        bits = -model(pictures(20)).double() / 64 / math.log(2)
    assert numbers["overview"]["bits_per_dim"] == pytest.approx(float(bits.mean()), rel=1e-6)
    assert numbers["overview"]["standard_error"] == pytest.approx(float(bits.std() / 20**0.5), rel=1e-5)
    assert numbers["training"]["best_loss"] == pytest.approx(306 / 64 / math.log(2))
    worst = [row["bits_per_dim"] for row in numbers["unlikely"]["images"]]
    assert worst == pytest.approx(sorted(bits.tolist(), reverse=True)[:12], rel=1e-6)
    assert "fit &lt;x&gt;" in text
    assert "4 would be no compression at all of 16 levels" in text


def test_a_flow_shows_samples_round_trips_and_interpolations(tmp_path: Path) -> None:
    numbers, text = written(tmp_path, glow())
    assert numbers["reconstructions"] == {"same": 1.0, "furthest": 0}
    ids = re.findall(r'<section id="(\w+)"', text)
    assert {"samples", "reconstructions", "interpolations", "unlikely", "training", "cost"} <= set(ids)
    assert "completions" not in ids
    assert not re.search(r'(src|href)="(?!data:|#)', text)  # nothing from elsewhere
    assert len(shown_pictures(text)) == 8


def test_an_autoregressive_model_completes_images_instead(tmp_path: Path) -> None:
    _, text = written(tmp_path, pixelcnn())
    ids = re.findall(r'<section id="(\w+)"', text)
    assert "completions" in ids
    assert not {"reconstructions", "interpolations"} & set(ids)
    after = text.index('<section id="completions"')
    grid = shown_pictures(text[after : text.index("</section>", after)])[0]
    upper, lower = grid[1:5], grid[5:9]
    assert np.array_equal(upper, grid[10:14])  # the second row begins with the same upper halves
    assert not np.array_equal(lower, grid[14:18])


def test_pictures_hold_the_images_in_the_range_of_a_picture(tmp_path: Path) -> None:
    images = pictures(20)
    _, text = written(tmp_path, glow(), images=images)
    first = shown_pictures(text)[0]  # the held-out images
    assert np.array_equal(first[1:9, 1:9], (images[0, 0] * 17).numpy())


def test_an_inverse_that_loses_pixels_is_said(tmp_path: Path) -> None:
    flow = glow()
    last = [p for p in flow.parameters() if p.dim() == 4][-1]
    inverse = flow.transform.generate

    def wrong(z: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        return inverse(z, context) + 1

    assert last.numel()
    flow.transform.generate = wrong
    numbers, text = written(tmp_path, flow)
    assert numbers["reconstructions"]["same"] < 0.5
    assert "came back changed" in text


def test_classes_names_and_hostile_text(tmp_path: Path) -> None:
    labels = ["a", HOSTILE] * 10
    context = torch.eye(2).repeat(10, 1)
    numbers, text = written(
        tmp_path, glow(2), labels=labels, names=[HOSTILE] * 20, classes=["a", HOSTILE], context=context, title=HOSTILE
    )
    assert HOSTILE not in text
    assert set(numbers["classes"]) == {"a", HOSTILE}
    numbers, _ = written(tmp_path, pixelcnn(2), labels=labels, classes=["a", "b"], context=context)
    assert set(numbers["classes"]) == {"a", HOSTILE}


@pytest.mark.slow
def test_the_findings_follow_the_numbers(tmp_path: Path) -> None:
    base = {"images": 9, "bits_per_dim": 1.0, "independent_bits_per_dim": 2.0}
    base |= {"bits_per_dim_standard_error": 0.1, "independent_bits_per_dim_standard_error": 0.1}
    for gain, words in (
        (1.0, "held-out images better than"),
        (-1.0, "held-out images worse than"),
        (0.01, "not clearly"),
    ):
        at_fit = {**base, "gain": gain, "gain_standard_error": 0.1}
        assert words in written(tmp_path, pixelcnn(), at_fit=at_fit)[1]
    assert "does not overfit" in written(tmp_path, pixelcnn(), train=pictures(30, seed=5))[1]


def test_the_numbers_are_the_same_for_the_same_arguments_and_random_numbers_are_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    first = written(tmp_path, glow())[0]
    again = torch.get_rng_state()
    assert written(tmp_path, glow())[0] == first
    assert torch.equal(again, torch.get_rng_state())
    torch.set_rng_state(before)


def test_interpolations_begin_and_end_at_the_images() -> None:
    density, images = PixelDensity(glow(), LEVELS), pictures(10)
    found = interpolate(density, images, None)
    assert found.shape == (5, STEPS, *SHAPE)
    assert (found[:, 0] == images[:5]).double().mean() > 0.999
    assert (found[:, -1] == images[5:]).double().mean() > 0.999


def test_a_great_circle_keeps_the_norm_and_copes_with_equal_ends() -> None:
    z = torch.nn.functional.normalize(torch.randn(4, 7), dim=-1)
    path = great_circle(z[:2], z[2:], torch.linspace(0, 1, 5))
    torch.testing.assert_close(path.norm(dim=-1), torch.ones(2, 5))
    torch.testing.assert_close(path[:, 0], z[:2])
    torch.testing.assert_close(great_circle(z, z, torch.tensor([0.5]))[:, 0], z)


def test_the_coarsest_latents_alone_give_another_image() -> None:
    trip = round_trip(PixelDensity(glow(), LEVELS), pictures(10), None)
    assert trip.same == 1
    assert trip.coarse is not None
    assert not torch.equal(trip.coarse, trip.images)
    single = pf.pixels(pf.glow(SHAPE, levels=1, steps=1, hidden=4), levels=LEVELS)
    assert round_trip(PixelDensity(single, LEVELS), pictures(4), None).coarse is None
