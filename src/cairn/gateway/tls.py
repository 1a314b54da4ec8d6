"""Which addresses of the API speak TLS, and with which certificate.

By default an address that only programs of this machine can reach is plain, and any other speaks TLS: with the operator's
certificate, or with one that the cloud's own authority makes, whose root clients are given (``pki/ca.crt``).
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from socket import getfqdn, gethostname

import structlog
from msgspec import Struct

from cairn.gateway.server import Address
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.error import CairnError, ErrorKind, invalid
from cairn.kernel.settings import Settings, listeners

_CHOICES = ("auto", "always", "never")
_log = structlog.get_logger("cairn.gateway")


class ApiAddresses(Struct, frozen=True, kw_only=True):
    """The addresses of the API, by how they speak."""

    plain: list[Address]
    tls: list[Address]


def api_addresses(settings: Settings) -> ApiAddresses:
    """The addresses that the settings name.

    Raises:
        CairnError: ``settings.bad-value``.
    """
    if settings.tls not in _CHOICES:
        raise invalid("settings.bad-value", "CAIRN_TLS", settings.tls, f"one of {', '.join(_CHOICES)} would fit")
    found = ApiAddresses(plain=[], tls=[])
    for host, port in listeners("CAIRN_LISTEN", settings.listen):
        secret = settings.tls == "always" or (settings.tls == "auto" and not is_loopback(host))
        (found.tls if secret else found.plain).append((host, port))
    return found


class ApiCertificate:
    """The certificate that the API shows.

    Args:
        settings: may name the operator's own, and the key to it.
        authority: makes one if there is none.
        hosts: names and addresses that the node listens on.

    Raises:
        CairnError: ``settings.bad-certificate``.
    """

    def __init__(self, settings: Settings, authority: Authority, hosts: Sequence[str]) -> None:
        self._files: tuple[Path, Path] | None = None
        self._seen: tuple[int, ...] = ()
        if bool(settings.tls_certificate) != bool(settings.tls_key):
            raise _bad("CAIRN_TLS_CERTIFICATE and CAIRN_TLS_KEY belong together, and only one of them is there")
        if settings.tls_certificate:
            self._files = (Path(settings.tls_certificate), Path(settings.tls_key))
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._load(*self._files)
        else:
            names = [name.strip() for name in settings.tls_names.split(",") if name.strip()]
            authority.issue_node([*(host for host in hosts if not _is_any(host)), gethostname(), getfqdn(), *names])
            self.context = authority.open_context()

    def reload(self) -> bool:
        """Load the operator's files again if they have changed; whether they had. New connections are shown the new one."""
        if self._files is None or self._changed() == self._seen:
            return False
        try:
            self._load(*self._files)
        except CairnError as error:
            _log.error("gateway.certificate-not-renewed", error=str(error))
            return False
        _log.info("gateway.certificate-renewed", file=str(self._files[0]))
        return True

    def _load(self, certificate: Path, key: Path) -> None:
        self._seen = self._changed()
        try:
            self.context.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:
            raise _bad(f"{certificate} with the key {key} cannot be used: {error}") from error

    def _changed(self) -> tuple[int, ...]:
        assert self._files is not None, "only the operator's files change"
        return tuple(file.stat().st_mtime_ns for file in self._files if file.exists())


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach it: localhost, or a loopback address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _bad(what: str) -> CairnError:
    return CairnError(
        "settings.bad-certificate",
        f"The API's certificate: {what}. Give a chain and its key, both PEM and without a passphrase, or neither: then the "
        "cloud's own authority makes one.",
        kind=ErrorKind.INVALID,
    )
