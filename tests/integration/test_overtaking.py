"""Every transaction of whole operations, with another one in its middle: the outcome is that of one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, TypeVar, cast

import pytest

from cairn.kernel.api import StateEvent
from cairn.kernel.bus.message import Command
from cairn.kernel.error import CairnError
from cairn.kernel.ids import RandomIds
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.store.store import Tx
from cairn.plugins.local_storage.model import TYPE, LocalStorageVolume
from cairn.plugins.local_storage.space import DiskSpace, Touched
from cairn.services.host.extensions import HostNeed
from cairn.services.host.kind import HostKind
from cairn.services.host.machine import HostStateEvent
from cairn.services.host.model import Host, HostState
from cairn.services.host.placement.allocator import Allocator
from cairn.services.ids import HostId, ImageId, L3NetworkId, PrimaryStorageId, VmId, VolumeId
from cairn.services.l3.addresses import Addresses
from cairn.services.primary_storage.extensions import PrimaryStorageDriver
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.states import VmStates
from cairn.testing.cloud import Cloud
from cairn.testing.overtaking import Function, anomalies

T = TypeVar("T")
MIB = 1 << 20
#: what is made of ids that functions choose
CHOSEN = ["mac", "internal_name"]


class Others:
    """Transactions that others may do at any time."""

    def __init__(self, cloud: Cloud) -> None:
        context = cloud.node.context
        self.host, self.storage = HostId(cloud.site["host-1"]), PrimaryStorageId(cloud.site["storage"])
        self.network = L3NetworkId(cloud.site["l3"])
        ids = RandomIds(seed=9)
        self.allocator, self.addresses = Allocator(lambda: ()), Addresses(ids)
        self.kind = HostKind(context.events, context.extensions, lambda: None)
        self.space = DiskSpace(ids, context.config, context.events, Touched())

    def claim_host(self, tx: Tx) -> None:
        """Another VM takes the host."""
        need = HostNeed(
            vm_uuid=VmId("other"),
            cpu_num=1,
            memory_size=MIB,
            image_uuid=ImageId(""),
            l3_network_uuids=[],
            disk_bytes=0,
        )
        self.allocator.claim(tx, need)

    def hold_host(self, tx: Tx) -> None:
        """Another VM is found there."""
        self.allocator.hold(tx, VmId("found"), self.host, cpu_num=1, memory_bytes=MIB)

    def claim_address(self, tx: Tx) -> None:
        """Another VM takes an address."""
        self.addresses.claim(tx, self.network, used_for="other")

    def claim_disk(self, tx: Tx) -> None:
        """Another disk takes space."""
        if self.space.claim(tx, self.storage, self.host, MIB):
            tx.insert(
                LocalStorageVolume(
                    resource_uuid=VolumeId("other"), primary_storage_uuid=self.storage, host_uuid=self.host, size=MIB
                )
            )

    def close_host(self, tx: Tx) -> None:
        """An administrator takes the host out of use."""
        tx.update(Host, self.host, state=HostState.DISABLED)

    def lose_host(self, tx: Tx) -> None:
        """The host is lost."""
        self.kind.set_status(tx, self.host, MachineStatus.DISCONNECTED, "lost")

    def all(self) -> list[Function]:
        """All of them."""
        return [
            self.claim_host,
            self.hold_host,
            self.claim_address,
            self.claim_disk,
            self.close_host,
            self.lose_host,
        ]


@asynccontextmanager
async def overtaken(cloud: Cloud, found: list[str], *, locking: bool = True) -> AsyncIterator[list[int]]:
    """Have each transaction, before it is done, tried with each of the others: either in the other's middle.

    Gives how many were tried.
    """
    inner, others, tried = cloud.store.write, Others(cloud).all(), [0]

    async def write(fn: Callable[[Tx], T], *, own: str | None = None) -> T:
        tried[0] += 1
        for other in others:
            for first, second in ((fn, other), (other, fn)):
                places = anomalies(cloud.store, lambda: (first, second), ignoring=CHOSEN, locking=locking)  # noqa: B023 (used at once)
                found.extend(f"{fn.__qualname__} and {other.__name__} {place}" for place in places)
        return await inner(fn, own=own)

    cloud.store.write = write  # type: ignore[method-assign]
    try:
        yield tried
    finally:
        del cloud.store.write


async def test_the_whole_life_of_a_vm() -> None:
    found: list[str] = []
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        async with overtaken(cloud, found) as tried:
            vm = str((await cloud.create_vm("vm"))["uuid"])
            await cloud.call("StopVmInstance", uuid=vm)
            await cloud.call("StartVmInstance", uuid=vm)
            await cloud.call("DestroyVmInstance", uuid=vm)
            await cloud.call("ExpungeVmInstance", uuid=vm)
        assert tried[0] > 20
    assert found == []


async def test_a_host_that_connects_again() -> None:
    found: list[str] = []
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        await cloud.create_vm("vm")
        async with overtaken(cloud, found) as tried:
            await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
        assert tried[0] > 5
    assert found == []


async def test_what_locks_are_for_is_found_without_them() -> None:
    found: list[str] = []
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        async with overtaken(cloud, found, locking=False):
            await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
    assert {place.partition(" after ")[0].partition(" and ")[2] for place in found} >= {"hold_host", "lose_host"}


# -- two calls of people ---------------------------------------------------------------------------------------------------


async def transaction_of(cloud: Cloud, api: str, **fields: object) -> Function:
    """The first transaction of a call, which is not done."""
    seen: list[Function] = []

    async def write(fn: Function, *, own: str | None = None) -> None:
        seen.append(fn)
        raise CairnError("test.caught", "that is enough")

    message = cast("Command[object]", cloud.api(api)(**fields))
    cloud.store.write = write  # type: ignore[method-assign, assignment]
    try:
        with suppress(CairnError):
            await cloud.clock.run(cloud.node.context.bus.call(message))
    finally:
        del cloud.store.write
    return seen[0]


class Pair(NamedTuple):
    """Two transactions that must not get into each other's way."""

    first: Function
    second: Function
    by_lock: bool = True  #: what keeps them apart is a lock; False: a unique field, a reference, or a condition


def new_uuid(cloud: Cloud) -> str:
    return cloud._ids.new()


async def network_pairs(cloud: Cloud, others: Others) -> dict[str, Pair]:
    site = cloud.site
    other_l3 = str((await cloud.call("CreateL3Network", name="other", l2_network_uuid=site["l2"]))["uuid"])
    plain = str((await cloud.call("CreateL3Network", name="plain", l2_network_uuid=site["l2"]))["uuid"])
    wires = [
        str(
            (await cloud.call("CreateL2NoVlanNetwork", name=name, zone_uuid=site["zone"], physical_interface="eth0"))[
                "uuid"
            ]
        )
        for name in ("wire 1", "wire 2")
    ]
    served = await _served(cloud)
    (range_,) = await cloud.query("IpRange")

    def add_range(l3: str, first: int, last: int) -> Awaitable[Function]:
        return transaction_of(
            cloud,
            "AddIpRange",
            resource_uuid=new_uuid(cloud),
            l3_network_uuid=l3,
            name="r",
            start_ip=f"10.90.0.{first}",
            end_ip=f"10.90.0.{last}",
            netmask="255.255.255.0",
            gateway="10.90.0.1",
        )

    async def vxlan(**more: object) -> Function:
        fields = {"name": "v", "zone_uuid": site["zone"], "resource_uuid": new_uuid(cloud), **more}
        return await transaction_of(cloud, "CreateL2VxlanNetwork", **fields)

    async def attach(l2: str) -> Function:
        return await transaction_of(cloud, "AttachL2NetworkToCluster", l2_network_uuid=l2, cluster_uuid=site["cluster"])

    dns = [await transaction_of(cloud, "AddDnsToL3Network", l3_network_uuid=plain, dns="10.0.0.1") for _ in range(2)]
    delete_l3 = await transaction_of(cloud, "DeleteL3Network", uuid=site["l3"])
    return {
        "ranges that overlap": Pair(await add_range(other_l3, 10, 50), await add_range(plain, 40, 90)),
        "a range goes, an address is taken": Pair(
            await transaction_of(cloud, "DeleteIpRange", uuid=range_["uuid"]), others.claim_address
        ),
        "a network goes, an address is taken": Pair(delete_l3, others.claim_address),
        "services go, an address is taken": Pair(
            await transaction_of(
                cloud, "DetachNetworkServiceFromL3Network", l3_network_uuid=site["l3"], network_services=served
            ),
            others.claim_address,
            by_lock=False,
        ),
        "a network goes, a range comes": Pair(
            await transaction_of(cloud, "DeleteL3Network", uuid=plain), await add_range(plain, 10, 50)
        ),
        "two free VNIs": Pair(await vxlan(), await vxlan(), by_lock=False),
        "one VNI": Pair(await vxlan(vni=77), await vxlan(vni=77), by_lock=False),
        "one interface": Pair(await attach(wires[0]), await attach(wires[1])),
        "one name server": Pair(dns[0], dns[1], by_lock=False),
    }


async def _served(cloud: Cloud) -> dict[str, list[str]]:
    refs = await cloud.query("NetworkServiceL3NetworkRef")
    return {str(refs[0]["networkServiceProviderUuid"]): [str(ref["networkServiceType"]) for ref in refs]}


async def people_pairs(cloud: Cloud, others: Others) -> dict[str, Pair]:
    admin = str((await cloud.query("Account", "name=admin"))[0]["uuid"])
    second = str(
        (await cloud.call("CreateAccount", name="second", password="long enough 1", type="SystemAdmin"))["uuid"]
    )
    vm = str((await cloud.create_vm("tagged"))["uuid"])

    async def disable(account: str) -> Function:
        return await transaction_of(cloud, "ChangeAccountState", uuid=account, state_event=StateEvent.DISABLE)

    async def account() -> Function:
        fields = {"name": "twin", "password": "long enough 1", "resource_uuid": new_uuid(cloud)}
        return await transaction_of(cloud, "CreateAccount", **fields)

    async def tag(kind: str, text: str) -> Function:
        return await transaction_of(cloud, f"Create{kind}Tag", resource_uuid=vm, resource_type="VmInstance", tag=text)

    async def log_in() -> Function:
        return await transaction_of(cloud, "LogInByAccount", account_name="second", password="long enough 1")

    await cloud.call("UpdateGlobalConfig", category="session", name="maxConcurrent", value="1")
    return {
        "the last session that an account may have": Pair(await log_in(), await log_in()),
        "the last two administrators": Pair(await disable(admin), await disable(second)),
        "one name of an account": Pair(await account(), await account(), by_lock=False),
        "a tag of which there is one": Pair(await tag("System", "hostname::a"), await tag("System", "hostname::b")),
        "one tag": Pair(await tag("User", "gold"), await tag("User", "gold")),
    }


async def place_pairs(cloud: Cloud, others: Others) -> dict[str, Pair]:
    site = cloud.site
    zones = [str((await cloud.call("CreateZone", name=name, is_default=True))["uuid"]) for name in ("a", "b")]
    await cloud.call("UpdateZone", uuid=zones[1], is_default=False)

    async def default(zone: str) -> Function:
        return await transaction_of(cloud, "UpdateZone", uuid=zone, is_default=True)

    async def storage() -> Function:
        fields = {"name": "s", "zone_uuid": site["zone"], "url": "/srv/cairn", "resource_uuid": new_uuid(cloud)}
        return await transaction_of(cloud, "AddLocalPrimaryStorage", **fields)

    add_image = await transaction_of(
        cloud,
        "AddImage",
        resource_uuid=new_uuid(cloud),
        name="another",
        url="http://images/another.qcow2",
        format="qcow2",
        backup_storage_uuids=[site["backup"]],
    )
    image = str((await cloud.query("Image"))[0]["uuid"])
    await cloud.call("DeleteImage", uuid=image)
    await cloud.call("ExpungeImage", image_uuid=image)
    return {
        "one default": Pair(await default(zones[0]), await default(zones[1])),
        "one folder": Pair(await storage(), await storage()),
        "a host is closed, a VM comes": Pair(
            await transaction_of(cloud, "ChangeHostState", uuid=site["host-1"], state_event=HostStateEvent.MAINTAIN),
            others.claim_host,
        ),
        "a host goes, a VM comes": Pair(
            await transaction_of(cloud, "DeleteHost", uuid=site["host-1"]), others.claim_host
        ),
        "backup storage goes, an image comes": Pair(
            await transaction_of(cloud, "DeleteBackupStorage", uuid=site["backup"]), add_image
        ),
    }


async def vm_pairs(cloud: Cloud, others: Others) -> dict[str, Pair]:
    vm = VmId(str((await cloud.create_vm("worked on"))["uuid"]))
    states = VmStates(cloud.node.context.events)

    def found_off(tx: Tx) -> None:
        row = tx.get(VmInstance, vm)
        if row is not None and row.state is VmState.RUNNING:
            others.allocator.release(tx, vm)
            states.change(tx, row, VmState.STOPPED, "found so", host_uuid=None)

    def release(tx: Tx) -> None:
        others.allocator.release(tx, vm)

    (volume,) = await cloud.query("Volume", f"vmInstanceUuid={vm}")
    driver = cloud.node.context.extensions.named(PrimaryStorageDriver, TYPE)

    def release_disk(tx: Tx) -> None:
        driver.release(tx, VolumeId(str(volume["uuid"])))

    stop = await transaction_of(cloud, "StopVmInstance", uuid=vm)
    return {
        "a VM is found off and stopped": Pair(found_off, stop, by_lock=False),
        "a claim is given back twice": Pair(release, release),
        "a disk is given back twice": Pair(release_disk, release_disk, by_lock=False),
        "a claim is moved and given back": Pair(
            lambda tx: others.allocator.hold(tx, vm, HostId(cloud.site["host-2"]), cpu_num=1, memory_bytes=MIB), release
        ),
        "a host is lost twice": Pair(others.lose_host, others.lose_host),
    }


async def detaching_pairs(cloud: Cloud, others: Others) -> dict[str, Pair]:
    """Neither has to be looked at by a VM that comes: those that take something from a cluster wait for who has begun."""
    add_vm = await transaction_of(cloud, "CreateVmInstance", **cloud.vm_fields("comes", resource_uuid=new_uuid(cloud)))
    return {
        "storage is detached, a VM comes": Pair(
            await transaction_of(
                cloud,
                "DetachPrimaryStorageFromCluster",
                primary_storage_uuid=cloud.site["storage"],
                cluster_uuid=cloud.site["cluster"],
            ),
            add_vm,
        ),
        "a network is detached, a VM comes": Pair(
            await transaction_of(
                cloud,
                "DetachL2NetworkFromCluster",
                l2_network_uuid=cloud.site["l2"],
                cluster_uuid=cloud.site["cluster"],
            ),
            add_vm,
        ),
    }


@pytest.mark.parametrize("pairs", [network_pairs, people_pairs, place_pairs, vm_pairs, detaching_pairs])
async def test_two_that_are_done_at_the_same_time(
    pairs: Callable[[Cloud, Others], Awaitable[dict[str, Pair]]],
) -> None:
    async with Cloud.open(hosts=2) as cloud:
        await cloud.make_site()
        found: dict[str, list[str]] = {}
        needless: list[str] = []
        for name, pair in (await pairs(cloud, Others(cloud))).items():

            def places(pair: Pair = pair, *, locking: bool = True) -> list[str]:
                there = anomalies(cloud.store, lambda: pair[:2], ignoring=CHOSEN, locking=locking)
                return there + anomalies(cloud.store, lambda: pair[1::-1], ignoring=CHOSEN, locking=locking)

            if wrong := places():
                found[name] = wrong
            if pair.by_lock and not places(locking=False):
                needless.append(name)
    assert found == {}
    assert needless == []
