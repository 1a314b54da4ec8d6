"""TLS of the agents, in both directions with certificates of the cloud's own authority."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

from cairn.agents.config import TlsFiles
from cairn.agents.protocol.peer import Peer, PeerContext, PeerRole, peer_context, peer_of

#: Whether the certificate with this serial number is no longer good.
Revoked = Callable[[int], bool]


def server_context(files: TlsFiles, revoked: Revoked) -> PeerContext:
    """For listening: nodes and machines of the cloud, with a certificate that was not revoked.

    Who of them may do what is up to the server (`is_management_node`).
    """

    def judge(peer: Peer) -> str | None:
        return _REVOKED if revoked(peer.serial) else None

    return peer_context(ssl.PROTOCOL_TLS_SERVER, files.ca, files.cert, files.key, judge)


def node_context(files: TlsFiles) -> PeerContext:
    """For calling a management node, by whatever address reaches it: no machine can take its place."""

    def judge(peer: Peer) -> str | None:
        return None if peer.role is PeerRole.NODE else f"is the {peer}, and not a management node"

    return peer_context(ssl.PROTOCOL_TLS_CLIENT, files.ca, files.cert, files.key, judge)


def machine_context(files: TlsFiles, revoked: Revoked) -> PeerContext:
    """For fetching images from another machine of the cloud: its certificate must be for the address that is called."""

    def judge(peer: Peer) -> str | None:
        return _REVOKED if revoked(peer.serial) else None

    context = peer_context(ssl.PROTOCOL_TLS_CLIENT, files.ca, files.cert, files.key, judge)
    context.check_hostname = True
    return context


def is_management_node(certificate: Mapping[str, object] | None) -> bool:
    """Whether a verified peer certificate (as `ssl.SSLSocket.getpeercert` shows it) is a management node's."""
    peer = peer_of(certificate)
    return peer is not None and peer.role is PeerRole.NODE


_REVOKED = "has a certificate that was revoked: it was taken out of the cloud"
