"""Values typed in a shell: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from pushforward.cli.arguments import assignments, bounds, names, widths
from pushforward.errors import InputError
from pushforward.training.schedule import duration


def test_values_mean_what_they_look_like() -> None:
    assert [duration(text, "budget") for text in ("90", "90s", "1.5m", "2 min", "1h")] == [90, 90, 90, 120, 3600]
    assert names("columns", " a, b c ") == ["a", "b c"]
    assert widths("64,32") == [64, 32]
    assert assignments("given", ["cut=Ideal,color=E", "note=a, b"]) == {"cut": "Ideal", "color": "E", "note": "a, b"}
    assert bounds(["a=0,1", "b=-1e3,"]) == {"a": (0, 1), "b": (-1000, None)}


@pytest.mark.parametrize(
    "attempt",
    [
        *(lambda text=text: duration(text, "budget") for text in ("", "soon", "-3s", "0", "1.2.3s", "5 days")),
        *(lambda text=text: names("columns", text) for text in ("", "a,,b")),
        *(lambda text=text: widths(text) for text in ("", "8,x", "0", "8,-1")),
        *(lambda text=text: assignments("given", [text]) for text in ("cut", "=E", "cut=", "a=1,a=2")),
        *(lambda text=text: bounds([text]) for text in ("a", "a=1", "a=1,0", "a=,1", "=0,1", "a=0,nan", "a=0,1,2")),
    ],
)
def test_what_cannot_be_read_is_refused(attempt) -> None:
    with pytest.raises(InputError):
        attempt()
