"""What all management nodes of a cloud share so that machines see one cloud: its authority, its SSH key, known host keys.

Each row is written by whichever node has to, in a statement that names what it has seen, so of two writers the second finds
out. What a node has to hear of counts the epoch of the row `SharedAuthority` up, in the same transaction: nodes look at that
number (`cairn.kernel.deploy.authority.Authority.refresh`), and at nothing else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Final

from cairn.kernel.store.record import Index, Key, Record, Sealed, TableMeta, Text

#: the key of the one row of a table that has one
ONLY: Final = "cloud"


class SharedAuthority(Record, frozen=True, kw_only=True):
    """The roots of the cloud's authority: one row, so a change of it is one statement (`cairn.kernel.deploy.roots`)."""

    meta: ClassVar[TableMeta] = TableMeta(table="authority")

    uuid: Annotated[str, Key()] = ONLY
    epoch: int = 1  #: counts up with each change that nodes have to hear of, revocations included
    certificate: Annotated[str, Text(None, exact=True)]  #: of the root that signs, PEM
    private_key: Annotated[str, Sealed(), Text(None)]
    next_certificate: Annotated[str | None, Text(None, exact=True)] = None  #: of the root that will sign
    next_private_key: Annotated[str | None, Sealed(), Text(None)] = None
    former_certificate: Annotated[str | None, Text(None, exact=True)] = None  #: of the root that signed before


class AgentPair(Record, frozen=True, kw_only=True):
    """The certificate of one machine's agent with its key, kept so that putting it there again changes nothing."""

    meta: ClassVar[TableMeta] = TableMeta(table="agent_pair")

    uuid: Annotated[str, Key()]  #: of the machine
    serial: Annotated[str, Text(64, exact=True)]  #: of the certificate, in hexadecimal; whoever replaces it names it
    certificate: Annotated[str, Text(None, exact=True)]
    private_key: Annotated[str, Sealed(), Text(None)]
    #: lines of the serial numbers of earlier certificates, which are good until the agent is forgotten, and their ends
    earlier: Annotated[str, Text(None, exact=True)] = ""


class RevokedCertificate(Record, frozen=True, kw_only=True):
    """A certificate that is good no longer, until it ends by itself."""

    meta: ClassVar[TableMeta] = TableMeta(table="revoked_certificate")

    serial: Annotated[str, Key()]  #: in hexadecimal
    ends: Annotated[datetime, Index()]
    epoch: Annotated[int, Index()]  #: of the authority, when it was revoked: nodes read what is newer than they know


class KnownHost(Record, frozen=True, kw_only=True):
    """The SSH host keys that are pinned for a machine."""

    meta: ClassVar[TableMeta] = TableMeta(table="known_host")

    uuid: Annotated[str, Key()]  #: of the machine
    host_keys: Annotated[str, Text(None, exact=True)]  #: lines of the kind and base64 of each key


class SshKeyPair(Record, frozen=True, kw_only=True):
    """The cloud's own SSH key: one row."""

    meta: ClassVar[TableMeta] = TableMeta(table="ssh_key_pair")

    uuid: Annotated[str, Key()] = ONLY
    private_key: Annotated[str, Sealed(), Text(None)]


class RootProgress(Record, frozen=True, kw_only=True):
    """How far one node and the machines that it pings have come with a change of the root."""

    meta: ClassVar[TableMeta] = TableMeta(table="root_progress")

    uuid: Annotated[str, Key()]  #: of the node
    issuer: Annotated[str, Text(255, exact=True)]  #: the root that signed the certificate that the node shows
    trust: Annotated[str, Text(255, exact=True)]  #: the digest of the roots that it trusts
    behind: dict[str, int]  #: machines, by kind, that do not show and trust the same
