"""A cloud with many hosts and VMs: the rows of a host and of a VM that exist, copied by the database itself.

What is copied is on machines of its own as far as the database knows; in the simulator they are all the first host. So anything
that is done to one of them works as on any other host, and making 10,000 hosts takes a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from cairn.kernel.store.store import Tx
from cairn.testing.cloud import Cloud

#: addresses of VMs that are copied begin here: 172.18.0.0
_FIRST_IP = (172 << 24) + (18 << 16)
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "


class Population(Struct, frozen=True):
    """How much there is."""

    hosts: int
    vms: int


def _id(kind: int) -> str:
    """An expression for the uuid of the copy number ``n.i``."""
    return f"printf('{kind:x}%031x', n.i)"


def _copy(tx: Tx, count: int, table: str, where: str, changed: Mapping[str, str]) -> None:
    """Insert `count` copies of the one row that fits `where`, with expressions for the columns that differ."""
    columns = [str(row[1]) for row in tx.fetch(f"PRAGMA table_info({table})", []) if str(row[1]) != "id"]
    values = [changed.get(name, f"t.{name}") for name in columns]
    tx.fetch(
        f"{_NUMBERS.format(count=count)} INSERT INTO {table} ({', '.join(columns)}) "
        f"SELECT {', '.join(values)} FROM n JOIN {table} t ON {where}",
        [],
    )


def add_hosts(cloud: Cloud, host: str, count: int) -> None:
    """Add copies of a host: connected, as large, and as empty."""
    uuid = _id(0xA)

    def fn(tx: Tx) -> None:
        _copy(tx, count, "resource", f"t.uuid = '{host}'", {"uuid": uuid, "name": "'copy-' || n.i"})
        changed = {"uuid": uuid, "name": "'copy-' || n.i", "machine_identity": uuid}
        changed["management_ip"] = "printf('10.%d.%d.%d', 128 + (n.i >> 16), (n.i >> 8) & 255, n.i & 255)"
        _copy(tx, count, "host", f"t.uuid = '{host}'", changed)
        _copy(tx, count, "simulator_host", f"t.uuid = '{host}'", {"uuid": uuid})
        changed = {"uuid": uuid, "host_uuid": uuid}
        _copy(tx, count, "local_storage_host_ref", f"t.host_uuid = '{host}'", changed)
        _copy(tx, count, "image_cache", f"t.host_uuid = '{host}'", changed)

    _write(cloud, fn)


def add_vms(cloud: Cloud, vm: str, count: int, hosts: int) -> None:
    """Add copies of a running VM, spread over the copies of hosts."""
    uuid, host = _id(0xB), f"printf('a%031x', 1 + n.i % {hosts})"

    def fn(tx: Tx) -> None:
        _copy(tx, count, "resource", f"t.uuid = '{vm}'", {"uuid": uuid})
        volume = str(tx.fetch(f"SELECT uuid FROM volume WHERE vm_instance_uuid = '{vm}'", [])[0][0])
        disk = _id(0xC)
        _copy(tx, count, "resource", f"t.uuid = '{volume}'", {"uuid": disk})
        changed = {"uuid": uuid, "name": "'copy-' || n.i", "hostname": "'copy-' || n.i", "root_volume_uuid": disk}
        changed |= {"host_uuid": host, "last_host_uuid": host}
        _copy(tx, count, "vm_instance", f"t.uuid = '{vm}'", changed)
        changed = {"uuid": disk, "vm_instance_uuid": uuid, "install_path": "t.install_path || n.i"}
        _copy(tx, count, "volume", f"t.uuid = '{volume}'", changed)
        changed = {"resource_uuid": disk, "host_uuid": host}
        _copy(tx, count, "local_storage_resource_ref", f"t.resource_uuid = '{volume}'", changed)
        _copy(tx, count, "host_claim", f"t.vm_uuid = '{vm}'", {"vm_uuid": uuid, "host_uuid": host})
        number = f"({_FIRST_IP} + n.i)"
        ip = f"printf('172.%d.%d.%d', ({number} >> 16) & 255, ({number} >> 8) & 255, {number} & 255)"
        address, nic = _id(0xD), _id(0xE)
        changed = {"uuid": address, "ip": ip, "ip_in_long": number, "used_for": uuid}
        _copy(tx, count, "used_ip", f"t.used_for = '{vm}'", changed)
        changed = {"uuid": nic, "vm_instance_uuid": uuid, "used_ip_uuid": address, "ip": ip}
        changed["mac"] = (
            "printf('fb:00:%02x:%02x:%02x:%02x', n.i >> 24, (n.i >> 16) & 255, (n.i >> 8) & 255, n.i & 255)"
        )
        _copy(tx, count, "vm_nic", f"t.vm_instance_uuid = '{vm}'", changed)

    _write(cloud, fn)


def copy_of_host(number: int) -> str:
    """The uuid of a copy that `add_hosts` has made, from 1."""
    return f"a{number:031x}"


def _write(cloud: Cloud, fn: Callable[[Tx], None]) -> None:
    work = cloud.store.write(fn)
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("the test's database does not answer at once")
