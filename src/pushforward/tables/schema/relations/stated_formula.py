"""Formulas that the user states, as in ``price = carat * 'price per carat' + 2``: from text to sums of products."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

import numpy as np

from ....errors import InputError
from ....transforms.relations import LOGARITHM
from ..columns import Column
from .base import Dependency, Rows, scale_of
from .formula import Determined, Formula, Term, sources

EXPECTED = "expected sums and products of columns, their powers and logarithms, as in total = price + 2 * log(tax)"


def stated_formulas(texts: Mapping[str, str], columns: Sequence[Column], source: str) -> dict[str, Formula]:
    """The formulas of columns, from the right sides of equations by their left sides."""
    found, numbers = {}, [column.name for column in columns if scale_of(column) is not None]
    for name, text in texts.items():
        formula = parsed(text)
        stray = [each for each in (name, *formula.inputs) if each not in numbers]
        if stray:
            what = "is not among the modelled columns of numbers on a scale, which `numbers=` makes of few values"
            raise InputError(f"{source}: {stray[0]!r} {what}", "relations", f"{name} = {text}")
        if name in formula.inputs or not formula.terms:
            raise InputError(EXPECTED, "relations", f"{name} = {text}")
        found[name] = formula
    return found


def holding(formulas: Mapping[str, Formula], columns: Sequence[Column], values: Rows) -> list[Dependency]:
    """Columns that are as stated in every row, each computed from modelled ones or from those before it; what is stated
    up to a remainder has modelled inputs."""
    known = {column.name: column for column in columns}
    relations = {name: Determined(known[name], f.inputs, f, stated=True) for name, f in formulas.items()}
    held = [name for name, relation in relations.items() if relation.holds(values, known)]
    needed = {each for name, formula in formulas.items() if name not in held for each in formula.inputs}
    found: dict[str, Dependency] = {}
    for name in held:
        if name not in needed | sources(relations[name].inputs, found):
            found[name] = relations[name]
    return sorted(found.values(), key=lambda relation: len(sources(relation.inputs, found)))


def parsed(text: str) -> Formula:
    """A formula from text; names that are not words stand in quotes."""
    try:
        terms = _terms(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError):
        raise InputError(EXPECTED, "relations", text) from None
    offset = sum(weight for weight, factors in terms if not factors)
    return Formula(tuple(term for term in terms if term[1]), float(offset))


def _terms(node: ast.expr) -> list[Term]:
    """The weighted products that an expression is the sum of."""
    match node:
        case ast.Constant(int() | float() as number):
            return [(float(number), ())]
        case ast.Name(name) | ast.Constant(str() as name):
            return [(1.0, ((name, 1.0),))]
        case ast.UnaryOp(ast.USub(), inner):
            return _times([(-1.0, ())], _terms(inner))
        case ast.BinOp(left, ast.Add(), right):
            return _terms(left) + _terms(right)
        case ast.BinOp(left, ast.Sub(), right):
            return _terms(left) + _times([(-1.0, ())], _terms(right))
        case ast.BinOp(left, ast.Mult(), right):
            return _times(_terms(left), _terms(right))
        case ast.BinOp(left, ast.Div(), right):
            return _times(_terms(left), _power(_terms(right), -1.0))
        case ast.BinOp(left, ast.Pow(), right):
            ((power, factors),) = _terms(right)
            if not factors:
                return _power(_terms(left), power)
        case ast.Call(ast.Name("sqrt"), [inner]):
            return _power(_terms(inner), 0.5)
        case ast.Call(ast.Name("log"), [inner]):
            ((weight, ((name, power),)),) = _terms(inner)
            if weight > 0 and power:
                return [(power, ((name, LOGARITHM),)), (float(np.log(weight)), ())]
    raise ValueError


def _times(some: list[Term], others: list[Term]) -> list[Term]:
    return [(w * v, factors + more) for w, factors in some for v, more in others]


def _power(terms: list[Term], power: float) -> list[Term]:
    """The power of a single product without logarithms; that with a fraction of a square would be of an amount."""
    ((weight, factors),) = terms
    squares = any(p % 2 == 0 for _, p in factors)
    if any(p == LOGARITHM for _, p in factors) or (power % 1 and (weight < 0 or squares)) or not power:
        raise ValueError
    return [(weight**power, tuple((name, p * power) for name, p in factors))]
