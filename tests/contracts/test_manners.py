"""What a flow tells of itself: repr, support, draws by a generator, public names. Types: `static_types.py`."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import constraints

import pushforward as pf
from pushforward import transforms as T
from pushforward.distributions import Bernoulli, Categorical, Gaussian


def test_repr_tells_bins_bound_ordering_and_widths():
    text = repr(pf.nsf(3, layers=2, hidden=(7, 9), bins=6, bound=4.0, context=2))
    for told in ("event_shape=[3]", "bins=6", "bound=4.0", "order=[2, 1, 0]", "hidden=[7, 9]", "context=2"):
        assert told in text, told
    assert "Parameter" not in text
    assert "\n    (1): Autoregressive(" in text


def test_repr_is_that_of_the_module_as_it_is():
    coupling = pf.realnvp(2, layers=1).transform[0]
    coupling.scalar.limit = 0.25
    assert "(scalar): Affine(limit=0.25)" in repr(coupling)


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (T.Above(0.0), "Above(low=0.0, event_dim=1)"),
        (T.StickBreaking(), "StickBreaking()"),
        (T.Permutation(list(range(40))), "Permutation(order=[0, 1, 2, 3, …, 36, 37, 38, 39])"),
        (T.Whiten(torch.zeros(1), torch.eye(1)), "Whiten(loc=tensor of shape (1,), factor=tensor of shape (1, 1))"),
        (T.Half(4, swap=True), "Half(features=4, swap=True)"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_repr_is_a_line_where_there_is_nothing_inside(transform, text):
    assert repr(transform) == text


@pytest.mark.parametrize("name", ["maf", "iaf", "realnvp", "nsf", "ffjord", "made"])
def test_no_repr_shows_parameters(name):
    text = repr(getattr(pf, name)(4))
    assert "Parameter" not in text
    assert len(text) < 4000


SUPPORTED = {
    "free": (lambda: pf.realnvp(2, layers=1), [[0.0, -5.0]], []),
    "positive": (lambda: pf.constrain(pf.realnvp(2, layers=1), (constraints.positive, 2)), [[1.0, 2.0]], [[1.0, -2.0]]),
    "blocks": (
        lambda: pf.constrain(pf.realnvp(4, layers=1), (constraints.real, 1), (constraints.interval(-1, 1), 1),
                             (constraints.simplex, 3)),
        [[-7.0, 0.5, 0.2, 0.3, 0.5]],
        [[-7.0, 1.5, 0.2, 0.3, 0.5], [-7.0, 0.5, 0.2, 0.3, 0.6]],
    ),
    "ordered": (lambda: pf.constrain(pf.realnvp(3, layers=1), T.Ordered()), [[1.0, 2.0, 3.0]], [[1.0, 3.0, 2.0]]),
    "above": (lambda: pf.constrain(pf.realnvp(1, layers=1), T.Above(3.0)), [[4.0]], [[2.0]]),
    "below": (lambda: pf.constrain(pf.realnvp(1, layers=1), T.Below(3.0)), [[2.0]], [[4.0]]),
    "an inverse": (lambda: pf.Flow(T.Compose([T.Inverse(T.Tanh()), T.Diagonal(1)]), 1), [[0.5]], [[1.5]]),
    "standardised before": (
        lambda: pf.Flow(T.Compose([T.Standardize([5.0], [2.0]), T.Log(), T.Diagonal(1)]), 1), [[6.0]], [[4.0]]),
    "columns": (lambda: pf.Flow(T.Columns([T.Log(0), T.Identity(0)]), 2), [[1.0, -1.0]], [[-1.0, 1.0]]),
    "images": (lambda: pf.pixels(pf.glow((1, 2, 2), levels=1, steps=1, hidden=4), levels=4),
               [[[[0.0, 1.0], [2.0, 3.0]]]], [[[[0.0, 1.0], [2.0, 4.0]]], [[[0.0, 0.5], [2.0, 3.0]]]]),
    "pixelcnn": (lambda: pf.pixelcnn((1, 1, 2), levels=4, hidden=4, layers=1), [[[[0.0, 3.0]]]], [[[[0.0, 4.0]]]]),
    "categories": (lambda: pf.made(2, conditional="categorical", classes=3), [[0.0, 2.0]], [[0.0, 3.0], [0.5, 0.0]]),
}  # fmt: skip


@pytest.mark.parametrize("name", SUPPORTED)
def test_the_support_is_where_the_density_is(name):
    make, inside, outside = SUPPORTED[name]
    flow = make()
    view = flow.condition()
    assert view.support.event_dim == len(flow.event_shape)
    assert view.support.check(torch.tensor(inside)).tolist() == [True] * len(inside)
    assert view.support.check(view.sample((3,))).tolist() == [True] * 3
    for x in outside:
        assert not view.support.check(torch.tensor(x))


def test_conditionals_know_their_supports():
    assert Gaussian().support is constraints.real
    assert Bernoulli().support is constraints.boolean
    assert Categorical(3).support.upper_bound == 2


def test_a_density_given_a_context_draws_by_a_generator():
    flow = pf.maf(2, context=1, layers=1, hidden=(8,))
    draws = []
    for seed in (0, 0, 1):
        view = flow.condition(torch.ones(1), generator=torch.Generator().manual_seed(seed))
        draws.append((view.sample((4,)), view.rsample((4,)), view.expand((3,)).sample()))
    for first, same, other in zip(*draws, strict=True):
        assert torch.equal(first, same)
        assert not torch.equal(first, other)


def test_networks_and_densities_are_public():
    assert pf.nets.MADE(3, 2).features == 3
    assert issubclass(pf.distributions.Flow, pf.distributions.Density)
    assert pf.distributions.Flow is pf.Flow
