from __future__ import annotations

from pathlib import Path

import pytest

from cairn.bootstrap import Node
from cairn.kernel.error import CairnError
from cairn.kernel.plugin.purge import Left, plugins_with_traces, purge
from cairn.kernel.plugin.trace import TraceKind
from cairn.kernel.settings import load
from cairn.kernel.store.opening import connected
from cairn.testing.mariadb import shared_server

TAG = (
    "INSERT INTO system_tag (uuid, resource_uuid, resource_type, tag, type, inherent, create_date) "
    "VALUES (?, 'vm', 'VmInstance', ?, 'System', 0, 1)"
)
RESOURCE = "INSERT INTO resource (uuid, type, name, create_date) VALUES ('vm', 'VmInstance', 'vm', 1)"


async def database(folder: Path, *, server: bool = False) -> str:
    """The database of a node that had the example plugin."""
    url = shared_server().url(shared_server().create()) if server else str(folder / "cairn.db")
    settings = load({}, data_dir=folder, database=url, listen="127.0.0.1:0", plugins_extra="cairn_audit.manifest")
    node = await Node.build(settings)
    await node.start(serve=False)
    await node.stop()
    return url


def change(url: str, *statements: tuple[str, tuple[str, ...]]) -> None:
    with connected(url) as connection:
        connection.begin()
        for statement, values in statements:
            connection.execute(statement, values)
        connection.commit()


def names(url: str, table: str, column: str) -> set[str]:
    with connected(url, read_only=True) as connection:
        return {str(row[0]) for row in connection.fetch(f"SELECT {column} FROM {table}", ())}


def tables(url: str) -> set[str]:
    with connected(url, read_only=True) as connection:
        return set(connection.columns())


@pytest.mark.parametrize("server", [False, True])
async def test_what_a_plugin_left_is_shown_and_then_removed_wholly(tmp_path: Path, server: bool) -> None:
    url = await database(tmp_path, server=server)
    change(url, (RESOURCE, ()), (TAG, ("1", "ticket::7")), (TAG, ("2", "TICKET::7")), (TAG, ("3", "other::ticket::")))
    before = tables(url)
    settings = names(url, "global_config", "category")
    assert "audit" in plugins_with_traces(url)

    shown = purge(url, "audit", really=False)

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
    assert Left(kind=TraceKind.TAG, name="VmInstance ticket::", rows=1) in shown
    assert tables(url) == before
    assert names(url, "system_tag", "uuid") == {"1", "2", "3"}

    assert purge(url, "audit", really=True) == shown
    assert before - tables(url) == {"audit_note", "audit_seal", "alembic_version_cairn_audit"}
    assert names(url, "global_config", "category") == settings - {"audit"}
    assert names(url, "system_tag", "uuid") == {"2", "3"}
    assert "audit.crashes" not in names(url, "event_cursor", "name")
    assert purge(url, "audit", really=True) == []
    assert "audit" not in plugins_with_traces(url)


async def test_what_was_broken_off_on_a_server_goes_on_when_it_is_repeated(tmp_path: Path) -> None:
    url = await database(tmp_path, server=True)
    change(url, ("UPDATE migration_underway SET begun = 3, done = 2 WHERE label = ?", ("cairn_audit",)))
    with connected(url) as connection:
        connection.watch_references(False)
        connection.execute("DROP TABLE audit_note", ())

    left = purge(url, "audit", really=True)

    assert Left(kind=TraceKind.TABLE, name="audit_note", rows=0) in left
    assert not {"audit_note", "audit_seal"} & tables(url)
    assert "cairn_audit" not in names(url, "migration_underway", "label")
    assert "audit" not in plugins_with_traces(url)


@pytest.mark.parametrize("server", [False, True])
async def test_table_that_another_refers_to_stays(tmp_path: Path, server: bool) -> None:
    url = await database(tmp_path, server=server)
    with connected(url) as connection:
        made = "CREATE TABLE more {} AS SELECT uuid AS note FROM audit_note"
        key = "FOREIGN KEY (note) REFERENCES audit_note (uuid)"
        connection.execute(made.format(f"({key})") if server else f"CREATE TABLE more (note TEXT, {key})", ())

    with pytest.raises(CairnError, match=r"The table more refers to audit_note of the plugin audit") as caught:
        purge(url, "audit", really=True)

    assert caught.value.code == "plugin.still-used"
    assert "audit_note" in tables(url)


def test_where_there_is_no_database_nothing_is_left(tmp_path: Path) -> None:
    assert plugins_with_traces(tmp_path / "none") == []
    assert purge(tmp_path / "none", "audit", really=True) == []
    assert not (tmp_path / "none").exists()
