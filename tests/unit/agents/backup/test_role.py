from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from tests.unit.agents.fakes import FakeClock, FakeRunner

from cairn.agents.backup.role import BackupRole
from cairn.agents.commands import Registry
from cairn.agents.config import AgentConfig


@pytest.fixture
def role(tmp_path: Path) -> BackupRole:
    config = AgentConfig(data_dir=str(tmp_path / "data"), storage_path=str(tmp_path / "images"))
    return BackupRole(data=tmp_path / "data", config=config, runner=FakeRunner(), clock=FakeClock())


async def test_starting_prepares_the_folder_of_images_and_is_safe_to_repeat(role: BackupRole, tmp_path: Path) -> None:
    await role.start()
    await role.start()
    await role.stop()
    assert (tmp_path / "images").is_dir()


async def test_folder_of_images_is_measured(role: BackupRole, tmp_path: Path) -> None:
    await role.start()
    space = (await role.spaces())[str(tmp_path / "images")]
    assert 0 < space.available_bytes <= space.total_bytes


async def test_no_vms_run_on_a_backup_server(role: BackupRole) -> None:
    assert await role.vms() == {}
    assert role.host is None


def test_images_have_a_route_for_hosts_and_commands_have_handlers(role: BackupRole) -> None:
    app = web.Application()
    role.add_routes(app)
    assert "GET" in {route.method for route in app.router.routes()}
    assert "backup.download-image" in set(Registry(role.areas).names)
