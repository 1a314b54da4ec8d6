"""The tables of events: what has happened, how far each durable subscriber is, and what it is still owed."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.ids import NodeId
from cairn.kernel.ownership import Claim
from cairn.kernel.store.record import Doc, Index, Key, Record, TableMeta, Text, Visible


class EventRow(Record, frozen=True, kw_only=True):
    """An event that has happened."""

    meta: ClassVar[TableMeta] = TableMeta(table="event", entity="Event", visible=Visible.ADMIN, path="/event-log")

    sequence: Annotated[int, Key(auto=True, in_commit_order=True), Doc("grows; where a stream takes up again")] = 0
    name: Annotated[str, Index(), Doc("what happened: vm.state-changed")]
    resource_uuid: Annotated[str | None, Index(), Doc("to what")] = None
    job_uuid: Annotated[str | None, Doc("the job that made it happen")] = None
    account_uuid: Annotated[str | None, Doc("who asked for it")] = None
    content: dict[str, object]
    create_date: Annotated[datetime, Index()]


class EventCursor(Record, frozen=True, kw_only=True):
    """How far a durable subscriber is: each event up to there was told, or is written down as an `EventDelivery`."""

    meta: ClassVar[TableMeta] = TableMeta(table="event_cursor")

    name: Annotated[str, Key()]
    sequence: int
    names: Annotated[list[str], Doc("of the events that it hears; none: all")] = []
    alive_date: Annotated[datetime | None, Doc("when a node had this subscriber last")] = None
    node_uuid: Annotated[NodeId | None, Doc("the node that tells it")] = None
    epoch: Annotated[int, Doc("of the list of nodes in which that node took it")] = 0

    @property
    def claim(self) -> Claim:
        """Whose it is."""
        return Claim(self.name, self.node_uuid, self.epoch)


class DeliveryState(StrEnum):
    """The state of an event that a subscriber could not be told at once."""

    OWED = "Owed"  #: it is being told, or told again by itself; later events of its resource wait behind it
    SET_ASIDE = "SetAside"  #: it was tried often enough; it is told again when somebody asks for that


class EventDelivery(Record, frozen=True, kw_only=True):
    """An event that a durable subscriber has not taken yet: it is owed, or was set aside."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="event_delivery",
        entity="EventDelivery",
        visible=Visible.ADMIN,
        columns=("uuid", "subscriber", "state", "name", "resourceUuid", "tries", "error", "createDate"),
        indexes=(("subscriber", "resource_uuid"),),
    )

    uuid: Annotated[str, Key()]
    subscriber: Annotated[str, Text(255, exact=True), Doc("who is to be told")]
    state: Annotated[DeliveryState, Index()]
    sequence: Annotated[int, Doc("the event's number")]
    name: Annotated[str, Doc("what happened: host.status-changed")]
    resource_uuid: Annotated[str | None, Doc("to what")] = None
    job_uuid: Annotated[str | None, Doc("the job that made it happen")] = None
    account_uuid: Annotated[str | None, Doc("who asked for it")] = None
    content: dict[str, object]
    event_date: Annotated[datetime, Doc("when it happened")]
    tries: Annotated[int, Doc("how often the subscriber has failed at it")] = 0
    error: Annotated[str | None, Text(2048), Doc("what the subscriber failed with last")] = None
    last_op_date: Annotated[datetime, Doc("when it was tried last")]
    create_date: Annotated[datetime, Doc("since when it is owed")]

    @property
    def event(self) -> EventRow:
        """The event as it was emitted, also when its own row is gone."""
        return EventRow(
            sequence=self.sequence,
            name=self.name,
            resource_uuid=self.resource_uuid,
            job_uuid=self.job_uuid,
            account_uuid=self.account_uuid,
            content=self.content,
            create_date=self.event_date,
        )
