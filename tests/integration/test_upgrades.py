"""What an earlier version left is understood by this one."""

from __future__ import annotations

from importlib import import_module

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

KEYS = {
    "a": "host-connect:1",
    "b": "backup-storage-connect:2",
    "c": "vm:3",
    "d": "not-a-host-connect:4",
    "e": None,
}


def test_a_run_that_was_left_half_done_is_in_its_machine_s_queue_under_the_name_of_now() -> None:
    script = import_module("cairn.migrations.versions.0016_queue_names")
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection, Operations.context(MigrationContext.configure(connection)):
        connection.exec_driver_sql("CREATE TABLE flow_run (uuid TEXT, queue_key TEXT)")
        for row in KEYS.items():
            connection.exec_driver_sql("INSERT INTO flow_run VALUES (?, ?)", row)

        script.upgrade()
        after = _keys(connection)
        script.downgrade()

        assert after == KEYS | {"a": "host:1", "b": "backup-storage:2"}
        assert _keys(connection) == KEYS
    engine.dispose()


def _keys(connection: sa.Connection) -> dict[str, str | None]:
    rows = connection.exec_driver_sql("SELECT uuid, queue_key FROM flow_run")
    return {row.uuid: row.queue_key for row in rows}
