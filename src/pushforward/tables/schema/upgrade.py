"""Schemas as versions 0.1 and 0.2 saved them: columns of 27 fields, of which each kind used some."""

from __future__ import annotations

from typing import Any

from .columns import Column, ContextColumn, Holes
from .kinds.circle import Periodic
from .kinds.column_maps import FirstMap
from .kinds.few_values import FewValues
from .kinds.grid import Grid, Spikes
from .kinds.named import Category
from .kinds.numeric import Number
from .missingness import Flag
from .reading import Reading
from .relations.base import Constant, Dependency
from .relations.formula import Determined, Formula
from .relations.look_up import LookUp

NUMERIC = ("minimum", "maximum", "quantiles", "bounds", "fill")


def upgraded(values: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a schema as it is saved now."""
    if "type" in values:
        return values
    return {
        "type": "Schema",
        "columns": [_column(column) for column in values["columns"]],
        "given": [_given(given) for given in values["given"]],
        "relations": [_relation(relation) for relation in values.get("relations", [])],
        "order": values.get("order", []),
        "notes": values.get("notes", []),
    }


def _column(old: dict[str, Any]) -> dict[str, Any]:
    holes = {"share": old.get("holes", 0.0)} | {name: old.get(name, False) for name in ("at_random", "ignored")}
    reading = {name: old.get(name, empty) for name, empty in (("dtype", ""), ("form", ""), ("stored", []))}
    if not old.get("categories") and reading["dtype"] == "String":  # the default, of numbers too
        reading["dtype"] = ""
    return {
        "type": Column.type_name,
        "name": old["name"],
        "kind": _kind(old),
        "reading": {"type": Reading.type_name, **reading},
        "holes": {"type": Holes.type_name, **holes},
    }


def _kind(old: dict[str, Any]) -> dict[str, Any]:
    if old.get("of"):
        return {"type": Flag.type_name, "flags": old["of"]}
    if old.get("categories"):
        named = {"values": old["categories"], "grouped": old.get("grouped", 0), "fill": old.get("fill", [])}
        if old.get("kind") == "values":
            return {"type": FewValues.type_name, **named, "unseen": old.get("unseen", [])}
        return {"type": Category.type_name, **named}
    numeric = {name: old[name] for name in NUMERIC if name in old} | {"whole": old.get("integer", False)}
    if old.get("first", "none") != "none":
        first = {"name": old["first"], "loc": old.get("loc", 0.0), "scale": old.get("scale", 1.0)}
        numeric["first"] = {"type": FirstMap.type_name, **first, "knots": old.get("knots", [])}
    grid = {name: old.get(name, 0) for name in ("step", "origin", "decimals")}
    if old.get("period"):
        return {"type": Periodic.type_name, **numeric, **grid, "period": old["period"]}
    if grid["step"]:
        return {"type": Grid.type_name, **numeric, **grid}
    if old.get("atoms"):
        return {"type": Spikes.type_name, **numeric, "atoms": old["atoms"]}
    return {"type": Number.type_name, **numeric}


def _given(old: dict[str, Any]) -> dict[str, Any]:
    mean, scale = old.get("mean", 0.0), old.get("scale", 1.0)
    known = {"minimum": mean - 2 * scale, "maximum": mean + 2 * scale}
    known |= {"quantiles": [mean + scale * z / 2 for z in range(-4, 5)]}
    return {"type": ContextColumn.type_name, "column": _column(known | old), "mean": mean, "scale": scale}


def _relation(old: dict[str, Any]) -> dict[str, Any]:
    known = {"column": _column(old["column"]), "inputs": old.get("inputs", [])}
    if not known["inputs"]:
        return {"type": Constant.type_name, **known, "value": old.get("offset", 0.0)}
    if weights := old.get("weights"):
        terms = [[w, [[x, 1.0]]] for w, x in zip(weights, old["inputs"], strict=True)]
        formula = {"type": Formula.type_name, "terms": terms, "offset": old.get("offset", 0.0)}
        return {"type": Determined.type_name, **known, "formula": formula, "close": Dependency.close}
    return {"type": LookUp.type_name, **known, "implied": old.get("implied", []), "at": old.get("at", [])}
