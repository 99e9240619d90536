"""Atomic writes: a crash at any moment leaves the old content or the new one, never a mixture of both."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError


class NotSaved(Exception):
    """Data was not saved to where it should be; the sentence says where it is instead, or that it is lost."""


def write_file(path: Path, content: bytes) -> None:
    """Writes a file and waits until it is on disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Calls ``write(temporary path)`` and renames the result to ``path``."""
    temporary = path.with_name(f".{path.stem[:40]}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(temporary)
        with temporary.open("r+b") as file:  # Windows writes back only what is open for writing
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_file(path: Path, endings: Iterable[str]) -> None:
    """Refuses a file that could not be written, before any work is done."""
    if path.suffix.lower() not in endings:
        raise InputError(f"{path}: the ending says the format; expected {' or '.join(endings)}")
    refuse_unwritable(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file name")


def refuse_unwritable(path: Path) -> None:
    """Refuses a name that nothing can be written under, by writing nothing beside it."""
    try:
        path.exists()
        if not path.absolute().parent.is_dir():
            raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {reason(error)}") from None


def reason(error: OSError) -> str:
    """The system's message without numbers: ``no space left on device``."""
    return (error.strerror or str(error) or type(error).__name__).splitlines()[0].lower()


@contextlib.contextmanager
def temporary_sibling(path: Path) -> Iterator[Path]:
    """A new directory beside ``path``, on the same disk, so that a rename can move it there; removed afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_directory(new: Path, path: Path) -> None:
    """Replaces ``path`` by ``new`` in one step; the previous content moves to ``new``.

    Files of the old directory that have no namesake in the new one are kept.
    """
    _sync_directory(new)
    if not path.exists() or (os.name == "posix" and not any(path.iterdir())):  # elsewhere nothing takes its place
        os.rename(new, path)
    else:
        _exchange(new, path)
        for entry in new.iterdir():
            if not (path / entry.name).exists():
                os.rename(entry, path / entry.name)
    _sync_directory(path.parent)


def remove_directory(path: Path) -> None:
    """Removes a directory after renaming it, so that no reader finds half of it."""
    doomed = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    with contextlib.suppress(OSError):
        os.rename(path, doomed)
        shutil.rmtree(doomed)


def _exchange(first: Path, second: Path) -> None:
    """Swaps two directories: by one system call if Linux and the file system support it, else by three renames."""
    at_fdcwd, rename_exchange = -100, 2
    if sys.platform == "linux":
        rename = getattr(ctypes.CDLL(None), "renameat2", None)
        if rename and rename(at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second), rename_exchange) == 0:
            return
    aside = first.with_name(first.name + ".old")
    os.rename(second, aside)
    os.rename(first, second)
    os.rename(aside, first)


def _sync_directory(path: Path) -> None:
    if os.name == "posix":  # elsewhere directories cannot be opened, and need not be
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
