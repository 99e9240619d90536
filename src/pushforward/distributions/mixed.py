"""Categories and numbers together: exact probabilities of categories, and a flow for the numbers given them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from ..nets.made import MADE
from ..numerics.indicators import indicators
from ..transforms.base import Where, in_blocks
from ..transforms.seam import generate
from .base import Density, Generator, alike
from .conditional import category_log_prob, draw_index


class Categories(Density):
    r"""Several categorical columns, each given those before it; column j has the codes 0 … ``classes[j]`` - 1.

    .. math:: \log p(k \mid c) = \sum_j \log p(k_j \mid k_{1:j-1}, c)

    A code outside its range has probability 0.

    Args:
        net: The masked network: it reads ``max(classes)`` numbers per column and gives as many logits.
        classes: Categories of each column, at least 2.
        context: Features of the context, 0 for none.

    Raises:
        ValueError: the network does not fit the classes, or a column has fewer than 2.

    Reference:
        Germain et al. (2015), MADE, arXiv:1502.03509. Lecture: "Autoregressive MLP".
    """

    barred: Tensor

    def __init__(self, net: MADE, classes: Sequence[int], *, context: int = 0) -> None:
        super().__init__()
        classes = tuple(classes)
        if min(classes, default=0) < 2:
            raise ValueError(f"classes must hold at least 2 for every column, got classes={classes}")
        if (net.features, net.num_params, net.inputs) != (len(classes), max(classes), max(classes)):
            raise ValueError(
                f"net has {net.features} features with {net.inputs} inputs and {net.num_params} parameters each, "
                f"but classes={classes} takes {len(classes)} with {max(classes)} and {max(classes)}"
            )
        self.net, self.classes = net, classes
        self.event_shape, self.context_features = torch.Size((len(classes),)), context
        beyond = torch.arange(max(classes))[:, None] >= torch.tensor(classes)  # (most classes, columns)
        self.register_buffer("barred", torch.zeros(beyond.shape).masked_fill(beyond, -math.inf), persistent=False)

    @property
    def support(self) -> constraints.Constraint:
        columns = [constraints.integer_interval(0, n - 1) for n in self.classes]
        return in_blocks(columns, [1] * len(columns))  # type: ignore[no-any-return]

    def log_prob(self, x: Tensor, context: Tensor | None = None, by_column: bool = False) -> Tensor:
        """log p(x | context) in nats, the logarithm of a probability, or that of each column given those before it,
        ``(*batch, columns)``; -inf for a code outside its range."""
        each = self._columns(*self._check(x, context))
        return each if by_column else each.sum(-1)

    def _promoted(self, value: Tensor, name: str) -> Tensor:
        return value if name == "x" else super()._promoted(value, name)  # codes are whole in any dtype

    def exact(self, x: Tensor) -> Tensor:
        """Which rows with NaN have a closed-form marginal, ``(*batch,)``: those observed up to some column."""
        seen = ~x.isnan()
        return seen[..., 0] & (seen[..., 1:] <= seen[..., :-1]).all(-1)

    def log_marginal(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(the columns that are not NaN | context) of rows that are :meth:`exact`, in nats."""
        x, context = self._check(x, context)
        return self._columns(x.nan_to_num(0.0), context).masked_fill(x.isnan(), 0.0).sum(-1)

    def _columns(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log p(each code | those before it, context), ``(*batch, columns)``."""
        read = indicators(x, [len(self.barred)] * len(self.classes), self.barred.dtype)
        return category_log_prob(
            x, self.net(read, context) + self.barred.view(len(self.barred), *[1] * (x.dim() - 1), -1)
        )

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """Codes; ``temperature`` divides the logits."""
        drawn: list[Tensor] = []

        def column(j: int, logits: Tensor) -> Tensor:
            drawn.append(draw_index(logits / temperature + self.barred[:, j, None], generator).to(logits.dtype))
            return indicators(drawn[-1][:, None], [len(self.barred)], logits.dtype).t()

        generate(self.net, batch, column, context)
        return torch.stack(drawn, -1).view(*batch, len(self.classes))

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None, weight: Tensor | None = None) -> None:
        """Sets the frequencies in a batch of codes, each count increased by one half; later batches, as in training,
        leave them unchanged. ``weight`` is the weight of each row, ``(n,)``."""
        x, _ = self._check(x, context)
        if self.net.biases[-1].any():
            return
        codes = x.flatten(0, -2)
        weight = torch.ones(len(codes)).to(x) if weight is None else weight.to(x) / weight.mean()
        counts = []
        for column in codes.unbind(-1):
            known = (column >= 0) & (column < len(self.barred))
            counts.append(column[known].long().bincount(weight[known], minlength=len(self.barred)) + 0.5)
        self.net.biases[-1].copy_((torch.cat(counts) / (len(codes) + 1)).log())


class Mixed(Density):
    r"""A density over rows of categories and numbers, the numbers given the categories.

    .. math:: \log p(k, x \mid c) = \log p(k \mid c) + \log p(x \mid k, c)

    The reference measure is counting measure on the categories and Lebesgue measure on the numbers: summed over all
    categories and integrated over the numbers, the density is 1. Events are rows in the order of ``classes``,
    categories by their codes.

    Args:
        categories: The density of the codes, in their order among the columns.
        numbers: The density of the numbers; its context is c, then one indicator for each category of each column.
        classes: For every column, its number of categories; 0 for numbers.

    Raises:
        ValueError: the two densities do not fit the classes, or each other.
    """

    names_at: Tensor
    numbers_at: Tensor

    def __init__(self, categories: Categories, numbers: Density, classes: Sequence[int]) -> None:
        super().__init__()
        classes, context = tuple(classes), categories.context_features
        sizes = tuple(size for size in classes if size)
        if sizes != categories.classes or tuple(numbers.event_shape) != (len(classes) - len(sizes),):
            raise ValueError(
                f"classes={classes} has categories {sizes} and {len(classes) - len(sizes)} columns of numbers, but "
                f"categories has classes={categories.classes} and numbers has events of {tuple(numbers.event_shape)}"
            )
        if numbers.context_features != context + sum(sizes):
            raise ValueError(
                f"numbers must take context={context + sum(sizes)}, {context} features of the context and "
                f"{sum(sizes)} indicators, but it takes {numbers.context_features}"
            )
        self.categories, self.numbers, self.classes = categories, numbers, classes
        self.event_shape, self.context_features = torch.Size((len(classes),)), context
        named = torch.tensor(classes) > 0
        self.register_buffer("names_at", named.nonzero()[:, 0], persistent=False)
        self.register_buffer("numbers_at", (~named).nonzero()[:, 0], persistent=False)

    @property
    def support(self) -> constraints.Constraint:
        def holds(x: Tensor) -> Tensor:
            codes, numbers = x[..., self.names_at], x[..., self.numbers_at]
            return self.categories.support.check(codes) & self.numbers.support.check(numbers)

        return Where(holds)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | context) in nats; -inf for a code outside its range."""
        x, context = self._check(x, context)
        codes, numbers, given = self.divide(x, context)
        looked = x.device.type == "cpu" and not torch.is_grad_enabled()  # elsewhere a look would synchronise
        if looked and alike(codes, context):  # points of the same cells, or draws of the numbers
            codes, context = codes[:1], None if context is None else context[:1]
        return self.categories.log_prob(codes, context) + self.numbers.log_prob(numbers, given)

    def exact(self, x: Tensor) -> Tensor:
        """Which rows with NaN have a closed-form marginal, ``(*batch,)``: without numbers, those whose categories are
        observed up to some column; with all categories, those for whose numbers their density has one."""
        codes, numbers = x[..., self.names_at], x[..., self.numbers_at]
        alone = numbers.isnan().all(-1) & self.categories.exact(codes)
        return alone | (~codes.isnan().any(-1) & self.numbers.exact(numbers))

    def log_marginal(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        codes, numbers = x[..., self.names_at], x[..., self.numbers_at]
        value = self.categories.log_marginal(codes.to(self.categories.barred.dtype), context)
        some = ~numbers.isnan().all(-1)
        if some.any():
            given = self._given(codes[some], None if context is None else context.expand(*x.shape[:-1], -1)[some])
            value[some] += self.numbers.log_marginal(numbers[some], given)
        return value

    def divide(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The codes, which any dtype holds exactly, the numbers, and the context of the numbers."""
        codes = x[..., self.names_at].to(self.categories.barred.dtype)
        return codes, x[..., self.numbers_at], self._given(codes, context)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """``temperature`` is passed to both parts."""
        codes = self.categories._generate(batch, context, generator, temperature)
        given = self._given(codes, context)
        numbers = self.numbers.sample((), given, generator=generator, temperature=temperature)
        x = numbers.new_empty(*numbers.shape[:-1], len(self.classes))
        x[..., self.names_at], x[..., self.numbers_at] = codes.to(x.dtype), numbers
        return x

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        x, context = self._check(x, context)
        codes, numbers, given = self.divide(x, context)
        self.categories.initialize(codes, context)
        self.numbers.initialize(numbers, given)

    def compile(self, **options) -> Mixed:  # type: ignore[override]
        """Compiles the density of the numbers. Returns the density itself."""
        self.numbers.compile(**options)
        return self

    def _given(self, codes: Tensor, context: Tensor | None) -> Tensor:
        features = indicators(codes, self.categories.classes, self.categories.barred.dtype)
        return features if context is None else torch.cat([context.expand(*codes.shape[:-1], -1), features], -1)
