"""What a demo says last can be followed where only the wheel is installed: no page of docs is in it."""

from __future__ import annotations

import importlib
import importlib.util
import re
from operator import attrgetter
from pathlib import Path

import pytest

import pushforward as pf


@pytest.mark.parametrize("name", ["images", "posterior", "simulations", "table"])
def test_what_a_demo_names_last_is_installed(name: str) -> None:
    source = importlib.import_module(f"pushforward.cli.demo.{name}").__file__
    text = Path(source).read_text()
    assert ".md" not in text
    for path in re.findall(r"\bpushforward\.([\w.]+\w)", text):
        if path.startswith("interop."):  # needs the library that it is for
            assert importlib.util.find_spec(f"pushforward.{path.rpartition('.')[0]}") is not None
        else:
            attrgetter(path)(pf)
