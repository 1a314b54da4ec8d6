"""The cloud's own certificate authority: it decides who may talk to an agent, and as whom an agent may answer.

It is one for all nodes of a cloud, and lies in their database (`cairn.kernel.deploy.model`), keys sealed: the roots, a pair for
each agent, and the serial numbers that are good no longer. Each node has a folder of its own::

    node.crt  node.key      this node, as a client of agents and as a listener for them; the authority made it
    ca.crt                  the roots that are trusted, as they are in the database: for clients of the API

Keys are written with mode 0600 into folders of mode 0700, under another name first, so that a crash in the middle
leaves no half file.

Who a certificate is for stands in it as a URI (`cairn.agents.protocol.peer`), and each connection is judged by that: the
root signs agents as well, and one agent must not command another, nor answer in another's place. Connections are judged by
what this node has in memory. What it changes itself is there at once; what another node changes, a root or a revocation, is
there when `refresh` has looked, `NEWS_SECONDS` later at most.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from cairn.agents.protocol.peer import UNTRUSTED, Judge, Peer, PeerContext, PeerRole, peer_context, peer_uri
from cairn.agents.protocol.trust import revocation_of, trust_of
from cairn.kernel.clock import Clock, SystemClock
from cairn.kernel.deploy.model import ONLY, AgentPair, SharedAuthority
from cairn.kernel.deploy.pairs import Serials, all_serials, epoch_of, pair_of, replace, revoke, revoked_since
from cairn.kernel.deploy.pem import (
    Pair,
    builder,
    certificate_pem,
    key_pem,
    key_usage,
    load_pair,
    locked,
    private_folder,
    subject_of,
    write,
    write_pair,
)
from cairn.kernel.deploy.roots import (
    Phase,
    Roots,
    announced,
    first_root,
    make_root,
    roots_in,
    switched,
    withdrawn,
)
from cairn.kernel.deploy.sharing import write_first
from cairn.kernel.error import CairnError
from cairn.kernel.store.store import Store, Tx

NODE_UNIT = "cairn-management-node"  #: the organizational unit of management nodes' certificates
AGENT_UNIT = "cairn-agent"  #: the organizational unit of agents' certificates
LEAF_VALIDITY = timedelta(days=730)
#: A certificate that has less time left than this is made anew.
RENEWAL = LEAF_VALIDITY / 3
#: how often a node looks whether another has changed anything
NEWS_SECONDS: Final = 1.0
_AGENT = "agent "  # begins the common name of agents' certificates
_UUID = re.compile(r"[0-9A-Za-z-]{1,64}")

#: Says which fields of the authority's row change; none: nothing is to be done.
_Decide = Callable[[SharedAuthority], Mapping[str, object]]


class Credentials(Struct, frozen=True, kw_only=True):
    """A certificate with its key and the root that signed it, all PEM. The key is a secret: never log it."""

    certificate: str
    key: str
    authority: str
    not_after: datetime  #: when the certificate ends, UTC


class _News(Struct, frozen=True):
    """What the database says that this node did not know."""

    row: SharedAuthority
    revoked: Serials


class Authority:
    """The root of trust of one cloud, as one node has it. Made by `Authority.open`.

    The node's own certificate is short, synchronous file work. What the nodes share is asked of the database.
    """

    def __init__(self, store: Store, folder: Path, node: str, clock: Clock, news: _News) -> None:
        self._store = store
        self._folder = folder
        self._node = node
        self._clock = clock
        self._contexts: list[ssl.SSLContext] = []
        self._row = news.row
        self._roots = roots_in(news.row)
        self._revoked: dict[int, float] = {}
        self._told: tuple[list[int], str] | None = (
            None  #: what `revoked` and `revocation` answer, until more are revoked
        )
        self._refreshing = asyncio.Lock()
        self._learn(news.revoked)
        self._write_bundle(self._roots)

    @classmethod
    async def open(cls, store: Store, folder: Path, *, node: str = "local", clock: Clock | None = None) -> Authority:
        """The authority of the cloud whose database it is, created by the first call and found by every later one.

        Args:
            store: of the cloud.
            folder: of this node alone; made with mode 0700 when missing, an existing one is set to that mode.
            node: the id of the management node.
            clock: decides what is about to expire; the machine's by default.

        Raises:
            CairnError: ``pki.broken`` if the row of the root is damaged.
        """
        clock = clock or SystemClock()
        private_folder(folder)
        news = await store.read(partial(_look, known=-1))
        if news is None:
            await write_first(store, await asyncio.to_thread(first_root, clock.now()))
            news = await store.read(partial(_look, known=-1))
        assert news is not None, "its row was written just now"
        return cls(store, folder, node, clock, news)

    @property
    def certificate_path(self) -> Path:
        """The roots' certificates, PEM: what a client needs in order to trust this cloud."""
        return self._folder / "ca.crt"

    @property
    def bundle(self) -> str:
        """The content of `certificate_path`."""
        return self._roots.bundle.decode()

    @property
    def issuer(self) -> str:
        """The name of the root that signs."""
        return self._roots.names[0]

    @property
    def trust(self) -> str:
        """The digest of all roots that are to be trusted, as agents tell it."""
        return trust_of(self._roots.names)

    @property
    def phase(self) -> Phase:
        """How far a change of the root is."""
        return self._roots.phase

    async def announce_root(self) -> None:
        """Begin a change of the root: the next one is trusted from now on. One that is under way goes on. Safe to repeat."""
        made = await asyncio.to_thread(make_root, self._clock.now())
        await self._change(lambda row: announced(row, made))

    async def use_next_root(self) -> None:
        """Sign with the next root from now on; this node shows a certificate of it at once. Safe to repeat.

        Nothing happens if another node has taken the change further than this one knows.
        """
        await self._change(self._as_known(switched))

    async def withdraw_root(self) -> None:
        """Trust the former root no longer. Safe to repeat; as `use_next_root` otherwise."""
        await self._change(self._as_known(withdrawn))

    def _as_known(self, decide: _Decide) -> _Decide:
        known = _certificates(self._row)
        return lambda row: decide(row) if _certificates(row) == known else {}

    async def _change(self, decide: _Decide) -> None:
        def fn(tx: Tx) -> bool:
            row = tx.get(SharedAuthority, ONLY)
            assert row is not None, "it is there since the authority was opened"
            changed = decide(row)
            seen = {"uuid": ONLY, "epoch": row.epoch}
            return not changed or tx.update_where(SharedAuthority, seen, epoch=row.epoch + 1, **changed) == 1

        while not await self._store.write(fn):
            """Another node was quicker: decide again by what it made of it."""
        await self.refresh()

    async def refresh(self) -> bool:
        """Take over what other nodes have changed, and say whether there was anything. One look by key where there was not."""
        async with self._refreshing:
            if await self._store.look(epoch_of) == self._row.epoch:
                return False
            news = await self._store.read(partial(_look, known=self._row.epoch))
            assert news is not None, "it is there since the authority was opened"
            self._learn(news.revoked)
            if _certificates(news.row) != _certificates(self._row):
                await asyncio.to_thread(self._take, roots_in(news.row))
            self._row = news.row
            return True

    def _take(self, roots: Roots) -> None:
        """Have the contexts that are in use know the roots. What was withdrawn they know still, and `_judge` refuses."""
        former = self._roots
        self._write_bundle(roots)
        for context in self._contexts:
            context.load_verify_locations(self.certificate_path)
        self._roots = roots
        if roots.names[0] != former.names[0]:
            self.issue_node()

    def _write_bundle(self, roots: Roots) -> None:
        if not self.certificate_path.exists() or self.certificate_path.read_bytes() != roots.bundle:
            write(self.certificate_path, roots.bundle, 0o644)

    def issue_node(self, addresses: Sequence[str] = ()) -> Credentials:
        """This management node's certificate, for both directions; reissued when it nears its end.

        Args:
            addresses: host names and IP addresses under which agents reach this node; localhost is always one.
                Asking with addresses that the certificate lacks issues a new one that has these as well.

        Safe to repeat.
        """
        who = Peer(PeerRole.NODE, self._node)
        certificate_path, key_path = self._folder / "node.crt", self._folder / "node.key"
        with locked(self._folder):
            pair = load_pair(certificate_path, key_path)
            wanted = {"localhost", "127.0.0.1", "::1", *addresses} | (_addresses(pair.certificate) if pair else set())
            if pair is not None and wanted == _addresses(pair.certificate) and self._is_good(pair.certificate, who):
                return self._credentials(pair)
            pair = self._sign("cairn management node", NODE_UNIT, who, sorted(wanted))
            write_pair(certificate_path, key_path, pair)
        for context in self._contexts:
            context.load_cert_chain(certificate_path, key_path)
        return self._credentials(pair)

    async def issue_agent(self, name: str, uuid: str, addresses: Sequence[str]) -> Credentials:
        """The certificate and key of one agent; the same pair on every call until it has to be renewed, on every node.

        Args:
            name: the machine's name, for people who read the certificate.
            uuid: whose it is; the pair is kept under it.
            addresses: IP addresses and host names that management nodes will connect to. Other addresses than
                last time make a new pair.

        Raises:
            CairnError: ``pki.bad-name`` if `uuid` is not made of letters, digits and dashes.
        """
        self._check_uuid(uuid)
        # The name is what people typed: it must not be taken for a management node's by an agent of an earlier version.
        who = Peer(PeerRole.AGENT, uuid)
        while True:
            row = await self._store.read(lambda tx: tx.get(AgentPair, uuid))
            pair = None if row is None else pair_of(row)
            if (
                pair is not None
                and _addresses(pair.certificate) == set(addresses)
                and self._is_good(pair.certificate, who)
            ):
                return self._credentials(pair)
            made = await asyncio.to_thread(self._sign, f"{_AGENT}{name}", AGENT_UNIT, who, sorted(set(addresses)))
            if await replace(self._store, row, uuid, made):
                return self._credentials(made)

    async def renewed_agent(self, uuid: str) -> Credentials | None:
        """An agent's pair, made anew if it nears its end; None if there is none. Safe to repeat.

        The new one is for the same name and addresses, and the old one stays good: it is what the new one is sent over.
        """
        self._check_uuid(uuid)
        row = await self._store.read(lambda tx: tx.get(AgentPair, uuid))
        pair = None if row is None else pair_of(row)
        if pair is None:
            return None
        common = pair.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = str(common[0].value).removeprefix(_AGENT) if common else uuid
        return await self.issue_agent(name, uuid, sorted(_addresses(pair.certificate) - {uuid}))

    def now(self) -> float:
        """The clock that certificates are made by, in seconds since the epoch."""
        return self._clock.now().timestamp()

    def forget_agent(self, tx: Tx, uuid: str) -> None:
        """Revoke all certificates of an agent, and throw its pair away, in the transaction that does without it.

        This node knows once that is committed, the others with their next look. Safe to repeat.
        """
        self._check_uuid(uuid)
        row = tx.get(AgentPair, uuid)
        if row is None:
            return
        tx.delete(AgentPair, uuid)
        ended = all_serials(row)
        revoke(tx, ended)
        tx.after_commit(partial(self._learn, ended))

    def _learn(self, revoked: Serials) -> None:
        if revoked:
            self._revoked.update(revoked)
            self._told = None

    def is_revoked(self, serial: int) -> bool:
        """Whether the certificate with this serial number is good no longer. Asks memory only."""
        return serial in self._revoked

    @property
    def revoked(self) -> list[int]:
        """The serial numbers of all certificates that are revoked and had not ended by themselves, sorted."""
        return self._tell()[0]

    @property
    def revocation(self) -> str:
        """The digest of these, as machines tell it that others fetch from."""
        return self._tell()[1]

    def _tell(self) -> tuple[list[int], str]:
        """Worked out when it is first asked for after a change, since there may be many."""
        if self._told is None:
            now = self.now()
            self._revoked = {serial: end for serial, end in self._revoked.items() if end > now}
            serials = sorted(self._revoked)
            self._told = serials, revocation_of([f"{serial:x}" for serial in serials])
        return self._told

    def client_context(self) -> PeerContext:
        """For calls to agents: shows the node's certificate, and goes on with agents only.

        Which agent it is that answers is compared by whoever calls it (`AgentEndpoint.machine`). A certificate that is
        renewed later is shown by new connections.
        """
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def server_context(self) -> PeerContext:
        """For listening to agents: only agents whose certificate is not revoked get through. Renewed as the other."""
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def open_context(self) -> ssl.SSLContext:
        """For servers that anybody may connect to: shows the node's certificate, and asks for none. Renewed as the others."""
        self.issue_node()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._folder / "node.crt", self._folder / "node.key")
        self._contexts.append(context)
        return context

    def ends(self) -> dict[tuple[str, ...], float]:
        """When the root's and the node's certificates end, by name, in seconds since the epoch; for the metric."""
        pairs = {
            "authority": self._roots.current,
            "node": load_pair(self._folder / "node.crt", self._folder / "node.key"),
        }
        return {(name,): pair.certificate.not_valid_after_utc.timestamp() for name, pair in pairs.items() if pair}

    def _context(self, protocol: int) -> PeerContext:
        self.issue_node()
        root, certificate, key = (str(self._folder / name) for name in ("ca.crt", "node.crt", "node.key"))
        context = peer_context(protocol, root, certificate, key, self._judge())
        self._contexts.append(context)
        return context

    def _judge(self) -> Judge:
        def judge(peer: Peer) -> str | None:
            if peer.role is not PeerRole.AGENT:
                return f"is the {peer}, and not an agent"
            if peer.issuer not in self._roots.names:
                return UNTRUSTED
            return "has a certificate that was revoked" if self.is_revoked(peer.serial) else None

        return judge

    def _is_good(self, certificate: x509.Certificate, who: Peer) -> bool:
        """Whether it is signed by the present root, says who it is for, and has at least a third of its time left."""
        if _uris(certificate) != [peer_uri(who.role, who.uuid)]:
            return False
        try:
            certificate.verify_directly_issued_by(self._roots.current.certificate)
        except (InvalidSignature, TypeError, ValueError):
            return False
        return not _is_ending(certificate, self._clock.now())

    def _sign(self, name: str, unit: str, who: Peer, addresses: Sequence[str]) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock.now()
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        root = self._roots.current.certificate
        names = [x509.UniformResourceIdentifier(peer_uri(who.role, who.uuid)), *map(_general_name, addresses)]
        certificate = (
            builder(subject_of(name, unit), root.subject, key, now, min(now + LEAF_VALIDITY, root.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(is_root=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(_issuer_id(self._roots.current.key), critical=False)
            .sign(self._roots.current.key, hashes.SHA256())
        )
        return Pair(certificate, key)

    def _credentials(self, pair: Pair) -> Credentials:
        return Credentials(
            certificate=certificate_pem(pair.certificate).decode(),
            key=key_pem(pair.key).decode(),
            authority=self.bundle,
            not_after=pair.certificate.not_valid_after_utc,
        )

    @staticmethod
    def _check_uuid(uuid: str) -> None:
        if not _UUID.fullmatch(uuid):
            raise CairnError("pki.bad-name", f"uuid: found {uuid!r}; letters, digits and dashes would fit.")


def _look(tx: Tx, known: int) -> _News | None:
    """The authority's row and what was revoked since epoch `known`; None: there is no authority yet."""
    row = tx.get(SharedAuthority, ONLY)
    return None if row is None else _News(row, revoked_since(tx, known))


def _certificates(row: SharedAuthority) -> tuple[str | None, ...]:
    return row.certificate, row.next_certificate, row.former_certificate


def _issuer_id(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _addresses(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    hosts = names.get_values_for_type(x509.DNSName)
    return set(hosts) | {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _is_ending(certificate: x509.Certificate, now: datetime) -> bool:
    whole = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - now < whole / 3
