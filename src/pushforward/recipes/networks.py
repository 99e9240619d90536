"""What all networks of a recipe have in common, and where its weights are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypedDict, TypeVar, get_args, get_type_hints

import torch
from torch import nn

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..nets.encoders import context_features
from ..nets.made import MADE
from ..nets.mlp import MLP
from ..transforms.base import Transform
from ..transforms.compose import Compose
from ..transforms.scalar import Scalar

Model = TypeVar("Model", bound=nn.Module)
Recipe = TypeVar("Recipe", bound=Callable[..., nn.Module])


class ContextOptions(TypedDict, total=False):
    """Where the weights of a recipe are, and what it is given; each option is explained in :func:`~pushforward.maf`."""

    context: int
    encoder: nn.Module | None
    device: torch.device | str | None
    dtype: torch.dtype | None


class StyleOptions(ContextOptions, total=False):
    """The same, and what its networks are made of."""

    residual: bool
    activation: str


class NetworkOptions(StyleOptions, total=False):
    """The same, and the widths of their hidden layers."""

    hidden: Sequence[int]


def shares_options(recipe: Recipe) -> Recipe:
    """A recipe whose signature spells out the shared options, with the defaults of :class:`Networks`."""
    signature, known = inspect.signature(recipe), inspect.signature(Networks).parameters
    *own, options = signature.parameters.values()
    (shared,) = get_args(get_type_hints(recipe)[options.name])
    more = [known[name].replace(kind=options.KEYWORD_ONLY) for name in known if name in shared.__annotations__]
    recipe.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
    return recipe


@dataclass(frozen=True)
class Networks:
    """The options that the recipes share; each is explained in :func:`~pushforward.maf`.

    Raises:
        ValueError: the encoder does not give ``context`` features, or ``dtype`` is not a floating-point one.
    """

    context: int = 0
    hidden: Sequence[int] = (128, 128)
    residual: bool = False
    activation: str = "relu"
    encoder: nn.Module | None = None
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", context_features(self.context, self.encoder))
        if self.dtype is not None and not self.dtype.is_floating_point:
            raise ValueError(f"dtype must be a floating-point dtype, got dtype={self.dtype}")

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of every network."""
        return {**self.convolutional, "residual": self.residual}

    @property
    def convolutional(self) -> dict[str, Any]:
        """The arguments of every network for images."""
        return {name: getattr(self, name) for name in ("context", "hidden", "activation")}

    def made(self, features: int, scalar: Scalar) -> MADE:
        """A masked network of the parameters of each feature's map, given the features before."""
        return MADE(features, scalar.num_params, inputs=scalar.inputs, **self.options)

    def mlp(self, kept: int, moved: int, scalar: Scalar) -> MLP:
        """A network of the parameters of the maps of the moved features, given the kept ones."""
        return MLP(kept, moved, scalar.num_params, **self.options)

    def without_context(self) -> Networks:
        """The same without hidden layers where there is no context to read."""
        return self if self.context else Networks(0, (), False, self.activation, None, self.device, self.dtype)

    def flow(self, base: int | Density, *parts: Transform) -> Flow:
        """The transforms as a flow, in its place, with the encoder of its context."""
        return self.placed(Flow(Compose(parts), base, context=self.context, encoder=self.encoder))

    def placed(self, model: Model) -> Model:
        """The model on the device and in the dtype; None leaves either as it is."""
        return model.to(device=self.device, dtype=self.dtype)


def check(**sizes: Any) -> None:
    """Refuses sizes that are no positive integers.

    Raises:
        ValueError: names the first of them.
    """
    for name, size in sizes.items():
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {name}={size}")
