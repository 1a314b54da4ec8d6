"""TLS of the agents, in both directions with certificates of the cloud's own authority."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping

from cairn.agents.config import TlsFiles

#: Common name or organisational unit of the management node's certificate.
MANAGEMENT_NODE = "cairn-management-node"


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For listening: TLS 1.2 or later, and only clients with a certificate of the cloud's authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.cert, files.key)
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For calling the management node and the backup server.

    The other side must have a certificate of the cloud's authority, which signs for no other machine. Its name is not
    compared with the URL: machines are addressed by whatever address reaches them.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=files.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.cert, files.key)
    return context


def is_management_node(certificate: Mapping[str, object] | None) -> bool:
    """Whether a verified peer certificate (as `ssl.SSLSocket.getpeercert` shows it) is the management node's."""
    names = _subject(certificate or {})
    return MANAGEMENT_NODE in (value for key, value in names if key in ("commonName", "organizationalUnitName"))


def _subject(certificate: Mapping[str, object]) -> list[tuple[str, str]]:
    """The subject's names. `getpeercert` gives a tuple of RDNs, each a tuple of (key, value)."""
    subject = certificate.get("subject", ())
    found: list[tuple[str, str]] = []
    for rdn in subject if isinstance(subject, Iterable) else ():
        found.extend((str(key), str(value)) for key, value in rdn)
    return found
