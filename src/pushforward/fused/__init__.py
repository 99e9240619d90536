"""The fast room: the same maps as the transforms, faster. Nothing in it is needed to understand or change the library.

Compositions ask :func:`plan` for what to call in place of their transforms; see ``transforms/seam.py``, the only file
that knows of this folder. Everything here agrees with the formulas to rounding and is tested against them.
"""

from .compiling import compile_blocks as compile_blocks
from .ode import field_solve as field_solve
from .pixel_steps import FusedPixelSteps as FusedPixelSteps
from .planner import plan as plan
from .pool import POOL as POOL
from .products import chosen as chosen
from .rows import sequential as sequential
