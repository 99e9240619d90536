"""Targets as people write them: rows that fail, NumPy, one row at a time, a support that is contradicted."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from torch.distributions import constraints

import pushforward as pf
from pushforward.objectives.forms import as_target, from_numpy
from pushforward.objectives.user_target import TargetWarning, UserTarget
from pushforward.training.loop import TrainingError


def good(x):
    return -0.5 * x.square().sum(-1)


def raises_beyond(x, bound=1.5):
    """As a Cholesky factor does: for the whole batch, for the sake of one row."""
    if bool((x[:, 0] > bound).any()):
        raise torch.linalg.LinAlgError("the input is not positive-definite")
    return good(x)


ROWS = torch.linspace(-2, 2, 40, dtype=torch.float64)[:, None].expand(40, 2)


def test_rows_that_raise_are_found_and_count_as_zero():
    calls = []

    def counted(x):
        calls.append(len(x))
        return raises_beyond(x)

    target = UserTarget(counted)
    x = ROWS.clone().requires_grad_()
    value = target(x)
    bad = ROWS[:, 0] > 1.5
    torch.testing.assert_close(value, torch.where(bad, -math.inf, good(ROWS)))
    (gradient,) = torch.autograd.grad(value[~bad].sum(), x)
    torch.testing.assert_close(gradient, torch.where(bad[:, None], 0.0, -ROWS))
    assert len(calls) < 20
    assert target.failed == int(bad.sum())
    (note,) = target.notes
    assert "raises LinAlgError (the input is not positive-definite) at x = [1.5" in note
    assert "fails for 5 of 40 rows there: such rows count as density 0;" in note


def test_a_row_of_another_shape_is_found_too():
    def drops_a_row(x):
        return good(x)[x[:, 0] != ROWS[7, 0]]

    target = UserTarget(drops_a_row)
    assert target(ROWS).isinf().nonzero().tolist() == [[7]]
    assert "gives shape (0,) for 1 row in place of (1,)" in target.notes[0]


def test_what_squeeze_leaves_of_one_row_is_taken():
    assert UserTarget(lambda x: good(x).squeeze())(ROWS[:1]).shape == (1,)


def test_gradients_that_are_not_finite_become_zero():
    x = torch.tensor([[0.0], [4.0]], requires_grad=True)
    UserTarget(lambda x: -x.sqrt().sum(-1))(x).sum().backward()
    assert x.grad.tolist() == [[0.0], [-0.25]]


def test_the_note_comes_once():
    with pytest.warns(TargetWarning, match="log_density is nan at x = "):
        objective = pf.ReverseKL(pf.realnvp(2, layers=2, hidden=(8,)), lambda x: good(x) + 0 * (x[:, 0] + 1).log())
    for _ in range(3):
        loss = objective(64)
        loss.backward()
        assert loss.isfinite()
    assert objective.held_out(64).isfinite().all()


FORMS = {
    "one row": (lambda v: -0.5 * (v @ v), "mapped over batches by torch.func.vmap"),
    "one row, indexed": (lambda v: -0.5 * (v[0] ** 2 + v[1] ** 2), "torch.func.vmap"),
    "one row, with a branch": (lambda v: -0.5 * (v @ v) if float(v[0]) > 0 else good(v), "called in a loop"),
    "a column": (lambda x: good(x)[:, None], "gives a column"),
    "numpy": (lambda x: -0.5 * np.einsum("ij,ij->i", x, x), "central differences"),
    "numpy, one row": (lambda v: float(-0.5 * np.dot(np.asarray(v), np.asarray(v))), "one row at a time"),
}


@pytest.mark.parametrize("name", FORMS)
def test_other_forms_are_taken_with_a_note(name):
    function, note = FORMS[name]
    target = as_target(function, ROWS[::3])
    assert note in target.notes[0]
    x = ROWS.clone().requires_grad_()
    value = target(x)
    torch.testing.assert_close(value, good(ROWS))
    (gradient,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(gradient, -ROWS, atol=1e-6, rtol=1e-6)


def test_a_gradient_of_ones_own_is_used():
    calls = []

    def gradient(x):
        calls.append(len(x))
        return -x

    x = ROWS.clone().requires_grad_()
    from_numpy(lambda x: -0.5 * (x**2).sum(-1), gradient)(x).sum().backward()
    torch.testing.assert_close(x.grad, -ROWS)
    assert calls == [40]


def test_numpy_rows_that_raise_in_the_differences_have_no_gradient():
    def fragile(x):
        if (x > 1.9).any():
            raise ArithmeticError
        return -0.5 * (x**2).sum(-1)

    x = torch.tensor([[1.0], [1.9]], dtype=torch.float64, requires_grad=True)
    UserTarget(from_numpy(fragile))(x).sum().backward()
    assert x.grad.flatten().tolist() == pytest.approx([-1.0, 0.0])


@pytest.mark.parametrize("shift", [0.0, 40.0])
def test_laplace_and_fit_survive_a_target_that_raises(shift):
    def target(x):
        return raises_beyond(x - shift)

    with pytest.warns(TargetWarning, match="LinAlgError"):
        fitted = pf.fit_target(target, 2, layers=2, hidden=(8,), steps=5, draws=2000, progress=False)
    assert fitted.importance.log_z == pytest.approx(math.log(2 * math.pi * 0.9332), abs=0.03)
    assert "LinAlgError" in fitted.notes[0]


def test_a_numpy_target_is_fitted():
    with pytest.warns(TargetWarning, match="central differences"):
        fitted = pf.fit_target(
            lambda x: -0.5 * np.sum(np.square((x - 3) / 0.1), axis=-1),
            2,
            layers=2,
            hidden=(8,),
            steps=5,
            draws=1000,
            progress=False,
        )
    assert fitted.importance.ess > 990
    torch.testing.assert_close(fitted.importance.draws.mean(0), torch.full((2,), 3.0).double(), atol=0.02, rtol=0)


@pytest.mark.parametrize(("loc", "warns"), [(0.0, False), (-1.0, True)])
def test_density_outside_of_the_support(loc, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = pf.fit_target(
            lambda x: -0.5 * (x[:, 0] - loc).square(),
            1,
            blocks=[(constraints.positive, 1)],
            hidden=(8,),
            layers=2,
            steps=2,
            draws=100,
            progress=False,
        )
    assert "outside the support that `blocks=` states for feature 0" in fitted.notes[0]
    assert [warning.category for warning in caught] == [TargetWarning] * warns


@pytest.mark.parametrize(
    ("loc", "scale", "message"),
    [
        (30.0, 1.0, "lies elsewhere .feature 1: about 3. standard"),
        (0.0, 0.01, "on another scale .feature 1: about 0.01"),
    ],
)
def test_reverse_kl_by_hand_says_that_the_target_lies_elsewhere(loc, scale, message):
    def target(x):
        return -0.5 * x[:, 0].square() - 0.5 * ((x[:, 1] - loc) / scale).square()

    with pytest.warns(TargetWarning, match=message):
        pf.ReverseKL(pf.realnvp(2, layers=2, hidden=(8,)), target)


@pytest.mark.slow
def test_a_training_that_gives_up_leaves_the_flow():
    calls = []

    def breaks(x):
        calls.append(len(x))
        if len(calls) > 700:
            raise OSError("the simulator is gone")
        return good(x)

    with pytest.raises(TrainingError, match="the simulator is gone") as caught, pytest.warns(TargetWarning):
        pf.fit_target(breaks, 2, layers=2, hidden=(8,), steps=2000, progress=False)
    assert caught.value.flow.sample((3,)).isfinite().all()
