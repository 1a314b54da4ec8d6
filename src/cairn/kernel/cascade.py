"""Deletes resources that others refer to: finds what stands in the way, and has that deleted first.

Nobody lists what belongs to a zone. The schema knows: each field with ``References(..., on_delete="restrict")`` keeps the
row that it points to from going. So a plugin's table can stand in the way of a zone's deletion, and the zone knows nothing of it.

`Cascade.refuse` answers a deletion that is not possible yet. `Cascade.clear` (``deleteMode=Enforcing``) makes it possible:
it calls the delete commands that services registered, of the deepest resources first (VMs before hosts before clusters).
Some resources go with others (a network card with its VM) and have no command of their own; they are left to these. What
cannot go yet is tried again in the next round. It ends when nothing is left, or when a round does not bring it forward: every
deletion failed, or the same rows are there as before. So it cannot go round in circles, whatever an undo puts back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar, cast

from msgspec import Struct

from cairn.kernel.api import AnyApi, ApiCommand, ApiDelete, DeleteMode
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import current
from cairn.kernel.bus.message import Command
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.flow.step import NOTHING, ActionStep, Nothing
from cairn.kernel.guard import Guards
from cairn.kernel.store.record import Field, Record, RecordInfo, info
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx

T = TypeVar("T", bound=Record)

Commands = Command[object] | Sequence[Command[object]]

_PARALLELISM = 10
_PER_ROUND = 500
_SHOWN = 10


class _Child(Struct, frozen=True, kw_only=True):
    """A row that keeps another from going."""

    table: str
    key: str | int


class Cascade:
    """Knows what refers to what, and how each kind of resource is deleted."""

    def __init__(self, store: Store, bus: Bus, guards: Guards | None = None) -> None:
        self._store = store
        self._guards = guards or Guards()
        self._bus = bus
        self._schema: Schema = store.schema
        self._commands: dict[str, Callable[[Record], Commands]] = {}
        self._restricting = {record.meta.table: self._restricted(record) for record in self._schema.by_table.values()}
        self._ranks: dict[str, int] = {}
        for record in self._schema.by_table.values():
            self._rank(record, ())

    def register(self, entity: str, command: Callable[[str], Commands]) -> None:
        """Say how a resource is deleted: `command` turns its uuid into the command, or several that are called in order.

        Its dependents are gone when it is called. It must succeed if the resource itself is gone, too.
        """
        record = self._schema.by_entity[entity]
        key = record.key.name
        self._commands[record.meta.table] = lambda row: command(cast("str", getattr(row, key)))

    def register_rows(self, record: type[T], command: Callable[[T], Commands]) -> None:
        """As `register`, for rows that are not resources (an attachment), which `command` is given whole."""
        self._commands[info(record).meta.table] = cast("Callable[[Record], Commands]", command)

    def register_apis(self, apis: Iterable[type[AnyApi]]) -> None:
        """Have each resource deleted by its `ApiDelete` message, unless another command was registered for it."""
        for api in apis:
            if issubclass(api, ApiDelete) and api.entity in self._schema.by_entity and api.route == "uuid":
                table = self._schema.by_entity[api.entity].meta.table
                self._commands.setdefault(table, partial(_deleting, api, self._schema.by_table[table].key.name))

    # -- what stands in the way -----------------------------------------------------------------------------------

    def dependents(self, tx: Tx, record: type[Record], uuid: str) -> dict[str, int]:
        """The rows that keep a row from being deleted: entity -> how many. Empty: it may go."""
        found: dict[str, int] = {}
        for child, field in self._restricting[info(record).meta.table]:
            count = tx.count(child.record, **{field.name: uuid})
            if count:
                name = self._name(child, field)
                found[name] = max(count, found.get(name, 0))
        return found

    def owned(self, tx: Tx, account: str) -> dict[str, int]:
        """The resources of an account: entity -> how many.

        Rows whose owner may be null (jobs) only tell who it was, and account rows own themselves: neither counts.
        """
        found: dict[str, int] = {}
        for record in self._schema.by_table.values():
            if record.owner is not None and record.owner.key is None and not record.owner.nullable:
                count = tx.count(record.record, **{record.owner.name: account})
                if count:
                    found[record.meta.entity or record.meta.table] = count
        return found

    def refuse(
        self, tx: Tx, record: type[Record], uuid: str, *, noun: str, name: str, can_enforce: bool, title: str = ""
    ) -> None:
        """Raise ``<noun>.in-use``, naming what is in it, unless the row may go.

        Args:
            noun: of the code: ``zone``.
            name: what people call the row.
            can_enforce: whether the sentence offers to enforce the deletion.
            title: what people call such a thing; by default the noun.
        """
        found = self.dependents(tx, record, uuid)
        if not found:
            return
        many = sum(found.values()) > 1
        hint = ", or use deleteMode=Enforcing" if can_enforce else ""
        raise CairnError(
            f"{noun}.in-use",
            f"{in_words(found)} {'are' if many else 'is'} in the {title or noun.replace('-', ' ')} {name}: "
            f"delete {'them' if many else 'it'} first{hint}.",
            kind=ErrorKind.CONFLICT,
            details={"dependents": {entity: str(count) for entity, count in found.items()}},
        )

    # -- clearing the way -----------------------------------------------------------------------------------------

    async def clear(self, record: type[Record], uuid: str | int) -> None:
        """Delete all that keeps a row from going and can be deleted. Safe to repeat.

        Rows that no command is registered for stay, unless they go with others: look with `refuse` afterwards.

        Raises:
            CairnError: ``cascade.not-deleted``, about the first of those left when a round deletes nothing; its details name
                what else is in the way.
        """
        here = info(record)
        before: list[_Child] = []
        errors: list[CairnError] = []
        while (children := await self._children(here, uuid)) and children != before:
            errors = await self._round(children)
            before = children
            if errors and len(errors) == sum(child.table in self._commands for child in children):
                break  # nothing went; an undo may have put rows back that look like others
        if errors and await self._children(here, uuid):
            raise _with_blocking(errors)

    async def _children(self, record: RecordInfo, uuid: str | int) -> list[_Child]:
        """Some of those in the way, the deepest kinds first."""
        fields = sorted(self._restricting[record.meta.table], key=lambda pair: -self._ranks[pair[0].meta.table])

        def fn(tx: Tx) -> list[_Child]:
            found: list[_Child] = []
            for child, field in fields:
                where: dict[str, Any] = {field.name: uuid}
                rows = tx.find(child.record, order_by=child.key.name, limit=_PER_ROUND, **where)
                found += [_Child(table=child.meta.table, key=getattr(row, child.key.name)) for row in rows]
            return found

        return await self._store.read(fn)

    async def _round(self, children: Sequence[_Child]) -> list[CairnError]:
        """Try each, kind after kind, a few at a time. Returns what went wrong."""
        errors: list[CairnError] = []
        for table in dict.fromkeys(child.table for child in children):
            gate = asyncio.Semaphore(_PARALLELISM)
            async with asyncio.TaskGroup() as group:
                for child in children:
                    if child.table == table:
                        group.create_task(self._try(child, gate, errors), name=f"delete {table}")
        return errors

    async def _try(self, child: _Child, gate: asyncio.Semaphore, errors: list[CairnError]) -> None:
        async with gate:
            try:
                await self._delete(child)
            except CairnError as error:
                errors.append(error)

    async def _ask(self, command: object) -> None:
        """Ask those who may veto the removal of a child. Raises what they raise."""
        question = self._guards.question(command, current().actor) if isinstance(command, ApiCommand) else None
        if question is not None:
            await self._store.look(question)

    async def _delete(self, child: _Child) -> None:
        record = self._schema.by_table[child.table]
        if self._restricting[child.table]:
            await self.clear(record.record, child.key)
        make = self._commands.get(child.table)
        row = await self._store.read(lambda tx: tx.get(record.record, child.key)) if make is not None else None
        if make is None or row is None:
            return
        commands = make(row)
        try:
            for command in [commands] if isinstance(commands, Command) else commands:
                await self._ask(command)
                await self._bus.call(command)
        except CairnError as error:
            name = getattr(row, "name", None) or child.key
            raise CairnError(
                "cascade.not-deleted",
                f"The {record.meta.entity or child.table} {name} could not be deleted. Put right what its error says "
                "and delete again; what was deleted before it is gone.",
                kind=error.kind,
                cause=error,
            ) from error

    # -- what the schema says -------------------------------------------------------------------------------------

    def _restricted(self, record: RecordInfo) -> list[tuple[RecordInfo, Field]]:
        return [
            (child, field)
            for child, field in self._schema.referring_to(record)
            if field.reference is not None and field.reference.on_delete == "restrict"
        ]

    def _rank(self, record: RecordInfo, within: tuple[str, ...]) -> int:
        """How deep a record is: more than whatever it needs. Cycles count once."""
        table = record.meta.table
        known = self._ranks.get(table)
        if known is not None or table in within:
            return known or 0
        targets = [
            self._schema.target(record.record, field.reference)
            for field in record.fields
            if field.reference is not None and field.reference.on_delete != "set-null"
        ]
        rank = 1 + max((self._rank(target, (*within, table)) for target in targets), default=-1)
        self._ranks[table] = rank
        return rank

    def _name(self, child: RecordInfo, field: Field) -> str:
        """The name that people know a record by; an attachment's is that of the attached resource."""
        if child.meta.entity is not None:
            return child.meta.entity
        others = [
            self._schema.target(child.record, other.reference).meta.entity
            for other in child.fields
            if other.reference is not None and other is not field
        ]
        return next((entity for entity in others if entity is not None), child.meta.table.replace("_", " "))


def _with_blocking(errors: Sequence[CairnError]) -> CairnError:
    """The first error, with the others' sentences among its details."""
    first = errors[0]
    blocking = [f"{error.message}{f' {error.cause.message}' if error.cause else ''}" for error in errors[:_SHOWN]]
    first.details = {**first.details, "blocking": blocking, "notDeleted": len(errors)}
    return first


def _deleting(api: type[ApiDelete], key: str, row: Record) -> Commands:
    # `register_apis` takes only messages whose route is their field `uuid`; the base class has none.
    return api(uuid=getattr(row, key), delete_mode=DeleteMode.ENFORCING)  # type: ignore[call-arg]


def in_words(found: dict[str, int]) -> str:
    """The counts as a phrase: ``2 Clusters and 1 L2Network``."""
    parts = [
        f"{count} {name if count == 1 or name.endswith('Storage') else name + 's'}" for name, count in found.items()
    ]
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


class DeleteChildrenInput(Struct, frozen=True, kw_only=True):
    """The resource whose children are deleted, and the call that asks for it."""

    uuid: str
    asked: ApiDelete


class DeleteChildren(ActionStep[DeleteChildrenInput, Nothing]):
    """When enforcing, delete what is inside of a resource before it goes itself."""

    name = "cascade.delete-children"
    title = "deleting what is inside"
    nothing_to_undo: ClassVar[str | None] = "what was deleted is gone; the rest stays as it is"

    def __init__(self, cascade: Cascade, schema: Schema) -> None:
        self._cascade = cascade
        self._schema = schema

    async def do(self, given: DeleteChildrenInput) -> Nothing:
        """Clear the way; a permissive deletion leaves all as it is, and its next step refuses."""
        if given.asked.delete_mode is DeleteMode.ENFORCING:
            await self._cascade.clear(self._schema.by_entity[given.asked.entity or ""].record, given.uuid)
        return NOTHING
