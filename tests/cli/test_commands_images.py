"""The shell on images: what fit, score, sample, compare, info and report give, from every form of file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from picture_files import BRIEF, QUICK, folder_of, halves
from PIL import Image

import pushforward as pf
from pushforward.cli import app as cli


def test_fit_reports_bits_per_dimension_beside_independent_pixels(run, gallery: Path, tmp_path: Path) -> None:
    summary = run("fit", gallery / "images.npz", "-o", tmp_path / "m", *QUICK)
    held = summary["held_out"]
    assert (summary["flow"], summary["shape"], summary["levels"]) == ("glow", [1, 8, 8], 256)
    assert (summary["training_images"], summary["validation_images"], held["images"]) == (96, 12, 12)
    assert held["bits_per_dim"] == pytest.approx(-held["log_likelihood"] / 64 / math.log(2), rel=1e-9)
    assert held["gain"] == pytest.approx(held["independent_bits_per_dim"] - held["bits_per_dim"], rel=1e-9)
    assert 0 < held["bits_per_dim_standard_error"] < held["bits_per_dim"] < 12
    assert "2 classes; --given class" in summary["notes"][0]


def test_score_gives_one_row_per_image_with_its_name(run, gallery: Path, tmp_path: Path) -> None:
    images, _ = halves(9, seed=1)
    folder_of(tmp_path / "new", images)
    result = run("score", gallery / "glow", tmp_path / "new", "-o", tmp_path / "s.csv")
    scores = pl.read_csv(tmp_path / "s.csv")
    assert scores.columns == ["image", "log_density", "bits_per_dim", "percentile"]
    assert scores["image"].to_list() == [f"{k:03}.png" for k in range(9)]
    bits = -scores["log_density"].to_numpy() / 64 / math.log(2)
    np.testing.assert_allclose(scores["bits_per_dim"].to_numpy(), bits, rtol=1e-6)
    assert result["bits_per_dim"] == pytest.approx(bits.mean(), rel=1e-5)
    flow = pf.load(gallery / "glow")
    torch.manual_seed(0)
    with torch.no_grad():
        direct = flow(torch.from_numpy(images)[:, None])
    np.testing.assert_allclose(scores["log_density"].to_numpy(), direct.numpy(), rtol=1e-5)


def test_the_draws_of_the_noise_can_be_chosen(run, gallery: Path, tmp_path: Path) -> None:
    for name, samples in (("a", "1"), ("b", "5")):
        run("score", gallery / "glow", gallery / "images.npz", "-o", tmp_path / f"{name}.csv", "--samples", samples)
    a, b = (pl.read_csv(tmp_path / f"{name}.csv")["log_density"] for name in "ab")
    assert (a != b).all()
    assert (a - b).abs().max() < 20


def test_unlikely_images_are_explained_by_their_oddest_patch(run, gallery: Path, tmp_path: Path) -> None:
    images, _ = halves(4, seed=3)
    np.save(tmp_path / "new.npy", images)
    run("score", gallery / "pixelcnn", tmp_path / "new.npy", "-o", tmp_path / "s.csv", "--explain-below", "100")
    scores = pl.read_csv(tmp_path / "s.csv")
    assert scores.columns == [*("image", "log_density", "bits_per_dim", "percentile"), "unlikely_because", "excess"]
    patches = pf.ImageDensity.load(gallery / "pixelcnn").explain(images).excess.reshape(4, 4, 2, 4, 2).sum((2, 4))
    np.testing.assert_allclose(scores["excess"].to_numpy(), patches.max((1, 2)), rtol=1e-5)
    i, j = 2 * np.array(np.unravel_index(patches[0].argmax(), (4, 4)))
    assert scores["unlikely_because"][0] == f"rows {i} to {i + 1}, columns {j} to {j + 1}"
    run("score", gallery / "glow", tmp_path / "new.npy", "-o", tmp_path / "t.csv", "--explain-below", "0")
    assert pl.read_csv(tmp_path / "t.csv").columns == scores.columns


@pytest.mark.parametrize("name", ["glow", "pixelcnn"])
def test_missing_pixels_are_drawn(run, gallery: Path, tmp_path: Path, name: str) -> None:
    images, labels = halves(3, seed=4)
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4, 3:6] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    np.savez(tmp_path / "new.npz", images=images, labels=labels)
    options = ["--mask", tmp_path / "mask.png", "--draws", "2", "--candidates", "8", "--seed", "1"]
    found = run("impute", gallery / name, tmp_path / "new.npz", "-o", tmp_path / "f.npz", *options)
    assert (found["images"], found["missing"], found["draws"]) == (3, 18, 2)
    assert 1 <= found["effective"]["least"] <= found["effective"]["median"] <= 16
    with np.load(tmp_path / "f.npz") as archive:
        filled, kept = archive["images"], archive["labels"]
    model = pf.ImageDensity.load(gallery / name)
    same = model.impute(tmp_path / "new.npz", mask=mask, draws=2, candidates=8, random_state=1)
    assert np.array_equal(filled, same)
    assert kept.tolist() == [str(label) for label in labels] * 2
    run("impute", gallery / name, tmp_path / "new.npz", "-o", tmp_path / "f.png", *options)
    with Image.open(tmp_path / "f.png") as picture:
        assert picture.size == (3 * 65 + 1, 2 * 65 + 1)  # each of 8 x 8 pixels, enlarged


def test_an_odd_image_is_less_likely_than_its_kind(run, gallery: Path, tmp_path: Path) -> None:
    images, _ = halves(3, seed=2)
    images[1] = images[1].T  # bright above or below
    np.save(tmp_path / "new.npy", images)
    run("score", gallery / "pixelcnn", tmp_path / "new.npy", "-o", tmp_path / "s.csv")
    scores = pl.read_csv(tmp_path / "s.csv")
    assert scores["log_density"].arg_min() == 1
    assert scores["percentile"][1] == scores["percentile"].min() < 8  # 12 held-out images: 1 of 13


def test_the_class_of_an_image_matters_where_the_model_is_told_it(run, gallery: Path, tmp_path: Path) -> None:
    images, labels = halves(40, seed=3)
    np.savez(tmp_path / "right.npz", x=images, y=labels)
    np.savez(tmp_path / "wrong.npz", x=images, y=1 - labels)
    found = {
        name: run("score", gallery / "given", tmp_path / f"{name}.npz", "-o", tmp_path / f"{name}.csv")
        for name in ("right", "wrong")
    }
    assert found["right"]["bits_per_dim"] < found["wrong"]["bits_per_dim"] - 0.01
    assert pl.read_csv(tmp_path / "right.csv")["class"].to_list() == labels.tolist()


@pytest.mark.parametrize("model", ["glow", "given", "pixelcnn"])
def test_sample_writes_a_grid_and_numbers(run, gallery: Path, tmp_path: Path, model: str) -> None:
    run("sample", gallery / model, "-n", "6", "-o", tmp_path / "s.png", "--seed", "1")
    grid = np.array(Image.open(tmp_path / "s.png"))
    assert grid.shape == (2 * 65 + 1, 3 * 65 + 1)  # 8 x 8 pixels, large enough to be seen
    run("sample", gallery / model, "-n", "6", "-o", tmp_path / "s.npy", "--seed", "1")
    images = np.load(tmp_path / "s.npy")
    assert (images.dtype, images.shape) == (np.dtype("uint8"), (6, 1, 8, 8))
    most = 3 if model == "pixelcnn" else 255
    assert images.max() <= most
    corner = np.round(images[0, 0] * (255 / most)).astype(np.uint8)
    assert np.array_equal(grid[1:65:8, 1:65:8], corner)  # levels are stretched to the range of a picture
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.npy", "s.png"]


def test_samples_with_their_classes_can_be_fitted_again(run, gallery: Path, tmp_path: Path) -> None:
    run("sample", gallery / "given", "-n", "60", "-o", tmp_path / "s.npz")
    archive = np.load(tmp_path / "s.npz")
    assert archive["labels"][:4].tolist() == ["0", "1", "0", "1"]  # in turn
    run("fit", tmp_path / "s.npz", "-o", tmp_path / "again", "--given", "class", *BRIEF)
    one = run("sample", gallery / "given", "-n", "5", "-o", tmp_path / "t.npz", "--given", "class=1")
    assert np.load(tmp_path / "t.npz")["labels"].tolist() == ["1"] * 5
    assert one["given"] == {"class": "1"}


def test_the_same_seed_gives_the_same_images(run, gallery: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("sample", gallery / "glow", "-n", "4", "-o", tmp_path / f"{name}.npy", "--seed", seed)
    a, b, c = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_compare_pairs_images_that_neither_model_saw(run, gallery: Path, tmp_path: Path) -> None:
    run("fit", gallery / "images.npz", "-o", tmp_path / "other", "--flow", "realnvp", *BRIEF)
    result = run("compare", gallery / "glow", tmp_path / "other", gallery / "images.npz")
    assert result["images"] == 12
    bits = [model["bits_per_dim"] for model in result["models"]]
    assert result["difference"] == pytest.approx(bits[0] - bits[1], rel=1e-9)
    assert result["better"] == str(gallery / "glow")  # forty steps against two
    run("compare", gallery / "glow", tmp_path / "other", gallery / "images.npz", "--samples", "3")


def test_info_says_what_the_model_is(run, gallery: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = run("info", gallery / "given")
    assert (facts["classes"], facts["levels"], facts["shape"]) == (["0", "1"], 256, [1, 8, 8])
    assert cli.main(["info", str(gallery / "given")]) == 0
    out = capsys.readouterr().out
    assert "8 x 8, grey, 256 levels" in out
    assert "class, one of 0, 1" in out
    assert "bits per dimension" in out


def test_the_report_needs_no_data_and_knows_the_file_it_was_fitted_to(run, gallery: Path, tmp_path: Path) -> None:
    alone = run("report", gallery / "given", "-o", tmp_path / "a.html")
    known = run("report", gallery / "given", gallery / "images.npz", "-o", tmp_path / "b.html")
    assert alone["images"] == known["images"] == 12
    assert alone["report"]["overview"]["bits_per_dim"] == known["report"]["overview"]["bits_per_dim"]
    assert "12 held-out images are used" in known["notes"][0]
    assert known["report"]["likelihood"]["train"] > 0
    fitted = run("info", gallery / "given")["summary"]["held_out"]["bits_per_dim"]
    assert known["report"]["overview"]["bits_per_dim"] == pytest.approx(fitted, rel=1e-6)
    assert "pushforward fit" in (tmp_path / "a.html").read_text()


def test_a_folder_of_classes_in_colour_of_an_odd_size(run, tmp_path: Path) -> None:
    images, labels = halves(60, side=9, colours=3)
    data = folder_of(tmp_path / "data", images, labels)
    summary = run("fit", data, "-o", tmp_path / "m", "--given", "class", *BRIEF)
    assert (summary["flow"], summary["shape"]) == ("realnvp", [3, 9, 9])
    run("score", tmp_path / "m", data, "-o", tmp_path / "s.csv")
    scores = pl.read_csv(tmp_path / "s.csv")
    assert scores["image"][0].startswith("left/")
    assert scores["class"].to_list() == [name.split("/")[0] for name in scores["image"]]
    run("sample", tmp_path / "m", "-n", "2", "-o", tmp_path / "s.png", "--given", "class=left")


def test_resizing_is_part_of_the_model(run, tmp_path: Path) -> None:
    images, _ = halves(60)
    data = folder_of(tmp_path / "data", images)
    Image.fromarray(halves(1, side=12)[0][0]).save(data / "999.png")
    summary = run("fit", data, "-o", tmp_path / "m", "--resize", "6,8", *BRIEF)
    assert summary["shape"] == [1, 6, 8]
    assert run("score", tmp_path / "m", data, "-o", tmp_path / "s.csv")["images"] == 61


def test_a_file_that_divides_itself_is_used_so(run, tmp_path: Path) -> None:
    images, labels = halves(100)
    arrays = {"x_train": images[:70], "y_train": labels[:70], "x_test": images[70:], "y_test": labels[70:]}
    np.savez(tmp_path / "d.npz", **arrays)
    summary = run("fit", tmp_path / "d.npz", "-o", tmp_path / "m", "--given", "class", *BRIEF)
    assert (summary["training_images"], summary["held_out"]["images"]) == (63, 30)
    assert run("score", tmp_path / "m", tmp_path / "d.npz", "-o", tmp_path / "s.csv")["images"] == 30
    assert run("report", tmp_path / "m", tmp_path / "d.npz", "-o", tmp_path / "r.html")["images"] == 30


def test_grey_images_are_scored_by_a_model_of_coloured_ones(run, tmp_path: Path) -> None:
    np.save(tmp_path / "colour.npy", halves(60, colours=3)[0])
    np.save(tmp_path / "grey.npy", halves(5)[0])
    run("fit", tmp_path / "colour.npy", "-o", tmp_path / "m", *BRIEF)
    result = run("score", tmp_path / "m", tmp_path / "grey.npy", "-o", tmp_path / "s.csv")
    assert result["images"] == 5
    assert "become coloured" in result["notes"][0]


def test_training_goes_on_where_it_was_stopped(run, gallery: Path, tmp_path: Path) -> None:
    arguments = ["fit", gallery / "images.npz", "-o", tmp_path / "m", *QUICK, "--resume"]
    run(*arguments)
    assert (tmp_path / "m.training").is_dir()
    assert run(*arguments)["training"]["steps"] == 40


def test_the_saved_model_is_plain_json(gallery: Path) -> None:
    config = json.loads((gallery / "glow" / "config.json").read_text())
    assert config["extra"]["kind"] == "image"
    assert len(config["extra"]["held_out"]["names"]) == 12


def test_resume_trains_a_finished_model_of_images_further(run, gallery: Path, tmp_path: Path) -> None:
    command = ("fit", gallery / "images.npz", "-o", tmp_path / "m", *QUICK)
    first = run(*command)["training"]
    second = run(*command, "--resume")
    assert any("it is trained further" in note for note in second["notes"])
    assert second["training"]["best_validation_loss"] < first["best_validation_loss"]
    assert "verdict" in second
    model = pf.ImageDensity.load(tmp_path / "m")
    assert model.facts["history"][-1]["step"] == 2 * first["steps"]
    model.fit(halves()[0], more="0.2s")
    assert model.summary_["training"]["best_validation_loss"] <= second["training"]["best_validation_loss"] + 1e-6
    with pytest.raises(
        ValueError, match=r"images of shape \(1, 4, 4\) with classes none, but the model was trained on"
    ):
        model.fit(halves()[0][..., :4, :4], more=1)


def test_transformer_flows_of_classes_with_noise(run, gallery: Path, tmp_path: Path) -> None:
    fit = (
        "fit",
        gallery / "images.npz",
        "-o",
        tmp_path / "m",
        "--flow",
        "tarflow",
        "--given",
        "class",
        "--layers",
        "2",
    )
    summary = run(*fit, "--hidden", "16", "--steps", "4", "--noise", "0.1", "--patch", "4")
    assert summary["flow"] == "tarflow"
    assert summary["held_out"]["bits_per_dim"] > 0
    for name, guidance in (("a", "0"), ("b", "2"), ("c", "2")):
        run("sample", tmp_path / "m", "-n", "6", "-o", tmp_path / f"{name}.npy", "--guidance", guidance)
    a, b, c = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert a.shape == (6, 1, 8, 8)
    assert (b == c).all()
    assert (a != b).any()
    run("report", tmp_path / "m", "-o", tmp_path / "r.html")
    again = pf.ImageDensity.load(tmp_path / "m")
    np.testing.assert_array_equal(again.sample(6, random_state=0, guidance=2.0), b)
