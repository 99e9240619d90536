"""Sampling quality: honest draws pass, wrong ones are told apart, and copies are found."""

from __future__ import annotations

import importlib

import numpy as np
import polars as pl
import pytest

from pushforward.diagnostics import sampling_quality

RNG = np.random.default_rng(0)
TRAIN, HELD_OUT, HONEST = (RNG.normal(size=(1000, 3)) @ np.triu(np.ones((3, 3))) for _ in range(3))


@pytest.fixture(autouse=True)
def _all_trees(monkeypatch):
    """The classifier of every user, of which the other tests have a small one."""
    module = importlib.import_module("pushforward.diagnostics.sampling_quality")
    monkeypatch.setattr(module, "FOLDS", 5)
    monkeypatch.setattr(module, "TREES", 100)


@pytest.mark.slow
def test_honest_draws_cannot_be_told_apart_and_are_no_copies():
    quality = sampling_quality(TRAIN, HELD_OUT, HONEST)
    assert abs(quality.told_apart - 0.5) < 0.06
    assert 0.005 < quality.told_apart_error < 0.02
    assert abs(quality.near_copies - 0.05) < 0.03
    assert quality.near_copies_expected == pytest.approx(0.05, abs=0.005)
    told, copies = quality.sentences()
    assert "tell draws from held-out rows (area under its ROC curve 0." in told
    assert copies.endswith("draws are not copies")


def test_without_time_a_fifth_of_the_rows_is_judged_and_the_error_says_so():
    whole, fifth = (sampling_quality(TRAIN, HELD_OUT, HONEST + 1, seconds=seconds) for seconds in (60, 0))
    assert min(whole.told_apart, fifth.told_apart) > 0.7
    assert fifth.told_apart_error == pytest.approx(5**0.5 * whole.told_apart_error, rel=0.2)


def test_few_rows_are_said_to_be_too_few():
    quality = sampling_quality(TRAIN, HELD_OUT[:28], HONEST[:28])
    assert all("28 " in sentence for sentence in quality.sentences())


def test_draws_without_the_correlations_are_told_apart():
    quality = sampling_quality(TRAIN, HELD_OUT, np.apply_along_axis(np.random.default_rng(1).permutation, 0, HONEST))
    assert quality.told_apart > 0.75
    assert "a classifier often tells draws" in quality.sentences()[0]


def test_copies_of_training_rows_are_found_even_with_noise():
    quality = sampling_quality(TRAIN, HELD_OUT, TRAIN[::-1] + 1e-3)
    assert quality.near_copies > 0.95
    assert quality.sentences()[-1].endswith("the model repeats training rows")


def test_whole_numbers_with_few_values_are_not_taken_for_copies():
    train, held_out, drawn = (np.random.default_rng(i).integers(0, 4, (500, 2)).astype(float) for i in range(3))
    quality = sampling_quality(train, held_out, drawn)
    assert quality.near_copies == quality.near_copies_expected == 1.0
    assert quality.sentences()[-1].endswith("draws are not copies")


@pytest.mark.slow
def test_frames_may_have_texts_and_missing_cells():
    def frame(n, seed, shift=0.0):
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, 3, n)
        number = rng.normal(size=n) + (kind == 0) + shift
        text = [("a", "b", None)[k] for k in kind]
        holed = np.where(rng.uniform(size=n) < 0.1, np.nan, number)
        columns = {"text": text, "number": holed, "flag": kind == 1}
        return pl.DataFrame({**columns, "nothing": [None] * n, "no number": [np.nan] * n})

    assert sampling_quality(frame(800, 0), frame(400, 1), frame(900, 2)).told_apart < 0.58
    moved = sampling_quality(frame(800, 0), frame(400, 1), frame(900, 2, shift=5.0))
    assert moved.told_apart > 0.9
    assert moved.rows == 400
    assert moved.to_json()["rows"] == 400
    assert sampling_quality(frame(800, 0), frame(400, 1), frame(800, 0)).near_copies == 1.0


def test_few_rows_have_no_classifier():
    quality = sampling_quality(TRAIN, HELD_OUT[:10], HONEST)
    assert quality.told_apart is None
    assert len(quality.sentences()) == 1


def test_bad_rows_are_named():
    with pytest.raises(ValueError, match=r"drawn has columns \['x1', 'x2'\], but train has \['x1', 'x2', 'x3'\]"):
        sampling_quality(TRAIN, HELD_OUT, HONEST[:, :2])
    with pytest.raises(ValueError, match="held_out has no rows"):
        sampling_quality(TRAIN, HELD_OUT[:0], HONEST)
    with pytest.raises(ValueError, match=r"an array \(n, columns\), got an array of shape \(3,\)"):
        sampling_quality(TRAIN[0], HELD_OUT, HONEST)


@pytest.mark.slow
def test_few_rows_are_too_few_for_a_verdict() -> None:
    rng = np.random.default_rng(0)
    train, real, fake = (rng.normal(size=(rows, 2)) for rows in (200, 28, 28))
    few = sampling_quality(train, real, fake)
    assert "28 held-out rows are too few" in few.sentences()[0]
    many = sampling_quality(train, rng.normal(size=(800, 2)), rng.normal(size=(800, 2)))
    assert "too few" not in many.sentences()[0]
    far = sampling_quality(train, real, fake + 9)
    assert "nearly all" in far.sentences()[0]


def test_frames_of_pandas_with_texts_are_compared_as_those_of_polars():
    frames = [pl.DataFrame({"town": RNG.choice(["A", "B"], 60), "size": RNG.normal(size=60)}) for _ in range(3)]
    expected = sampling_quality(*frames)
    assert sampling_quality(*(frame.to_pandas() for frame in frames)) == expected
    assert sampling_quality(frames[0].to_arrow(), *frames[1:]) == expected


def test_draws_given_values_of_held_out_rows_are_judged_where_neither_was_seen():
    rng = np.random.default_rng(0)

    def drawn(given):
        return np.column_stack([given, given.sum(1) + rng.normal(size=len(given))])

    train, held_out = (drawn(rng.normal(size=(n, 2))) for n in (1000, 400))
    quality = sampling_quality(train, held_out, drawn(held_out[:, :2]))
    assert abs(quality.told_apart - 0.5) < 0.06  # it was 0.375 where a row taught what its draw is
