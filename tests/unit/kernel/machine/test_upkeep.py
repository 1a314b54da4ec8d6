from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.services.image_site import Site

from cairn.agents.protocol.trust import RenewTrust, revocation_of
from cairn.agents.protocol.wire import AgentCommand, Done, Pong
from cairn.kernel.deploy.authority import LEAF_VALIDITY, Authority
from cairn.kernel.machine.machines import Machines
from cairn.kernel.machine.upkeep import Upkeep
from cairn.services.backup_storage.messages import ReconnectBackupStorage
from cairn.testing.shared import authority_in, forget_agent


class Keeper:
    """The upkeep of some backup storages, whose agents are played."""

    def __init__(self, site: Site, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site = site
        self.authority = authority
        self.client = site.context.need(Machines).of(ReconnectBackupStorage(uuid="f" * 32))
        self.told: list[tuple[str, RenewTrust]] = []
        monkeypatch.setattr(self.client, "call", self.call)
        self.upkeep = Upkeep(
            client=self.client,
            bus=site.context.bus,
            authority=authority,
            settings=site.context.config,
            clock=site.clock,
        )

    async def call(self, uuid: str, command: AgentCommand[Done], *, timeout_seconds: float | None = None) -> Done:
        assert isinstance(command, RenewTrust)
        self.told.append((uuid, command))
        return Done()

    async def pong(self, uuid: str, *, ends_in: timedelta = LEAF_VALIDITY, revocation: str = "") -> None:
        """An agent answers a ping."""
        ends = (self.site.clock.now() + ends_in).timestamp()
        pong = Pong(host=None, version="1", certificate_ends=ends, revocation=revocation)
        self.upkeep.pinged(uuid, pong, None)
        await self.site.clock.settle()


@pytest.fixture
async def keeper(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Keeper]:
    keeper = Keeper(site, await authority_in(tmp_path / "pki", clock=site.clock), monkeypatch)
    await keeper.upkeep.start()
    yield keeper
    await keeper.upkeep.stop()


async def test_a_certificate_that_nears_its_end_is_renewed_over_the_connection_that_it_secures(keeper: Keeper) -> None:
    await keeper.authority.issue_agent("store", "u1", ["10.0.0.1"])
    await keeper.pong("u1")
    early = list(keeper.told)
    await keeper.site.clock.advance((LEAF_VALIDITY * 3 / 4).total_seconds())
    await keeper.pong("u1", ends_in=LEAF_VALIDITY / 4)

    assert early == []
    ((uuid, command),) = keeper.told
    assert uuid == "u1"
    assert command.certificate == (await keeper.authority.issue_agent("store", "u1", ["10.0.0.1"])).certificate
    assert "PRIVATE KEY" in (command.key or "")


async def test_a_machine_that_others_fetch_from_is_told_at_once_what_was_revoked(keeper: Keeper) -> None:
    await keeper.authority.issue_agent("gone", "u2", [])
    await forget_agent(keeper.authority, "u2")
    revoked = [f"{serial:x}" for serial in keeper.authority.revoked]
    await keeper.pong("u1", revocation=revocation_of(revoked))
    knows = list(keeper.told)
    await keeper.pong("u1")

    assert knows == []
    assert [(uuid, command.revoked) for uuid, command in keeper.told] == [("u1", revoked)]


async def test_an_agent_that_trusts_or_shows_another_root_is_told_and_one_that_does_not_is_left_alone(
    keeper: Keeper,
) -> None:
    authority = keeper.authority
    await authority.issue_agent("store", "u1", ["10.0.0.1"])
    ends = (keeper.site.clock.now() + LEAF_VALIDITY).timestamp()
    told = []
    for issuer, trust in ((authority.issuer, authority.trust), (authority.issuer, "other"), ("other", authority.trust)):
        pong = Pong(host=None, version="1", certificate_ends=ends, issuer=issuer, trust=trust)
        keeper.upkeep.pinged("u1", pong, None)
        await keeper.site.clock.settle()
        told.append(len(keeper.told))

    assert told == [0, 1, 2]
    assert keeper.told[0][1].authority == authority.bundle


async def test_an_agent_without_tls_has_nothing_to_be_renewed(keeper: Keeper) -> None:
    await keeper.authority.issue_agent("gone", "u2", [])
    await forget_agent(keeper.authority, "u2")
    keeper.upkeep.pinged("u1", Pong(host=None, version="1"), None)
    await keeper.site.clock.settle()

    assert keeper.told == []


async def test_outdated_agents_are_replaced_so_many_at_a_time_as_the_setting_says(site: Site) -> None:
    storages = [await site.add_storage(name, host=name) for name in ("sim-0001", "sim-0002", "sim-0003")]
    await site.set("backupStorage", "agent.upgrade.parallelismDegree", "0")
    await site.watch()
    site.agents.version = "0.0.1"
    before = len(site.driver.deployed)
    await site.clock.advance(200)
    none = len(site.driver.deployed) - before
    site.driver.lasts_seconds = 20.0
    await site.set("backupStorage", "agent.upgrade.parallelismDegree", "2")
    await site.clock.advance(10)
    two = len(site.driver.deployed) - before
    await site.clock.advance(60)

    assert (none, two) == (0, 2)
    assert sorted(site.driver.deployed[before:]) == sorted(storages)
    for storage in storages:
        row = await site.storage(storage)
        assert (row.status.value, row.agent_version) == ("Connected", "0.0.1")
        assert "is of version 0.0.1" in (row.agent_warning or "")


async def test_an_agent_that_stays_outdated_is_tried_again_with_growing_pauses(site: Site) -> None:
    await site.add_storage()
    await site.watch()
    before = len(site.driver.deployed)
    site.agents.version = "0.0.1"
    await site.clock.advance(86400)
    tries = len(site.driver.deployed) - before

    assert 3 <= tries <= 9
    assert len(await site.warnings()) == 1, "told once, not at each try"


async def test_an_agent_that_is_up_to_date_again_has_no_warning(site: Site) -> None:
    storage = await site.add_storage()
    await site.watch()
    version, site.agents.version = site.agents.version, "0.0.1"
    await site.clock.advance(120)
    old = (await site.storage(storage)).agent_warning
    site.agents.version = version
    site.agents.restart_agent("backup")
    await site.clock.advance(61)

    row = await site.storage(storage)
    assert old is not None
    assert (row.agent_version, row.agent_warning) == (version, None)
