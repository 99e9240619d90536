"""The untrained density of a table: a recipe's flow in the table's own units, along with a model of its categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..distributions.mixed import Mixed
from ..recipes.by_name import categories_by_size, flow_with_angles
from .schema.preprocessing import preprocessing
from .schema.schema import Schema


def density(
    schema: Schema,
    x: Tensor,
    *,
    flow: str,
    layers: int | None = None,
    hidden: Sequence[int] | None = None,
    seed: int = 0,
) -> Density:
    """A flow over the numeric columns; with categorical columns, a density of these and a flow conditioned on them.

    Args:
        schema: The columns.
        x: Training rows spread over their cells, float64.
        flow: The recipe's name.
        layers: Number of its layers.
        hidden: Widths of its hidden layers.
        seed: Seed of the weights.

    Raises:
        ValueError: the name is unknown, or a size does not fit.
    """
    numbers, given = schema.numbers, schema.context_features
    sizes = [size for size in schema.classes if size]
    if not numbers:
        return categories_by_size(sizes, context=given, seed=seed)
    sizes_of: dict[str, Any] = {"context": given + sum(schema.classes), "layers": layers, "hidden": hidden}
    inner = flow_with_angles(flow, len(numbers), schema.numeric.circles, **sizes_of, seed=seed)
    outer = in_data_units(inner, schema.numeric, x[:, numbers])
    if len(numbers) == len(schema.columns):
        return outer
    return Mixed(categories_by_size(sizes, context=given, seed=seed), outer, schema.classes)


def in_data_units(flow: Flow, schema: Schema, x: Tensor) -> Flow:
    """The recipe's flow preceded by the table's first transforms: a density in the table's own units.

    Args:
        flow: A flow over standardised rows.
        schema: The columns, all of them numbers.
        x: Training rows spread over their cells, float64.
    """
    return flow.behind(*preprocessing(schema, x))
