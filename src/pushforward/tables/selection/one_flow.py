"""One flow over a table's numbers, along with a density of its categories."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from ...distributions.base import Density
from ...distributions.mixed import Mixed
from ...errors import InputError, listed
from ...models.machine import device_named
from ...models.options import TrainingOptions
from ...models.train import joined, train_on, training_facts
from ...objectives.divergences import Objective
from ...recipes.by_name import categories_by_size, flow_with_angles, learning_rate
from ..objectives import OBJECTIVES
from ..options import TableOptions
from ..schema.preprocessing import preprocessing
from ..schema.schema import Schema
from ..splits import TableSplits, spread
from .candidate import Candidate, Fitted, Task
from .categories import categories_first, release, start_categories

SMALL, LARGE = 128, 512  # rows in a batch
FIRST = 0.75  # of the time, if an average or a mixture may be tried after it


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
