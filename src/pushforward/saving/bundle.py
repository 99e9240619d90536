"""A directory with JSON and tensors under one digest: saved models and training checkpoints are such bundles.

Nothing in it can run: JSON, and plain arrays in the safetensors format. The digest covers both files, so that damage is
detected; it guards against accidents, not against forgery.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from .files import replace_directory, temporary_sibling, write_file

MAX_CONFIG_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 8 * 2**20  # of names and shapes: some 60,000 tensors
PLAIN = {str, int, bool, type(None)}  # what JSON holds as it is


class CheckpointError(ValueError):
    """A saved model or training checkpoint that is damaged, incomplete or of another kind."""


def write_bundle(path: Path, name: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Writes ``config.json`` and ``<name>.safetensors`` to a directory, replacing it in one step."""
    text = _canonical(config)  # first, so that a bad config leaves no trace
    weights = safetensors.torch.save({k: t.detach().cpu().clone().contiguous() for k, t in tensors.items()})
    digest = hashlib.sha256(text + weights).hexdigest()
    with temporary_sibling(path) as folder:
        write_file(folder / f"{name}.safetensors", weights)
        write_file(folder / "config.json", json.dumps({**config, "sha256": digest}, indent=1).encode())
        replace_directory(folder, path)


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object of a bundle, unverified."""
    file = path / "config.json"
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a saved model: there is no such directory")
    if not file.is_file():  # a pipe or a device would block the read forever
        raise CheckpointError(f"{file} is missing: {path} is not a saved model")
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"it has more than {MAX_CONFIG_BYTES} bytes")
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read: {str(error)[:200]}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is damaged: it should hold a JSON object, got {type(content).__name__}")
    return content


def read_tensors(path: Path, name: str, config: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a bundle, after the digest has been verified."""
    file = path / f"{name}.safetensors"
    if not file.is_file():
        raise CheckpointError(f"{file} is missing")
    try:
        weights = file.read_bytes()
        if int.from_bytes(weights[:8], "little") > MAX_HEADER_BYTES:
            raise ValueError(f"its header has more than {MAX_HEADER_BYTES} bytes")
        tensors = safetensors.torch.load(weights)
        text = _canonical({key: value for key, value in config.items() if key != "sha256"})
    except Exception as error:  # safetensors raises its own errors, and passes on PyTorch's
        raise CheckpointError(f"{file} is damaged: {str(error)[:200]}") from None
    if config.get("sha256") != hashlib.sha256(text + weights).hexdigest():
        raise CheckpointError(f"{file} and config.json are not as they were saved: one of them is damaged")
    return tensors


def _canonical(config: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(config, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"the config cannot be written as JSON: {error}") from None
    if len(text) > MAX_CONFIG_BYTES:
        raise ValueError(f"the config has {len(text)} bytes, and at most {MAX_CONFIG_BYTES} can be read back")
    return text


def jsonable(value: Any) -> Any:
    """The value in a form that JSON can hold: null for numbers that are not finite, text for types that JSON lacks."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        kinds = set(map(type, value))
        if kinds <= PLAIN or (kinds == {float} and all(map(math.isfinite, value))):  # long ones are copied at once
            return list(value)
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "to_json"):
        return value.to_json()
    if hasattr(value, "item"):  # a number of NumPy or PyTorch
        return jsonable(value.item())
    return value if value is None or isinstance(value, bool | int | str) else str(value)
