"""Messages about simulated hosts and backup storage."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from cairn.kernel.api import Http, post
from cairn.kernel.words import END
from cairn.services.backup_storage.messages import AddBackupStorage
from cairn.services.host.messages import AddHost

AgentUrl = Annotated[str, Meta(pattern=rf"^http://[!-~]*[!-.0-~]{END}", max_length=2048)]
BACKUP_FOLDER = "/var/lib/cairn-backup"


class AddSimulatorHost(AddHost, frozen=True, kw_only=True, tag="simulator.add-host"):
    """Add a host that `cairn simulator` simulates. The simulator decides its size."""

    http: ClassVar[Http] = post("/hosts/simulators")
    hypervisor_type: ClassVar[str] = "Simulator"

    url: AgentUrl  #: http://127.0.0.1:7900/hosts/sim-0001
    memory_capacity: int | None = None  #: accepted for the sake of other clients, and not used
    cpu_capacity: int | None = None  #: accepted for the sake of other clients, and not used


class AddSimulatorBackupStorage(AddBackupStorage, frozen=True, kw_only=True, tag="simulator.add-backup-storage"):
    """Add a backup storage that `cairn simulator` simulates."""

    http: ClassVar[Http] = post("/backup-storage/simulators")
    storage_type: ClassVar[str] = "SimulatorBackupStorage"

    url: AgentUrl  #: http://127.0.0.1:7900/hosts/backup

    @property
    def folder(self) -> str:
        """The folder that simulated images are said to be in; it is on no disk."""
        return BACKUP_FOLDER
