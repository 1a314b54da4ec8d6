"""One row for one machine: by what the machine is, not by how its address is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cairn.agents.protocol.machine import difference
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.store import Tx

if TYPE_CHECKING:
    from cairn.kernel.machine.kind import AnyKind

#: how the codes end that say that the wrong machine answers: nothing may be changed on it
WRONG_MACHINE = (".machine-changed", ".machine-taken")


def check_identity(tx: Tx, kind: AnyKind, uuid: str, found: str | None, *, accept: bool = False) -> None:
    """Refuse a machine that another row stands for, or that is not the one that this row stood for until now.

    Args:
        found: the identity that the machine tells; None: it cannot tell, and has to be believed.
        accept: somebody says that the machine which answers now is to be this one.

    Raises:
        CairnError: ``<noun>.machine-taken``, ``<noun>.machine-changed``.
    """
    if found is None:
        return
    row = kind.existing(tx, uuid)
    for other in tx.find(kind.record, machine_identity=found):
        if other.uuid != uuid:
            raise CairnError(
                f"{kind.noun}.machine-taken",
                f"The machine of the {kind.title} {row.name} is the {kind.title} {other.name} ({other.uuid}) already, which "
                "reaches it by another address or name. Nothing was changed on it. Use that one; or delete it, and try again.",
                kind=ErrorKind.CONFLICT,
                details={"uuid": other.uuid},
            )
    known = row.machine_identity
    if known is not None and known != found and not accept:
        raise CairnError(
            f"{kind.noun}.machine-changed",
            f"The machine that answers for the {kind.title} {row.name} {difference(known, found)}. Nothing was changed on it. If "
            f"the address is wrong, correct it. If this machine is to go on as {row.name}, reconnect it with "
            f"acceptMachine=true; what was on it before is gone then, so better delete the {kind.title} and add it again.",
            kind=ErrorKind.CONFLICT,
        )
