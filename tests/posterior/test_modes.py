"""Targets of several modes: the search, draws around each peak, flows that start over all of them, FAB."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import constraints

import pushforward as pf
from pushforward.diagnostics.peaks import Peaks, peaks_from
from pushforward.numerics.annealing import KERNELS, Path
from pushforward.objectives.fab import AlphaDivergence, AnnealedBootstrap
from pushforward.posterior.modes import search
from pushforward.posterior.over_modes import tempered
from pushforward.testing import targets


def gaussians(loc, scale, weight):
    loc, scale = torch.tensor(loc).double(), torch.tensor(scale).double()
    weight = torch.tensor(weight).double()

    def log_density(x):
        square = ((x[:, None] - loc) / scale[:, None]).square().sum(-1)
        norm = loc.shape[1] * (scale.log() + 0.5 * math.log(2 * math.pi))
        return (weight.log() - norm - 0.5 * square).logsumexp(-1)

    return log_density


FOUR = gaussians([[0.0, 0, 0], [9, 0, 3], [-5, 8, 0], [60, 60, -60]], [1.0, 0.3, 2.0, 1.0], [0.4, 0.3, 0.2, 0.1])


@pytest.fixture(autouse=True)
def few_probes(monkeypatch):
    """Rounds of a search have a number of probes, not a time, so that a busy machine searches as much."""
    monkeypatch.setattr("pushforward.posterior.modes.LARGEST", 20_000)


def seeded():
    return torch.Generator().manual_seed(0)


def test_the_search_finds_modes_of_other_widths_and_far_away():
    found = search(FOUR, 3, 60.0, seeded(), torch.float64)
    assert not found.crowded
    peaks = found.peaks
    assert len(peaks) == 4
    torch.testing.assert_close(peaks.log_mass.exp(), torch.tensor([0.4, 0.3, 0.2, 0.1]).double(), atol=1e-5, rtol=0)
    widths = peaks.factor.diagonal(dim1=1, dim2=2).mean(1)
    torch.testing.assert_close(widths, torch.tensor([1.0, 0.3, 2.0, 1.0]).double(), atol=1e-5, rtol=0)


def test_too_many_modes_are_said_to_be():
    wells = search(lambda z: (-z.pow(4) + 6 * z.square()).sum(-1), 8, 60.0, seeded(), torch.float64)
    assert wells.crowded


def test_a_search_without_a_peak_says_so():
    assert peaks_from(lambda z: z.sum(-1) * 0.0, torch.randn(4, 2, generator=seeded()).double(), 0.1) is None


def test_draws_around_a_peak_have_its_mass_and_shape():
    """From a Gaussian half as wide to a density with heavier tails: the path makes up for it."""
    student = torch.distributions.StudentT(torch.tensor(6.0).double())
    start = Peaks(torch.zeros(1, 2).double(), 0.5 * torch.eye(2).double()[None], torch.zeros(1).double())
    draws, log_mass, once = tempered(lambda z: student.log_prob(z).sum(-1) + 3, start, 2000, seeded())
    assert float(once) < 0.5
    assert float(log_mass) == pytest.approx(3.0, abs=0.15)
    assert float(draws.std()) == pytest.approx(1.5**0.5, rel=0.08)


@pytest.mark.parametrize("kernel", KERNELS)
def test_moves_leave_their_density_alone(kernel):
    """Geometrically between N(0, 1) and N(2, 1/4): a precision of 5/2 and a mean of 1.6 halfway."""
    log_a, log_b = (lambda x: -0.5 * x.square().sum(-1)), (lambda x: -2 * (x - 2).square().sum(-1))
    generator, half, size = seeded(), torch.full((4000,), 0.5).double(), torch.full((4000,), 0.4).double()
    path = Path(log_a, log_b, generator)
    point = path.at(1.6 + 0.4**0.5 * torch.randn(4000, 1, generator=generator).double())
    for _ in range(5):
        point, chance = KERNELS[kernel](path, point, (half, half), size)
    assert 0.3 < float(chance.mean()) <= 1
    assert float(point.x.mean()) == pytest.approx(1.6, abs=0.05)
    assert float(point.x.var()) == pytest.approx(0.4, abs=0.04)


@pytest.mark.slow
def test_a_flow_over_all_modes():
    fitted = pf.fit_target(FOUR, 3, modes="search", steps=60, layers=2, hidden=(8,), draws=4000, progress=False)
    assert fitted.importance.trusted
    assert abs(fitted.importance.log_z) < 0.02
    assert fitted.modes.all
    order = fitted.modes.weight.argsort(descending=True)
    torch.testing.assert_close(
        fitted.modes.weight[order], torch.tensor([0.4, 0.3, 0.2, 0.1]).double(), atol=0.01, rtol=0
    )
    far = (fitted.flow.sample((4000,))[:, 0] > 30).double().mean()
    assert float(far) == pytest.approx(0.1, abs=0.02)


@pytest.mark.slow
def test_modes_of_constrained_rows_that_are_no_gaussians(tmp_path):
    def log_density(x):  # exp(x) has two bent modes, in the free coordinate
        y = x.log()
        return targets.separated(y) - 0.1 * (y[:, 1] - 0.1 * y[:, 0].square()).pow(4) - y.sum(-1)

    fitted = pf.fit_target(
        log_density, 2, modes="search", blocks=[(constraints.positive, 2)], steps=60, layers=2, hidden=(8,),
        draws=2000, progress=False,
    )  # fmt: skip
    left, right = fitted.modes.location.log()[:, 0].sort().values.tolist()
    assert left < -4
    assert right > 4
    assert float((fitted.flow.sample((2000,))[:, 0] > 1).double().mean()) == pytest.approx(0.5, abs=0.06)
    pf.save(fitted.flow, tmp_path / "flow")
    x = fitted.importance.draws[:5]
    torch.testing.assert_close(pf.load(tmp_path / "flow").log_prob(x), fitted.flow.log_prob(x))


@pytest.mark.slow
def test_one_mode_is_fitted_as_ever():
    fitted = pf.fit_target(targets.banana, 2, modes="search", steps=1, layers=2, hidden=(8,), draws=200, progress=False)
    assert fitted.modes is None


def test_annealed_draws_weigh_what_their_end_does():
    """From q = N(0, I) to pi^2 / q with pi = N(0, s^2): its integral is (s^2 sqrt(2 / s^2 - 1))^-1 for each feature."""
    flow, s = pf.realnvp(2, layers=2, hidden=(8,)).double(), 0.8
    objective = AnnealedBootstrap(
        flow, lambda x: -0.5 * (x / s).square().sum(-1) - 2 * math.log(s * (2 * math.pi) ** 0.5)
    )
    torch.manual_seed(0)
    for _ in range(20):
        objective.anneal(200)  # the moves find their size
    x, log_w = objective.anneal(4000)
    expected = -2 * math.log(s**2 * (2 / s**2 - 1) ** 0.5)
    assert float(log_w.logsumexp(0)) - math.log(4000) == pytest.approx(expected, abs=0.02)
    end = (log_w.softmax(0)[:, None] * x.square()).sum(0)
    torch.testing.assert_close(end, torch.full((2,), 1 / (2 / s**2 - 1)).double(), atol=0.05, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_fab_learns_a_mode_that_reverse_kl_would_leave(kernel):
    target = gaussians([[-2.5], [2.5]], [0.5, 0.5], [0.7, 0.3])
    torch.manual_seed(0)
    flow = pf.constrain(pf.nsf(1, layers=1, hidden=(8,)), pf.transforms.Standardize([-2.0], [1.5])).double()
    objective = AnnealedBootstrap(flow, target, kernel=kernel, buffer=2048)
    pf.fit(objective, steps=150, batch_size=128, lr=1e-2, progress=False)
    assert float((flow.sample((4000,)) > 0).double().mean()) == pytest.approx(0.3, abs=0.06)


def test_the_renyi_bound_is_importance_weighting_at_zero():
    flow = pf.realnvp(2, layers=2, hidden=(8,)).double()
    wide = AlphaDivergence(flow, lambda x: -0.5 * (x / 1.2).square().sum(-1), alpha=0.0)
    near = AlphaDivergence(flow, wide.log_density, alpha=0.9)
    wide(64).backward()
    with torch.no_grad():
        assert wide(20_000).item() == pytest.approx(-math.log(2 * math.pi * 1.44), abs=0.02)
        assert wide(20_000).item() < near(20_000).item() < near.held_out(20_000).mean().item() + 0.01


def test_a_search_looks_at_the_target_first():
    with pytest.raises(ValueError, match="without a gradient"):
        pf.fit_target(lambda x: targets.banana(x).detach(), 2, modes="search")
    with pytest.raises(TypeError, match="fails on a batch"):
        pf.fit_target(lambda x: 1 / 0, 2, modes="search")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda flow: AnnealedBootstrap(flow, targets.banana, alpha=1.0), "alpha must be above 1"),
        (lambda flow: AnnealedBootstrap(flow, targets.banana, kernel="gibbs"), "kernel must be one of hmc, metropolis"),
        (lambda flow: AlphaDivergence(flow, targets.banana, alpha=1.0), "alpha must be below 1"),
        (lambda flow: pf.fit_target(targets.banana, 2, modes="all"), "modes must be one of None, search"),
        (lambda flow: pf.fit_target(targets.banana, 2, objective="elbo"), "objective must be one of reverse, fab"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make(pf.realnvp(2, layers=1))


@pytest.mark.slow
def test_modes_that_share_a_peak_keep_their_weights():
    """A narrow mode on the shoulder of a wide one: two Gaussians stand for the one peak that climbs end at."""
    target = gaussians([[0.0, 0.0], [1.5, 0.0], [30.0, 0.0]], [0.6, 1.7, 1.0], [0.4, 0.3, 0.3])
    assert len(search(target, 2, 60.0, seeded(), torch.float64).peaks) == 2
    fitted = pf.fit_target(target, 2, modes="search", steps=10, layers=2, hidden=(8,), draws=4000, progress=False)
    assert fitted.importance.ess > 0.97 * 4000
    assert len(fitted.modes.weight) == 2
    assert float(fitted.modes.weight.max()) == pytest.approx(0.7, abs=0.02)
