"""Whether something has to see every call of a module."""

from __future__ import annotations

from torch import nn


def watched(module: nn.Module) -> bool:
    """Whether something has to know when this very module is called: hooks, as FSDP2 has them, or compiled code."""
    return bool(
        module._forward_pre_hooks
        or module._forward_hooks
        or module._backward_pre_hooks
        or module._backward_hooks
        or module._compiled_call_impl
    )
