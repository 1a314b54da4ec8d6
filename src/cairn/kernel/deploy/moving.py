"""Moves into the database what earlier versions kept in the data folder: the authority, host keys, the cloud's SSH key.

It happens once, at the first start with this version. All of it is written in one transaction, the one that founds the cloud in
the database (`cairn.kernel.cloud`); only then the files go, as secrets should lie nowhere in clear. A crash before that commit
has changed nothing, and one behind it leaves files that the next start removes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from msgspec import Struct

from cairn.kernel.deploy.installer import OWN_KEY
from cairn.kernel.deploy.known_hosts import host_key_lines
from cairn.kernel.deploy.model import AgentPair, KnownHost, SharedAuthority, SshKeyPair
from cairn.kernel.deploy.pairs import Serials, agent_pair, read_serials, revoke
from cairn.kernel.deploy.pem import Pair, certificate_pem, common_name, key_pem, load_pair
from cairn.kernel.deploy.roots import broken
from cairn.kernel.deploy.ssh import parse_keys
from cairn.kernel.store.store import Tx

#: of the authority's folder: what is in the database now
_MOVED = ("ca.key", "next.crt", "next.key", "former.crt", "revoked")


class Earlier(Struct, frozen=True, kw_only=True):
    """What an earlier version left in a data folder."""

    authority: SharedAuthority | None  #: None: there was none
    pairs: list[AgentPair]
    revoked: Serials
    known_hosts: list[KnownHost]
    ssh_key: SshKeyPair | None


def read_earlier(folder: Path) -> Earlier:
    """Read what is to be moved. Changes nothing.

    Raises:
        CairnError: ``pki.broken`` if only half of the root is there.
    """
    pki, ssh = folder / "pki", folder / "ssh"
    key = ssh / "keys" / OWN_KEY
    return Earlier(
        authority=_authority(pki),
        pairs=list(_pairs(pki / "agents")),
        revoked=_serials(pki / "revoked"),
        known_hosts=list(_known_hosts(ssh / "known_hosts")),
        ssh_key=SshKeyPair(private_key=key.read_text(encoding="ascii")) if key.exists() else None,
    )


def move_in(tx: Tx, earlier: Earlier) -> None:
    """Write it into the database of a cloud that is new there."""
    if earlier.authority is not None:
        tx.insert(earlier.authority)
        tx.insert_many(earlier.pairs)
        revoke(tx, earlier.revoked)
    tx.insert_many(earlier.known_hosts)
    if earlier.ssh_key is not None:
        tx.insert(earlier.ssh_key)


def root_name(folder: Path) -> str | None:
    """The name of the root whose key lies in a data folder; None: there is no such key, all of it was moved."""
    pair = load_pair(folder / "pki" / "ca.crt", folder / "pki" / "ca.key")
    return None if pair is None else common_name(pair.certificate.subject)


def remove_moved(folder: Path) -> None:
    """Remove the files of what is in the database now. Safe to repeat; others, and this node's own pair, stay."""
    pki = folder / "pki"
    for name in _MOVED:
        (pki / name).unlink(missing_ok=True)
    if (pki / "agents").exists():
        shutil.rmtree(pki / "agents")


def _authority(pki: Path) -> SharedAuthority | None:
    """The roots. A root that took over when a crash came has the former one's certificate beside it, and its own in `next`."""
    pair, following = _pair(pki, "ca"), _pair(pki, "next")
    before = pki / "former.crt"
    if pair is None:
        # The key was written first, so a lone key was left by a crash, and nothing used it.
        if (pki / "ca.crt").exists():
            raise broken(f"{pki / 'ca.crt'} or ca.key", f"the folder {pki}")
        return None
    if before.exists() and following is not None:
        pair, following = following, None
    return SharedAuthority(
        certificate=certificate_pem(pair.certificate).decode(),
        private_key=key_pem(pair.key).decode(),
        next_certificate=None if following is None else certificate_pem(following.certificate).decode(),
        next_private_key=None if following is None else key_pem(following.key).decode(),
        former_certificate=_first(before) if before.exists() else None,
    )


def _pair(pki: Path, name: str) -> Pair | None:
    return load_pair(pki / f"{name}.crt", pki / f"{name}.key")


def _first(path: Path) -> str:
    return certificate_pem(x509.load_pem_x509_certificate(path.read_bytes())).decode()


def _pairs(folder: Path) -> Iterator[AgentPair]:
    """The pairs of agents; one that is damaged is made anew when it is needed."""
    for path in sorted(folder.glob("*.crt")):
        pair = load_pair(path, path.with_suffix(".key"))
        if pair is not None:
            yield agent_pair(path.stem, pair, _serials(path.with_suffix(".old")))


def _serials(path: Path) -> Serials:
    return read_serials(path.read_text(encoding="ascii")) if path.exists() else {}


def _known_hosts(folder: Path) -> Iterator[KnownHost]:
    for path in sorted(folder.glob("*")):
        keys = parse_keys(path.read_text().splitlines())
        if keys and path.suffix != ".new":
            yield KnownHost(uuid=path.name, host_keys=host_key_lines(keys))
