"""One lab, one node and one site for all tests of a real cloud; nothing of them stays."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.node import PASSWORD, NodeProcess
from tests.system.site import BACKUP, STORAGE, Cloud, Site, build_guest_image, serving

from cairn.kernel.deploy.wheels import build_wheels, wheel_set
from cairn.kernel.error import CairnError
from cairn.lab import Lab

_TREE = Path(__file__).parents[2]
PING_SECONDS = 2


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agents' wheels, as new as the sources."""
    newest = max(
        path.stat().st_mtime for path in (_TREE / "src").rglob("*") if path.suffix != ".pyc" and path.is_file()
    )
    try:
        folder = wheel_set().folder
    except CairnError:
        pass
    else:
        if min(path.stat().st_mtime for path in folder.glob("cairn*.whl")) >= newest:
            return folder
    return build_wheels(tmp_path_factory.mktemp("wheels") / "wheels", _TREE).folder


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Site]:
    """A node and a lab of two hosts that the node does not know yet."""
    folder = tmp_path_factory.mktemp("cloud")
    lab = Lab(folder, f"t{os.getpid() % 1000}")
    missing = [f"{item.feature}: {item.found}" for item in lab.probe() if not item.ok]
    if missing:
        pytest.skip(f"no lab on this machine: {missing}")
    images = folder / "images"
    images.mkdir()
    build_guest_image(images / "guest.qcow2")
    try:
        address = lab.up(2).machine_address
        node = NodeProcess(folder, address, wheels)
        try:
            with serving(images, address) as url:
                node.start()
                node.api.log_in(PASSWORD)
                node.api.configure("host", "ping.interval", PING_SECONDS)
                node.api.configure("host", "ping.timeout", PING_SECONDS)
                yield Site(node, lab, images, url)
        finally:
            node.end()
    finally:
        lab.down()
        assert not lab.leftovers()


@pytest.fixture(scope="session")
def cluster(site: Site) -> tuple[str, str]:
    """A zone and an empty cluster."""
    zone = site.api.create("/zones", name="lab")["uuid"]
    return zone, site.api.create("/clusters", name="lab", zoneUuid=zone, hypervisorType="KVM")["uuid"]


@pytest.fixture(scope="session")
def hosts(site: Site, cluster: tuple[str, str]) -> dict[str, str]:
    """Both hosts, added at the same time: one by password, the other by key."""
    _, uuid = cluster
    logins: dict[str, dict[str, str]] = {
        "host1": {"password": site.password},
        "host2": {"privateKey": site.private_key},
    }
    jobs = [
        site.api.submit("POST", "/hosts/kvm", {"params": site.host_params(uuid, name, **login)})
        for name, login in logins.items()
    ]
    added = [site.api.outcome(job, seconds=180) for job in jobs]
    return {host["name"]: host["uuid"] for host in added}


@pytest.fixture(scope="session")
def cloud(site: Site, cluster: tuple[str, str], hosts: dict[str, str]) -> Cloud:
    """Everything that a VM needs."""
    zone, uuid = cluster
    api = site.api
    backup = api.create(
        "/backup-storage/sftp", name="images", hostname=site.on.address("host1"), password=site.password, url=BACKUP
    )["uuid"]
    api.call("POST", f"/zones/{zone}/backup-storage/{backup}", {})
    storage = api.create("/primary-storage/local-storage", name="disks", zoneUuid=zone, url=STORAGE)["uuid"]
    api.call("POST", f"/clusters/{uuid}/primary-storage/{storage}", {})
    network = site.make_network(zone, uuid, "flat", "10.20.0.10", "10.20.0.60")
    made = Cloud(
        zone=zone,
        cluster=uuid,
        hosts=hosts,
        backup_storage=backup,
        primary_storage=storage,
        image="",
        network=network,
    )
    image = site.add_image(made, "guest.qcow2")["uuid"]
    return Cloud(**{**{name: getattr(made, name) for name in made.__struct_fields__}, "image": image})


@pytest.fixture(scope="session")
def bad_images(site: Site) -> None:
    """Beside the guest image: a page of HTML, an image with a backing file, a raw disk, half of the guest image."""
    (site.images / "page.qcow2").write_text("<html><body>Not found</body></html>\n" * 100)
    guest = (site.images / "guest.qcow2").read_bytes()
    (site.images / "cut.qcow2").write_bytes(guest[: len(guest) * 55 // 100])
    (site.images / "disk.raw").write_bytes(b"\0" * (1 << 20))
    backing = ["-b", "/etc/passwd", "-F", "raw", "-u", str(site.images / "backing.qcow2"), "1M"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing], check=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test shows the end of the node's log."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    found = getattr(item, "funcargs", {}).get("site")
    if report.failed and isinstance(found, Site):
        report.sections.append(("the node's log", found.node.last_words()))
    return report  # type: ignore[return-value]
