"""Secrets never lie in the database as they are: neither while a call waits, nor in its journal, nor afterwards."""

from __future__ import annotations

import base64

import pytest

from cairn.kernel.flow.run import FlowProbe
from cairn.plugins.kvm.model import KvmHost
from cairn.testing.cloud import Cloud, Refused

PASSWORD = "s3cret-root-password"
USER_DATA = b"#!/bin/sh\necho hunter2 | passwd --stdin root\n"
TAG = f"userdata::{base64.b64encode(USER_DATA).decode()}"
SECRETS = (PASSWORD.encode(), USER_DATA, TAG.removeprefix("userdata::").encode())


class _Looking(FlowProbe):
    """Looks at the whole database after each entry of the journal."""

    def __init__(self) -> None:
        self.cloud: Cloud | None = None
        self.entries = 0
        self.seen: list[str] = []

    def journal(self, workflow: str, when: str) -> None:
        if self.cloud is None or when != "after":
            return
        self.entries += 1
        content = self.cloud.store.content()
        self.seen += [f"{workflow}: {what!r}" for what in SECRETS if what in content]


async def test_password_of_a_host_is_sealed_from_the_call_to_the_end_of_the_host() -> None:
    probe = _Looking()
    async with Cloud.open(hosts=2, probe=probe) as cloud:
        site = await cloud.make_site(hosts=1)
        probe.cloud = cloud
        cluster = await cloud.call("CreateCluster", name="kvm", zone_uuid=site["zone"], hypervisor_type="KVM")
        job = await cloud.send(
            "AddKVMHost", name="kvm1", management_ip="sim-0002", cluster_uuid=cluster["uuid"], password=PASSWORD
        )
        assert PASSWORD.encode() not in cloud.store.content(), "the job waits"
        await cloud.finish(str(job[1]["uuid"]))
        assert cloud.read_now(lambda tx: [row.password for row in tx.find(KvmHost)]) == [None], "forgotten"
        assert (probe.entries > 0, probe.seen) == (True, [])
        assert PASSWORD.encode() not in cloud.store.content()


async def test_user_data_is_not_in_the_row_of_a_vm() -> None:
    probe = _Looking()
    async with Cloud.open(hosts=1, probe=probe) as cloud:
        await cloud.make_site()
        probe.cloud = cloud
        await cloud.create_vm("web", system_tags=[TAG])
        assert (probe.entries > 0, probe.seen) == (True, [])


async def test_user_data_in_a_tag_is_sealed_and_shown_to_its_owner_and_found_by_its_kind() -> None:
    probe = _Looking()
    async with Cloud.open(hosts=1, probe=probe) as cloud:
        await cloud.make_site()
        probe.cloud = cloud
        vm = await cloud.create_vm("web", system_tags=["hostname::web", TAG])
        other = await cloud.create_vm("db")
        made = await cloud.call(
            "CreateSystemTag", resource_type="VmInstance", resource_uuid=other["uuid"], tag="userdata::QUJD"
        )
        changed = await cloud.call("UpdateSystemTag", uuid=made["uuid"], tag=TAG)
        assert changed["tag"] == TAG
        (tag,) = await cloud.query("SystemTag", f"resourceUuid={vm['uuid']}", "tag~=userdata::%")
        assert tag["tag"] == TAG
        assert {one["name"] for one in await cloud.query("VmInstance", "__systemTag__~=userdata::%")} == {"web", "db"}
        assert (probe.entries > 0, probe.seen) == (True, [])
        assert [what for what in SECRETS if what in cloud.store.content()] == [], "nor in tags, nor in jobs' answers"
        with pytest.raises(Refused) as caught:
            await cloud.query("VmInstance", f"__systemTag__={TAG}")
        assert caught.value.code == "query.sealed-value"
        assert TAG.removeprefix("userdata::") not in str(caught.value.problem)
