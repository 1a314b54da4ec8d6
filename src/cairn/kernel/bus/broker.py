"""The address of the broker, as the setting says it::

    amqps://cairn:secret@mq.example.org:5671/cloud?cafile=/etc/cairn/mq.pem

Deny by default: over plain AMQP commands and the passwords in them can be read on the way, so that is for this machine's own
broker, unless the address says that it is meant. What is wrong is told without the password.
"""

from __future__ import annotations

import re
import ssl
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind

VARIABLE = "CAIRN_BROKER"
_PASSWORD_VARIABLE = "CAIRN_BROKER_PASSWORD_FILE"  # noqa: S105 - the name of a setting
_FITS = "amqps://user:password@host:port/vhost?cafile=FILE would fit"
_PORTS = {"amqp": 5672, "amqps": 5671}
_OPTIONS = ("cafile", "certfile", "keyfile", "heartbeat", "prefix", "plain")
_FILES = ("cafile", "certfile", "keyfile")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HEARTBEATS = range(1, 301)


class Broker(Struct, frozen=True, kw_only=True):
    """Where the broker is, and how to log in."""

    host: str
    port: int
    user: str
    password: str
    vhost: str = "/"
    tls: bool = True
    #: of the authority that the broker's certificate is from; empty: those of the system
    cafile: str = ""
    #: of our certificate and key, where the broker asks for one
    certfile: str = ""
    keyfile: str = ""
    #: seconds; a broker that is silent for three of them is given up
    heartbeat_seconds: int = 5
    #: with which the names of exchanges and queues begin; of each cloud its own, if clouds share a virtual host
    prefix: str = "cairn"

    def __repr__(self) -> str:
        return f"Broker({self.host}:{self.port}{'' if self.vhost == '/' else '/' + self.vhost})"

    def url(self, name: str) -> str:
        """With the password in it: for the library that connects. `name`: what the broker calls the connection."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = f"heartbeat={self.heartbeat_seconds}&name={quote(name, safe='')}"
        scheme = "amqps" if self.tls else "amqp"
        return f"{scheme}://{login}@{host}:{self.port}/{quote(self.vhost, safe='')}?{query}"

    def tls_context(self) -> ssl.SSLContext | None:
        """What to check the broker's certificate with; None: plain. Reads files.

        Raises:
            OSError: a file cannot be read (an `ssl.SSLError`: it is no certificate, or no key).
        """
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.cafile or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certfile:
            context.load_cert_chain(self.certfile, self.keyfile or None)
        return context


def parse_broker(text: str, password_file: str = "") -> Broker:
    """The broker of a setting.

    Args:
        text: the address.
        password_file: of the password, in its first line; empty: it is in the address.

    Raises:
        CairnError: ``settings.bad-value``.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _bad("no address", _FITS) from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.fragment:
        raise _bad("something else", _FITS)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    _check_options(options, tls=parts.scheme == "amqps")
    tls = parts.scheme == "amqps"
    if not tls and not _is_here(parts.hostname) and options.get("plain") != "yes":
        raise _bad(
            f"amqp to {parts.hostname}",
            "amqps:// would fit, or ?plain=yes if whoever sees this network may read everything, passwords too",
        )
    return Broker(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        user=unquote(parts.username or "guest"),
        password=_password(password_file) if password_file else unquote(parts.password or "guest"),
        vhost=unquote(parts.path[1:]) or "/",
        tls=tls,
        cafile=options.get("cafile", ""),
        certfile=options.get("certfile", ""),
        keyfile=options.get("keyfile", ""),
        heartbeat_seconds=int(options.get("heartbeat", "5")),
        prefix=options.get("prefix", "cairn"),
    )


def _check_options(options: dict[str, str], *, tls: bool) -> None:
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise _bad(f"?{unknown[0]}", f"of {', '.join(_OPTIONS)} each would fit")
    for name in _FILES:
        if name in options and not tls:
            raise _bad(f"?{name} with amqp://", "it is for amqps://")
        if name in options and not Path(options[name]).is_file():
            raise _bad(f"?{name}={options[name]}", "a file that is there would fit")
    heartbeat = options.get("heartbeat", "5")
    if not heartbeat.isascii() or not heartbeat.isdigit() or int(heartbeat) not in _HEARTBEATS:
        raise _bad(f"?heartbeat={heartbeat}", f"seconds from {_HEARTBEATS[0]} to {_HEARTBEATS[-1]} would fit")
    prefix = options.get("prefix", "cairn")
    if not _PREFIX.fullmatch(prefix):
        raise _bad(f"?prefix={prefix}", "up to 64 letters, digits, dots and dashes would fit")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _password(file: str) -> str:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(file, f"a file that can be read would fit ({type(error).__name__})", _PASSWORD_VARIABLE) from None
    if not lines or not lines[0]:
        raise _bad(file, "a file with the password in its first line would fit", _PASSWORD_VARIABLE)
    return lines[0]


def _bad(found: str, fits: str, variable: str = VARIABLE) -> CairnError:
    """Never with the address itself: a password may be in it."""
    return CairnError(
        "settings.bad-value",
        f"{variable}: found {found}; {fits}.",
        kind=ErrorKind.INVALID,
        fields={variable: f"found {found}; {fits}"},
    )
