from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.agents.fakes import FakeRunner

from cairn.agents.errors import AgentError
from cairn.agents.facts import Facts, HostState, Identity
from cairn.agents.programs import Completed
from cairn.agents.protocol.host import Connect, GetFacts
from cairn.agents.state import Record

HOST = "a" * 32
ADDRESSES = (
    '[{"addr_info":[{"local":"127.0.0.1","scope":"host"}]},{"addr_info":[{"local":"198.18.0.1","scope":"global"}]}]'
)


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    for path, text in {
        "etc/os-release": 'NAME="Debian"\nID=debian\nVERSION_ID="12"\n',
        "proc/meminfo": "MemTotal:  2048 kB\nMemAvailable: 1024 kB\n",
        "proc/cpuinfo": "model name : Fast\nphysical id : 0\nmodel name : Fast\nphysical id : 1\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    runner = FakeRunner({"ip -j -4": Completed(0, ADDRESSES)})
    return Facts(HostState(Record(tmp_path / "host.json", Identity)), runner, root=tmp_path)


async def test_facts_are_read_from_the_machine(facts: Facts) -> None:
    found = await facts.facts(GetFacts())
    assert (found.os_distribution, found.os_version, found.cpu_model) == ("debian", "12", "Fast")
    assert (found.memory_bytes, found.available_memory_bytes, found.cpu_sockets) == (2 << 20, 1 << 20, 2)
    assert found.addresses == ["198.18.0.1"]


async def test_connect_is_remembered_over_a_restart(facts: Facts, tmp_path: Path) -> None:
    await facts.connect(Connect(host=HOST, report_url="https://node/r"))
    state = HostState(Record(tmp_path / "host.json", Identity))
    assert (state.host, state.report_url) == (HOST, "https://node/r")
    state.set(None)
    assert HostState(Record(tmp_path / "host.json", Identity)).host is None


async def test_a_machine_tells_which_hosts_it_was_until_it_is_told_to_forget(facts: Facts, tmp_path: Path) -> None:
    uuids = [letter * 32 for letter in "abbac"]
    former = [(await facts.connect(Connect(host=uuid))).former for uuid in uuids]
    a, b = "a" * 32, "b" * 32
    assert former == [[], [a], [a], [b], [a, b]]
    state = HostState(Record(tmp_path / "host.json", Identity))
    assert state.former == [a, b]
    state.set(None)
    assert state.former == []


async def test_connect_with_a_wrong_uuid_is_refused(facts: Facts) -> None:
    with pytest.raises(AgentError, match="host: found"):
        await facts.connect(Connect(host="../x"))
