"""Choosing the host that takes a VM.

Candidates come from indexes, the one with the most free memory first, a few at a time (`candidates`), so
that the cost of a claim does not grow with the number of hosts, whether one fits or none. Plugins may refuse candidates
(`HostFilter`). The claim itself is one UPDATE that looks again, so two claims never take the same memory, nor one that of a
host that was closed or lost meanwhile. When no host fits, administrators are told why some of them do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Update, bindparam, update

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.resource import taken
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Tx
from cairn.kernel.store.trouble import overtaken
from cairn.services.host.extensions import Candidate, HostFilter, HostNeed
from cairn.services.host.model import Host, HostClaim, HostState
from cairn.services.host.placement.candidates import Candidates
from cairn.services.host.provided import HostLedger
from cairn.services.ids import HostId, VmId

#: hosts whose reasons administrators are told
_TOLD = 10


def _take() -> Update:
    host = table_of(Host)
    return (
        update(host)
        .where(
            host.c.uuid == bindparam("of"),
            host.c.state == HostState.ENABLED.value,
            host.c.status == MachineStatus.CONNECTED.value,
            host.c.available_memory_capacity >= bindparam("memory"),
            host.c.available_cpu_capacity >= bindparam("cpu"),
        )
        .values(
            available_memory_capacity=host.c.available_memory_capacity - bindparam("memory"),
            available_cpu_capacity=host.c.available_cpu_capacity - bindparam("cpu"),
        )
    )


def _give() -> Update:
    host = table_of(Host)
    return (
        update(host)
        .where(host.c.uuid == bindparam("of"))
        .values(
            available_memory_capacity=host.c.available_memory_capacity + bindparam("memory"),
            available_cpu_capacity=host.c.available_cpu_capacity + bindparam("cpu"),
        )
    )


class Allocator(HostLedger):
    """Claims hosts for VMs, and gives claims back.

    Args:
        filters: the plugins' `HostFilter` objects.
    """

    def __init__(self, filters: Callable[[], Sequence[HostFilter]]) -> None:
        self._filters = filters
        self._candidates = Candidates()
        self._taking = _take()
        self._giving = _give()

    def claim(self, tx: Tx, need: HostNeed) -> Candidate:
        """Take the capacity of a host that fits.

        Raises:
            CairnError: ``host.none-fits``; administrators are told the reasons of some hosts.
        """
        looked_at, overtook = 0, False
        for found in self._candidates.batches(tx, need, self._filters()):
            looked_at += len(found)
            refused = self._refused(tx, need, found)
            for candidate in found:
                if candidate.host_uuid in refused:
                    continue
                if self._take(tx, need, candidate.host_uuid):
                    return candidate
                overtook = True  # it had room, and was up, when it was looked at
        if overtook:
            raise overtaken("host")  # hosts have changed their places in the order that was gone by: look once more
        raise self._none_fits(tx, need, looked_at)

    def release(self, tx: Tx, vm: VmId) -> HostId | None:
        """Give back what a VM holds. Returns the host; None when it held nothing. Safe to repeat."""
        claim = tx.get(HostClaim, vm, lock=True)
        if claim is None:
            return None
        tx.delete(HostClaim, vm)
        tx.execute(self._giving, {"of": claim.host_uuid, "memory": claim.memory_bytes, "cpu": claim.cpu_num})
        return claim.host_uuid

    def hold(self, tx: Tx, vm: VmId, host: HostId, *, cpu_num: int, memory_bytes: int) -> None:
        """Book a VM on the host where it was found, whether it fits or not. Safe to repeat."""
        claim = tx.get(HostClaim, vm, lock=True)
        if claim is not None and claim.host_uuid == host:
            return
        self.release(tx, vm)
        if not tx.execute(self._giving, {"of": host, "memory": -memory_bytes, "cpu": -cpu_num}):
            return
        tx.insert(HostClaim(vm_uuid=vm, host_uuid=host, cpu_num=cpu_num, memory_bytes=memory_bytes))

    def _refused(self, tx: Tx, need: HostNeed, candidates: Sequence[Candidate]) -> dict[HostId, str]:
        refused: dict[HostId, str] = {}
        for judge in self._filters():
            rest = [candidate for candidate in candidates if candidate.host_uuid not in refused]
            if not rest:
                break
            refused |= judge.refuse(tx, need, rest)
        return refused

    def _take(self, tx: Tx, need: HostNeed, host: HostId) -> bool:
        if not tx.execute(self._taking, {"of": host, "memory": need.memory_size, "cpu": need.cpu_num}):
            return False
        claim = HostClaim(
            vm_uuid=need.vm_uuid,
            host_uuid=host,
            cpu_num=need.cpu_num,
            memory_bytes=need.memory_size,
            starts=need.starts,
        )
        tx.insert(claim)
        return True

    def _none_fits(self, tx: Tx, need: HostNeed, looked_at: int) -> CairnError:
        hosts = _some_hosts(tx, need)
        if not hosts:
            return CairnError(
                "host.none-fits",
                "No host fits, because there are no hosts yet. An administrator can add one.",
                kind=ErrorKind.EXHAUSTED,
                operator="Add one with AddKVMHost, or `cairn add-kvm-host`.",
            )
        reasons = {host.uuid: self._reason(host, need) for host in hosts}
        open_hosts = [taken(Candidate, host, host_uuid=host.uuid) for host in hosts if reasons[host.uuid] is None]
        reasons |= self._refused(tx, need, open_hosts)
        disk = f"a disk of {-(-need.disk_bytes >> 20)} MiB" if need.disk_bytes else "its disk"
        told = "; ".join(f"{host.name} {reasons[host.uuid] or 'is free by now'}" for host in hosts)
        return CairnError(
            "host.none-fits",
            f"No host fits a VM of {need.cpu_num} CPUs ({need.architecture}) and {need.memory_size >> 20} MiB, with these "
            f"networks and {disk}. Ask for less, or for another place, or ask an administrator for more capacity.",
            kind=ErrorKind.EXHAUSTED,
            operator=f"{looked_at} hosts that are up and have room were looked at, and refused. Of all hosts: {told}.",
        )

    def _reason(self, host: Host, need: HostNeed) -> str | None:
        if need.host_uuid not in (None, host.uuid):
            return "is not the host that was asked for"
        if need.cluster_uuid not in (None, host.cluster_uuid):
            return "is not in the cluster that was asked for"
        if need.zone_uuid not in (None, host.zone_uuid):
            return "is not in the zone that was asked for"
        if host.state is not HostState.ENABLED:
            return f"is {host.state.value}"
        if host.status is not MachineStatus.CONNECTED:
            return f"is {host.status.value}{f' ({host.status_reason})' if host.status_reason else ''}"
        if host.architecture != need.architecture:
            return f"is of the architecture {host.architecture or 'unknown'}, not {need.architecture}"
        if host.available_memory_capacity < need.memory_size:
            return f"has {host.available_memory_capacity >> 20} MiB of memory free, and the VM needs {need.memory_size >> 20} MiB"
        if host.available_cpu_capacity < need.cpu_num:
            return f"has {host.available_cpu_capacity} virtual CPUs free, and the VM needs {need.cpu_num}"
        return None


def _some_hosts(tx: Tx, need: HostNeed) -> list[Host]:
    """Hosts whose reasons are worth to be told: where the VM was to be, as far as one can say."""
    if need.host_uuid is not None:
        return tx.find(Host, uuid=need.host_uuid) or tx.find(Host, order_by="name", limit=_TOLD)
    if need.cluster_uuid is not None:
        there = tx.find(Host, cluster_uuid=need.cluster_uuid, limit=_TOLD)
        return there or tx.find(Host, order_by="name", limit=_TOLD)
    return tx.find(Host, order_by="name", limit=_TOLD)
