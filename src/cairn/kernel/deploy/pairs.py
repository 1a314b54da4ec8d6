"""The pairs of agents in the database, and the serial numbers of certificates that are good no longer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography import x509
from sqlalchemy import bindparam, delete, select, update

from cairn.kernel.deploy.model import ONLY, AgentPair, RevokedCertificate, SharedAuthority
from cairn.kernel.deploy.pem import Pair, certificate_pem, key_pem, read_pair
from cairn.kernel.deploy.sharing import write_first
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx

#: serial numbers of certificates -> when each ends, in seconds since the epoch
Serials = Mapping[int, float]

_authority = table_of(SharedAuthority)
_revoked = table_of(RevokedCertificate)
_EPOCH = select(_authority.c.epoch).where(_authority.c.uuid == ONLY)
_COUNT_UP = update(_authority).where(_authority.c.uuid == ONLY).values(epoch=_authority.c.epoch + 1)
_SINCE = select(_revoked.c.serial, _revoked.c.ends).where(_revoked.c.epoch > bindparam("epoch"))
_FORGET = delete(_revoked).where(_revoked.c.ends < bindparam("now"))


def epoch_of(tx: Tx) -> int:
    """The epoch of the authority; 0 while there is none."""
    rows = tx.rows(_EPOCH)
    epoch = rows[0][0] if rows else 0
    assert isinstance(epoch, int)
    return epoch


def revoke(tx: Tx, ended: Serials) -> None:
    """Write down that certificates are good no longer, and forget those that have ended by themselves. Safe to repeat."""
    tx.execute(_COUNT_UP)  # first: until this is committed no other node counts on, so none reads past it
    epoch = epoch_of(tx)
    tx.execute(_FORGET, {"now": tx.now})
    for serial, end in ended.items():
        name = f"{serial:x}"
        if tx.get(RevokedCertificate, name) is None:
            tx.insert(RevokedCertificate(serial=name, ends=_moment(end), epoch=epoch))


def revoked_since(tx: Tx, epoch: int) -> Serials:
    """What was revoked after that epoch of the authority."""
    found = tx.rows(_SINCE, {"epoch": epoch})
    return {int(str(serial), 16): ends.timestamp() for serial, ends in found if isinstance(ends, datetime)}


def agent_pair(uuid: str, pair: Pair, earlier: Serials) -> AgentPair:
    """The row of an agent's pair.

    Args:
        uuid: of the machine.
        pair: its certificate and key.
        earlier: the certificates that it had before, which stay good until it is forgotten.
    """
    return AgentPair(
        uuid=uuid,
        serial=f"{pair.certificate.serial_number:x}",
        certificate=certificate_pem(pair.certificate).decode(),
        private_key=key_pem(pair.key).decode(),
        earlier=serials_text(earlier),
    )


def pair_of(row: AgentPair) -> Pair | None:
    """The pair in a row; None if it is damaged."""
    return read_pair(row.certificate.encode(), row.private_key.encode())


async def replace(store: Store, seen: AgentPair | None, uuid: str, pair: Pair) -> bool:
    """Write an agent's pair in the place of the one that was `seen`, whose certificate stays good until the agent is forgotten.

    Returns:
        False: another node has written one meanwhile. Look at that.
    """
    if seen is None:
        return await write_first(store, agent_pair(uuid, pair, {}))
    made = agent_pair(uuid, pair, all_serials(seen))
    fields = {name: getattr(made, name) for name in ("serial", "certificate", "private_key", "earlier")}
    where = {"uuid": uuid, "serial": seen.serial}
    return await store.write(lambda tx: tx.update_where(AgentPair, where, **fields)) == 1


def all_serials(row: AgentPair) -> Serials:
    """The serial numbers of an agent's certificate and of those before it."""
    return {**read_serials(row.earlier), int(row.serial, 16): _end_of(row)}


def _end_of(row: AgentPair) -> float:
    """When the certificate ends; for one that is damaged, when any that was made so far has ended."""
    try:
        return x509.load_pem_x509_certificate(row.certificate.encode()).not_valid_after_utc.timestamp()
    except ValueError:
        return datetime(9999, 1, 1, tzinfo=UTC).timestamp()


def read_serials(text: str) -> dict[int, float]:
    """The serial numbers in lines of one, in hexadecimal, and the second in which its certificate ends."""
    return {int(serial, 16): float(end) for serial, end in (line.split() for line in text.splitlines())}


def serials_text(serials: Serials) -> str:
    """The lines that `read_serials` reads."""
    return "".join(f"{serial:x} {int(end)}\n" for serial, end in sorted(serials.items()))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
