"""What hosts say of VMs, against what is written down."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from tests.flows.statements import noted

from cairn.agents.protocol.vm import PowerState
from cairn.agents.protocol.wire import Report
from cairn.kernel.event import EventRow
from cairn.kernel.flow.journal import FlowRun
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.store.store import Tx
from cairn.services.host.extensions import HostPinged
from cairn.services.host.model import Host, HostClaim
from cairn.services.ids import HostId, VmId
from cairn.services.vm.machine import TRANSITIONAL
from cairn.services.vm.messages import ObserveVm
from cairn.services.vm.model import VmInstance, VmState
from cairn.services.vm.reconciler import VmReconciler
from cairn.services.vm.states import queue_of
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud

LATER = timedelta(seconds=1)
SIM = "sim-0001"


def reconciler(cloud: Cloud) -> VmReconciler:
    found = cloud.node.context.extensions.named(HostPinged, "vm")
    assert isinstance(found, VmReconciler)
    return found


def row_of(cloud: Cloud) -> VmInstance:
    vm = cloud.read_now(lambda tx: tx.get(VmInstance, cloud.site["vm"]))
    assert vm is not None
    return vm


async def pinged(
    cloud: Cloud, web: str | None, *, asked_at: datetime | None = None, others: Mapping[str, str] = {}
) -> None:
    """The host answers with ``web``, the cloud's first VM, in that state (None: it does not have it), and with others."""
    vms = dict(others) if web is None else {cloud.site["vm"]: web, **others}
    await reconciler(cloud).host_pinged(HostId(cloud.site["host-1"]), vms, asked_at or cloud.clock.now() + LATER)


async def observe(cloud: Cloud, power: PowerState, host: str | None = None, reason: str | None = None) -> None:
    message = ObserveVm(vm=cloud.site["vm"], host=host or cloud.site["host-1"], power=power.value, reason=reason)
    await cloud.clock.run(cloud.node.context.bus.call(message))


def told(cloud: Cloud, name: str = "vm.state-changed") -> list[EventRow]:
    return cloud.read_now(lambda tx: tx.find(EventRow, name=name, order_by="sequence"))


def claims(cloud: Cloud) -> list[str]:
    return cloud.read_now(lambda tx: [claim.host_uuid for claim in tx.find(HostClaim)])


async def put(cloud: Cloud, **values: object) -> None:
    await cloud.node.context.store.write(lambda tx: tx.update(VmInstance, cloud.site["vm"], **values))


async def test_a_ping_that_agrees_changes_nothing(cloud: Cloud) -> None:
    before, events = row_of(cloud), len(told(cloud))
    for _ in range(2):
        await pinged(cloud, "Running")
    assert (row_of(cloud), len(told(cloud))) == (before, events)


@pytest.mark.parametrize("few", [0, 20])
async def test_a_ping_that_agrees_reads_no_whole_row_of_a_vm(
    cloud: Cloud, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cairn.services.vm.reconciler._FEW", few)
    with noted() as statements:
        await pinged(cloud, "Running")
    assert [one.replace("\n", "") for one in statements if "FROM vm_instance" in one] == [
        "SELECT vm_instance.uuid, vm_instance.state FROM vm_instance WHERE vm_instance.host_uuid = ?"
    ]


@pytest.mark.parametrize("power", ["Stopped", "Crashed", None])
async def test_a_vm_that_is_off_leaves_its_host_once(cloud: Cloud, power: str | None) -> None:
    events = len(told(cloud))
    for _ in range(2):
        await pinged(cloud, power)

    vm = row_of(cloud)
    assert (vm.state, vm.host_uuid, vm.last_host_uuid) == (VmState.STOPPED, None, cloud.site["host-1"])
    assert vm.state_reason == "seen when the host was asked"
    assert claims(cloud) == []
    assert [event.content["state"] for event in told(cloud)[events:]] == ["Stopped"]


async def test_a_vm_that_stands_still_or_goes_on_by_itself_keeps_its_place(cloud: Cloud) -> None:
    states = []
    for power in ("Paused", "Running"):
        await pinged(cloud, power)
        states.append(row_of(cloud).state)
        await cloud.quiet(2)

    assert states == [VmState.PAUSED, VmState.RUNNING]
    assert claims(cloud) == [row_of(cloud).host_uuid]


@pytest.mark.parametrize("state", sorted(TRANSITIONAL))
async def test_a_vm_that_a_workflow_works_on_is_left_alone(cloud: Cloud, state: VmState) -> None:
    await put(cloud, state=state)
    for power in PowerState:
        await pinged(cloud, power.value)
        await observe(cloud, power)
    assert row_of(cloud).state is state


async def test_what_was_asked_before_the_vm_changed_last_is_old_news(cloud: Cloud) -> None:
    await pinged(cloud, "Stopped", asked_at=row_of(cloud).last_op_date)
    assert row_of(cloud).state is VmState.RUNNING


async def test_an_undo_that_is_still_to_be_done_has_the_last_word(cloud: Cloud) -> None:
    now = cloud.clock.now()
    run = FlowRun(
        uuid="7" * 32,
        workflow="vm.stop",
        queue_key=queue_of(VmId(cloud.site["vm"])),
        steps=["vm.begin"],
        data=b"{}",
        create_date=now,
        last_op_date=now,
    )
    store = cloud.node.context.store
    await store.write(lambda tx: tx.insert(run))
    await pinged(cloud, "Stopped")
    waiting = row_of(cloud).state
    await store.write(lambda tx: tx.delete(FlowRun, run.uuid))
    await pinged(cloud, "Stopped")

    assert (waiting, row_of(cloud).state) == (VmState.RUNNING, VmState.STOPPED)


async def test_a_vm_that_is_written_down_as_stopped_and_runs_holds_its_place_again(cloud: Cloud) -> None:
    host = cloud.site["host-1"]
    await cloud.call("StopVmInstance", uuid=cloud.site["vm"])
    released = claims(cloud)
    await pinged(cloud, "Running")

    vm = row_of(cloud)
    assert released == []
    assert (vm.state, vm.host_uuid, vm.state_reason) == (VmState.RUNNING, host, "it was found running there")
    assert claims(cloud) == [host]


@pytest.mark.parametrize("power", ["Stopped", "Crashed", "Paused"])
async def test_what_a_host_says_of_a_vm_that_is_elsewhere_counts_only_if_it_runs_there(
    cloud: Cloud, power: str
) -> None:
    await put(cloud, state=VmState.STOPPED, host_uuid=None)
    await pinged(cloud, power)
    assert (row_of(cloud).state, row_of(cloud).host_uuid) == (VmState.STOPPED, None)


async def test_a_vm_that_nobody_knows_is_told_of_once_and_one_that_is_off_not_at_all(cloud: Cloud) -> None:
    strange, off = "e" * 32, "d" * 32
    for _ in range(2):
        await pinged(cloud, "Running", others={strange: "Running", off: "Stopped"})

    found = told(cloud, "vm.strange-seen")
    assert [(event.content["vm"], event.resource_uuid) for event in found] == [(strange, cloud.site["host-1"])]


async def test_a_destroyed_vm_that_runs_is_a_strange_one_and_stays_destroyed(cloud: Cloud) -> None:
    await cloud.call("DestroyVmInstance", uuid=cloud.site["vm"])
    await pinged(cloud, "Running")

    assert row_of(cloud).state is VmState.DESTROYED
    assert [event.content["vm"] for event in told(cloud, "vm.strange-seen")] == [cloud.site["vm"]]


async def test_a_host_is_not_believed_about_a_vm_of_another_host_and_that_is_told_once(cloud: Cloud) -> None:
    before, other = row_of(cloud), "9" * 32
    events = len(told(cloud))
    for _ in range(3):
        vms = {cloud.site["vm"]: "Running"}
        await reconciler(cloud).host_pinged(HostId(other), vms, cloud.clock.now() + LATER)

    assert (row_of(cloud), claims(cloud), len(told(cloud))) == (before, [cloud.site["host-1"]], events)
    (seen,) = told(cloud, "vm.strange-seen")
    assert (seen.content["host"], seen.content["placedOn"]) == (other, cloud.site["host-1"])


async def test_a_vm_that_rests_is_believed_to_run_only_where_it_ran_last(cloud: Cloud) -> None:
    await cloud.call("StopVmInstance", uuid=cloud.site["vm"])
    await cloud.quiet(1)
    vms = {cloud.site["vm"]: "Running"}
    await reconciler(cloud).host_pinged(HostId("9" * 32), vms, cloud.clock.now() + LATER)

    assert (row_of(cloud).state, claims(cloud)) == (VmState.STOPPED, [])
    assert [event.content["placedOn"] for event in told(cloud, "vm.strange-seen")] == [cloud.site["host-1"]]


async def test_a_host_that_names_vms_without_end_is_told_of_within_bounds(cloud: Cloud) -> None:
    many = {f"{number:032x}": "Running" for number in range(300)}
    await pinged(cloud, "Running", others=many)
    first = len(told(cloud, "vm.strange-seen"))
    await pinged(cloud, "Running")
    await pinged(cloud, "Running", others=dict(list(many.items())[:1]))

    assert first == 100
    assert len(told(cloud, "vm.strange-seen")) == 101, "those that are gone and come again are told of again"


async def test_nothing_is_concluded_from_a_power_state_that_nobody_knows(cloud: Cloud) -> None:
    before = row_of(cloud)
    await pinged(cloud, "Hibernating", others={"e" * 32: "Hibernating"})
    web = cloud.site["vm"]
    await reconciler(cloud).reported(Report(kind="vm.state", host=cloud.site["host-1"], vm=web, state="Hibernating"))
    message = ObserveVm(vm=web, host=cloud.site["host-1"], power="Hibernating", reason=None)
    await cloud.clock.run(cloud.node.context.bus.call(message))

    assert row_of(cloud) == before
    assert told(cloud, "vm.strange-seen") == []


async def test_a_report_that_is_no_news_asks_no_host(cloud: Cloud) -> None:
    sent = len(cloud.transport.requests)
    await observe(cloud, PowerState.RUNNING)
    await observe(cloud, PowerState.STOPPED, host="f" * 32)
    assert len(cloud.transport.requests) == sent


async def test_a_report_is_believed_when_the_host_says_so_too_and_its_reason_is_kept(cloud: Cloud) -> None:
    await cloud.quiet(1)
    await observe(cloud, PowerState.STOPPED, reason="crashed")
    doubted = row_of(cloud).state
    assert cloud.agents.kill_vm(SIM, cloud.site["vm"])
    await observe(cloud, PowerState.CRASHED, reason="crashed")

    assert doubted is VmState.RUNNING
    assert (row_of(cloud).state, row_of(cloud).state_reason) == (VmState.STOPPED, "crashed")


async def test_a_report_of_nothing_in_particular_is_left_alone(cloud: Cloud) -> None:
    before = row_of(cloud)
    for vm, state in ((None, "Stopped"), (cloud.site["vm"], None)):
        await reconciler(cloud).reported(Report(kind="vm.state", host=cloud.site["host-1"], vm=vm, state=state))
    assert row_of(cloud) == before


async def test_vms_of_a_lost_host_are_unknown_and_known_again_when_it_is_back(cloud: Cloud) -> None:
    off = str((await cloud.create_vm("off", strategy="CreateStopped"))["uuid"])
    cloud.agents.dials.turn(Dial(host=SIM, dead=True))
    await cloud.quiet(120)

    def states(tx: Tx) -> list[VmState]:
        rows: dict[str, VmState] = {vm.uuid: vm.state for vm in tx.find(VmInstance)}
        return [rows[cloud.site["vm"]], rows[off]]

    lost, reason = cloud.read_now(states), row_of(cloud).state_reason
    cloud.agents.dials.clear()
    await cloud.quiet(900)

    assert (lost, reason) == ([VmState.UNKNOWN, VmState.STOPPED], "its host was lost")
    assert cloud.read_now(states) == [VmState.RUNNING, VmState.STOPPED]
    assert claims(cloud) == [cloud.site["host-1"]]


async def told_of_host(cloud: Cloud, host: str, status: MachineStatus) -> None:
    """An event about a host's status reaches the reconciler, late."""
    event = EventRow(
        name="host.status-changed",
        resource_uuid=host,
        content={"status": status.value},
        create_date=cloud.clock.now(),
    )
    await cloud.clock.run(reconciler(cloud).host_changed(event))


@pytest.mark.parametrize("told_status", list(MachineStatus))
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (MachineStatus.CONNECTED, VmState.RUNNING),
        (MachineStatus.CONNECTING, VmState.RUNNING),
        (MachineStatus.DISCONNECTED, VmState.UNKNOWN),
    ],
)
async def test_an_event_of_a_host_is_only_a_reason_to_look_at_the_host(
    cloud: Cloud, told_status: MachineStatus, status: MachineStatus, expected: VmState
) -> None:
    host = cloud.site["host-1"]
    await cloud.node.context.store.write(lambda tx: tx.update(Host, host, status=status))
    await told_of_host(cloud, host, told_status)
    assert row_of(cloud).state is expected


@pytest.mark.parametrize("status", list(MachineStatus))
async def test_a_host_that_is_gone_is_nothing_to_do(cloud: Cloud, status: MachineStatus) -> None:
    before = row_of(cloud)
    await told_of_host(cloud, "f" * 32, status)
    assert row_of(cloud) == before
