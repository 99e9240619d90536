"""Frozen dataclasses that are saved by their fields."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar, Self

from ...errors import InputError
from ...saving.bundle import jsonable
from ...saving.config import registered


class Saved:
    """A frozen dataclass that is saved as JSON by its own fields: numbers, text, tuples, and others of its kind.

    Its class is found by name, or by ``saved_as``, an earlier one. A class defined outside this package is found if its
    module has been imported.
    """

    registry: ClassVar[dict[str, type[Saved]]] = {}

    def __init_subclass__(cls, saved_as: str = "") -> None:
        super().__init_subclass__()
        cls.type_name = saved_as or registered(cls)
        Saved.registry[cls.type_name] = cls

    type_name: ClassVar[str] = ""

    def to_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {"type": self.type_name, **jsonable(values)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Restores what :meth:`to_json` returned."""
        found = Saved.registry.get(values["type"])
        if found is None:
            raise InputError(f"the model needs the class {values['type']}, which is unknown; import its module first")
        made = found(**{name: _thawed(value) for name, value in values.items() if name != "type"})
        assert isinstance(made, cls)
        return made


def _thawed(value: Any) -> Any:
    """Lists from JSON become tuples again."""
    if isinstance(value, dict):
        return Saved.from_json(value)
    if not isinstance(value, list):
        return value
    return tuple(map(_thawed, value)) if {dict, list} & set(map(type, value)) else tuple(value)
