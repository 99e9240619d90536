"""One model of every conditional: sums and integrals are 1, orders chain exactly, draws follow, holes are left out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.distributions.guided import AnyOrder
from pushforward.objectives.anyorder import AnyOrderLikelihood
from pushforward.testing import randomize

CLASSES = (3, None, 2, None)
NAN = math.nan


def model(context: int = 0) -> AnyOrder:
    torch.manual_seed(0)
    density = pf.anyorder(4, context=context, classes=CLASSES, hidden=(12, 8), bins=4)
    density.loc[0, 1], density.scale[1] = 0.5, 2.0
    density.normal.mean[1], density.normal.covariance[1::2, 1::2] = -0.3, torch.tensor([[1.3, 0.4], [0.4, 0.9]])
    return randomize(density.double(), scale=0.4)


def rows(n: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    x[:, 0], x[:, 2] = (torch.rand(n, 2, generator=generator) * torch.tensor([3, 2])).floor().double().t()
    return x


def nodes(n: int, reach: float = 9.0) -> tuple[Tensor, Tensor]:
    u = torch.linspace(-reach, reach, n, dtype=torch.float64)
    return u.sinh(), u.cosh() * (u[1] - u[0])


def every(entries: tuple[int, ...], given: Tensor) -> tuple[Tensor, Tensor]:
    """``given`` with all values of some of its entries, and the weights of a sum over them."""
    x, w = nodes(221 if {1, 3} <= set(entries) else 601)
    grids = [torch.arange(CLASSES[j]).double() if CLASSES[j] else x for j in entries]
    weights = [
        torch.ones(len(g), dtype=torch.float64) if CLASSES[j] else w for j, g in zip(entries, grids, strict=True)
    ]
    filled = given.expand(math.prod(map(len, grids)), 4).clone()
    filled[:, list(entries)] = torch.cartesian_prod(*grids).view(-1, len(entries))
    return filled, torch.cartesian_prod(*weights).view(-1, len(entries)).prod(-1)


ENTRIES = [e for size in (1, 2, 3, 4) for e in itertools.combinations(range(4), size)]


@pytest.mark.parametrize("entries", ENTRIES, ids=str)
def test_joint_marginals_and_conditionals_are_densities(entries: tuple[int, ...]) -> None:
    density, others = model(), [j for j in range(4) if j not in entries]
    given = torch.full((4,), NAN, dtype=torch.float64)
    x, weight = every(entries, given)
    with torch.no_grad():
        assert (density(x).exp() * weight).sum() == pytest.approx(1, abs=1e-4)  # marginal: the others are NaN
    given[others] = rows()[0, others]
    x, weight = every(entries, given)
    mask = torch.tensor([j in others for j in range(4)])
    with torch.no_grad():
        assert (density.log_prob(x, given=mask).exp() * weight).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("context", [0, 2])
def test_the_chain_rule_is_exact_along_the_order(context: int) -> None:
    density, x = model(context), rows()
    c = torch.randn(7, 2).double() if context else None
    for first in range(5):
        seen = torch.arange(4) < first
        part = density.log_prob(x.where(seen, NAN), c) + density.log_prob(x, c, given=seen)
        assert torch.allclose(part, density(x, c), rtol=0, atol=1e-12)
    some = torch.rand(7, 4) < 0.5  # each row its own mask: the entries of the mask are read, and none of the rest
    alone = [density.log_prob(x[i], None if c is None else c[i], given=some[i]) for i in range(7)]
    assert torch.allclose(density.log_prob(x, c, given=some), torch.stack(alone))


def test_entries_alone_are_conditionals() -> None:
    density, x = model(), rows()
    known = torch.tensor([True, False, False, True])
    found = density.entries(x, known)
    assert found[:, known].eq(0).all()
    alone = density.log_prob(x.where(known | (torch.arange(4) == 2), NAN), given=known)
    assert torch.allclose(found[:, 2], alone)


def test_filling_knows_its_density_and_keeps_what_is_seen() -> None:
    density, x = model(2), rows()
    c, z = torch.randn(7, 2).double(), torch.randn(5, 7, 4).double()
    holes = torch.rand(7, 4) < 0.5
    filled, log_q = density.fill(x.masked_fill(holes, NAN).expand(5, 7, 4), z, c)
    assert filled.isfinite().all()
    assert torch.equal(filled[:, ~holes], x[~holes].expand(5, -1))
    assert torch.allclose(log_q, density.log_prob(filled, c, given=~holes), atol=1e-9)
    _, backwards = density.fill(x.masked_fill(holes, NAN), z[0], c, order=[3, 2, 1, 0])
    assert backwards.isfinite().all()
    assert density.sample((0,), c, given=x.masked_fill(holes, NAN)).shape == (0, 7, 4)


def test_draws_follow_the_density() -> None:
    density = model()
    given = torch.tensor([1.0, NAN, NAN, 0.3], dtype=torch.float64)
    drawn = density.sample((40_000,), given=given, generator=torch.Generator().manual_seed(0))
    x, weight = every((1, 2), given)
    mass = density.log_prob(x, given=~given.isnan()).exp().detach() * weight
    share, mean = float(mass[x[:, 2] == 1].sum()), float((mass * x[:, 1].tanh()).sum())
    assert float((drawn[:, 2] == 1).double().mean()) == pytest.approx(share, abs=4.5 * math.sqrt(0.25 / 40_000))
    assert float(drawn[:, 1].tanh().mean()) == pytest.approx(mean, abs=4.5 / math.sqrt(40_000))
    assert density.sample((2, 3)).shape == (2, 3, 4)
    cold = density.sample((500,), temperature=1e-3)
    assert cold[:, 0].unique().numel() == 1


def test_what_is_known_is_all_that_is_read() -> None:
    density, x = model(), rows()
    hidden = x.clone()
    hidden[:, 1] = NAN
    other = x.clone()
    other[:, 1] = 123.0
    mask = torch.tensor([True, False, False, True])
    seen = density.log_prob(hidden, given=mask)
    assert torch.equal(seen, density.log_prob(hidden, given=mask | (torch.arange(4) == 1)))  # a hole cannot be given
    assert torch.equal(density.entries(other, mask)[:, 2], density.entries(x, mask)[:, 2])
    assert density(torch.full((4,), NAN, dtype=torch.float64)) == 0


def test_codes_that_are_none_have_no_probability() -> None:
    x = rows()
    x[0, 0], x[1, 2], x[2, 0] = 3.0, -1.0, 0.5
    assert model()(x).isfinite().tolist() == [False, False, False, True, True, True, True]


@pytest.mark.slow
def test_it_learns_from_rows_with_holes(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    code = (torch.rand(4000, generator=generator) < 0.3).float()
    first = torch.randn(4000, generator=generator) + 4 * code
    x = torch.stack([first, code, first + 0.5 * torch.randn(4000, generator=generator)], -1)
    x = x.masked_fill(torch.rand(x.shape, generator=generator) < 0.3, NAN)
    density = pf.anyorder(3, classes=[None, 2, None], hidden=(32, 32), layers=1)
    result = pf.fit(density, x, steps=300, lr=8e-3, progress=False)
    assert isinstance(result.objective, AnyOrderLikelihood)
    point = torch.tensor([[4.0, NAN, NAN], [0.0, NAN, NAN]])
    one = torch.tensor([[4.0, 1.0, NAN], [0.0, 1.0, NAN]])
    assert torch.allclose((density(one) - density(point)).exp(), torch.tensor([0.9992, 1.4e-4]), atol=0.05)
    filled = density.sample((2000,), given=torch.tensor([1.0, 0.0, NAN]))[:, 2]
    assert float(filled.mean()) == pytest.approx(1.0, abs=0.15)
    assert float(filled.std()) == pytest.approx(0.5, abs=0.15)
    pf.save(density, tmp_path / "guide")
    assert torch.equal(pf.load(tmp_path / "guide")(point), density(point))


class Twice:
    """A stream of rows, first one half of them, then the other."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.rows = x, len(x)

    def read(self, epoch: int, start: int) -> Iterator[tuple[Tensor, None]]:
        for half in self.x[start:].chunk(2):
            yield half, None

    def identity(self) -> int:
        return 0


@pytest.mark.parametrize("given", [lambda x: x, Twice], ids=["rows", "stream"])
def test_it_starts_from_the_covariance_of_more_rows_than_a_batch(given) -> None:
    x = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0)) @ torch.tensor([[1.0, 0.9], [0.0, 0.3]])
    density = pf.anyorder(2, hidden=(4, 4), layers=1)
    pf.fit(density, given(x), steps=1, batch_size=16, validation=None, progress=False)
    assert density.normal is not None
    covariance, scale = density.normal.covariance, density.normal.covariance.diagonal().sqrt()
    truth = float(torch.corrcoef(x.T)[0, 1])
    assert float((covariance / scale / scale[:, None])[0, 1]) == pytest.approx(truth, abs=0.005)


def test_the_objective_weighs_subsets_so_that_every_entry_counts_once() -> None:
    """The loss averaged over many subsets is the mean of the negative log-densities along all orders."""
    density, x = model(), rows(1).expand(60_000, 4)
    orders = []
    for order in itertools.permutations(range(4)):
        known, total = torch.zeros(4, dtype=torch.bool), torch.zeros((), dtype=torch.float64)
        for j in order:
            total = total + density.entries(x[0], known)[j]
            known[j] = True
        orders.append(-total.detach())
    torch.manual_seed(0)
    loss = AnyOrderLikelihood(density).held_out(x).detach()
    error = float(loss.std()) / len(x) ** 0.5
    assert float(loss.mean()) == pytest.approx(float(torch.stack(orders).mean()), abs=4 * error)
    empty = AnyOrderLikelihood(density)(torch.full((3, 4), NAN, dtype=torch.float64))
    assert empty == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pf.anyorder(0), "features=0: expected a whole number"),
        (lambda: pf.anyorder(2, classes=[1, None]), "classes must hold at least 2"),
        (lambda: pf.anyorder(2, classes=[2]), "for each of 2 features"),
        (lambda: pf.anyorder(2, hidden=()), "hidden is empty"),
        (lambda: pf.anyorder(2, layers=0), "layers must be at least 1"),
        (lambda: pf.anyorder(2).log_prob(torch.zeros(2), given=torch.ones(3).bool()), "given must be bool of shape"),
        (lambda: pf.anyorder(2).log_prob(torch.zeros(2), given=torch.ones(2)), "given must be bool of shape"),
        (lambda: pf.anyorder(2).log_prob(torch.zeros(3, 2), given=torch.ones(4, 2).bool()), "does not broadcast"),
        (lambda: AnyOrder(pf.anyorder(2).net, [None, 3]), "net gives"),
        (lambda: pf.fit(pf.anyorder(2), torch.full((99, 2), math.inf), steps=1), "99 rows with infinite values"),
        (lambda: pf.fit(pf.maf(2), torch.full((99, 2), NAN), steps=1), "99 rows with NaN or infinite values"),
    ],
)
def test_errors(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_objective_refuses_other_densities() -> None:
    with pytest.raises(TypeError, match=r"flow must be an any-order model \(pf.anyorder\), got Flow"):
        AnyOrderLikelihood(pf.maf(2))


def test_draws_far_out_are_linear_in_the_noise_and_keep_a_density() -> None:
    model = pf.anyorder(1)
    noise = torch.tensor([[20.0], [40.0], [80.0]])
    with torch.no_grad():
        x, log_q = model.fill(torch.full((3, 1), torch.nan), noise)
        assert float(x[2] - x[1]) == pytest.approx(2 * float(x[1] - x[0]), rel=1e-4)
        torch.testing.assert_close(model.log_prob(x), log_q)
