"""An agent's memory across restarts: small JSON files in its data folder, replaced atomically."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

S = TypeVar("S", bound=Struct)


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write `data` to `path` so that it is whole even after a power cut. Missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)


class Record(Generic[S]):
    """One struct in one file of mode 0600."""

    def __init__(self, path: Path, kind: type[S]) -> None:
        self._path = path
        self._kind = kind

    def load(self) -> S | None:
        """The saved struct; None if there is none, or none that can be read (the file is then put aside)."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=self._kind)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:
            self._path.replace(self._path.with_suffix(".unreadable"))
            return None

    def save(self, value: S) -> None:
        """Replace the saved struct, atomically."""
        write_atomically(self._path, msgspec.json.encode(value))

    def remove(self) -> None:
        """Remove the file. Nothing there is success."""
        self._path.unlink(missing_ok=True)


class Records(Generic[S]):
    """A folder of structs of one kind, by key (a uuid or an interface name: never a path)."""

    def __init__(self, folder: Path, kind: type[S]) -> None:
        self._folder = folder
        self._kind = kind

    def record(self, key: str) -> Record[S]:
        """The record of `key`, whether it was saved or not."""
        return Record(self._folder / f"{key}.json", self._kind)

    def __iter__(self) -> Iterator[S]:
        """Everything that is saved, by key."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob("*.json")):
            value = Record(path, self._kind).load()
            if value is not None:
                yield value
