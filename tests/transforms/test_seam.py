"""The door to the fast room, as the environment has it."""

import importlib.util

import pytest


@pytest.mark.parametrize(("value", "shut"), [("0", True), ("1", False)])
def test_the_environment_shuts_the_room(value, shut, monkeypatch):
    monkeypatch.setenv("PUSHFORWARD_FUSED", value)
    spec = importlib.util.find_spec("pushforward.transforms.seam")
    again = importlib.util.module_from_spec(spec)  # a second one, as a new process would read it
    spec.loader.exec_module(again)
    assert again.SHUT.get() is shut
