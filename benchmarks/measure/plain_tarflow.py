"""The blocks of TarFlow (Zhai et al. 2024, arXiv:2412.06329) written plainly in PyTorch: a loop over modules, with the
paper's own cache of keys and values, lists that are concatenated at every patch."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Pre-norm multi-head attention; with a cache, of one patch after those in the cache."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None, cache: dict[str, list[Tensor]] | None = None) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if cache is not None:
            cache["k"].append(k)
            cache["v"].append(v)
            k, v = torch.cat(cache["k"], 2), torch.cat(cache["v"], 2)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(x.transpose(1, 2).reshape(n, length, width))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: Any = None) -> Tensor:
        x = x + self.attention(x, mask, cache)
        return x + self.mlp(x)


class Block(nn.Module):
    """One autoregressive map over patches, in reverse order if ``flip``; the first patch is left unchanged."""

    mask: Tensor

    def __init__(self, patches: int, size: int, layers: int, width: int, heads: int, flip: bool) -> None:
        super().__init__()
        self.flip, self.size = flip, size
        self.enter, self.exit = nn.Linear(size, width), nn.Linear(width, 2 * size)
        self.places = nn.Parameter(torch.randn(patches, width) * 0.01)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.register_buffer("mask", torch.ones(patches, patches, dtype=torch.bool).tril())
        nn.init.zeros_(self.exit.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.flip(1) if self.flip else x
        h = self.enter(x) + self.places
        for layer in self.layers:
            h = layer(h, self.mask)
        h = self.exit(h)
        scale, shift = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1).chunk(2, -1)
        z = (x - shift) * (-scale).exp()
        return z.flip(1) if self.flip else z, -scale.sum((1, 2))

    def inverse(self, z: Tensor) -> Tensor:
        """Patch by patch with the cache."""
        x = z.flip(1) if self.flip else z.clone()
        caches: list[dict[str, list[Tensor]]] = [{"k": [], "v": []} for _ in self.layers]
        for i in range(x.shape[1] - 1):
            h = self.enter(x[:, i : i + 1]) + self.places[i : i + 1]
            for layer, cache in zip(self.layers, caches, strict=True):
                h = layer(h, None, cache)
            scale, shift = self.exit(h).chunk(2, -1)
            x[:, i + 1] = x[:, i + 1] * scale[:, 0].exp() + shift[:, 0]
        return x.flip(1) if self.flip else x

    def inverse_by_passes(self, z: Tensor) -> Tensor:
        """Patch by patch without the cache: one full pass for each."""
        x = z.flip(1) if self.flip else z.clone()
        for i in range(x.shape[1] - 1):
            h = self.enter(x) + self.places
            for layer in self.layers:
                h = layer(h, self.mask)
            scale, shift = self.exit(h[:, i]).chunk(2, -1)
            x[:, i + 1] = x[:, i + 1] * scale.exp() + shift
        return x.flip(1) if self.flip else x


class Plain(nn.Module):
    """Blocks in alternating order over a standard normal; images are given as patches ``(n, patches, size)``."""

    def __init__(self, patches: int, size: int, *, blocks: int, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.shape = patches, size
        self.blocks: Any = nn.ModuleList(Block(patches, size, layers, width, heads, b % 2 == 1) for b in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """log p(x)."""
        total: Any = 0.0
        for block in self.blocks:
            x, logdet = block(x)
            total = total + logdet
        return total - 0.5 * (x.square() + math.log(2 * math.pi)).sum((1, 2))

    @torch.no_grad()
    def sample(self, n: int, *, cached: bool = True) -> Tensor:
        x = torch.randn(n, *self.shape, device=self.blocks[0].mask.device)
        for block in reversed(self.blocks):
            x = block.inverse(x) if cached else block.inverse_by_passes(x)
        return x
