"""A cloud that makes what it is asked for, and remembers each call."""

from __future__ import annotations

from typing import cast

from cairn.cli.client import Job, Json
from cairn.cli.errors import CliError, Exit, Problem

#: call -> what it makes, and in which state
_MADE: dict[str, tuple[str, Json]] = {
    "CreateZone": ("Zone", {}),
    "CreateCluster": ("Cluster", {}),
    "CreateL2VxlanNetwork": ("L2Network", {"attachedClusterUuids": []}),
    "CreateL3Network": ("L3Network", {}),
    "AddIpRangeByNetworkCidr": ("IpRange", {}),
    "AddLocalPrimaryStorage": ("PrimaryStorage", {"attachedClusterUuids": []}),
    "AddKVMHost": ("Host", {"status": "Connected"}),
    "AddSimulatorHost": ("Host", {"status": "Connected"}),
    "AddSftpBackupStorage": ("BackupStorage", {"attachedZoneUuids": [], "status": "Connected"}),
    "AddSimulatorBackupStorage": ("BackupStorage", {"attachedZoneUuids": [], "status": "Connected"}),
    "CreateInstanceOffering": ("InstanceOffering", {}),
    "AddImage": ("Image", {"status": "Ready"}),
    "CreateVmInstance": ("VmInstance", {"state": "Running", "vmNics": [{"ip": "10.89.0.7"}]}),
}
#: call -> entity, its uuid's parameter, the field that changes, the value or the parameter that has it
_CHANGES = {
    "AttachL2NetworkToCluster": ("L2Network", "l2NetworkUuid", "attachedClusterUuids", "clusterUuid"),
    "AttachPrimaryStorageToCluster": ("PrimaryStorage", "primaryStorageUuid", "attachedClusterUuids", "clusterUuid"),
    "AttachBackupStorageToZone": ("BackupStorage", "backupStorageUuid", "attachedZoneUuids", "zoneUuid"),
    "ReconnectHost": ("Host", "uuid", "status", "Connected"),
    "ReconnectBackupStorage": ("BackupStorage", "uuid", "status", "Connected"),
    "StartVmInstance": ("VmInstance", "uuid", "state", "Running"),
    "ResumeVmInstance": ("VmInstance", "uuid", "state", "Running"),
}


class FakeCloud:
    """`cairn.cli.up.api.Api` in memory. A call in `failing` fails."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Json]] = {}
        self.calls: list[str] = []
        self.failing: set[str] = set()
        self.console = "Linux boots\r\nmore\n=== cairn guest ===\nhost name: first\ncairn guest ready\n"
        self._results: dict[str, Json] = {}

    def find(self, entity: str, *conditions: str) -> list[Json]:
        """Rows whose own fields fit; conditions over joins hold."""
        rows = self.rows.get(entity, [])
        for condition in conditions:
            field, _, value = condition.partition("=")
            rows = [row for row in rows if "." in field or str(row.get(field)) == value]
        return rows

    def start(self, api: str, values: Json) -> Job:
        """Do it at once."""
        self.calls.append(api)
        job = f"{len(self.calls):032x}"
        if api in _MADE:
            entity, more = _MADE[api]
            row = {"uuid": f"{entity}-{len(self.rows.get(entity, [])) + 1}", **more, **values}
            if entity == "VmInstance":
                row["hostUuid"] = self.rows["Host"][0]["uuid"]
            self.rows.setdefault(entity, []).append(row)
        else:
            row = self._change(api, values)
        self._results[job] = row
        return Job(uuid=job, api=api)

    def finish(self, job: Job) -> Json:
        """What came of it."""
        if job.api in self.failing:
            raise CliError(Exit.REFUSED, Problem(detail=f"{job.api} failed.", code="test.failed"))
        return self._results[job.uuid]

    def ask(self, api: str, values: Json) -> Json:
        """A console."""
        return {"consoleLog": self.console}

    def _change(self, api: str, values: Json) -> Json:
        entity, key, field, value = _CHANGES[api]
        row = next(row for row in self.rows[entity] if row["uuid"] == values[key])
        if isinstance(row.get(field), list):
            cast("list[object]", row[field]).append(values[value])
        else:
            row[field] = value
        return row
