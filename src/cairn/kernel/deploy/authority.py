"""The cloud's own certificate authority: it decides who may talk to an agent, and as whom an agent may answer.

The authority is one folder::

    ca.crt  ca.key          the root; anyone who reads the key can be anybody in this cloud (`cairn.kernel.deploy.roots`)
    node.crt  node.key      the management node, as a client of agents and as a listener for them
    agents/<uuid>.crt .key  one pair for each agent, kept so that putting it on a machine again changes nothing
    agents/<uuid>.old       the serial numbers of the agent's earlier certificates, which are good until it is forgotten
    revoked                 serial numbers that are good no longer, each with the time when its certificate ends anyway

Keys are written with mode 0600 into folders of mode 0700, under another name first, so that a crash in the middle
leaves no half file. A lock file serialises several processes on one folder: the first creates the root, the others
find it.

Who a certificate is for stands in it as a URI (`cairn.agents.protocol.peer`), and each connection is judged by that: the
root signs agents as well, and one agent must not command another, nor answer in another's place. What is revoked is looked
up in the folder at each handshake, so it holds at once, for every process that uses the folder.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from cairn.agents.protocol.peer import UNTRUSTED, Judge, Peer, PeerContext, PeerRole, peer_context, peer_uri
from cairn.agents.protocol.trust import trust_of
from cairn.kernel.clock import Clock, SystemClock
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
from cairn.kernel.deploy.roots import Phase, Roots
from cairn.kernel.error import CairnError

NODE_UNIT = "cairn-management-node"  #: the organizational unit of the management node's certificate
AGENT_UNIT = "cairn-agent"  #: the organizational unit of agents' certificates
LEAF_VALIDITY = timedelta(days=730)
#: A certificate that has less time left than this is made anew.
RENEWAL = LEAF_VALIDITY / 3
_AGENT = "agent "  # begins the common name of agents' certificates
_UUID = re.compile(r"[0-9A-Za-z-]{1,64}")


class Credentials(Struct, frozen=True, kw_only=True):
    """A certificate with its key and the root that signed it, all PEM. The key is a secret: never log it."""

    certificate: str
    key: str
    authority: str
    not_after: datetime  #: when the certificate ends, UTC


class _Revoked:
    """The revoked serial numbers in a file, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._serials: frozenset[int] = frozenset()

    def serials(self) -> frozenset[int]:
        """Those that are revoked now."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return frozenset()
        if self._read_at != (found.st_mtime_ns, found.st_ino):
            self._serials = frozenset(serial for serial, _ in _read_serials(self._path))
            self._read_at = (found.st_mtime_ns, found.st_ino)
        return self._serials

    def add(self, serials: set[tuple[int, int]], now: datetime) -> None:
        """Revoke more; those whose certificates have ended by themselves are dropped. Call it under the folder's lock."""
        kept = {one for one in _read_serials(self._path) | serials if one[1] > now.timestamp()}
        write(self._path, _serials_text(kept), 0o600)


class Authority:
    """The root of trust of one cloud. Made by `Authority.open`; all calls are short, synchronous file work."""

    def __init__(self, folder: Path, node: str, roots: Roots, clock: Clock) -> None:
        self._folder = folder
        self._node = node
        self._roots = roots
        self._clock = clock
        self._contexts: list[ssl.SSLContext] = []
        self._revoked = _Revoked(folder / "revoked")

    @classmethod
    def open(cls, folder: Path, *, node: str = "local", clock: Clock | None = None) -> Authority:
        """The authority in `folder`, created by the first call and found by every later one.

        Args:
            folder: made with mode 0700 when missing; an existing one is set to that mode.
            node: the id of the management node that uses it.
            clock: decides what is about to expire; the machine's by default.

        Raises:
            CairnError: ``pki.broken`` if the folder holds only half of the root, or a file that is not PEM.
        """
        clock = clock or SystemClock()
        private_folder(folder)
        with locked(folder):
            roots = Roots(folder, clock)
        return cls(folder, node, roots, clock)

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

    def announce_root(self) -> None:
        """Begin a change of the root: the next one is trusted from now on. One that is under way goes on. Safe to repeat."""
        with locked(self._folder):
            self._roots.announce()
        self._trust_roots()

    def use_next_root(self) -> None:
        """Sign with the next root from now on; the node shows a certificate of it at once. Safe to repeat."""
        with locked(self._folder):
            self._roots.switch()
        self._trust_roots()
        self.issue_node()

    def withdraw_root(self) -> None:
        """Trust the former root no longer. Safe to repeat."""
        with locked(self._folder):
            self._roots.withdraw()

    def _trust_roots(self) -> None:
        """Have the contexts that are in use know a new root. What was withdrawn they know still, and `_judge` refuses."""
        for context in self._contexts:
            context.load_verify_locations(self.certificate_path)

    def issue_node(self, addresses: Sequence[str] = ()) -> Credentials:
        """The management node's certificate, for both directions; reissued when it nears its end.

        Args:
            addresses: host names and IP addresses under which agents reach this node; localhost is always one.
                Asking with addresses that the certificate lacks issues a new one that has these as well.

        Safe to repeat.
        """
        wanted = ["localhost", "127.0.0.1", "::1", *addresses]
        who = Peer(PeerRole.NODE, self._node)
        credentials, renewed = self._ensure("node", "cairn management node", NODE_UNIT, who, wanted, extend=True)
        if renewed:
            for context in self._contexts:
                context.load_cert_chain(self._folder / "node.crt", self._folder / "node.key")
        return credentials

    def issue_agent(self, name: str, uuid: str, addresses: Sequence[str]) -> Credentials:
        """The certificate and key of one agent; the same pair on every call until it has to be renewed.

        Args:
            name: the machine's name, for people who read the certificate.
            uuid: whose it is; the pair is kept under it.
            addresses: IP addresses and host names that the management node will connect to. Other addresses than
                last time make a new pair.

        Raises:
            CairnError: ``pki.bad-name`` if `uuid` is not made of letters, digits and dashes.
        """
        self._check_uuid(uuid)
        private_folder(self._folder / "agents")
        # The name is what people typed: it must not be taken for a management node's by an agent of an earlier version.
        who = Peer(PeerRole.AGENT, uuid)
        return self._ensure(f"agents/{uuid}", f"{_AGENT}{name}", AGENT_UNIT, who, addresses, extend=False)[0]

    def renewed_agent(self, uuid: str) -> Credentials | None:
        """An agent's pair, made anew if it nears its end; None if there is none. Safe to repeat.

        The new one is for the same name and addresses, and the old one stays good: it is what the new one is sent over.
        """
        self._check_uuid(uuid)
        pair = load_pair(self._folder / "agents" / f"{uuid}.crt", self._folder / "agents" / f"{uuid}.key")
        if pair is None:
            return None
        common = pair.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = str(common[0].value).removeprefix(_AGENT) if common else uuid
        return self.issue_agent(name, uuid, sorted(_addresses(pair.certificate) - {uuid}))

    def now(self) -> float:
        """The clock that certificates are made by, in seconds since the epoch."""
        return self._clock.now().timestamp()

    def forget_agent(self, uuid: str) -> None:
        """Revoke all certificates of an agent, and throw its pair away. Safe to repeat."""
        self._check_uuid(uuid)
        pair, old = (self._folder / "agents" / f"{uuid}{suffix}" for suffix in (".crt", ".old"))
        with locked(self._folder):
            ended = _read_serials(old) | _serial_of(pair)
            if ended:
                self._revoked.add(ended, self._clock.now())
            for path in (pair, pair.with_suffix(".key"), old):
                path.unlink(missing_ok=True)

    def is_revoked(self, serial: int) -> bool:
        """Whether the certificate with this serial number is good no longer. What another process revoked counts at once."""
        return serial in self._revoked.serials()

    @property
    def revoked(self) -> list[int]:
        """The serial numbers of all certificates that are revoked and have not ended by themselves, sorted."""
        return sorted(self._revoked.serials())

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

    def _ensure(
        self, file: str, name: str, unit: str, who: Peer, addresses: Sequence[str], *, extend: bool
    ) -> tuple[Credentials, bool]:
        """The pair in these files, and whether it was made anew."""
        certificate_path, key_path = self._folder / f"{file}.crt", self._folder / f"{file}.key"
        with locked(self._folder):
            pair = load_pair(certificate_path, key_path)
            known = _addresses(pair.certificate) if pair else set()
            wanted = set(addresses) | known if extend else set(addresses)
            renew = pair is None or known != wanted or not self._is_good(pair.certificate, who)
            if renew or pair is None:
                if who.role is PeerRole.AGENT:
                    _keep_serials(certificate_path)
                pair = self._sign(name, unit, who, sorted(wanted))
                write_pair(certificate_path, key_path, pair)
        return self._credentials(pair), renew

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


def _serial_of(path: Path) -> set[tuple[int, int]]:
    """The serial number of the certificate in a file, with the second in which it ends; nothing if there is none."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return set()
    return {(certificate.serial_number, int(certificate.not_valid_after_utc.timestamp()))}


def _keep_serials(certificate_path: Path) -> None:
    """Note the certificate that is about to be replaced: it stays good, and is revoked with its successors."""
    path = certificate_path.with_suffix(".old")
    earlier = _read_serials(path) | _serial_of(certificate_path)
    if earlier:
        write(path, _serials_text(earlier), 0o600)


def _read_serials(path: Path) -> set[tuple[int, int]]:
    """Lines of a serial number, in hexadecimal, and the second in which its certificate ends."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return set()
    return {(int(serial, 16), int(end)) for serial, end in (line.split() for line in lines)}


def _serials_text(serials: set[tuple[int, int]]) -> bytes:
    return "".join(f"{serial:x} {end}\n" for serial, end in sorted(serials)).encode("ascii")


def _is_ending(certificate: x509.Certificate, now: datetime) -> bool:
    whole = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - now < whole / 3
