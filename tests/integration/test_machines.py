"""Which machine a host is, which agent it has, and what becomes of it when one of them is not as it was."""

from __future__ import annotations

from typing import cast

import pytest
from tests.flows.world import broken_rules

from cairn.kernel.error import CairnError, ErrorKind
from cairn.plugins.simulator.driver import SimulatorHypervisor
from cairn.services.host.model import Host
from cairn.testing.cloud import Cloud, Json, Refused
from cairn.testing.mortal import ORIGIN

INTERVAL = 60


async def host(cloud: Cloud, key: str = "host-1") -> Json:
    (row,) = await cloud.query("Host", f"uuid={cloud.site[key]}")
    return row


async def vm_state(cloud: Cloud, vm: Json) -> object:
    (row,) = await cloud.query("VmInstance", f"uuid={vm['uuid']}")
    return row["state"]


def commands(cloud: Cloud, name: str = "sim-0001") -> int:
    return sum(url.endswith(f"/{name}/v1/commands") for _, url in cloud.transport.requests)


class NoLogin:
    """Nobody can log in to hosts any more: their passwords were changed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tries = 0
        monkeypatch.setattr(SimulatorHypervisor, "deploy", self.deploy)

    async def deploy(self, uuid: str) -> None:
        self.tries += 1
        raise CairnError("ssh.login-failed", "Cannot log in as root: the password is wrong.", kind=ErrorKind.INVALID)


# Connect first.


async def test_a_changed_password_costs_no_host_whose_agent_was_only_restarted(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm, login = await cloud.create_vm("web"), NoLogin(monkeypatch)
    for name in ("sim-0001", "sim-0002"):
        cloud.agents.restart_agent(name)
    await cloud.quiet(30 * INTERVAL)
    await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])

    row = await host(cloud)
    assert (row["status"], row["agentWarning"], login.tries) == ("Connected", None, 0)
    assert await vm_state(cloud, vm) == "Running"


async def test_somebody_who_wants_the_agent_put_there_again_hears_why_it_cannot_be(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    NoLogin(monkeypatch)

    with pytest.raises(Refused, match="the password is wrong"):
        await cloud.call("ReconnectHost", uuid=cloud.site["host-1"], redeploy=True)


async def test_an_agent_of_an_earlier_version_is_told_of_replaced_and_used_meanwhile(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm, login = await cloud.create_vm("web"), NoLogin(monkeypatch)
    version, cloud.agents.version = cloud.agents.version, "0.0.1"
    await cloud.quiet(10 * INTERVAL)

    row = await host(cloud)
    warning = str(row["agentWarning"])
    assert (row["status"], row["agentVersion"], row["agentProtocol"]) == ("Connected", "0.0.1", 1)
    assert "the password is wrong" in warning
    assert f"is of version 0.0.1, and this node of {version}" in warning
    assert await vm_state(cloud, vm) == "Running"
    assert (await cloud.create_vm("another"))["state"] == "Running"
    told = await cloud.query("Event", "name=machine.agent-warned")
    assert {str(event["resourceUuid"]) for event in told} == {cloud.site[key] for key in ("host-1", "host-2", "backup")}
    assert (len(told), login.tries) == (3, 2), "once for each"

    cloud.agents.version = version
    await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
    assert (await host(cloud))["agentWarning"] is None


async def test_an_agent_that_cannot_be_given_commands_is_refused_in_words_until_it_is_replaced(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = await cloud.create_vm("web", host_uuid=cloud.site["host-1"])
    with monkeypatch.context() as broken:
        NoLogin(broken)
        cloud.agents.protocol = 7
        with pytest.raises(Refused) as refused:
            await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
        await cloud.quiet(2 * INTERVAL)
        row, sent = await host(cloud), commands(cloud)
        with pytest.raises(Refused) as gated:
            await cloud.call("RebootVmInstance", uuid=vm["uuid"])
        assert commands(cloud) == sent, "no command is sent that would be refused"

    assert "the password is wrong" in refused.value.detail
    assert row["status"] == "Disconnected"
    assert gated.value.code in ("host.disconnected", "vm.wrong-state")
    cloud.agents.protocol = 1
    await cloud.quiet(30 * INTERVAL)
    assert (await host(cloud))["status"] == "Connected"
    assert await vm_state(cloud, vm) == "Running"
    assert broken_rules(cloud) == []


async def test_a_clock_that_is_off_is_warned_of(cloud: Cloud) -> None:
    cloud.agents.clock_ahead_seconds = -300.0
    await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])

    row = await host(cloud)
    assert row["status"] == "Connected"
    assert "300 s behind this node's" in str(row["agentWarning"])
    cloud.agents.clock_ahead_seconds = 0.0
    await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
    assert (await host(cloud))["agentWarning"] is None


# One machine, one host.


async def test_a_machine_under_another_address_is_refused_before_anything_is_changed_on_it(cloud: Cloud) -> None:
    vm = await cloud.create_vm("web", host_uuid=cloud.site["host-1"])
    sent = commands(cloud)
    with pytest.raises(Refused) as refused:
        await cloud.call(
            "AddSimulatorHost",
            name="again",
            management_ip="again.example",
            cluster_uuid=cloud.site["cluster"],
            url=f"{ORIGIN}/hosts/sim-0001",
        )
    touched = commands(cloud) - sent
    await cloud.quiet(10 * INTERVAL)

    assert refused.value.code == "host.machine-taken"
    assert "is the host sim-0001" in refused.value.detail
    assert touched == 0
    assert len(await cloud.query("Host")) == 2
    assert (await host(cloud))["status"] == "Connected"
    assert await vm_state(cloud, vm) == "Running"
    assert broken_rules(cloud) == []


async def test_a_machine_that_was_installed_again_says_so_and_is_taken_when_somebody_says_so(cloud: Cloud) -> None:
    other = "f" * 32 + "." + "e" * 32
    store = cloud.node.context.store
    known = str((await host(cloud))["machineIdentity"])
    await store.write(lambda tx: tx.update(Host, cloud.site["host-1"], machine_identity=other))
    sent = commands(cloud)
    with pytest.raises(Refused) as refused:
        await cloud.call("ReconnectHost", uuid=cloud.site["host-1"])
    touched = commands(cloud) - sent
    lost = (await host(cloud))["status"]
    await cloud.call("ReconnectHost", uuid=cloud.site["host-1"], accept_machine=True)

    assert refused.value.code == "host.machine-changed"
    assert "is another one" in refused.value.detail
    assert (touched, lost) == (0, "Disconnected")
    row = await host(cloud)
    assert (row["status"], row["machineIdentity"]) == ("Connected", known)


@pytest.mark.parametrize(
    "address",
    [
        *("198.18.13", "010.0.0.1", "0x0a000001", "10.0.0.256", "10.0.0.1.", "0xa.1"),
        *("10.0.0 .1", "a b", "\n", "10.0.0.1\n\n!", "evil/../x?", "user:pw@10.0.0.2/"),
    ],
)
async def test_an_address_that_can_be_read_in_two_ways_or_is_none_is_refused(cloud: Cloud, address: str) -> None:
    fields: dict[str, object] = {"cluster_uuid": cloud.site["cluster"], "url": f"{ORIGIN}/hosts/sim-0001"}
    answers = [
        await cloud.send("AddSimulatorHost", name="x", management_ip=address, **fields),
        await cloud.send("UpdateHost", uuid=cloud.site["host-1"], management_ip=address),
    ]

    for status, answer in answers:
        assert status == 400, answer
        assert "managementIp" in cast("Json", answer["fields"])


# A first contact over SSH.


async def kvm_cluster(cloud: Cloud) -> str:
    made = await cloud.call("CreateCluster", name="kvm", zone_uuid=cloud.site["zone"], hypervisor_type="KVM")
    return str(made["uuid"])


async def test_the_host_key_that_was_pinned_is_shown_and_told(cloud: Cloud) -> None:
    fields: dict[str, object] = {"cluster_uuid": await kvm_cluster(cloud), "password": "secret"}
    await cloud.call("DeleteHost", uuid=cloud.site.pop("host-2"))
    added = await cloud.call("AddKVMHost", name="k", management_ip="10.0.0.2", **fields)
    (shown,) = await cloud.query("KVMHost", f"uuid={added['uuid']}")
    (told,) = await cloud.query("Event", "name=machine.host-key-pinned")

    content = cast("Json", told["content"])
    assert shown["hostKeyFingerprint"] == content["fingerprint"] == "SHA256:sim-0002"
    assert (content["machine"], content["given"]) == (added["uuid"], False)


@pytest.mark.parametrize("fingerprint", ["SHA256:short", "MD5:" + "aa:" * 15 + "aa", "secret"])
async def test_a_fingerprint_that_is_none_is_refused(cloud: Cloud, fingerprint: str) -> None:
    fields: dict[str, object] = {"cluster_uuid": await kvm_cluster(cloud), "password": "secret"}
    status, answer = await cloud.send(
        "AddKVMHost", name="k", management_ip="10.0.0.9", host_key_fingerprint=fingerprint, **fields
    )

    assert (status, list(cast("Json", answer["fields"]))) == (400, ["hostKeyFingerprint"])


async def test_what_is_given_instead_of_a_private_key_is_named_and_never_shown(cloud: Cloud) -> None:
    public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0k ann@example"
    fields: dict[str, object] = {"cluster_uuid": await kvm_cluster(cloud), "private_key": public}
    status, answer = await cloud.send("AddKVMHost", name="k", management_ip="10.0.0.9", **fields)

    assert (status, answer["code"]) == (400, "ssh.bad-key")
    assert "found a public key" in str(answer["detail"])
    assert "AAAAC3" not in str(answer)
