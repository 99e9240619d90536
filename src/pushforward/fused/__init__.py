"""The fast room: what the transforms say, faster. Nobody has to open it to understand, change or trust anything.

Compositions ask :func:`plan` for what to call in place of their transforms; see ``transforms/seam.py``, the only file
that knows of this folder. Everything here gives what the formulas give, to rounding, and is tested against them.
"""

from .compiling import compile_blocks as compile_blocks
from .planner import free_memory as free_memory
from .planner import generate as generate
from .planner import plan as plan
