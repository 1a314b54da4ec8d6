from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest
from tests.unit.services.image_site import Site, trouble

from cairn.kernel.config import Setting
from cairn.kernel.deploy.inventory import Variable
from cairn.kernel.deploy.ssh import SshTarget
from cairn.kernel.error import CairnError
from cairn.kernel.machine.model import SshLogin
from cairn.kernel.machine.ssh import SshDriver, change_login
from cairn.kernel.plugin.manifest import Manifest
from cairn.kernel.store.record import TableMeta
from cairn.kernel.store.store import Tx
from cairn.plugins.kvm.messages import AddKVMHost, UpdateKVMHost

BOX = "b" * 32
PORT = Setting("box", "agent.port", 7000, minimum=1, maximum=65535, doc="where agents of boxes listen")
BOXES = Manifest(package=__name__, doc="Boxes that are logged in to.")


class Box(SshLogin, frozen=True, kw_only=True):
    """How to log in to a box."""

    meta: ClassVar[TableMeta] = TableMeta(table="box", noun="box", title="box")


class Boxes(SshDriver[Box]):
    """Boxes that are all at one address."""

    record = Box
    port = PORT
    at = "box.example"

    def address(self, tx: Tx, login: Box) -> str:
        return self.at

    def variables(self, login: Box) -> dict[str, Variable]:
        return {"folder": f"/home/{login.username}"}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = await Site().start([BOXES])
    yield site
    await site.stop()


@pytest.fixture
async def boxes(site: Site, tmp_path: Path) -> Boxes:
    """The driver, which knows one box."""
    for name in ("box.yml", "remove.yml"):
        (tmp_path / name).touch()
    driver = Boxes(site.context.store, site.installer, site.context.config)
    driver.playbook = tmp_path / "box.yml"
    asked = AddKVMHost(name="n", management_ip="m", cluster_uuid="c", username="ann", password="p", ssh_port=2222)
    await site.context.store.write(lambda tx: driver.added(tx, BOX, asked))
    return driver


async def login(site: Site) -> tuple[str, str | None, str | None, int]:
    row = await site.row(Box, BOX)
    return row.username, row.password, row.private_key, row.ssh_port


async def change(site: Site, uuid: str = BOX, **given: object) -> None:
    message = UpdateKVMHost(uuid=uuid, **given)  # type: ignore[arg-type]
    await site.context.store.write(lambda tx: change_login(tx, Box, message))


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("box.example", "https://box.example:7000"),
        ("10.0.0.5", "https://10.0.0.5:7000"),
        ("fd00::1", "https://[fd00::1]:7000"),
    ],
)
async def test_the_agent_is_at_the_machines_address(site: Site, boxes: Boxes, address: str, url: str) -> None:
    boxes.at = address
    assert (await site.context.store.read(lambda tx: boxes.endpoint(tx, BOX))).base_url == url


async def test_a_changed_port_holds_for_the_next_look_up_and_the_next_deployment(site: Site, boxes: Boxes) -> None:
    await site.set("box", "agent.port", "7001")
    await boxes.deploy(BOX)

    endpoint = await site.context.store.read(lambda tx: boxes.endpoint(tx, BOX))
    assert endpoint.base_url == "https://box.example:7001"
    assert site.installer.installed[-1][3] == {"port": 7001, "folder": "/home/ann"}


async def test_the_agent_is_put_there_and_taken_away_by_playbooks_that_log_in_as_was_said(
    site: Site, boxes: Boxes
) -> None:
    await boxes.deploy(BOX)
    await boxes.remove(BOX)

    target = SshTarget(host="box.example", port=2222, username="ann", password="p")
    assert [(name, uuid, at) for name, uuid, at, _ in site.installer.installed] == [("box.yml", BOX, target)]
    assert site.installer.taken_off == [("remove.yml", BOX)]


async def test_login_is_forgotten_once_the_agent_is_there_and_the_cloud_s_own_key_is_let_in(
    site: Site, boxes: Boxes
) -> None:
    async def let_in() -> bool:
        return True

    site.installer.adopting = let_in
    await site.set("machine", "forgetLogin", "false")
    await boxes.deploy(BOX)
    assert await login(site) == ("ann", "p", None, 2222)
    await site.set("machine", "forgetLogin", "true")
    await boxes.deploy(BOX)
    assert await login(site) == ("ann", None, None, 2222)
    assert site.installer.installed[-1][2].password == "p"
    await boxes.deploy(BOX)
    assert site.installer.installed[-1][2].password is None


async def test_login_that_is_given_while_the_former_one_is_forgotten_stays(site: Site, boxes: Boxes) -> None:
    async def let_in() -> bool:
        await change(site, password="newer")
        return True

    site.installer.adopting = let_in
    await boxes.deploy(BOX)
    assert await login(site) == ("ann", "newer", None, 2222)


async def test_login_is_kept_where_the_cloud_s_own_key_is_not_let_in(site: Site, boxes: Boxes) -> None:
    await boxes.deploy(BOX)
    assert await login(site) == ("ann", "p", None, 2222)


async def test_a_playbook_that_fails_is_told(site: Site, boxes: Boxes) -> None:
    site.installer.refuse = trouble()
    with pytest.raises(CairnError) as caught:
        await boxes.deploy(BOX)
    assert caught.value.code == "ssh.unreachable"


async def test_one_that_nobody_knows_is_told_and_nothing_is_run(site: Site, boxes: Boxes) -> None:
    for work in (boxes.deploy("f" * 32), boxes.remove("f" * 32), change(site, "f" * 32, username="bob")):
        with pytest.raises(CairnError) as caught:
            await work
        assert caught.value.code == "box.not-found"
    with pytest.raises(CairnError, match="box"):
        await site.context.store.read(lambda tx: boxes.endpoint(tx, "f" * 32))

    assert (site.installer.installed, site.installer.taken_off) == ([], [])


async def test_keys_are_forgotten_when_it_is_certain_that_the_machine_goes(site: Site, boxes: Boxes) -> None:
    def fails(tx: Tx) -> None:
        boxes.removed(tx, BOX)
        raise trouble()

    with pytest.raises(CairnError):
        await site.context.store.write(fails)
    before = list(site.installer.forgotten)
    await site.context.store.write(lambda tx: boxes.removed(tx, BOX))

    assert (before, site.installer.forgotten) == ([], [BOX])


async def test_only_what_is_given_of_a_login_changes(site: Site, boxes: Boxes) -> None:
    await change(site, name="another name")
    assert await login(site) == ("ann", "p", None, 2222)
    await change(site, private_key="KEY")
    assert await login(site) == ("ann", "p", "KEY", 2222)
    await change(site, username="bob", ssh_port=22)
    assert await login(site) == ("bob", "p", "KEY", 22)


async def test_a_new_password_takes_the_place_of_a_key_unless_both_are_given(site: Site, boxes: Boxes) -> None:
    await change(site, private_key="KEY", password="q")
    assert await login(site) == ("ann", "q", "KEY", 2222)
    for _ in range(2):
        await change(site, password="r")
        assert await login(site) == ("ann", "r", None, 2222)
