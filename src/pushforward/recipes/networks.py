"""What recipes share: their options, and the networks, layers and models that are built by them."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, TypedDict, TypeVar, get_args, get_type_hints

import torch
from torch import Tensor, nn

from ..distributions.base import Density
from ..distributions.conditional import Conditional
from ..distributions.flow import Flow
from ..errors import one_of, positive_integers
from ..nets.encoders import context_features
from ..nets.graph import GraphMLP, checked_graph
from ..nets.made import MADE
from ..nets.mlp import MLP
from ..transforms.autoregressive import Autoregressive
from ..transforms.base import Transform
from ..transforms.columns import Univariate
from ..transforms.compose import Compose
from ..transforms.coupling import Coupling, Half
from ..transforms.elementwise import LogTails
from ..transforms.linear import PLU, Permutation
from ..transforms.scalar import Affine, Scalar

# Log-scales of affine layers are bounded by 15 in total, and by 5 in each layer. Otherwise single outliers meet narrow
# scales in layer after layer and lose thousands of nats, and in single precision a RealNVP with random weights is not
# invertible at all. A MAF also has logarithmic tails between the layers, which end where they undo more than the exp(3)
# that each of five layers can add: there they become linear, so that five layers can also invert outliers.
TOTAL_LOG_SCALE, LAYER_LOG_SCALE, TAILS, FAR = 15.0, 5.0, 5.0, 30.0

Model = TypeVar("Model", bound=Density)
Recipe = TypeVar("Recipe", bound=Callable[..., nn.Module])
Adjacency = Tensor | Sequence[Sequence[bool]]
Layer = Callable[[int], Sequence[Transform]]  # the transforms of the layer of this number


class ContextOptions(TypedDict, total=False):
    """Where the weights of a recipe are, and what it is given; each option is explained in :class:`NetworkOptions`."""

    context: int
    encoder: nn.Module | None
    device: torch.device | str | None
    dtype: torch.dtype | None


class LayerOptions(ContextOptions, total=False):
    """The same, and how many layers it has, with what networks."""

    layers: int
    hidden: Sequence[int]


class NetworkOptions(LayerOptions, total=False):
    """What the recipes share: these options, and before them arguments that several of them have.

    ``help`` of a recipe, as in ``help(pf.nsf)``, shows those that it has, with its own defaults.

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

    mixing: str
    residual: bool | str | None
    activation: str


def recipe(**defaults: Any) -> Callable[[Recipe], Recipe]:
    """Makes a recipe of a function whose last argument stands for options that it shares with others.

    Its signature and docstring then spell them out. Their defaults are these, or those of :class:`Networks`; their
    words those of :class:`NetworkOptions`, where it has none of its own.
    """

    def made(function: Recipe) -> Recipe:
        signature, known = inspect.signature(function), inspect.signature(Networks).parameters
        *own, options = signature.parameters.values()
        (shared,) = get_args(get_type_hints(function)[options.name])
        more = [known[name].replace(kind=options.KEYWORD_ONLY) for name in known if name in shared.__annotations__]
        more = [each.replace(default=defaults.get(each.name, each.default)) for each in more]
        whole = signature.replace(parameters=[*own, *more])

        @functools.wraps(function)
        def called(*arguments: Any, **given: Any) -> Any:
            bound = whole.bind(*arguments, **given)  # which refuses any other option
            return function(*bound.args, **{**defaults, **bound.kwargs})

        called.__signature__ = whole  # type: ignore[attr-defined]
        if function.__doc__ and NetworkOptions.__doc__:  # python -OO removes them
            called.__doc__ = _explained(function.__doc__, [parameter.name for parameter in (*own, *more)])
        return called  # type: ignore[return-value]

    return made


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

    layers: int = 1
    hidden: Sequence[int] = (128, 128)
    mixing: str = "reverse"
    context: int = 0
    residual: bool | str | None = None
    activation: str = "relu"
    encoder: nn.Module | None = None
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", context_features(self.context, self.encoder))
        if isinstance(self.hidden, Integral):  # one layer
            object.__setattr__(self, "hidden", (int(self.hidden),))
        if self.residual is None:
            paired = len(self.hidden) > 1 and len(self.hidden) % 2 == 1 and len(set(self.hidden)) == 1
            object.__setattr__(self, "residual", "linear" if paired else False)
        if self.dtype is not None and not self.dtype.is_floating_point:
            raise ValueError(f"dtype must be a floating-point dtype, got dtype={self.dtype}")

    def rotating(self, linear: bool) -> Networks:
        """The same, with ``mixing="rotation"`` if that is asked for by its short name."""
        return replace(self, mixing="rotation") if linear else self

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

    def stacked(self, features: int, layer: Layer) -> list[Transform]:
        """The layers with the mixing between them, and for "lu" also at both ends, as columns are mostly correlated.

        Two consecutive layers are a pair, which takes the features in both orders, or moves both halves; random orders
        come between pairs, so that no feature is left out.
        """
        positive_integers(features=features, layers=self.layers)
        one_of(MIXINGS, mixing=self.mixing)
        parts = [*layer(0)]
        for number in range(1, self.layers):
            parts += [*MIXINGS[self.mixing](features, number % 2 == 1), *layer(number)]
        return [*_lu(features, True), *parts, *_lu(features, True)] if self.mixing == "lu" else parts

    def autoregressive(
        self, features: int, scalar: Scalar | Callable[[], Scalar], tails: float | None = None
    ) -> list[Transform]:
        """Autoregressive transforms, every second one with the features in reverse order, and the mixing between them.

        A scalar map with its own weights is given as a function that makes one for each transform. With ``tails``, each
        is followed by logarithmic ones that begin there.
        """

        def layer(number: int) -> Sequence[Transform]:
            own = scalar if isinstance(scalar, Scalar) else scalar()
            parts = [Autoregressive(self.made(features, own), own), *_log_tails(tails)]
            return in_reverse(parts, features) if number % 2 else parts

        return self.stacked(features, layer)

    def couplings(self, features: int, scalar: Scalar) -> list[Transform]:
        """Couplings over alternating halves, and the mixing between them."""

        def layer(number: int) -> Sequence[Transform]:
            split = Half(features, swap=number % 2 == 1)
            return [Coupling(split, self.mlp(split.kept, split.moved, scalar), scalar)]

        return self.stacked(features, layer)

    def along_graph(
        self, adjacency: Adjacency, features: int, scalar: Scalar, tails: float | None = None
    ) -> list[Transform]:
        """One autoregressive transform along a graph: any second one, or mixing, would add dependence on
        grandparents."""
        positive_integers(features=features)
        if self.mixing in ("random", "rotation"):
            raise ValueError(f"mixing={self.mixing!r} would mix features that adjacency keeps apart: leave it out")
        graph = checked_graph(adjacency, features, self.context)
        return [Autoregressive(GraphMLP(graph, scalar.num_params, **self.options), scalar), *_log_tails(tails)]

    def flow(self, base: int | Density, *parts: Transform) -> Flow:
        """The transforms as a flow."""
        return self.model(Flow, Compose(parts), base)

    def model(self, kind: Callable[..., Model], *parts: Any, **sizes: Any) -> Model:
        """A density of that kind with its context and encoder, on the device and in the dtype."""
        model = kind(*parts, **sizes, context=self.context, encoder=self.encoder)
        return model.to(device=self.device, dtype=self.dtype)


def affine(layers: int) -> Affine:
    """The scalar map for each of ``layers`` layers, with a total bound on the log-scales."""
    positive_integers(layers=layers)
    return Affine(min(LAYER_LOG_SCALE, TOTAL_LOG_SCALE / layers))


def in_reverse(parts: Sequence[Transform], features: int) -> Sequence[Transform]:
    """The same transforms for features that are taken from the last to the first."""
    if features == 1:
        return parts
    order = range(features - 1, -1, -1)
    return [Permutation(order), *parts, Permutation(order)]


def _log_tails(bound: float | None) -> list[Transform]:
    return [] if bound is None else [LogTails(bound, far=FAR)]


def _random(features: int, within_pair: bool) -> Sequence[Transform]:
    """A random order, but none within a pair, or of two features."""
    return [] if within_pair or features < 3 else [Permutation(torch.randperm(features))]


def _lu(features: int, within_pair: bool) -> Sequence[Transform]:
    order = torch.arange(features) if within_pair or features < 3 else torch.randperm(features)
    return [PLU(torch.eye(features)[order])] if features > 1 else []


MIXINGS: dict[str, Callable[[int, bool], Sequence[Transform]]] = {
    "reverse": lambda features, within_pair: [],
    "random": _random,
    "lu": _lu,
    "rotation": lambda features, within_pair: [PLU(features)],
}
