"""Who the agent is and whom it trusts: its certificate, and the revoked ones. Both are renewed while it runs: `RenewTrust`.

A new certificate comes over a connection that the old one secures, so a machine need not be logged in to. Certificate and
key are two files, and there is no moment at which two files change. Both are first written beside their places; a start that
finds a pair that does not fit together finishes what was begun.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from msgspec import Struct

from cairn.agents import log
from cairn.agents.blocking import in_thread
from cairn.agents.commands import handles
from cairn.agents.config import TlsFiles
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.peer import UNTRUSTED, PeerContext, common_name
from cairn.agents.protocol.trust import RenewTrust, revocation_of, trust_of
from cairn.agents.protocol.wire import Done
from cairn.agents.state import Record, write_atomically
from cairn.agents.tls import machine_context, node_context, server_context


class RevokedSerials(Struct, frozen=True):
    """Serial numbers, in hexadecimal, of certificates that are good no longer."""

    serials: list[str]


class Shown(Struct, frozen=True):
    """What the agent's certificate says of itself."""

    ends: float = 0.0  #: seconds since the epoch
    issuer: str = ""  #: the name of the root that signed it


class Trust:
    """Answers `RenewTrust`, and makes the TLS contexts that follow it.

    Args:
        files: of the agent's certificate; None: it speaks without TLS, on loopback.
        record: keeps the revoked serial numbers.
    """

    def __init__(self, files: TlsFiles | None, record: Record[RevokedSerials]) -> None:
        self._files = files
        self._record = record
        self._contexts: list[PeerContext] = []
        self._shown = Shown()
        self._names: frozenset[str] = frozenset()
        kept = record.load()
        self._set_revoked(kept.serials if kept is not None else [])
        if files is not None:
            _finish(files)
            self._names = _roots_in(files)
            self._shown = _shown_by(files)

    @property
    def certificate_ends(self) -> float:
        """When the certificate ends, in seconds since the epoch; 0 without one."""
        return self._shown.ends

    @property
    def issuer(self) -> str:
        """The name of the root that signed the certificate; empty without one."""
        return self._shown.issuer

    @property
    def roots(self) -> str:
        """The digest of the roots that are trusted; empty without TLS."""
        return trust_of(self._names) if self._names else ""

    @property
    def revocation(self) -> str:
        """The digest of the revoked certificates that are known."""
        return self._revocation

    def for_listening(self) -> PeerContext | None:
        """The context of the agent's own server; None without TLS."""
        return self._made(server_context(self._files, self._is_revoked)) if self._files is not None else None

    def for_nodes(self) -> PeerContext | None:
        """The context for replies and reports to the management node; None without TLS."""
        return self._made(node_context(self._files)) if self._files is not None else None

    def for_machines(self) -> PeerContext | None:
        """The context for fetching images from backup servers; None without TLS."""
        return self._made(machine_context(self._files, self._is_revoked)) if self._files is not None else None

    @handles(RenewTrust)
    async def renew(self, command: RenewTrust) -> Done:
        """Keep what the node sends, and use it for all connections from now on."""
        files = self._files
        if files is None:
            raise AgentError(codes.MISSING_FEATURE, "This agent speaks without TLS: it has no certificate to renew.")
        await in_thread(self._record.save, RevokedSerials(command.revoked))
        self._set_revoked(command.revoked)
        if command.authority is not None:
            await in_thread(_replace_roots, files, command.authority)
            self._names = _roots_in(files)
            for context in self._contexts:
                context.load_verify_locations(files.ca)  # what was withdrawn they know still, and `_made` refuses
        if command.certificate is not None and command.key is not None:
            await in_thread(_replace, files, command.certificate, command.key)
            for context in self._contexts:
                context.load_cert_chain(files.cert, files.key)
            log.info("certificate.renewed")
        self._shown = _shown_by(files)
        return Done()

    def _made(self, context: PeerContext) -> PeerContext:
        welcome = context.judge
        context.judge = lambda peer: welcome(peer) or (None if peer.issuer in self._names else UNTRUSTED)
        self._contexts.append(context)
        return context

    def _set_revoked(self, serials: list[str]) -> None:
        self._revoked = frozenset(int(serial, 16) for serial in serials)
        self._revocation = revocation_of(serials)

    def _is_revoked(self, serial: int) -> bool:
        return serial in self._revoked


def _replace(files: TlsFiles, certificate: str, key: str) -> None:
    """Put a new pair in the place of the old one; `_finish` does the rest if this is broken off.

    Raises:
        AgentError: ``agent.bad-request`` if the two do not belong together; nothing has changed then.
    """
    new = _beside(files)
    write_atomically(Path(new.key), key.encode())
    write_atomically(Path(new.cert), certificate.encode(), mode=0o644)
    if not _fits(new):
        raise AgentError(codes.BAD_REQUEST, "The certificate and the key that were sent do not belong together.")
    _move(files)


def _finish(files: TlsFiles) -> None:
    """Finish a replacement that was broken off between its two files."""
    if not _fits(files) and _fits(TlsFiles(ca=files.ca, cert=_beside(files).cert, key=files.key)):
        Path(_beside(files).cert).replace(files.cert)


def _move(files: TlsFiles) -> None:
    Path(_beside(files).key).replace(files.key)
    Path(_beside(files).cert).replace(files.cert)


def _beside(files: TlsFiles) -> TlsFiles:
    return TlsFiles(ca=files.ca, cert=f"{files.cert}.new", key=f"{files.key}.new")


def _fits(files: TlsFiles) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.cert, files.key)
    except (OSError, ssl.SSLError):
        return False
    return True


def _replace_roots(files: TlsFiles, authority: str) -> None:
    """Put the roots in the place of those before.

    Raises:
        AgentError: ``agent.bad-request`` if they are none; nothing has changed then.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=authority)
    except (ssl.SSLError, ValueError):
        raise AgentError(codes.BAD_REQUEST, "The authority that was sent is not made of certificates.") from None
    write_atomically(Path(files.ca), authority.encode(), mode=0o644)


def _roots_in(files: TlsFiles) -> frozenset[str]:
    """The names of the roots in the agent's file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.ca)
    return frozenset(common_name(root["subject"]) for root in context.get_ca_certs())


def _shown_by(files: TlsFiles) -> Shown:
    """What the certificate says; nothing if it is not good. The standard library reads only certificates that it was shown.

    So it is shown: in a handshake with itself, in memory.
    """
    serving, calling = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    serving.load_cert_chain(files.cert, files.key)
    calling.check_hostname = False
    calling.load_verify_locations(files.ca)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(up, down, server_side=True)
    client = calling.wrap_bio(down, up)
    for end in (client, server, client):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return Shown()
    certificate = client.getpeercert()
    if not certificate:
        return Shown()
    ends = float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))
    return Shown(ends=ends, issuer=common_name(certificate["issuer"]))
