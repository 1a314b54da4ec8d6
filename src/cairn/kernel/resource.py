"""The part that all resources share: a row in ``resource``, and the plain functions that make, find, change and erase them.

A resource is a row of its own table (a `Named` record) and a row of `Resource` with the same uuid. So a uuid is
unique over all types, and all that hangs on resources (tags, shares, quota, audit) refers to one table. Both rows come and go in
one transaction, by `enter` and `erase`.

Everything here works inside the caller's transaction::

    @handles(CreateZone)
    async def create(self, message: CreateZone) -> Reference:
        return await self._jobs.commit(lambda tx: create(tx, self._tags, Zone, message))
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, cast

from msgspec import Struct
from msgspec.structs import fields

from cairn.kernel.api import ApiChangeState, ApiCreate, ApiDelete, ApiUpdate, DeleteMode, Reference, StateEvent
from cairn.kernel.bus.context import current
from cairn.kernel.cascade import Cascade
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.retention import remove, up_to
from cairn.kernel.store.record import Doc, Index, Key, Named, Owner, Record, TableMeta, info
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags

N = TypeVar("N", bound=Named)
S = TypeVar("S", bound=Struct)


class Resource(Record, frozen=True, kw_only=True):
    """A resource of any type."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="resource", entity="Resource", columns=("type", "name", "accountUuid", "uuid")
    )

    uuid: Annotated[str, Key()]
    type: str
    name: str
    account_uuid: Annotated[str | None, Owner(), Index()] = None
    job_uuid: Annotated[str | None, Doc("the job that made it")] = None
    create_date: datetime


class FormerUuid(Record, frozen=True, kw_only=True):
    """The uuid of a resource that is gone, and whose it was.

    What a resource leaves behind somewhere (a console's log, a cached file, an event) is known by its uuid, so nobody else may
    give that uuid to something of their own, for as long as ``resource.formerUuid.retention`` says.
    """

    meta: ClassVar[TableMeta] = TableMeta(table="former_uuid")

    uuid: Annotated[str, Key()]
    account_uuid: str | None = None
    create_date: Annotated[datetime, Index(), Doc("when the resource went, the last one if several had the uuid")]


class EnabledState(StrEnum):
    """The administrative state of a resource."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"  #: not used for anything new; existing users of it go on


def existing(tx: Tx, kind: type[N], uuid: str, field: str = "uuid", *, lock: bool = False) -> N:
    """The resource with this uuid (``<noun>.not-found``, naming `field`, if it does not exist).

    Args:
        lock: nobody else changes it before the end of the transaction; see `Tx.get`.
    """
    row = tx.get(kind, uuid, lock=lock)
    if row is None:
        raise not_found(info(kind).noun, field, uuid, info(kind).title)
    return row


def gone(kind: type[Named]) -> Callable[[Tx, Any], bool]:
    """A check that the resource which a call names is gone; for `workflow(..., unless=gone(Zone))`."""
    return lambda tx, message: tx.get(kind, getattr(message, message.route)) is None


# -- accepted, not made yet ------------------------------------------------------------------------------------------------


def announce(tx: Tx, message: ApiCreate, *, job: str, owner: str | None) -> None:
    """Write the row in `Resource` of what `message` is going to make, so that the uuid is taken from now on.

    Args:
        job: the job that makes it.
        owner: the account that asks.

    Raises:
        CairnError: ``resource.uuid-taken``.
    """
    kind, uuid = _kind_of(tx.schema, message.entity), message.resource_uuid
    if kind is None or uuid is None:
        return
    _insert(tx, kind, uuid, name=getattr(message, "name", ""), owner=_owner(kind, uuid, owner), job=job)


def retract(tx: Tx, message: ApiCreate, *, job: str) -> None:
    """Give the uuid free that `announce` took, if what it was for was not made after all. Safe to repeat."""
    kind, uuid = _kind_of(tx.schema, message.entity), message.resource_uuid
    if kind is not None and uuid is not None and tx.get(kind, uuid) is None:
        tx.delete_where(Resource, uuid=uuid, job_uuid=job)


def refuse_former(tx: Tx, uuid: str, account: str | None) -> None:
    """Refuse a uuid that a caller chose for something new and that another account's resource once had.

    Args:
        account: the caller's; None: an administrator, who may take any.

    Raises:
        CairnError: ``resource.uuid-taken``, in the words for one that exists.
    """
    former = None if account is None else tx.get(FormerUuid, uuid)
    if former is not None and former.account_uuid != account:
        raise _uuid_taken(uuid)


def is_announced(tx: Tx, entity: str, uuid: str, owner: str | None) -> bool:
    """Whether the creation of a resource was accepted that is not there yet.

    Args:
        owner: only if it is this account's; None: whosever it is.
    """
    kind = _kind_of(tx.schema, entity)
    row = None if kind is None else tx.get(Resource, uuid)
    if kind is None or row is None or row.type != kind.meta.entity:
        return False
    return (owner is None or row.account_uuid == owner) and tx.get(kind, uuid) is None


def _kind_of(schema: Schema, entity: str | None) -> type[Named] | None:
    """The kind of resource that an entity's rows are, or are a part of; None: they are none (tags)."""
    here = schema.by_entity.get(entity or "")
    if here is None:
        return None
    if here.meta.extends is not None:
        here = schema.resolve(here.record, here.meta.extends.parent)
    return here.record if issubclass(here.record, Named) else None


def _owner(kind: type[Named], uuid: str, account: str | None) -> str | None:
    """Whose a new resource is: by its own field, or, of an account, its own."""
    owner = info(kind).owner
    if owner is None:
        return None
    return account if owner.key is None else uuid


# -- making --------------------------------------------------------------------------------------------------------------


def create(tx: Tx, tags: Tags, kind: type[Named], message: ApiCreate, **more: object) -> Reference:
    """Make a resource from a message and `more`, with its tags.

    Raises:
        CairnError: ``resource.uuid-taken``.
    """
    return enter(tx, tags, message, new(tx, kind, message, **more))


def new(tx: Tx, kind: type[N], message: ApiCreate, **more: object) -> N:
    """The row that `create` would write."""
    owner = info(kind).owner
    if owner is not None and owner.key is None:
        more.setdefault(owner.name, current().actor or "")
    dates = {"create_date": tx.now, "last_op_date": tx.now}
    return taken(kind, message, uuid=message.resource_uuid, **(dates | more))


def enter(tx: Tx, tags: Tags, message: ApiCreate, row: Named) -> Reference:
    """Insert a new resource, with the tags that its message brings (``resource.uuid-taken``)."""
    if message.resource_uuid is not None and (there := tx.get(Resource, row.uuid)) is not None:
        _redeem(tx, there, row)
    else:
        write(tx, row)
    tags.add(tx, type(row).meta.entity or "", row.uuid, system=message.system_tags, user=message.user_tags)
    return Reference(uuid=row.uuid)


def write(tx: Tx, row: Named) -> None:
    """Insert a resource that has no message of its own (a VM's root volume)."""
    kind = type(row)
    owner = info(kind).owner
    account = None if owner is None else getattr(row, owner.name)
    _insert(tx, kind, row.uuid, name=row.name, owner=account, job=current().job)
    tx.insert(row)


def _redeem(tx: Tx, announced: Resource, row: Named) -> None:
    """Insert a resource whose row in `Resource` is there since its creation was accepted."""
    job = current().job
    if job is None or announced.job_uuid != job:
        raise _uuid_taken(row.uuid)
    try:
        tx.insert(row)
    except CairnError as error:
        if error.code == "store.duplicate" and tx.get(type(row), row.uuid) is not None:
            raise _uuid_taken(row.uuid) from error
        raise


def _insert(tx: Tx, kind: type[Named], uuid: str, *, name: str, owner: str | None, job: str | None) -> None:
    try:
        tx.insert(
            Resource(
                uuid=uuid,
                type=kind.meta.entity or "",
                name=name,
                account_uuid=owner,
                job_uuid=job,
                create_date=tx.now,
            )
        )
    except CairnError as error:
        if error.code != "store.duplicate":
            raise
        raise _uuid_taken(uuid) from error


def _uuid_taken(uuid: str) -> CairnError:
    return CairnError(
        "resource.uuid-taken",
        f"resourceUuid: {uuid!r} belongs to another resource. Leave it out to have one chosen.",
        kind=ErrorKind.CONFLICT,
        fields={"resourceUuid": f"found {uuid!r}; a uuid that no resource has would fit"},
    )


def taken(kind: type[S], *sources: Struct, **values: object) -> S:
    """A `kind` whose fields come from `values`, else from the first of `sources` that has a field of that name.

    So a message, a record and an agent's command that describe the same thing are passed on whole, and a new field goes
    along by itself.
    """
    make = _taker(kind, tuple(map(type, sources)), tuple(values))
    return cast("S", make(kind, sources, values))


@cache
def _taker(
    kind: type[Struct], sources: tuple[type[Struct], ...], given: tuple[str, ...]
) -> Callable[[type[Struct], tuple[Struct, ...], dict[str, object]], Struct]:
    """What `taken` does for these types, written as source: each VM that is made needs it a dozen times."""
    parts: dict[str, str] = {}
    for at, source in enumerate(sources):
        for name in _shared(kind, source):
            if name not in given:
                parts.setdefault(name, f"{name}=sources[{at}].{name}")
    text = f"lambda kind, sources, values: kind({', '.join([*parts.values(), '**values'])})"
    made: Callable[[type[Struct], tuple[Struct, ...], dict[str, object]], Struct] = eval(text)  # noqa: S307 (of names of fields)
    return made


@cache
def _shared(kind: type[Struct], source: type[Struct]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name in source.__struct_fields__)


# -- changing --------------------------------------------------------------------------------------------------------------


def changed(tx: Tx, kind: type[Named], message: ApiUpdate, **more: object) -> Reference:
    """Change those fields of a resource that `message` gives, and `more` (``<noun>.not-found``)."""
    row = existing(tx, kind, message.uuid)
    tx.update(kind, row.uuid, last_op_date=tx.now, **(given_of(kind, message) | more))
    if message.name is not None:
        tx.update(Resource, row.uuid, name=message.name)
    return Reference(uuid=row.uuid)


def given_of(kind: type[Struct], source: Struct) -> dict[str, object]:
    """The values that `source` has for fields of a `kind`, by name; without the uuid and without those that are None."""
    names = (name for name in _shared(kind, type(source)) if name != "uuid")
    return {name: value for name in names if (value := getattr(source, name)) is not None}


def state_changed(tx: Tx, kind: type[Named], message: ApiChangeState) -> Reference:
    """Enable or disable a resource whose state is an `EnabledState` (``<noun>.not-found``)."""
    row = existing(tx, kind, message.uuid)
    state = EnabledState.ENABLED if message.state_event is StateEvent.ENABLE else EnabledState.DISABLED
    tx.update(kind, row.uuid, state=state, last_op_date=tx.now)
    return Reference(uuid=row.uuid)


# -- erasing ---------------------------------------------------------------------------------------------------------------


def erase(tx: Tx, kind: type[Named], uuid: str) -> int:
    """Remove a resource's rows, and all that hangs on it. Returns 1 if there was one, else 0. Safe to repeat.

    The database deletes rows along by itself, but not the rows in `resource` of those that are resources (the ranges of a
    network): these are erased first.
    """
    along_with_it = tx.schema.deleted_along[info(kind).meta.table]
    if along_with_it:
        tx.get(
            kind, uuid, lock=True
        )  # else one could come while these are erased, and leave its row in `resource` behind
    for child, field in along_with_it:
        along: dict[str, Any] = {field.name: uuid}
        for row in tx.find(child.record, **along):
            assert isinstance(row, Named)  # or it would not be in the list
            erase(tx, type(row), row.uuid)
    _remember(tx, uuid)
    there = tx.delete(kind, uuid)
    tx.delete(Resource, uuid)
    return there


def _remember(tx: Tx, uuid: str) -> None:
    row = tx.get(Resource, uuid)
    if row is None or row.account_uuid is None:
        return  # what belongs to no account leaves nothing that another could take
    if not tx.update(FormerUuid, uuid, account_uuid=row.account_uuid, create_date=tx.now):
        tx.insert(FormerUuid(uuid=uuid, account_uuid=row.account_uuid, create_date=tx.now))


_OLD_FORMER = up_to(FormerUuid, "create_date")


async def forget_former(store: Store, date: datetime) -> int:
    """Let uuids of resources that went until `date` be given to anybody. Returns how many. Safe to repeat."""
    return await remove(store, _OLD_FORMER, date)


def erase_unless_used(tx: Tx, cascade: Cascade, kind: type[Named], message: ApiDelete, uuid: str) -> None:
    """Remove a resource that nothing refers to; one that is gone is success (``<noun>.in-use``, with what does)."""
    row = tx.get(kind, uuid)
    if row is None:
        return
    here = info(kind)
    permissive = message.delete_mode is DeleteMode.PERMISSIVE
    cascade.refuse(tx, kind, uuid, noun=here.noun, title=here.title, name=row.name, can_enforce=permissive)
    erase(tx, kind, uuid)


class EraseInput(Struct, frozen=True, kw_only=True):
    """The resource to erase, and the call that asks for it."""

    uuid: str
    asked: ApiDelete


class EraseResource(TransactionStep[EraseInput, Nothing]):
    """Forget a resource; refuse one that something still refers to."""

    name = "resource.erase"
    title = "forgetting it"
    nothing_to_undo: ClassVar[str | None] = "it is the last step"

    def __init__(self, cascade: Cascade, schema: Schema) -> None:
        self._cascade = cascade
        self._schema = schema

    def do(self, tx: Tx, given: EraseInput) -> Nothing:
        """Erase what the call's `entity` and uuid name; one that is gone is success."""
        kind = self._schema.by_entity[given.asked.entity or ""].record
        assert issubclass(kind, Named), (
            f"{type(given.asked).__name__} deletes a {kind.__name__}, which is not a resource"
        )
        erase_unless_used(tx, self._cascade, kind, given.asked, given.uuid)
        return NOTHING
