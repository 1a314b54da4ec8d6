"""Events: what has happened, told to subscribers in the process and to streams outside. See `Events`."""

from cairn.kernel.event.model import DeliveryState, EventCursor, EventDelivery, EventRow
from cairn.kernel.event.outbox import Events

__all__ = ["DeliveryState", "EventCursor", "EventDelivery", "EventRow", "Events"]
