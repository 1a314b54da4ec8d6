from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.services.image_site import Site

from cairn.kernel.deploy.authority import LEAF_VALIDITY, Authority
from cairn.kernel.deploy.roots import CA_VALIDITY
from cairn.kernel.machine.certificates import Certificates
from cairn.kernel.machine.client import AgentCertificate, MachineClient
from cairn.kernel.machine.machines import Machines
from cairn.services.backup_storage.messages import ReconnectBackupStorage
from cairn.testing.shared import authority_in


def clients(site: Site) -> MachineClient:
    return site.context.need(Machines).of(ReconnectBackupStorage(uuid="f" * 32))


def counts(certificates: Certificates) -> dict[str, tuple[int, int]]:
    return {view.holder: (view.number, view.ending) for view in certificates.views()}


@pytest.fixture
async def authority(site: Site, tmp_path: Path) -> Authority:
    authority = await authority_in(tmp_path / "pki", clock=site.clock)
    authority.issue_node()
    return authority


@pytest.fixture
def certificates(site: Site, authority: Authority) -> Certificates:
    return Certificates(authority, site.context.need(Machines))


async def test_agents_are_counted_by_kind_and_so_are_those_that_nobody_renewed(
    site: Site, authority: Authority, certificates: Certificates
) -> None:
    now = authority.now()
    lasts, late, last = (
        LEAF_VALIDITY.total_seconds(),
        timedelta(days=30).total_seconds(),
        timedelta(days=3).total_seconds(),
    )
    ends = {"one": now + lasts, "two": now + late, "three": now + last, "without": 0.0}
    clients(site).shown.update({uuid: AgentCertificate(end) for uuid, end in ends.items()})

    assert counts(certificates) == {"authority": (1, 0), "node": (1, 0), "backup-storage": (3, 2)}
    assert certificates.ends()["backup-storage",] == now + last
    assert certificates.ending()["backup-storage",] == 2


async def test_the_authority_is_named_once_it_cannot_sign_for_a_whole_life_any_more(
    site: Site, certificates: Certificates
) -> None:
    await site.clock.advance((CA_VALIDITY - LEAF_VALIDITY + timedelta(days=1)).total_seconds())
    assert counts(certificates)["authority"] == (1, 1)


async def test_what_agents_show_is_heard_at_pings_and_forgotten_with_the_machine(site: Site) -> None:
    storage = await site.add_storage()
    site.agents.certificate_ends = 4711.0
    await clients(site).ping(storage, timeout_seconds=5.0)
    heard = dict(clients(site).shown)
    clients(site).erased(storage)

    assert heard == {storage: AgentCertificate(4711.0)}
    assert clients(site).shown == {}
