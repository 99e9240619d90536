"""Runge-Kutta methods as data: name, coefficients, order, and source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tableau:
    r"""An explicit Runge-Kutta method.

    .. math::
        k_i = f\Big(t + c_i h,\; z + h \sum_{j<i} a_{ij} k_j\Big), \qquad
        z_{\mathrm{next}} = z + h \sum_i b_i k_i, \qquad
        \mathrm{error} = h \sum_i e_i k_i

    A method with error weights ``e`` is *adaptive*: its last stage is the first of the next step (first same as last),
    so ``a[-1] == b[:-1]`` and every step after the first costs one evaluation less than it has stages.
    """

    name: str
    a: tuple[tuple[float, ...], ...]  # row i holds the weights of the slopes before stage i
    b: tuple[float, ...]  # the weights of the step
    c: tuple[float, ...]  # the stages' positions in the step, 0 to 1
    order: int  # the local error is O(h^(order + 1))
    e: tuple[float, ...] = ()  # the weights of the error estimate; empty if the method has none

    @property
    def stages(self) -> int:
        return len(self.b)

    @property
    def adaptive(self) -> bool:
        return bool(self.e)

    @property
    def weighty(self) -> tuple[int, ...]:
        """The stages with b_i != 0, at which the integrand of a quadrature is needed."""
        return tuple(i for i, weight in enumerate(self.b) if weight)


def _adaptive(
    name: str, a: tuple[tuple[float, ...], ...], c: tuple[float, ...], order: int, e: tuple[float, ...]
) -> Tableau:
    """A method whose last stage is the first of the next step."""
    return Tableau(name, a, (*a[-1], 0.0), c, order, e)


# Lecture: "Euler method".
EULER = Tableau("euler", a=((),), b=(1.0,), c=(0.0,), order=1)

MIDPOINT = Tableau("midpoint", a=((), (1 / 2,)), b=(0.0, 1.0), c=(0.0, 1 / 2), order=2)

# Kutta (1901), the classical method.
RK4 = Tableau(
    "rk4",
    a=((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    c=(0.0, 1 / 2, 1 / 2, 1.0),
    order=4,
)

# Bogacki, Shampine (1989), A 3(2) pair of Runge-Kutta formulas.
BOSH3 = _adaptive(
    "bosh3",
    a=((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    c=(0.0, 1 / 2, 3 / 4, 1.0),
    order=3,
    e=(2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
)

# Dormand, Prince (1980), A family of embedded Runge-Kutta formulae.
DOPRI5 = _adaptive(
    "dopri5",
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    order=5,
    e=(
        35 / 384 - 5179 / 57600,
        0.0,
        500 / 1113 - 7571 / 16695,
        125 / 192 - 393 / 640,
        -2187 / 6784 + 92097 / 339200,
        11 / 84 - 187 / 2100,
        -1 / 40,
    ),
)

# Tsitouras (2011), Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption.
TSIT5 = _adaptive(
    "tsit5",
    a=(
        (),
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
        (
            0.09646076681806523,
            0.01,
            0.4798896504144996,
            1.379008574103742,
            -3.290069515436081,
            2.324710524099774,
        ),
    ),
    c=(0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    order=5,
    e=(
        -0.00178001105222577714,
        -0.0008164344596567469,
        0.007880878010261995,
        -0.1447110071732629,
        0.5823571654525552,
        -0.45808210592918697,
        1 / 66,
    ),
)

TABLEAUS = {method.name: method for method in (EULER, MIDPOINT, RK4, BOSH3, DOPRI5, TSIT5)}
