"""The hosts that may take a VM, best first, found by a few looks into indexes however many hosts there are.

The host with the most free memory comes first, alone, since nearly always it takes the VM; then those behind it. Where
none of these can, because they have no CPUs left, or the VM's networks or disk are elsewhere, two more looks are made:
at the hosts with the most free CPUs, and into the places that filters have narrowed the choice to. Each look is bounded, so
a VM that cannot be placed costs what any other costs, and holds up no other. In a cloud with at most `MOST` hosts in those
places every host is looked at. Beyond that one that would fit may be missed, if some hundreds that have more memory, and
those with more CPUs, cannot take the VM; who asks for a cluster or a host has all looks made there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Select, bindparam, select

from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Tx
from cairn.services.cluster.model import Cluster
from cairn.services.host.extensions import Candidate, HostFilter, HostNeed, Places
from cairn.services.host.model import Host, HostState
from cairn.services.ids import ClusterId, HostId, ZoneId

BEHIND: Final = 60  #: hosts that are looked at behind the best one
MOST: Final = 500  #: hosts that are looked at in places
MOST_CLUSTERS: Final = 500


class Found(Struct, frozen=True):
    """A host that is up, with what it has free."""

    candidate: Candidate
    memory_bytes: int
    cpu_num: int


class Candidates:
    """Looks for hosts that are up and have room."""

    def __init__(self) -> None:
        self._most_memory = _looking("available_memory_capacity")
        self._most_memory_in_cluster = _looking("available_memory_capacity", "cluster_uuid")
        self._most_cpus = _looking("available_cpu_capacity")
        self._this_host = _looking("available_memory_capacity", "uuid")
        self._clusters = _clusters()
        self._clusters_in_zone = _clusters("zone_uuid")

    def batches(self, tx: Tx, need: HostNeed, filters: Sequence[HostFilter]) -> Iterator[list[Candidate]]:
        """Hosts with room for the VM, some at a time, each at most once. `filters` are asked for places only."""
        seen: set[HostId] = set()
        for rows in self._looks(tx, need, filters):
            fresh = [row.candidate for row in rows if row.candidate.host_uuid not in seen and _has_room(row, need)]
            seen.update(one.host_uuid for one in fresh)
            if fresh:
                yield fresh

    def _looks(self, tx: Tx, need: HostNeed, filters: Sequence[HostFilter]) -> Iterator[list[Found]]:
        if need.host_uuid is not None:
            yield self._look(tx, self._this_host, 1, need, uuid=need.host_uuid)
            return
        if need.cluster_uuid is not None:
            yield self._in_cluster(tx, need, need.cluster_uuid, 1)
            yield self._in_cluster(tx, need, need.cluster_uuid, MOST)
            return
        best = self._look(tx, self._most_memory, 1, need)
        yield best
        if not best:
            return
        behind = self._look(tx, self._most_memory, BEHIND, need, start=1)
        yield behind
        if len(behind) < BEHIND:
            return  # these were all
        with_cpus = self._look(tx, self._most_cpus, BEHIND, need)
        yield with_cpus
        if len(with_cpus) < BEHIND:
            return  # no other has so many
        yield self._in_places(tx, need, _narrowed(tx, need, filters))

    def _in_places(self, tx: Tx, need: HostNeed, places: Places) -> list[Found]:
        """Hosts of the places, those with the most free memory of each cluster, and of all of them the best first."""
        if places.hosts is not None:
            hosts = sorted(places.hosts)[:MOST]
            found = [one for host in hosts for one in self._look(tx, self._this_host, 1, need, uuid=host)]
            allowed = places.clusters
            return [one for one in found if allowed is None or one.candidate.cluster_uuid in allowed]
        clusters = self._allowed(tx, need, places)
        each = max(1, MOST // max(1, len(clusters)))
        found = [one for cluster in clusters for one in self._in_cluster(tx, need, cluster, each)]
        return sorted(found, key=lambda one: (one.memory_bytes, one.candidate.host_uuid), reverse=True)

    def _allowed(self, tx: Tx, need: HostNeed, places: Places) -> list[ClusterId]:
        if places.clusters is not None:
            return sorted(places.clusters)[:MOST_CLUSTERS]
        query = self._clusters if need.zone_uuid is None else self._clusters_in_zone
        return [ClusterId(str(row[0])) for row in tx.rows(query, {"zone_uuid": need.zone_uuid, "most": MOST_CLUSTERS})]

    def _in_cluster(self, tx: Tx, need: HostNeed, cluster: ClusterId, most: int) -> list[Found]:
        return self._look(tx, self._most_memory_in_cluster, most, need, cluster_uuid=cluster)

    def _look(
        self, tx: Tx, query: Select[Any], most: int, need: HostNeed, *, start: int = 0, **place: object
    ) -> list[Found]:
        least: Mapping[str, object] = {
            "available_memory_capacity": need.memory_size,
            "available_cpu_capacity": need.cpu_num,
            "architecture": need.architecture,
            "most": most,
            "start": start,
        }
        return [_found(row) for row in tx.rows(query, {**least, **place})]


def _looking(by: str, *places: str) -> Select[Any]:
    """The hosts of an architecture that are up and have enough of one thing, the most of it first. An index leads to them."""
    host = table_of(Host)
    query = select(
        host.c.uuid,
        host.c.cluster_uuid,
        host.c.zone_uuid,
        host.c.name,
        host.c.hypervisor_type,
        host.c.available_memory_capacity,
        host.c.available_cpu_capacity,
    ).where(
        host.c.state == HostState.ENABLED.value,
        host.c.status == MachineStatus.CONNECTED.value,
        host.c.architecture == bindparam("architecture"),
        host.c[by] >= bindparam(by),
    )
    for name in places:
        query = query.where(host.c[name] == bindparam(name))
    return query.order_by(host.c[by].desc(), host.c.uuid.desc()).limit(bindparam("most")).offset(bindparam("start"))


def _clusters(*places: str) -> Select[Any]:
    cluster = table_of(Cluster)
    query = select(cluster.c.uuid)
    for name in places:
        query = query.where(cluster.c[name] == bindparam(name))
    return query.order_by(cluster.c.uuid).limit(bindparam("most"))


def _found(row: tuple[object, ...]) -> Found:
    candidate = Candidate(
        host_uuid=HostId(str(row[0])),
        cluster_uuid=ClusterId(str(row[1])),
        zone_uuid=ZoneId(str(row[2])),
        name=str(row[3]),
        hypervisor_type=str(row[4]),
    )
    return Found(candidate, int(str(row[5])), int(str(row[6])))


def _has_room(found: Found, need: HostNeed) -> bool:
    """Whether memory, CPUs and place are right. The looks go by one of these each, as no index leads to all of them."""
    place = found.candidate
    return (
        found.memory_bytes >= need.memory_size
        and found.cpu_num >= need.cpu_num
        and need.zone_uuid in (None, place.zone_uuid)
        and need.cluster_uuid in (None, place.cluster_uuid)
    )


def _narrowed(tx: Tx, need: HostNeed, filters: Sequence[HostFilter]) -> Places:
    """The places that all filters leave."""
    hosts: frozenset[HostId] | None = None
    clusters: frozenset[ClusterId] | None = None
    for judge in filters:
        places = judge.narrow(tx, need)
        if places.hosts is not None:
            hosts = places.hosts if hosts is None else hosts & places.hosts
        if places.clusters is not None:
            clusters = places.clusters if clusters is None else clusters & places.clusters
    return Places(hosts=hosts, clusters=clusters)
