"""Which models of tables can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InputError, listed

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
    outcomes = [{c.name: c.outcomes for c in model.schema.columns} for model in models]
    different = [name for name in outcomes[0] if outcomes[0][name] != outcomes[1][name]]
    if different:
        raise InputError(
            f"{first.called} and {second.called} know different values of {different[0]!r}, or see them as cells of "
            "different widths, so their densities cannot be compared; fit both to the same rows"
        )
