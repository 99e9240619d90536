"""A joint density with its guide, a model of every conditional: marginals, conditionals and holes by weighted draws."""

from .anyorder import AnyOrder as AnyOrder
from .density import Guided as Guided
from .density import as_if_seen as as_if_seen
from .holes import Answer as Answer
