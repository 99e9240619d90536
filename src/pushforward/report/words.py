"""Numbers as people read them."""

from __future__ import annotations

import math
from typing import Any

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 4) -> str:
    """A number with ``digits`` significant digits and thousands separators; a dash if it is not a number."""
    if value is None or not math.isfinite(value):
        return "\u2013" if value is None or math.isnan(value) else ("\u221e" if value > 0 else "\u2212\u221e")
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 9 or size < -4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return _minus(f"{mantissa}\u00d710{str(int(exponent)).translate(_SUPERSCRIPT)}")
    text = f"{value:,.{max(digits - 1 - size, 0)}f}"
    return _minus(text.rstrip("0").rstrip(".") if "." in text else text)


def whole(value: float) -> str:
    """A whole number with thousands separators."""
    return _minus(f"{round(value):,}")


def plus_minus(value: float | None, error: float | None) -> str:
    """``3.10 ± 0.10``: the error with two digits, the value with as many decimals."""
    if value is None or error is None or not (math.isfinite(value) and math.isfinite(error)):
        return number(value)
    decimals = min(max(1 - math.floor(math.log10(error)), 0), 6) if error > 0 else 3
    return _minus(f"{value:,.{decimals}f} ± {error:,.{decimals}f}")


def fixed(value: float, decimals: int = 2) -> str:
    """A number with the given number of decimals, for columns of a table; a dash if it is not finite."""
    return _minus(f"{value:,.{decimals}f}") if math.isfinite(value) else number(value)


def decimals_of(spread: float) -> int:
    """The decimals needed to show about a hundredth of a spread."""
    return min(max(2 - math.floor(math.log10(spread)), 0), 8) if spread > 0 else 2


def step_decimals(step: float) -> int:
    """The decimals that multiples of a step need: 0 for 1, 2 for 0.05."""
    return next((places for places in range(8) if math.isclose(step, round(step, places), rel_tol=1e-9)), 8)


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}%"


def factor(nats: float) -> str:
    """A difference of log-densities as a ratio of densities: ``about 22 times``, ``about 1.03 times``."""
    if abs(nats) > 14:
        return f"about 10{str(round(abs(nats) / math.log(10))).translate(_SUPERSCRIPT)} times"
    ratio = math.exp(abs(nats))
    if ratio < 10:
        return f"about {ratio:.{2 if ratio >= 1.1 else 3}g} times"
    return f"about {whole(float(f'{ratio:.2g}'))} times"


def seconds(value: float) -> str:
    if value < 120:
        return f"{value:.3g} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def listing(items: list[str]) -> str:
    """``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def plain(value: Any) -> str:
    """Any value of the overview or the schema as text."""
    if value is None:
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return whole(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        return ", ".join(plain(v) for v in value)
    return str(value)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _minus(text: str) -> str:
    return text.replace("-", "\u2212")
