"""A density of images as commands and reports use it: whole numbers in, log-probabilities and latents out, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..diagnostics import bits_per_dim
from ..distributions.flow import Flow
from ..recipes.by_name import seeded
from ..training.batches import Rows
from ..transforms.dequantise import GaussianNoise
from ..transforms.multiscale import Multiscale

NUMBERS = 2**23  # size limit of the largest activation in one pass


class PixelDensity:
    """Images are (n, C, H, W), uint8, on the CPU, and so are contexts (n, features); log-probabilities are float64.

    Args:
        flow: The density, of whole numbers: a flow, or an autoregressive model.
        levels: Pixel values run from 0 to levels - 1.
        seed: Seed of the noise within levels, and of all random draws.
    """

    def __init__(self, flow: Any, levels: int, seed: int = 0) -> None:
        self.flow, self.levels, self.seed = flow, levels, seed
        self.device = flow.device
        self.exact = not isinstance(flow, Flow)
        self.noisy = any(isinstance(module, GaussianNoise) for module in flow.modules())

    @torch.no_grad()
    def log_prob(self, images: Tensor, context: Tensor | None = None, draws: int = 1) -> Tensor:
        r"""log P of every image (n,) in nats: exact, or for a flow the lower bound from ``draws`` draws of the noise.

        .. math:: \log P(x) \ge \mathbb{E} \log \frac1K \sum_{k=1}^K \frac{p(x + u_k)}{q(u_k \mid x)}

        It is -inf where the flow gives no number. Reference: Burda, Grosse, Salakhutdinov (2016), arXiv:1509.00519.
        """

        def run(x: Tensor, c: Tensor | None = None) -> Tensor:
            found = [self.flow.log_prob(x, c).double() for _ in range(1 if self.exact else draws)]
            return torch.stack(found).nan_to_num(nan=-math.inf).logsumexp(0) - math.log(len(found))

        return self._in_chunks(run, images, context)

    @torch.no_grad()
    def terms(self, images: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """For an autoregressive model, log P of every number given those before it, and the entropy of that
        conditional, both (n, C, H, W)."""
        both = self._in_chunks(lambda *given: torch.stack(self.flow.terms(*given), 1).double(), images, context)
        return both[:, 0], both[:, 1]

    def bits(self, log_prob: Tensor) -> Tensor:
        """Log-probabilities converted to bits per dimension."""
        return bits_per_dim(log_prob, self.flow.event_shape, levels=1)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0, guidance: float = 0.0) -> Tensor:
        """n images, without the noise used in training; with contexts, one for each."""
        choices: dict[str, Any] = {} if self.exact else {"guidance": guidance, "denoise": self.noisy}
        generator = torch.Generator(self.device).manual_seed(self.seed)
        parts = []
        for start in range(0, n, size := self.size()):
            given = None if context is None else context[start : start + size].to(self.device)
            shape = (min(size, n - start),) if given is None else ()
            parts.append(self.flow.sample(shape, given, generator=generator, temperature=temperature, **choices))
        return self._whole(torch.cat(parts))

    def encode(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        """z = f(x + u) of a flow, (n, D)."""
        return self.points(images, context)[0][0].float()

    @torch.no_grad()
    def points(self, images: Tensor, context: Tensor | None = None, draws: int = 1) -> tuple[Tensor, Tensor]:
        """z = f(x + u) of a flow for K = ``draws`` draws of the noise, (K, n, D), and the log-slopes (K, n) with which
        a density of z becomes the probability of the image, as :meth:`log_prob` averages it."""

        def run(x: Tensor, c: Tensor | None = None) -> Tensor:
            found = [self.flow.transform(x, c) for _ in range(draws)]
            return torch.stack([torch.cat([z.double(), slope.double()[:, None]], 1) for z, slope in found], 1)

        whole = self._in_chunks(run, images, context).transpose(0, 1)
        return whole[..., :-1], whole[..., -1]

    @torch.no_grad()
    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The images of latents (n, D) of a flow."""
        return self._whole(self._in_chunks(self.flow.transform.generate, z, context))

    @torch.no_grad()
    def complete(self, images: Tensor, rows: int, context: Tensor | None = None) -> Tensor:
        """The images with everything below the first ``rows`` rows drawn anew, by an autoregressive model."""
        given = None if context is None else context.to(self.device)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        return self._whole(self.flow.complete(images.to(self.device), rows, given, generator=generator))

    @property
    def coarsest(self) -> int | None:
        """How many of a multi-scale flow's latents belong to its coarsest scale; these come first."""
        parts = self.flow.transform.flattened()
        pieces = [part.pieces for part in parts if isinstance(part, Multiscale) and len(part.pieces) > 1]
        return pieces[0][-1].numel() if pieces else None

    def _whole(self, x: Tensor) -> Tensor:
        return x.clamp(0, self.levels - 1).nan_to_num(0).to(torch.uint8).cpu()

    def size(self, values: int = 16) -> int:
        """Images per pass, assuming a few dozen channels each, or ``values`` values of every number."""
        return max(1, min(256, NUMBERS // (self.flow.event_shape.numel() * values)))

    def _in_chunks(self, run: Callable[..., Tensor], x: Tensor, context: Tensor | None) -> Tensor:
        size = self.size(max(self.levels, 16) if self.exact else 16)
        with seeded(self.seed):  # dequantisation draws from the global generators
            parts = Rows(x, context).chunks(size)
            return torch.cat([run(*(each.to(self.device) for each in part)).cpu() for part in parts])
