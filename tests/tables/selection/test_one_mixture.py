"""The mixture beside the flow: on tables of mixtures it is as near to the truth as so many rows allow."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor

import pushforward as pf
from pushforward.distributions.mixture import GaussianMixture
from pushforward.tables.schema.columns import Column
from pushforward.tables.schema.kinds.column_maps import FirstMap
from pushforward.tables.schema.kinds.numeric import Number
from pushforward.tables.schema.schema import Schema
from pushforward.tables.selection import one_flow
from pushforward.tables.selection.one_mixture import _scales, merged, sought
from pushforward.transforms import Identity, InverseSoftplus, Log

ROWS = 6000


def drawn(seed: int, components: int, spread: float, features: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a random mixture, and their log-densities under it."""
    rng = np.random.default_rng(seed)
    weight, centres = rng.dirichlet(np.full(components, 3.0)), spread * rng.normal(size=(components, features))
    turns = np.linalg.qr(rng.normal(size=(components, features, features))).Q
    roots = turns * rng.uniform(0.3, 1.5, size=(components, 1, features))
    which = rng.choice(components, 2 * ROWS, p=weight)
    x = centres[which] + np.einsum("nij,nj->ni", roots[which], rng.normal(size=(2 * ROWS, features)))
    parts = [multivariate_normal(c, r @ r.T).logpdf(x) for c, r in zip(centres, roots, strict=True)]
    return x, logsumexp(np.log(weight)[:, None] + parts, axis=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "components", "spread", "length"),
    [(1, 5, 2.5, {"steps": 5}), (2, 8, 1.5, {"budget": 0.5})],
    ids=["apart", "overlapping"],
)
def test_a_mixture_is_found_again(
    seed: int, components: int, spread: float, length: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushforward.tables.selection.candidate.OVERFITTING", 0)  # so that it is sought before the flow
    monkeypatch.setattr("pushforward.tables.fit.sought", lambda task: sought(replace(task, ends=math.inf)))
    x, log_prob = drawn(seed, components, spread)
    frame = pl.DataFrame({f"c{j}": column for j, column in enumerate(x.T)})
    model = pf.TableDensity(**length, queries=False, random_state=0).fit(frame[:ROWS])
    numbers, learnt = components * 21 - 1, model.summary_["training_rows"] + model.summary_["validation_rows"]
    loss = (log_prob[ROWS:] - model.score_samples(frame[ROWS:])).mean()
    assert model.summary_["flow"] == "gmm"
    assert loss < 1.15 * numbers / (2 * learnt)  # Wilks (1938)
    assert "more=" not in model.summary_["verdict"]  # the flow that was still improving is gone


class Reached(Exception):
    """The flow is about to be trained for so many seconds."""


@pytest.mark.parametrize(("search", "figures"), [(2.0, 0.15 * 38), (8.0, 8.0 * 5900 / 5000)], ids=["quick", "slow"])
@pytest.mark.parametrize(("queries", "share"), [(False, 1.0), (True, 0.6)], ids=["alone", "guided"])
def test_the_flow_has_all_time_but_that_of_the_search_before_it_and_of_figures_and_guide(
    search: float, figures: float, queries: bool, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def sought(task: object) -> None:
        now[0] += search

    def reached(*args: Any, **options: Any) -> None:
        raise Reached(args[3].budget)

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("pushforward.tables.fit.sought", sought)
    monkeypatch.setattr(one_flow, "train_on", reached)
    x, y = np.random.default_rng(0).normal(size=(2, 13_000))  # figures score 1,300, 2,600 and 2,000 training rows
    with pytest.raises(Reached) as seconds:
        pf.TableDensity(budget=40.0, queries=queries).fit(pl.DataFrame({"x": x, "y": y}))
    assert seconds.value.args[0] == pytest.approx(share * (40 - search - figures))


def test_a_search_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    fits, fit = [], GaussianMixture.fit
    monkeypatch.setattr("pushforward.tables.selection.candidate.OVERFITTING", 0)
    monkeypatch.setattr("pushforward.tables.selection.candidate.LEAST_SECONDS", 1e-9)
    monkeypatch.setattr("pushforward.tables.fit.SEARCH", 0.0)
    monkeypatch.setattr(GaussianMixture, "fit", lambda *args, **options: fits.append(1) or fit(*args, **options))
    x, y = np.random.default_rng(0).normal(size=(2, 4000))
    pf.TableDensity(budget=0.2, queries=False).fit(pl.DataFrame({"x": x, "y": y}))
    assert len(fits) <= 2  # the first one tried, fitted to all rows if it is chosen


def test_bounds_and_logarithms_are_kept_on_both_scales() -> None:
    firsts = {"none": None, "asinh": None, "histogram": None, "log": None, "softplus": (0.0, None)}
    columns = [
        Column(name, Number(first=None if name == "none" else FirstMap(name), bounds=bounds))
        for name, bounds in firsts.items()
    ]
    schema = Schema(tuple(columns))
    own, bare = _scales(schema)
    assert own is schema
    left = [column.kind.first_map() for column in bare.columns]
    assert [type(first) for first in left] == [Identity, Identity, Identity, Log, InverseSoftplus]
    assert len(_scales(Schema(tuple(columns[:1])))) == 1


def mixture(components: int = 5, context: int = 0) -> GaussianMixture:
    torch.manual_seed(0)
    made = pf.gmm(3 - context, components=components, context=context).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.6 * torch.randn_like(parameter))
    return made


def moments(of: GaussianMixture) -> tuple[Tensor, Tensor]:
    w, mu = of.logits.softmax(0), of.loc
    return w @ mu, torch.einsum("k,kij->ij", w, of.covariances() + mu[:, :, None] * mu[:, None, :])


@pytest.mark.parametrize("context", [0, 1])
def test_mean_and_covariance_stay(context: int) -> None:
    before = mixture(context=context)
    after = merged(before)
    assert len(after.logits) == 4
    assert after.context_features == context
    for one, other in zip(moments(before), moments(after), strict=True):
        assert torch.allclose(one, other)
    assert torch.allclose(after.logits.exp().sum(), torch.ones(()).double())


def test_of_a_component_in_two_halves_one_is_made() -> None:
    whole, x = mixture(3), torch.randn(50, 3, dtype=torch.float64)
    halves = pf.gmm(3, components=4).double()
    with torch.no_grad():
        for name, parameter in halves.named_parameters():
            own = getattr(whole, name)
            parameter.copy_(torch.cat([own, own[1:2]]))
        halves.logits[[1, 3]] -= torch.tensor(2.0).log()
    assert torch.allclose(halves.log_prob(x), whole.log_prob(x))
    assert torch.allclose(merged(halves).log_prob(x), whole.log_prob(x))
