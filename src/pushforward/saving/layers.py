"""Layers of ``torch.nn`` that a saved model may hold; their constructor arguments are read from their attributes.

So an encoder that is a ``Sequential`` of them is saved without its own class, and without a pickle.
"""

from __future__ import annotations

from typing import Any

from torch import nn

CONVOLUTION = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias", "padding_mode",
)  # fmt: skip
BATCH_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
POOL = ("kernel_size", "stride", "padding")
LAYERS: dict[str, tuple[str, ...]] = {
    "Sequential": (),
    "Identity": (),
    "Flatten": ("start_dim", "end_dim"),
    "Linear": ("in_features", "out_features", "bias"),
    "Conv1d": CONVOLUTION,
    "Conv2d": CONVOLUTION,
    "Conv3d": CONVOLUTION,
    "MaxPool1d": POOL,
    "MaxPool2d": POOL,
    "AvgPool1d": POOL,
    "AvgPool2d": POOL,
    "AdaptiveAvgPool1d": ("output_size",),
    "AdaptiveAvgPool2d": ("output_size",),
    "BatchNorm1d": BATCH_NORM,
    "BatchNorm2d": BATCH_NORM,
    "LayerNorm": ("normalized_shape", "eps", "elementwise_affine"),
    "GroupNorm": ("num_groups", "num_channels", "eps", "affine"),
    "Dropout": ("p",),
    "ReLU": (),
    "LeakyReLU": ("negative_slope",),
    "ELU": ("alpha",),
    "GELU": ("approximate",),
    "SiLU": (),
    "Softplus": ("beta", "threshold"),
    "Sigmoid": (),
    "Tanh": (),
}


def describe_layer(layer: nn.Module) -> dict[str, Any] | None:
    """The name of a layer and its arguments, modules among them; None if it is not one of ``LAYERS``."""
    name = type(layer).__name__
    if name not in LAYERS or type(layer) is not getattr(nn, name):
        return None
    if isinstance(layer, nn.Sequential):
        return {"layer": name, "arguments": {"parts": list(layer)}}
    found = {key: getattr(layer, key) for key in LAYERS[name]}
    if "bias" in found:
        found["bias"] = found["bias"] is not None
    return {"layer": name, "arguments": found}


def build_layer(name: Any, arguments: dict[str, Any]) -> nn.Module:
    """Rebuilds the layer, freshly initialised.

    Raises:
        ValueError: it is not one of ``LAYERS``.
    """
    if name not in LAYERS:
        raise ValueError(f"unknown layer {name!r:.50}")
    if name == "Sequential":
        return nn.Sequential(*arguments["parts"])
    return getattr(nn, name)(**{key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()})  # type: ignore[no-any-return]
