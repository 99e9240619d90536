"""The keywords of an object, kept as scikit-learn keeps those of its estimators."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from ..errors import InputError
from .options import options_of


class Parameters:
    """Keywords kept as they came, so that they can be listed, changed, and make another such object.

    Attributes:
        options: The options that they amount to.
        notes_: What the last fit decided, in sentences.
    """

    options: Any
    notes_: list[str]
    loaded_from: Path | None = None
    _keywords: dict[str, Any]

    def _keep(self, keywords: Mapping[str, Any], kind: type) -> None:
        """Keeps the local variables of a constructor that holds nothing but its keywords, as options of a kind."""
        self._keywords = {name: value for name, value in keywords.items() if name != "self"}
        self.options, self.notes_ = options_of(kind, self._keywords), []

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All keywords by name, as they were passed; ``deep`` changes nothing."""
        return dict(self._keywords)

    def set_params(self, **params: Any) -> Self:
        """Changes some keywords, for the next fit.

        Raises:
            InputError: there is no such keyword, or it cannot be used.
        """
        for name in params:
            if name not in self._keywords:
                raise InputError(f"{type(self).__name__} takes no such argument", name)
        type(self).__init__(self, **{**self._keywords, **params})
        return self

    @property
    def expression(self) -> str:
        """The Python expression that makes such an object: by the keywords that differ from their defaults, or by
        loading it."""
        if self.loaded_from is not None:
            return f"{type(self).__name__}.load({str(self.loaded_from)!r})"
        usual = type(self)()._keywords
        said = {name: value for name, value in self._keywords.items() if repr(value) != repr(usual[name])}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in said.items())})"
