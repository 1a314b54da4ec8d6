"""Keeps sessions between commands, and finds passwords without asking for them.

The file holds a session per node's URL, never a password. The admin's password file is used only for a node on this
machine: it must not be sent to another address.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

ADMIN = "admin"
_PASSWORD_FILE = "admin-password"  # noqa: S105 - a file's name


class Session(Struct, frozen=True, kw_only=True):
    """A session with a node, and the account that it is for."""

    uuid: str
    account: str


class _File(Struct, frozen=True):
    sessions: dict[str, Session] = {}


class SessionStore:
    """The session of each node, in a file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, url: str) -> Session | None:
        """The session kept for the node at `url`."""
        return self._read().get(url)

    def put(self, url: str, session: Session) -> None:
        """Keep a session. A file that cannot be written is not an error: the next command logs in again."""
        self._write({**self._read(), url: session})

    def drop(self, url: str) -> None:
        """Forget the session for `url`. Safe to repeat."""
        sessions = self._read()
        if sessions.pop(url, None) is not None:
            self._write(sessions)

    def _read(self) -> dict[str, Session]:
        try:
            return dict(msgspec.json.decode(self._path.read_bytes(), type=_File).sessions)
        except (OSError, msgspec.MsgspecError):
            return {}

    def _write(self, sessions: dict[str, Session]) -> None:
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(_File(sessions))))
            fresh.replace(self._path)


def config_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the command line keeps sessions and history: ``$XDG_CONFIG_HOME/cairn`` or ``~/.config/cairn``."""
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "cairn"


class Credentials:
    """Passwords that are available without asking.

    Args:
        data_dir: of a node on this machine.
        environment: ``CAIRN_PASSWORD`` in it wins.
    """

    def __init__(self, data_dir: Path, environment: Mapping[str, str] = os.environ) -> None:
        self._data_dir = data_dir
        self._given = environment.get("CAIRN_PASSWORD")
        self.account = environment.get("CAIRN_ACCOUNT") or ADMIN

    def password(self, url: str, account: str) -> str | None:
        """The password of `account` at the node `url`; None when somebody has to be asked."""
        if self._given is not None:
            return self._given
        if account != ADMIN or not is_local(url):
            return None
        try:
            return (self._data_dir / _PASSWORD_FILE).read_text().strip() or None
        except OSError:
            return None


def is_local(url: str) -> bool:
    """Whether `url` is on this machine for certain: localhost, or a loopback address."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
