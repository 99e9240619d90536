"""FFJORD on top of torchdiffeq, as its authors wrote it: the state is (z, log p), with one random probe per solve."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .models import TorchModel, stir
from .sizes import TOLERANCE, Size
from .torch_peers import Perceptron


class Augmented(nn.Module):
    """d(z, log p)/dt = (f, -tr df/dz), the trace by Hutchinson's estimator."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.net = Perceptron(size.features + 1, size.features, size.hidden, nn.Tanh)
        self.probe = torch.empty(0)
        stir(self.net)

    def velocity(self, t: Tensor, z: Tensor) -> Tensor:
        return self.net(torch.cat([z, t.expand(len(z), 1)], -1))

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            z = state[0].requires_grad_()
            velocity = self.velocity(t, z)
            (pulled,) = torch.autograd.grad(velocity, z, self.probe, create_graph=graph)
        return velocity, -(pulled * self.probe).sum(-1)


def torchdiffeq(family: str, size: Size, adjoint: bool = True) -> TorchModel | None:
    import torchdiffeq as ode

    if family != "cnf":
        return None
    field, how = Augmented(size), {"rtol": TOLERANCE, "atol": TOLERANCE, "method": "dopri5"}
    solve = ode.odeint_adjoint if adjoint else ode.odeint

    def log_prob(x: Tensor) -> Tensor:
        field.probe = torch.randint_like(x, 2) * 2 - 1
        times = torch.tensor([0.0, 1.0], device=x.device)
        z, change = solve(field, (x, x.new_zeros(len(x))), times, **how)
        return -0.5 * z[-1].square().sum(-1) + change[-1]

    def sample(n: int) -> Tensor:
        z = torch.randn(n, size.features, device=size.device)
        return ode.odeint(field.velocity, z, torch.tensor([1.0, 0.0], device=size.device), **how)[-1]

    return TorchModel(field, log_prob, sample)


def torchdiffeq_direct(family: str, size: Size) -> TorchModel | None:
    return torchdiffeq(family, size, adjoint=False)
