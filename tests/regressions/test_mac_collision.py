"""Among 10,000 VMs two were given the same MAC address, and the creation of the second failed."""

from __future__ import annotations

from msgspec.structs import replace

from cairn.kernel.ids import RandomIds
from cairn.kernel.store.store import Tx
from cairn.services.vm.model import VmNic
from cairn.services.vm.steps.create import new_mac
from cairn.testing.cloud import Cloud


class Repeating(RandomIds):
    """Gives one id again before it gives others."""

    def __init__(self, first: str) -> None:
        super().__init__(seed=7)
        self._first = [first]

    def new(self) -> str:
        return self._first.pop() if self._first else super().new()


async def test_address_that_another_card_has_is_not_given_again() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        await cloud.create_vm("first")
        taken = (await cloud.query("VmNic"))[0]["mac"]
        digits = str(taken).replace(":", "")[2:]
        ids, nic = Repeating(22 * "0" + digits), cloud.read_now(lambda tx: tx.find(VmNic)[0])

        def another_card(tx: Tx) -> str:
            mac = new_mac(ids)
            tx.insert(replace(nic, uuid="another", mac=mac))
            return mac

        mac = await cloud.store.write(another_card)
        assert mac != taken
        assert mac.startswith("fa:")
        assert cloud.read_now(lambda tx: tx.count(VmNic, mac=mac)) == 1
