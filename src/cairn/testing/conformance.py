"""What every agent must do, real or simulated: idempotence, tasks, and the codes of failures.

Each check is a coroutine function over a `Site`, makes what it needs, and removes it again. Checks are collected in
`CHECKS` by group and name, for `pytest.mark.parametrize`; a site that cannot do something (no bridges without root)
leaves that group out::

    @pytest.mark.parametrize("check", checks("protocol", "storage"), ids=lambda check: check.__name__)
    async def test_conformance(check: Check, site: Site) -> None:
        await check(site)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from msgspec import Struct

from cairn.agents.protocol import codes
from cairn.agents.protocol.fence import Fence
from cairn.agents.protocol.host import Connect, GetFacts
from cairn.agents.protocol.network import (
    ChangeVxlanPeers,
    CompareNames,
    DhcpEntry,
    EnsureBridge,
    EnsureDhcp,
    EnsureVxlan,
    KeepDhcp,
    MetadataEntry,
    RemoveBridge,
    RemoveDhcp,
    RemoveDhcpEntries,
    SetNames,
    tunnel_generation,
)
from cairn.agents.protocol.storage import (
    CacheImage,
    CreateVolume,
    DeleteFile,
    DownloadImage,
    GetCapacity,
    InitStorage,
)
from cairn.agents.protocol.trust import RenewTrust
from cairn.agents.protocol.vm import (
    DestroyVm,
    Disk,
    FilterTaps,
    GetConsole,
    Hardware,
    ListVms,
    Nic,
    PauseVm,
    PowerState,
    RebootVm,
    ResumeVm,
    StartVm,
    StopVm,
    Tap,
)
from cairn.agents.protocol.wire import PROTOCOL_VERSION, AgentCommand, Done, Request, Result
from cairn.kernel.agent.client import AgentClient, AgentEndpoint
from cairn.kernel.agent.http import AgentTransport
from cairn.kernel.error import CairnError
from cairn.kernel.ids import RandomIds

R = TypeVar("R", bound=Result)

BRIDGE: Final = "br_conform"
NETWORK: Final = "c0ffee00c0ffee00c0ffee00c0ffee00"
VM: Final = "c0ffee01c0ffee01c0ffee01c0ffee01"
HOST: Final = "c0ffee02c0ffee02c0ffee02c0ffee02"
NOWHERE: Final = "http://127.0.0.1:9/nothing.qcow2"
"""A URL of a port where nobody listens."""


class Image(Struct, frozen=True, kw_only=True):
    """An image that the site's backup server serves."""

    url: str
    format: str
    sha256: str
    virtual_size_bytes: int


class Download(Struct, frozen=True, kw_only=True):
    """Something the site's backup server can be asked to fetch."""

    url: str
    format: str = "qcow2"
    max_bytes: int = 1 << 30


class Site(Struct, frozen=True, kw_only=True):
    """An agent to be checked, and what it is checked with.

    Args:
        client: calls the agent.
        transport: the client's own, for what a client would never send.
        endpoint: where the agent is.
        storage: a folder that `InitStorage` may prepare.
        image: None: checks that need one are passed over.
        backup: a backup server; None: its checks are passed over.
        backup_folder: where the backup server may put files.
        good: what it can fetch.
        bad: code of the failure -> what it cannot fetch because of that.
        timeout_seconds: for each call; a real VM needs its time.
    """

    client: AgentClient
    transport: AgentTransport
    endpoint: AgentEndpoint
    storage: str
    image: Image | None = None
    backup: AgentEndpoint | None = None
    backup_folder: str = ""
    good: Download | None = None
    bad: dict[str, Download] = {}
    timeout_seconds: float = 120.0

    async def do(self, command: AgentCommand[R], *, task: str | None = None, fences: tuple[Fence, ...] = ()) -> R:
        """Have the agent carry out a command that must succeed."""
        return await self.client.call(
            self.endpoint, command, task=task, timeout_seconds=self.timeout_seconds, fences=fences
        )

    async def refused(
        self, command: AgentCommand[Any], code: str, *, task: str | None = None, fences: tuple[Fence, ...] = ()
    ) -> None:
        """Have the agent carry out a command that must fail with `code`."""
        await self._refused(self.endpoint, command, code, task, fences)

    async def backup_refused(self, command: AgentCommand[Any], code: str) -> None:
        """The same for the backup server."""
        assert self.backup is not None
        await self._refused(self.backup, command, code)

    async def _refused(
        self,
        endpoint: AgentEndpoint,
        command: AgentCommand[Any],
        code: str,
        task: str | None = None,
        fences: tuple[Fence, ...] = (),
    ) -> None:
        try:
            result = await self.client.call(
                endpoint, command, task=task, timeout_seconds=self.timeout_seconds, fences=fences
            )
        except CairnError as error:
            found = error
        else:
            raise AssertionError(f"{command}: expected {code}, got {result}")
        assert found.code == code, f"{command}: expected {code}, got {found}"
        assert len(found.message) > 20, f"the message of {code} says too little: {found.message!r}"

    async def get(self, path: str) -> tuple[int, bytes]:
        """A plain GET below the agent's URL."""
        return await self._send("GET", path, None)

    async def delete(self, path: str) -> tuple[int, bytes]:
        """A plain DELETE below the agent's URL."""
        return await self._send("DELETE", path, None)

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """A plain POST below the agent's URL."""
        return await self._send("POST", path, body)

    async def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        url, machine = self.endpoint.base_url + path, self.endpoint.machine
        return await self.transport.request(method, url, body, self.timeout_seconds, machine=machine)

    def path(self, name: str) -> str:
        """A file in a folder of its own below the storage folder."""
        return f"{self.storage}/conformance/{name}"


Check = Callable[[Site], Awaitable[None]]

CHECKS: Final[dict[str, dict[str, Check]]] = {}
"""Every check by group (protocol, host, network, storage, vm, vm-network, backup) and name."""


def checks(*groups: str) -> list[Check]:
    """The checks of these groups; of all, if none is named."""
    return [check for group in groups or CHECKS for check in CHECKS[group].values()]


def _check(group: str) -> Callable[[Check], Check]:
    def enter(check: Check) -> Check:
        CHECKS.setdefault(group, {})[check.__name__] = check
        return check

    return enter


class _NoSuchCommand(AgentCommand[Done], frozen=True, kw_only=True):
    name: ClassVar[str] = "conformance.no-such-command"
    answer: ClassVar[type[Result]] = Done


class _WrongBody(AgentCommand[Done], frozen=True, kw_only=True, omit_defaults=False):
    name: ClassVar[str] = "storage.capacity"
    answer: ClassVar[type[Result]] = Done

    path: int = 7
    surprise: bool = True


# The protocol.


@_check("protocol")
async def ping_tells_protocol_version_and_boot(site: Site) -> None:
    """Who answers is an agent of this protocol, and says when it was started."""
    first = await site.client.ping(site.endpoint, site.timeout_seconds)
    again = await site.client.ping(site.endpoint, site.timeout_seconds)
    assert first.protocol == PROTOCOL_VERSION
    assert first.boot
    assert first.boot == again.boot
    assert first.version
    assert first.machine == again.machine != ""


@_check("protocol")
async def agent_without_tls_has_no_certificate_to_renew(site: Site) -> None:
    """It says so, and goes on; one with TLS takes a list of revoked certificates."""
    renew = RenewTrust(revoked=[])
    if site.endpoint.tls:
        await site.do(renew)
    else:
        await site.refused(renew, codes.MISSING_FEATURE)


@_check("protocol")
async def task_repeated_is_run_once_and_answered_the_same(site: Site) -> None:
    """The second time only the reply is repeated: what was removed in between does not come back."""
    path = site.path("once.qcow2")
    await site.do(InitStorage(path=site.storage))
    create = CreateVolume(path=path, size_bytes=1 << 20)
    task = RandomIds().new()
    first = await site.do(create, task=task)
    await site.do(DeleteFile(path=path))
    assert await site.do(create, task=task) == first
    await site.refused(_start(site, disk="once.qcow2", nics=[]), codes.MISSING_FILE)


@_check("protocol")
async def failed_task_repeated_fails_the_same(site: Site) -> None:
    """A failure is remembered as well as a result."""
    task = RandomIds().new()
    await site.do(DestroyVm(vm=VM))
    await site.refused(RebootVm(vm=VM), codes.VM_NOT_RUNNING, task=task)
    await site.refused(RebootVm(vm=VM), codes.VM_NOT_RUNNING, task=task)


@_check("protocol")
async def finished_task_can_be_asked_for(site: Site) -> None:
    """A lost answer can be fetched, and is the same."""
    task = RandomIds().new()
    await site.do(GetFacts(), task=task)
    status, body = await site.get(f"/v1/tasks/{task}")
    assert status == 200
    assert msgspec.json.decode(body)["task"] == task


@_check("protocol")
async def task_never_heard_of_is_404(site: Site) -> None:
    """So that the caller knows that it has to send it again."""
    status, _ = await site.get("/v1/tasks/" + "f" * 32)
    assert status == 404


@_check("protocol")
async def finished_task_taken_back_keeps_its_reply(site: Site) -> None:
    """Too late is no error, and neither is twice."""
    task = RandomIds().new()
    await site.do(GetFacts(), task=task)
    known = await site.get(f"/v1/tasks/{task}")
    for _ in range(2):
        assert await site.delete(f"/v1/tasks/{task}") == known


@_check("protocol")
async def task_taken_back_before_it_comes_is_never_run(site: Site) -> None:
    """A request that was overtaken on its way begins nothing."""
    path = site.path("overtaken.qcow2")
    task = RandomIds().new()
    await site.do(InitStorage(path=site.storage))
    assert (await site.delete(f"/v1/tasks/{task}"))[0] == 404
    await site.refused(CreateVolume(path=path, size_bytes=1 << 20), codes.CANCELLED, task=task)
    assert (await site.delete(f"/v1/tasks/{task}"))[0] == 200
    await site.refused(_start(site, disk="overtaken.qcow2", nics=[]), codes.MISSING_FILE)


@_check("protocol")
async def command_of_a_lower_epoch_than_one_before_is_refused(site: Site) -> None:
    """For the same resource only; commands in nobody's turn are done."""
    one, other = (f"vm:{RandomIds().new()}" for _ in range(2))
    command = InitStorage(path=site.storage)
    for resource, epoch in ((one, 5), (one, 5), (one, 7), (other, 1)):
        await site.do(command, fences=(Fence(resource=resource, epoch=epoch, node="n"),))
    await site.do(command)
    late = (Fence(resource=other, epoch=1, node="m"), Fence(resource=one, epoch=6, node="m"))
    await site.refused(command, codes.STALE_EPOCH, fences=late)


@_check("protocol")
async def unknown_command_is_told_apart_from_a_bad_one(site: Site) -> None:
    """Both are failures of the task, not of the exchange."""
    await site.refused(_NoSuchCommand(), codes.UNKNOWN_COMMAND)
    await site.refused(_WrongBody(), codes.BAD_REQUEST)


@_check("protocol")
async def request_that_does_not_decode_is_400(site: Site) -> None:
    """With a reply that says why, to no task."""
    for body in (b"", b"garbage", b'{"task":7}', msgspec.json.encode(Request(task="x", command="", body=_RAW))[:-4]):
        status, answer = await site.post("/v1/commands", body)
        assert status == 400, body
        assert msgspec.json.decode(answer)["error"]["code"] == codes.BAD_REQUEST


_RAW = msgspec.Raw(b"{}")


# The machine.


@_check("host")
async def connect_is_told_by_ping_and_may_be_repeated(site: Site) -> None:
    """The agent knows whose host it is."""
    first = await site.do(Connect(host=HOST))
    again = await site.do(Connect(host=HOST))
    assert first.hostname == again.hostname
    assert (await site.client.ping(site.endpoint, site.timeout_seconds)).host == HOST


@_check("host")
async def facts_are_possible(site: Site) -> None:
    """A machine has a processor, memory, and an accelerator that is one of two."""
    facts = await site.do(GetFacts())
    assert facts.hostname
    assert facts.cpu_num >= facts.cpu_sockets >= 1
    assert 0 < facts.available_memory_bytes <= facts.memory_bytes
    assert facts.accelerator in ("kvm", "tcg")


# Networks.


@_check("network")
async def bridge_is_ensured_and_removed_twice(site: Site) -> None:
    """Ensure means that it is there in the end; remove, that it is not."""
    for _ in range(2):
        await site.do(EnsureBridge(bridge=BRIDGE))
    for _ in range(2):
        await site.do(RemoveBridge(bridge=BRIDGE))


@_check("network")
async def bridge_with_too_long_a_name_is_refused(site: Site) -> None:
    """Linux takes 15 characters."""
    await site.refused(EnsureBridge(bridge="bridge_of_16_chr"), codes.BAD_REQUEST)


@_check("network")
async def peers_of_a_vxlan_change_where_the_changes_fit(site: Site) -> None:
    """Twice is as once; where they do not fit, or nothing is there, the whole set is wanted."""
    own, one, two = "127.0.0.1", "198.18.255.2", "198.18.255.3"
    await site.do(EnsureVxlan(bridge=BRIDGE, vni=4242, local_ip=own, peers=[one]))
    generation = tunnel_generation([own, two])
    change = ChangeVxlanPeers(bridge=BRIDGE, local_ip=own, generation=generation, add=[two], remove=[one])
    for _ in range(2):
        assert (await site.do(change)).fitted
    more = ChangeVxlanPeers(bridge=BRIDGE, local_ip=own, generation=generation, add=[one])
    assert not (await site.do(more)).fitted
    await site.do(RemoveBridge(bridge=BRIDGE))
    assert not (await site.do(change)).fitted


@_check("network")
async def vxlan_is_ensured_with_other_peers_and_removed_twice(site: Site) -> None:
    """The peers are the whole set each time."""
    for peers in ([], ["198.18.255.2", "198.18.255.3"], ["198.18.255.3"]):
        await site.do(EnsureVxlan(bridge=BRIDGE, vni=4242, local_ip="127.0.0.1", peers=peers))
    for _ in range(2):
        await site.do(RemoveBridge(bridge=BRIDGE))
    await site.refused(EnsureVxlan(bridge=BRIDGE, vni=1 << 24, local_ip="127.0.0.1", peers=[]), codes.BAD_REQUEST)


@_check("network")
async def dhcp_over_a_missing_bridge_is_refused(site: Site) -> None:
    """And nothing of it is left."""
    await site.do(RemoveBridge(bridge=BRIDGE))
    await site.refused(_dhcp([]), codes.MISSING_BRIDGE)


@_check("network")
async def dhcp_entries_are_added_and_removed_twice(site: Site) -> None:
    """The last one takes the server away; nothing there is success."""
    await site.do(EnsureBridge(bridge=BRIDGE))
    entries = [DhcpEntry(mac=f"fa:16:3e:c0:f0:0{n}", ip=f"198.18.254.1{n}", hostname=f"c{n}", vm=VM) for n in range(3)]
    for part in (entries[:1], entries, entries):
        await site.do(_dhcp(part))
    for _ in range(2):
        await site.do(RemoveDhcpEntries(network=NETWORK, macs=[entries[0].mac]))
    for _ in range(2):
        await site.do(RemoveDhcpEntries(network=NETWORK, macs=[entry.mac for entry in entries]))
    await site.do(_dhcp(entries))
    for _ in range(2):
        await site.do(
            SetNames(network=NETWORK, names={"198.18.254.99": "elsewhere"}, gone=["198.18.254.98"], only=True)
        )
    for _ in range(2):
        await site.do(CompareNames(network=NETWORK, buckets=4))
        await site.do(SetNames(network=NETWORK, names={"198.18.254.97": "anew"}, anew=[0, 1, 2, 3], buckets=4))
    await site.refused(CompareNames(network=NETWORK, buckets=0), codes.BAD_REQUEST)
    for kept in ([entries[1].mac], [entries[1].mac], []):
        await site.do(KeepDhcp(macs={NETWORK: kept}))
    await site.do(KeepDhcp(macs={}))
    await site.do(SetNames(network=NETWORK, names={"198.18.254.99": "elsewhere"}))
    for _ in range(2):
        await site.do(RemoveDhcp(network=NETWORK))
    await site.do(RemoveBridge(bridge=BRIDGE))


@_check("network")
async def metadata_is_set_and_removed_twice(site: Site) -> None:
    """Within a network that has its server."""
    await site.do(EnsureBridge(bridge=BRIDGE))
    entry = DhcpEntry(mac="fa:16:3e:c0:f0:00", ip="198.18.254.10", hostname="c0", vm=VM)
    for hostname in ("c0", "c1", "c1"):
        told = MetadataEntry(
            ip=entry.ip, vm=VM, hostname=hostname, user_data=b"#!/bin/sh\xff", ssh_keys=["ssh-rsa AAAA"]
        )
        await site.do(_dhcp([entry], [told]))
    await site.do(KeepDhcp(macs={NETWORK: [entry.mac]}))
    for _ in range(2):
        await site.do(RemoveDhcpEntries(network=NETWORK, macs=[], vms=[VM]))
    for _ in range(2):
        await site.do(RemoveDhcpEntries(network=NETWORK, macs=[entry.mac], vms=[VM]))
    await site.do(RemoveDhcp(network=NETWORK))
    await site.do(RemoveBridge(bridge=BRIDGE))


# Storage.


@_check("storage")
async def storage_folder_is_prepared_twice_and_tells_its_capacity(site: Site) -> None:
    """The same numbers as asked for later, about."""
    for _ in range(2):
        capacity = await site.do(InitStorage(path=site.storage))
        assert 0 < capacity.available_bytes <= capacity.total_bytes
    assert (await site.do(GetCapacity(path=site.storage))).total_bytes == capacity.total_bytes


@_check("storage")
async def system_folders_and_odd_paths_are_refused(site: Site) -> None:
    """Nothing outside of a folder of its own can be had."""
    await site.do(InitStorage(path=site.storage))
    for path in ("/", "/etc", "/usr/lib", "/proc", "relative/path", "/var/lib/../../etc"):
        await site.refused(InitStorage(path=path), codes.PATH_REFUSED)
    for path in ("/etc/passwd", "relative", f"{site.storage}/../../../etc/passwd", site.storage):
        await site.refused(DeleteFile(path=path), codes.PATH_REFUSED)
        await site.refused(CreateVolume(path=path, size_bytes=1 << 20), codes.PATH_REFUSED)


@_check("storage")
async def volume_is_created_and_deleted_twice(site: Site) -> None:
    """An empty one; with another size it is not the one that is there."""
    await site.do(InitStorage(path=site.storage))
    create = CreateVolume(path=site.path("empty.qcow2"), size_bytes=1 << 30)
    await site.do(DeleteFile(path=create.path))
    for _ in range(2):
        volume = await site.do(create)
        assert volume.virtual_size_bytes == 1 << 30
        assert volume.actual_size_bytes < 1 << 24
    await site.refused(CreateVolume(path=create.path, size_bytes=2 << 30), codes.EXISTS)
    for _ in range(2):
        await site.do(DeleteFile(path=create.path))


@_check("storage")
async def volume_over_a_missing_image_is_refused(site: Site) -> None:
    """And can be created otherwise afterwards."""
    await site.do(InitStorage(path=site.storage))
    path = site.path("orphan.qcow2")
    backing = site.path("none.qcow2")
    create = CreateVolume(path=path, size_bytes=1 << 30, backing_path=backing, backing_format="qcow2")
    await site.refused(create, codes.MISSING_FILE)
    await site.do(CreateVolume(path=path, size_bytes=1 << 30))
    await site.do(DeleteFile(path=path))


@_check("storage")
async def image_is_cached_twice_and_carries_a_volume(site: Site) -> None:
    """A volume is never smaller than its image."""
    image = site.image
    if image is None:
        return
    await site.do(InitStorage(path=site.storage))
    cache = CacheImage(url=image.url, path=site.path("image.qcow2"), format=image.format, sha256=image.sha256)
    for _ in range(2):
        info = await site.do(cache)
        assert info.virtual_size_bytes == image.virtual_size_bytes
    create = CreateVolume(
        path=site.path("over.qcow2"), size_bytes=1, backing_path=cache.path, backing_format=image.format
    )
    for _ in range(2):
        assert (await site.do(create)).virtual_size_bytes >= image.virtual_size_bytes
    for path in (create.path, cache.path, cache.path):
        await site.do(DeleteFile(path=path))


@_check("storage")
async def image_that_is_not_what_was_asked_for_is_refused(site: Site) -> None:
    """By its check sum, or because it is not there; nothing is left of it."""
    await site.do(InitStorage(path=site.storage))
    path = site.path("wrong.qcow2")
    wrong = CacheImage(url=NOWHERE, path=path, format="qcow2", sha256="0" * 64)
    await site.refused(wrong, codes.DOWNLOAD_FAILED)
    if site.image is not None:
        await site.refused(msgspec.structs.replace(wrong, url=site.image.url), codes.CHECKSUM)
        small = CacheImage(
            url=site.image.url,
            path=path,
            format=site.image.format,
            sha256=site.image.sha256,
            max_virtual_size_bytes=site.image.virtual_size_bytes - 1,
        )
        await site.refused(small, codes.IMAGE_TOO_LARGE)
    over = CreateVolume(path=site.path("o.qcow2"), size_bytes=1, backing_path=path, backing_format="qcow2")
    await site.refused(over, codes.MISSING_FILE)


# Virtual machines.


@_check("vm")
async def vm_that_is_not_there_can_be_stopped_and_destroyed(site: Site) -> None:
    """But not rebooted."""
    for _ in range(2):
        await site.do(DestroyVm(vm=VM))
    assert (await site.do(StopVm(vm=VM, mode="grace", grace_seconds=1))).state is PowerState.STOPPED
    assert (await site.do(StopVm(vm=VM, mode="cold"))).state is PowerState.STOPPED
    await site.refused(RebootVm(vm=VM, grace_seconds=1), codes.VM_NOT_RUNNING)
    assert VM not in (await site.do(ListVms())).vms


@_check("vm")
async def vm_without_its_disk_is_refused(site: Site) -> None:
    """And is not there afterwards."""
    await site.do(InitStorage(path=site.storage))
    await site.refused(_start(site, disk="none.qcow2", nics=[]), codes.MISSING_FILE)
    assert VM not in (await site.do(ListVms())).vms


@_check("vm")
async def vm_lives(site: Site) -> None:
    """Started, started again, rebooted, stopped and destroyed twice; its disk cannot be taken from it meanwhile."""
    disk = site.path("root.qcow2")
    await site.do(InitStorage(path=site.storage))
    await site.do(CreateVolume(path=disk, size_bytes=1 << 26))
    start = _start(site, disk="root.qcow2", nics=[])
    for _ in range(2):
        assert (await site.do(start)).state is PowerState.RUNNING
    assert (await site.do(ListVms())).vms[VM] == PowerState.RUNNING
    assert (await site.client.ping(site.endpoint, site.timeout_seconds)).vms[VM] == PowerState.RUNNING
    await site.do(GetConsole(vm=VM))
    await site.refused(DeleteFile(path=disk), codes.BUSY)
    assert (await site.do(RebootVm(vm=VM, grace_seconds=1))).state is PowerState.RUNNING
    for _ in range(2):
        assert (await site.do(StopVm(vm=VM, mode="cold"))).state is PowerState.STOPPED
    assert (await site.do(start)).state is PowerState.RUNNING
    for _ in range(2):
        await site.do(DestroyVm(vm=VM))
    assert VM not in (await site.do(ListVms())).vms
    await site.do(DeleteFile(path=disk))


@_check("vm")
async def vm_stands_still_and_goes_on(site: Site) -> None:
    """Each is success when it is so already. Its disk stays its own meanwhile; a VM that is not there does neither."""
    disk = site.path("root.qcow2")
    for command in (PauseVm(vm=VM), ResumeVm(vm=VM)):
        await site.refused(command, codes.VM_NOT_RUNNING)
    await site.do(InitStorage(path=site.storage))
    await site.do(CreateVolume(path=disk, size_bytes=1 << 26))
    await site.do(_start(site, disk="root.qcow2", nics=[]))
    for _ in range(2):
        assert (await site.do(PauseVm(vm=VM))).state is PowerState.PAUSED
    assert (await site.do(ListVms())).vms[VM] == PowerState.PAUSED
    await site.refused(DeleteFile(path=disk), codes.BUSY)
    for _ in range(2):
        assert (await site.do(ResumeVm(vm=VM))).state is PowerState.RUNNING
    await site.do(PauseVm(vm=VM))
    assert (await site.do(StopVm(vm=VM, mode="grace", grace_seconds=1))).state is PowerState.STOPPED
    await site.do(DestroyVm(vm=VM))
    await site.do(DeleteFile(path=disk))


@_check("vm-network")
async def taps_of_vms_that_are_not_on_are_filtered_without_effect(site: Site) -> None:
    """So that a host that connects can be told of all its guests, whatever became of them meanwhile."""
    tap = Tap(vm=VM, device="vnicc0f.0", mac="fa:16:3e:c0:f0:01", addresses=["198.18.254.10"])
    for _ in range(2):
        await site.do(FilterTaps(taps=[tap]))
    assert VM not in (await site.do(ListVms())).vms


@_check("vm-network")
async def vm_without_its_bridge_is_refused(site: Site) -> None:
    """And a bridge cannot be taken from a running VM."""
    disk = site.path("root.qcow2")
    await site.do(InitStorage(path=site.storage))
    await site.do(CreateVolume(path=disk, size_bytes=1 << 26))
    await site.do(RemoveBridge(bridge=BRIDGE))
    start = _start(site, disk="root.qcow2", nics=[Nic(mac="fa:16:3e:c0:f0:01", bridge=BRIDGE, device="vnicc0f.0")])
    await site.refused(start, codes.MISSING_BRIDGE)
    await site.do(EnsureBridge(bridge=BRIDGE))
    await site.do(start)
    await site.refused(RemoveBridge(bridge=BRIDGE), codes.BUSY)
    await site.do(DestroyVm(vm=VM))
    await site.do(RemoveBridge(bridge=BRIDGE))
    await site.do(DeleteFile(path=disk))


# The backup server.


@_check("backup")
async def image_is_downloaded_twice(site: Site) -> None:
    """The second time it is there; its check sum is told."""
    if site.backup is None or site.good is None:
        return
    path = f"{site.backup_folder}/conformance/good.{site.good.format}"
    fetch = DownloadImage(url=site.good.url, path=path, format=site.good.format, max_bytes=site.good.max_bytes)
    first = await site.client.call(site.backup, fetch, timeout_seconds=site.timeout_seconds)
    again = await site.client.call(site.backup, fetch, timeout_seconds=site.timeout_seconds)
    assert first == again
    assert len(first.sha256) == 64
    assert first.actual_size_bytes > 0
    for _ in range(2):
        await site.client.call(site.backup, DeleteFile(path=path), timeout_seconds=site.timeout_seconds)


@_check("backup")
async def bad_images_are_refused_each_with_its_code(site: Site) -> None:
    """Not there, no image, another format, a backing file, too large."""
    if site.backup is None:
        return
    path = f"{site.backup_folder}/conformance/bad.qcow2"
    nowhere = DownloadImage(url=NOWHERE, path=path, format="qcow2")
    await site.backup_refused(nowhere, codes.DOWNLOAD_REFUSED)
    allowed = msgspec.structs.replace(nowhere, allowed_networks=("127.0.0.1/32",))
    await site.backup_refused(allowed, codes.DOWNLOAD_FAILED)
    await site.backup_refused(
        DownloadImage(url="ftp://127.0.0.1/x.qcow2", path=path, format="qcow2"), codes.DOWNLOAD_FAILED
    )
    for code, bad in site.bad.items():
        fetch = DownloadImage(url=bad.url, path=path, format=bad.format, max_bytes=bad.max_bytes)
        await site.backup_refused(fetch, code)


def _start(site: Site, *, disk: str, nics: list[Nic]) -> StartVm:
    return StartVm(
        hardware=Hardware(uuid=VM, name="conformance", cpu_num=1, memory_size=64 << 20),
        disks=[Disk(path=site.path(disk), device_id=0, volume=VM)],
        nics=nics,
    )


def _dhcp(entries: list[DhcpEntry], metadata: list[MetadataEntry] | None = None) -> EnsureDhcp:
    return EnsureDhcp(
        network=NETWORK,
        bridge=BRIDGE,
        dhcp_ip="198.18.254.2",
        netmask="255.255.255.0",
        gateway="198.18.254.1",
        entries=entries,
        metadata=metadata or [],
    )
