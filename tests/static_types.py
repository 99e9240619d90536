"""What a type checker sees of the library's objects. Nothing runs this file: `make lint` reads it with mypy."""

# mypy: warn-unused-ignores

from __future__ import annotations

from typing import assert_type

from torch import Tensor

import pushforward as pf
from pushforward.transforms import Compose, Standardize, Transform

flow = pf.maf(3)
chain = Compose([Standardize([0.0], [1.0])])
assert_type(flow.transform, Transform)
assert_type(chain[0], Transform)
assert_type(chain[1:], Compose)
assert_type(Standardize([0.0], [1.0]).loc, Tensor)
_ = flow.nonsense.more  # type: ignore[union-attr]  # of a name that is not there little is known, and not Any
