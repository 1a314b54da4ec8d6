from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from tests.unit.agents.fakes import FakeClock, FakeHypervisor, FakePoster, FakeRunner, settle

from cairn.agents import log
from cairn.agents.delivery import Delivery
from cairn.agents.errors import AgentError
from cairn.agents.kvm import role as module
from cairn.agents.kvm.role import KvmRole
from cairn.agents.protocol.vm import PowerState


def role(folder: Path, hypervisor: FakeHypervisor) -> KvmRole:
    clock = FakeClock()
    return KvmRole(
        data=folder,
        hypervisor=hypervisor,
        runner=FakeRunner(),
        delivery=Delivery(FakePoster(), clock),
        clock=clock,
        tls=None,
    )


async def test_a_ping_tells_the_vms_that_the_hypervisor_has_now(tmp_path: Path) -> None:
    hypervisor = FakeHypervisor()
    kvm = role(tmp_path, hypervisor)
    assert await kvm.vms() == {}
    hypervisor.domains["v1"] = PowerState.RUNNING
    assert await kvm.vms() == {"v1": PowerState.RUNNING}
    hypervisor.available = False
    with pytest.raises(AgentError):
        await kvm.vms()


async def test_a_host_that_was_never_connected_has_no_name_and_no_routes_of_its_own(tmp_path: Path) -> None:
    kvm = role(tmp_path, FakeHypervisor())
    app = web.Application()
    kvm.add_routes(app)
    assert kvm.host is None
    assert list(app.router.routes()) == []


async def test_what_watches_ends_with_the_role(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    kvm = role(tmp_path, FakeHypervisor())
    await kvm.start()
    await settle()
    names = {task.get_name() for task in asyncio.all_tasks() - before}
    assert {"watch VMs", "watch flat networks"} <= names
    await kvm.stop()
    assert not {task for task in asyncio.all_tasks() - before if task.get_name().startswith("watch")}


async def test_a_watcher_that_dies_is_not_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(log.logger, "error", lambda message, **more: told.append(str(more["exc_info"])))

    async def dies() -> None:
        raise ValueError("a bug")

    async def waits() -> None:
        await asyncio.Event().wait()

    dead, ended = asyncio.create_task(dies()), asyncio.create_task(waits())
    await asyncio.sleep(0)
    ended.cancel()
    await asyncio.gather(dead, ended, return_exceptions=True)
    for task in (dead, ended):
        module._log_end(task)
    assert told == ["a bug"]
