from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.services.image_site import Site

from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.model import RootProgress
from cairn.kernel.deploy.roots import Phase
from cairn.kernel.ids import NodeId
from cairn.kernel.machine.client import AgentCertificate, MachineClient
from cairn.kernel.machine.machines import Machines
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.machine.rotation import RING_KEY, Rotation
from cairn.kernel.ring import Ring
from cairn.services.backup_storage.messages import ReconnectBackupStorage
from cairn.services.backup_storage.model import BackupStorage
from cairn.testing.shared import authority_in


class Change:
    """A change of the root of an authority, with machines that are played."""

    def __init__(self, site: Site, authority: Authority, ring: Ring, node: NodeId) -> None:
        self.site = site
        self.authority = authority
        machines = site.context.need(Machines)
        self.client: MachineClient = machines.of(ReconnectBackupStorage(uuid="f" * 32))
        self.rotation = Rotation(self.authority, machines, site.context.store, ring, node)

    def heard(self, uuid: str, *, issuer: str | None = None, trust: str | None = None) -> None:
        """The machine's agent answers a ping; by default it shows and trusts what it should."""
        shown = AgentCertificate(1.0, issuer or self.authority.issuer, trust or self.authority.trust)
        self.client.shown[uuid] = shown

    async def looked(self) -> Phase:
        await self.site.clock.run(self.rotation.look())
        return self.rotation.phase

    async def begin(self) -> None:
        await self.site.clock.run(self.rotation.begin())


async def changed_by(site: Site, folder: Path, node: str = "a", members: Sequence[str] = ("a",)) -> Change:
    """The change as one node of some sees it."""
    ring = Ring()
    ring.set_members([NodeId(member) for member in members], 1)
    return Change(site, await authority_in(folder, clock=site.clock), ring, NodeId(node))


@pytest.fixture
async def change(site: Site, tmp_path: Path) -> Change:
    return await changed_by(site, tmp_path / "pki")


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
    again = await changed_by(change.site, tmp_path / "pki")
    assert again.rotation.phase is Phase.ANNOUNCED
    assert [await again.looked() for _ in range(3)] == [Phase.RENEWING, Phase.SETTLED, Phase.SETTLED]
    assert again.authority.issuer != first


async def test_without_a_change_nothing_is_looked_at(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change.rotation, "_store", None)
    assert await change.looked() is Phase.SETTLED


@pytest.fixture
async def two(site: Site, tmp_path: Path) -> list[Change]:
    """Two nodes; the first is the one that takes changes forward."""
    ring = Ring()
    ring.set_members([NodeId("a"), NodeId("b")], 1)
    names = sorted("ab", key=lambda name: ring.node_of(RING_KEY) != name)
    return [await changed_by(site, tmp_path / "pki", name, "ab") for name in names]


def ping(site: Site, nodes: list[Change], uuid: str) -> Change:
    """The machine's agent answers the node that pings it: it shows and trusts what it should. Returns that node."""
    owner = next(node for node in nodes if node.rotation._ring.node_of(uuid) == node.rotation._node)
    owner.client.shown.pop(uuid, None)
    owner.heard(uuid)
    return owner


async def test_a_change_goes_on_only_when_each_node_has_heard_of_it_and_so_have_its_machines(
    site: Site, two: list[Change]
) -> None:
    first, second = two
    await second.begin()
    assert await first.looked() is Phase.SETTLED, "it has not heard of it"
    await first.authority.refresh()
    assert await first.looked() is Phase.ANNOUNCED
    assert await first.rotation.behind() == {"management-node": 1}
    assert await second.looked() is Phase.ANNOUNCED, "it is not the one, and says that it is ready"
    assert await first.looked() is Phase.RENEWING
    assert await first.looked() is Phase.RENEWING
    assert await second.looked() is Phase.ANNOUNCED, "what it says is of the part before"
    assert await first.looked() is Phase.RENEWING
    await second.authority.refresh()
    await second.looked()
    assert await first.looked() is Phase.SETTLED
    assert await site.context.store.read(lambda tx: tx.count(RootProgress)) == 0


async def test_machines_are_waited_for_whichever_node_pings_them(site: Site, two: list[Change]) -> None:
    uuids = [await site.add_storage(name, host=name) for name in ("sim-0001", "sim-0002", "sim-0003")]
    first, second = two
    await first.begin()
    await second.authority.refresh()
    await second.looked()
    found = [await first.rotation.behind()]
    for uuid in uuids:
        ping(site, two, uuid)
        await second.looked()
        found.append(await first.rotation.behind())
    assert found == [{"backup-storage": 3}, {"backup-storage": 2}, {"backup-storage": 1}, {}]
    assert await first.looked() is Phase.RENEWING


async def test_another_node_takes_the_change_further_when_the_one_that_did_is_gone(
    site: Site, two: list[Change]
) -> None:
    first, second = two
    await first.begin()
    await second.authority.refresh()
    second.rotation._ring.set_members([second.rotation._node], 2)
    assert [await second.looked() for _ in range(2)] == [Phase.RENEWING, Phase.SETTLED]
