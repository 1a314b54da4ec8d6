"""Simulated hosts and backup storage, with the URLs of their agents."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cairn.kernel.store.record import Doc, Key, Record, SubType, TableMeta, Text, Visible


class SimulatorHost(Record, frozen=True, kw_only=True):
    """A host that `cairn simulator` simulates."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="simulator_host",
        entity="SimulatorHost",
        noun="host",
        title="host",
        visible=Visible.ADMIN,
        path="/hosts/simulators",
        extends=SubType(parent="host", column="hypervisor_type", value="Simulator"),
    )

    uuid: Annotated[str, Key()]
    url: Annotated[str, Text(2048), Doc("the URL of its simulated agent: http://127.0.0.1:7900/hosts/sim-0001")]


class SimulatorBackupStorage(Record, frozen=True, kw_only=True):
    """A backup storage that `cairn simulator` simulates."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="simulator_backup_storage",
        entity="SimulatorBackupStorage",
        noun="backup-storage",
        title="backup storage",
        visible=Visible.ADMIN,
        path="/backup-storage/simulators",
        extends=SubType(parent="backup_storage", column="type", value="SimulatorBackupStorage"),
    )

    uuid: Annotated[str, Key()]
    agent_url: Annotated[str, Text(2048), Doc("the URL of its simulated agent: http://127.0.0.1:7900/hosts/backup")]
