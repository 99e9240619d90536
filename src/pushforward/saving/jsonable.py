"""Conversion of values to what JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

PLAIN = {str, int, bool, type(None)}


def jsonable(value: Any) -> Any:
    """The value in a form that JSON can hold: null for numbers that are not finite, text for types that JSON lacks."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        kinds = set(map(type, value))
        if kinds <= PLAIN or (kinds == {float} and all(map(math.isfinite, value))):  # long ones are copied at once
            return list(value)
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "to_json"):
        return value.to_json()
    if hasattr(value, "item"):  # a number of NumPy or PyTorch
        return jsonable(value.item())
    return value if value is None or isinstance(value, bool | int | str) else str(value)
