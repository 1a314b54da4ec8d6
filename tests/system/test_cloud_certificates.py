"""The root of the certificate authority is changed while real agents are connected."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.system.api import eventually
from tests.system.conftest import PING_SECONDS
from tests.system.site import Cloud, Site

pytestmark = pytest.mark.lab


@pytest.fixture
def quick_pings(site: Site) -> Iterator[None]:
    """Agents are told at pings; hosts have quick ones already."""
    site.api.configure("backupStorage", "ping.interval", PING_SECONDS)
    yield
    site.api.configure("backupStorage", "ping.interval", 60)


def test_the_root_is_changed_and_every_agent_goes_on(site: Site, cloud: Cloud, quick_pings: None) -> None:
    trusted = site.node.data / "pki" / "ca.crt"
    before = trusted.read_text()
    boots = {name: site.api.one(f"/hosts/{uuid}")["agentBoot"] for name, uuid in cloud.hosts.items()}
    site.api.act("/certificates", "rotateAuthority")
    seen = {site.api.send("GET", "/certificates")["phase"]}

    def settled() -> bool:
        found = site.api.send("GET", "/certificates")
        seen.add(found["phase"])
        return found["phase"] == "Settled" and not found["behind"]

    eventually(settled, "the root is changed", seconds=150)
    assert seen >= {"Announced", "Settled"}
    after = trusted.read_text()
    assert (after.count("BEGIN"), before in after) == (1, False)
    for name, uuid in cloud.hosts.items():
        assert site.host_status(uuid) == "Connected"
        assert site.api.one(f"/hosts/{uuid}")["agentBoot"] == boots[name], "nobody had to be deployed or restarted"
    site.expunge(site.create_vm(cloud, "after the change")["uuid"])
