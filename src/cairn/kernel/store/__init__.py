"""Transactions, records, migrations: `Store`, `Tx`, and what declares a `Record`."""

from cairn.kernel.store.record import (
    AdminOnly,
    Doc,
    Hidden,
    Index,
    Key,
    Nested,
    Owner,
    Record,
    References,
    SubType,
    TableMeta,
    Text,
    Unique,
    Unit,
    Uuids,
    Via,
    Visible,
    Wire,
    table_of,
)
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, StoreMetrics
from cairn.kernel.store.tx import Tx

__all__ = [
    "AdminOnly",
    "Doc",
    "Hidden",
    "Index",
    "Key",
    "Nested",
    "Owner",
    "Record",
    "References",
    "Schema",
    "Store",
    "StoreMetrics",
    "SubType",
    "TableMeta",
    "Text",
    "Tx",
    "Unique",
    "Unit",
    "Uuids",
    "Via",
    "Visible",
    "Wire",
    "table_of",
]
