from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.services.image_site import Site

from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.roots import Phase
from cairn.kernel.machine.client import AgentCertificate, MachineClient
from cairn.kernel.machine.machines import Machines
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.machine.rotation import Rotation
from cairn.services.backup_storage.messages import ReconnectBackupStorage
from cairn.services.backup_storage.model import BackupStorage


class Change:
    """A change of the root of an authority, with machines that are played."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.authority = Authority.open(folder, clock=site.clock)
        machines = site.context.need(Machines)
        self.client: MachineClient = machines.of(ReconnectBackupStorage(uuid="f" * 32))
        self.rotation = Rotation(self.authority, machines, site.context.store)

    def heard(self, uuid: str, *, issuer: str | None = None, trust: str | None = None) -> None:
        """The machine's agent answers a ping; by default it shows and trusts what it should."""
        shown = AgentCertificate(1.0, issuer or self.authority.issuer, trust or self.authority.trust)
        self.client.shown[uuid] = shown

    async def looked(self) -> Phase:
        await self.site.clock.run(self.rotation.look())
        return self.rotation.phase

    async def begin(self) -> None:
        await self.site.clock.run(self.rotation.begin())


@pytest.fixture
def change(site: Site, tmp_path: Path) -> Change:
    return Change(site, tmp_path / "pki")


async def test_each_part_waits_until_every_connected_machine_has_taken_part(change: Change) -> None:
    uuids = [await change.site.add_storage(name, host=name) for name in ("sim-0001", "sim-0002")]
    await change.begin()
    phases = [await change.looked()]
    for _ in range(2):
        change.heard(uuids[0])
        change.heard(uuids[1], trust="what it trusted before")
        phases.append(await change.looked())
        assert await change.rotation.behind() == {"backup-storage": 1}
        change.heard(uuids[1], issuer="the root before")
        phases.append(await change.looked())
        change.heard(uuids[1])
        phases.append(await change.looked())
    announced, renewing, settled = Phase.ANNOUNCED, Phase.RENEWING, Phase.SETTLED
    assert phases == [announced, announced, announced, renewing, renewing, renewing, settled]


async def test_machines_that_are_away_or_speak_without_tls_are_not_waited_for(change: Change) -> None:
    away, plain = [await change.site.add_storage(name, host=name) for name in ("sim-0001", "sim-0002")]
    lost = MachineStatus.DISCONNECTED
    await change.site.context.store.write(lambda tx: tx.update(BackupStorage, away, status=lost))
    change.client.shown[plain] = AgentCertificate(0.0)
    await change.begin()
    assert [await change.looked() for _ in range(2)] == [Phase.RENEWING, Phase.SETTLED]


async def test_a_change_goes_on_after_a_crash_and_is_not_begun_twice(change: Change, tmp_path: Path) -> None:
    first = change.authority.issuer
    await change.begin()
    await change.begin()
    again = Change(change.site, tmp_path / "pki")
    assert again.rotation.phase is Phase.ANNOUNCED
    assert [await again.looked() for _ in range(3)] == [Phase.RENEWING, Phase.SETTLED, Phase.SETTLED]
    assert again.authority.issuer != first


async def test_without_a_change_nothing_is_looked_at(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change.rotation, "_store", None)
    assert await change.looked() is Phase.SETTLED
