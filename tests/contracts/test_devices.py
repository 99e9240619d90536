"""Devices: nothing in a hot path leaves the device of x, and results do not depend on it.

Without a card PyTorch's meta device finds what would wait for one: it has no values, so a look at one (``.item()``, a
branch, NumPy, rows chosen by their values) fails, and :class:`Border` refuses operators between its tensors and the
CPU's. ``pytest --device cuda`` runs the rest on a GPU; see ``make gpu``.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from test_contract import HIDDEN, IMAGE_RECIPES, MODELS, RECIPES, normal
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import pushforward as pf
from pushforward.distributions.base import Density
from pushforward.testing import randomize

CONTEXT = 2


def _fixed_steps() -> pf.Flow:
    field = pf.nets.MLPField(5, context=CONTEXT, hidden=HIDDEN)
    return pf.Flow(pf.transforms.Continuous(field, solver="rk4", steps=2), 5, context=CONTEXT)


def _pixels() -> pf.Flow:
    return pf.pixels(pf.realnvp((1, 4, 4), layers=2, hidden=(4,), context=CONTEXT), levels=4)


# Constructors, and data on the support from normal numbers.
EVERY: dict[str, tuple[Callable[[], Density], Callable[[], Tensor]]] = {
    # one layer has the operators of another
    **{name: (lambda make=make: make(2, CONTEXT, 1), lambda: normal(7, 2)) for name, make in RECIPES.items()},
    **{
        name: (lambda make=make: make(CONTEXT), lambda shape=shape: normal(7, *shape))
        for name, (make, shape) in IMAGE_RECIPES.items()
    },
    **{
        name: (lambda make=make: make(CONTEXT), lambda onto=onto: onto(normal(7, 5)))
        for name, (make, onto) in MODELS.items()
    },
    "ffjord": (_fixed_steps, lambda: normal(7, 5)),  # adaptive steps look at errors: the solver waits at every step
    "pixels": (_pixels, lambda: (normal(7, 1, 4, 4) * 2).round().clamp(0, 3)),
}
LONG = ("anyorder", "flow over a base", "tarflow reversible")
SOLVED = ("bnaf", "planar", "residual", "sylvester")  # an inverse by steps until all rows are done looks at them
LOOKS = {
    "average sample",  # how many draws each member makes is drawn first: one look for each member
    "von mises sample",  # by rejection, until every draw is accepted
    *(f"{name} {job}" for name in SOLVED if name != "ffjord" for job in ("sample", "there and back")),  # by bisection
}


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


class Watch:
    """Refuses operators that have tensors of two devices; scalars may come from the CPU, as on GPUs."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [t for t in tensors_in([args, list((kwargs or {}).values()), found]) if t.dim()]
        devices = sorted({t.device.type for t in tensors})
        assert len(devices) < 2, f"{func} has tensors on {' and '.join(devices)}: {[tuple(t.shape) for t in tensors]}"
        return found


class Border(Watch, TorchDispatchMode):
    """The watch as a mode; with the method in its own class PyTorch wraps every operator once more."""


def step(model: Density, x: Tensor, context: Tensor) -> Tensor:
    loss = -model.log_prob(x, context).mean()
    loss.backward()
    return loss


def there_and_back(model: Any, x: Tensor, context: Tensor) -> Tensor:
    z = model.transform(x, context)[0]
    return model.transform.inverse(z, context)[0]


JOBS: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "step": step,
    "sample": lambda model, x, context: model.sample((2,), context),
    "there and back": there_and_back,
}


def jobs(model: Density, room: str) -> Iterator[str]:
    """The plain formulas of a sequential direction are those of the density, run over and over: they cost seconds."""
    able = (job for job in JOBS if job != "there and back" or hasattr(model, "transform"))
    return (job for job in able if room == "fused" or job == "step")


@pytest.mark.parametrize("room", ["fused", "plain"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in EVERY]
)
def test_nothing_leaves_the_device(name: str, room: str) -> None:
    """The first call of either direction, which may build masks once and for all, is not watched."""
    make, data = EVERY[name]
    model, x, context = make().to("meta"), data().float().to("meta"), torch.empty(7, CONTEXT, device="meta")
    with pf.plain() if room == "plain" else contextlib.nullcontext():
        for job in jobs(model, room):
            if f"{name} {job}" in LOOKS:
                continue
            if job == "step":
                model.log_prob(x, context)
            elif job == "sample":
                model.sample((2,), context)
            with Border():
                found = JOBS[job](model, x, context)
            assert found.is_meta, job
    assert all(p.grad is None or p.grad.is_meta for p in model.parameters())


def test_every_recipe_is_here() -> None:
    recipes = {name for name, home in pf._HOMES.items() if home.startswith("recipes.")}
    assert recipes <= {name.split()[0] for name in EVERY}


@pytest.mark.parametrize(
    "find", [lambda x: x[0].item(), lambda x: x + torch.ones(3), lambda x: x.cpu(), lambda x: x.tolist()]
)
def test_the_border_finds(find: Callable[[Tensor], Any]) -> None:
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)), Border():
        find(torch.ones(3, device="meta"))


@pytest.mark.parametrize("name", EVERY)
def test_results_do_not_depend_on_the_device(name: str, device: torch.device) -> None:
    if device.type == "cpu":
        pytest.skip("the CPU would be compared with itself")
    make, data = EVERY[name]
    torch.manual_seed(0)
    here = randomize(make(), scale=0.3)
    x, context = data().float().cpu(), normal(7, CONTEXT, seed=2).float().cpu()
    there = copy.deepcopy(here).to(device)
    results = [step(model, x.to(at), context.to(at)) for model, at in ((here, "cpu"), (there, device))]
    if name != "pixels":  # which draws its noise on the device
        torch.testing.assert_close(results[1].cpu(), results[0], rtol=1e-4, atol=1e-4)
        for a, b in zip(here.parameters(), there.parameters(), strict=True):
            if a.grad is not None and b.grad is not None:
                torch.testing.assert_close(b.grad.cpu(), a.grad, rtol=1e-3, atol=1e-3)
    assert there.sample((2,), context.to(device)).device.type == device.type


@pytest.mark.parametrize("name", ["maf", "nsf", "realnvp", "glow"])
def test_autocast(name: str, device: torch.device) -> None:
    """In bfloat16 networks run in half the memory; log-determinants stay near those of float32."""
    make, data = EVERY[name]
    model = randomize(make(), scale=0.1).to(device)
    x, context = data().float().to(device), normal(7, CONTEXT, seed=2).float().to(device)
    with torch.no_grad():
        exact = model.log_prob(x, context)
        with torch.autocast(device.type, torch.bfloat16):
            rough = model.log_prob(x, context)
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.5)


def test_fitting_on_the_device(device: torch.device) -> None:
    flow = pf.nsf(3, layers=2, hidden=HIDDEN)
    result = pf.fit(flow, torch.randn(256, 3), steps=3, batch_size=64, device=str(device), progress=False)
    assert result.steps == 3
    assert next(flow.parameters()).device.type == device.type


def test_a_graph_of_the_density_is_replayed(device: torch.device) -> None:
    """A small flow on a GPU waits for launches; a CUDA graph has one."""
    if device.type != "cuda":
        pytest.skip("CUDA graphs need --device cuda")
    flow = randomize(pf.realnvp(5, layers=4, hidden=HIDDEN), scale=0.3).to(device)
    x, fresh = torch.randn(64, 5, device=device), torch.randn(64, 5, device=device)
    with torch.no_grad():
        replay = torch.cuda.make_graphed_callables(flow.eval(), (x,))
        torch.testing.assert_close(replay(fresh), flow.log_prob(fresh), rtol=1e-4, atol=1e-4)
