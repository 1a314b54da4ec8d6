"""Every entity by every field and every join, on a cloud that has something of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio
from tests.integration.conftest import delete_everything, left_over, saved_site

from cairn.bootstrap import load_plugins
from cairn.kernel.assembly import make_schema
from cairn.kernel.query.catalog import Catalog, TagTables
from cairn.kernel.query.describe import EntityDescription, describe
from cairn.kernel.settings import load
from cairn.testing.cloud import Cloud, Json

ENTITIES: dict[str, EntityDescription] = describe(Catalog(make_schema(load_plugins(load({}))), TagTables()))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full() -> AsyncIterator[Cloud]:
    """A cloud with something of everything; only read."""
    async with Cloud.open(saved=await saved_site()) as cloud:
        await cloud.call("CreateInstanceOffering", name="small", cpu_num=1, memory_size=64 << 20)
        await cloud.call("CreateDiskOffering", name="disk", disk_size=1 << 30)
        for number in (1, 2):
            await cloud.create_vm(
                f"vm-{number}",
                host_uuid=cloud.site[f"host-{number}"],
                system_tags=[f"hostname::vm-{number}"],
                user_tags=["blue", f"number-{number}"],
            )
        yield cloud
        await delete_everything(cloud)
        assert left_over(cloud) == []


pytestmark = pytest.mark.asyncio(loop_scope="module")


def who(entity: str, row: Json) -> str:
    """What tells a row from others; links are shown without a key of their own."""
    return str(row.get(ENTITIES[entity].key) or sorted(row.items()))


async def rows(cloud: Cloud, entity: str, *conditions: str) -> list[Json]:
    return await cloud.query(entity, *conditions)


@pytest.mark.parametrize("entity", sorted(ENTITIES))
async def test_each_field_finds_the_rows_that_have_its_value(full: Cloud, entity: str) -> None:
    there = await rows(full, entity)
    for field in ENTITIES[entity].fields:
        if not field.shown or "=" not in field.operators or field.many:
            continue
        for row in there[:3]:
            value = row.get(field.name)
            if value is None or (isinstance(value, str) and not value):
                continue
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found = await rows(full, entity, f"{field.name}={text}")
            wanted = [who(entity, other) for other in there if other.get(field.name) == value]
            assert sorted(who(entity, other) for other in found) == sorted(wanted), field.name


@pytest.mark.parametrize("entity", sorted(ENTITIES))
async def test_each_operator_of_each_field_is_understood(full: Cloud, entity: str) -> None:
    samples = {"int": "1", "float": "1.5", "bool": "true", "time": "2026-01-01T00:00:00Z"}
    for field in ENTITIES[entity].fields:
        sample = field.choices[0] if field.choices else samples.get(field.kind, "x")
        for operator in field.operators:
            value = "" if "null" in operator else sample
            await rows(full, entity, f"{field.name}{operator}{value}")


@pytest.mark.parametrize("entity", sorted(ENTITIES))
async def test_each_join_leads_to_what_it_names(full: Cloud, entity: str) -> None:
    there = {who(entity, row) for row in await rows(full, entity)}
    for join in ENTITIES[entity].joins:
        key = ENTITIES[join.entity].key
        reached = set()
        for target in [row for row in await rows(full, join.entity) if key in row][:4]:
            found = await rows(full, entity, f"{join.name}.{key}={target[key]}")
            reached |= {who(entity, row) for row in found}
        assert reached <= there


@pytest.mark.parametrize("entity", sorted(ENTITIES))
async def test_joins_agree_with_the_references_that_inventories_show(full: Cloud, entity: str) -> None:
    fields = {field.name for field in ENTITIES[entity].fields if field.shown}
    there = await rows(full, entity)
    for join in ENTITIES[entity].joins:
        if join.many or f"{join.name}Uuid" not in fields:
            continue
        for row in there[:3]:
            value = row.get(f"{join.name}Uuid")
            if value is not None:
                found = await rows(full, entity, f"{join.name}.uuid={value}")
                assert row in found, join.name


@pytest.mark.parametrize("entity", sorted(ENTITIES))
async def test_each_sortable_field_sorts_both_ways(full: Cloud, entity: str) -> None:
    path = full.node.gateway.paths[entity]
    for field in ENTITIES[entity].fields:
        if not field.shown or field.many or field.kind in ("json", "bytes"):
            continue
        for sign in ("%2B", "-"):
            status, answer = await full.request("GET", f"/v1{path}?sort={sign}{field.name}&fields={field.name}")
            assert status == 200, (field.name, answer)


@pytest.mark.parametrize("entity", sorted(ENTITIES))
async def test_counting_agrees_with_listing(full: Cloud, entity: str) -> None:
    path = full.node.gateway.paths[entity]
    status, answer = await full.request("GET", f"/v1{path}?count=true")
    listed = await rows(full, entity)
    assert (status, answer["total"]) == (200, len(listed))
    status, page = await full.request("GET", f"/v1{path}?limit=1&replyWithCount=true")
    assert (status, page["total"], len(cast("list[Json]", page["inventories"]))) == (
        200,
        len(listed),
        min(1, len(listed)),
    )


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        (["name=vm-1"], {"vm-1"}),
        (["name!=vm-1"], {"vm-2"}),
        (["name~=vm-%"], {"vm-1", "vm-2"}),
        (["name?=vm-1,vm-2,vm-3"], {"vm-1", "vm-2"}),
        (["host.name=sim-0001"], {"vm-1"}),
        (["vmNics.l3Network.name=flat", "state=Running"], {"vm-1", "vm-2"}),
        (["vmNics.l3Network.l2Network.name=nothing"], set()),
        (["host.cluster.zone.name=zone", "__userTag__=number-2"], {"vm-2"}),
        (["__systemTag__=hostname::vm-1"], {"vm-1"}),
        (["allVolumes.primaryStorage.name=local", "host.name=sim-0002"], {"vm-2"}),
        (["image.name=tiny"], {"vm-1", "vm-2"}),
        (["memorySize>=134217728", "cpuNum<2"], {"vm-1", "vm-2"}),
        (["description is null"], {"vm-1", "vm-2"}),
        (["description not null"], set()),
    ],
    ids=lambda words: " ".join(sorted(words)) or "nothing",
)
async def test_conditions_over_several_hops(full: Cloud, conditions: list[str], names: set[str]) -> None:
    assert {row["name"] for row in await rows(full, "VmInstance", *conditions)} == names
