"""Figures: training curves, marginals, pairs, Q-Q and coverage. Each function returns a matplotlib ``Figure``.

Drawn with matplotlib's object interface alone: no pyplot, no window, no changes to global settings. Colours are those
of Okabe and Ito, which people with any colour vision can distinguish.
"""

from .checks import bits as bits
from .checks import coverage as coverage
from .checks import curves as curves
from .checks import densities as densities
from .checks import levels as levels
from .checks import qq as qq
from .checks import ranks as ranks
from .style import short as short
from .tables import corner as corner
from .tables import marginals as marginals
