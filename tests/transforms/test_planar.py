"""Planar, radial, Sylvester and block neural autoregressive layers: formulas, inverses far out, bad input."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import pushforward as pf
from pushforward.testing import randomize
from pushforward.transforms import BlockAutoregressive, Planar, Radial, Sylvester, Transform

LAYERS: dict[str, Callable[[int], Transform]] = {
    "planar": Planar,
    "radial": Radial,
    "sylvester": Sylvester,
    "bnaf": lambda m: BlockAutoregressive(m, units=(4, 4)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("features", [1, 2, 5])
@pytest.mark.parametrize("name", LAYERS)
def test_round_trips_are_good_to_rounding_far_out_too(name: str, features: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = randomize(LAYERS[name](features), scale=1.5).to(dtype)
    x = torch.randn(2000, features, dtype=dtype) * torch.logspace(-3, 5, 2000, dtype=dtype)[:, None]
    with torch.no_grad():
        for there, back in ((layer.forward, layer.inverse), (layer.inverse, layer.forward)):
            error = (back(there(x)[0])[0] - x).abs().amax(1) / (1 + x.abs().amax(1))
            assert float(error.max()) < 1e4 * torch.finfo(dtype).eps


@pytest.mark.parametrize("strength", [-50.0, 50.0])
def test_extreme_parameters_do_not_fold_the_space(strength: float) -> None:
    """The slopes stay above LEAST_SLOPE, however much the free numbers ask for."""
    x = torch.linspace(-6, 6, 1001, dtype=torch.float64)[:, None]
    for layer in (Planar(1), Radial(1), Sylvester(1)):
        with torch.no_grad():
            for bias in layer.net.biases:
                bias.fill_(strength)
            z, logdet = layer.double()(x)
        steps = z.diff(dim=0) / x.diff(dim=0)
        assert float(steps.min()) > 9e-4
        assert bool((logdet > -7).all())


def test_a_radial_layer_contracts_around_its_centre() -> None:
    layer = Radial(2).double()
    with torch.no_grad():
        layer.net.biases[0].copy_(torch.tensor([1.0, 2.0, 0.0, -1.0]))  # c, α, β
    centre = torch.tensor([1.0, 2.0], dtype=torch.float64)
    around = torch.tensor([[0.1, 0.0], [0.0, 0.1], [30.0, 40.0]], dtype=torch.float64)
    moved = layer(centre + around)[0] - centre
    assert bool((moved[:2].norm(dim=1) < 0.07).all())
    torch.testing.assert_close(moved[2] / moved[2].norm(), around[2] / around[2].norm())


def test_a_context_moves_a_planar_flow() -> None:
    flow = randomize(pf.planar(2, context=1, layers=2))
    x = torch.randn(5, 2)
    assert bool((flow.log_prob(x, torch.zeros(1)) != flow.log_prob(x, torch.ones(1))).all())
    assert flow.sample((3,), torch.zeros(4, 1)).shape == (3, 4, 2)


@pytest.mark.parametrize("recipe", ["bnaf", "planar", "residual", "sylvester"])
def test_recipes_learn(recipe: str) -> None:
    torch.manual_seed(0)
    angle = 6.3 * torch.rand(500)
    x = torch.stack([angle.cos(), angle.sin()], -1) * 2 + 0.3 * torch.randn(500, 2)  # a ring
    options = {"layers": 2, "hidden": (16, 16)} if recipe in ("bnaf", "residual") else {"layers": 6}
    flow = getattr(pf, recipe)(2, **options)
    before = float(flow.log_prob(x).detach().mean())
    pf.fit(flow, x, steps=80, batch_size=450, lr=2e-2, progress=False)
    assert float(flow.log_prob(x).detach().mean()) > before + 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Planar(0), "features must be at least 1, got features=0"),
        (lambda: Radial(0), "features must be at least 1, got features=0"),
        (lambda: Sylvester(2, 3), "rank must be between 1 and features=2, got rank=3"),
        (lambda: BlockAutoregressive(2, units=()), r"units is empty"),
        (lambda: pf.bnaf(2, hidden=(8, 0)), "hidden"),
        (lambda: pf.sylvester(2, layers=0), "layers=0: expected a whole number"),
    ],
)
def test_bad_input_is_named(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
