"""Queries: every entity by every field, and by every field of the entities that it is linked to. See `QueryEngine`."""

from cairn.kernel.query.catalog import TagTables
from cairn.kernel.query.describe import EntityDescription, FieldDescription, JoinDescription
from cairn.kernel.query.engine import MAX_LIMIT, QueryAnswer, QueryEngine, QueryRequest
from cairn.kernel.query.inventory import Inventory
from cairn.kernel.query.plan import Scope, Shares

__all__ = [
    "MAX_LIMIT",
    "EntityDescription",
    "FieldDescription",
    "Inventory",
    "JoinDescription",
    "QueryAnswer",
    "QueryEngine",
    "QueryRequest",
    "Scope",
    "Shares",
    "TagTables",
]
