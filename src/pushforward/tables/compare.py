"""Which models of tables can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError, listed

if TYPE_CHECKING:
    from .fitted import FittedTable


def refuse_unlike(first: FittedTable, second: FittedTable) -> None:
    """Refuses two models whose densities are not of the same thing.

    Raises:
        InputError: they describe different columns, or different cells or categories of them.
    """
    models = (first, second)
    only = set(first.schema.names) ^ set(second.schema.names)
    if only:
        raise InputError(
            f"{first.called} and {second.called} describe different columns ({listed(sorted(only))} are in one only), "
            "so their densities cannot be compared"
        )
    names = [{c.name: c.categories for c in model.schema.columns} for model in models]
    different = [name for name in names[0] if names[0][name] != names[1][name]]
    if different:
        raise InputError(
            f"{first.called} and {second.called} know different categories of {different[0]!r}, or only one treats it "
            "as a category, so their densities cannot be compared; fit both to the same rows"
        )
    cells = [{c.name: (c.step, c.atoms) for c in model.schema.columns} for model in models]
    different = [name for name in cells[0] if cells[0][name] != cells[1][name]]
    if different:
        raise InputError(
            f"{first.called} and {second.called} see values of {different[0]!r} as cells of different widths, "
            "so their densities cannot be compared; fit both to the same rows"
        )
