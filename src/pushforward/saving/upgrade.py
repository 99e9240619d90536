"""Files of older formats: what each version changed in configs and in the names and shapes of tensors.

Formats: 1 is that of version 0.1; 2 names the tensors of :class:`~pushforward.transforms.Reversible` as those of
:class:`~pushforward.transforms.Compose`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from torch import Tensor


def upgrade(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content of a file of any older format as the present one would have it; what came is not changed.

    Args:
        config: All of ``config.json``: ``config["format"]``, ``config["model"]``, ``config["other_dtypes"]``.
        tensors: The tensors by their names in the state of the model.
    """
    if config["format"] < 2:
        config, tensors = _without_chain(config, tensors)
    return config, tensors


def _without_chain(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if '"Reversible"' not in json.dumps(config["model"]):
        return config, tensors

    def renamed(values: dict[str, Any]) -> dict[str, Any]:
        return {re.sub(r"(^|\.)chain\.transforms\.", r"\1transforms.", name): value for name, value in values.items()}

    return {**config, "other_dtypes": renamed(config["other_dtypes"])}, renamed(tensors)
