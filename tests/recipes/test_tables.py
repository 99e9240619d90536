"""Recipes: where their models stand, and how exactly an affine flow of many layers is inverted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.datasets import load_breast_cancer

import pushforward as pf
from pushforward.testing import check_flow, randomize
from pushforward.transforms import PLU, Autoregressive, Coupling

SMALL: dict[str, Any] = {"layers": 2, "hidden": (8, 8)}
RECIPES: dict[str, Callable[..., Any]] = {
    "maf": lambda **where: pf.maf(3, **SMALL, **where),
    "iaf": lambda **where: pf.iaf(3, **SMALL, **where),
    "realnvp": lambda **where: pf.realnvp(3, **SMALL, **where),
    "realnvp of images": lambda **where: pf.realnvp((1, 4, 4), layers=2, hidden=(4,), **where),
    "nsf": lambda **where: pf.nsf(3, linear=True, **SMALL, **where),
    "nsf coupling": lambda **where: pf.nsf(3, coupling=True, **SMALL, **where),
    "bnaf": lambda **where: pf.bnaf(3, layers=1, hidden=(8,), **where),
    "residual": lambda **where: pf.residual(3, layers=1, hidden=(8,), **where),
    "planar": lambda **where: pf.planar(3, layers=2, **where),
    "sylvester": lambda **where: pf.sylvester(3, layers=2, **where),
    "triangular_spline": lambda **where: pf.triangular_spline(3, layers=1, **where),
    "ffjord": lambda **where: pf.ffjord(3, hidden=(8,), **where),
    "nice": lambda **where: pf.nice(3, **SMALL, **where),
    "naf": lambda **where: pf.naf(3, **SMALL, **where),
    "unaf": lambda **where: pf.unaf(3, **SMALL, **where),
    "bpf": lambda **where: pf.bpf(3, **SMALL, **where),
    "sospf": lambda **where: pf.sospf(3, **SMALL, **where),
    "gf": lambda **where: pf.gf(3, **SMALL, **where),
    "ncsf": lambda **where: pf.ncsf(3, **SMALL, **where),
    "made": lambda **where: pf.made(3, hidden=(8,), **where),
    "glow": lambda **where: pf.glow((1, 4, 4), levels=1, steps=1, hidden=4, **where),
    "pixelcnn": lambda **where: pf.pixelcnn((1, 2, 2), levels=4, hidden=8, layers=1, **where),
}


@pytest.mark.parametrize("name", RECIPES)
def test_dtype_and_device(name: str) -> None:
    model = RECIPES[name](dtype=torch.float64, device="cpu")
    parameters = list(model.parameters())
    assert {p.dtype for p in parameters} == {torch.float64}
    assert {p.device.type for p in parameters} == {"cpu"}
    assert model.log_prob(torch.zeros(2, *model.event_shape, dtype=torch.float64)).dtype == torch.float64
    assert {p.device.type for p in RECIPES[name](device="meta").parameters()} == {"meta"}


@pytest.mark.parametrize("name", RECIPES)
def test_dtype_of_whole_numbers_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"dtype must be a floating-point dtype, got dtype=torch\.int64"):
        RECIPES[name](dtype=torch.int64)


@pytest.mark.parametrize("mixing", ["reverse", "random", "lu", "rotation"])
@pytest.mark.parametrize("features", [1, 4])
@pytest.mark.parametrize("recipe", [pf.maf, pf.iaf, pf.realnvp, pf.nsf])
def test_mixing_and_residual_networks(recipe: Callable[..., pf.Flow], features: int, mixing: str) -> None:
    torch.manual_seed(0)
    flow = recipe(features, layers=3, hidden=(8, 8, 8), mixing=mixing, residual=True, dtype=torch.float64)
    randomize(flow, scale=0.2)
    check_flow(flow, torch.randn(6, features, dtype=torch.float64))
    assert all(part.net.residual for part in flow.modules() if isinstance(part, Coupling | Autoregressive))


@pytest.mark.parametrize("recipe", [pf.maf, pf.iaf, pf.realnvp, pf.nsf])
def test_activation(recipe: Callable[..., pf.Flow]) -> None:
    flow = recipe(3, layers=2, hidden=(8, 8), activation="silu", dtype=torch.float64)
    assert {part.net.activation for part in flow.modules() if isinstance(part, Coupling | Autoregressive)} == {"silu"}
    check_flow(randomize(flow, scale=0.2), torch.randn(6, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="activation must be one of"):
        recipe(3, activation="step")


@pytest.mark.parametrize("recipe", [pf.glow, pf.realnvp])
def test_activation_of_image_networks(recipe: Callable[..., pf.Flow]) -> None:
    sizes: dict[str, object] = {"steps": 1, "hidden": 4, "levels": 1} if recipe is pf.glow else {"hidden": (4, 4)}
    x = torch.randn(2, 1, 8, 8)
    found = {}
    for activation in ("relu", "silu"):
        torch.manual_seed(0)
        flow = pf.testing.randomize(recipe((1, 8, 8), activation=activation, **sizes), scale=0.5)
        found[activation] = flow.log_prob(x)
        torch.testing.assert_close(flow.transform.inverse(flow.transform(x)[0])[0], x, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(found["relu"], found["silu"])
    with pytest.raises(ValueError, match="activation must be one of"):
        recipe((1, 8, 8), activation="sign", **sizes)


@pytest.mark.parametrize("coupling", [False, True])
def test_networks_start_with_random_hidden_biases_and_zeros_at_the_end(coupling: bool) -> None:
    """With zeros the kinks of all rectifiers meet in one point, and flows of few features learn slowly."""
    for part in pf.nsf(3, coupling=coupling, context=2, hidden=(16, 16)).modules():
        if isinstance(part, Coupling | Autoregressive):
            *hidden, last = part.net.biases
            assert all(len(bias.unique()) > 8 and float(bias.detach().abs().max()) < 1 for bias in hidden)
            assert not bool(last.any())


@pytest.mark.parametrize("mixing", ["random", "lu"])
def test_couplings_move_every_feature(mixing: str) -> None:
    """Random orders stand between pairs of couplings, and a pair moves both halves."""
    for seed in range(20):
        torch.manual_seed(seed)
        flow = randomize(pf.nsf(6, coupling=True, mixing=mixing, layers=2, hidden=(8,)), scale=2.0)
        for parameter in (part.factors for part in flow.modules() if isinstance(part, PLU)):
            torch.nn.init.zeros_(parameter)  # the order alone
        x = torch.randn(6)
        jacobian = torch.autograd.functional.jacobian(lambda v, flow=flow: flow.transform(v)[0], x)
        assert bool(((jacobian - torch.eye(6)).abs().amax(1) > 0).all())


def test_linear_is_short_for_rotation() -> None:
    assert sum(isinstance(part, PLU) for part in pf.maf(3, linear=True).modules()) == 4
    with pytest.raises(ValueError, match=r"mixing must be one of reverse, random, lu, rotation, got mixing='none'"):
        pf.nsf(3, mixing="none")


@pytest.mark.parametrize("features", [2, 3, 4, 10])
def test_realnvp_with_random_weights_is_inverted(features: int) -> None:
    """In single precision; with log-scales within 5 in each of the eight layers up to 3.7 was lost here."""
    for seed in range(4):
        torch.manual_seed(seed)
        flow = randomize(pf.realnvp(features), seed=seed)
        x = torch.randn(1000, features)
        with torch.no_grad():
            there = flow.transform.inverse(flow.transform(x)[0])[0]
            back = flow.transform(flow.transform.inverse(x)[0])[0]
        torch.testing.assert_close(there, x, rtol=0, atol=1e-4)
        torch.testing.assert_close(back, x, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        ((8,), False),
        ((8, 8), False),
        ((8, 8, 8), "linear"),
        ((8, 8, 16), False),
        ((8,) * 4, False),
        ((8,) * 5, "linear"),
    ],
)
def test_networks_are_residual_where_their_widths_allow_it(hidden, expected):
    for recipe in (pf.nsf, pf.realnvp):
        nets = [m.net for m in recipe(3, layers=1, hidden=hidden).modules() if isinstance(m, Coupling | Autoregressive)]
        assert [net.residual for net in nets] == [expected]
    with pytest.raises(ValueError, match="residual"):
        pf.nsf(3, residual="wide")


@pytest.mark.slow
@pytest.mark.parametrize("coupling", [False, True])
def test_columns_that_nearly_follow_from_others_are_learnt_early(coupling: bool) -> None:
    """A tumour's radius, perimeter and area, and the same of its worst cells: 100 steps, 200 rows held out."""
    x = torch.as_tensor(load_breast_cancer().data[:, [0, 2, 3, 5, 6, 20, 22, 23]]).float()
    x = ((x - x.mean(0)) / x.std(0))[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    found = []
    for residual in (False, None):
        torch.manual_seed(0)
        flow = pf.nsf(8, coupling=coupling, layers=2, hidden=(64, 64, 64), residual=residual)
        pf.fit(flow, x[200:], steps=100, lr=3e-3, batch_size=128, progress=False)
        found.append(flow.log_prob(x[:200]).mean().item())
    assert found[1] > found[0] + 0.5
