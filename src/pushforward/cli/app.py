"""The shell program: its commands, and how errors are reported. Arguments are in the other files of this folder."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from cyclopts import CycloptsError

from ..errors import InputError, in_shell, spelled
from ..saving.files import NotSaved, reason
from ..tables.io.place import STANDARD, without_credentials
from .learning import demo, fit, update
from .options import app, command_line
from .showing import compare, info, report, serve
from .using import ask, drift, impute, outliers, predict, sample, score

commands: Any = (demo, fit, score, outliers, drift, ask, predict, update, sample, impute, report, compare, info, serve)
for place, command in enumerate(commands):
    app.command(command, sort_key=place)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 on success, 2 if the input or the arguments are wrong, 1 for anything else; never a traceback.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # of a locale without the sign, or a name that is no text
    command_line.set(shlex.join(["pushforward", *map(without_credentials, arguments)]))
    arguments = ["./-" if argument == STANDARD else argument for argument in arguments]  # a bare - is not an option
    if sys.stdout is None and "./-" in arguments:
        return _fail(2, "standard output is closed; write to a file", arguments)
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        with warnings.catch_warnings():
            warnings.showwarning = _note
            command(*bound.args, **bound.kwargs)
    except CycloptsError as error:
        said = " ".join(str(error).split()).partition(" Available commands")[0]  # help lists all of them
        sentence = said.rstrip(".")
        stop = "" if sentence.endswith("?") else "."
        named = f"{arguments[0]} " if arguments and arguments[0] in app else ""
        return _fail(2, f"{sentence}{stop} Help: pushforward {named}--help", arguments)
    except InputError as error:
        return _fail(2, error.spelled(in_shell), arguments)
    except KeyboardInterrupt as stop:
        return _fail(1, str(stop) or "stopped; nothing was written", arguments)
    except UnicodeEncodeError as error:
        text = error.object[max(error.start - 20, 0) : error.end + 20]
        return _fail(2, f"{text!r}: is no text in UTF-8; in a locale without it, set PYTHONUTF8=1", arguments)
    except (BrokenPipeError, SystemExit):  # the latter of help that is written by rich
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at exit
        print("pushforward: standard output was closed before all was written", file=sys.stderr)
        return 0
    except NotSaved as error:
        return _fail(1, str(error), arguments)
    except Exception as error:
        if os.environ.get("PUSHFORWARD_TRACEBACK"):
            raise
        if isinstance(error, OSError) and error.strerror:
            named = f"{error.filename}: " if error.filename else ""
            return _fail(2 if error.errno == errno.ENAMETOOLONG else 1, f"{named}{reason(error)}", arguments)
        sentence = f"{type(error).__name__}: {error}".splitlines()[0]
        return _fail(1, f"{sentence} (PUSHFORWARD_TRACEBACK=1 shows where)", arguments)
    return 0


def _fail(code: int, sentence: str, arguments: Sequence[str]) -> int:
    for argument in arguments:  # as typed: a password may contain anything
        sentence = sentence.replace(argument, without_credentials(argument)) if "://" in argument else sentence
    sentence = without_credentials(sentence)
    print(f"pushforward: {sentence}", file=sys.stderr)
    if "--json" in arguments:
        print(json.dumps({"error": sentence}))
    return code


def _note(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as a line for people, without the line of code it comes from."""
    print(f"note: {spelled(str(message).splitlines()[0], in_shell)}", file=sys.stderr, flush=True)
