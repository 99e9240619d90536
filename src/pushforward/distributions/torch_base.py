"""A distribution of PyTorch as a density, such as the base of a flow: its numbers are parameters or buffers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from .base import Density, Generator, StandardNormal

EITHER = ({"covariance_matrix", "precision_matrix", "scale_tril"}, {"probs", "logits"})  # one of these is given


class TorchDistribution(Density):
    """A distribution of ``torch.distributions`` as a density; a flow makes one of a base that it is given.

    Numbers that are ``nn.Parameter`` are trained with the flow; others are saved with it as they are.

    Args:
        family: The name of its class, such as ``"Laplace"``.
        numbers: The arguments of the class, by name.
        reinterpreted: How many dimensions of its batch belong to an event, as in ``Independent``.

    Raises:
        ValueError: PyTorch has no such distribution, or it does not take these arguments.

    Example:
        >>> import torch, pushforward as pf
        >>> base = torch.distributions.Laplace(torch.zeros(2), torch.ones(2))
        >>> pf.Flow(pf.transforms.ActNorm(2), base).log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(self, family: str, numbers: Mapping[str, Any], reinterpreted: int = 0) -> None:
        super().__init__()
        if _class(family) is None:
            raise ValueError(f"family must be the name of a distribution of PyTorch, got family={family!r}")
        self.family, self.names, self.reinterpreted = family, list(numbers), reinterpreted
        for name, value in numbers.items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            else:
                self.register_buffer(name, torch.as_tensor(value).detach().clone())
        whole = self.closed_form()
        if whole.batch_shape:
            raise ValueError(
                f"base must be one distribution of events, got a batch of shape {tuple(whole.batch_shape)}"
            )
        self.event_shape = whole.event_shape

    @classmethod
    def of(cls, base: Distribution, event_dim: int) -> TorchDistribution:
        """The density of a distribution; dimensions of its batch become independent ones of an event.

        Args:
            base: The distribution, ``Independent`` or not.
            event_dim: Dimensions of an event.

        Raises:
            ValueError: the distribution is made of others, such as a mixture, or has more than one event.
        """
        while isinstance(base, torch.distributions.Independent):
            base = base.base_dist
        family, known = type(base).__name__, vars(base)
        chosen = {name for group in EITHER for name in [each for each in known if each in group][:1]}
        unneeded = set().union(*EITHER) - chosen
        names = [n for n in inspect.signature(type(base)).parameters if n in base.arg_constraints and n not in unneeded]
        if not names or _class(family) is not type(base):
            raise ValueError(
                f"base must be a distribution with parameters of its own, got {type(base).__name__}: in place of a "
                "mixture take pf.gmm or pf.distributions.Average, of a transformed distribution a pf.Flow"
            )
        return cls(family, {n: getattr(base, n) for n in names}, event_dim - len(base.event_shape))

    def arguments(self) -> dict[str, Any]:
        numbers = {name: getattr(self, name) for name in self.names}
        return {"family": self.family, "numbers": numbers, "reinterpreted": self.reinterpreted}

    @property
    def support(self) -> constraints.Constraint:
        return self.closed_form().support or constraints.real

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.closed_form().log_prob(self._check(x, context)[0])

    def closed_form(self, context: Tensor | None = None) -> Distribution:
        """The distribution itself."""
        numbers = {name: getattr(self, name) for name in self.names}
        made: Distribution = _class(self.family)(**numbers, validate_args=False)
        if not self.reinterpreted:
            return made
        return torch.distributions.Independent(made, self.reinterpreted, validate_args=False)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """``temperature`` scales the distance of draws to the mean."""
        drawn = self.closed_form()
        draw = drawn.rsample if drawn.has_rsample else drawn.sample
        with drawing_by(generator):
            x = draw(batch)
        return x if temperature == 1 else drawn.mean + temperature * (x - drawn.mean)


@contextmanager
def drawing_by(generator: Generator) -> Iterator[None]:
    """PyTorch's own draws take no generator: inside, its global one stands in, from a seed that this one draws."""
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng([generator.device] if generator.device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def as_density(base: Any, event_dim: int) -> nn.Module:
    """The base that is given, as a module."""
    if isinstance(base, Distribution):
        return TorchDistribution.of(base, event_dim)
    if isinstance(base, Integral) or (isinstance(base, Sequence) and not isinstance(base, str)):
        return StandardNormal((int(base),) if isinstance(base, Integral) else base)
    if not isinstance(base, nn.Module) or not hasattr(base, "log_prob"):
        raise TypeError(f"base must be an event shape, a density or a module like one, got {type(base).__name__}")
    return base


def _class(family: str) -> Any:
    """The class of that name in PyTorch; None for anything else, which a forged file may name."""
    found = getattr(torch.distributions, family, None)
    return found if isinstance(found, type) and issubclass(found, Distribution) else None
