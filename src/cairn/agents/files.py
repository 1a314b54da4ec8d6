"""Folders that the cloud may write to, and the free space of their disks."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from cairn.agents.blocking import KeyedLocks
from cairn.agents.errors import AgentError, is_no_space, no_space
from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import Capacity
from cairn.agents.state import Record

_BLOCK_BYTES = 512  #: what `st_blocks` counts, whatever the file system's own blocks are

#: Neither these nor anything below them.
_FORBIDDEN_TREES = tuple(
    Path(p)
    for p in ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr")
)
#: Not these themselves; folders below them are fine.
_FORBIDDEN_FOLDERS = frozenset(
    Path(p)
    for p in (
        "/",
        "/home",
        "/media",
        "/mnt",
        "/opt",
        "/root",
        "/srv",
        "/tmp",  # noqa: S108
        "/var",
        "/var/lib",
        "/var/log",
        "/var/tmp",  # noqa: S108
    )
)


class PreparedFolders(Struct, frozen=True):
    """The prepared folders as they are kept on disk, over restarts of the agent."""

    paths: list[str] = []
    names: dict[str, str] = {}  #: as a command named it -> the path that it really is


class Folders:
    """The folders that `InitStorage` has prepared: nothing outside of them is ever written or removed.

    Every path that a command names is resolved first (``..`` and symbolic links), so that none leads out. Code that
    makes or removes a file holds its lock in `locks`, by the path that `confine` answers.
    """

    def __init__(self, record: Record[PreparedFolders], own_data: Path) -> None:
        """`own_data` is the agent's data folder, which is not storage."""
        self._record = record
        self._own_data = own_data.resolve()
        self.locks = KeyedLocks()
        saved = record.load()
        self._paths = [Path(p) for p in saved.paths] if saved is not None else []
        self._names = dict(saved.names) if saved is not None else {}

    @property
    def paths(self) -> list[Path]:
        """The prepared folders, in the order in which they were prepared."""
        return list(self._paths)

    @property
    def by_name(self) -> dict[str, Path]:
        """The prepared folders by the names that commands gave them, which may lead over links."""
        return {str(path): path for path in self._paths} | {name: Path(path) for name, path in self._names.items()}

    def prepare(self, path: str) -> Path:
        """Make `path` a storage folder and return it resolved. Safe to repeat.

        Raises:
            AgentError: ``agent.path-refused``, ``agent.no-space``.
        """
        resolved = self._checked(path)
        try:
            resolved.mkdir(parents=True, exist_ok=True)
            probe = resolved / f".cairn-probe-{os.getpid()}"
            probe.write_bytes(b"cairn")
            probe.unlink()
        except OSError as error:
            if is_no_space(error):
                raise no_space(resolved, None, free_bytes(resolved)) from error
            raise AgentError(
                codes.PATH_REFUSED, f"{path} cannot be used as storage: {error.strerror}. Give a writable folder."
            ) from error
        if resolved not in self._paths or self.by_name.get(path) != resolved:
            self._paths += [resolved] if resolved not in self._paths else []
            self._names[path] = str(resolved)
            self._record.save(PreparedFolders([str(p) for p in self._paths], self._names))
        return resolved

    def confine(self, path: str) -> Path:
        """`path` with its folder resolved, if that is in a prepared folder. The last part is not followed.

        Raises:
            AgentError: ``agent.path-refused``.
        """
        given = Path(path)
        if not given.is_absolute() or not given.name or ".." in given.parts or "\0" in path:
            raise AgentError(codes.PATH_REFUSED, f"{path!r} is not an absolute path of a file.")
        resolved = given.parent.resolve() / given.name
        if not any(resolved.parent == folder or folder in resolved.parents for folder in self._paths):
            prepared = ", ".join(map(str, self._paths)) or "none"
            raise AgentError(
                codes.PATH_REFUSED, f"{path} is outside of the prepared storage folders ({prepared}). Prepare it first."
            )
        if resolved.is_symlink() or (resolved.exists() and not resolved.is_file()):
            raise AgentError(codes.PATH_REFUSED, f"{path} is not a regular file. Look at what it is on the machine.")
        return resolved

    def delete(self, path: str) -> None:
        """Remove the file, and its folder once that is empty. Nothing there is success.

        Raises:
            AgentError: ``agent.path-refused``.
        """
        resolved = self.confine(path)
        resolved.unlink(missing_ok=True)
        if resolved.parent not in self._paths and resolved.parent.is_dir() and not any(resolved.parent.iterdir()):
            resolved.parent.rmdir()

    def _checked(self, path: str) -> Path:
        if "\0" in path or not Path(path).is_absolute():
            raise AgentError(codes.PATH_REFUSED, f"{path!r} is relative; storage wants an absolute path.")
        resolved = Path(path).resolve()
        if resolved in _FORBIDDEN_FOLDERS or any(t == resolved or t in resolved.parents for t in _FORBIDDEN_TREES):
            raise AgentError(
                codes.PATH_REFUSED,
                f"{path} is a folder of the system. Give one for cairn alone, e.g. /var/lib/cairn-ps.",
            )
        if resolved == self._own_data or resolved in self._own_data.parents or self._own_data in resolved.parents:
            raise AgentError(codes.PATH_REFUSED, f"{path} holds, or is in, the agent's own data. Give another folder.")
        return resolved


def capacity(path: Path) -> Capacity:
    """Bytes of the file system under `path`.

    Raises:
        AgentError: ``agent.missing-file``.
    """
    try:
        usage, device = shutil.disk_usage(path), path.stat().st_dev
    except FileNotFoundError:
        raise AgentError(codes.MISSING_FILE, f"{path} does not exist. Prepare the storage again (reconnect).") from None
    return Capacity(
        total_bytes=usage.total,
        available_bytes=usage.free,
        used_bytes=used_bytes(path, device),
        file_system=f"{device:x}",
    )


def used_bytes(folder: Path, device: int) -> int:
    """Bytes of the file system `device` that the files below `folder` take. What goes away meanwhile is passed over."""
    used = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if found.st_dev == device:
                    used += found.st_blocks * _BLOCK_BYTES
                    used += used_bytes(Path(entry.path), device) if entry.is_dir(follow_symlinks=False) else 0
    return used


def free_bytes(path: Path) -> int:
    """Bytes that can be written below `path`, or below the nearest folder above it that exists."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def temporary_of(path: Path) -> Path:
    """The name under which the file of `path` is made before it is renamed into place."""
    return path.with_name(f".{path.name}.part")
