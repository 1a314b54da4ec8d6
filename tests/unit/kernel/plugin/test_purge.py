from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cairn.bootstrap import Node
from cairn.kernel.error import CairnError
from cairn.kernel.plugin.purge import Left, plugins_with_traces, purge
from cairn.kernel.plugin.trace import TraceKind
from cairn.kernel.settings import load


async def database(folder: Path) -> Path:
    """The database of a node that had the example plugin."""
    settings = load({}, data_dir=folder, listen="127.0.0.1:0", plugins_extra="cairn_audit.manifest")
    node = await Node.build(settings)
    await node.start(serve=False)
    await node.stop()
    return folder / "cairn.db"


def names(path: Path, table: str, column: str) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {str(row[0]) for row in connection.execute(f"SELECT {column} FROM {table}")}
    finally:
        connection.close()


def tables(path: Path) -> set[str]:
    return names(path, "sqlite_master", "name")


async def test_what_a_plugin_left_is_shown_and_then_removed_wholly(tmp_path: Path) -> None:
    path = await database(tmp_path)
    before = tables(path)
    settings = names(path, "global_config", "category")
    assert "audit" in plugins_with_traces(path)

    shown = purge(path, "audit", really=False)

    assert {(one.kind, one.name) for one in shown} == {
        (TraceKind.TABLE, "audit_note"),
        (TraceKind.TABLE, "audit_seal"),
        (TraceKind.ENTITY, "AuditNote"),
        (TraceKind.ENTITY, "AuditSeal"),
        (TraceKind.HISTORY, "alembic_version_cairn_audit"),
        (TraceKind.SETTING, "audit.requireTicket"),
        (TraceKind.SETTING, "audit.hostsForTickets"),
        (TraceKind.SUBSCRIBER, "audit.crashes"),
        (TraceKind.TAG, "VmInstance ticket::"),
        (TraceKind.TAG, "VmInstance hold::"),
    }
    assert Left(kind=TraceKind.SETTING, name="audit.requireTicket", rows=1) in shown
    assert tables(path) == before

    assert purge(path, "audit", really=True) == shown
    assert {name for name in before - tables(path) if not name.startswith(("ix_", "sqlite_"))} == {
        "audit_note",
        "audit_seal",
        "alembic_version_cairn_audit",
    }
    assert names(path, "global_config", "category") == settings - {"audit"}
    assert "audit.crashes" not in names(path, "event_cursor", "name")
    assert purge(path, "audit", really=True) == []
    assert "audit" not in plugins_with_traces(path)


async def test_table_that_another_refers_to_stays(tmp_path: Path) -> None:
    path = await database(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE more (note TEXT REFERENCES audit_note (uuid))")
    connection.close()

    with pytest.raises(CairnError, match=r"The table more refers to audit_note of the plugin audit") as caught:
        purge(path, "audit", really=True)

    assert caught.value.code == "plugin.still-used"
    assert "audit_note" in tables(path)


def test_where_there_is_no_database_nothing_is_left(tmp_path: Path) -> None:
    assert plugins_with_traces(tmp_path / "none") == []
    assert purge(tmp_path / "none", "audit", really=True) == []
