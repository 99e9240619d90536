"""Columns in order, a start before an end, a part below its total; flags of which no row has two; flags of one value of
a number, as of that which stands for all that were missing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ....distributions.truncated import InOrder
from ....errors import InputError
from ..columns import Column
from ..kinds.base import Numbers
from ..kinds.few_values import FEW
from .base import FEWEST, Relation, Rows, amounts_of, on_scales
from .labels import FEWEST_EACH, Threshold
from .look_up import LookUp

MOST = 60  # columns of two values
EVIDENCE = 8.0  # nats, beyond those of looking at many pairs
OFTEN = 0.05  # share of shuffled pairs that break an order that is told by a sharp end


class Kept(Relation):
    """What columns are beside others in every row, and in draws."""

    names: tuple[str, ...]  # the columns


@dataclass(frozen=True, repr=False)
class Order(Kept):
    """One column is never above another.

    Args:
        low, high: The two columns.
        stated: Whether the user said so: a row that breaks it is impossible, and otherwise only unlikely.
    """

    low: str
    high: str
    stated: bool = False

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Both columns."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.low!r} <= {self.high!r}"


@dataclass(frozen=True, repr=False)
class Exclusive(Kept):
    """Columns of two values each, of which no row has more than one as told."""

    names: tuple[str, ...]  # the columns
    codes: tuple[float, ...]  # the encoded value of each that excludes the others
    values: tuple[str, ...]  # these in words

    def __str__(self) -> str:
        pairs = zip(self.names, self.values, strict=True)
        return f"at most one of {', '.join(f'{name!r} = {value}' for name, value in pairs)}"


@dataclass(frozen=True, repr=False)
class ValueFlag(Kept):
    """A column of two values that tells where a number has a value of its own."""

    names: tuple[str, str]  # the flag and the number
    code: float  # the encoded value of the flag
    value: float  # that of the number, in just the rows with the code
    words: tuple[str, str]  # both in words

    def __str__(self) -> str:
        (flag, number), (code, value) = self.names, self.words
        return f"{flag!r} = {code} just where {number!r} is {value}"


def find_orders(
    columns: Sequence[Column],
    relations: Sequence[Relation],
    values: Rows,
    source: str,
    stated: Sequence[tuple[str, str]] = (),
    *,
    found: bool = True,
) -> tuple[Order, ...]:
    """Stated orders, as pairs of which the lower one comes first; and with ``found``, those that all rows keep and that
    independent columns of the same values would break, without those that follow from others. One of the two may be a
    number that other names imply."""
    implied, told = implied_numbers(relations, columns), {(low, high) for low, high in stated}
    numbers = on_scales([*columns, *(each.column for each in implied)], values)
    modelled, alone = {column.name for column in columns}, [{each.column.name, *each.inputs} for each in implied]
    for low, high in stated:
        _check(low, high, numbers, source)
    evidence = EVIDENCE + 2 * np.log(max(len(numbers), 1))
    pairs = [p for p in itertools.permutations(numbers, 2) if p in told or ({*p} & modelled and {*p} not in alone)]
    kept = {pair for pair in pairs if found and _ordered(numbers[pair[0]], numbers[pair[1]], evidence)} | told
    ways = ((pair, (pair[0], each), (each, pair[1])) for pair in kept for each in numbers)
    between = {pair for pair, *way in ways if {*way} <= kept and not {(high, low) for low, high in way} & kept}
    return tuple(Order(*pair, pair in told) for pair in pairs if pair in told or pair in kept - between)


def _check(low: str, high: str, numbers: Mapping[str, Numbers], source: str) -> None:
    for name in (low, high):
        if name not in numbers:
            what = "is not among the columns of numbers that are modelled or implied by a name"
            raise InputError(f"{source}: {name!r} {what}", "order", (low, high))
    wrong = np.flatnonzero(numbers[low] > numbers[high])
    if len(wrong):
        row, x, y = wrong[0], numbers[low][wrong[0]], numbers[high][wrong[0]]
        raise InputError(f"{source}, row {row + 1}: {low!r} is {x:g} and {high!r} is {y:g}", "order", (low, high))


def _ordered(x: Numbers, y: Numbers, evidence: float) -> bool:
    """Whether x <= y in all rows, and independent columns of the same values would break that by so many nats, or at
    least often while the differences end as sharply at 0. If they are always equal, only where few values are: such
    columns may be missing in different rows."""
    there = ~(np.isnan(x) | np.isnan(y))
    x, y = x[there], y[there]
    if len(x) < FEWEST or (x > y).any() or ((x == y).all() and len(np.unique(x)) > FEW):
        return False
    breaks = float(np.searchsorted(np.sort(y), x, side="left").mean() / len(y))  # P(y < x) of shuffled columns
    return _nats(breaks, len(x)) >= evidence or (breaks >= OFTEN and _sharp(y - x) >= evidence)


def _sharp(differences: Numbers) -> float:
    """How unlikely it is that none is negative by chance, in nats: so many would be expected (a Poisson number) if they
    thinned out below 0 as they do from the upper to the lower half of the range of their lowest quarter."""
    quarter = float(np.quantile(differences, 0.25))
    lower, both = (int(np.count_nonzero(differences <= end)) for end in (quarter / 2, quarter))
    return lower * min(1.0, lower / max(both - lower, 1))


def _nats(share: float, rows: int) -> float:
    """How unlikely it is that none of so many independent rows is among those of this share."""
    return float(-np.log1p(-min(share, 1 - 1e-9)) * rows)


def find_exclusive(columns: Sequence[Column], values: Rows) -> tuple[Exclusive, ...]:
    """The largest sets of values of columns of two, of which no row has two although independent columns would; what is
    an order of two numbers is left to these."""
    flags = [(c, code) for c in [c for c in columns if c.kind.classes == 2][:MOST] for code in (0.0, 1.0)]
    has = [values[column.name] == code for column, code in flags]
    known = [values[column.name] < 2 for column, _ in flags]
    evidence = EVIDENCE + 2 * np.log(max(len(flags), 1))

    def apart(i: int, j: int) -> bool:
        ordered = flags[i][1] != flags[j][1] and flags[i][0].kind.is_number and flags[j][0].kind.is_number
        if flags[i][0] is flags[j][0] or ordered or (has[i] & has[j]).any():
            return False
        rows = max(int((known[i] & known[j]).sum()), 1)  # of others, nobody knows whether they have two
        share = (has[i] & known[j]).sum() / rows * ((has[j] & known[i]).sum() / rows)
        return _nats(float(share), rows) >= evidence

    pairs = {pair for pair in itertools.combinations(range(len(flags)), 2) if apart(*pair)}
    left, found = sorted(pairs), list[Exclusive]()
    while left:
        some = [*left[0]]
        for j in range(len(flags)):
            if all((min(i, j), max(i, j)) in pairs for i in some):
                some.append(j)
        left = [pair for pair in left if not {*pair} <= {*some}]
        names, codes = zip(*((flags[j][0].name, flags[j][1]) for j in some), strict=True)
        found.append(Exclusive(names, codes, tuple(flags[j][0].shown(flags[j][1]) for j in some)))
    return tuple(found)


def find_value_flags(columns: Sequence[Column], values: Rows) -> list[ValueFlag]:
    """Columns of two values, one of them just where a number, no end of it, has one that its density keeps apart."""
    whole = [column for column in columns if not column.holes.share]
    numbers = {c.name: c for c in whole if not c.classes and (c.kind.atoms or c.kind.step) and c.kind.circle is None}
    found = list[ValueFlag]()
    for column, code in [(c, code) for c in whole if c.classes == 2 for code in (0.0, 1.0)]:
        rows = values[column.name] == code
        fewer = min(rows.sum(), (~rows).sum())
        if fewer < FEWEST_EACH or fewer * np.log(len(rows) / fewer) < EVIDENCE + 2 * np.log(len(columns)):
            continue  # few enough to be those by chance
        for name, number in numbers.items():
            x = values[name]
            value = float(x[rows][0])
            apart = number.kind.step > 0 or value in {atom for atom, *_ in number.kind.atoms}
            if apart and x.min() < value < x.max() and ((x == value) == rows).all():
                found.append(ValueFlag((column.name, name), code, value, (column.shown(code), number.shown(value))))
    return found


def implied_numbers(relations: Sequence[Relation], columns: Sequence[Column]) -> list[LookUp]:
    """Those of the relations by which numbers follow from modelled names."""
    named = {column.name for column in columns if column.classes}
    tables = [each for each in relations if isinstance(each, LookUp) and each.implied and not each.at]
    return [each for each in tables if each.column.kind.is_number and each.inputs[0] in named]


def in_order(
    orders: Sequence[Kept | Threshold],
    columns: Sequence[Column],
    flags: Mapping[int, int],
    relations: Sequence[Relation],
) -> InOrder:
    """Whether encoded rows keep the orders; ``flags`` are the columns that flag missing values of others."""
    places = {column.name: j for j, column in enumerate(columns)}
    implied, first = implied_numbers(relations, columns), len(columns)
    places |= {each.column.name: j for j, each in enumerate(implied, first)}
    read = [(each.inputs[0], each.column.kind.amounts(np.array(each.implied))) for each in implied]
    pairs = [(places[order.low], places[order.high]) for order in orders if isinstance(order, Order)]
    signs = list[tuple[int, int, int]]()
    for label in (order for order in orders if isinstance(order, Threshold)):
        for scale, ends in label.limits(columns[places[label.column.name]].classes).items():
            place, *second = (places[name] for name in scale)
            if second:  # the sign of the difference of two, which a number of its own stands for
                signs.append((-1 - len(signs), place, second[0]))
                place = signs[-1][0]
            pairs += [(first + len(read), place), (place, first + len(read) + 1)]
            read += [(label.column.name, end) for end in ends]
    apart = [order for order in orders if isinstance(order, Exclusive)]
    flagged = [order for order in orders if isinstance(order, ValueFlag)]
    beside = [(places[each.names[0]], each.code, places[each.names[1]], each.value) for each in flagged]
    told = [(number,) for _, _, number, _ in beside]
    kinds = {j: columns[j].kind for some in [*pairs, *signs, *told] for j in sorted(some) if 0 <= j < first}
    tables = {j: amounts_of(columns[j], np.arange(float(kind.classes))) for j, kind in kinds.items() if kind.classes}
    tables |= {j: numbers for j, (_, numbers) in enumerate(read, first)}
    return InOrder(
        pairs,
        grids=[(j, kind.origin, kind.step) for j, kind in kinds.items() if kind.step],
        tables=[(j, table.tolist()) for j, table in tables.items()],
        atoms=[(j, sorted(kind.atoms)) for j, kind in kinds.items() if kind.atoms],
        flags=[(j, flags[j]) for j in kinds if j in flags],
        apart=[[(places[name], code) for name, code in zip(each.names, each.codes, strict=True)] for each in apart],
        read_from=[(j, places[name]) for j, (name, _) in enumerate(read, first)],
        signs=signs,
        beside=beside,
    )
