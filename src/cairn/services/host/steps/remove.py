"""Removing what is on a host that goes by force."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from msgspec import Struct

from cairn.kernel.api import ApiDelete, DeleteMode
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.message import Command
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing
from cairn.kernel.plugin.extension import Extensions
from cairn.kernel.store.store import Store, Tx
from cairn.services.host.extensions import HostRemoval
from cairn.services.host.kind import HostKind
from cairn.services.ids import HostId

_PARALLELISM = 10
_SHOWN = 5


class RemoveUsersInput(Struct, frozen=True, kw_only=True):
    """The host, and the call that says whether to enforce its removal."""

    uuid: str
    asked: ApiDelete


class RemoveUsers(ActionStep[RemoveUsersInput, Nothing]):
    """When enforcing, remove what is on the host before it goes itself."""

    name = "host.remove-users"
    title = "removing what is on the host"
    nothing_to_undo: ClassVar[str | None] = "what was removed is gone; the rest stays as it is"

    def __init__(self, store: Store, bus: Bus, extensions: Extensions, kind: HostKind) -> None:
        self._store = store
        self._bus = bus
        self._extensions = extensions
        self._kind = kind

    async def do(self, given: RemoveUsersInput) -> Nothing:
        """Ask each kind of users of the host, one after the other (``host.in-use``, with what does not go, and why)."""
        if given.asked.delete_mode is not DeleteMode.ENFORCING:
            return NOTHING
        host, errors = HostId(given.uuid), list[CairnError]()
        for guard in self._extensions.of(HostRemoval):
            errors += await self._each(await self._store.read(partial(_users, guard, host)))
        reasons = await self._store.read(lambda tx: self._kind.why_not_remove(tx, given.uuid))
        if reasons:
            blocking = [str(error) for error in errors[:_SHOWN]]
            raise CairnError(
                "host.in-use",
                f"The host cannot be removed yet: {'; '.join(reasons)}. {' '.join(blocking)} Put that right and delete again; "
                "what was removed before is gone.",
                kind=ErrorKind.CONFLICT,
                details={"blocking": blocking},
            )
        return NOTHING

    async def _each(self, users: list[Sequence[Command[object]]]) -> list[CairnError]:
        gate = asyncio.Semaphore(_PARALLELISM)
        errors: list[CairnError] = []

        async def one(commands: Sequence[Command[object]]) -> None:
            async with gate:
                try:
                    for command in commands:
                        await self._bus.call(command)
                except CairnError as error:
                    errors.append(error)

        await asyncio.gather(*(one(commands) for commands in users))
        return errors


def _users(guard: HostRemoval, host: HostId, tx: Tx) -> list[Sequence[Command[object]]]:
    return guard.users(tx, host)
