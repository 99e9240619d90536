"""Categories and numbers together: a density that sums and integrates to 1, and draws that follow it."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.distributions.mixed import Categories, Mixed
from pushforward.nets.made import MADE
from pushforward.recipes.by_name import categories_by_size
from pushforward.testing import randomize

CLASSES = (3, 0, 2)  # a category, a number, a category


def mixed(context: int = 0) -> Mixed:
    categories = categories_by_size([3, 2], context=context)
    model = Mixed(categories, pf.maf(1, context=context + 5, layers=2, hidden=(8,)), CLASSES)
    randomize(model, seed=1)
    return model.double().eval()


def rows(numbers: Tensor) -> Tensor:
    """Every combination of the categories with every number, ``(6, n, 3)``."""
    pairs = itertools.product(range(3), range(2))
    parts = [
        torch.stack([numbers.new_full(numbers.shape, a), numbers, numbers.new_full(numbers.shape, b)], -1)
        for a, b in pairs
    ]
    return torch.stack(parts)


@pytest.mark.parametrize("context", [0, 2])
def test_the_density_is_one_in_all(context: int) -> None:
    model, grid = mixed(context), torch.linspace(-60, 60, 20_001, dtype=torch.float64)
    given = torch.tensor([0.3, -1.0], dtype=torch.float64) if context else None
    density = model(rows(grid), given).exp().detach()
    assert torch.trapezoid(density, grid).sum() == pytest.approx(1.0, abs=1e-4)


def test_draws_follow_the_density() -> None:
    model = mixed()
    drawn = model.sample((40_000,), generator=torch.Generator().manual_seed(0))
    grid = torch.linspace(-60, 60, 20_001, dtype=torch.float64)
    share = torch.trapezoid(model(rows(grid)).exp().detach(), grid)  # of the six combinations
    found = torch.bincount((2 * drawn[:, 0] + drawn[:, 2]).long(), minlength=6) / len(drawn)
    error = (share * (1 - share) / len(drawn)).sqrt()
    assert ((found - share).abs() < 4.5 * error).all()
    assert share.max() - share.min() > 0.05  # the check would see codes that are swapped
    mean = torch.trapezoid(grid * model(rows(grid)[0]).exp().detach(), grid) / share[0]
    here = drawn[(drawn[:, 0] == 0) & (drawn[:, 2] == 0), 1]
    assert abs(float(here.mean() - mean)) < 4.5 * float(here.std()) / math.sqrt(len(here))


@torch.no_grad()
def test_draws_of_rows_are_not_looked_at_where_nobody_can() -> None:
    model, x = mixed(), rows(torch.linspace(-1, 1, 4, dtype=torch.float64))
    expected = model(x.flatten(0, 1)).view(6, 4)
    for sets in (x, x[:1].expand(6, -1, -1)):  # of different categories, and of the same
        assert torch.equal(model(sets), expected if sets is x else expected[:1].expand(6, -1))
    assert torch.allclose(torch.vmap(model)(x[None]), expected[None])
    assert torch.allclose(torch.export.export(model, (x,)).module()(x), expected)
    assert model.to("meta")(x.to("meta")).shape == (6, 4)


def test_a_code_that_is_none_has_no_density() -> None:
    x = torch.tensor([[0.0, 0.5, 1.0], [-1.0, 0.5, 1.0], [3.0, 0.5, 1.0], [0.0, 0.5, 2.0], [0.5, 0.5, 1.0]])
    log_p = mixed()(x.double())
    assert log_p.isfinite().tolist() == [True, False, False, False, False]
    assert log_p[1:].eq(-math.inf).all()


def test_every_parameter_learns_and_rows_are_their_own_affair() -> None:
    model = mixed(2)
    x, given = rows(torch.randn(5).double()).flatten(0, 1), torch.randn(30, 2).double()
    log_p = model(x, given)
    log_p.sum().backward()
    nets = [module for module in model.modules() if isinstance(module, MADE)]
    unread = {id(w) for net in nets for w, mask in zip(net.weights, net.masks(), strict=True) if not mask.any()}
    learning = [p for p in model.parameters() if p.numel() and id(p) not in unread]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learning)
    assert torch.allclose(model(x[3], given[3]), log_p[3])
    assert model(x[:0], given[:0]).shape == (0,)
    assert model.sample((4,), given[:7]).shape == (4, 7, 3)


def test_it_starts_at_the_frequencies() -> None:
    categories = categories_by_size([3, 2])
    codes = torch.tensor([[0, 0]] * 7 + [[2, 1]] * 3)
    categories.initialize(codes.float())
    p = categories(torch.tensor([[0.0, 0.0], [1.0, 1.0]])).exp()
    assert p.tolist() == pytest.approx([7.5 / 11.5 * 7.5 / 11, 0.5 / 11.5 * 3.5 / 11])


@pytest.mark.slow
def test_fitted_it_finds_the_dependence() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(3, (2000, 1), generator=generator)
    b = (torch.rand(2000, 1, generator=generator) < torch.tensor([0.1, 0.5, 0.9])[a]).long()
    x = torch.cat([a, 3.0 * a + b + 0.1 * torch.randn(2000, 1, generator=generator), b], 1)
    torch.manual_seed(0)
    model = Mixed(categories_by_size([3, 2]), pf.maf(1, context=5, layers=1, hidden=(16,)), CLASSES)
    pf.fit(model, x, steps=400, lr=2e-2, progress=False)
    truth = math.log(1 / 3) - (0.1 * math.log(10) + 0.9 * math.log(10 / 9)) * 2 / 3 - math.log(2) / 3
    truth += -0.5 - math.log(0.1) - 0.5 * math.log(2 * math.pi)  # minus the entropy of the numbers
    assert float(model(x).detach().mean()) == pytest.approx(truth, abs=0.08)


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    model = mixed(2)
    pf.save(model, tmp_path / "m")
    x, given = rows(torch.randn(5).double()), torch.randn(2).double()
    assert torch.equal(pf.load(tmp_path / "m")(x, given), model(x, given))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Categories(MADE(2, 3, inputs=3), (3, 1)), "at least 2"),
        (lambda: Categories(MADE(2, 3, inputs=3), (4, 2)), "takes 2 with 4"),
        (lambda: Mixed(categories_by_size([3, 2]), pf.maf(1), CLASSES), "must take context=5"),
        (lambda: Mixed(categories_by_size([3, 2]), pf.maf(2, context=5), CLASSES), "1 columns of numbers"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
