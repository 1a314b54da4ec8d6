from __future__ import annotations

from tests.unit.lab.conftest import FakeMachine

from cairn.lab import network
from cairn.lab.layout import LabLayout


def _touched_on_the_machine(machine: FakeMachine) -> set[str]:
    """The links of the machine's own network that any command named."""
    plain = [words for words in machine.commands if words[0] == "ip" and words[1] in ("link", "address")]
    return {words[words.index("dev") + 1] if "dev" in words else words[3] for words in plain}


def test_building_and_removing_touches_one_link_of_the_machine(machine: FakeMachine, layout: LabLayout) -> None:
    network.ensure_switch(machine, layout)
    network.lay_cable(machine, layout.host(1))
    network.remove_all(machine, layout)
    assert _touched_on_the_machine(machine) == {layout.machine_link}
    assert list(machine.own_links) == ["eth0"]
    assert machine.namespaces() == []


def test_switch_is_completed_by_doing_it_again(machine: FakeMachine, layout: LabLayout) -> None:
    network.ensure_switch(machine, layout)
    network.ensure_switch(machine, layout)
    assert set(machine.by_namespace[layout.switch_namespace]) == {"lo", "switch", "machine"}


def test_cable_is_cut_and_plugged_in_again(machine: FakeMachine, layout: LabLayout) -> None:
    network.ensure_switch(machine, layout)
    host = layout.host(1)
    assert network.is_cut(machine, host)
    network.lay_cable(machine, host)
    assert not network.is_cut(machine, host)
    network.cut_cable(machine, host)
    assert network.is_cut(machine, host)
    network.plug_cable(machine, host)
    assert not network.is_cut(machine, host)


def test_laying_a_cable_starts_from_a_fresh_namespace(machine: FakeMachine, layout: LabLayout) -> None:
    network.ensure_switch(machine, layout)
    host = layout.host(1)
    network.lay_cable(machine, host)
    machine.run("ip", "-n", host.namespace, "link", "add", "br_left", "type", "bridge")
    network.lay_cable(machine, host)
    assert set(machine.by_namespace[host.namespace]) == {"lo", "eth0"}


def test_namespaces_of_others_stay(machine: FakeMachine, layout: LabLayout) -> None:
    machine.by_namespace |= {"test2-switch": {}, "router": {}, "test-switch": {}}
    network.remove_all(machine, layout)
    assert machine.namespaces() == ["router", "test2-switch"]


def test_machines_link_whose_other_end_is_gone_is_made_again(machine: FakeMachine, layout: LabLayout) -> None:
    network.ensure_switch(machine, layout)
    machine.by_namespace.pop(layout.switch_namespace)
    network.ensure_switch(machine, layout)
    assert "machine" in machine.by_namespace[layout.switch_namespace]
    assert layout.machine_link in machine.own_links


def test_running_host_whose_switch_was_taken_away_gets_a_new_card(machine: FakeMachine, layout: LabLayout) -> None:
    network.ensure_switch(machine, layout)
    host = layout.host(1)
    network.lay_cable(machine, host)
    machine.run("ip", "netns", "delete", layout.switch_namespace)
    del machine.by_namespace[host.namespace]["eth0"]
    network.ensure_switch(machine, layout)
    network.plug_cable(machine, host)
    assert not network.is_cut(machine, host)
