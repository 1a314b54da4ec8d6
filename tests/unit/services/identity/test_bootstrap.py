from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.unit.services.identity.accounts import QUICK, account, log_in
from tests.unit.services.small_node import SmallNode

from cairn.kernel.error import CairnError
from cairn.kernel.settings import Settings
from cairn.services.identity.bootstrap import bootstrap_admin
from cairn.services.identity.model import Account, AccountType


async def bootstrap(node: SmallNode, folder: Path, password: str = "") -> Path | None:
    settings = Settings(data_dir=folder, admin_password=password)
    return await bootstrap_admin(node.context.store, settings, node.ids, node.clock, QUICK)


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_first_start_makes_the_admin_with_the_password_given(node: SmallNode, tmp_path: Path) -> None:
    assert await bootstrap(node, tmp_path, "given horse") is None

    (row,) = await node.all(Account)
    assert (row.name, row.type) == ("admin", AccountType.SYSTEM_ADMIN)
    assert files(tmp_path) == []
    assert await log_in(node, "admin", "given horse")


async def test_first_start_without_a_password_writes_one_that_only_the_owner_reads(
    node: SmallNode, tmp_path: Path
) -> None:
    file = await bootstrap(node, tmp_path)

    assert file == tmp_path / "admin-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = file.read_text().strip()
    assert len(password) >= 20
    assert await log_in(node, "admin", password)


async def test_later_starts_change_nothing(node: SmallNode, tmp_path: Path) -> None:
    await bootstrap(node, tmp_path, "given horse")

    assert await bootstrap(node, tmp_path, "other") is None
    assert await bootstrap(node, tmp_path) is None

    assert files(tmp_path) == []
    assert await log_in(node, "admin", "given horse")


async def test_a_start_after_a_crash_takes_the_password_that_was_written(node: SmallNode, tmp_path: Path) -> None:
    file = tmp_path / "admin-password"
    file.write_text("written before\n")

    assert await bootstrap(node, tmp_path) == file

    assert await log_in(node, "admin", "written before")


async def test_a_file_without_a_password_is_written_anew(node: SmallNode, tmp_path: Path) -> None:
    file = tmp_path / "admin-password"
    file.touch()

    await bootstrap(node, tmp_path)

    assert await log_in(node, "admin", file.read_text().strip())


async def test_a_renamed_admin_is_still_an_admin(node: SmallNode, tmp_path: Path) -> None:
    await account(node, "chief", admin=True)

    assert await bootstrap(node, tmp_path) is None

    assert [row.name for row in await node.all(Account)] == ["chief"]
    assert files(tmp_path) == []


async def test_weak_password_of_the_environment_is_refused_in_words(node: SmallNode, tmp_path: Path) -> None:
    with pytest.raises(CairnError, match="CAIRN_ADMIN_PASSWORD"):
        await bootstrap(node, tmp_path, "admin")
    assert await node.all(Account) == []
