from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.lab.conftest import FakeMachine

from cairn.kernel.error import CairnError
from cairn.lab import host, network
from cairn.lab.layout import HostLayout, LabLayout
from cairn.lab.machine import Process


@pytest.fixture
def target(machine: FakeMachine, layout: LabLayout) -> HostLayout:
    network.ensure_switch(machine, layout)
    first = layout.host(1)
    first.folder.mkdir(parents=True)
    return first


def test_process_one_is_the_marked_process_that_is_number_one(machine: FakeMachine, target: HostLayout) -> None:
    machine.running = [
        Process(10, ("unshare", target.mark), (10,), "pid:[1]", ""),
        Process(12, ("grep", target.mark), (12, 7), "pid:[2]", ""),
        Process(11, ("sh", "init", target.mark), (11, 1), "pid:[2]", ""),
        Process(13, ("sh", "init", target.lab.host(2).mark), (13, 1), "pid:[3]", ""),
    ]
    one = host.process_one(machine, target)
    assert one is not None
    assert one.pid == 11


def test_boot_starts_in_fresh_namespaces(machine: FakeMachine, target: HostLayout) -> None:
    host.boot(machine, target)
    (command,) = machine.started
    assert f"--net=/run/netns/{target.namespace}" in command
    assert {"--mount", "--uts", "--ipc", "--pid"} <= set(command)
    assert command[-4:] == [target.mark, "host1", str(target.folder), "/"]
    assert not network.is_cut(machine, target)


def test_power_off_ends_all_of_the_host_and_nothing_else(machine: FakeMachine, target: HostLayout) -> None:
    host.boot(machine, target)
    one = host.process_one(machine, target)
    assert one is not None
    inside = Process(50, ("libvirtd",), (50, 4), one.pid_namespace, "net:[inner]")
    nested = Process(51, ("init", target.lab.host(2).mark), (51, 1), "pid:[other]", "")
    bystander = Process(52, ("bash",), (52,), "pid:[1]", "net:[machine]")
    machine.running += [inside, nested, bystander]
    host.power_off(machine, target)
    assert machine.running == [nested, bystander]
    assert target.namespace not in machine.namespaces()
    host.power_off(machine, target)


def test_host_that_does_not_answer_shows_the_end_of_its_log(
    target: HostLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_vain(condition: Callable[[], bool], what: str, *, timeout_seconds: float) -> None:
        raise CairnError("lab.timeout", what)

    monkeypatch.setattr(host, "wait_until", in_vain)
    target.log.write_text("mount: no\n")
    with pytest.raises(CairnError) as caught:
        host.wait_for_ssh(target)
    assert caught.value.code == "lab.no-boot"
    assert "mount: no" in caught.value.message


def test_program_runs_in_the_hosts_namespaces(machine: FakeMachine, target: HostLayout) -> None:
    host.boot(machine, target)
    done = host.execute(machine, target, ["ip", "link"], input_text=None, timeout_seconds=5)
    assert done.returncode == 0
    command = machine.commands[-1]
    assert command[0] == "nsenter"
    assert command[-2:] == ["ip", "link"]


def test_nothing_runs_on_a_host_that_is_off(machine: FakeMachine, target: HostLayout) -> None:
    with pytest.raises(CairnError) as caught:
        host.execute(machine, target, ["true"], input_text=None, timeout_seconds=5)
    assert caught.value.code == "lab.host-off"
