"""A cloud of any size as rows: what `cairn bench populate` writes.

Pure: it makes records and writes none, always the same ones for the same `Size`. The rows are those that services leave behind
when a cloud of simulated hosts is at rest, so the books hold: what is free of a host is what there is less what its VMs claim,
each address that is taken is a network card's, each resource has its row in ``resource``.

A zone has `_CLUSTERS_PER_ZONE` clusters, a cluster `_HOSTS_PER_CLUSTER` hosts, a network and a local storage of its own. VMs are
dealt out to hosts in turn and to accounts at random; one in ten is stopped, one in ten has tags.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from msgspec import Struct

from cairn.agents.protocol.machine import machine_identity
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.resource import Resource
from cairn.kernel.store.record import Named, Record, info
from cairn.kernel.store.schema import Schema
from cairn.kernel.tag import SystemTag, UserTag
from cairn.services.cluster.model import Cluster
from cairn.services.host.model import Host, HostClaim
from cairn.services.identity.model import Account
from cairn.services.ids import (
    AccountId,
    ClusterId,
    HostId,
    ImageId,
    L2NetworkId,
    L3NetworkId,
    PrimaryStorageId,
    VmId,
    VolumeId,
    ZoneId,
)
from cairn.services.image.model import Image, ImageStatus
from cairn.services.l2.model import L2Network, L2NetworkClusterRef, L2Type
from cairn.services.l3.model import IpRange, L3Network, UsedIp
from cairn.services.offering.model import InstanceOffering
from cairn.services.primary_storage.model import ImageCache, PrimaryStorage, PrimaryStorageClusterRef
from cairn.services.vm.model import VmInstance, VmNic, VmState
from cairn.services.volume.model import Volume, VolumeStatus
from cairn.services.zone.model import Zone
from cairn.simulator.world import host_name

_HOSTS_PER_CLUSTER = 1000
_CLUSTERS_PER_ZONE = 10
MOST_VMS_PER_HOST = 400
_SINCE = datetime(2026, 1, 1, tzinfo=UTC)
_STEP = timedelta(seconds=1)
_MASK = 2**64 - 1
_ODD = 0x9E3779B97F4A7C15  # of the golden ratio: neighbours land far apart, and no two on the same place
_HOST_CPUS, _HOST_MEMORY = 1600, 1 << 40
_HOST_DISK, _DISK_RESERVED = 64 << 40, 1 << 30
_DISK, _IMAGE_FILE = 1 << 30, 13 << 20
_FIRST_ADDRESS, _LAST_ADDRESS = int(IPv4Address("10.96.0.10")), int(IPv4Address("10.111.255.250"))
_NETMASK, _GATEWAY = "255.240.0.0", "10.96.0.1"
_FIRST_VNI = 4096
_VNIS_PER_SEED = 1000
_FOLDER = "/var/lib/cairn-storage"


class Size(Struct, frozen=True, kw_only=True):
    """How large a cloud is to be, and which one of that size."""

    hosts: int
    vms: int
    accounts: int
    seed: int = 0  #: another cloud, that fits beside those of other seeds
    simulator_url: str = "http://127.0.0.1:1"  #: where the hosts' agents are

    @property
    def clusters(self) -> int:
        """How many clusters it takes."""
        return -(-self.hosts // _HOSTS_PER_CLUSTER)

    @property
    def zones(self) -> int:
        """How many zones it takes."""
        return -(-self.clusters // _CLUSTERS_PER_ZONE)


class Population:
    """All rows of one cloud.

    Args:
        size: of it.
        owner: the account that owns what is everyone's: the image.
        schema: of the database; rows of plugins that it does not have are left out.
        password_hash: of all accounts.
    """

    def __init__(self, size: Size, owner: str, schema: Schema, password_hash: str) -> None:
        self.size = size
        self.boots: dict[int, str] = {}  #: of the agents of hosts that were met, by the host's number
        self._owner = AccountId(owner)
        self._schema = schema
        self._password_hash = password_hash
        self._image = ImageId(self.uuid("image", 0))
        self._offering = self.uuid("offering", 0)

    def uuid(self, kind: str, number: int) -> str:
        """The uuid of one thing, scattered as random ones are."""
        start = int.from_bytes(kind.encode()[:8].ljust(8, b"\0")) ^ (self.size.seed * _ODD)
        scattered = ((number + 1) * _ODD ^ start) & _MASK
        return f"{scattered:016x}{self.size.seed & 0xFFFF:04x}{sum(kind.encode()) & 0xFFFF:04x}{number:08x}"

    # -- the place ------------------------------------------------------------------------------------------------

    def place(self) -> Iterator[Record]:
        """Accounts, zones, the image, the offering, clusters with their networks and storage: what is referred to comes first."""
        for number in range(self.size.accounts):
            yield from self._named(self._account(number))
        for number in range(self.size.zones):
            zone = Zone(
                uuid=ZoneId(self.uuid("zone", number)),
                name=self._name("zone", number),
                create_date=_at(0),
                last_op_date=_at(0),
            )
            yield from self._named(zone)
        yield from self._named(self._make_image())
        offering = InstanceOffering(
            uuid=self._offering,
            name=self._name("offering", 0),
            cpu_num=1,
            memory_size=1 << 28,
            create_date=_at(0),
            last_op_date=_at(0),
        )
        yield from self._named(offering)
        for number in range(self.size.clusters):
            yield from self._cluster(number)

    def _account(self, number: int) -> Account:
        return Account(
            uuid=self.account(number),
            name=self._name("account", number),
            password_hash=self._password_hash,
            create_date=_at(0),
            last_op_date=_at(0),
        )

    def account(self, number: int) -> AccountId:
        """The account with this number."""
        return AccountId(self.uuid("account", number))

    def _make_image(self) -> Image:
        return Image(
            uuid=self._image,
            name=self._name("image", 0),
            account_uuid=self._owner,
            status=ImageStatus.READY,
            size=_DISK,
            actual_size=_IMAGE_FILE,
            url="http://images.example/tiny.qcow2",
            create_date=_at(0),
            last_op_date=_at(0),
        )

    def _cluster(self, number: int) -> Iterator[Record]:
        zone = ZoneId(self.uuid("zone", number // _CLUSTERS_PER_ZONE))
        cluster, storage = ClusterId(self.uuid("cluster", number)), PrimaryStorageId(self.uuid("storage", number))
        l2, l3 = L2NetworkId(self.uuid("l2", number)), L3NetworkId(self.uuid("l3", number))
        yield from self._named(
            Cluster(
                uuid=cluster,
                name=self._name("cluster", number),
                zone_uuid=zone,
                hypervisor_type="Simulator",
                create_date=_at(0),
                last_op_date=_at(0),
            )
        )
        yield from self._named(self._storage(number, storage, zone))
        yield PrimaryStorageClusterRef(
            uuid=self.uuid("storage-cluster", number), primary_storage_uuid=storage, cluster_uuid=cluster
        )
        vni = _FIRST_VNI + self.size.seed * _VNIS_PER_SEED + number
        yield from self._named(
            L2Network(
                uuid=l2,
                name=self._name("l2", number),
                zone_uuid=zone,
                type=L2Type.VXLAN,
                vni=vni,
                create_date=_at(0),
                last_op_date=_at(0),
            )
        )
        yield L2NetworkClusterRef(l2_network_uuid=l2, cluster_uuid=cluster, create_date=_SINCE)
        yield from self._named(
            L3Network(
                uuid=l3,
                name=self._name("net", number),
                zone_uuid=zone,
                l2_network_uuid=l2,
                create_date=_at(0),
                last_op_date=_at(0),
            )
        )
        yield from self._named(self._range(number, l3))
        yield self._address(self.uuid("dhcp", number), number, 0, None, 0)
        yield from self._of("flat_dhcp_server", l3_network_uuid=l3, ip=_ip(0), used_ip_uuid=self.uuid("dhcp", number))

    def _storage(self, number: int, uuid: PrimaryStorageId, zone: ZoneId) -> PrimaryStorage:
        hosts = self._hosts_of(number)
        booked = sum(self._booked(host) for host in hosts)
        return PrimaryStorage(
            uuid=uuid,
            name=self._name("storage", number),
            zone_uuid=zone,
            url=_FOLDER,
            type="LocalStorage",
            mount_path=_FOLDER,
            total_capacity=(_HOST_DISK - _DISK_RESERVED) * len(hosts),
            available_capacity=(_HOST_DISK - _DISK_RESERVED) * len(hosts) - booked,
            total_physical_capacity=_HOST_DISK * len(hosts),
            available_physical_capacity=_HOST_DISK * len(hosts) - booked,
            create_date=_at(0),
            last_op_date=_at(0),
        )

    def _range(self, number: int, l3: L3NetworkId) -> IpRange:
        taken = 1 + sum(self._vms_of(host) for host in self._hosts_of(number))
        return IpRange(
            uuid=self.uuid("range", number),
            name=self._name("range", number),
            l3_network_uuid=l3,
            start_ip=_ip(0),
            end_ip=str(IPv4Address(_LAST_ADDRESS)),
            netmask=_NETMASK,
            gateway=_GATEWAY,
            network_cidr="10.96.0.0/12",
            prefix_len=12,
            start_long=_FIRST_ADDRESS,
            end_long=_LAST_ADDRESS,
            next_long=_FIRST_ADDRESS + taken,
            create_date=_at(0),
            last_op_date=_at(0),
        )

    # -- hosts ----------------------------------------------------------------------------------------------------

    def host(self, number: int) -> Iterator[Record]:
        """A host with its share of the storage and its cached image."""
        cluster = number // _HOSTS_PER_CLUSTER
        uuid, storage = HostId(self.uuid("host", number)), PrimaryStorageId(self.uuid("storage", cluster))
        played = host_name(number + 1)
        running = [vm for vm in self._vms_on(number) if not self._is_stopped(vm)]
        yield from self._named(
            Host(
                uuid=uuid,
                name=self._name("host", number),
                zone_uuid=ZoneId(self.uuid("zone", cluster // _CLUSTERS_PER_ZONE)),
                cluster_uuid=ClusterId(self.uuid("cluster", cluster)),
                management_ip=f"{self._name('host', number)}.invalid",
                hypervisor_type="Simulator",
                status=MachineStatus.CONNECTED,
                agent_boot=self.boots.get(number, ""),
                machine_identity=machine_identity(f"{self.size.seed}-{played}", ""),
                architecture="x86_64",
                cpu_num=64,
                cpu_sockets=2,
                memory_bytes=_HOST_MEMORY,
                total_cpu_capacity=_HOST_CPUS,
                available_cpu_capacity=_HOST_CPUS - sum(_cpus(vm) for vm in running),
                total_memory_capacity=_HOST_MEMORY,
                available_memory_capacity=_HOST_MEMORY - sum(_memory(vm) for vm in running),
                create_date=_at(number),
                last_op_date=_at(number),
            )
        )
        yield from self._of("simulator_host", uuid=uuid, url=self.agent_url(number))
        yield self._cache(number, uuid, storage)
        yield from self._share(number, uuid, storage)

    def agent_url(self, number: int) -> str:
        """Where a host's agent is."""
        return f"{self.size.simulator_url}/hosts/{host_name(number + 1)}"

    def _cache(self, number: int, host: HostId, storage: PrimaryStorageId) -> ImageCache:
        return ImageCache(
            uuid=self.uuid("cache", number),
            primary_storage_uuid=storage,
            host_uuid=host,
            image_uuid=self._image,
            install_path=f"{_FOLDER}/imagecache/template/{self._image}/{self.uuid('cache', number)}.qcow2",
            format="qcow2",
            size=_DISK,
            actual_size=_IMAGE_FILE,
            create_date=_SINCE,
        )

    def _share(self, number: int, host: HostId, storage: PrimaryStorageId) -> Iterator[Record]:
        booked = self._booked(number)
        return self._of(
            "local_storage_host_ref",
            uuid=self.uuid("share", number),
            primary_storage_uuid=storage,
            host_uuid=host,
            file_system="disk",
            total_capacity=_HOST_DISK - _DISK_RESERVED,
            available_capacity=_HOST_DISK - _DISK_RESERVED - booked,
            booked_capacity=booked,
            total_physical_capacity=_HOST_DISK,
            available_physical_capacity=_HOST_DISK - booked,
            system_used_capacity=_DISK_RESERVED,
        )

    # -- VMs ------------------------------------------------------------------------------------------------------

    def vm(self, number: int) -> Iterator[Record]:
        """A VM with its disk, its network card, its claims, and what hangs on it."""
        on = number % self.size.hosts
        cluster = on // _HOSTS_PER_CLUSTER
        host, running = HostId(self.uuid("host", on)), not self._is_stopped(number)
        uuid, account = VmId(self.uuid("vm", number)), self.account(_dealt(number, self.size.accounts))
        volume, name = VolumeId(self.uuid("volume", number)), self._name("vm", number)
        l3, storage = L3NetworkId(self.uuid("l3", cluster)), PrimaryStorageId(self.uuid("storage", cluster))
        at = _at(number)
        yield from self._named(
            VmInstance(
                uuid=uuid,
                name=name,
                account_uuid=account,
                zone_uuid=ZoneId(self.uuid("zone", cluster // _CLUSTERS_PER_ZONE)),
                cluster_uuid=ClusterId(self.uuid("cluster", cluster)),
                host_uuid=host if running else None,
                last_host_uuid=host,
                image_uuid=self._image,
                instance_offering_uuid=self._offering,
                root_volume_uuid=volume,
                default_l3_network_uuid=l3,
                hypervisor_type="Simulator",
                cpu_num=_cpus(number),
                memory_size=_memory(number),
                state=VmState.RUNNING if running else VmState.STOPPED,
                hostname=name,
                create_date=at,
                last_op_date=at,
            ),
            account,
        )
        yield from self._named(
            Volume(
                uuid=volume,
                name=f"ROOT-for-{name}",
                account_uuid=account,
                primary_storage_uuid=storage,
                vm_instance_uuid=uuid,
                root_image_uuid=self._image,
                install_path=f"{_FOLDER}/rootVolumes/acct-{account}/vol-{volume}/{volume}.qcow2",
                size=_DISK,
                status=VolumeStatus.READY,
                create_date=at,
                last_op_date=at,
            ),
            account,
        )
        yield from self._of(
            "local_storage_resource_ref",
            resource_uuid=volume,
            primary_storage_uuid=storage,
            host_uuid=host,
            size=_DISK,
            image_uuid=self._image,
        )
        place = 1 + self._place_in_network(number)
        address = self._address(self.uuid("address", number), cluster, place, uuid, number)
        yield address
        yield self._nic(number, uuid, l3, address)
        if running:
            yield HostClaim(vm_uuid=uuid, host_uuid=host, cpu_num=_cpus(number), memory_bytes=_memory(number))
        if number % 10 == 1:
            yield from self._tags(number, uuid, account, name)

    def _nic(self, number: int, vm: VmId, l3: L3NetworkId, address: UsedIp) -> VmNic:
        uuid = self.uuid("nic", number)
        octets = (0xFA << 40 | (self.size.seed & 0xFF) << 32 | number).to_bytes(6)
        return VmNic(
            uuid=uuid,
            vm_instance_uuid=vm,
            l3_network_uuid=l3,
            used_ip_uuid=address.uuid,
            ip=address.ip,
            netmask=_NETMASK,
            gateway=_GATEWAY,
            mac=octets.hex(":"),
            device_id=0,
            internal_name=f"vnic{uuid[-10:]}",
            hypervisor_type="Simulator",
            create_date=_at(number),
            last_op_date=_at(number),
        )

    def _tags(self, number: int, vm: VmId, account: AccountId, name: str) -> Iterator[Record]:
        yield UserTag(
            uuid=self.uuid("user-tag", number),
            resource_uuid=vm,
            resource_type="VmInstance",
            tag=f"team-{number // 10 % 100}",
            account_uuid=account,
            create_date=_SINCE,
        )
        yield SystemTag(
            uuid=self.uuid("system-tag", number),
            resource_uuid=vm,
            resource_type="VmInstance",
            tag=f"hostname::{name}",
            account_uuid=account,
            create_date=_SINCE,
        )

    def _address(self, uuid: str, cluster: int, place: int, vm: VmId | None, number: int) -> UsedIp:
        return UsedIp(
            uuid=uuid,
            l3_network_uuid=L3NetworkId(self.uuid("l3", cluster)),
            ip_range_uuid=self.uuid("range", cluster),
            ip=_ip(place),
            ip_in_long=_FIRST_ADDRESS + place,
            netmask=_NETMASK,
            gateway=_GATEWAY,
            used_for=vm,
            create_date=_SINCE + number * _STEP,
        )

    # -- who is where ---------------------------------------------------------------------------------------------

    def _hosts_of(self, cluster: int) -> range:
        first = cluster * _HOSTS_PER_CLUSTER
        return range(first, min(first + _HOSTS_PER_CLUSTER, self.size.hosts))

    def _vms_on(self, host: int) -> range:
        return range(host, self.size.vms, self.size.hosts)

    def _vms_of(self, host: int) -> int:
        return len(self._vms_on(host))

    def _is_stopped(self, vm: int) -> bool:
        return _dealt(vm + 1, 10) == 0

    def _place_in_network(self, vm: int) -> int:
        """Its number among the VMs of its cluster: these are dealt out in turn, round by round."""
        turn, on = divmod(vm, self.size.hosts)
        hosts = self._hosts_of(on // _HOSTS_PER_CLUSTER)
        return turn * len(hosts) + on - hosts.start

    def _booked(self, host: int) -> int:
        return self._vms_of(host) * _DISK + _IMAGE_FILE

    def _name(self, what: str, number: int) -> str:
        return f"{what}-{self.size.seed}-{number + 1:07}"

    def _named(self, row: Named, account: AccountId | None = None) -> Iterator[Record]:
        """The row with the one that all resources have."""
        entity = str(info(type(row)).meta.entity)
        if isinstance(row, Account):
            account = row.uuid
        elif isinstance(row, Image):
            account = row.account_uuid
        yield Resource(uuid=row.uuid, type=entity, name=row.name, account_uuid=account, create_date=row.create_date)
        yield row

    def _of(self, table: str, **values: object) -> Iterator[Record]:
        """A plugin's row, if the plugin is there."""
        found = self._schema.by_table.get(table)
        if found is not None:
            yield found.record(**values)


def _at(number: int) -> datetime:
    return _SINCE + number * _STEP


def _dealt(number: int, among: int) -> int:
    """One of so many, as if by chance."""
    return (((number + 1) * _ODD & _MASK) >> 32) % among


def _cpus(vm: int) -> int:
    return 1 + vm % 4


def _memory(vm: int) -> int:
    return (1 << 28) << vm % 4


def _ip(place: int) -> str:
    return str(IPv4Address(_FIRST_ADDRESS + place))
