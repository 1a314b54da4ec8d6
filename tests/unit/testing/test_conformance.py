"""The conformance suite, run against the simulated agents: without sockets, and over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import DownloadImage
from cairn.kernel.agent.client import AgentClient, AgentEndpoint
from cairn.kernel.agent.http import AgentTransport, HttptoolsTransport
from cairn.kernel.clock import Clock, SystemClock
from cairn.kernel.ids import RandomIds
from cairn.simulator.agents import SimulatedAgents
from cairn.simulator.dials import Dial
from cairn.simulator.world import new_world
from cairn.testing.clock import VirtualClock
from cairn.testing.conformance import CHECKS, Check, Download, Image, Site, checks
from cairn.testing.simulator import SimulatorProcess, running_simulator
from cairn.testing.transport import MemoryTransport

IMAGES = "http://images.example/"


async def make_site(transport: AgentTransport, clock: Clock, base_url: str) -> Site:
    client = AgentClient(transport, clock, RandomIds(7), None)
    backup = AgentEndpoint(f"{base_url}/hosts/backup")
    fetch = DownloadImage(url=f"{IMAGES}debian.qcow2", path="/backup/served.qcow2", format="qcow2")
    served = await client.call(backup, fetch, timeout_seconds=10)
    return Site(
        client=client,
        transport=transport,
        endpoint=AgentEndpoint(f"{base_url}/hosts/sim-0001"),
        storage="/var/lib/cairn-storage",
        image=Image(
            url=f"{backup.base_url}/files/served.qcow2",
            format="qcow2",
            sha256=served.sha256,
            virtual_size_bytes=served.virtual_size_bytes,
        ),
        backup=backup,
        backup_folder="/backup",
        good=Download(url=f"{IMAGES}good.qcow2"),
        bad={
            codes.NOT_AN_IMAGE: Download(url=f"{IMAGES}not-an-image.qcow2"),
            codes.BACKING_FILE: Download(url=f"{IMAGES}backing.qcow2"),
            codes.WRONG_FORMAT: Download(url=f"{IMAGES}disk.raw"),
            codes.IMAGE_TOO_LARGE: Download(url=f"{IMAGES}big.qcow2", max_bytes=1000),
            codes.PATH_REFUSED: Download(url="file:///etc/shadow"),
        },
        timeout_seconds=10,
    )


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
async def test_simulated_agent_conforms(check: Check) -> None:
    clock = VirtualClock()
    agents = SimulatedAgents(new_world(1), clock)
    await check(await make_site(MemoryTransport(agents.handle, clock), clock, "http://sim"))


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
async def test_simulated_agent_conforms_when_everything_takes_its_time(check: Check) -> None:
    clock = VirtualClock()
    agents = SimulatedAgents(new_world(1), clock)
    site = await make_site(MemoryTransport(agents.handle, clock), clock, "http://sim")
    agents.dials.turn(Dial(delay_seconds=0.5, delay_max_seconds=9.0))
    await clock.run(check(msgspec.structs.replace(site, timeout_seconds=60)))


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with running_simulator(hosts=1) as process:
        yield process


@pytest.fixture
async def http_site(simulator: SimulatorProcess) -> AsyncIterator[Site]:
    clock = SystemClock()
    transport = HttptoolsTransport(clock)
    await transport.request("POST", f"{simulator.base_url}/reset", None, 10)
    yield await make_site(transport, clock, simulator.base_url)
    await transport.aclose()


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
async def test_simulated_agent_conforms_over_http(check: Check, http_site: Site) -> None:
    await check(http_site)


def test_every_group_has_checks() -> None:
    assert set(CHECKS) == {"protocol", "host", "network", "storage", "vm", "vm-network", "backup"}
    assert all(CHECKS.values())
