"""Families of targets, log pi(x | c), to which conditional flows are fitted, over contexts that the user draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..distributions.average import GivenFeatures
from ..distributions.base import Density
from ..distributions.flow import Flow
from ..transforms.base import Transform
from .forms import as_target
from .target import DRAWS, check_target
from .user_target import LogDensity, UserTarget

Contexts = Callable[[int], Tensor] | Tensor


class Family:
    """log pi(x | c) + constant, where the constant may depend on c, with the contexts of interest: a function of n that
    draws them, ``(n, width)``, or contexts ``(N, width)`` to choose from.

    Rows of x and c are joined, so that everything for targets of one argument (forms, failing rows) applies here.
    """

    def __init__(self, log_density: Any, contexts: Contexts, features: int) -> None:
        if not callable(log_density):
            raise TypeError(f"log_density must be a function of a batch, got {type(log_density).__name__}")
        self.contexts, self.features = contexts, features
        self.width = self._drawn(DRAWS).shape[1]
        self.joint: LogDensity = lambda rows: log_density(rows[..., :features], rows[..., features:])

    def draw(self, n: int, like: Tensor) -> Tensor:
        """Contexts ``(n, width)`` with the dtype and device of another tensor."""
        drawn = self._drawn(n)
        if drawn.shape[1] != self.width:
            raise ValueError(f"contexts gave {self.width} features before, but now {drawn.shape[1]}")
        return drawn.to(like)

    def __call__(self, x: Tensor, context: Tensor) -> Tensor:
        """log pi(x | c) of every row, ``(n,)``."""
        return self.joint(torch.cat([x, context], -1))

    def given(self, context: Tensor) -> LogDensity:
        """The target of one context, ``(width,)``: a function of x alone."""
        if context.shape != (self.width,):
            raise ValueError(f"context must have shape ({self.width},), got {tuple(context.shape)}")
        return lambda x: self(x, context.to(x).expand(len(x), -1))

    def check(self, flow: Flow) -> UserTarget:
        """Checks the target of one context as any other, and from now on counts failing rows as density 0; the errors
        are those of :func:`~pushforward.objectives.target.check_target`."""
        check_width(flow, self.width)
        like = next(flow.parameters())
        context = self.draw(DRAWS, like)
        with torch.no_grad():
            x = flow.sample((), context)
        self.joint = target = as_target(self.joint, torch.cat([x, context], -1))
        with target.held():
            check_target(given(flow, context[0]), self.given(context[0]))
        return target

    def _drawn(self, n: int) -> Tensor:
        if isinstance(self.contexts, Tensor):
            drawn: Any = self.contexts
            if drawn.dim() == 2 and len(drawn):
                drawn = drawn[torch.randint(len(drawn), (n,))]
        elif callable(self.contexts):
            drawn = self.contexts(n)
        else:
            raise TypeError(f"contexts must be a function of n or a tensor, got {type(self.contexts).__name__}")
        if not isinstance(drawn, Tensor):
            raise TypeError(f"contexts must give a tensor of shape ({n}, features), got {type(drawn).__name__}")
        if drawn.dim() != 2 or len(drawn) != n:
            raise ValueError(f"contexts must give a tensor of shape ({n}, features), got {tuple(drawn.shape)}")
        if not bool(drawn.isfinite().all()):
            raise ValueError("contexts must be finite, got NaN or infinity")
        return drawn


def check_width(flow: Density, width: int) -> None:
    """Checks that contexts have the width that a flow was built with; an encoder checks its own input."""
    if flow.encoder is None and width != flow.context_features:
        raise ValueError(f"contexts have {width} features, but the flow was built with context={flow.context_features}")


def given(flow: Flow, context: Tensor) -> Flow:
    """The flow of one context, ``(features,)``, as a flow without contexts that shares its parameters."""
    with torch.no_grad():
        features = flow.encode(context)
    base: Any = flow.base
    if getattr(base, "context_features", 0):
        base = GivenFeatures(base, _Fixed(features), context=0)
    return Flow(_Given(flow.transform, features), base, event_shape=flow.event_shape)


class _Given(Transform):
    """A transform with its context fixed, ``(features,)``."""

    context: Tensor

    def __init__(self, transform: Transform, context: Tensor) -> None:
        super().__init__()
        self.event_dim, self.transform = transform.event_dim, transform
        self.register_buffer("context", context)

    @property
    def out_event_dim(self) -> int:
        return self.transform.out_event_dim

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform(x, self.context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform.inverse(z, self.context)


class _Fixed(torch.nn.Module):
    """The same features, whatever the context."""

    features: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features)

    def forward(self, context: Tensor | None) -> Tensor:
        return self.features
