"""An error of the user's input is written once, in Python's words, and every door spells its arguments."""

from __future__ import annotations

import copy
import pickle

import pytest

from pushforward.errors import InputError, in_python, in_request, in_shell, listed, spelled
from pushforward.models.console import Console

SPELLED = [
    ("columns", None, "columns=", "--columns", '"columns"'),
    ("bits", 9, "bits=9", "--bits 9", '"bits" 9'),
    ("noise", 0.05, "noise=0.05", "--noise 0.05", '"noise" 0.05'),
    ("flow", "ffjord", "flow='ffjord'", "--flow ffjord", '"flow" "ffjord"'),
    ("drop_missing", True, "drop_missing=True", "--drop-missing", '"drop_missing" true'),
    ("queries", False, "queries=False", "--no-queries", '"queries" false'),
    ("columns", ["a", "b"], "columns=['a', 'b']", "--columns a,b", '"columns" ["a", "b"]'),
    ("given", {"cut": "Ideal"}, "given={'cut': 'Ideal'}", "--given cut=Ideal", '"given" {"cut": "Ideal"}'),
    ("bounds", {"a": (0, None)}, "bounds={'a': (0, None)}", "--bounds a=0,", '"bounds" {"a": [0, null]}'),
    ("random_state", 3, "random_state=3", "--seed 3", '"random_state" 3'),
    ("n", 0, "n=0", "-n 0", '"n" 0'),
]


@pytest.mark.parametrize(("name", "value", *"psr"), SPELLED)
def test_an_argument_is_spelled_as_the_users_of_each_door_write_it(name, value, p, s, r) -> None:
    assert (in_python(name, value), in_shell(name, value), in_request(name, value)) == (p, s, r)
    assert spelled(f"take `{p}` instead", in_shell) == f"take {s} instead"


def test_the_message_begins_with_the_argument_and_keeps_it_as_a_field() -> None:
    error = InputError("expected at least 1", "draws", 0)
    assert (error.argument, error.value) == ("draws", 0)
    assert [str(error), error.spelled(in_shell)] == ["draws=0: expected at least 1", "--draws 0: expected at least 1"]
    assert str(InputError("twice", "given")) == "given: twice"
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copy_says_the_same(copied) -> None:
    error = copied(InputError("expected more, or `flow='maf'`", "draws", 0))
    assert error.spelled(in_shell) == "--draws 0: expected more, or --flow maf"


@pytest.mark.parametrize("sentence", ["a.csv: column 'a=b': `c d=1`", "no `code`", "a --flag of theirs", "`"])
def test_what_is_no_argument_stays_as_it_is(sentence: str) -> None:
    assert str(InputError(sentence)) == InputError(sentence).spelled(in_shell) == sentence


def test_a_value_that_is_no_literal_is_shown_as_it_stands() -> None:
    assert spelled("take `levels=N + 1`", in_shell) == "take --levels N + 1"


def test_the_console_spells_notes_and_lines_for_its_reader(capsys) -> None:
    console = Console(spelling=in_shell)
    console.say("`numbers=` makes them numbers")
    console.note("left out; `columns=` models it")
    out, err = capsys.readouterr()
    assert (out, err) == ("--numbers makes them numbers\n", "note: left out; --columns models it\n")
    assert console.notes == ["left out; `columns=` models it"]


def test_names_for_a_sentence_are_cut_with_a_count() -> None:
    assert listed("abc") == "a, b, c"
    assert listed("abcdef", 2) == "a, b and 4 more"
