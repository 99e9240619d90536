"""The figures of a fit in words: a gain without meaning, and overfitting, are said."""

from __future__ import annotations

from typing import Any

import torch

from pushforward.models.compare import beside_gaussian, describe_held_out, gain_in_words, with_error


def figures(theirs: torch.Tensor, seen: float) -> dict[str, Any]:
    ours = torch.linspace(-3, -1, 100)
    return {**beside_gaussian(ours, theirs), "training_log_likelihood": seen, "training_standard_error": 0.05}


def test_a_gain_has_a_meaning_unless_the_gaussian_rules_rows_out() -> None:
    theirs = torch.linspace(-4, -2, 100)
    assert gain_in_words(figures(theirs, -2.0)) == ""
    theirs[0] = -1e9
    assert "without meaning" in gain_in_words(figures(theirs, -2.0))


def test_training_rows_that_do_better_are_said_to_tell_overfitting() -> None:
    theirs = torch.linspace(-4, -2, 100)
    assert any("overfits" in line for line in describe_held_out(figures(theirs, -1.0)))
    assert not any("overfits" in line for line in describe_held_out(figures(theirs, -1.95)))


def test_a_single_row_has_no_error() -> None:
    one = beside_gaussian(torch.tensor([-1.5]), torch.tensor([-2.0]))
    for saved in (one, {name: None if value != value else value for name, value in one.items()}):
        assert with_error(saved, "gain", "gain_standard_error") == "0.5000, of too few rows for an error"
        assert len(describe_held_out({**saved, "training_log_likelihood": -1.0, "training_standard_error": 0.1})) == 3
