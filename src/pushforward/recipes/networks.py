"""What all networks of a recipe have in common, and where its weights are."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, TypeVar, Unpack, get_args, get_type_hints

import torch
from torch import nn

from ..distributions.base import Density
from ..distributions.conditional import Conditional
from ..distributions.flow import Flow
from ..nets.encoders import context_features
from ..nets.made import MADE
from ..nets.mlp import MLP
from ..transforms.base import Transform
from ..transforms.compose import Compose
from ..transforms.scalar import Scalar
from ..transforms.univariate import Univariate

Model = TypeVar("Model", bound=Density)
Recipe = TypeVar("Recipe", bound=Callable[..., nn.Module])


class ContextOptions(TypedDict, total=False):
    """Where the weights of a recipe are, and what it is given; each option is explained in :class:`NetworkOptions`."""

    context: int
    encoder: nn.Module | None
    device: torch.device | str | None
    dtype: torch.dtype | None


class StyleOptions(ContextOptions, total=False):
    """The same, and what its networks are made of."""

    residual: bool | str | None
    activation: str


class NetworkOptions(StyleOptions, total=False):
    """What the recipes share: these options, and before them arguments whose defaults are each recipe's own.

    ``help`` of a recipe, as in ``help(pf.nsf)``, shows those that it has.

    Args:
        features: Features of an event.
        layers: Transforms, one after another.
        bins: Bins of each spline, at least 2.
        bound: The scalar maps act on [-bound, bound]; outside, splines are the identity, and polynomials linear.
        mixing: How features are mixed between transforms, every second of which takes them in reverse or moves the
            other half: "reverse", no further mixing; "random", also a random order after every second one; "lu",
            trained matrices :class:`~pushforward.transforms.PLU` that start as these orders, with one more at either
            end; "rotation", trained matrices that start as random rotations.
        context: Features of the context, 0 for none.
        hidden: Widths of the hidden layers of each network.
        residual: Whether the hidden layers after the first form residual pairs, for which ``hidden`` must be an odd
            number of equal widths: False; True; "linear", where the last layer reads them without an activation, so
            that linear dependence is learnt early; or None, "linear" from three such widths on, otherwise False.
        activation: Activation of the hidden units: "relu", "tanh", "elu", "gelu" or "silu".
        encoder: A module that maps contexts of any shape to context features, trained with the flow:
            :class:`~pushforward.nets.DeepSet` for one, or your own, which then needs ``context``.
        device: Device of the weights; PyTorch's default if None.
        dtype: Floating-point dtype of the weights; PyTorch's default if None.

    Raises:
        ValueError: a size is not positive, a hidden layer is too narrow for the features, a name is unknown, or
            the encoder does not give ``context`` features.
    """

    hidden: Sequence[int]


def shares_options(recipe: Recipe) -> Recipe:
    """A recipe whose signature and docstring spell out what it shares with others.

    The defaults are those of :class:`Networks`, the words those of :class:`NetworkOptions`, where the recipe has none.
    """
    signature, known = inspect.signature(recipe), inspect.signature(Networks).parameters
    *own, options = signature.parameters.values()
    (shared,) = get_args(get_type_hints(recipe)[options.name])
    more = [known[name].replace(kind=options.KEYWORD_ONLY) for name in known if name in shared.__annotations__]
    recipe.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
    if recipe.__doc__ and NetworkOptions.__doc__:  # python -OO removes them
        recipe.__doc__ = _explained(recipe.__doc__, [parameter.name for parameter in (*own, *more)])
    return recipe


def _explained(text: str, names: Sequence[str]) -> str:
    """The docstring with an entry for each of these arguments, in their order, and with the errors."""
    common, own = _sections(NetworkOptions.__doc__ or ""), _sections(text)
    entries = {**_entries(common["Args"]), **_entries(own.get("Args", ""))}
    own["Args"] = "\n".join("    " + entries[name].rstrip() for name in names)
    sections = [f"{name}:\n{body.rstrip()}" for name, body in {**common, **own}.items() if name]
    return "\n\n".join([own[""].rstrip(), *sections])


def _sections(text: str) -> dict[str, str]:
    first, *rest = re.split(r"^(Args|Raises|Reference|Example):\n", inspect.cleandoc(text), flags=re.MULTILINE)
    return {"": first, **dict(zip(rest[::2], rest[1::2], strict=True))}


def _entries(arguments: str) -> dict[str, str]:
    found = re.split(r"^ {4}(?=\w)", arguments, flags=re.MULTILINE)
    return {entry.partition(":")[0]: entry for entry in found}


@dataclass(frozen=True)
class Networks:
    """The options that the recipes share, each explained in :class:`NetworkOptions`, and what is built by them.

    Raises:
        ValueError: the encoder does not give ``context`` features, or ``dtype`` is not a floating-point one.
    """

    context: int = 0
    hidden: Sequence[int] = (128, 128)
    residual: bool | str | None = None
    activation: str = "relu"
    encoder: nn.Module | None = None
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None

    @classmethod
    def small(cls, hidden: Sequence[int] = (), /, **options: Unpack[ContextOptions]) -> Networks:
        """Those of recipes with :class:`ContextOptions` alone: any other option is a TypeError."""
        if others := options.keys() - ContextOptions.__annotations__.keys():
            raise TypeError(f"unexpected keyword argument {min(others)!r}")
        return cls(hidden=hidden, **options)

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", context_features(self.context, self.encoder))
        if self.residual is None:
            paired = len(self.hidden) > 1 and len(self.hidden) % 2 == 1 and len(set(self.hidden)) == 1
            object.__setattr__(self, "residual", "linear" if paired else False)
        if self.dtype is not None and not self.dtype.is_floating_point:
            raise ValueError(f"dtype must be a floating-point dtype, got dtype={self.dtype}")

    @property
    def sizes(self) -> dict[str, Any]:
        """The arguments of the smallest networks, which have one activation."""
        return {"context": self.context, "hidden": self.hidden}

    @property
    def convolutional(self) -> dict[str, Any]:
        """The arguments of every network for images."""
        return {**self.sizes, "activation": self.activation}

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of every network for vectors."""
        return {**self.convolutional, "residual": self.residual}

    def made(self, features: int, part: Scalar | Conditional) -> MADE:
        """A masked network of the parameters of each feature's map or conditional, given the features before."""
        return MADE(features, part.num_params, inputs=part.inputs, **self.options)

    def mlp(self, kept: int, moved: int, scalar: Scalar) -> MLP:
        """A network of the parameters of the maps of the moved features, given the kept ones."""
        return MLP(kept, moved, scalar.num_params, **self.options)

    def univariate(self, features: int, scalar: Scalar) -> Univariate:
        """Moves each feature separately; without a context the parameters are free, and there are no hidden layers."""
        free = self if self.context else replace(self, hidden=(), residual=False)
        return Univariate(free.mlp(0, features, scalar), scalar)

    def flow(self, base: int | Density, *parts: Transform) -> Flow:
        """The transforms as a flow."""
        return self.model(Flow, Compose(parts), base)

    def model(self, kind: Callable[..., Model], *parts: Any, **sizes: Any) -> Model:
        """A density of that kind with its context and encoder, on the device and in the dtype."""
        model = kind(*parts, **sizes, context=self.context, encoder=self.encoder)
        return model.to(device=self.device, dtype=self.dtype)
