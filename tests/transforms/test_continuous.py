"""Continuous flows: exact densities at every time, gradients against differences, traces, and rows that stand alone."""

import math
import warnings

import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward.nets.field import ConvField, FourierField, MLPField, ResidualField, SquashField
from pushforward.numerics.ode.method import Status
from pushforward.testing import check_flow, randomize
from pushforward.transforms import Continuous

TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def field(features=3, context=0, hidden=(12, 12), kind=MLPField):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return randomize(kind(features, context=context, hidden=hidden).double(), scale=1.5)


def waves(features=3, context=0, hidden=(8,)):
    return FourierField(features, context=context, hidden=hidden, frequencies=4, scale=0.3)


class Linear(nn.Module):
    """dz/dt = A z + b t, whose density is known at every time."""

    closed_form = True

    def __init__(self, features=3):
        super().__init__()
        self.a = nn.Parameter(0.7 * normal(features, features, seed=5))
        self.b = nn.Parameter(normal(features, seed=6))

    def forward(self, t, z, context=None):
        return z @ self.a.t() + self.b * t

    def divergence(self, t, z, context=None):
        return self.a.trace().expand(z.shape[:-1])


# ---- the density ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("trace", ["closed", "exact"])
def test_gaussian_at_every_time(t, trace):
    linear = Linear()
    flow = pf.Flow(Continuous(linear, trace=trace, **TIGHT), 3).double()
    x = normal(5, 3)
    # (z, s, 1) with s = t is a linear system: its matrix exponential holds the map and the mean
    system = torch.zeros(5, 5, dtype=torch.float64)
    system[:3, :3], system[:3, 3], system[3, 4] = linear.a.detach(), linear.b.detach(), 1
    moved = torch.matrix_exp(system * t)
    mean, scale = moved[:3, 4], moved[:3, :3]
    want = torch.distributions.MultivariateNormal(mean, scale @ scale.t()).log_prob(x)
    torch.testing.assert_close(flow.log_prob(x, t=t), want, rtol=0, atol=1e-8)
    drawn = flow.sample((4000,), t=t)
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("kind", "hidden", "steps"),
    [
        (MLPField, (), 10),
        (MLPField, (9,), 10),
        (MLPField, (9, 7), 20),
        (MLPField, (5, 6, 7), 12),
        (SquashField, (8,), 10),
        (waves, (8,), 20),
    ],
)
@pytest.mark.parametrize("context", [0, 2])
def test_logdet_is_that_of_the_jacobian(kind, hidden, steps, context):
    transform = Continuous(field(3, context, hidden, kind), steps=steps)
    x, c = normal(2, 3), normal(2, context, seed=1) if context else None
    _, logdet = transform(x, c)
    one = None if c is None else c[1:]
    jacobian = torch.autograd.functional.jacobian(lambda row: transform(row[None], one)[0][0], x[1])
    assert float((jacobian.det().log() - logdet[1]).detach()) == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("context", [0, 2])
def test_ffjord_of_waves_keeps_every_promise_of_a_flow(context):
    torch.manual_seed(0)
    flow = randomize(pf.ffjord(2, context=context, hidden=(8, 8), frequencies=6).double(), scale=0.2)
    c = normal(6, context, seed=1) if context else None
    check_flow(flow, normal(6, 2), c, tolerance=1e-3)
    with pytest.raises(ValueError, match="frequencies must not be negative, got frequencies=-1"):
        pf.ffjord(2, frequencies=-1)


@pytest.mark.slow
def test_residual_and_convolutional_fields_are_flows():
    for module, x in (
        (ResidualField(3, context=2), normal(4, 3)),
        (ConvField(2, context=2, hidden=(3,)), normal(4, 2, 2, 2)),
    ):
        transform = Continuous(randomize(module.double()), steps=12)
        c = normal(4, 2, seed=1)
        z, logdet = transform(x, c)
        back, opposite = transform.inverse(z, c)
        torch.testing.assert_close(back, x, rtol=0, atol=1e-7)
        torch.testing.assert_close(logdet, -opposite, rtol=0, atol=1e-7)
        jacobian = torch.autograd.functional.jacobian(lambda row, c=c, f=transform: f(row[None], c[:1])[0][0], x[0])
        m = x[0].numel()
        assert float((jacobian.reshape(m, m).det().log() - logdet[0]).detach()) == pytest.approx(0, abs=1e-6)
        assert (z - x).abs().max() > 1e-2
        assert (transform(x, c + 1)[0] - z).abs().max() > 1e-3


@pytest.mark.parametrize("solver", ["bosh3", "dopri5", "tsit5"])
def test_there_and_back(solver):
    transform = Continuous(field(), solver=solver, rtol=1e-7, atol=1e-7)
    x = normal(20, 3)
    z, logdet = transform(x)
    back, opposite = transform.inverse(z)
    torch.testing.assert_close(back, x, rtol=0, atol=2e-6)  # twenty tolerances: those of a dozen or more steps add up
    torch.testing.assert_close(opposite, -logdet, rtol=0, atol=2e-6)
    torch.testing.assert_close(transform.generate(z), back, rtol=0, atol=1e-12)


def test_a_new_flow_is_nearly_the_identity_and_a_tensor_time_gives_each_row_its_own():
    flow = pf.ffjord(3)
    x = normal(4, 3, dtype=torch.float32)
    torch.testing.assert_close(flow.transform(x)[0], x)
    transform = Continuous(field(), **TIGHT)
    times = torch.tensor([0.0, 0.2, 0.9, 1.0], dtype=torch.float64)
    together = transform.at(times)(normal(4, 3))
    for i, t in enumerate(times.tolist()):
        z, logdet = transform.at(t)(normal(4, 3)[i])
        torch.testing.assert_close(together[0][i], z, rtol=0, atol=1e-9)
        torch.testing.assert_close(together[1][i], logdet, rtol=0, atol=1e-9)
    assert transform.at(0.2).field is transform.field


def test_path_visits_the_times():
    flow = pf.Flow(Continuous(field(), **TIGHT), 3).double()
    x = normal(4, 3)
    path = flow.path(x, [1.0, 0.5, 0.0])
    torch.testing.assert_close(path[0], x, rtol=0, atol=1e-8)
    torch.testing.assert_close(flow.transform.at(0.5)(path[1])[0], path[2], rtol=0, atol=1e-8)
    torch.testing.assert_close(path[2], flow.transform(x)[0], rtol=0, atol=1e-8)


# ---- rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(12, 12), (12,)])
def test_log_prob_does_not_depend_on_the_batch(hidden):
    flow = pf.ffjord(3, hidden=hidden).double()
    randomize(flow, scale=3.0)
    x = normal(30, 3)
    x[4], x[9] = math.nan, 1e6
    together = flow.log_prob(x)
    for i in range(0, 30, 5):
        torch.testing.assert_close(together[i : i + 1], flow.log_prob(x[i : i + 1]), rtol=0, atol=1e-6)
    torch.testing.assert_close(together[9:10], flow.log_prob(x[9:10]), rtol=1e-6, atol=0)
    assert together.isnan().nonzero().flatten().tolist() == [4]


def test_a_bad_row_leaves_the_gradients_of_the_others_alone():
    transform = Continuous(field())
    x = normal(5, 3)
    x[2] = math.nan
    x.requires_grad_()
    good = [0, 1, 3, 4]
    transform(x)[1][good].sum().backward()
    grads = [p.grad.clone() for p in transform.parameters()]
    transform.zero_grad()
    transform(x.detach()[good])[1].sum().backward()
    for got, parameter in zip(grads, transform.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-9, atol=1e-9)
    assert x.grad[2].tolist() == [0, 0, 0]


class Stiff(nn.Module):
    def forward(self, t, z, context=None):
        return -1e8 * (z - torch.cos(t))


def test_a_stiff_field_ends_with_a_status_and_a_sentence():
    transform = Continuous(Stiff(), max_steps=20)
    x = normal(3, 2)
    with torch.no_grad():
        solution = transform.solve(x)
    assert solution.status.tolist() == [Status.MAX_STEPS] * 3
    assert solution.message == (
        "of 3 rows, 3 used up max_steps=20 (the field is stiff there, or the tolerance very tight): "
        "their results are NaN"
    )
    with pytest.warns(RuntimeWarning, match="used up max_steps=20"):
        z, logdet = transform(x)
    assert z.isnan().all()
    assert logdet.isnan().all()


def test_nan_in_is_nan_out_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        z, logdet = Continuous(field())(torch.full((2, 3), math.nan, dtype=torch.float64))
    assert z.isnan().all()
    assert logdet.isnan().all()


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3)])
def test_batch_shapes(shape):
    transform = Continuous(field(3, 2))
    z, logdet = transform(normal(*shape, 3), normal(2))
    assert z.shape == (*shape, 3)
    assert logdet.shape == shape
    assert transform.inverse(z, normal(2))[1].shape == shape


# ---- equal steps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "steps", "trace"),
    [("euler", 200, "closed"), ("midpoint", 40, "closed"), ("rk4", 20, "exact"), ("dopri5", 8, "closed")],
)
def test_step_doubling_tells_the_error_of_equal_steps(solver, steps, trace):
    module, x = field(), normal(50, 3)
    with torch.no_grad():
        exact = Continuous(module, rtol=1e-12, atol=1e-12).solve(x)
        transform = Continuous(module, solver=solver, steps=steps, trace=trace)
        solution, plain = transform.solve(x, error=True), transform.solve(x)
    for got, true in (
        (solution.error, (solution.z - exact.z).abs().amax(1)),
        (solution.logdet_error, (solution.logdet - exact.logdet).abs()),
    ):
        assert got.shape == (50,)
        assert true.median() > 1e-8
        assert float((got - true).abs().median() / true.median()) < 0.1
    assert torch.equal(plain.z, solution.z)
    assert plain.error is None
    assert plain.logdet_error is None
    ratio = solution.evaluations / plain.evaluations
    assert float(ratio[0]) == pytest.approx(3, abs=0.05)  # half the step: twice the work besides


def test_step_doubling_uses_the_same_probes_and_keeps_gradients():
    transform = Continuous(field(), steps=16, trace="hutchinson")
    solution = transform.solve(normal(5, 3), error=True)
    assert solution.logdet_error.max() < 1e-4  # the spread of the estimate itself is thousands of times that
    solution.logdet.sum().backward()
    assert all(p.grad is not None for p in transform.parameters())
    bare = transform.solve(normal(5, 3), logdet=False, error=True)
    assert bare.logdet_error is None
    assert bare.error.shape == (5,)


def test_adaptive_steps_have_no_error_by_doubling():
    with pytest.raises(ValueError, match="error=True is for equal steps"):
        Continuous(field()).solve(normal(5, 3), error=True)


# ---- gradients ------------------------------------------------------------------------------------------------


def outputs(transform, x, c, t1, t0, probes=None):
    solution = transform.solve(x, c, t1, t0, probes=probes)
    return solution.z, solution.logdet


@pytest.mark.parametrize(
    ("options", "end"),
    [
        pytest.param(TIGHT, "rows", marks=pytest.mark.slow),
        ({"steps": 2}, "number"),
        ({"steps": 2, "solver": "rk4"}, "rows"),
        ({"steps": 1, "trace": "exact"}, "number"),
        ({"steps": 2, "solver": "midpoint", "trace": "exact", "checkpoint": False}, "rows"),
        ({"steps": 1, "trace": "hutchinson"}, "rows"),
        pytest.param({"steps": 12, "gradient": "adjoint"}, "number", marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_gradients_against_differences(options, end):
    transform = Continuous(field(2, 2, (6, 5)), **options)
    x, c = normal(3, 2).requires_grad_(), normal(3, 2, seed=1).requires_grad_()
    shape = () if end == "number" else (3,)
    t1 = torch.full(shape, 0.9, dtype=torch.float64, requires_grad=True)
    t0 = torch.full(shape, 0.1, dtype=torch.float64, requires_grad=True)
    probes = normal(2, 3, 2, seed=3)
    parameters = list(transform.parameters())

    def function(x, c, t1, t0, *parameters):
        return outputs(transform, x, c, t1, t0, probes)

    assert torch.autograd.gradcheck(
        function, (x, c, t1, t0, *parameters), eps=1e-5, atol=1e-6, rtol=1e-5, fast_mode=True
    )


@pytest.mark.parametrize("context", [0, 2])
def test_written_out_gradients_equal_automatic_ones(context):
    module = field(3, context, (8, 7))
    x = normal(40, 3).requires_grad_()
    c = normal(40, context, seed=1).requires_grad_() if context else None
    inputs = [x, *([c] if context else []), *module.parameters()]
    grads = []
    for options in ({}, {"trace": "exact"}):
        solution = Continuous(module, **options).solve(x, c)
        loss = (solution.z.sin() * solution.logdet[:, None]).sum()
        grads.append(torch.autograd.grad(loss, inputs))
    for written, automatic in zip(*grads, strict=True):
        torch.testing.assert_close(written, automatic, rtol=1e-9, atol=1e-9)


def test_second_derivatives():
    transform = Continuous(field(2, 0, (6, 6)), steps=2)
    x = normal(2, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: transform(x)[1], (x,))


def test_adjoint_agrees_with_the_discrete_gradient_to_the_tolerance():
    module = field(3, 2)
    inputs = [normal(6, 3).requires_grad_(), normal(6, 2, seed=1).requires_grad_(), *module.parameters()]
    grads = []
    for gradient in ("discrete", "adjoint"):
        z, logdet = Continuous(module, gradient=gradient, rtol=1e-9, atol=1e-9)(*inputs[:2])
        grads.append(torch.autograd.grad((z.square().sum(1) - 1e-4 * logdet).sum(), inputs))
    for discrete, adjoint in zip(*grads, strict=True):
        torch.testing.assert_close(discrete, adjoint, rtol=1e-5, atol=1e-6)


# ---- the trace ------------------------------------------------------------------------------------------------


def test_hutchinson_is_unbiased_within_its_standard_error():
    module = field()
    x = normal(1, 3).expand(1000, 3)
    exact = Continuous(module)(x[:1])[1]
    solution = Continuous(module, trace="hutchinson", probes=4).solve(x, generator=torch.Generator().manual_seed(0))
    errors = (solution.logdet - exact).detach()
    assert abs(float(errors.mean())) < 4 * float(errors.std()) / math.sqrt(1000)
    claimed = solution.standard_error.square().mean().sqrt()
    assert float(claimed / errors.square().mean().sqrt()) == pytest.approx(1, abs=0.2)


def test_a_full_frame_of_orthogonal_probes_is_exact():
    module = field()
    solution = Continuous(module, trace="hutchinson", probes=3, noise="orthogonal").solve(normal(5, 3))
    torch.testing.assert_close(solution.logdet, Continuous(module, trace="exact")(normal(5, 3))[1])
    assert solution.standard_error.abs().max() == 0


def test_noise_is_an_argument_and_nothing_is_kept():
    transform = Continuous(field(), trace="hutchinson")
    x, probes = normal(5, 3), normal(1, 5, 3, seed=2)
    before = set(vars(transform))
    first = transform.solve(x, probes=probes).logdet
    transform(x)
    torch.testing.assert_close(transform.solve(x, probes=probes).logdet, first)
    draws = [transform.solve(x, generator=torch.Generator().manual_seed(s)).logdet for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert set(vars(transform)) == before


def test_auto_chooses_what_is_affordable():
    assert Continuous(MLPField(100))._trace(100) == "closed"
    assert Continuous(MLPField(3, hidden=(4, 4, 4)))._trace(3) == "exact"
    assert Continuous(SquashField(500))._trace(500) == "hutchinson"


# ---- the class ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "rk5"}, "solver must be one of"),
        ({"solver": "rk4"}, "say how many"),
        ({"rtol": -1.0}, "rtol and atol"),
        ({"rtol": 0.0, "atol": 0.0}, "rtol and atol"),
        ({"trace": "guess"}, "trace must be one of"),
        ({"noise": "uniform"}, "noise must be one of"),
        ({"gradient": "none"}, "gradient must be one of"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"trace": "closed"}, "has no closed form"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Continuous(SquashField(3), **options)


def test_compiling_changes_nothing():
    flow = randomize(pf.ffjord(3, hidden=(8, 8)))
    x = normal(5, 3, dtype=torch.float32)
    before = flow(x)
    assert torch.equal(flow.compile()(x), before)


def test_float32_differs_from_float64_by_rounding_where_the_steps_are_equal():
    module, x = field(hidden=(8, 8)), normal(50, 3)
    exact = pf.Flow(Continuous(module, steps=20), 3).double().log_prob(x)
    flow = pf.Flow(Continuous(module, steps=20), 3).float()
    assert flow.log_prob(x.float()).dtype == torch.float32
    torch.testing.assert_close(flow.log_prob(x.float()).double(), exact, rtol=1e-5, atol=1e-5)


def test_float32_is_as_accurate_as_float64_where_the_steps_adapt():
    """Rounding can tip a step over its tolerance: then both are within the solver's error, not within rounding."""
    module, x = field(hidden=(8, 8)), normal(50, 3)
    exact = pf.Flow(Continuous(module, **TIGHT), 3).log_prob(x)
    error = (pf.Flow(Continuous(module), 3).log_prob(x) - exact).abs()
    error32 = (pf.Flow(Continuous(module), 3).float().log_prob(x.float()) - exact).abs()
    assert error.mean() > 1e-6
    assert error32.mean() < 1.1 * error.mean() + 1e-5


@pytest.mark.slow
def test_torchdiffeq_agrees_on_a_dozen_fields():
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="torchdiffeq, the oracle, is not installed")
    for seed in range(12):
        kind = (MLPField, SquashField)[seed % 2]
        module = randomize(kind(3, hidden=(8, 8)).double(), scale=2.0, seed=seed)
        x = normal(4, 3, seed=seed)
        with torch.no_grad():
            want = torchdiffeq.odeint(
                lambda t, z, f=module: f(t.expand(4, 1), z),
                x,
                torch.tensor([1.0, 0.0], dtype=torch.float64),
                rtol=1e-9,
                atol=1e-9,
            )[-1]
            got = Continuous(module, rtol=1e-9, atol=1e-9).solve(x).z
        torch.testing.assert_close(got, want, rtol=0, atol=1e-7)
