"""What can be asked of simulated hosts."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import ApiCreate, Description, Http, Name, Refers, Uuid, post


class AddSimulatorHost(ApiCreate, frozen=True, kw_only=True, tag="simulator.add-host"):
    """Add a host that `cairn simulator` plays. How large it is, the simulator says."""

    route: ClassVar[str | None] = "resource_uuid"
    http: ClassVar[Http] = post("/hosts/simulators")
    entity: ClassVar[str | None] = "Host"

    name: Name
    description: Description | None = None
    management_ip: Annotated[str, Meta(min_length=1, max_length=255)]  #: any text that no other host has
    cluster_uuid: Annotated[Uuid, Refers("Cluster")]
    url: Annotated[str, Meta(pattern=r"^http://[!-~]+[^/]$", max_length=2048)]  #: http://127.0.0.1:7900/hosts/sim-0001
    memory_capacity: int | None = None  #: accepted for the sake of other clients, and not used
    cpu_capacity: int | None = None  #: accepted for the sake of other clients, and not used


class AddSimulatorBackupStorage(ApiCreate, frozen=True, kw_only=True, tag="simulator.add-backup-storage"):
    """Add a backup storage that `cairn simulator` plays."""

    route: ClassVar[str | None] = "resource_uuid"
    http: ClassVar[Http] = post("/backup-storage/simulators")
    entity: ClassVar[str | None] = "BackupStorage"

    name: Name
    description: Description | None = None
    url: Annotated[str, Meta(pattern=r"^http://[!-~]+[^/]$", max_length=2048)]  #: http://127.0.0.1:7900/hosts/backup
