"""Who is at the other end of a TLS connection, by its certificate, on both sides.

A certificate of the cloud's authority proves only "of this cloud". Who it is stands in it as one URI among its alternative
names, ``cairn:node/<id>`` or ``cairn:agent/<uuid>``. Names and addresses in a certificate are for people: a machine may be
called anything, also like the management node.

Each connection is looked at when its handshake is done, before a byte of the other side is used (`PeerContext`). So no
code that opens or accepts connections can forget it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

_SCHEME: Final = "cairn:"
#: why a holder of a certificate is not welcome whose root was withdrawn, while contexts still know it
UNTRUSTED: Final = "has a certificate of an authority that is not trusted any more"


class PeerRole(StrEnum):
    """The part that a holder of a certificate plays."""

    NODE = "node"  #: a management node: it may give commands
    AGENT = "agent"  #: the agent of one machine


class Peer(Struct, frozen=True):
    """The holder of a certificate."""

    role: PeerRole
    uuid: str  #: the node's id, or the machine's uuid
    serial: int = 0  #: of the certificate; what a revocation names
    issuer: str = ""  #: the name of the root that signed the certificate

    def __str__(self) -> str:
        return f"{self.role.value} {self.uuid}"


#: Says why a peer is not welcome, as the end of "the other side ..."; None: it is.
Judge = Callable[[Peer], str | None]


def peer_uri(role: PeerRole, uuid: str) -> str:
    """The alternative name that says who a certificate is for."""
    return f"{_SCHEME}{role.value}/{uuid}"


def peer_of(certificate: Mapping[str, object] | None) -> Peer | None:
    """The holder of a verified certificate, as `ssl.SSLObject.getpeercert` shows it; None if it does not say exactly one."""
    if not certificate:
        return None
    names = certificate.get("subjectAltName", ())
    assert isinstance(names, tuple)
    uris = [str(name) for kind, name in names if kind == "URI" and str(name).startswith(_SCHEME)]
    if len(uris) != 1:
        return None
    role, found, uuid = uris[0].removeprefix(_SCHEME).partition("/")
    if not found or not uuid or role not in list(PeerRole):
        return None
    issuer = common_name(certificate.get("issuer"))
    return Peer(PeerRole(role), uuid, int(str(certificate.get("serialNumber", "0")), 16), issuer)


def common_name(name: object) -> str:
    """The common name in a name, as `ssl.SSLObject.getpeercert` shows it; empty if there is none."""
    parts = name if isinstance(name, tuple) else ()
    return next((str(value) for part in parts for key, value in part if key == "commonName"), "")


class WrongPeer(ssl.SSLCertVerificationError):
    """The certificate is of this cloud, and its holder is not the one that is wanted here."""


class _JudgedObject(ssl.SSLObject):
    """A connection of asyncio."""

    def do_handshake(self) -> None:
        """Refuse the other side once it is known who it is."""
        super().do_handshake()
        _judge(self.context, self.getpeercert())


class _JudgedSocket(ssl.SSLSocket):
    """A connection over a plain socket."""

    def do_handshake(self, block: bool = False) -> None:
        """Refuse the other side once it is known who it is."""
        super().do_handshake(block)
        _judge(self.context, self.getpeercert())


class PeerContext(ssl.SSLContext):
    """A TLS context that lets in only holders of certificates whom `judge` welcomes. Made by `peer_context`."""

    sslobject_class = _JudgedObject
    sslsocket_class = _JudgedSocket
    judge: Judge


def peer_context(protocol: int, authority: str, certificate: str, key: str, judge: Judge) -> PeerContext:
    """A context that shows a certificate, demands one of the same authority, and has its holder judged.

    The name or address in the other's certificate is not compared; set `check_hostname` where the address is what counts.

    Args:
        protocol: ``ssl.PROTOCOL_TLS_CLIENT`` or ``ssl.PROTOCOL_TLS_SERVER``.
        authority: the path of the authority's certificate; `certificate` and `key` are paths too.
        judge: called for each new connection.
    """
    context = PeerContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)
    context.load_cert_chain(certificate, key)
    context.judge = judge
    return context


def explain(error: Exception) -> str:
    """Why no TLS connection came about, in words; other errors say it themselves."""
    if isinstance(error, WrongPeer) or not isinstance(error, ssl.SSLError):
        return str(error)
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0
    said = str(error).lower()
    if code == _NOT_YET or "not yet valid" in said:
        return (
            "its certificate is not valid yet: this machine's clock is behind, or the other's was ahead when the certificate "
            "was made. Set both clocks (NTP)"
        )
    if code == _EXPIRED or "certificate expired" in said or "certificate has expired" in said:
        return "a certificate has expired. Look at both clocks (NTP); if they are right, reconnect the machine"
    if "alert" in said:
        reason = getattr(error, "reason", None) or error
        return (
            f"the other side refuses this side's certificate ({reason}). It is of another cloud, or its clock is wrong: set it "
            "(NTP), or reconnect the machine"
        )
    return str(error)


_NOT_YET: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED


def _judge(context: ssl.SSLContext, certificate: Mapping[str, object] | None) -> None:
    assert isinstance(context, PeerContext)
    peer = peer_of(certificate)
    why = context.judge(peer) if peer is not None else "has a certificate that does not say who it is"
    if why is not None:
        raise WrongPeer(ssl.SSL_ERROR_SSL, f"the other side {why}")
