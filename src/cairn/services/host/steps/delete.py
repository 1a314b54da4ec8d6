"""Taking a host out of the cloud."""

from __future__ import annotations

from typing import ClassVar

import structlog
from msgspec import Struct

from cairn.agents.protocol.host import Forget
from cairn.kernel.api import DeleteMode
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing, TransactionStep
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.resource import erase
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import Tags
from cairn.services.host.directory import HostDirectory
from cairn.services.host.extensions import HostRemoval, Hypervisor
from cairn.services.host.model import Host, HostClaim, HostState

_log = structlog.get_logger("cairn.host")


class RemoveHostInput(Struct, frozen=True, kw_only=True):
    """Which host, and how."""

    host_uuid: str
    delete_mode: DeleteMode


class CloseHostOutput(Struct, frozen=True, kw_only=True):
    """How it was before."""

    former_state: HostState


class CloseHost(TransactionStep[RemoveHostInput, CloseHostOutput]):
    """Refuse while VMs are there; then let no more on it."""

    name = "host.close"
    title = "seeing that nothing is left on the host"

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    def do(self, tx: Tx, given: RemoveHostInput) -> CloseHostOutput:
        """Close."""
        host = tx.get(Host, given.host_uuid)
        assert host is not None
        reasons = [
            reason
            for guard in self._extensions.of(HostRemoval)
            if (reason := guard.why_not_remove(tx, given.host_uuid)) is not None
        ]
        claims = tx.count(HostClaim, host_uuid=given.host_uuid)
        if claims and not reasons:
            reasons.append(f"{claims} VMs hold capacity of it")
        if reasons:
            raise CairnError(
                "host.in-use",
                f"The host {host.name} cannot go: {'; '.join(reasons)}. Move or expunge them first.",
                kind=ErrorKind.CONFLICT,
            )
        tx.update(Host, given.host_uuid, state=HostState.MAINTENANCE, last_op_date=tx.now)
        return CloseHostOutput(former_state=host.state)

    def undo(self, tx: Tx, given: RemoveHostInput, made: CloseHostOutput | None) -> None:
        """Open it again."""
        if made is not None:
            tx.update(Host, given.host_uuid, state=made.former_state)


class RemoveAgent(ActionStep[RemoveHostInput, Nothing]):
    """Have the agent clean up, and take it away."""

    name = "host.remove-agent"
    title = "taking the agent off the host"
    nothing_to_undo: ClassVar[str | None] = "reconnecting the host puts the agent back"

    def __init__(self, directory: HostDirectory, extensions: Extensions) -> None:
        self._directory = directory
        self._extensions = extensions

    async def do(self, given: RemoveHostInput) -> Nothing:
        """Clean up; when enforcing, a host that cannot be reached is left as it is."""
        host = await self._directory.host(given.host_uuid)
        try:
            await self._directory.call(given.host_uuid, Forget(), timeout_seconds=60.0)
            await self._extensions.named(Hypervisor, host.hypervisor_type).remove(given.host_uuid)
        except CairnError as error:
            if given.delete_mode is not DeleteMode.ENFORCING:
                raise CairnError(
                    "host.not-cleaned",
                    f"The host {host.name} could not be cleaned up. Put it right and try again, or forget it as it is "
                    "with deleteMode=Enforcing.",
                    kind=ErrorKind.UNAVAILABLE,
                    cause=error,
                ) from error
            _log.warning("host.left-as-it-is", host=given.host_uuid, error=str(error))
        return NOTHING


class EraseHost(TransactionStep[RemoveHostInput, Nothing]):
    """Forget the host."""

    name = "host.erase"
    title = "forgetting the host"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def __init__(self, tags: Tags, extensions: Extensions) -> None:
        self._tags = tags
        self._extensions = extensions

    def do(self, tx: Tx, given: RemoveHostInput) -> Nothing:
        """Erase."""
        for guard in self._extensions.of(HostRemoval):
            guard.host_removed(tx, given.host_uuid)
        self._tags.forget(tx, given.host_uuid)
        erase(tx, Host, given.host_uuid)
        return NOTHING
