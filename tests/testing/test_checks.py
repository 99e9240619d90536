"""The checks themselves: right transforms pass, and every kind of broken one is caught with a sentence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import pushforward as pf
from pushforward.testing import CheckError, check_flow, check_transform, jacobian_structure, randomize
from pushforward.transforms import Elementwise, LeakyReLU, Permutation, Transform


class Scale(Transform):
    """z = x · exp(a), right; the base of the broken ones below."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.a.exp(), (self.a * x.shape[-1]).expand(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z * (-self.a).exp(), (-self.a * z.shape[-1]).expand(z.shape[:-1])


class WrongSign(Scale):
    def forward(self, x, context=None):
        z, logdet = super().forward(x)
        return z, -logdet


class WrongBothSigns(WrongSign):
    def inverse(self, z, context=None):
        x, logdet = super().inverse(z)
        return x, -logdet


class Mean(Scale):
    """The log-determinant as a mean over features, and one number for the whole batch."""

    def forward(self, x, context=None):
        return super().forward(x)[0], self.a

    def inverse(self, z, context=None):
        return super().inverse(z)[0], -self.a


class NotInverse(Scale):
    def inverse(self, z, context=None):
        x, logdet = super().inverse(z)
        return x + 1e-3, logdet


class BatchMates(Scale):
    """A row's result depends on the rows beside it, as with batch statistics."""

    def forward(self, x, context=None):
        z, logdet = super().forward(x)
        return z + x.mean().detach() * (x.dim() > 1), logdet

    def inverse(self, z, context=None):
        x, logdet = super().inverse(z)
        shift = x.mean() / (1 + self.a.exp()) if z.dim() > 1 else 0.0
        return x - shift, logdet


class OtherDtype(Scale):
    def forward(self, x, context=None):
        z, logdet = super().forward(x)
        return z, logdet.float()


class NaNGradient(Scale):
    """Right values, but the untaken branch of a where poisons the gradient."""

    def forward(self, x, context=None):
        z, logdet = super().forward(x)
        return torch.where(x > -100, z, (-100 - x).sqrt()), logdet


class Unused(Scale):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(2, dtype=torch.float64))


X = torch.linspace(-2, 2, 18, dtype=torch.float64).reshape(6, 3)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (WrongSign, "minus the other direction's log-determinant"),
        (WrongBothSigns, "autodiff"),
        (Mean, "log-determinant has shape"),
        (NotInverse, "round trip"),
        (BatchMates, "batch shape|round trip"),
        (OtherDtype, "float32, but x is torch.float64"),
        (NaNGradient, "gradient of x is not finite"),
    ],
)
def test_broken_transforms_are_caught(broken: type[Transform], sentence: str) -> None:
    with pytest.raises(CheckError, match=sentence):
        check_transform(broken(), X)


def test_a_right_transform_is_reported() -> None:
    report = check_transform(Scale(), X)
    assert (report.structure, report.permuted, report.unused, report.saves) == ("diagonal", False, (), True)
    assert report.round_trip_error < 1e-14
    assert report.logdet_error < 1e-14


def test_unused_parameters_are_named() -> None:
    assert check_transform(Unused(), X).unused == ("idle",)


def test_a_single_row_and_a_broadcast_context_are_enough() -> None:
    flow = randomize(pf.maf(3, context=2, layers=2, hidden=(8,)).double())
    assert check_flow(flow, X[0], torch.ones(2, dtype=torch.float64)).saves


def test_half_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="float32 or float64"):
        check_transform(Scale(), X.half())


def test_the_tolerance_can_be_given() -> None:
    with pytest.raises(CheckError, match="tolerance 1e-09"):
        check_transform(NotInverse(), X)
    check_transform(NotInverse(), X, tolerance=1e-2)


class LyingFlow(pf.Flow):
    def log_prob(self, x, context=None, t=None):
        return super().log_prob(x, context) + 0.1


def test_a_flow_whose_density_is_not_its_transforms_is_caught() -> None:
    with pytest.raises(CheckError, match=r"base.log_prob\(f\(x\)\) \+ logdet"):
        check_flow(LyingFlow(Scale(), 3).double(), X)


@pytest.mark.parametrize(
    ("matrix", "structure"),
    [
        ([[2, 0], [0, 3]], ("diagonal", False)),
        ([[0, 2], [3, 0]], ("diagonal", True)),
        ([[1, 0], [5, 1]], ("triangular", False)),
        ([[1, 5], [0, 1]], ("triangular", False)),
        ([[5, 1], [1, 0]], ("triangular", True)),
        ([[0, 1, 0], [1, 1, 1], [1, 1, 0]], ("triangular", True)),
        ([[1, 2], [3, 4]], ("full", False)),
        ([[1, 1, 0], [1, 2, 0], [0, 0, 1]], ("full", False)),
    ],
)
def test_structure_of_a_jacobian(matrix: list[list[float]], structure: tuple[str, bool]) -> None:
    assert jacobian_structure(torch.tensor(matrix, dtype=torch.float64)) == structure


def test_structures_of_the_lecture() -> None:
    """Permutation, elementwise, autoregressive: cases 1, 2 and 3 of "Jacobian structure"."""
    maf = randomize(pf.maf(3, layers=1, hidden=(8,)).double())
    assert check_transform(Permutation([2, 0, 1]), X).structure == "diagonal"
    assert check_transform(LeakyReLU(), X).structure == "diagonal"
    assert check_transform(maf.transform, X).structure == "triangular"


def test_randomize_is_seeded_and_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    first, second = randomize(Scale(), seed=4), randomize(Scale(), seed=4)
    assert torch.equal(first.a, second.a)
    assert not math.isclose(float(first.a.detach()), 0.3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_checking_leaves_no_gradients_and_no_changes() -> None:
    flow = randomize(pf.realnvp(3, layers=2, hidden=(8,)).double())
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    state = torch.random.get_rng_state()
    check_flow(flow, X)
    assert all(torch.equal(before[name], value) for name, value in flow.state_dict().items())
    assert all(p.grad is None for p in flow.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_elementwise_maps_with_a_broken_slope_are_caught() -> None:
    class Cube(Elementwise):
        def f(self, x):
            return x**3 + x

        def g(self, z):  # Cardano
            half, root = z / 2, (z**2 / 4 + 1 / 27).sqrt()
            return torch.where(z > 0, 1, -1) * self._real_root(half.abs() + root)

        def _real_root(self, u):
            cube_root = u ** (1 / 3)
            return cube_root - 1 / (3 * cube_root)

        def log_slope(self, x, z):
            return (3 * x**2).log()  # should be 3 x² + 1

    with pytest.raises(CheckError, match="autodiff"):
        check_transform(Cube(), X + 0.05)
