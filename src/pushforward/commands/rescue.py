"""Saving what was trained, where the disk refuses: somewhere else rather than nowhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ..saving import checkpoint
from ..saving.config import Configurable
from ..saving.files import NotSaved, reason


def save(model: Configurable, path: Path, facts: dict[str, Any]) -> None:
    """Saves a model; where its place refuses it, in the folder for temporary files.

    Raises:
        NotSaved: it is not at ``path``; one sentence says why, and where it is instead.
    """
    try:
        checkpoint.save(model, path, extra=facts)
        return
    except OSError as error:
        refused = f"{path} cannot be written: {reason(error)}"
    try:
        refuge = Path(tempfile.mkdtemp(prefix="pushforward-")) / path.name
        checkpoint.save(model, refuge, extra=facts)
    except OSError as error:
        raise NotSaved(f"{refused}; nor can the folder for temporary files: {reason(error)}") from None
    raise NotSaved(f"{refused}; the model was saved as {refuge} instead, move it to where there is room")
