from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest
from tests.unit.services.image_site import Site

from cairn.agents.protocol import codes
from cairn.agents.protocol.fence import Fence
from cairn.agents.protocol.storage import GetCapacity
from cairn.agents.protocol.wire import AgentCommand, Done, Result
from cairn.kernel.bus.context import current, entered
from cairn.kernel.error import CairnError
from cairn.kernel.ids import NodeId
from cairn.kernel.machine.machines import Machines
from cairn.kernel.machine.model import MachineStatus
from cairn.services.backup_storage.messages import DeleteBackupStorage, ReconnectBackupStorage
from cairn.services.backup_storage.model import BackupStorage
from cairn.services.backup_storage.provided import BackupStorageAgents
from cairn.services.ids import BackupStorageId
from cairn.simulator.dials import Dial

COMMAND = GetCapacity(path="/var/lib/cairn-backup")


async def test_no_more_commands_run_at_a_time_than_the_setting_allows_and_a_change_holds_at_once(site: Site) -> None:
    storage = await site.add_storage()
    agents = site.context.need(BackupStorageAgents)
    await site.set("backupStorage", "parallelism", "2")
    site.agents.dials.turn(Dial(command=COMMAND.name, delay_seconds=2.0))
    sent = len(site.transport.requests)
    calls = asyncio.gather(*(agents.call(storage, COMMAND) for _ in range(6)))
    await site.clock.settle()
    at_first = len(site.transport.requests) - sent
    await site.set("backupStorage", "parallelism", "5")
    await site.clock.settle()
    then = len(site.transport.requests) - sent
    await site.clock.run(calls)

    assert (at_first, then) == (2, 5)


async def test_calls_that_leave_the_machine_idle_hold_up_no_others(site: Site) -> None:
    storage = await site.add_storage()
    agents = site.context.need(BackupStorageAgents)
    await site.set("backupStorage", "parallelism", "1")
    site.agents.dials.turn(Dial(command=COMMAND.name, delay_seconds=2.0))
    sent = len(site.transport.requests)
    calls = asyncio.gather(
        *(agents.call(storage, COMMAND, idle=True) for _ in range(12)), agents.call(storage, COMMAND)
    )
    await site.clock.settle()
    at_first = len(site.transport.requests) - sent
    await site.set("backupStorage", "parallelism", "2")
    await site.clock.settle()
    then = len(site.transport.requests) - sent
    await site.clock.run(calls)

    assert (at_first, then) == (10 + 1, 12 + 1)


async def test_an_address_is_looked_up_again_when_it_was_forgotten(site: Site) -> None:
    storage = await site.add_storage()
    agents = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    site.driver.hosts[storage] = "sim-0001"
    await agents.call(storage, COMMAND)
    before = site.transport.requests[-1][1]
    agents.forget(storage)
    await agents.call(storage, COMMAND)

    assert "/hosts/backup/" in before
    assert "/hosts/sim-0001/" in site.transport.requests[-1][1]


async def test_one_that_is_not_there_cannot_be_called(site: Site) -> None:
    agents = site.context.need(BackupStorageAgents)
    with pytest.raises(CairnError) as caught:
        await agents.call(BackupStorageId("f" * 32), COMMAND)

    assert caught.value.code == "backup-storage.not-found"


async def test_one_that_is_gone_is_known_as_lost_no_more(site: Site) -> None:
    storage = await site.add_storage()
    client = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    client.lost(storage, "a fire")
    await site.call(DeleteBackupStorage(uuid=storage))

    with pytest.raises(CairnError) as caught:
        await client.call(storage, COMMAND)

    assert caught.value.code == "backup-storage.not-found"


async def test_an_agent_that_spoke_another_protocol_is_sent_nothing_and_the_reason_is_told(site: Site) -> None:
    storage = await site.add_storage()
    await site.context.store.write(lambda tx: tx.update(BackupStorage, storage, agent_protocol=7))
    client = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    client.forget(storage)
    sent = len(site.transport.requests)

    with pytest.raises(CairnError, match="speaks protocol 7, and this node 1") as caught:
        await client.call(storage, COMMAND)

    assert caught.value.code == "backup-storage.agent-incompatible"
    assert "Reconnecting" in (caught.value.operator or "")
    assert len(site.transport.requests) == sent


async def test_what_is_found_where_an_agent_should_be_says_what_is_wrong_with_it(site: Site) -> None:
    storage = await site.add_storage()
    client = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    as_it_should_be = await client.examine(storage)
    version, site.agents.version = site.agents.version, "0.0.1"
    old = await client.examine(storage)
    site.agents.protocol = 2
    alien = await client.examine(storage)
    site.kill()
    gone = await client.examine(storage)

    assert (as_it_should_be.outdated, as_it_should_be.usable) == (None, True)
    assert (old.outdated, old.usable) == (f"is of version 0.0.1, and this node of {version}", True)
    assert (alien.outdated, alien.usable) == ("speaks protocol 2, and this node 1", False)
    assert "cannot be reached" in (gone.outdated or "")
    assert (gone.usable, gone.pong) == (False, None)


async def test_an_agent_with_other_programs_than_would_be_put_there_is_outdated(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await site.add_storage()
    client = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    monkeypatch.setattr(site.driver, "deployment", lambda tx, uuid: "d2")

    assert "other programs" in ((await client.examine(storage)).outdated or "")


async def test_a_machine_is_given_no_command_before_it_is_certain_which_one_it_is(site: Site) -> None:
    storage = await site.add_storage()
    client = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    site.driver.hosts[storage] = "sim-0001"
    client.forget(storage)
    sent = len(site.transport.requests)

    with pytest.raises(CairnError) as caught:
        await client.connect(storage, COMMAND)
    asked = [verb for verb, _ in site.transport.requests[sent:]]
    _, seen = await client.connect(storage, COMMAND, accept=True)

    assert caught.value.code == "backup-storage.machine-changed"
    assert asked == ["GET"]
    assert seen.machine_identity == site.host("sim-0001").identity
    assert (seen.agent_version, seen.agent_protocol, seen.agent_warning) == (site.agents.version, 1, None)


async def test_what_was_put_together_anew_is_compared_with_all_machines_once_one_was_looked_at(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await site.add_storage("first"), await site.add_storage("second", host="sim-0001")
    client = site.context.need(Machines).of(ReconnectBackupStorage(uuid=first))
    outdated: dict[str, str | None] = {}
    client.tell(lambda uuid, pong, why: outdated.update({uuid: why}))
    for uuid in (first, second):
        await client.ping(uuid, timeout_seconds=5)
    before = dict(outdated)
    monkeypatch.setattr(site.driver, "deployment", lambda tx, uuid: "d2")
    await client.examine(first)
    await client.ping(second, timeout_seconds=5)

    assert before == {first: None, second: None}
    assert "other programs" in (outdated[second] or "")


class OfPlugin(AgentCommand[Done], frozen=True, kw_only=True):
    """A command that the agent there has never heard of."""

    name: ClassVar[str] = "warranty.put-seal"
    answer: ClassVar[type[Result]] = Done


async def test_an_agent_without_a_plugins_command_is_told_of_with_what_to_do(site: Site) -> None:
    storage = await site.add_storage()
    with pytest.raises(CairnError, match=r"does not know the command warranty\.put-seal") as caught:
        await site.context.need(BackupStorageAgents).call(storage, OfPlugin())

    assert caught.value.code == "backup-storage.agent-lacks-command"
    assert "cairn wheels build" in (caught.value.operator or "")


async def test_what_another_node_has_changed_of_a_machine_is_read_again(site: Site) -> None:
    storage = await site.add_storage()
    client = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    await client.call(storage, COMMAND)
    for status in (MachineStatus.DISCONNECTED, MachineStatus.CONNECTED):
        site.driver.hosts[storage] = f"at-{status}"
        await _set(site, storage, status)
        for keys in (frozenset((storage,)), None):
            await client.reread(keys)
            if status is MachineStatus.DISCONNECTED:
                with pytest.raises(CairnError, match="not connected"):
                    await client.call(storage, COMMAND)
            else:
                with pytest.raises(CairnError):  # at the new address there is nobody
                    await client.call(storage, COMMAND)
                assert f"/hosts/at-{status}/" in site.transport.requests[-1][1]


async def test_a_machine_that_is_gone_is_forgotten_and_one_that_is_being_connected_stays_as_it_is(site: Site) -> None:
    storage = await site.add_storage()
    client = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    client.lost(storage, "a cable")
    await _set(site, storage, MachineStatus.CONNECTING)
    await client.reread(frozenset((storage,)))
    with pytest.raises(CairnError, match="not connected"):
        await client.call(storage, COMMAND)
    await client.reread(frozenset(("f" * 32,)))
    await _set(site, storage, MachineStatus.CONNECTED)
    await client.reread(None)
    await client.call(storage, COMMAND)


async def _set(site: Site, storage: BackupStorageId, status: MachineStatus) -> None:
    await site.context.store.write(lambda tx: tx.update(BackupStorage, storage, status=status))


async def test_commands_tell_agents_whose_the_machine_is_and_in_whose_turn_they_are_given(site: Site) -> None:
    storage = await site.add_storage()
    agents = site.context.need(BackupStorageAgents)
    before = len(site.agents.book)
    turn = Fence(resource="image:i", epoch=7, node="n")
    with entered(current().fenced(turn)):
        await agents.call(storage, COMMAND)
    await agents.call(storage, COMMAND)

    own = Fence(resource=f"machine:{storage}", epoch=site.context.ring.epoch, node=site.context.node)
    assert [line.fences for line in list(site.agents.book)[before:]] == [(own, turn), (own,)]


async def test_machine_that_goes_to_another_node_while_a_command_waits_is_commanded_by_that(site: Site) -> None:
    storage = await site.add_storage()
    client = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    await site.set("backupStorage", "parallelism", "1")
    site.agents.dials.turn(Dial(command=COMMAND.name, delay_seconds=2.0))
    first, second = (asyncio.ensure_future(client.call(storage, COMMAND)) for _ in range(2))
    await site.clock.settle()
    before = len(site.agents.book)
    site.context.ring.set_members([NodeId("elsewhere")], site.context.ring.epoch + 1)

    await site.clock.advance(30)

    assert (await first).total_bytes > 0
    assert not second.done() or isinstance(second.exception(), CairnError)
    assert len(site.agents.book) == before + 1
    second.cancel()


async def test_command_that_was_refused_because_the_machine_has_moved_is_handed_on_to_its_node(site: Site) -> None:
    storage = await site.add_storage()
    client = site.context.need(Machines).of(ReconnectBackupStorage(uuid=storage))
    ring = site.context.ring
    site.agents.world.hosts["backup"].epochs[f"machine:{storage}"] = ring.epoch + 1  # its node was quicker
    for hears in (False, True):
        call = asyncio.ensure_future(client.call(storage, COMMAND))
        await site.clock.advance(1)
        assert site.agents.book[-1].refused
        if hears:
            ring.set_members([NodeId("elsewhere")], ring.epoch + 1)
        await site.clock.advance(30)
        error = call.exception()
        assert isinstance(error, CairnError)
        assert error.code == ("bus.node-gone" if hears else codes.STALE_EPOCH)
