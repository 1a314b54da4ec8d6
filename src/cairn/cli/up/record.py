"""Remembers what ``cairn up`` has made in a data folder, so that ``cairn down`` takes away that, and nothing else.

The record is written only into a folder that was missing or empty: then everything in it came from ``up`` and the
programs that it started. A folder in which an operator keeps a node of their own never has one.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

_NAME = "up.json"


class Record(Struct, frozen=True, kw_only=True):
    """The kind of cloud that ``cairn up`` made here."""

    kind: str  #: real or simulated; the latest
    url: str
    made_folder: bool


def begin(data_dir: Path, kind: str, url: str) -> None:
    """Say that `up` is at work in the folder; makes it if missing."""
    old = read(data_dir)
    made_folder = old.made_folder if old is not None else not data_dir.exists()
    if old is None and not made_folder and any(data_dir.iterdir()):
        return
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data_dir / _NAME).write_bytes(msgspec.json.encode(Record(kind=kind, url=url, made_folder=made_folder)))


def read(data_dir: Path) -> Record | None:
    """The record, if `up` made what is in the folder."""
    try:
        return msgspec.json.decode((data_dir / _NAME).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None


def remove(data_dir: Path) -> bool:
    """Delete all that `up` has made in the folder; False if there may be other things in it. Safe to repeat."""
    found = read(data_dir)
    if found is None:
        return False
    for entry in data_dir.iterdir():
        if entry.name == _NAME:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    # The record goes last: broken off in the middle, the next `down` still knows that all of it may go.
    (data_dir / _NAME).unlink()
    if found.made_folder:
        with suppress(OSError):
            data_dir.rmdir()
    return True
