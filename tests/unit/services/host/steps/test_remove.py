from __future__ import annotations

from collections.abc import Sequence

import pytest

from cairn.kernel.bus.message import Command
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import HostRemoval
from cairn.services.host.messages import DeleteHost
from cairn.services.ids import HostId
from cairn.testing.cloud import Cloud, Refused


class Guard(HostRemoval):
    """Something on a host that goes by a call which is refused, or by none at all."""

    def __init__(self, *calls: Command[object]) -> None:
        self.calls = calls

    def why_not_remove(self, tx: Tx, host: HostId) -> str | None:
        return "a stone is on it"

    def users(self, tx: Tx, host: HostId) -> list[Sequence[Command[object]]]:
        return [self.calls]

    def host_removed(self, tx: Tx, host: HostId) -> None:
        """Nothing points to the host."""


async def test_what_does_not_go_keeps_the_host_even_by_force_and_is_named() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = (await cloud.make_site())["host-1"]
        await cloud.create_vm("web")
        stubborn = DeleteHost(uuid="f" * 32)  # one that is gone is success
        cloud.node.context.extensions.add(Guard(stubborn), name="stone")

        with pytest.raises(Refused, match="a stone is on it") as caught:
            await cloud.call("DeleteHost", uuid=host, delete_mode="Enforcing")

        assert caught.value.code == "host.in-use"
        (shown,) = await cloud.query("Host")
        assert (shown["state"], shown["status"]) == ("Enabled", "Connected")
        assert await cloud.query("VmInstance") == []


async def test_without_force_nothing_on_it_is_touched() -> None:
    async with Cloud.open(hosts=1) as cloud:
        host = (await cloud.make_site())["host-1"]
        vm = await cloud.create_vm("web")
        with pytest.raises(Refused, match="use deleteMode=Enforcing"):
            await cloud.call("DeleteHost", uuid=host)
        (shown,) = await cloud.query("VmInstance")
        assert (shown["uuid"], shown["state"]) == (vm["uuid"], "Running")
