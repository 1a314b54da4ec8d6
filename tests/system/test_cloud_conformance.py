"""The real agents do what every agent must do: the suite that the simulator passes, on a host of the lab."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.system import site as cloud_site
from tests.system.api import eventually
from tests.system.conftest import PING_SECONDS
from tests.system.site import BACKUP, Cloud

from cairn.agents.protocol import codes
from cairn.agents.protocol.peer import peer_context
from cairn.kernel.agent.client import AgentClient, AgentEndpoint
from cairn.kernel.agent.http import HttptoolsTransport
from cairn.kernel.clock import SystemClock
from cairn.kernel.ids import RandomIds
from cairn.testing.conformance import CHECKS, Check, Download, Image, Site, checks

pytestmark = pytest.mark.lab

STORAGE = "/var/lib/cairn-conformance"
KVM_PORT, BACKUP_PORT = 7070, 7171


@pytest.fixture(scope="module")
def lent_host(site: cloud_site.Site, cloud: Cloud) -> Iterator[str]:
    """The address of host2, which is the cloud's no more until it is reconnected."""
    host = cloud.hosts["host2"]
    site.api.configure("host", "ping.interval", 3600)
    site.api.act(f"/hosts/{host}", "changeHostState", stateEvent="disable")
    yield site.on.address("host2")
    site.api.act(f"/hosts/{host}", "changeHostState", stateEvent="enable")
    site.api.act(f"/hosts/{host}", "reconnectHost")
    eventually(lambda: site.host_status(host) == "Connected", "the host is the cloud's again")
    site.api.configure("host", "ping.interval", PING_SECONDS)


@pytest.fixture
async def agent(site: cloud_site.Site, cloud: Cloud, lent_host: str, bad_images: None) -> AsyncIterator[Site]:
    clock = SystemClock()
    # As the node itself: its certificate is the one that agents take commands from.
    root, certificate, key = (str(site.node.data / "pki" / name) for name in ("ca.crt", "node.crt", "node.key"))
    transport = HttptoolsTransport(
        clock, tls=peer_context(ssl.PROTOCOL_TLS_CLIENT, root, certificate, key, lambda peer: None)
    )
    backup = AgentEndpoint(f"https://{site.on.address('host1')}:{BACKUP_PORT}", machine=cloud.backup_storage)
    yield Site(
        client=AgentClient(transport, clock, RandomIds(), None),
        transport=transport,
        endpoint=AgentEndpoint(f"https://{lent_host}:{KVM_PORT}", machine=cloud.hosts["host2"]),
        storage=STORAGE,
        image=_image(site, cloud, backup),
        backup=backup,
        backup_folder=BACKUP,
        good=Download(url=f"{site.images_url}/guest.qcow2"),
        bad={
            codes.NOT_AN_IMAGE: Download(url=f"{site.images_url}/page.qcow2"),
            codes.BACKING_FILE: Download(url=f"{site.images_url}/backing.qcow2"),
            codes.WRONG_FORMAT: Download(url=f"{site.images_url}/guest.qcow2", format="raw"),
            codes.IMAGE_TOO_LARGE: Download(url=f"{site.images_url}/guest.qcow2", max_bytes=1000),
            codes.PATH_REFUSED: Download(url="file:///etc/shadow"),
        },
        timeout_seconds=60,
    )
    await transport.aclose()


def _image(site: cloud_site.Site, cloud: Cloud, backup: AgentEndpoint) -> Image:
    """The cloud's guest image, as its backup server hands it out."""
    path = site.api.one(f"/images/{cloud.image}")["backupStorageRefs"][0]["installPath"]
    local = site.images / "guest.qcow2"
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", local]))
    return Image(
        url=f"{backup.base_url}/v1/images/{path.removeprefix(BACKUP).lstrip('/')}",
        format="qcow2",
        sha256=hashlib.sha256(local.read_bytes()).hexdigest(),
        virtual_size_bytes=info["virtual-size"],
    )


@pytest.mark.parametrize("check", checks(*CHECKS), ids=lambda check: check.__name__)
async def test_real_agent_conforms(check: Check, agent: Site) -> None:
    await check(agent)
