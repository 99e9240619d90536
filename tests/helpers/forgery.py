"""Saved models as an attacker would change them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import safetensors.torch


def forge(path: Path, change) -> None:
    """Changes a saved model and makes its checksum right again, as an attacker would."""
    config = json.loads((path / "config.json").read_text())
    weights = safetensors.torch.load_file(path / "model.safetensors")
    change(config, weights)
    content = safetensors.torch.save(weights)
    config.pop("sha256", None)
    config["sha256"] = hashlib.sha256(json.dumps(config, sort_keys=True).encode() + content).hexdigest()
    (path / "config.json").write_text(json.dumps(config))
    (path / "model.safetensors").write_bytes(content)
