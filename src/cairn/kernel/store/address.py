"""Where the database is: a file of SQLite, or a MariaDB or MySQL server.

    /var/lib/cairn/cairn.db                                    a file
    sqlite:///var/lib/cairn/cairn.db                           the same
    mysql://cairn:secret@10.0.0.5:3306/cairn?ssl_ca=/etc/ca    a server, over TLS
    mysql://cairn@/cairn?unix_socket=/run/mysqld/mysqld.sock   a server on this machine

``mariadb://`` says the same as ``mysql://``. A password may lie in a file (``password_file=``) instead of in the address.
``writers=`` says how many connections of a node write, from 1 to 16.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind

_PORT = 3306
_FILES = ("ssl_ca", "ssl_cert", "ssl_key")
_OPTIONS = ("unix_socket", "password_file", "writers", *_FILES)
#: connections of a node that write, unless the address says another number, and how many it may say
WRITERS, _MOST_WRITERS = 4, 16


class ServerAddress(Struct, frozen=True, kw_only=True):
    """A database on a server. Printed, it does not show the password.

    Attributes:
        host: name or address; empty with `socket`.
        socket: the server's Unix socket; empty: `host` and `port`.
        database: the name of the database, which must exist.
        ssl_ca: file of the authorities that the server's certificate must be of; empty: no TLS.
        ssl_cert: file of our own certificate, where the server asks for one.
        ssl_key: file of the key to it.
        writers: how many connections of one node write.
    """

    database: str
    user: str
    password: str = ""
    host: str = ""
    port: int = _PORT
    socket: str = ""
    ssl_ca: str = ""
    ssl_cert: str = ""
    ssl_key: str = ""
    writers: int = WRITERS

    def __repr__(self) -> str:
        return f"ServerAddress({self})"

    def __str__(self) -> str:
        where = self.socket or f"{self.host}:{self.port}"
        return f"database {self.database} of {where}"


def database_at(url_or_path: str | Path) -> Path | ServerAddress:
    """What a path or an address names; see the head of this module.

    Raises:
        CairnError: ``store.bad-url``. It never shows the address, as a password may be in it.
    """
    text = str(url_or_path)
    if text.startswith("sqlite:///"):
        return Path(text.removeprefix("sqlite:///"))
    scheme, has_scheme, _ = text.partition("://")
    if not has_scheme:
        return Path(text)
    if scheme not in ("mysql", "mariadb"):
        raise _bad(f"{scheme!r} is not a database that cairn can open; sqlite, mysql and mariadb are")
    return _server(text)


def _server(text: str) -> ServerAddress:
    try:
        parts = urlsplit(text)
        port = parts.port or _PORT
    except ValueError:
        raise _bad("its host or port cannot be read; mysql://user:password@host:port/name fits") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise _bad(f"it has the options {', '.join(unknown)}; those known are {', '.join(_OPTIONS)}")
    name = unquote(parts.path.removeprefix("/"))
    if not name or "/" in name or not parts.username:
        raise _bad("it needs a user and the name of a database: mysql://user:password@host:port/name")
    socket = options.get("unix_socket", "")
    if bool(socket) == bool(parts.hostname):
        raise _bad("it needs either a host or unix_socket, and not both")
    if (options.get("ssl_cert") or options.get("ssl_key")) and not options.get("ssl_ca"):
        raise _bad("it has ssl_cert or ssl_key without ssl_ca, the authority that the server's certificate must be of")
    return ServerAddress(
        database=name,
        user=unquote(parts.username),
        password=_password(parts, options),
        host=parts.hostname or "",
        port=port,
        socket=socket,
        writers=_writers(options.get("writers", str(WRITERS))),
        **{key: _file(key, options[key]) for key in _FILES if options.get(key)},
    )


def _writers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:9]) <= _MOST_WRITERS:
        raise _bad(f"writers is {text[:20]!r}; a number from 1 to {_MOST_WRITERS} would fit")
    return int(text)


def _password(parts: SplitResult, options: dict[str, str]) -> str:
    if "password_file" not in options:
        return unquote(parts.password or "")
    if parts.password:
        raise _bad("it has a password and a password_file; one of them fits")
    try:
        return Path(options["password_file"]).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise _bad(f"the file that password_file names cannot be read ({type(error).__name__})") from None


def _file(option: str, name: str) -> str:
    if not Path(name).is_file():
        raise _bad(f"{option} names {name}, which is no file")
    return name


def _bad(what: str) -> CairnError:
    text = f"The address of the database (CAIRN_DATABASE) does not fit: {what}."
    return CairnError("store.bad-url", text, kind=ErrorKind.INVALID)
