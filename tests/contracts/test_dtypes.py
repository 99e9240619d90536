"""One rule of dtypes for all densities: what is narrower is promoted, what is wider is refused."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf

SIZES = {"layers": 1, "hidden": (8,)}
DENSITIES = {
    "maf": lambda: pf.maf(2, context=1, **SIZES),
    "nsf": lambda: pf.nsf(2, context=1, **SIZES),
    "iaf": lambda: pf.iaf(2, context=1, **SIZES),
    "ffjord": lambda: pf.ffjord(2, context=1, hidden=(8,)),
    "residual": lambda: pf.residual(2, context=1, hidden=(8,)),
    "made": lambda: pf.made(2, context=1, hidden=(8,)),
    "gmm": lambda: pf.gmm(2, context=1),
    "anyorder": lambda: pf.anyorder(2, context=1, hidden=(8,)),
}


@pytest.fixture(params=DENSITIES)
def density(request):
    torch.manual_seed(0)
    return DENSITIES[request.param]()


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.bfloat16, torch.bool])
def test_narrower_numbers_are_promoted(density, dtype: torch.dtype) -> None:
    x, context = torch.tensor([[0, 1], [1, 1]]).to(dtype), torch.ones(2, 1, dtype=dtype)
    torch.testing.assert_close(density.log_prob(x, context), density.log_prob(x.float(), context.float()))
    assert density.sample((), context).dtype == torch.float32


def test_wider_numbers_are_refused_and_a_wider_density_takes_both(density) -> None:
    x, context = torch.randn(2, 2).double(), torch.ones(2, 1)
    if isinstance(density, pf.distributions.AnyOrder):  # which says where it rounds
        return torch.testing.assert_close(density.log_prob(x, context), density.log_prob(x.float(), context))
    for given in ((x, context), (x.float(), context.double())):
        with pytest.raises(ValueError, match=r"dtype=torch.float64, but .* torch.float32"):
            density.log_prob(*given)
    assert density.double().log_prob(x, context).dtype == torch.float64


def test_a_model_that_rounds_its_rows_rounds_its_context() -> None:
    density = pf.anyorder(2, context=1, hidden=(8,), layers=1)
    x, context = torch.randn(3, 2), torch.randn(3, 1)
    torch.testing.assert_close(density.log_prob(x, context.double()), density.log_prob(x, context))
