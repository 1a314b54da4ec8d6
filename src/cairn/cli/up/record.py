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

from cairn.kernel.membership import NODE_LOCK
from cairn.simulator.world import LOCK_SUFFIX

_NAME = "up.json"
#: the folder of the data folders of further nodes
NODES = "nodes"
#: the world of the folder's simulator
SIMULATOR_STATE = "simulator.json"
SIMULATOR_LOCK = SIMULATOR_STATE + LOCK_SUFFIX


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


def locks(data_dir: Path) -> list[str]:
    """The locks that programs which work in the folder hold, or would hold, as paths below it."""
    found = {str(path.relative_to(data_dir)) for path in data_dir.glob(f"*{LOCK_SUFFIX}")}
    further = {str(path.relative_to(data_dir) / NODE_LOCK) for path in data_dir.glob(f"{NODES}/*") if path.is_dir()}
    return sorted({NODE_LOCK, SIMULATOR_LOCK, *found, *further})


def remove(data_dir: Path) -> bool:
    """Delete all that `up` has made in the folder; False if there may be other things in it. Safe to repeat.

    The caller holds the folder's `locks`, so that no program works in it meanwhile.
    """
    found = read(data_dir)
    if found is None:
        return False
    for entry in data_dir.iterdir():
        if entry.name == _NAME or entry.suffix == LOCK_SUFFIX:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    # The locks, which the caller holds, go when nothing is left that a program could work with.
    for name in locks(data_dir):
        (data_dir / name).unlink(missing_ok=True)
    # The record goes last: broken off in the middle, the next `down` still knows that all of it may go.
    (data_dir / _NAME).unlink()
    if found.made_folder:
        with suppress(OSError):
            data_dir.rmdir()
    return True
