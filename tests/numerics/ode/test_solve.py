"""Adaptive solving: tolerances are met, rows are alone, and nothing hangs."""

import itertools
import math

import pytest
import torch

from pushforward.numerics.ode.method import Rows, Status
from pushforward.numerics.ode.solve import Solver
from pushforward.numerics.ode.tableau import TABLEAUS


def column(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)[:, None]


def solve(field, z, t0=0.0, t1=1.0, solver="dopri5", observe=None, **options):
    t0, t1 = (torch.full_like(z[:, :1], t) for t in (t0, t1))
    return Solver(TABLEAUS[solver], **options).solve(lambda t, z, c: (field(t, z), None), z, Rows(t0, t1 - t0), observe)


@pytest.mark.parametrize("solver", ["bosh3", "dopri5", "tsit5"])
def test_error_falls_with_the_tolerance_over_six_decades(solver):
    z = column(0.5, 1.0, 2.0)
    exact = 1 / (1 / z + math.sin(3.0))
    errors, evaluations = [], []
    for power in (3, 5, 7, 9):
        tolerance = {"rtol": 10.0**-power, "atol": 10.0**-power, "max_steps": 5000}
        outcome = solve(lambda t, z: -z * z * t.cos(), z, 0.0, 3.0, solver, **tolerance)
        errors.append(float((outcome.z - exact).abs().max()))
        evaluations.append(int(outcome.evaluations.max()))
    assert all(error < 20 * 10.0**-power for error, power in zip(errors, (3, 5, 7, 9), strict=True))
    assert evaluations == sorted(evaluations)
    assert errors[0] > 1e4 * errors[-1]


def test_reversing_the_limits_returns_to_the_start():
    z = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def field(t, z):
        return torch.sin(2 * z.roll(1, 1)) + t

    there = solve(field, z, 0.0, 1.5, rtol=1e-8, atol=1e-8).z
    back = solve(field, there, 1.5, 0.0, rtol=1e-8, atol=1e-8).z
    assert (back - z).abs().max() < 1e-7  # ten tolerances: errors of some dozen steps, there and back
    assert (there - z).abs().max() > 0.1


def test_rows_have_steps_of_their_own():
    z = torch.tensor([[0.0, 1.0], [0.0, 5.0], [0.0, 50.0]], dtype=torch.float64)

    def field(t, z):
        return torch.stack([z[:, 1] * torch.cos(z[:, 1] * t[:, 0]), torch.zeros_like(z[:, 1])], 1)

    outcome = solve(field, z)
    torch.testing.assert_close(outcome.z[:, 0], z[:, 1].sin(), rtol=0, atol=1e-3)
    assert outcome.accepted[2] > 2 * outcome.accepted[1] > 2 * outcome.accepted[0]


def test_a_row_does_not_depend_on_its_mates():
    z = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    z[3], z[7], z[11] = math.nan, 1e6, math.inf

    def field(t, z):
        return torch.sin(3 * z) * (1 + t)

    together = solve(field, z)
    for i in (0, 3, 7, 11, 39):
        alone = solve(field, z[i : i + 1])
        torch.testing.assert_close(together.z[i], alone.z[0], rtol=0, atol=1e-6, equal_nan=True)
        for name in ("status", "accepted", "rejected", "evaluations"):
            assert getattr(together, name)[i] == getattr(alone, name)[0]
    assert together.status[[3, 11]].tolist() == [Status.NOT_FINITE] * 2
    assert together.z[[3, 11]].isnan().all()
    assert int((together.status != 0).sum()) == 2


def test_statistics_count_what_happened():
    seen = []
    z = column(0.3, 1.0, 3.0)
    calls = 0

    def field(t, z):
        nonlocal calls
        calls += len(z)
        return torch.where(z.abs() > 2, -20 * z, z.cos())

    outcome = solve(field, z, observe=seen.append)
    accepted = torch.zeros(3, dtype=torch.long)
    covered = torch.zeros(3, 1, dtype=torch.float64)
    for step in seen:
        rows = torch.arange(3) if step.rows is None else step.rows
        accepted[rows] += 1
        torch.testing.assert_close(covered[rows], step.start)
        covered[rows] += step.length
    assert accepted.tolist() == outcome.accepted.tolist()
    torch.testing.assert_close(covered, torch.ones(3, 1, dtype=torch.float64))
    assert int(outcome.rejected.sum()) > 0
    assert outcome.evaluations.tolist() == (2 + 6 * (outcome.accepted + outcome.rejected)).tolist()
    assert calls >= int(outcome.evaluations.sum())


def test_max_steps_is_a_status_not_a_hang():
    outcome = solve(lambda t, z: -1e7 * (z - t.cos()), column(1.0, 2.0), max_steps=50)
    assert outcome.status.tolist() == [Status.MAX_STEPS] * 2
    assert (outcome.accepted + outcome.rejected).tolist() == [50, 50]
    assert outcome.z.isnan().all()


def blindness(tableau):
    """How many times its estimate the error of a step can be that has a jump of the field inside.

    A unit jump at the fraction s of a step is seen by the stages behind it: the step makes sum b_i of it where 1 - s is
    right, and the estimate is sum e_i, over those stages. No smoothness means no order, whatever the tolerance.
    """
    worst = 0.0
    for left, right in itertools.pairwise(sorted(set(tableau.c))):
        behind = [i for i, c in enumerate(tableau.c) if c >= right]
        seen, estimate = (abs(sum(weights[i] for i in behind)) for weights in (tableau.b, tableau.e))
        worst = max(worst, *(abs(seen - (1 - s)) / estimate for s in (left, right)))
    return worst


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("solver", ["bosh3", "dopri5", "tsit5"])
@pytest.mark.parametrize("jump", [0.111, 0.37, 0.5])
def test_a_jump_in_time_is_passed_with_the_error_that_the_estimate_lets_through(dtype, solver, jump):
    z = column(0.0, 1.0, dtype=dtype)
    outcome = solve(lambda t, z: torch.where(t < jump, 0.0, 10.0).expand_as(z), z, solver=solver, rtol=1e-6, atol=1e-6)
    end = z + 10 * (1 - jump)
    bound = blindness(TABLEAUS[solver]) * 1e-6 * (1 + float(end.max()))  # one step has the jump inside
    rounding = 100 * torch.finfo(dtype).eps * float(end.max())
    torch.testing.assert_close(outcome.z, end, rtol=0, atol=bound + rounding)
    assert int(outcome.rejected.min()) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_pole_ends_in_bounded_time(dtype):
    outcome = solve(lambda t, z: z * z, column(0.5, 4.0, dtype=dtype), max_steps=5000)
    assert int(outcome.status[0]) == Status.REACHED
    assert float(outcome.z[0]) == pytest.approx(1.0, abs=1e-4)
    assert int(outcome.status[1]) in (Status.STEP_TOO_SMALL, Status.NOT_FINITE, Status.MAX_STEPS)
    assert outcome.z[1].isnan().all()


def test_a_field_that_overflows_on_the_way_ends_its_row_only():
    outcome = solve(lambda t, z: torch.where(z > 5, torch.nan, 10 * z), column(1.0, 1e-4))
    assert outcome.status.tolist() == [Status.NOT_FINITE, Status.REACHED]
    assert float(outcome.z[1]) == pytest.approx(1e-4 * math.exp(10), rel=0.02)


@pytest.mark.parametrize("n", [0, 1])
def test_small_batches_and_no_time(n):
    z = torch.ones(n, 2, dtype=torch.float64)
    assert solve(lambda t, z: z, z).z.shape == (n, 2)
    still = solve(lambda t, z: z, z, 0.4, 0.4)
    torch.testing.assert_close(still.z, z)
