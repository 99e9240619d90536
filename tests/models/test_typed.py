"""Values typed in a shell: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from pushforward.errors import InputError
from pushforward.models.options import TrainingOptions
from pushforward.models.typed import Givens, assignments, bounds, height_and_width, names, periods, widths
from pushforward.tables.options import TableOptions


def test_values_mean_what_they_look_like() -> None:
    assert names(" a, b c ", "d") == ("a", "b c", "d")
    assert widths("64,32") == (64, 32)
    assert [height_and_width(text) for text in ("28", "28,32", "28x32")] == [(28, 28), (28, 32), (28, 32)]
    assert assignments("cut=Ideal,color=E", "note=a, b") == {"cut": "Ideal", "color": "E", "note": "a, b"}
    assert bounds("a=0,1", "b=-1e3,") == {"a": (0, 1), "b": (-1000, None)}
    assert periods("hour=0,24") == {"hour": (0, 24)}


@pytest.mark.parametrize(
    "attempt",
    [
        *(lambda text=text: names(text) for text in ("", "a,,b")),
        *(lambda text=text: widths(text) for text in ("", "8,x", "0", "8,-1")),
        *(lambda text=text: height_and_width(text) for text in ("", "0", "8,8,8", "big")),
        *(lambda text=text: assignments(text) for text in ("cut", "=E", "cut=", "a=1,a=2")),
        *(lambda text=text: bounds(text) for text in ("a", "a=1", "a=1,0", "a=,1", "=0,1", "a=0,nan", "a=0,1,2")),
        *(lambda text=text: periods(text) for text in ("a", "a=24", "a=0,", "a=24,0")),
    ],
)
def test_what_cannot_be_read_is_refused(attempt) -> None:
    with pytest.raises(ValueError, match=r"expected|given twice"):
        attempt()


def test_times_are_seconds() -> None:
    for text, seconds in {"90": 90, "90s": 90, "1.5m": 90, "2 min": 120, "1h": 3600}.items():
        assert TrainingOptions(budget=text).budget == seconds  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("budget", time) for time in ("", "soon", "-3s", "0", "1.2.3s", "5 days", -1.0)),
        ("limit", "never"),
        *((name, value) for name in ("epochs", "steps", "batch_size", "patience") for value in (0, -1, 2.5)),
        *(("threads", value) for value in (0, "some", 1.5)),
    ],
)
def test_an_option_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        TrainingOptions(**{name: value})  # type: ignore[arg-type]
    assert (caught.value.argument, caught.value.value) == (name, value)


def test_a_single_name_is_one_column() -> None:
    options = TableOptions(columns="size", given="price")
    assert (options.columns, options.given) == (("size",), ("price",))


def test_what_is_given_is_a_value_or_a_condition() -> None:
    assert Givens.of("cut=Ideal", "price=4000") == Givens({"cut": "Ideal", "price": "4000"})
    assert Givens.of("age BETWEEN 30 AND 40").where == "age BETWEEN 30 AND 40"
    both = Givens.of("cut=O'Brien", "price > 3", "color = 'E'")
    assert both == Givens({"cut": "O'Brien"}, "(price > 3) AND (color = 'E')")
    with pytest.raises(ValueError):
        Givens.of("cut")
