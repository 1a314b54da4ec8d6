"""Random conditions on random data, against an evaluator too simple to be wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from tests.unit.kernel import sample
from tests.unit.kernel.query.conftest import SHARES
from tests.unit.kernel.sample import (
    L3,
    Host,
    HostId,
    KvmHost,
    Share,
    Storage,
    StorageHost,
    SystemTag,
    VmId,
    VmInstance,
    VmNic,
    Volume,
    Zone,
    ZoneId,
    ZoneState,
)

from cairn.kernel.query import QueryEngine, QueryRequest, Scope, plan
from cairn.kernel.store import Record, Store, Tx
from cairn.testing.clock import VirtualClock

NAMES = ["", "a", "A", "ab", "aB", "b%", "a_b", "|", "\\", "é"]
ACCOUNTS = ["ann", "bob", "cat"]
Value = str | int | float | bool | None
Thing = tuple[str, Record]


class World(Struct):
    """All rows, in the order they are inserted."""

    zones: list[Zone]
    hosts: list[Host]
    kvm: list[KvmHost]
    storages: list[Storage]
    links: list[StorageHost]
    networks: list[L3]
    vms: list[VmInstance]
    nics: list[VmNic]
    volumes: list[Volume]
    tags: list[SystemTag]
    shares: list[Share]

    def rows(self, entity: str) -> list[Record]:
        """All rows of an entity."""
        kvm = [host for host in self.hosts if host.hypervisor_type == "KVM"]
        lists: dict[str, list[Record]] = {
            "Zone": list(self.zones),
            "Host": list(self.hosts),
            "KVMHost": list(kvm),
            "Storage": list(self.storages),
            "L3Network": list(self.networks),
            "VmInstance": list(self.vms),
            "VmNic": list(self.nics),
            "Volume": list(self.volumes),
        }
        return lists[entity]


def key(row: Record) -> str:
    return cast("str", row.uuid)  # type: ignore[attr-defined]


def by_key(rows: list[Record], uuid: object) -> list[Record]:
    return [row for row in rows if key(row) == uuid]


Way = Callable[[World, Record], list[Record]]


def to(entity: str, field: str) -> tuple[str, Way]:
    return entity, lambda world, row: by_key(world.rows(entity), getattr(row, field))


def back(entity: str, field: str) -> tuple[str, Way]:
    return entity, lambda world, row: [one for one in world.rows(entity) if getattr(one, field) == key(row)]


def hosts_of(world: World, row: Record) -> list[Record]:
    linked = {link.host_uuid for link in world.links if link.storage_uuid == key(row)}
    return [host for host in world.hosts if host.uuid in linked]


def gateway(world: World, row: Record) -> list[Record]:
    return [h for extra in world.kvm if extra.uuid == key(row) for h in world.hosts if h.uuid == extra.gateway_uuid]


WAYS: dict[str, dict[str, tuple[str, Way]]] = {
    "Zone": {"hosts": back("Host", "zone_uuid")},
    "Host": {"zone": to("Zone", "zone_uuid"), "vmInstances": back("VmInstance", "host_uuid")},
    "KVMHost": {
        "zone": to("Zone", "zone_uuid"),
        "vms": back("VmInstance", "host_uuid"),
        "gateway": ("Host", gateway),
    },
    "Storage": {"host": ("Host", hosts_of)},
    "L3Network": {"vmNics": back("VmNic", "l3_network_uuid")},
    "VmInstance": {
        "host": to("Host", "host_uuid"),
        "vmNics": back("VmNic", "vm_uuid"),
        "volumes": back("Volume", "vm_uuid"),
        "rootVolume": to("Volume", "root_volume_uuid"),
    },
    "VmNic": {"vm": to("VmInstance", "vm_uuid"), "l3Network": to("L3Network", "l3_network_uuid")},
    "Volume": {"vm": to("VmInstance", "vm_uuid"), "rootOf": back("VmInstance", "root_volume_uuid")},
}

#: wire name -> (Python name, kind)
FIELDS: dict[str, dict[str, tuple[str, str]]] = {
    "Zone": {"uuid": ("uuid", "id"), "name": ("name", "text"), "open": ("open", "bool"), "load": ("load", "float")},
    "Host": {
        "uuid": ("uuid", "id"),
        "name": ("name", "text"),
        "memory": ("memory", "int"),
        "zoneUuid": ("zone_uuid", "id"),
    },
    "KVMHost": {"uuid": ("uuid", "id"), "name": ("name", "text"), "username": ("username", "text")},
    "Storage": {"uuid": ("uuid", "id"), "theURL": ("url", "id"), "attachedHostUuids": ("", "set")},
    "L3Network": {"uuid": ("uuid", "id"), "name": ("name", "text")},
    "VmInstance": {
        "uuid": ("uuid", "id"),
        "name": ("name", "text"),
        "cpuNum": ("cpu_num", "int"),
        "hostUuid": ("host_uuid", "id"),
        "state": ("state", "enum"),
        "__systemTag__": ("", "set"),
    },
    "VmNic": {"uuid": ("uuid", "id"), "ip": ("ip", "text"), "vmUuid": ("vm_uuid", "id")},
    "Volume": {"uuid": ("uuid", "id"), "name": ("name", "text"), "size": ("size", "int"), "vmUuid": ("vm_uuid", "id")},
}
KEYS = ["z0", "z1", "h0", "h1", "v0", "v1", "V1", "n0", "l0", "l1", "d0", "s0", "none", ""]
ORDER = ["=", "!=", ">", ">=", "<", "<=", "?=", "!?=", "is null", "not null"]
OPERATORS = {
    "id": [*ORDER, "~=", "!~="],
    "text": [*ORDER, "~=", "!~="],
    "enum": [*ORDER, "~=", "!~="],
    "set": [*ORDER, "~=", "!~="],
    "int": ORDER,
    "float": ORDER,
    "bool": ["=", "!=", "?=", "!?=", "is null", "not null"],
}


class Question(Struct, frozen=True):
    """A condition and its parts."""

    path: tuple[str, ...]
    kind: str
    operator: str
    value: str

    @property
    def text(self) -> str:
        space = " " if "null" in self.operator else ""
        return f"{'.'.join(self.path)}{space}{self.operator}{self.value}"


@st.composite
def questions(draw: st.DrawFn, entity: str) -> Question:
    path: list[str] = []
    for _ in range(draw(st.integers(0, 6))):
        name = draw(st.sampled_from(sorted(WAYS[entity])))
        path.append(name)
        entity = WAYS[entity][name][0]
    field = draw(st.sampled_from(sorted(FIELDS[entity])))
    kind = FIELDS[entity][field][1]
    operator = draw(st.sampled_from(OPERATORS[kind]))
    if "null" in operator:
        return Question((*path, field), kind, operator, "")
    values = {
        "id": st.sampled_from(KEYS),
        "text": st.sampled_from([*NAMES, "%", "_", "a%", "%b", r"a\_b", r"\\", "10.0.0.1"]),
        "set": st.sampled_from(["h0", "h1", "a", "A", "b%", "none", "%"]),
        "int": st.sampled_from(["0", "1", "2", "-1", "3.0"]),
        "float": st.sampled_from(["0", "0.5", "1e3", "-inf"]),
        "bool": st.sampled_from(["true", "false", "True"]),
        "enum": st.sampled_from(["Enabled", "disabled"]),
    }[kind]
    value = ",".join(draw(st.lists(values, min_size=1, max_size=3))) if "?" in operator else draw(values)
    return Question((*path, field), kind, operator, value)


def lower(text: str) -> str:
    """As SQLite folds: ASCII letters only."""
    return "".join(c.lower() if c.isascii() else c for c in text)


def like(text: str, pattern: str) -> bool:
    made = ""
    characters = iter(lower(pattern))
    for character in characters:
        if character == "\\":
            made += re.escape(next(characters, "\\"))
        else:
            made += {"%": ".*", "_": "."}.get(character) or re.escape(character)
    return re.fullmatch(made, lower(text), re.DOTALL) is not None


def converted(text: str, kind: str) -> Value:
    match kind:
        case "int" | "float":
            return float(text)
        case "bool":
            return text.lower() == "true"
        case "enum":
            return text.capitalize()
        case "text":
            return lower(text)
        case _:
            return text


def holds(found: Value, kind: str, operator: str, value: str) -> bool:
    if operator == "is null":
        return found is None
    if operator == "not null":
        return found is not None
    if found is None:
        return False
    if operator in ("~=", "!~="):
        return like(str(found), value) is (operator == "~=")
    if "?" in operator:
        some = [converted(text, kind) for text in value.split(",")]
        return (converted(str(found), kind) in some) is (operator == "?=")
    one, other = converted(str(found), kind), converted(value, kind)
    assert type(one) is type(other)
    compare: dict[str, bool] = {
        "=": one == other,
        "!=": one != other,
        ">": one > other,  # type: ignore[operator]
        ">=": one >= other,  # type: ignore[operator]
        "<": one < other,  # type: ignore[operator]
        "<=": one <= other,  # type: ignore[operator]
    }
    return compare[operator]


def set_holds(values: list[tuple[str, str]], operator: str, value: str) -> bool:
    """`values`: with their kinds. Negative operators mean that none is so."""
    if operator == "not null":
        return bool(values)
    if operator == "is null":
        return not values
    positive = {"!=": "=", "!?=": "?=", "!~=": "~="}.get(operator)
    if positive is not None:
        return not any(holds(one, kind, positive, value) for one, kind in values)
    return any(holds(one, kind, operator, value) for one, kind in values)


def visible(world: World, entity: str, row: Record, owner: str | None) -> bool:
    if owner is None:
        return True
    if isinstance(row, VmNic):
        return any(visible(world, "VmInstance", vm, owner) for vm in world.vms if vm.uuid == row.vm_uuid)
    if isinstance(row, VmInstance | Volume):
        shared = any(s.resource_uuid == row.uuid and (s.account_uuid == owner or s.to_public) for s in world.shares)
        return row.account_uuid == owner or shared
    return True


def fits(world: World, entity: str, row: Record, question: Question, owner: str | None, depth: int = 0) -> bool:
    name = question.path[depth]
    if depth < len(question.path) - 1:
        there, way = WAYS[entity][name]
        return any(
            fits(world, there, one, question, owner, depth + 1)
            for one in way(world, row)
            if visible(world, there, one, owner)
        )
    if question.kind == "set":
        values = [(host.uuid, "id") for host in hosts_of(world, row)] if entity == "Storage" else []  # type: ignore[attr-defined]
        if entity == "VmInstance":
            values = [(tag.tag, "text") for tag in world.tags if tag.resource_uuid == key(row)]
        return set_holds(values, question.operator, question.value)
    if name == "username":
        extra = [one for one in world.kvm if one.uuid == key(row)]
        return any(holds(one.username, "text", question.operator, question.value) for one in extra)
    found = getattr(row, FIELDS[entity][name][0])
    return holds(found, question.kind, question.operator, question.value)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A few rows of everything."""
    name, account = st.sampled_from(NAMES), st.sampled_from(ACCOUNTS)
    few = st.integers(0, 3)

    def some(prefix: str, least: int = 0) -> list[str]:
        return [f"{prefix}{number}" for number in range(max(least, draw(few)))]

    def one_of(rows: list[str]) -> str | None:
        return draw(st.sampled_from([*rows, None]))

    zone_keys = some("z", 1)
    zones = [
        Zone(uuid=ZoneId(k), name=f"{draw(name)}{k}", open=draw(st.booleans()), load=draw(st.sampled_from([0.0, 0.5])))
        for k in zone_keys
    ]
    hosts = [
        Host(
            uuid=HostId(k),
            name=draw(name),
            hypervisor_type=draw(st.sampled_from(["KVM", "ESX"])),
            zone_uuid=ZoneId(draw(st.sampled_from(zone_keys))),
            memory=draw(few),
        )
        for k in some("h", 1)
    ]
    host_keys = [host.uuid for host in hosts]
    kvm = [
        KvmHost(uuid=host.uuid, username=draw(name), gateway_uuid=cast("HostId | None", one_of(list(host_keys))))
        for host in hosts
        if host.hypervisor_type == "KVM"
    ]
    storages = [Storage(uuid=k, url=draw(name)) for k in some("s")]
    links = [
        StorageHost(uuid=f"{s.uuid}{h}", storage_uuid=s.uuid, host_uuid=h)
        for s in storages
        for h in host_keys
        if draw(st.booleans())
    ]
    networks = [L3(uuid=k, name=draw(name)) for k in some("l", 1)]
    volume_keys = some("d")
    free = list(volume_keys)
    vms = []
    for k in reversed(some("v", 2)):
        root = one_of(free)
        free = [volume for volume in free if volume != root]
        vms.append(
            VmInstance(
                uuid=VmId(k),
                name=draw(name),
                account_uuid=draw(account),
                state=draw(st.sampled_from(ZoneState)),
                cpu_num=draw(few),
                host_uuid=cast("HostId | None", one_of(list(host_keys))),
                root_volume_uuid=root,
            )
        )
    vm_keys = [vm.uuid for vm in vms]
    nics = [
        VmNic(
            uuid=k,
            vm_uuid=draw(st.sampled_from(vm_keys)),
            l3_network_uuid=draw(st.sampled_from([one.uuid for one in networks])),
            ip=draw(st.sampled_from([None, "10.0.0.1", "10.0.0.2"])),
        )
        for k in some("n")
    ]
    volumes = [
        Volume(
            uuid=k,
            name=draw(name),
            account_uuid=draw(account),
            size=draw(few),
            vm_uuid=cast("VmId", one_of(list(vm_keys))),
        )
        for k in volume_keys
    ]
    tags = [SystemTag(uuid=k, resource_uuid=draw(st.sampled_from(vm_keys)), tag=draw(name)) for k in some("t")]
    shares = [
        Share(
            uuid=k,
            resource_uuid=draw(st.sampled_from([*vm_keys, *volume_keys])),
            account_uuid=draw(st.sampled_from([*ACCOUNTS, None])),
            to_public=draw(st.booleans()),
        )
        for k in some("w")
    ]
    return World(zones, hosts, kvm, storages, links, networks, vms, nics, volumes, tags, shares)


def insert(world: World) -> Callable[[Tx], None]:
    def work(tx: Tx) -> None:
        for rows in (world.zones, world.hosts, world.kvm, world.storages, world.links, world.networks):
            tx.insert_many(rows)
        for vm in world.vms:
            tx.insert(
                VmInstance(uuid=vm.uuid, name=vm.name, account_uuid=vm.account_uuid, state=vm.state, cpu_num=vm.cpu_num)
            )
        for more in (world.nics, world.volumes, world.tags, world.shares):
            tx.insert_many(more)
        for vm in world.vms:
            tx.update(VmInstance, vm.uuid, host_uuid=vm.host_uuid, root_volume_uuid=vm.root_volume_uuid)

    return work


def expected(world: World, entity: str, asked: list[Question], owner: str | None, sort: str | None) -> list[str]:
    rows = [
        row
        for row in world.rows(entity)
        if visible(world, entity, row, owner) and all(fits(world, entity, row, one, owner) for one in asked)
    ]
    if sort is not None:
        rows.sort(key=lambda row: lower(row.name))  # type: ignore[attr-defined]
    if sort == "-name":
        rows.reverse()
    return [key(row) for row in rows]


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), world=worlds())
async def test_random_conditions_find_what_a_plain_evaluator_finds(data: st.DataObject, world: World) -> None:
    store = await Store.memory(sample.schema(), VirtualClock(), inline=True)
    await store.write(insert(world))
    engine = QueryEngine(store.schema, store, tags=sample.TAGS, shares=SHARES)
    for _ in range(15):
        entity = data.draw(st.sampled_from(sorted(FIELDS)))
        asked = data.draw(st.lists(questions(entity), max_size=3))
        owner = data.draw(st.sampled_from([*ACCOUNTS, None, None]))
        sort = data.draw(st.sampled_from([None, "name", "-name"])) if "name" in FIELDS[entity] else None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plan, "RARE", data.draw(st.integers(0, 4)))
            if data.draw(st.booleans()):  # whole at once
                patch.setattr(Tx, "fetch_within", lambda *_: None)
            request = QueryRequest(
                entity=entity,
                conditions=[one.text for one in asked],
                limit=data.draw(st.sampled_from([1, 2, 100])),
                sort=sort,
                fields=["uuid"],
                reply_with_count=True,
            )
            found, total = await all_pages(engine, request, Scope(owner))
        assert found == expected(world, entity, asked, owner, sort), request
        assert total == len(found)
    await store.close()


async def all_pages(engine: QueryEngine, request: QueryRequest, scope: Scope) -> tuple[list[object], int | None]:
    """The uuids on all pages, one after the other, and how many there are."""
    found: list[object] = []
    while True:
        answer = await engine.run(request, scope)
        page = [one["uuid"] for one in answer.inventories or []]
        found += page
        if answer.next is None:
            return found, answer.total
        assert len(page) == request.limit
        request = replace(request, after=answer.next)
