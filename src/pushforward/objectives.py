"""What training minimises: each objective holds a density and turns a batch, or a number of draws, into one loss.

To write another one, derive from :class:`Objective` and give two methods. Either the objective learns from data::

    class Mine(Objective):
        def forward(self, x, context=None): ...   # the scalar loss of a batch, a mean in nats
        def held_out(self, x, context=None): ...  # the loss of every row, (*batch,): validation averages it

or it draws its own samples, says ``uses_data = False``, and takes their number in place of the batch:
``forward(n)`` and ``held_out(n)``, the latter with one loss for each draw.

Random numbers come from PyTorch's default generators: ``fit`` seeds them, and gives them back to the caller as they
were. It also sets them to the same state before each validation, so that two validations differ by the weights alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from .distributions.base import Density


class Objective(nn.Module):
    """A loss to minimise over the parameters of a density, whose gradients come through ``forward`` (so DDP is right).

    Args:
        flow: The density that is trained.
    """

    uses_data: ClassVar[bool] = True

    def __init__(self, flow: Density) -> None:
        super().__init__()
        if not isinstance(flow, Density):
            raise TypeError(f"flow must be a density (a Flow, say), got {type(flow).__name__}")
        self.flow = flow

    def held_out(self, *inputs: Any, **options: Any) -> Tensor:
        """The loss of every row, or of every draw: what validation averages, and whose spread gives its error."""
        raise NotImplementedError


class ForwardKL(Objective):
    r"""Maximum likelihood: KL(data ‖ flow) up to the entropy of the data, which the flow cannot change.

    .. math:: \mathcal{L} = -\frac{1}{n} \sum_i \log p(x_i \mid c_i)

    Args:
        flow: The density that is trained.

    Reference:
        Lecture: "Forward KL for NF".
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The mean negative log-likelihood in nats, a scalar."""
        return -self.flow(x, context).mean()

    def held_out(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """-log p(x | context) of every row, of shape ``(*batch,)``, in nats."""
        return -self.flow(x, context)
