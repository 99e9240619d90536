"""Lines for people."""

from pushforward.models.console import aligned


def test_a_table_s_values_stand_in_columns_and_those_missing_are_dashes():
    lines = aligned([["row", "excess", "place"], [3, 1.23456789, None], [float("nan"), None, "top left"]])
    assert lines == ["  row  excess  place", "  3    1.235   -", "  -    -       top left"]
