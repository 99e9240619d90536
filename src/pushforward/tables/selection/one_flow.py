"""One flow over a table's numbers, along with a density of its categories, and the objectives that it is trained by."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...distributions.base import Density
from ...distributions.flow import Flow
from ...distributions.mixed import Mixed
from ...errors import InputError, listed
from ...models.options import TrainingOptions, device_named
from ...models.train import joined, train_on, training_facts
from ...objectives.continuous import FlowMatching
from ...objectives.divergences import Objective, weighted_mean
from ...recipes.by_name import categories_by_size, flow_with_angles, learning_rate
from ..options import TableOptions
from ..schema.cells import Cells, Fill
from ..schema.preprocessing import preprocessing
from ..schema.schema import Schema
from ..splits import TableSplits, spread
from .candidate import Candidate, Fitted, Task
from .categories import categories_first, release, start_categories

SMALL, LARGE = 128, 512  # rows in a batch
FIRST = 0.75  # of the time, if an average or a mixture may be tried after it
PROPOSALS, IN_PART = 5, 20  # ways to fill a row's holes, one of which is learnt from; where numbers are known in part
JUDGED = 32  # the same for judging held-out rows: with few, the bound loosens as the density outgrows the guide


class OneFlow(Candidate):
    """The flow that the user names, or ``nsf``; or a fitted model's, trained further."""

    def suits(self, task: Task, best: Fitted | None) -> bool:
        return best is None

    def fit(self, task: Task, best: Fitted | None) -> Fitted:
        task = task.within(FIRST if task.may_average else 1.0)
        rows, earlier, training = task.rows, task.earlier, task.options.training
        name = "nsf" if task.options.flow == "auto" else task.options.flow
        if earlier is None:
            flow = untrained(rows, task.options, name)
            training = categories_first(flow, rows, training)
        else:
            flow = copy.deepcopy(earlier.density)
        result = train_on(
            _objective(flow, task, name),
            rows.train_source,
            rows.val,
            training,
            task.console,
            batch_size=LARGE if rows.stream is not None else _batch_size(training),
            lr=learning_rate(name),
            fresh=earlier is None,
        )
        release(flow)
        history = result.history if earlier is None else joined(earlier.facts.get("history", ()), result.history)
        facts = training_facts(result, rows.stream is not None)
        if earlier is not None:
            name = earlier.facts["summary"]["flow"]
            facts |= {key: earlier.facts["summary"][key] for key in ("average",) if key in earlier.facts["summary"]}
        return Fitted("flow", "the flow", flow, name, facts, history, [(flow, rows.held_out)])


def untrained(rows: TableSplits, options: TableOptions, name: str) -> Density:
    """The density before training, which starts at the frequencies of the categories."""
    x = spread(rows.train, rows.schema, options.training.seed)
    try:
        built = _built(rows.schema, x, name, options)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error), "flow", name) from None
    start_categories(built, rows.train.x, rows.train.weights)
    return built


def _built(schema: Schema, x: Tensor, name: str, options: TableOptions) -> Density:
    """A recipe's flow behind the first transforms of the numbers; with categorical columns, given these."""
    numbers, given, seed = schema.numbers, schema.context_features, options.training.seed
    sizes = [size for size in schema.classes if size]
    if not numbers:
        return categories_by_size(sizes, context=given, seed=seed)
    shape: dict[str, Any] = {"context": given + sum(sizes), "layers": options.layers, "hidden": options.hidden}
    inner = flow_with_angles(name, len(numbers), schema.numeric.circles, **shape, seed=seed)
    flow = inner.behind(*preprocessing(schema.numeric, x[:, numbers]))
    return Mixed(categories_by_size(sizes, context=given, seed=seed), flow, schema.classes) if sizes else flow


def _batch_size(training: TrainingOptions) -> int:
    """Rows in a batch: a CPU processes rows one after another, so under a time limit it learns more from many small
    steps; with a given number of steps, each step should achieve as much as possible."""
    counted = training.steps is not None or training.epochs is not None
    return LARGE if counted or device_named(training.device) != "cpu" else SMALL


def _objective(flow: Density, task: Task, name: str) -> Objective:
    asked, schema = task.options.objective, task.rows.schema
    if asked not in OBJECTIVES:
        raise InputError(f"choose one of {listed(OBJECTIVES)}", "objective", asked)
    named = [column.name for column in schema.columns if column.classes]
    if named and asked == "matching":
        raise InputError(f"is for columns of numbers, not for the categories of {listed(named)}", "objective", asked)
    try:
        return OBJECTIVES[asked](flow, schema, task.fill)
    except ValueError:
        raise InputError(f"is for continuous flows, not for {name}; add `flow='ffjord'`", "objective", asked) from None


class DequantisedKL(Objective):
    r"""Maximum likelihood of rows that are spread over their cells, with fresh noise in every batch.

    If a guide q fills the holes, it proposes several fillings, anew in every batch. One of these is chosen to learn
    from, with probability proportional to

    .. math:: w_k = p(\mathrm{seen}, h_k) / q(h_k \mid \mathrm{seen})

    so that holes are filled from the density itself (Monte Carlo EM), not from the guide, which knows less. Held-out
    rows are judged by the logarithm of the mean weight of more proposals, a bound on log p(seen).

    Args:
        fill: Draws what is missing, as in :class:`~..schema.cells.Cells`.

    Reference:
        Wei, Tanner (1990), A Monte Carlo implementation of the EM algorithm. Burda, Grosse, Salakhutdinov (2016),
        Importance weighted autoencoders, arXiv:1509.00519.
    """

    calls_flow = True

    def __init__(self, flow: Density, schema: Schema, fill: Fill | None = None) -> None:
        super().__init__(flow)
        self.cells = Cells(schema, fill)
        self.takes_missing, self.proposes = schema.missingness.occurs, fill is not None

    def forward(self, x: Tensor, context: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """The mean negative log-likelihood in nats, a scalar."""
        if not self.proposes:
            return weighted_mean(self.held_out(x, context), weights)
        points, log_q = self.cells.weighted(x, torch.rand_like(x), holes=False)[0], torch.zeros_like(x[:, 0])
        holed = x.isnan().any(1).nonzero()[:, 0]
        if len(holed):
            points[holed], log_q[holed] = self._taken(x[holed], None if context is None else context[holed])
        return weighted_mean(log_q - self.flow(points, context), weights)

    def held_out(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """-log p of every row at one point of its cell, of shape ``(*batch,)``, in nats."""
        if self.proposes:
            return -self._log_seen(x, context)
        spread, weight = self.cells.weighted(x, torch.rand_like(x), context=context)
        return -self.flow(spread, context) - weight

    def _taken(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows with holes at one point of their cells, filled in one of several ways, and log q of the filling."""
        count = IN_PART if self.cells.schema.missingness.in_part else PROPOSALS
        points, log_q = self._proposals(x, count, context)
        log_w = self._log_weights(points, log_q, context)
        noise = -torch.empty_like(log_w).exponential_().log()
        taken = (log_w + noise).argmax(0), torch.arange(len(x), device=x.device)  # proportional to the weights (Gumbel)
        return points[taken], log_q[taken]

    def _log_seen(self, x: Tensor, context: Tensor | None) -> Tensor:
        """A bound on log p(seen) of every row at one point of its cell, ``(n,)``; log p if nothing is missing."""
        found, holed = x.new_empty(len(x)), x.isnan().any(1)
        for rows, count in ((holed, JUDGED), (~holed, 1)):
            if rows.any():
                given = None if context is None else context[rows]
                log_w = self._log_weights(*self._proposals(x[rows], count, given), given)
                found[rows] = (log_w.logsumexp(0) - math.log(count)).to(found)
        return found

    @torch.no_grad()
    def _proposals(self, x: Tensor, count: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The rows at one point of their cells with their holes filled in ``count`` ways, ``(K, n, features)``, and log
        q of the filled values, ``(K, n)``."""
        u = torch.where(x.isnan(), torch.rand(count, *x.shape, dtype=x.dtype, device=x.device), torch.rand_like(x))
        given = None if context is None else context.expand(count, *context.shape)
        points, weight = self.cells.weighted(x.expand(u.shape), u, True, given)
        return points, -torch.as_tensor(weight)

    @torch.no_grad()
    def _log_weights(self, points: Tensor, log_q: Tensor, context: Tensor | None) -> Tensor:
        """log w of filled rows, ``(K, n)``; -inf where it is not finite."""
        log_w = self.flow(points, context) - log_q
        return torch.where(log_w.isfinite(), log_w, -math.inf)


class DequantisedMatching(FlowMatching):
    """Flow matching of rows that are spread over their cells, with fresh noise in every batch; a continuous flow's."""

    def __init__(self, flow: Flow, schema: Schema, fill: Fill | None = None) -> None:
        super().__init__(flow)
        self.cells = Cells(schema, fill)
        self.takes_missing = schema.missingness.occurs

    def _errors(self, x: Tensor, context: Tensor | None, spread: bool) -> Tensor:
        return super()._errors(self.cells(x, torch.rand_like(x)), context, spread)


OBJECTIVES: dict[str, Callable[[Any, Schema, Fill | None], Objective]] = {
    "likelihood": DequantisedKL,
    "matching": DequantisedMatching,
}
